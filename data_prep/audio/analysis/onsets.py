"""Onsets of a sound of any length: :func:`audiocraft_ext.sound.onsets.onsets` over windows that overlap."""

from __future__ import annotations

import numpy as np

from audiocraft_ext.sound.onsets import onsets

WINDOW, AROUND = 60, 2  # seconds; what is seen on either side of a window


class OnsetListener:
    """Collects the starts of hits; windows lie at fixed places, so the blocks that come do not matter."""

    def __init__(self, rate: int):
        self.rate, self._window, self._around = rate, WINDOW * rate, AROUND * rate
        self._blocks: list[np.ndarray] = []
        self._held, self._first, self._next = 0, 0, 0  # samples held, the first of them, where the next window begins
        self._found: list[np.ndarray] = []

    def push(self, wav: np.ndarray) -> None:
        """Take the next samples ``float32 [n]``."""
        self._blocks.append(wav)
        self._held += len(wav)
        while self._first + self._held >= self._next + self._window + self._around:
            self._analyse(self._next + self._window)

    def result(self) -> np.ndarray:
        """All starts, ascending samples ``int64``."""
        if self._held and self._first + self._held > self._next:
            self._analyse(self._first + self._held)
        return np.concatenate(self._found) if self._found else np.zeros(0, np.int64)

    def _analyse(self, end: int) -> None:
        """Take the starts from where the last window ended to ``end``."""
        sound = np.concatenate(self._blocks)
        found = onsets(sound[: end + self._around - self._first], self.rate) + self._first
        self._found.append(found[(found >= self._next) & (found < end)])
        keep = max(0, end - self._around - self._first)
        self._blocks, self._held, self._first, self._next = [sound[keep:]], len(sound) - keep, self._first + keep, end
