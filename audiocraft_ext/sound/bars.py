"""Lengths in bars: 4/4 at a tempo, to samples, to frames of codes and to beats."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audiocraft_ext.core.errors import UserError

TEMPO = (20.0, 400.0)  # beats a minute
BEATS = 4  # in a bar


@dataclass(frozen=True)
class Bars:
    """So many bars of 4/4 at so many beats a minute. Half a bar is 0.5, a beat 0.25.

    Raises:
        UserError: a tempo or a number of bars that makes no sense.
    """

    bpm: float
    bars: float

    def __post_init__(self) -> None:
        if not TEMPO[0] <= self.bpm <= TEMPO[1]:  # a NaN is not either
            raise UserError(f"expected a tempo from {TEMPO[0]:g} to {TEMPO[1]:g} BPM, got {self.bpm:g}")
        if not 0 < self.bars < math.inf:
            raise UserError(f"expected more than 0 bars (0.5 is half a bar, 0.25 a beat), got {self.bars:g}")

    @property
    def seconds(self) -> float:
        return self.bars * BEATS * 60 / self.bpm

    @property
    def beats(self) -> int:
        """For the chunk ``acid``, which counts whole ones: the nearest number, at least 1."""
        return max(1, round(self.bars * BEATS))

    def samples(self, sample_rate: int) -> int:
        """The nearest number of samples, at least 1."""
        return max(1, round(self.bars * BEATS * 60 / self.bpm * sample_rate))

    def frames(self, sample_rate: int, frame_rate: float) -> int:
        """As many frames of codes as have all the samples; the last may have some too many.

        Raises:
            UserError: a sample rate that is no whole number of samples a frame.
        """
        return -(-self.samples(sample_rate) // hop_length(sample_rate, frame_rate))

    def beat_frames(self, frame_rate: float) -> float:
        """A beat in frames of codes, not rounded: what :func:`audiocraft_ext.audio.loop.make_loop` and the weird tools
        go by."""
        return 60 / self.bpm * frame_rate


def hop_length(sample_rate: int, frame_rate: float) -> int:
    """Samples a frame. Raises a :class:`UserError` where that is not a whole number."""
    hop = round(sample_rate / frame_rate)
    if hop < 1 or hop * frame_rate != sample_rate:
        raise UserError(f"expected a whole number of samples a frame, got {sample_rate} Hz and {frame_rate:g} frames a "
                        "second")
    return hop


def loop_frames(samples: int, hop: int) -> int:
    """The number of frames whose length is nearest to ``samples``, at least 1: a loop is brought to its length by
    playing it a little faster or slower (:func:`audiocraft_ext.audio.loop.make_loop`), and this changes it least."""
    return max(1, (2 * samples + hop) // (2 * hop))
