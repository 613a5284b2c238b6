"""The sounds of a run for a page: found, heard once, made small."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

BARS = 120  # of a small waveform
LEAST = 0.06  # of full scale: what is softer is drawn as soft
NAME = re.compile(r"clip_(\d+)\.(wav|flac|ogg|mp3)")
BLOCK = 1 << 14  # frames; libsndfile's Vorbis encoder overflows the stack on long ones


@dataclass(frozen=True)
class Sound:
    """Ogg Vorbis as a ``data:`` URL, seconds, and the waveform as a path 120 wide and 2 high."""

    url: str
    seconds: float
    wave: str


def clips(folder: Path) -> dict[int, Path]:
    """The sound files of a folder by the number of the clip."""
    found = {}
    for path in sorted(folder.glob("clip_*")):
        if match := NAME.fullmatch(path.name):
            found.setdefault(int(match[1]), path)
    return dict(sorted(found.items()))


def sound(path: Path) -> Sound | None:
    """None: it cannot be read, or nothing is in it (a run may be writing it)."""
    try:
        stat = path.stat()
        return _sound(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, RuntimeError):  # soundfile's own error is a RuntimeError
        return None


@lru_cache(512)
def _sound(path: Path, mtime: int, size: int) -> Sound | None:
    import soundfile as sf

    wav, rate = sf.read(path, dtype="float32", always_2d=True)  # [N, C]
    if not len(wav):
        return None
    out = io.BytesIO()
    with sf.SoundFile(out, "w", rate, wav.shape[1], "VORBIS", format="OGG") as file:
        for start in range(0, len(wav), BLOCK):
            file.write(np.clip(wav[start : start + BLOCK], -1, 1))
    url = "data:audio/ogg;base64," + base64.b64encode(out.getvalue()).decode()
    return Sound(url, len(wav) / rate, wave(np.abs(wav).max(axis=1)))


def wave(peaks: np.ndarray) -> str:
    """Bars of the loudest samples ``[N]``, around the middle; the loudest fills the height."""
    edges = np.linspace(0, len(peaks), BARS + 1).astype(int)
    bars = np.array([peaks[a : max(b, a + 1)].max(initial=0) for a, b in zip(edges, edges[1:])])
    bars = bars / max(float(bars.max()), LEAST)
    return "".join(f"M{i + 0.5:g} {1 - max(bar, 0.02):.2f}V{1 + max(bar, 0.02):.2f}" for i, bar in enumerate(bars))
