"""Sounds whose tempo is sure and steady, and where their bars lie."""

from __future__ import annotations

import numpy as np

from audiocraft_ext.sound.bars import BEATS
from data_prep.audio.beats.grid import SURE, Beats

STEADY = 0.02  # seconds that a downbeat may lie beside an even grid
KNOWN = 0.02  # seconds by which a file may differ from the bars that it is said to have


def known(bpm: float, bars: int, samples: int, rate: int) -> Beats | None:
    """The beats of a sound that is said to be so many whole bars of 4/4, from its first sample to its last; None where
    its length says otherwise."""
    if abs(samples / rate - bars * BEATS * 60 / bpm) > KNOWN or bars < 1:
        return None
    at = np.round(np.arange(bars * BEATS) * samples / (bars * BEATS)).astype(np.int64)
    return Beats(bpm, 1.0, BEATS, at, at[::BEATS])


def grid_of(beats: Beats | None, rate: int) -> tuple[float, float] | None:
    """The first downbeat and the length of a bar of 4/4, in samples; None where they are not sure and steady."""
    if beats is None or beats.confidence < SURE or beats.beats_per_bar != BEATS or len(beats.beats) < BEATS:
        return None
    number = np.arange(len(beats.beats))
    beat, first = np.polyfit(number, beats.beats, 1)
    if np.abs(first + beat * number - beats.beats).max() > STEADY * rate:
        return None
    downbeat = int(np.searchsorted(beats.beats, beats.downbeats[0]))
    return float(first + beat * downbeat), float(beat * BEATS)
