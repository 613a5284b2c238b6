"""Ticks of MIDI files as seconds, beats and bars, over their tempos and time signatures."""

from __future__ import annotations

import numpy as np

Tempos = list[tuple[int, float]]  # tick, quarter notes a minute; ascending, 120 before the first
Meters = list[tuple[int, int, int]]  # tick, numerator, denominator; ascending, 4/4 before the first


def seconds(ticks: np.ndarray | float, tempos: Tempos, ticks_per_beat: int) -> np.ndarray:
    """When ticks are, by the tempo up to there."""
    at, tick_s, begin = _tempo_map(tempos, ticks_per_beat)
    i = np.maximum(np.searchsorted(at, ticks, side="right") - 1, 0)
    return begin[i] + (np.asarray(ticks) - at[i]) * tick_s[i]


def ticks_at(when: np.ndarray | float, tempos: Tempos, ticks_per_beat: int) -> np.ndarray:
    """The other way: the ticks, not rounded, that are at ``when`` seconds."""
    at, tick_s, begin = _tempo_map(tempos, ticks_per_beat)
    i = np.maximum(np.searchsorted(begin, when, side="right") - 1, 0)
    return at[i] + (np.asarray(when) - begin[i]) / tick_s[i]


def _tempo_map(tempos: Tempos, ticks_per_beat: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each tempo begins in ticks, its seconds a tick, and where it begins in seconds."""
    at = np.array([0.0, *(tick for tick, _ in tempos)])
    tick_s = 60 / (np.array([120.0, *(bpm for _, bpm in tempos)]) * ticks_per_beat)
    return at, tick_s, np.concatenate([[0.0], np.cumsum(np.diff(at) * tick_s[:-1])])


def bars(ticks: np.ndarray | float, meters: Meters, ticks_per_beat: int) -> tuple[np.ndarray, np.ndarray]:
    """The bar of each tick, from 0, and how many quarter notes into it the tick is.

    A time signature begins a bar, wherever it stands; one that changes nothing begins none.
    """
    changes = meter_map(meters)
    at = np.array([tick for tick, _ in changes])
    length = np.array([4 * ticks_per_beat * over / under for _, (over, under) in changes])  # of a bar, in ticks
    before = np.concatenate([[0], np.cumsum(np.ceil(np.diff(at) / length[:-1]))]).astype(np.int64)
    i = np.maximum(np.searchsorted(at, ticks, side="right") - 1, 0)
    inside = (np.asarray(ticks) - at[i]) / length[i]
    bar = np.floor(inside).astype(np.int64)
    return before[i] + bar, (inside - bar) * length[i] / ticks_per_beat


def meter_map(meters: Meters) -> list[tuple[int, tuple[int, int]]]:
    """Where which time signature begins, from tick 0; of several at a tick the last, and none that changes nothing."""
    at = {0: (4, 4)} | {tick: (over, under) for tick, over, under in meters}
    found: list[tuple[int, tuple[int, int]]] = []
    for tick, meter in at.items():
        if not found or found[-1][1] != meter:
            found.append((tick, meter))
    return found


def beats_of_frames(ticks: np.ndarray, tempos: Tempos, per_second: float) -> np.ndarray:
    """Quarter notes up to ticks of a film, ``per_second`` of them: each lasts as long as its tempo says."""
    at = np.array([0, *(tick for tick, _ in tempos)])
    bpm = np.array([120.0, *(bpm for _, bpm in tempos)])
    begin = np.concatenate([[0.0], np.cumsum(np.diff(at) / per_second * bpm[:-1] / 60)])
    i = np.searchsorted(at, ticks, side="right") - 1
    return begin[i] + (ticks - at[i]) / per_second * bpm[i] / 60
