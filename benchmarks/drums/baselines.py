"""What a model of drums has to beat, part one: probabilities that know nothing of what was played before.

A baseline is anything with ``odds(clip) -> Odds``: for every cell of the grid, given all cells of earlier steps, how
likely a hit is, and of a hit each velocity and each offset. They sum to 1, so that all losses compare with each other
and with a model's; the temperature of sampling has nothing to do with any of them.

- :class:`Unigram`: each class has one distribution of hit or none, of velocities and of offsets: its counts plus one.
- :class:`Positions`: one for each class and step of the bar (bars of another length have their own), drawn towards the
  unigram by as many pretended counts as predict performances best that were left out, in the train split.

The third, copying the nearest bar, is in benchmarks/drums/nearest.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.drums.clips import Clip

PRIORS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)  # pretended counts to choose from
FOLDS = 5  # parts of the performances; each is predicted from the others


class Odds(NamedTuple):
    """Three things for each of some cells: no hit or one (``[..., 2]``), and of a hit the velocity (``[..., V]``) and
    the offset (``[..., O]``). Probabilities of a clip, ``[C, T, ...]``; or how often each was met."""

    hit: np.ndarray
    loud: np.ndarray
    when: np.ndarray


class Loss(NamedTuple):
    """Nats: whether there is a hit, how loud it is, where in its step. Of one clip or of many."""

    hit: float
    loud: float
    when: float

    @property
    def nats(self) -> float:
        return sum(self)


class Baseline(Protocol):
    def odds(self, clip: Clip) -> Odds:
        """Of each cell, knowing all cells of earlier steps."""


def loss(odds: Odds, codes: np.ndarray) -> Loss:
    """Of ``codes [2C, T]``: in every cell whether there is a hit, velocity and offset where there is one."""
    velocity, offset = np.split(np.asarray(codes), 2)
    drum, step = np.nonzero(velocity)
    hit = np.take_along_axis(odds.hit, (velocity > 0)[..., None].astype(np.int64), 2)
    return Loss(*(-float(np.log(p).sum()) for p in (hit, odds.loud[drum, step, velocity[drum, step] - 1],
                                                     odds.when[drum, step, offset[drum, step]])))


def total(losses: Iterable[Loss]) -> Loss:
    """Of all."""
    return Loss(*np.sum([tuple(one) for one in losses], axis=0).tolist())


def per_hit(summed: Loss, clips: Sequence[Clip]) -> dict[str, float]:
    """Nats a hit, and its three parts; bits a bar."""
    hits, bars = sum(clip.hits for clip in clips), sum(clip.bars for clip in clips)
    return {"nats_a_hit": summed.nats / hits, **{name: value / hits for name, value in summed._asdict().items()},
            "bits_a_bar": summed.nats / float(np.log(2)) / bars}


def measure(baseline: Baseline, clips: Sequence[Clip]) -> dict[str, float]:
    """:func:`per_hit` of a baseline."""
    return per_hit(total(loss(baseline.odds(clip), clip.codes) for clip in clips), clips)


def counts(clips: Iterable[Clip], bar_steps: int, sizes: tuple[int, int], classes: int) -> Odds:
    """How often each was met, ``[S, C, ...]`` for each step of the bar, in the clips with bars of so many steps.
    ``sizes`` are V and O."""
    out = Odds(*(np.zeros((bar_steps, classes, size)) for size in (2, *sizes)))
    drums = np.arange(classes)[:, None]
    for clip in clips:
        if clip.bar_steps == bar_steps:
            velocity, offset = np.split(clip.codes, 2)
            step = np.arange(velocity.shape[1]) % bar_steps
            np.add.at(out.hit, (step, drums, (velocity > 0).astype(np.int64)), 1)
            drum, at = np.nonzero(velocity)
            np.add.at(out.loud, (step[at], drum, velocity[drum, at] - 1), 1)
            np.add.at(out.when, (step[at], drum, offset[drum, at]), 1)
    return out


class Unigram:
    """Each class's frequencies.

    Args:
        clips: of the train split.
        sizes: how many velocities and offsets there are.

    Attributes:
        table: ``[C, ...]``.
    """

    def __init__(self, clips: Sequence[Clip], sizes: tuple[int, int]):
        classes = len(clips[0].codes) // 2
        parts = [counts(clips, steps, sizes, classes) for steps in {clip.bar_steps for clip in clips}]
        added = [sum(count.sum(0) for count in of_all) + 1 for of_all in zip(*parts)]
        self.table = Odds(*(count / count.sum(-1, keepdims=True) for count in added))

    def odds(self, clip: Clip) -> Odds:
        """The same at every step."""
        T = clip.codes.shape[1]
        return Odds(*(np.broadcast_to(p[:, None], (len(p), T, p.shape[1])) for p in self.table))


class Positions:
    """Each class's frequencies at each step of the bar.

    Args:
        clips, sizes: as for :class:`Unigram`.
        priors: pretended counts of the three; by default they are chosen.

    Attributes:
        tables: ``[C, S, ...]`` for each length S of a bar.
    """

    def __init__(self, clips: Sequence[Clip], sizes: tuple[int, int], priors: Sequence[float] = ()):
        self.unigram = Unigram(clips, sizes)
        classes, lengths = len(clips[0].codes) // 2, sorted({clip.bar_steps for clip in clips})
        self.priors = tuple(priors) or _choose(clips, sizes, classes, lengths)
        self.tables = {steps: self._table(counts(clips, steps, sizes, classes)) for steps in lengths}

    def _table(self, there: Odds) -> Odds:
        return Odds(*(smoothed(count, p, prior).transpose(1, 0, 2)
                      for count, p, prior in zip(there, self.unigram.table, self.priors)))

    def odds(self, clip: Clip) -> Odds:
        """Bars of a length that was never met have the unigram's."""
        table = self.tables.get(clip.bar_steps)
        if table is None:
            return self.unigram.odds(clip)
        return Odds(*(np.tile(p, (1, clip.bars, 1)) for p in table))

    def sample(self, clips: int, bars: int, bar_steps: int, rng: np.random.Generator, on_step: int) -> np.ndarray:
        """Clips drawn from the table, each cell by itself, ``int64 [n, 2C, T]``; ``on_step`` is the offset of no
        hit."""
        hit, loud, when = ((rng.random((clips, len(p), bars * bar_steps, 1))
                            > np.tile(p, (1, bars, 1)).cumsum(-1)[..., :-1]).sum(-1) for p in self.tables[bar_steps])
        return np.concatenate([hit * (1 + loud), np.where(hit, when, on_step)], axis=1)


def smoothed(count: np.ndarray, p: np.ndarray, prior: float) -> np.ndarray:
    """Frequencies with ``prior`` counts more that are spread as ``p``."""
    return (count + prior * p) / (count.sum(-1, keepdims=True) + prior)


def folds_of(clips: Sequence[Clip], parts: int = FOLDS) -> np.ndarray:
    """Which part each clip is in; a performance is in one."""
    number = {source: i % parts for i, source in enumerate(dict.fromkeys(clip.source for clip in clips))}
    return np.array([number[clip.source] for clip in clips])


def _choose(clips: Sequence[Clip], sizes: tuple[int, int], classes: int, lengths: list[int]) -> tuple[float, ...]:
    """The priors under which each part of the performances is likeliest, predicted from the others."""
    fold, costs = folds_of(clips), np.zeros((3, len(PRIORS)))
    for part in set(fold.tolist()):
        rest = [clip for clip, f in zip(clips, fold) if f != part]
        held = [clip for clip, f in zip(clips, fold) if f == part]
        if not rest:  # one performance: nothing to choose by
            return (PRIORS[3],) * 3
        unigram = Unigram(rest, sizes).table
        for steps in lengths:
            known, new = counts(rest, steps, sizes, classes), counts(held, steps, sizes, classes)
            for cost, there, count, p in zip(costs, known, new, unigram):
                cost -= [(count * np.log(smoothed(there, p, prior))).sum() for prior in PRIORS]
    return tuple(PRIORS[i] for i in costs.argmin(1))
