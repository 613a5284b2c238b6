"""Codes of notes altered at random: in another key, louder or softer, faster or slower. Each is a function of codes
``int64 [5, T]`` and a generator; a time that is another is the tempo, for positions count beats."""

from __future__ import annotations

import numpy as np

from audiocraft_ext.notes.codec.multitrack import DIVIDE, FIRST, INSTRUMENT, LINE, PITCH, POSITION, VELOCITY
from audiocraft_ext.notes.codec.score import DRUMS, program_of

SEMITONES = 6  # at most, up or down
LOUDER = 0.3  # octaves of a factor of velocities, up or down
FASTER = 0.15  # octaves of tempo, up or down
LOWEST, HIGHEST = 21, 108  # of a piano, for what no line below is of
RANGES = {range(24, 32): (36, 88), range(32, 40): (24, 67), range(40, 42): (48, 103), range(42, 44): (28, 84),
          range(56, 64): (34, 86), range(64, 72): (34, 92), range(72, 80): (55, 108)}  # of programs: what they play


def transpose(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All but the drums, up or down, as far as every instrument can play it; what is outside of its range already may
    go no further."""
    down, up = room(codes)
    shift = int(rng.integers(-min(down, SEMITONES), min(up, SEMITONES) + 1))
    return transposed(codes, shift)


def transposed(codes: np.ndarray, shift: int) -> np.ndarray:
    """All but the drums, by so many semitones."""
    out = codes.copy()
    out[PITCH, tuned(codes)] += shift
    return out


def room(codes: np.ndarray) -> tuple[int, int]:
    """How many semitones all but the drums may go down, and up."""
    which = tuned(codes)
    program, pitch = program_of(codes[INSTRUMENT, which]), codes[PITCH, which]
    if not len(pitch):
        return 0, 0
    low, high = np.full(128, LOWEST), np.full(128, HIGHEST)
    for programs, (lowest, highest) in RANGES.items():
        low[programs.start : programs.stop], high[programs.start : programs.stop] = lowest, highest
    return max(0, int((pitch - low[program]).min())), max(0, int((high[program] - pitch).min()))


def tuned(codes: np.ndarray) -> np.ndarray:
    """Where notes are that are no drums, ``bool [T]``."""
    return (codes[POSITION] >= FIRST) & (codes[INSTRUMENT] != DRUMS)


def loudness(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All velocities by one factor."""
    out, notes = codes.copy(), codes[POSITION] >= FIRST
    factor = 2.0 ** rng.uniform(-LOUDER, LOUDER)
    out[VELOCITY, notes] = np.clip(np.rint((codes[VELOCITY, notes] + 1) * factor), 1, 127) - 1
    return out


def tempo(bpm: float, rng: np.random.Generator) -> float:
    """A little faster or slower."""
    return bpm * 2.0 ** rng.uniform(-FASTER, FASTER)


def divided(codes: np.ndarray, part: int, given: np.ndarray) -> np.ndarray:
    """The same bars with a part and the instruments ``given``, no others: in each the notes of what is given come
    first, then a division that names the part, then its notes (see :mod:`audiocraft_ext.notes.codec.multitrack`)."""
    line = codes[POSITION] == LINE
    bar, second = np.cumsum(line), (codes[INSTRUMENT] == part) & ~line
    division = np.zeros((codes.shape[0], int(line.sum())), codes.dtype)
    division[POSITION], division[INSTRUMENT] = DIVIDE, part
    both = np.concatenate([codes, division], axis=1)
    order = np.lexsort((np.concatenate([np.where(second, 2, 0), np.ones(division.shape[1], np.int64)]),
                        np.concatenate([bar, np.arange(1, division.shape[1] + 1)])))
    kept = np.concatenate([line | second | np.isin(codes[INSTRUMENT], given), np.ones(division.shape[1], bool)])
    return both[:, order[kept[order]]]
