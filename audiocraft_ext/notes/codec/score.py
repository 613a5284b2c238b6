"""What goes into the codec of notes and comes out of it: the notes of all instruments, and what quantising changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiocraft_ext.midi.file import TICKS

START, LENGTH, INSTRUMENT, PITCH, VELOCITY = range(5)  # columns of notes
PROGRAMS = 128
VOICES = 3  # parts of one program that are told apart
DRUMS = 0  # the instrument on channel 10
INSTRUMENTS = 1 + VOICES * PROGRAMS


def instrument(program: int, voice: int = 0) -> int:
    """The number of a General MIDI program, 0 to 127, and of which part of that program it is."""
    return 1 + voice * PROGRAMS + program


def program_of(instruments: np.ndarray | int) -> np.ndarray | int:
    """The program of instruments that are not drums."""
    return (instruments - 1) % PROGRAMS


@dataclass(frozen=True, eq=False)
class Score:
    """Notes in one time signature.

    Attributes:
        notes: ``int64 [n, 5]``: start and length in ticks, instrument (:data:`DRUMS`, or :func:`instrument`), pitch,
            velocity 1 to 127.
        ticks_per_beat: a quarter note.
        bpm: quarter notes a minute.
        meter: numerator and denominator of the time signature.
        bars: how long it is; None is up to the bar in which the last note begins.
    """

    notes: np.ndarray
    ticks_per_beat: int = TICKS
    bpm: float = 120.0
    meter: tuple[int, int] = (4, 4)
    bars: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", np.asarray(self.notes, np.int64).reshape(-1, 5))
        object.__setattr__(self, "meter", (int(self.meter[0]), int(self.meter[1])))
        low, high = np.array([-(2**50), 0, 0, 0, 1]), np.array([2**50, 2**50, INSTRUMENTS - 1, 127, 127])
        if ((self.notes < low) | (self.notes > high)).any():
            raise ValueError(f"expected lengths from 0, instruments below {INSTRUMENTS}, pitches from 0 to 127 and "
                             "velocities from 1 to 127")
        if self.ticks_per_beat < 1 or not self.bpm > 0 or min(self.meter) < 1 or (self.bars or 1) < 1:
            raise ValueError(f"expected ticks, tempo, time signature and bars above 0, got {self.ticks_per_beat}, "
                             f"{self.bpm}, {self.meter}, {self.bars}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score):
            return NotImplemented
        mine, theirs = ((s.ticks_per_beat, s.bpm, s.meter, s.bars) for s in (self, other))
        return mine == theirs and np.array_equal(self.notes, other.notes)

    def __len__(self) -> int:
        return len(self.notes)

    @property
    def seconds(self) -> float:
        """Of all its bars."""
        return (self.bars or 0) * self.meter[0] * 4 / self.meter[1] * 60 / self.bpm


@dataclass(frozen=True)
class Cost:
    """What canonicalising changed.

    Attributes:
        notes, kept: how many went in and came out; the others lie outside of the bars.
        shortened: notes that would go on when their pitch begins anew.
        timing_ms, timing_p95_ms: mean and 95th percentile of how far starts are off, at the score's tempo.
        length_ms: mean of how far lengths are off, of all but drums.
    """

    notes: int
    kept: int
    shortened: int
    timing_ms: float
    timing_p95_ms: float
    length_ms: float
