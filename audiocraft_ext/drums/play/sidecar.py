"""How a beat is written, and its sidecar: a JSON from which it can be made again.

``NAME.json`` has the recipe and the beat's index, what was measured of it, and the files that were written. It is the
last of them to get its name, so where one is, all others are whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, read_record, unpack
from audiocraft_ext.drums.play.beat import Beat

FORMAT, VERSION = "micro-musicgen beat", 1


@dataclass(frozen=True)
class Output:
    """How a beat is written, besides its MIDI file and its JSON.

    Attributes:
        wav: as sound, ``NAME.wav``, 16 bits, exactly its bars long; a ``soundfont`` or a ``kit`` asks for it too.
        picture: as a piano roll, ``NAME.png``.
        tracks: each drum that is played as a file of its own, ``NAME_kick.mid``.
        soundfont: what plays: a file with drums in bank 128; ``kit``, or a folder with a kit.json; neither is the kit
            that ships.
        rate: of the WAV, in Hz.
    """

    wav: bool = False
    picture: bool = False
    tracks: bool = False
    soundfont: Path | None = None
    kit: Path | None = None
    rate: int = 44_100

    @property
    def sounds(self) -> bool:
        return self.wav or self.soundfont is not None or self.kit is not None

    def check(self) -> None:
        """Raise a :class:`UserError` for what cannot be, before a beat is made."""
        if self.soundfont is not None and self.kit is not None:
            raise UserError(f"one of the two plays: leave out --soundfont {self.soundfont} or --kit {self.kit}")
        if self.sounds:
            from audiocraft_ext.sound import level

            level.check(self.rate)
            self.player().render(np.zeros((0, 3)), 0.0, self.rate)  # what cannot be loaded is found now
        if self.picture:
            try:
                import matplotlib  # noqa: F401
            except ImportError:
                raise UserError("a picture is drawn by matplotlib; 'pip install matplotlib', or leave it out") from None

    def player(self):
        """What plays; see :func:`audiocraft_ext.drums.play.render.player`."""
        from audiocraft_ext.drums.play.render import player

        return player(self.soundfont, self.kit)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: os.fspath(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Output:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: an unknown option, or a value of another type.
        """
        try:
            output = cls(**{name: Path(value) if name in ("soundfont", "kit") and value is not None else value
                            for name, value in values.items()})
        except TypeError as error:
            raise UserError(f"not how a beat was written ({error})") from None
        if type(output.rate) is not int or {type(one) for one in (output.wav, output.picture, output.tracks)} != {bool}:
            raise UserError(f"not how a beat was written: {values}")
        return output


@dataclass(frozen=True, eq=False)
class Sidecar:
    """A beat's JSON as it was read.

    Attributes:
        recipe, index: what the beat is a function of.
        codes: ``int64 [K, T]``.
        sha256: of the MIDI file.
        output: how it was written.
        files: names of what was written, the MIDI file first.
        hits: how many.
        sound: of the WAV, what plays (``player``, ``hash``), ``rate``, ``samples``, ``gain_db``, and the classes that
            have no sound (``silent``); empty without one.
        about: more on the beat: what was measured, its title, where its bundle was.
    """

    recipe: dict[str, Any]
    index: int
    codes: np.ndarray
    sha256: str
    output: Output
    files: tuple[str, ...]
    hits: int
    sound: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def beat(self) -> str:
        """Which beat this is."""
        return identity(self.recipe, self.index)

    @property
    def folder(self) -> str | None:
        """Where its bundle was, if it did not ship with the repository."""
        return self.about.get("bundle")


def identity(recipe: dict[str, Any], index: int) -> str:
    """16 hex digits of a beat: of the same codes, however it is written."""
    return hashlib.sha256(json.dumps([recipe, index], sort_keys=True).encode()).hexdigest()[:16]


def text(beat: Beat, sha256: str, output: Output, files: list[str], sound: dict[str, Any]) -> str:
    """The JSON of a beat; the arguments as in :class:`Sidecar`."""
    clip = beat.clip
    pitches = clip.notes[:, 1].tolist()
    by_class = {name: pitches.count(pitch) for pitch, name in beat.names.items() if pitch in pitches}
    values = {
        "format": FORMAT, "version": VERSION, "kind": "drums", "file": files[0], "sha256": sha256,
        "beat": identity(beat.recipe, beat.index), "index": beat.index, "recipe": beat.recipe,
        "bpm": clip.bpm, "meter": list(clip.meter), "bars": clip.bars, "seconds": round(beat.seconds, 6),
        "hits": len(pitches), "hits_of": by_class, "about": beat.about,
        "output": output.to_dict(), "files": files, **({"sound": sound} if sound else {}), "codes": pack(beat.codes)}
    return json.dumps(values, indent=1) + "\n"


def read(path: Path | str) -> Sidecar:
    """Read a beat's JSON.

    Raises:
        UserError: it is none, of another version, or not whole.
    """
    path = Path(path)
    info = read_record(path, "a beat's JSON", "'infer.py drums' writes it beside a MIDI file", FORMAT, VERSION)
    return _whole(info, path)


def _whole(info: dict[str, Any], path: Path) -> Sidecar:
    """What it says, if it says all of it and that is the beat it names."""
    kinds = {"recipe": dict, "index": int, "codes": str, "sha256": str, "output": dict, "files": list, "hits": int,
             "sound": dict, "about": dict, "beat": str}
    info = {"sound": {}} | info
    for key, kind in kinds.items():
        if key not in info:
            raise UserError(f"{path}: not a whole beat's JSON, {key!r} is missing")
        if not isinstance(info[key], kind) or isinstance(info[key], bool):
            raise UserError(f"{path}: not a beat's JSON: {key!r} is {str(info[key])[:40]!r}")
    if info["index"] < 0 or not info["files"] or not all(isinstance(name, str) for name in info["files"]):
        raise UserError(f"{path}: not a beat's JSON: index {info['index']}, files {str(info['files'])[:60]}")
    if identity(info["recipe"], info["index"]) != info["beat"]:
        raise UserError(f"{path}: was changed: its recipe is not that of beat {info['beat'][:16]}; a changed recipe is "
                        "another beat, ask for it with the options of 'infer.py drums'")
    try:
        codes, output = unpack(info["codes"]), Output.from_dict(info["output"])
    except UserError as error:
        raise UserError(f"{path}: not a whole beat's JSON ({error})") from None
    return Sidecar(info["recipe"], info["index"], codes, info["sha256"], output, tuple(info["files"]),
                   info["hits"], info["sound"], info["about"])
