"""A grid of beats and bars through beats that were tracked one by one: straight where they allow it.

What is made on a machine, or to a click, has a straight one; a drummer's single beats lie to either side of it by more
than a cut may be off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SURE = 0.65  # the confidence from which a cut is trusted
STRAIGHT = 0.03  # seconds that beats may lean away from a straight grid
# Measured on what the net was not trained on: beats of a machine are found late by this, and drummers, whose hits lie
# 15 ms before their click, early; seconds. They are told apart by how far single beats lie from the grid.
MACHINE, PLAYER, TIGHT = -0.0035, 0.006, 0.006
LONGEST, EVENLY = 600.0, 0.5  # seconds in which one is looked for; how much of the beats it has to have


@dataclass(frozen=True)
class Beats:
    """Tempo and metre as found.

    Attributes:
        bpm: quarter notes a minute.
        confidence: 0 to 1, that the downbeats are right; from :data:`SURE` on a cut there can be trusted.
        beats_per_bar: 3 or 4, say.
        beats, downbeats: ascending samples ``int64``; each downbeat is one of the beats.
    """

    bpm: float
    confidence: float
    beats_per_bar: int
    beats: np.ndarray
    downbeats: np.ndarray


@dataclass
class Grid:
    """Beats as tracked.

    Attributes:
        times: of the beats, seconds.
        first: the place in the bar of the first of them; 0 is a downbeat.
        metre: beats in a bar.
        bpm: the most common tempo.
        straight: whether the beats are evenly spaced.
        facts: numbers that tell how sure this is, by name.
        turns: what speaks for each place in the bar as that of the first of ``times``, a bar's mean, ``[metre]``.
    """

    times: np.ndarray
    first: int
    metre: int
    bpm: float
    straight: bool
    facts: dict[str, float] = field(default_factory=dict)
    turns: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def downbeats(self) -> np.ndarray:
        return self.times[(np.arange(len(self.times)) + self.first) % self.metre == 0]


def grid(says: np.ndarray, odds: np.ndarray, rate: float, steps: np.ndarray, places: np.ndarray, metre: int,
         facts: dict[str, float]) -> Grid:
    """A grid through tracked beats, and what tells how sure it is."""
    exact, strength = _centres(says, steps)
    times, curve = _line(exact, strength), _smooth(exact, strength + 1e-3)
    straight = bool(np.abs(curve - times).max() < STRAIGHT * rate)
    if not straight and len(says) < LONGEST * rate:
        even = _even(odds, float(np.median(np.diff(exact))))
        theirs, ours = _parts(odds, even), _parts(odds, steps)
        if theirs.sum() > EVENLY * ours.sum() and (theirs < EVENLY / 2 * ours).sum() <= 1:
            steps, straight = even, True
            exact, strength = _centres(says, steps)
            times = _line(exact, strength)
    times = times if straight else curve
    votes = _speaks(odds, np.round(times).astype(int))  # [n, 2]
    number = np.arange(len(times))
    sums = np.array([np.where((number + s) % metre == 0, votes[:, 1], votes[:, 0]).sum() for s in range(metre)])
    first = int(sums.argmax()) if straight else int(places[0])
    sums *= metre / len(times)
    rival = np.delete(sums, first).max()
    middle = np.round((times[:-1] + times[1:]) / 2).astype(int)
    tempi = 60 * rate / np.diff(times)
    facts = {**facts, "bar_margin": float(sums[first] - rival), "bars": len(times) / metre,
             "beat": float(votes.max(1).mean()), "off_beat": float(_speaks(odds, middle).max(1).mean()),
             "spread": float(np.sqrt(np.average((exact - times) ** 2, weights=strength + 1e-6)) / rate),
             "straight": float(straight)}
    exact_times = (times + 0.25) / rate + (MACHINE if facts["spread"] < TIGHT else PLAYER)
    bpm = float(tempi.mean() if straight else np.median(tempi))
    return Grid(exact_times, first, metre, bpm, straight, facts, sums)


def _parts(odds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What speaks for beats in each sixth of a sound: where the tempo changes, an even grid holds in a part only."""
    return np.bincount(np.minimum(steps * 6 // len(odds), 5), _speaks(odds, steps).max(1), 6)


def _speaks(odds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What speaks most for a beat and a downbeat within a step, ``[n, 2]``."""
    return odds[np.clip(steps[:, None] + np.arange(-1, 2), 0, len(odds) - 1)].max(1)


def _centres(says: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where beats lie around ``steps``, to a fraction of a step, and how clearly."""
    near = np.clip(steps[:, None] + np.arange(-2, 3), 0, len(says) - 1)
    weight = 1 - np.exp(says[near, 0])
    strength = weight.sum(1)
    return steps + ((near - steps[:, None]) * weight).sum(1) / np.maximum(strength, 1e-6), strength


def _even(odds: np.ndarray, period: float) -> np.ndarray:
    """The evenly spaced beats, within 2% of ``period`` steps, that most speaks for."""
    T, bins = len(odds), 32
    speaks = odds.max(1)
    speaks = np.maximum(speaks, np.maximum(np.append(speaks[1:], 0), np.append(0, speaks[:-1])))
    t = np.arange(T)
    best, at = -np.inf, (period, 0.0)
    for p in np.arange(period * 0.98, period * 1.02, 0.5 * period**2 / T):
        place = (t % p * (bins / p)).astype(np.int64)
        sums = np.bincount(place, speaks, bins) / np.maximum(np.bincount(place, minlength=bins), 1)
        if sums.max() > best:
            best, at = sums.max(), (p, (sums.argmax() + 0.5) * p / bins)
    return np.round(np.arange(at[1], T, at[0])).astype(int)


def _line(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A straight line through ``y``, what lies far off counting less."""
    x, w = np.arange(len(y)), weight + 1e-6
    for _ in range(8):
        mx, my = np.average(x, weights=w), np.average(y, weights=w)
        slope = (w * (x - mx) * (y - my)).sum() / (w * (x - mx) ** 2).sum()
        fit = my + slope * (x - mx)
        w = (weight + 1e-6) / np.maximum(1, np.abs(y - fit) / 0.6)
    return fit


def _smooth(y: np.ndarray, weight: np.ndarray, stiffness: float = 300.0) -> np.ndarray:
    """``y`` with small second differences (E. T. Whittaker, "On a new method of graduation", 1923)."""
    from scipy.linalg import solveh_banded

    n = len(y)
    if n < 3:
        return y
    banded = np.zeros((3, n))
    for offset, value in ((0, (1, 4, 1)), (1, (-2, -2)), (2, (1,))):
        for i, v in enumerate(value):  # the products of rows (1, -2, 1) with themselves
            banded[2 - offset, offset + i: n - 2 + i + offset] += stiffness * v
    banded[2] += weight
    return solveh_banded(banded, weight * y)
