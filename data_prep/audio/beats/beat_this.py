"""Beats found by beat_this, where it is installed and its weights are there: nothing is downloaded here.

F. Foscarin, J. Schlüter, G. Widmer, "Beat this! Accurate beat tracking without DBN postprocessing", ISMIR 2024;
``pip install beat-this``. Its weights are fetched once with ``python -c "from beat_this.inference import
Audio2Frames; Audio2Frames('final0')"``. Of it only the frames are used, 50 a second: its beats as they are cross no
window's border.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

MODEL = "final0"
RATE, STEPS = 22_050, 50  # what it takes and answers, a second
STRETCH, REACH = 120, 15  # seconds taken at once, and more of them on either side


def weights() -> Path:
    """Where torch keeps what beat_this downloaded."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    return home / "hub" / "checkpoints" / f"beat_this-{MODEL}.ckpt"


def there() -> bool:
    """Whether it is installed, with its weights."""
    return importlib.util.find_spec("beat_this") is not None and weights().is_file()


class BeatThisEar:
    """As :class:`data_prep.audio.beats.net.NetEar`, with beat_this listening."""

    rate = float(STEPS)

    def __init__(self, rate: int):
        import soxr
        from beat_this.inference import Audio2Frames

        self._frames = Audio2Frames(MODEL, "cpu")
        self._resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
        self._left, self._lead = np.zeros(0, np.float32), 0  # seconds of it before the next stretch
        self._said: list[np.ndarray] = []
        self._whole: np.ndarray | None = None
        self._rate, self.samples = rate, 0

    def push(self, wav: np.ndarray, last: bool = False) -> None:
        self.samples += len(wav)
        more = self._resampler.resample_chunk(np.asarray(wav, np.float32), last=last)
        self._left = np.concatenate([self._left, more])
        while len(self._left) >= (self._lead + STRETCH + REACH) * RATE:
            found = self._analyse(self._left[: (self._lead + STRETCH + REACH) * RATE])
            self._said.append(found[self._lead * STEPS: (self._lead + STRETCH) * STEPS])
            keep = min(REACH, self._lead + STRETCH)
            self._left = self._left[(self._lead + STRETCH - keep) * RATE:]
            self._lead = keep

    def finish(self) -> np.ndarray:
        if self._whole is not None:
            return self._whole
        self.push(np.zeros(0, np.float32), last=True)
        if len(self._left) > self._lead * RATE:
            self._said.append(self._analyse(self._left)[self._lead * STEPS:])
        self._whole = np.concatenate([*self._said, np.zeros((0, 3), np.float32)])
        return self._whole

    def repeated(self, times: int) -> np.ndarray:
        """What was said, ``times`` over without a gap."""
        output = self.finish()
        length = self.samples / self._rate * STEPS
        at = (np.arange(int(length * times)) % length).round().astype(int)
        return output[np.minimum(at, len(output) - 1)]

    def _analyse(self, wav: np.ndarray) -> np.ndarray:
        beat, down = (1 / (1 + np.exp(-np.asarray(x, np.float64))) for x in self._frames(wav, RATE))
        down = np.minimum(beat, down)
        return np.log(np.stack([1 - beat, beat - down, down], axis=1).clip(1e-6)).astype(np.float32)
