"""Where in a sound there is something audible.

What counts as silence is measured from the sound's own level: a quiet recording is not silence, and the noise of the
record between two loud tracks is, crackle included.
"""

from __future__ import annotations

import math

import numpy as np

from data_prep.audio.analysis.facts import ENVELOPE_RATE
from data_prep.audio.analysis.outline import decibels

THRESHOLD = -60.0  # dB from a sound's own level
FLOOR = -84.0  # dBFS, two steps of 16 bits: silence with dither, however quiet the rest
LEVEL_FRAMES = 10  # that reach a sound's own level: 100 ms, so that a click is none
NOISE, ABOVE = -35.0, 6.0  # dB from a sound's own level, below which there may be noise; silence goes so far above it
STEADY, DRIFT = 1.5, 0.7  # dB by which noise varies, and by which half a second of it differs from the next
CRACKLE, CRACKLE_FRAMES = -20.0, 2  # dB from a sound's own level: what is quieter and this short is crackle
BEFORE, AFTER = 0.05, 0.25  # seconds kept around what is audible: an attack's start, a tail's end


def audible(envelope: np.ndarray, threshold_db: float = THRESHOLD) -> np.ndarray:
    """Which frames are more than silence, ``bool [frames]``.

    They are louder than ``threshold_db`` (negative) from the sound's own level (the tenth loudest frame, of a short
    sound the loudest) and than the noise under it, and no crackle.
    """
    db = decibels(envelope)
    present = np.sort(db[db > FLOOR])
    if not len(present):
        return np.zeros(len(db), bool)
    own = float(present[-min(LEVEL_FRAMES, math.ceil(len(present) / LEVEL_FRAMES))])
    above = db > max(FLOOR, own + threshold_db, _noise(db, own) + ABOVE)
    return _runs_longer(above, CRACKLE_FRAMES) | above & (db > own + CRACKLE)


def regions(envelope: np.ndarray, samples: int, rate: int, threshold_db: float | None = THRESHOLD,
            longest: float | None = 2.0, before: float = BEFORE, after: float = AFTER) -> list[tuple[int, int]]:
    """The stretches of a sound that are audible, ``(start, end)`` in samples, ascending and apart; none of a silent
    one.

    Both ends are trimmed, and silence longer than ``longest`` seconds between two hits is cut out (None: never).
    Monotone: a lower threshold, a longer ``longest``, more ``before`` or ``after`` never take anything away.

    Args:
        envelope: as in :class:`data_prep.audio.analysis.facts.Facts`.
        threshold_db: from the sound's own level, see :func:`audible`; None leaves all silence in.
    """
    if threshold_db is None:
        return [(0, samples)] if samples else []
    frames = np.flatnonzero(audible(envelope, threshold_db))
    if not len(frames):
        return []
    starts, ends = _joined(frames, frames + 1, math.inf if longest is None else longest * ENVELOPE_RATE)
    starts, ends = _joined(starts - before * ENVELOPE_RATE, ends + after * ENVELOPE_RATE, 0)
    edges = np.round(np.stack([starts, ends], axis=1) * (rate / ENVELOPE_RATE)).astype(np.int64)
    return [(max(0, int(start)), min(samples, int(end))) for start, end in edges if start < samples]


def _noise(db: np.ndarray, own: float) -> float:
    """Level of the noise that is there when nothing else is: the quietest second far below the sound that neither
    moves, nor dies away as a bell does, nor stays the same as a synthesiser's tone does; else -inf."""
    seconds = db[: len(db) // ENVELOPE_RATE * ENVELOPE_RATE].reshape(-1, ENVELOPE_RATE)
    if not len(seconds):
        return -math.inf
    middle = np.median(seconds, axis=1)
    moves = np.median(np.abs(seconds - middle[:, None]), axis=1)
    halves = np.median(seconds.reshape(len(seconds), 2, -1), axis=2)
    steady = (moves > 0) & (moves <= STEADY) & (np.abs(halves[:, 0] - halves[:, 1]) <= DRIFT)
    noise = middle[steady & (middle > FLOOR) & (middle <= own + NOISE)]
    return float(noise.min()) if len(noise) else -math.inf


def _runs_longer(mask: np.ndarray, frames: int) -> np.ndarray:
    """``mask`` where it is true for more than ``frames`` in a row."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    kept = ends - starts > frames
    change = np.zeros(len(mask) + 1, np.int8)
    change[starts[kept]] += 1
    change[ends[kept]] -= 1
    return np.cumsum(change[:-1]) > 0


def _joined(starts: np.ndarray, ends: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Stretches with no more than ``gap`` between them are one."""
    apart = np.flatnonzero(starts[1:] - ends[:-1] > gap)
    return starts[np.concatenate([[0], apart + 1])], ends[np.concatenate([apart, [len(ends) - 1]])]
