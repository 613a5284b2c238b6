"""Clips as files: what a clip is a function of, its name, and writing it without harm to another (level 1)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.errors import UserError
from audiocraft_ext.wav import write_wav


@dataclass(frozen=True)
class Settings:
    """All that a clip depends on; kept in the file's comment, so that it can be made again.

    Attributes:
        bundle: the bundle's name.
        bundle_hash: which one of that name, the first digits of :attr:`~audiocraft_ext.bundle.Bundle.hash`.
        seconds: length of the clip.
    """

    bundle: str
    bundle_hash: str
    seed: int
    index: int
    seconds: float
    temperature: float
    top_k: int

    def comment(self) -> str:
        return json.dumps(asdict(self))


def read_comment(path: Path) -> str:
    """The comment in a sound file; empty where it cannot be read."""
    try:
        with sf.SoundFile(path) as f:
            return f.comment
    except (sf.LibsndfileError, OSError):
        return ""


def clip_path(folder: Path, settings: Settings) -> Path:
    """Where the clip goes: a file that is there is replaced only if it is this very clip, else a number is added."""
    stem = f"{settings.bundle}_seed{settings.seed}_{settings.index}"
    path, number = folder / f"{stem}.wav", 1
    while path.exists() and read_comment(path) != settings.comment():
        number += 1
        path = folder / f"{stem}_v{number}.wav"
    return path


def write_clip(folder: Path, wav: np.ndarray, sample_rate: int, settings: Settings) -> Path:
    """Write ``wav float32 [N]`` with its settings inside; returns the file."""
    path = clip_path(folder, settings)
    title = f"{settings.bundle} seed {settings.seed} clip {settings.index}"
    write_wav(path, wav, sample_rate, comment=settings.comment(), title=title)
    return path


def make_folder(folder: Path) -> None:
    """Make sure now that clips can be written there, before they are made.

    Raises:
        UserError: they cannot.
    """
    probe = folder / ".micro-musicgen"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another folder with -o") from None
