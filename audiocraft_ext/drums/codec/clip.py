"""What goes into the drum codec and comes out of it: clips of drums, their hits on a grid, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiocraft_ext.midi.file import TICKS


@dataclass(frozen=True, eq=False)
class DrumClip:
    """Hits of drums in one time signature.

    Attributes:
        notes: ``int64 [n, 3]``: tick, pitch, velocity 1 to 127. A tick below 0 is before the first bar line.
        ticks_per_beat: a quarter note.
        bpm: quarter notes a minute.
        meter: numerator and denominator of the time signature.
        bars: how long it is; None is up to the bar of the last hit.
    """

    notes: np.ndarray
    ticks_per_beat: int = TICKS
    bpm: float = 120.0
    meter: tuple[int, int] = (4, 4)
    bars: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", np.asarray(self.notes, np.int64).reshape(-1, 3))
        object.__setattr__(self, "meter", (int(self.meter[0]), int(self.meter[1])))
        pitch, velocity = self.notes[:, 1], self.notes[:, 2]
        if ((pitch < 0) | (pitch > 127) | (velocity < 1) | (velocity > 127)).any():
            raise ValueError("expected pitches from 0 to 127 and velocities from 1 to 127")
        if self.ticks_per_beat < 1 or not self.bpm > 0 or min(self.meter) < 1 or (self.bars or 1) < 1:
            raise ValueError(f"expected ticks, tempo, time signature and bars above 0, got {self.ticks_per_beat}, "
                             f"{self.bpm}, {self.meter}, {self.bars}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DrumClip):
            return NotImplemented
        mine, theirs = ((c.ticks_per_beat, c.bpm, c.meter, c.bars) for c in (self, other))
        return mine == theirs and np.array_equal(self.notes, other.notes)


@dataclass(frozen=True)
class Hits:
    """Hits on the grid, sorted by step first: equally long arrays ``int64``.

    Attributes:
        step: from the first bar line.
        drum: the class.
        velocity, offset: codes, from 1 and from 0.
        note: which row of the clip's notes each is.
    """

    step: np.ndarray
    drum: np.ndarray
    velocity: np.ndarray
    offset: np.ndarray
    note: np.ndarray

    def __len__(self) -> int:
        return len(self.step)

    def between(self, first: int, last: int) -> Hits:
        """Those of steps ``first`` to before ``last``, counted from ``first``."""
        a, b = np.searchsorted(self.step, (first, last))
        part = self.at(slice(a, b))
        return Hits(part.step - first, part.drum, part.velocity, part.offset, part.note)

    def at(self, which: np.ndarray | slice) -> Hits:
        """Those of some indices."""
        return Hits(self.step[which], self.drum[which], self.velocity[which], self.offset[which], self.note[which])


@dataclass(frozen=True)
class Cost:
    """What canonicalising changed.

    Attributes:
        hits, kept: how many went in and came out.
        unmapped: hits that the map drops; ``merged``, those in whose place a louder one of the class was (a step of
            ``drum_grid``, the same time in ``drum_hits``);
            ``outside``, those before or behind the clip.
        velocity: mean error of those that were kept, of 127.
        timing_ms, timing_p95_ms: mean and 95th percentile of their error in time, at the clip's tempo.
    """

    hits: int
    kept: int
    unmapped: int
    merged: int
    outside: int
    velocity: float
    timing_ms: float
    timing_p95_ms: float
