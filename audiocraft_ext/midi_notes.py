"""The lengths of MIDI notes: which end belongs to which note, and what the sustain pedal makes of them."""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np


def pair(key: np.ndarray, tick: np.ndarray, on: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Where each note ends, first in, first out: an end belongs to the oldest note of its key that sounds.

    An end without a note that sounds is passed over. All arguments are ``[n]``, the notes' begins and ends; those of a
    key in the order in which they are played.

    Args:
        key: what an end has in common with its note (track, channel and pitch).
        tick: when.
        on: whether it begins a note.
        last: the tick at which a note ends that nothing ends.

    Returns:
        Ticks ``int64 [n]``; of what begins no note it is ``last``.
    """
    ends = np.array(last, np.int64)
    if len(key) and key.max() < 2**16:
        key = key.astype(np.uint16)  # numpy sorts these by radix
    begins, stops = (of[np.argsort(key[of], kind="stable")] for of in (np.flatnonzero(on), np.flatnonzero(~on)))
    if len(begins) == len(stops) and (key[begins] == key[stops]).all() and (begins < stops).all():
        ends[begins] = tick[stops]  # as many ends as begins, each behind its own: as in most files
        return ends
    sounding: dict[int, deque[int]] = defaultdict(deque)
    for i, (one, begin) in enumerate(zip(key.tolist(), on.tolist())):
        if begin:
            sounding[one].append(i)
        elif sounding[one]:
            ends[sounding[one].popleft()] = tick[i]
    return ends
