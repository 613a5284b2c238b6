"""Notes of several instruments as codes ``[5, T]`` and back: a frame for each note and one for each bar line.

    stream          codes
    0  position     0: here a bar begins; 1: see below; else 2 + the place in the bar, in 1/24 of a quarter note
    1  instrument   0: drums; else 1 + the General MIDI program, + 128 or 256 for a second or third part of that program
    2  pitch        0 to 127
    3  velocity     one less than itself, 1 to 127
    4  length       a place in :attr:`Multitrack.lengths`; of drums 0

Each bar begins with its line, so T = notes + bars; at a line the other streams rest at 0. Each stream is later by one
than the one before it (the delay pattern of MusicGen, https://arxiv.org/abs/2306.05284 section 2.2), so a note's
pitch is chosen knowing its instrument. A position in the bar is as in REMI (https://arxiv.org/abs/2002.00212), several
streams a note as in the Compound Word Transformer (https://arxiv.org/abs/2101.02402).

Position 1 divides a bar: the notes before it are given, those behind it are of one part that goes with them, whose
instrument the division names. A model that has seen bars so divided adds a part to others
(:mod:`audiocraft_ext.notes.play.arrange`). ``encode`` makes none, and ``decode`` passes over them.

The law is ``decode(encode(x)) == canonicalize(x)``, and canonicalising twice is once. No note is lost but those outside
of the bars. Any codes in range decode: notes in any order, those before the first line into the first bar, and those
at positions that the bar has not are left out. No two notes of an instrument and a pitch overlap, so a file can say
them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from audiocraft_ext.core.codes import in_range
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gate
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.midi.file import TICKS
from audiocraft_ext.notes.codec import score as scores
from audiocraft_ext.notes.codec.score import DRUMS, INSTRUMENTS, Cost, Score

KIND, NAME = "notes", "notes"
POSITION, INSTRUMENT, PITCH, VELOCITY, LENGTH = range(5)
LINE, DIVIDE, FIRST = 0, 1, 2  # positions that are none, and the first that is one
LONGEST = 8  # quarter notes of a bar
SHORTEST = 1.5  # of a bar; what is shorter counts beats and no bars
DIVISIONS = (12, 24, 48)  # each divides TICKS


@dataclass(frozen=True)
class Multitrack:
    """The codec ``notes``.

    Args:
        division: parts of a quarter note: 12, 24 or 48.

    Raises:
        UserError: another division.
    """

    division: int = 24

    def __post_init__(self) -> None:
        if self.division not in DIVISIONS:
            raise UserError(f"division: expected {', '.join(map(str, DIVISIONS))} parts of a quarter note, got "
                            f"{self.division}")

    @cached_property
    def lengths(self) -> np.ndarray:
        """What the codes of lengths stand for, in parts, ascending: each up to two quarter notes, then ever wider
        apart, up to 32 quarter notes."""
        parts = [np.arange(1, 2 * self.division + 1)]
        for double in range(1, 5):
            parts.append(parts[-1][-1] + 2**double * np.arange(1, self.division + 1))
        return np.concatenate(parts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each stream takes."""
        return (FIRST + LONGEST * self.division, INSTRUMENTS, 128, 127, len(self.lengths))

    @property
    def spec(self) -> Spec:
        """K = 5; a frame is a note or a line and no length of time."""
        positions, tuned = tuple(range(FIRST, self.sizes[0])), tuple(range(1, INSTRUMENTS))
        gates = [Gate(stream, POSITION, 0, positions) for stream in (INSTRUMENT, PITCH, VELOCITY)]
        return Spec(KIND, 5, max(self.sizes), None, (0, 1, 2, 3, 4), NAME, self.hash, self.sizes,
                    (*gates, Gate(LENGTH, INSTRUMENT, 0, tuned)), unit="notes")

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        """All of it as JSON values: what a store or a bundle needs to decode its codes."""
        return {"division": self.division}

    @classmethod
    def from_dict(cls, values: dict) -> Multitrack:
        """Raises a :class:`UserError` where the values are none."""
        try:
            return cls(values["division"])
        except (KeyError, TypeError) as error:
            raise UserError(f"not the codec {NAME}: {error!r} in {values}") from None

    def bar_parts(self, meter: tuple[int, int]) -> int:
        """Parts of a bar.

        Raises:
            UserError: a bar that the codec cannot represent.
        """
        parts, rest = divmod(4 * self.division * meter[0], meter[1])
        if rest or not SHORTEST * self.division <= parts <= LONGEST * self.division:
            raise UserError(f"a bar of {meter[0]}/{meter[1]} is none of the codec {NAME}: expected {SHORTEST:g} to "
                            f"{LONGEST} quarter notes, in whole parts of 1/{self.division}")
        return parts

    def fits(self, meter: tuple[int, int]) -> bool:
        """Whether there are such bars."""
        try:
            return bool(self.bar_parts(meter))
        except UserError:
            return False

    def quantise(self, score: Score) -> tuple[np.ndarray, np.ndarray]:
        """All notes in parts, sorted; also those before and behind the score.

        Returns:
            ``int64 [n, 5]``: start in parts, instrument, pitch, velocity, code of the length; and which note of the
            score each is, ``[n]``.
        """
        notes, beat = score.notes, score.ticks_per_beat
        start, end = ((2 * ticks * self.division + beat) // (2 * beat) for ticks in
                      (notes[:, scores.START], notes[:, scores.START] + notes[:, scores.LENGTH]))
        middles = (self.lengths[1:] + self.lengths[:-1] + 1) // 2
        length = np.searchsorted(middles, np.maximum(end - start, 1), side="right")
        length[notes[:, scores.INSTRUMENT] == DRUMS] = 0
        rows = np.stack([start, notes[:, scores.INSTRUMENT], notes[:, scores.PITCH], notes[:, scores.VELOCITY],
                         length], 1)
        return self.sorted(rows)

    def sorted(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows in the order of codes, none of which goes on when its pitch begins anew; and which one each was."""
        gap = until_next(rows[:, 0], rows[:, 1], rows[:, 2])
        rows = rows.copy()
        rows[:, 4] = np.minimum(rows[:, 4], np.searchsorted(self.lengths, gap, side="right") - 1)
        order = np.lexsort(rows.T[[3, 4, 2, 1, 0]])
        return rows[order], order

    def inside(self, score: Score) -> tuple[np.ndarray, np.ndarray, int]:
        """The notes within a score as :meth:`quantise` gives them, and how many bars it has."""
        rows, which = self.quantise(score)
        bar = self.bar_parts(score.meter)
        bars = score.bars or max(0, int(rows[:, 0].max(initial=0))) // bar + 1
        kept = (rows[:, 0] >= 0) & (rows[:, 0] < bars * bar)
        return rows[kept], which[kept], bars

    def canonicalize(self, score: Score) -> Score:
        """The score as its codes give it, with 480 ticks a beat. The tempo is the nearest that a file can say, in whole
        microseconds a beat.

        Raises:
            UserError: a time signature that the codec cannot represent.
        """
        rows, _, bars = self.inside(score)
        return self._score(rows, bars, score.bpm, score.meter)

    def encode(self, score: Score) -> np.ndarray:
        """Codes ``uint16 [5, T]`` of all bars.

        Raises:
            UserError: a time signature that the codec cannot represent.
        """
        rows, _, bars = self.inside(score)
        return self.codes_of(rows, bars, self.bar_parts(score.meter))

    def codes_of(self, rows: np.ndarray, bars: int, bar_parts: int) -> np.ndarray:
        """Codes of rows as :meth:`sorted` gives them, all of them inside of ``bars``."""
        bar = rows[:, 0] // bar_parts
        codes = np.zeros((5, len(rows) + bars), np.uint16)
        codes[:, np.arange(len(rows)) + bar + 1] = (FIRST + rows[:, 0] % bar_parts, rows[:, 1], rows[:, 2],
                                                    rows[:, 3] - 1, rows[:, 4])
        return codes

    def decode(self, codes: np.ndarray, bpm: float = 120.0, meter: tuple[int, int] = (4, 4)) -> Score:
        """A score of any codes ``[5, T]`` in range, of as many bars as there are lines, one at least.

        Raises:
            ValueError: codes that are not in range.
            UserError: a time signature that the codec cannot represent.
        """
        rows, bars = self.rows(self.checked(codes), self.bar_parts(meter))
        return self._score(rows, bars, bpm, meter)

    def rows(self, codes: np.ndarray, bar_parts: int) -> tuple[np.ndarray, int]:
        """The notes of ``codes int64 [5, T]`` as :meth:`sorted` gives them, and how many bars there are."""
        line = codes[POSITION] == LINE
        at = np.flatnonzero((codes[POSITION] >= FIRST) & (codes[POSITION] < FIRST + bar_parts))
        bar = np.maximum(np.cumsum(line)[at] - 1, 0)
        rows = np.stack([bar * bar_parts + codes[POSITION, at] - FIRST, codes[INSTRUMENT, at], codes[PITCH, at],
                         codes[VELOCITY, at] + 1, np.where(codes[INSTRUMENT, at] == DRUMS, 0, codes[LENGTH, at])], 1)
        return self.sorted(rows)[0], max(1, int(line.sum()))

    def checked(self, codes: np.ndarray) -> np.ndarray:
        """The codes as ``int64 [5, T]``.

        Raises:
            ValueError: codes that are not in range.
        """
        return in_range(codes, self.sizes)

    def cost(self, score: Score) -> Cost:
        """What :meth:`canonicalize` changes.

        Raises:
            UserError: a time signature that the codec cannot represent.
        """
        rows, which, _ = self.inside(score)
        was = score.notes[which]
        part_ms, tick_ms = 60_000 / score.bpm / self.division, 60_000 / score.bpm / score.ticks_per_beat
        timing = np.abs(rows[:, 0] * part_ms - was[:, scores.START] * tick_ms)
        tuned = rows[:, 1] != DRUMS
        length = np.abs(self.lengths[rows[:, 4]] * part_ms - was[:, scores.LENGTH] * tick_ms)[tuned]
        gap = until_next(was[:, scores.START], was[:, scores.INSTRUMENT], was[:, scores.PITCH])
        shortened = int((tuned & (was[:, scores.LENGTH] > gap)).sum())
        if not len(rows):
            return Cost(len(score), 0, 0, 0.0, 0.0, 0.0)
        return Cost(len(score), len(rows), shortened, float(timing.mean()), float(np.percentile(timing, 95)),
                    float(length.mean()) if len(length) else 0.0)

    def _score(self, rows: np.ndarray, bars: int, bpm: float, meter: tuple[int, int]) -> Score:
        part = TICKS // self.division
        notes = np.stack([rows[:, 0] * part, self.lengths[rows[:, 4]] * part, rows[:, 1], rows[:, 2], rows[:, 3]], 1)
        beat_us = min(max(round(60e6 / bpm), 1), 2**24 - 1)
        return Score(notes, TICKS, 60e6 / beat_us, meter, bars)


def until_next(start: np.ndarray, instrument: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """From each note's start to the next later one of its instrument and pitch, ``int64 [n]``; a very large number
    where there is none."""
    key = instrument * 128 + pitch
    order = np.lexsort((start, key))
    at, of = start[order], key[order]
    new = np.ones(len(at), bool)  # the first of those that begin together
    new[1:] = (np.diff(at) != 0) | (np.diff(of) != 0)
    heads = np.append(np.flatnonzero(new), len(at))
    following = heads[np.cumsum(new)]  # of each, the first that begins later
    same = (following < len(at)) & (of[np.minimum(following, len(at) - 1)] == of)
    gap = np.full(len(at), 2**40, np.int64)
    gap[order] = np.where(same, at[np.minimum(following, len(at) - 1)] - at, 2**40)
    return gap


def bars_of(codes: np.ndarray) -> list[np.ndarray]:
    """The bars of codes that begin with a bar line, each with it."""
    return np.split(codes, np.flatnonzero(codes[POSITION] == LINE)[1:], axis=1)


def ordered(codes: np.ndarray) -> np.ndarray:
    """The notes of each bar in the order of time, instrument and pitch."""
    bar = np.cumsum(codes[POSITION] == LINE)
    return codes[:, np.lexsort((codes[PITCH], codes[INSTRUMENT], codes[POSITION], bar))]
