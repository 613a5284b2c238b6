"""Notes of MIDI files: which end belongs to which, what the sustain pedal makes of them, which program plays them."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from audiocraft_ext.midi.file import Midi

SUSTAIN, DOWN = 64, 64  # the controller of the sustain pedal, and the value from which on it is down


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


def with_sustain(midi: Midi) -> Midi:
    """The same file with the sustain pedal as length: a note that ends while its channel's pedal is down sounds until
    the pedal comes up, its pitch begins anew, or the file ends. The pedal's events (controller 64) are gone from it.

    A pedal that goes down at the tick at which a note ends comes too late for it, as in files of
    :mod:`audiocraft_ext.midi.write`.
    """
    notes, of_pedal = midi.notes.copy(), midi.controls["number"] == SUSTAIN
    pedal = midi.controls[of_pedal]
    for channel in np.unique(pedal["channel"]):
        moves = pedal[pedal["channel"] == channel]
        down = moves["value"] >= DOWN
        releases = np.append(moves["tick"][~down], midi.end)
        played = np.flatnonzero(notes["channel"] == channel)
        for pitch in np.unique(notes["pitch"][played]):
            which = played[notes["pitch"][played] == pitch]
            start, end = notes["start"][which], notes["end"][which]
            last = np.searchsorted(moves["tick"], end) - 1  # move of the pedal before the end
            held = (last >= 0) & down[last]
            until = releases[np.searchsorted(releases[:-1], end)]
            anew = np.append(start, midi.end)[np.searchsorted(start, np.maximum(end, start + 1))]
            notes["end"][which] = np.where(held, np.maximum(end, np.minimum(until, anew)), end)
    return replace(midi, notes=notes, controls=midi.controls[~of_pedal])


def programs_of(midi: Midi) -> np.ndarray:
    """The program that plays each note, ``int64 [n]``: its channel's last before it begins or at that tick, on any
    track, else 0."""
    found = np.zeros(len(midi.notes), np.int64)
    for channel in np.unique(midi.programs["channel"]):
        changes, which = midi.programs[midi.programs["channel"] == channel], midi.notes["channel"] == channel
        at = np.searchsorted(changes["tick"], midi.notes["start"][which], side="right")
        found[which] = np.append(0, changes["program"])[at]
    return found
