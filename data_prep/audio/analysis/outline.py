"""The outline of a sound: how loud each 10 ms of it is, and a small picture of it."""

from __future__ import annotations

import numpy as np

from data_prep.audio.analysis.blocks import Blocks
from data_prep.audio.analysis.facts import ENVELOPE_RATE

PIECES = 240  # of the picture
HELD = 10  # seconds of which the samples are kept; of what is longer, 10 ms are a quarter of a piece at most


class EnvelopeListener:
    """Analyses the mono sound; keeps the lowest and highest sample of each 10 ms (16 MB for 11 hours)."""

    def __init__(self, rate: int):
        self._starts = np.arange(ENVELOPE_RATE) * rate // ENVELOPE_RATE
        self._blocks = Blocks(rate)
        self._held: list[np.ndarray] = []
        self._frames: list[np.ndarray] = []  # float16 [2, frames] for each second

    def push(self, wav: np.ndarray) -> None:
        """Take ``float32 [n]``."""
        for block in self._blocks.push(wav):
            self._analyse(block)

    def result(self, dc: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """``envelope`` and ``overview`` as :class:`data_prep.audio.analysis.facts.Facts` has them, of the sound without
        its mean ``dc``. To be called once, at the end."""
        self._analyse(self._blocks.rest())
        if not self._frames:
            return np.zeros(0, np.uint8), np.zeros((PIECES, 2), np.int8)
        low, high = np.concatenate(self._frames, axis=1).astype(np.float32)
        envelope = encode(np.maximum(high - dc, dc - low))
        if len(self._held) <= HELD:
            low = high = np.concatenate(self._held)
        starts = np.arange(PIECES) * len(low) // PIECES  # the same twice is a piece of one sample
        picture = np.stack([np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)], axis=1) - dc
        return envelope, np.clip(np.round(127 * picture), -127, 127).astype(np.int8)

    def _analyse(self, block: np.ndarray) -> None:
        if not len(block):
            return
        if len(self._held) <= HELD:
            self._held.append(block.copy())
        starts = self._starts[self._starts < len(block)]
        low, high = np.minimum.reduceat(block, starts), np.maximum.reduceat(block, starts)
        self._frames.append(np.stack([low, high]).astype(np.float16))


def encode(magnitude: np.ndarray) -> np.ndarray:
    """Magnitudes as an envelope holds them, ``uint8``: in half dB, what is below -127 dB as 0."""
    db = 20 * np.log10(np.maximum(magnitude, 1e-9))
    return np.clip(np.round(255 + 2 * db), 0, 255).astype(np.uint8)


def decibels(envelope: np.ndarray) -> np.ndarray:
    """The inverse of :func:`encode`, in dBFS; -127.5 is silence."""
    return (envelope.astype(np.float32) - 255) / 2
