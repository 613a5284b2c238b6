"""The groove of a pattern, how loud and how early or late it plays each place of a bar, put onto the hits of another.

No model is needed: a groove is, for each place of a bar, the median of what the pattern plays there.
"""

from __future__ import annotations

import numpy as np

from audiocraft_ext.drums.codec.pattern import Pattern


def with_groove(pattern: Pattern, groove: Pattern) -> Pattern:
    """The hits of ``pattern``, with velocities and offsets of ``groove``; both on one grid.

    A hit takes the median velocity and offset of its class at its step of the bar. Where the groove never has the
    class there: the median offset of all that it has at that step, and as velocity the hit's class's own median, as
    much louder or softer as the groove's hits at that step are than their classes'. Where it has nothing there: as it
    was. Several hits of a class in one step, a roll, stay as they are to each other in time.
    """
    table = pattern.table()  # [n, 4]: step, class, velocity, offset
    if not len(pattern) or not len(groove):
        return pattern
    there, place = groove.step % groove.bar_steps, pattern.step % pattern.bar_steps
    accent = groove.velocity / _of_its_class(groove.drum, groove.velocity)
    own = _of_its_class(pattern.drum, pattern.velocity)
    for step in np.unique(place):
        at, played = place == step, there == step
        if not played.any():
            continue
        table[at, 2], table[at, 3] = own[at] * np.median(accent[played]), np.median(groove.offset[played])
        for drum in np.unique(groove.drum[played]):
            mine, theirs = at & (pattern.drum == drum), played & (groove.drum == drum)
            table[mine, 2], table[mine, 3] = np.median(groove.velocity[theirs]), np.median(groove.offset[theirs])
    several = _several(pattern)
    table[several, 3] = pattern.offset[several]
    return pattern.with_table(table)


def _several(pattern: Pattern) -> np.ndarray:
    """Which hits share their step with another of their class, ``bool [n]``."""
    alike = (np.diff(pattern.step) == 0) & (np.diff(pattern.drum) == 0)
    return np.append(alike, False) | np.append(False, alike)


def _of_its_class(drum: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each hit the median of the values of its class."""
    out = np.zeros(len(drum))
    for one in np.unique(drum):
        out[drum == one] = np.median(values[drum == one])
    return out
