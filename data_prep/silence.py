"""Where in a sound there is something to hear.

What counts as silence is measured from the sound's own level: a quiet recording is not silence, and the noise of the
record under loud music is.
"""

from __future__ import annotations

import math

import numpy as np

from data_prep.facts import ENVELOPE_RATE
from data_prep.outline import decibels

THRESHOLD = -48.0  # dB below a sound's own level
FLOOR = -84.0  # dBFS, two steps of 16 bits: silence with dither, however quiet the rest
LEVEL_FRAMES = 10  # that reach a sound's own level: 100 ms, so that a click is none
BEFORE, AFTER = 0.05, 0.25  # seconds kept around what is heard: an attack's start, a tail's end


def threshold(envelope: np.ndarray, threshold_db: float) -> float:
    """dBFS above which a frame of this sound is heard: ``threshold_db`` (negative) from its own level, the tenth of
    its loudest frames, or of a short sound the loudest of them."""
    db = decibels(envelope)
    heard = np.sort(db[db > FLOOR])
    if not len(heard):
        return FLOOR
    own = heard[-min(LEVEL_FRAMES, math.ceil(len(heard) / LEVEL_FRAMES))]
    return max(FLOOR, float(own) + threshold_db)


def regions(envelope: np.ndarray, samples: int, rate: int, threshold_db: float | None = THRESHOLD,
            longest: float | None = 2.0, before: float = BEFORE, after: float = AFTER) -> list[tuple[int, int]]:
    """The stretches of a sound that are heard, ``(start, end)`` in samples, ascending and apart; none of a silent one.

    Both ends are trimmed, and silence longer than ``longest`` seconds between two hits is cut out (None: never).
    Monotone: a lower threshold, a longer ``longest``, more ``before`` or ``after`` never take anything away.

    Args:
        envelope: as in :class:`data_prep.facts.Facts`.
        threshold_db: below the sound's own level, see :func:`threshold`; None leaves all silence in.
    """
    if threshold_db is None:
        return [(0, samples)] if samples else []
    heard = np.flatnonzero(decibels(envelope) > threshold(envelope, threshold_db))
    if not len(heard):
        return []
    starts, ends = _joined(heard, heard + 1, math.inf if longest is None else longest * ENVELOPE_RATE)
    starts, ends = _joined(starts - before * ENVELOPE_RATE, ends + after * ENVELOPE_RATE, 0)
    edges = np.round(np.stack([starts, ends], axis=1) * (rate / ENVELOPE_RATE)).astype(np.int64)
    return [(max(0, int(start)), min(samples, int(end))) for start, end in edges if start < samples]


def _joined(starts: np.ndarray, ends: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Stretches with no more than ``gap`` between them are one."""
    apart = np.flatnonzero(starts[1:] - ends[:-1] > gap)
    return starts[np.concatenate([[0], apart + 1])], ends[np.concatenate([apart, [len(ends) - 1]])]
