"""Bars of drums as numbers to reckon with: what both drum codecs turn their codes into and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Pattern:
    """Hits, sorted by step, class and offset: equally long arrays. Functions that change one give a new one.

    Attributes:
        step: ``int64 [n]``, the nearest step from the first bar line on.
        drum: ``int64 [n]``, the class.
        velocity: ``float64 [n]``, 1 to 127.
        offset: ``float64 [n]``, from the step, in steps: -0.5 to below 0.5.
        bars: how many.
        bar_steps: steps of a bar; ``beat_steps`` of a quarter note.
        rolls: whether a class may hit several times in a step.
    """

    step: np.ndarray
    drum: np.ndarray
    velocity: np.ndarray
    offset: np.ndarray
    bars: int
    bar_steps: int
    beat_steps: int
    rolls: bool = False

    def __len__(self) -> int:
        return len(self.step)

    @property
    def steps(self) -> int:
        return self.bars * self.bar_steps

    def table(self) -> np.ndarray:
        """``float64 [n, 4]``: step, class, velocity, offset."""
        return np.stack([self.step, self.drum, self.velocity, self.offset], 1)

    def with_table(self, table: np.ndarray, bars: int | None = None) -> Pattern:
        """These hits instead: ``[n, 4]`` in any order. Without rolls one of a class a step stays, the loudest; what is
        outside of the bars is left out, velocities and offsets are brought into range."""
        bars = self.bars if bars is None else bars
        table = np.asarray(table, np.float64).reshape(-1, 4)
        step, drum = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        order = np.lexsort((table[:, 3] if self.rolls else -table[:, 2], drum, step))
        order = order[(step[order] >= 0) & (step[order] < bars * self.bar_steps)]
        if not self.rolls:
            first = np.ones(len(order), bool)
            first[1:] = (np.diff(step[order]) != 0) | (np.diff(drum[order]) != 0)
            order = order[first]
        return replace(self, step=step[order], drum=drum[order], velocity=np.clip(table[order, 2], 1, 127),
                       offset=np.clip(table[order, 3], -0.5, np.nextafter(0.5, 0)), bars=bars)

    def take(self, bars: Sequence[int] | np.ndarray) -> Pattern:
        """These bars, by their numbers from 0, in this order."""
        edges = np.searchsorted(self.step, np.arange(self.bars + 1) * self.bar_steps)
        bars = np.asarray(bars, np.int64)
        hits = np.diff(edges)[bars]
        to = np.repeat(np.arange(len(bars)), hits)  # the new bar of each hit
        index = np.arange(len(to)) + (edges[bars] - np.cumsum(hits) + hits)[to]
        return replace(self, step=self.step[index] + (to - bars[to]) * self.bar_steps, drum=self.drum[index],
                       velocity=self.velocity[index], offset=self.offset[index], bars=len(bars))

    def only(self, hits: np.ndarray) -> Pattern:
        """The hits that are chosen, ``bool [n]``."""
        return replace(self, step=self.step[hits], drum=self.drum[hits], velocity=self.velocity[hits],
                       offset=self.offset[hits])
