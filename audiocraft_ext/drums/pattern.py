"""Bars of drums as numbers to reckon with: what both drum codecs turn their codes into and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Pattern:
    """Hits, sorted by step and class: equally long arrays. Functions that change one give a new one.

    Attributes:
        step: ``int64 [n]``, the nearest step from the first bar line on.
        drum: ``int64 [n]``, the class.
        velocity: ``float64 [n]``, 1 to 127.
        offset: ``float64 [n]``, from the step, in steps: -0.5 to below 0.5.
        bars: how many.
        bar_steps: steps of a bar; ``beat_steps`` of a quarter note.
    """

    step: np.ndarray
    drum: np.ndarray
    velocity: np.ndarray
    offset: np.ndarray
    bars: int
    bar_steps: int
    beat_steps: int

    def __len__(self) -> int:
        return len(self.step)

    @property
    def steps(self) -> int:
        return self.bars * self.bar_steps

    def table(self) -> np.ndarray:
        """``float64 [n, 4]``: step, class, velocity, offset."""
        return np.stack([self.step, self.drum, self.velocity, self.offset], 1)

    def with_table(self, table: np.ndarray, bars: int | None = None) -> Pattern:
        """These hits instead: ``[n, 4]`` in any order. One of a class a step stays, the loudest; what is outside of
        the bars is left out, velocities and offsets are brought into range."""
        bars = self.bars if bars is None else bars
        table = np.asarray(table, np.float64).reshape(-1, 4)
        step, drum = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        order = np.lexsort((-table[:, 2], drum, step))
        order = order[(step[order] >= 0) & (step[order] < bars * self.bar_steps)]
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(step[order]) != 0) | (np.diff(drum[order]) != 0)
        kept = order[first]
        return Pattern(step[kept], drum[kept], np.clip(table[kept, 2], 1, 127),
                       np.clip(table[kept, 3], -0.5, np.nextafter(0.5, 0)), bars, self.bar_steps, self.beat_steps)
