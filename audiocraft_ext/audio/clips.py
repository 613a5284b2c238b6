"""Clips as files: a WAV with its settings inside and a JSON beside it from which it can be made again.

``NAME.json`` has the recipe, the clip's index, how it was written, and what came out: the codes, the sha256 of the
WAV, notes. docs/FORMATS.md has it key by key. The WAV is the last to get its name, so one that is there has all else
beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from audiocraft_ext.audio.recipe import Recipe
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty, make_folder, name_of, numbered, sha256, take_name
from audiocraft_ext.core.packing import pack, read_record, unpack
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.sound.wav import Markers, check_bits, write_wav

FORMAT, VERSION = "micro-musicgen clip", 1


@dataclass(frozen=True)
class Output:
    """How a clip is written.

    Attributes:
        rate: in Hz; None is the codec's own.
        bits: 16, 24, or 32 (float).
        peak, lufs: the level to bring it to, see :func:`audiocraft_ext.sound.level.level`.
        cues: a cue point at each onset.
        slices: each onset's hit as a file of its own, too.
    """

    rate: int | None = None
    bits: int = 16
    peak: float | None = None
    lufs: float | None = None
    cues: bool = False
    slices: bool = False

    @property
    def asks_level(self) -> bool:
        """Whether there is something for :mod:`audiocraft_ext.sound.level` to do, whatever the clip."""
        return (self.rate, self.peak, self.lufs) != (None, None, None)

    def check(self) -> None:
        """Raise a :class:`UserError` for what cannot be."""
        check_bits(self.bits)
        if self.asks_level:
            from audiocraft_ext.sound import level

            level.check(self.rate, self.peak, self.lufs)


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip that was made.

    Attributes:
        recipe, index: what it is a function of.
        spec: what its codes mean.
        codes: ``int64 [K, T]``.
        wav: ``float32 [N]`` at ``sample_rate`` (Hz), as the codec gives it: a sample may lie beyond -1..1.
        about: what there is to say of how it was made, for JSON.
    """

    recipe: Recipe
    index: int
    spec: Spec
    codes: np.ndarray
    wav: np.ndarray
    sample_rate: int
    about: dict[str, Any]

    @property
    def seconds(self) -> float:
        return len(self.wav) / self.sample_rate

    def save(self, folder: str | Path = ".", output: Output = Output()) -> Path:  # noqa: B008  (it is frozen)
        """Write it into ``folder`` without harm to another clip; returns the WAV's path.

        Raises:
            UserError: it cannot be written; then nothing of it is left.
        """
        folder = Path(folder)
        make_folder(folder)
        while True:
            place = find_place(folder, self.recipe, self.index, output)
            if place.there:
                return place.path
            try:
                return write_clip(place.path, self, output)
            except FileExistsError:  # another run was quicker to take the name
                continue


@dataclass(frozen=True)
class Place:
    """Where a clip goes, and whether it is there already, whole."""

    path: Path
    there: bool


def find_place(folder: Path, recipe: Recipe, index: int, output: Output) -> Place:
    """A file that is there is taken only if it is this very clip, whatever was done to its sound since; else a number
    is added to the name."""
    tempo = f"_{recipe.bpm:g}bpm" if recipe.bpm else ""
    wanted = identity(recipe, index, output)
    for stem in numbered(f"{recipe.bundle}_seed{recipe.seed}_{index}{tempo}"):
        path = folder / f"{stem}.wav"
        if path.exists():
            if read_comment(path).get("clip") == wanted:
                return Place(path, True)
        elif _is_free(path, wanted, output):
            return Place(path, False)
    raise AssertionError("numbers do not end")


def _is_free(path: Path, wanted: str, output: Output) -> bool:
    """Whether what lies beside a WAV that is not there may be written: nothing, or what an interruption left of it."""
    beside = path.with_suffix(".json")
    if beside.exists():
        return json_or_empty(beside).get("clip") == wanted
    return not (output.slices and path.with_suffix("").exists())


def identity(recipe: Recipe, index: int, output: Output) -> str:
    """16 hex digits: of the same bytes in a file, if the machine adds up in the same order."""
    text = json.dumps([recipe.hash, index, asdict(output)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_comment(path: Path) -> dict[str, Any]:
    """What the comment in a sound file says of the clip; empty where there is none."""
    try:
        with sf.SoundFile(name_of(path)) as f:
            about = json.loads(f.comment)
    except (sf.LibsndfileError, OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def write_clip(path: Path, clip: Clip, output: Output) -> Path:
    """Write the JSON, slices and, last, the WAV; returns the WAV's path.

    Raises:
        UserError: one cannot be written; then none of them is there.
        FileExistsError: the JSON's name was taken meanwhile.
    """
    wav, rate, about = _levelled(clip, output)
    cues = _cues(wav, rate) if output.cues or output.slices else []
    hits = _slices(path, wav, rate, cues) if output.slices else {}
    if hits:
        about["slices"] = [f"{hit.parent.name}/{hit.name}" for hit in hits]
    new, beside, mine = path.with_name(f".{path.name}.new"), path.with_suffix(".json"), False
    try:
        write_wav(new, wav, rate, bits=output.bits, comment=_comment(clip, output),
                  title=f"{clip.recipe.bundle} seed {clip.recipe.seed} clip {clip.index}",
                  markers=_markers(clip.recipe, wav, rate, cues))
        _write_json(beside, {
            "format": FORMAT, "version": VERSION, "file": path.name, "sha256": sha256(new),
            "clip": identity(clip.recipe, clip.index, output), "index": clip.index, "recipe": clip.recipe.to_dict(),
            "output": asdict(output), "spec": clip.spec.to_dict(), "codes": pack(clip.codes),
            "sample_rate": rate, "samples": len(wav), "cues": cues, "about": about})
        mine = True
        for hit, sound in hits.items():
            hit.parent.mkdir(exist_ok=True)
            write_wav(hit, sound, rate, bits=output.bits, markers=Markers(one_shot=True))
        os.replace(new, path)  # the WAV, when all beside it is there
    except BaseException as error:
        for file in (new, *((beside, *hits) if mine else ())):
            file.unlink(missing_ok=True)
        if hits and path.with_suffix("").is_dir() and not any(path.with_suffix("").iterdir()):
            path.with_suffix("").rmdir()
        if isinstance(error, OSError) and not isinstance(error, FileExistsError):
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        raise
    return path


def _markers(recipe: Recipe, wav: np.ndarray, rate: int, cues: list[int]) -> Markers:
    beats = max(1, round(len(wav) / rate * recipe.bpm / 60)) if recipe.bpm else None
    return Markers(loop=(0, len(wav)) if recipe.loop else None, bpm=recipe.bpm, beats=beats, cues=cues)


def _levelled(clip: Clip, output: Output) -> tuple[np.ndarray, int, dict[str, Any]]:
    """The sound as it is written, its rate, and what there is to say."""
    about = dict(clip.about)
    if not output.asks_level and np.abs(clip.wav).max() <= 1 - 2**-15:  # nothing to do, and nothing to import for it
        return clip.wav, clip.sample_rate, about
    from audiocraft_ext.sound.level import level

    done = level(clip.wav, clip.sample_rate, rate=output.rate, peak=output.peak, lufs=output.lufs,
                 circular=clip.recipe.loop)
    about["gain_db"] = round(done.gain_db, 2)
    if done.note:
        about["level"] = done.note
    return done.wav, done.rate, about


def _cues(wav: np.ndarray, rate: int) -> list[int]:
    from audiocraft_ext.sound.onsets import onsets

    return onsets(wav, rate).tolist()


def _comment(clip: Clip, output: Output) -> str:
    """The settings without what is long; the JSON has it all."""
    long = ("prompt", "source", "clips")
    short = {name: value for name, value in clip.recipe.to_dict().items() if name not in long}
    return json.dumps(short | {"index": clip.index, "clip": identity(clip.recipe, clip.index, output)})


def _slices(path: Path, wav: np.ndarray, rate: int, cues: list[int]) -> dict[Path, np.ndarray]:
    """The sound of each hit by the file it goes into."""
    from audiocraft_ext.sound.onsets import slices

    folder = path.with_suffix("")
    return {folder / f"{path.stem}_{number:02}.wav": hit for number, hit in enumerate(slices(wav, rate, cues), 1)}


def _write_json(path: Path, info: dict[str, Any]) -> None:
    """Write a JSON whose name is free, or this clip's own since an interruption."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(info, indent=1) + "\n", "utf-8")
        if json_or_empty(path).get("clip") == info["clip"]:
            os.replace(part, path)  # or it has no name yet
        else:
            take_name(part, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


class Sounds(Sequence):
    """Clips on the disk as ``(name, wav float32 [N])``, each read when it is looked at: for any number of them."""

    def __init__(self, paths: Sequence[Path]):
        self.paths, self.sample_rate = paths, sf.info(name_of(paths[0])).samplerate

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return Sounds(self.paths[at])
        return self.paths[at].stem, sf.read(name_of(self.paths[at]), dtype="float32")[0]


@dataclass(frozen=True)
class Sidecar:
    """A clip's JSON as it was read; ``folder`` is where its bundle was, where it did not ship with the repository."""

    recipe: Recipe
    index: int
    output: Output
    spec: Spec
    codes: np.ndarray
    sha256: str
    folder: str | None = None


def read_sidecar(path: Path) -> Sidecar:
    """Read a clip's JSON.

    Raises:
        UserError: it is not one, or of another version.
    """
    info = read_record(path, "a clip's JSON", "infer.py writes it beside a WAV", FORMAT, VERSION)
    try:
        sidecar = Sidecar(Recipe.from_dict(info["recipe"]), int(info["index"]), Output(**info["output"]),
                          Spec.from_dict(info["spec"]), unpack(info["codes"]), str(info["sha256"]),
                          None if (folder := info["about"].get("bundle")) is None else str(folder))
        sidecar.output.check()
        return sidecar
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a whole clip's JSON ({error})") from None


def codes_of(path: Path, spec: Spec) -> np.ndarray | None:
    """The very codes of a clip, ``[K, T]``, where its JSON has them and they mean the same here: for its JSON, and
    for a WAV that lies beside its JSON and has not been changed. None where the sound has to be encoded.

    Raises:
        UserError: a JSON that is no clip's, or of another codec.
    """
    if path.suffix == ".json":
        sidecar = read_sidecar(path)
        sidecar.spec.check_same_stream(spec, str(path), "the instrument")
        return sidecar.codes
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        sidecar = read_sidecar(beside)
        sidecar.spec.check_same_stream(spec, str(path), "the instrument")
    except UserError:
        return None
    return sidecar.codes if sidecar.sha256 == sha256(path) else None
