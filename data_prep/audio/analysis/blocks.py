"""Sound in blocks of one size, whatever sizes it comes in, so that what is found does not depend on those."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class Blocks:
    """Cuts what is pushed, ``float32 [n]`` or ``[n, C]``, into blocks of ``size``.

    Args:
        overlap: samples of the next block that each one also ends with.
        channels: None for ``[n]``.
    """

    def __init__(self, size: int, overlap: int = 0, channels: int | None = None):
        self._size, self._filled = size, 0
        self._held = np.empty((size + overlap,) if channels is None else (size + overlap, channels), np.float32)

    def push(self, wav: np.ndarray) -> Iterator[np.ndarray]:
        """The blocks ``[size + overlap]`` that are now whole; each is good until the next is asked for."""
        at = 0
        while at < len(wav):
            take = min(len(self._held) - self._filled, len(wav) - at)
            self._held[self._filled: self._filled + take] = wav[at: at + take]
            self._filled, at = self._filled + take, at + take
            if self._filled == len(self._held):
                yield self._held
                self._filled -= self._size
                self._held[: self._filled] = self._held[self._size:]

    def rest(self) -> np.ndarray:
        """What is left at the end, shorter than a block; it begins with the overlap, if a block came before."""
        return self._held[: self._filled]
