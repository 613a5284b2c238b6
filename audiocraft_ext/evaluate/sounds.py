"""Sets of sound to be compared: folders, stores, bundles and noise, as clips of ten seconds at one loudness."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.sound.files import BrokenAudio, find_audio, read, resample
from audiocraft_ext.sound.level import loudness
from audiocraft_ext.store.reader import RECORD, TokenStore

RATE = 32_000  # Hz, of all sound here
SECONDS = 10.0  # of a clip
LEAST = 4.0  # seconds, of the last clip of a longer sound
LUFS = -18.0  # of each clip: level is no resemblance
MOST_MINUTES = 60  # of a folder or a split; what is beyond is not compared with
NOISES = 12  # clips


@dataclass(frozen=True)
class Sound:
    """A file's or a clip's ``wav float32 [N]`` at :data:`RATE`; ``bpm`` of its bars of four beats, of which one begins
    where it begins, None where nobody said."""

    name: str
    wav: np.ndarray
    bpm: float | None = None


@dataclass(frozen=True)
class Clip:
    """A piece of a sound, up to ten seconds at -18 LUFS.

    Attributes:
        track: the number of its sound in the set; pieces of one sound are no independent ones.
        start: seconds into the sound.
        wav: ``float32 [N]`` at :data:`RATE`.
        bpm: of the bars of its sound, see :class:`Sound`.
    """

    track: int
    name: str
    start: float
    wav: np.ndarray
    bpm: float | None = None


def cut(sounds: Sequence[Sound], most: int | None = None) -> list[Clip]:
    """Clips of ten seconds; a shorter sound is one. Silence is left out. Of more than ``most``, that many are drawn,
    the same ones each time."""
    size = int(SECONDS * RATE)
    places = [(track, at) for track, sound in enumerate(sounds) for at in range(0, max(1, len(sound.wav)), size)
              if not at or len(sound.wav) - at >= LEAST * RATE]
    if most is not None and len(places) > most:
        drawn = np.random.default_rng(3).permutation(len(places))[:most]
        places = [places[i] for i in sorted(drawn)]
    clips = []
    for track, at in places:
        wav = levelled(sounds[track].wav[at: at + size])
        if wav is not None:
            clips.append(Clip(track, sounds[track].name, at / RATE, wav, sounds[track].bpm))
    return clips


def levelled(wav: np.ndarray) -> np.ndarray | None:
    """``float32 [N]`` at -18 LUFS, by gain alone; None where there is nothing to hear."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyloudnorm takes the logarithm of silent blocks
        found = loudness(np.pad(wav, (0, max(0, RATE // 2 - len(wav)))), RATE)
    return (wav * 10 ** ((LUFS - found) / 20)).astype(np.float32) if np.isfinite(found) else None


def of_folder(folder: Path) -> list[Sound]:
    """All sound below ``folder``, up to an hour, drawn by file; files that cannot be read are named on stderr.

    Raises:
        UserError: there is none.
    """
    paths, sounds = find_audio(folder), {}
    left = round(MOST_MINUTES * 60 * RATE)
    for i in np.random.default_rng(7).permutation(len(paths)):
        if left <= 0:
            print(f"{folder}: compared with {len(sounds)} of its {len(paths)} files, an hour of sound", file=sys.stderr)
            break
        try:
            sounds[i] = Sound(str(paths[i].relative_to(folder)), read(paths[i], RATE)[:left], said_bpm(paths[i]))
            left -= len(sounds[i].wav)
        except BrokenAudio as error:
            print(f"skipped {error}", file=sys.stderr)
    if not sounds:
        raise UserError(f"{folder}: expected a folder with sound files, found none that can be read")
    return [sounds[i] for i in sorted(sounds)]


def of_store(path: Path, split: str, codec: str | None = None) -> list[Sound]:
    """The tracks of a split as the store's codec sounds, up to an hour, drawn by track; without variants.

    Args:
        codec: name or folder of the codec, where the store's name for it does not lead.

    Raises:
        UserError: a damaged store, one of drums, one without such tracks, or its codec is not there.
    """
    store = TokenStore(path)
    spec = store.spec
    if spec.kind != kinds.UNNAMED:
        raise UserError(f"{path}: holds {spec.kind}; this compares sound, give a store that data_prep.audio made")
    codec = kinds.kind_of(spec).load_codec(spec, None, codec)
    variants = {row["source"] for row in store.rows if "variant" in row}
    tracks = [track for track in store.tracks(split) if track.source not in variants]
    left, sounds = round(MOST_MINUTES * 60 * spec.frame_rate), []
    for i in np.random.default_rng(7).permutation(len(tracks)):
        frames = min(tracks[i].frames, left)
        if frames > 0:
            codes = store.read(tracks[i].start, frames)[: spec.clip.n_q]
            sounds.append(Sound(tracks[i].source, resample(codec.decode(codes), codec.sample_rate, RATE)))
            left -= frames
    if not sounds:
        raise UserError(f"{path}: no {split} tracks; prepare it with a larger --valid-share, or give --held-out FOLDER")
    return sounds


def of_clips(paths: Sequence[Path]) -> list[Sound]:
    """Clips as they were written."""
    return [Sound(path.name, read(path, RATE), said_bpm(path)) for path in paths]


def said_bpm(path: Path) -> float | None:
    """The tempo that the JSON beside a sound tells, where the sound begins with a bar: clips of ``infer.py`` that are
    nothing but sampled, breaks of ``data_prep.breaks``."""
    about = json_or_empty(path.with_suffix(".json"))
    recipe = about.get("recipe", about)
    if not isinstance(recipe, dict) or any(recipe.get(key) for key in ("prompt", "source", "weird")):
        return None
    bpm = recipe.get("bpm")
    return float(bpm) if type(bpm) in (int, float) and 20 <= bpm <= 400 else None


def of_bundle(path: str | Path, count: int, seed: int = 1) -> list[Sound]:
    """Clips of ten seconds, as the bundle plays them by default.

    Raises:
        UserError: no bundle, or one that makes no sound.
    """
    player = kinds.player(path)
    kind = player.bundle.spec.kind
    if kind != kinds.UNNAMED:
        raise UserError(f"{path}: a bundle of {kind}, and this compares sound; make its clips audible with 'python "
                        f"infer.py {path} -n {count} --wav -o FOLDER' and give that folder")
    clips = player.play(player.recipe(seconds=SECONDS, seed=seed), range(count))
    return [Sound(f"clip {clip.index}", resample(clip.wav, clip.sample_rate, RATE), clip.recipe.bpm) for clip in clips]


def noise(count: int = NOISES) -> list[Sound]:
    """Pink noise: what every figure has to be better than."""
    n = int(SECONDS * RATE)
    fall = 1 / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20))
    out = []
    for i in range(count):
        white = np.fft.rfft(np.random.default_rng(i).standard_normal(n))
        wav = np.fft.irfft(white * fall, n)
        out.append(Sound(f"noise {i}", (0.1 * wav / wav.std()).astype(np.float32)))
    return out


def is_store(path: Path) -> bool:
    return (path / RECORD).is_file()


def real(like: Path, held_out: Path | None) -> tuple[list[Sound], list[Sound], bool]:
    """The reference, sound that was held out, and whether both are halves of one folder that a model may know whole.

    Raises:
        UserError: a folder without two files to tell apart.
    """
    if held_out is not None:
        return _all(like, TRAIN), _all(held_out, VALID), False
    if is_store(like):
        return of_store(like, TRAIN), of_store(like, VALID), False
    sounds = of_folder(like)
    if len(sounds) < 2:
        raise UserError(f"{like}: one file; two or more are needed to split it into halves, or give --held-out FOLDER")
    order = np.random.default_rng(7).permutation(len(sounds))
    first, second = ([sounds[i] for i in sorted(order[k::2])] for k in (0, 1))
    return first, second, True


def _all(path: Path, split: str) -> list[Sound]:
    return of_store(path, split) if is_store(path) else of_folder(path)
