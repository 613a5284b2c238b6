"""What a model of drums has to beat, part two: copying the nearest bar of the train split.

To predict a bar, the training bar is found whose hits are nearest to the bar *before* it (symmetric difference; of
several as near the one whose velocities are, then the first), and the bar that was played after that one is copied,
with errors:

- hit or none: as in the copy with probability a, else as in the table of positions;
- velocity, offset of a hit that the copy has too: with probability b, c from a two-with_splits geometric distribution
around
  the copy's (widths v, o), else from the table; of other hits from the table.

a (one each for cells with and without a hit in the copy), b and c depend on how near the bar was (:data:`NEAR`, in
shares of the hits of both together). They are fitted by EM, v and o by trying: a fifth of the train split's
performances is predicted with copies and tables from the other four, so that no bar is copied from its own performance.
A clip's first bar, before which there is nothing, is the table's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.drums.baselines import Odds, Positions, folds_of
from benchmarks.drums.clips import Bars, Clip, bars_of

NEAR = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65)  # upper ends; what is farther is a class of its own
WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # of the distribution around a copy, in bins
QUERIES = 256  # bars that are looked for at once


class Copying(NamedTuple):
    """How much a copy is trusted, for each class of nearness: ``hit [n, 2]`` in cells where it has none and one,
    ``loud [n]``, ``when [n]``; and the two widths, in bins."""

    hit: np.ndarray
    loud: np.ndarray
    when: np.ndarray
    loud_width: float
    when_width: float


class Follow:
    """Which bar followed on what: ``of(codes)`` finds the copy.

    Args:
        bars: in which it is looked for.
    """

    def __init__(self, bars: Bars):
        self.bars = bars
        self.after = np.flatnonzero(bars.previous >= 0)
        self.before = bars.previous[self.after]
        self.hits = bars.hits[self.before]  # [n, C * S]
        self.sizes = self.hits.sum(1)

    def of(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of bars ``codes [m, 2C, S]``: which bars follow the nearest, ``int64 [m]``, and how far those are as a share
        of the hits of both together, ``float64 [m]``."""
        m, K, _ = codes.shape
        velocity = codes[:, : K // 2]
        hits = (velocity > 0).reshape(m, -1).astype(np.float32)
        nearest, share = np.zeros(m, np.int64), np.zeros(m)
        for first in range(0, m, QUERIES):
            some = hits[first : first + QUERIES]
            common = some @ self.hits.T  # small whole numbers, so float32 is exact
            far = some.sum(1)[:, None] + self.sizes - 2 * common
            least = far.min(1)
            for i, (row, d) in enumerate(zip(far, least), first):
                ties = np.flatnonzero(row == d)
                there = self.bars.codes[self.before[ties], : K // 2]
                best = ties[np.abs(there - velocity[i]).sum((1, 2)).argmin()]
                nearest[i], share[i] = self.after[best], d / max(1.0, float(common[i - first, best] + d))
        return nearest, share


def around(copy: np.ndarray, size: int, width: float) -> np.ndarray:
    """Two-with_splits geometric distributions ``[..., size]`` around each of ``copy [...]``."""
    p = np.exp(-np.abs(np.arange(size) - np.asarray(copy)[..., None]) / width)
    return p / p.sum(-1, keepdims=True)


class Nearest:
    """Copies of the nearest bar, with errors from a table of positions.

    Args:
        clips: of the train split.
        table: fitted to them.
        sizes: how many velocities and offsets there are.
    """

    def __init__(self, clips: Sequence[Clip], table: Positions, sizes: tuple[int, int],
                 copying: Copying | None = None):
        self.table, self.sizes = table, sizes
        self.follows = follows(clips)
        self.copying = copying or fit(clips, table.priors, sizes)

    def odds(self, clip: Clip) -> Odds:
        """The copies of all bars but the first."""
        plain = self.table.odds(clip)
        follow = self.follows.get(clip.bar_steps)
        if follow is None or clip.bars < 2:
            return plain
        bars = np.stack(np.split(clip.codes, clip.bars, 1))
        nearest, share = follow.of(bars[:-1])
        copied = np.concatenate(list(follow.bars.codes[nearest]), 1)  # [2C, T - S]
        S = clip.bar_steps
        mixed = mix(self.copying, Odds(*(p[:, S:] for p in plain)), copied, np.repeat(_near(share), S), self.sizes)
        return Odds(*(np.concatenate([p[:, :S], q], 1) for p, q in zip(plain, mixed)))


def follows(clips: Sequence[Clip]) -> dict[int, Follow]:
    """By the number of steps of a bar; lengths of which no two bars follow each other are left out."""
    return {steps: Follow(bars) for steps, bars in bars_of(clips).items() if (bars.previous >= 0).any()}


def mix(copying: Copying, table: Odds, copied: np.ndarray, near: np.ndarray, sizes: tuple[int, int]) -> Odds:
    """``[C, T, ...]``: a copy with errors.

    Args:
        table: where errors come from.
        copied: codes ``[2C, T]``.
        near: the class of nearness of each step, ``int64 [T]``.
    """
    velocity, offset = np.split(copied, 2)
    some = velocity > 0
    trust = copying.hit[near, some.astype(np.int64)][..., None]  # [C, T, 1]
    parts = [trust * np.eye(2)[some.astype(np.int64)] + (1 - trust) * table.hit]
    for value, size, trusts, width, p in ((velocity - 1, sizes[0], copying.loud, copying.loud_width, table.loud),
                                          (offset, sizes[1], copying.when, copying.when_width, table.when)):
        trust = (trusts[near] * some)[..., None]
        parts.append(trust * around(value, size, width) + (1 - trust) * p)
    return Odds(*parts)


def fit(clips: Sequence[Clip], priors: tuple[float, ...], sizes: tuple[int, int]) -> Copying:
    """How far a copy is to be trusted; where there is nothing to learn it from, half."""
    fold = folds_of(clips)
    held = [clip for clip, f in zip(clips, fold) if f == 0]
    rest = [clip for clip, f in zip(clips, fold) if f != 0]
    cells = _cells(held, rest, priors, sizes) if rest else None
    n = len(NEAR) + 1
    if cells is None:
        return Copying(np.full((n, 2), 0.5), np.full(n, 0.5), np.full(n, 0.5), 2.0, 2.0)
    near, copied_hit, is_hit, table_hit, both = cells
    hit = np.stack([trust((is_hit == some)[copied_hit == some], np.where(is_hit, table_hit, 1 - table_hit)
                          [copied_hit == some], near[copied_hit == some], n) for some in (False, True)], 1)
    loud, when = (_widest(*part, both["near"], n, size) for part, size in zip((both["loud"], both["when"]), sizes))
    return Copying(hit, loud[0], when[0], loud[1], when[1])


def _cells(held: list[Clip], rest: list[Clip], priors: tuple[float, ...], sizes: tuple[int, int]):
    """What copies and the table say of each cell that is held out, all lengths of bars in a row; None: there is no
    bar that follows one."""
    table, there, out = Positions(rest, sizes, priors), follows(rest), []
    for steps, bars in bars_of(held).items():
        new = np.flatnonzero(bars.previous >= 0)
        if steps not in there or not len(new):
            continue
        nearest, share = there[steps].of(bars.codes[bars.previous[new]])
        copied, codes = there[steps].bars.codes[nearest], bars.codes[new]  # [m, 2C, S]
        C = codes.shape[1] // 2
        near = np.broadcast_to(_near(share)[:, None, None], (len(new), C, steps))
        some, was = codes[:, :C] > 0, copied[:, :C] > 0
        hit, loud, when = table.tables[steps]
        m, drum, step = np.nonzero(some & was)
        values = [(codes[m, drum, step] - 1, copied[m, drum, step] - 1, loud[drum, step]),
                  (codes[m, C + drum, step], copied[m, C + drum, step], when[drum, step])]
        out.append((near.ravel(), was.ravel(), some.ravel(), np.broadcast_to(hit[..., 1], some.shape).ravel(),
                    near[m, drum, step], *(np.stack([new_, old, p[np.arange(len(m)), new_]])
                                           for new_, old, p in values)))
    if not out:
        return None
    near, was, some, p, both_near, loud, when = (np.concatenate(parts, -1) for parts in zip(*out))
    return near, was, some, p, {"near": both_near, "loud": loud, "when": when}


def trust(copy: np.ndarray, table: np.ndarray, near: np.ndarray, classes: int, rounds: int = 50) -> np.ndarray:
    """The weight of a copy beside a table under which what happened is likeliest, for each class of nearness, by EM:
    ``copy`` and ``table`` are the probability of what happened under each, ``[n]``."""
    weight, size = np.full(classes, 0.5), np.bincount(near, minlength=classes)
    for _ in range(rounds):
        of_copy = weight[near] * copy
        share = of_copy / (of_copy + (1 - weight[near]) * table)
        # one pretended cell of each kind: a class that was never met is trusted by half, none wholly
        weight = (np.bincount(near, share, classes) + 1) / (size + 2)
    return weight


def _widest(new: np.ndarray, old: np.ndarray, table: np.ndarray, near: np.ndarray, classes: int,
            size: int) -> tuple[np.ndarray, float]:
    """The trusts and the width under which the values ``new`` of hits whose copy has ``old`` are likeliest."""
    new, old, best = new.astype(np.int64), old.astype(np.int64), (-np.inf, np.zeros(0), 0.0)
    for width in WIDTHS:
        copy = around(np.arange(size), size, width)[old, new]
        weight = trust(copy, table, near, classes)
        likely = float(np.log(weight[near] * copy + (1 - weight[near]) * table).sum())
        best = max(best, (likely, weight, width), key=lambda one: one[0])
    return best[1], best[2]


def _near(share: np.ndarray) -> np.ndarray:
    return np.searchsorted(NEAR, share)
