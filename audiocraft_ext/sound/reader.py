"""One sound file, block by block, at its own rate: whatever its length, no more than a block of it is in memory.

soundfile reads what libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...); PyAV, imported only when needed, reads the
rest (M4A, WMA, the sound of a video). What counts as whole: :mod:`audiocraft_ext.sound.promise`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.sound import ffmpeg, libsndfile
from audiocraft_ext.sound.promise import BrokenAudio as BrokenAudio

RATES = (1_000, 3_000_000)  # Hz: what is no sound is refused before it is resampled to a thousand times its size
LOUDEST = 1e6  # 120 dB over full scale; beyond, a header is wrong


@dataclass
class Reader:
    """An open file: what it is, and its blocks ``float32 [n, C]``, to be read once.

    Attributes:
        rate: Hz.
        format: container and coding, such as "WAV PCM_16" or "MP3".
        lossy: whether the coding is a lossy one.
        notes: what is wrong with the file and no reason to refuse it, a line each; all of them are there when it has
            been read to its end.

    Raises (while it is read):
        BrokenAudio: the file is truncated or damaged, or holds values that are no sound.
    """

    path: Path
    rate: int
    channels: int
    format: str
    lossy: bool
    _blocks: Iterator[np.ndarray]
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            low, high = float(block.min(initial=0.0)), float(block.max(initial=0.0))
            if not -np.inf < low <= high < np.inf:  # NaN neither is nor is not
                raise BrokenAudio(f"{self.path}: holds values that are not numbers")
            if max(-low, high) > LOUDEST:
                raise BrokenAudio(f"{self.path}: holds values up to {max(-low, high):.0e}, which is no sound")
            yield block

    def close(self) -> None:
        self._blocks.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_sound(path: Path) -> Reader:
    """Open a file of any format.

    Raises:
        BrokenAudio: the file is empty, not audio, or known to be truncated from the start.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise BrokenAudio(f"{path}: the file is empty (0 bytes)")
    notes: list[str] = []
    try:
        reader = _open(path, libsndfile.read(path, notes), notes)
    except (sf.LibsndfileError, libsndfile.Untrusted) as error:
        notes[:] = error.args if isinstance(error, libsndfile.Untrusted) else ()
        reader = _open(path, ffmpeg.read(path, getattr(error, "error_string", "").strip(), notes), notes)
    if not RATES[0] <= reader.rate <= RATES[1]:
        reader.close()
        raise BrokenAudio(f"{path}: a sample rate of {reader.rate} Hz, which is no sound")
    return reader


def _open(path: Path, steps: Iterator, notes: list[str]) -> Reader:
    """``steps`` yields what the file is once its first block was read, then all blocks."""
    about = next(steps)
    return Reader(path, *about, steps, notes)
