"""Drums in MIDI files: on which channel they are, where a new time signature begins; and clips of drums as files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import write as write_whole
from audiocraft_ext.drums.codec.base import DrumCodec
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.midi import write as midi_write
from audiocraft_ext.midi.file import DRUMS, NOTE, NOTE_TICKS, BrokenMidi, Midi, table
from audiocraft_ext.midi.time import meter_map

NAMES = re.compile(r"drum|\bkit\b|perc|\bbeats?\b|\b[tc]r-?\d{2,3}\b", re.IGNORECASE)  # of a track that is drums
ALL = 0
BASSES = range(32, 40)  # programs of General MIDI
# Kicks, snares, hats and cymbals of General MIDI, with the edges that electronic kits add; and with toms.
CORE = (22, 26, 35, 36, 37, 38, 39, 40, 42, 44, 46, 49, 51, 53, 55, 57, 59)
KIT = (*CORE, 41, 43, 45, 47, 48, 50, 52)
LEAST_CORE, LEAST_KIT = 0.4, 0.8  # shares of the notes, where notes are drums; measured in docs/DRUMS.md


@dataclass(frozen=True)
class Stretch:
    """A part of a file in one time signature: a ``clip`` that begins at tick ``start`` of the file."""

    start: int
    clip: DrumClip


def drums_of(midi: Midi, channel: int | None = None) -> tuple[np.ndarray, str]:
    """The notes ``int64 [n, 3]`` (tick, pitch, velocity) of a file's drums, and how they were found, "" where there
    was nothing to guess.

    Args:
        channel: 1 to 16, 0 for all; None: channel 10, else the only one that is used if a track is called something
            like "Drums" or its notes look like drums, else those of the tracks with such a name.

    Raises:
        BrokenMidi: no notes, none on that channel, or no way to know which are drums.
    """
    notes, guess = midi.notes, ""
    used = sorted(set(notes["channel"].tolist()))
    among = f"channel {used[0]}" if len(used) == 1 else f"channels {', '.join(map(str, used))}"
    if not used:
        raise BrokenMidi("; ".join(["has no notes", *midi.remarks]))
    if channel is not None and channel != ALL and channel not in used:
        raise BrokenMidi(f"has no notes on channel {channel}, but on {among}")
    if channel is None and DRUMS in used:
        channel = DRUMS
    elif channel is None:
        tracks = [track for track, name in midi.names.items() if NAMES.search(name)]
        named, called = np.isin(notes["track"], tracks), ", ".join(midi.names[track] for track in tracks)
        if len(used) == 1:
            channel = used[0]
            why = f"in a track called {called}" if named.any() else _like_drums(notes["pitch"], channel)
            guess = f"drums on {among}, the only one used, {why}"
        elif named.any():
            notes, channel, guess = notes[named], ALL, f"drums in the track called {called}"
        else:
            raise BrokenMidi(f"has notes on {among}, none of which is known to be drums; say --channel or "
                             "--all-channels")
    if channel != ALL:
        notes = notes[notes["channel"] == channel]
    return np.stack([notes["start"], notes["pitch"], notes["velocity"]], 1), guess


def onsets_of(midi: Midi, pitch: int, channel: int | None = None) -> tuple[np.ndarray, str]:
    """The onsets of a file's notes as drums that all have one ``pitch``, ``int64 [n, 3]`` as :func:`drums_of` gives
    them, of a chord the loudest note; and how they were found, "" where there was nothing to guess.

    Args:
        channel: 1 to 16, 0 for all; None: the only one that is used, else the only one with a bass.

    Raises:
        BrokenMidi: no notes, none on that channel, or no way to know whose onsets are meant.
    """
    notes, guess = midi.notes, ""
    used = sorted(set(notes["channel"].tolist()))
    if not used:
        raise BrokenMidi("; ".join(["has no notes", *midi.remarks]))
    among = f"channel{'s' * (len(used) > 1)} {', '.join(map(str, used))}"
    if channel is None and len(used) > 1:
        basses = np.unique(midi.programs["channel"][np.isin(midi.programs["program"], BASSES)])
        basses = [one for one in basses.tolist() if one in used and one != DRUMS]
        if len(basses) != 1:
            raise BrokenMidi(f"has notes on {among}, and {len(basses) or 'none'} of them with a bass; say whose onsets "
                             "are meant with --channel, or --all-channels")
        channel, guess = basses[0], f"the onsets of channel {basses[0]}, the only one with a bass"
    if channel not in (None, ALL):
        notes = notes[notes["channel"] == channel]
        if not len(notes):
            raise BrokenMidi(f"has no notes on channel {channel}, but on {among}")
    start, which = np.unique(notes["start"], return_inverse=True)
    velocity = np.zeros(len(start), np.int64)
    np.maximum.at(velocity, which, notes["velocity"])
    return np.stack([start, np.full(len(start), pitch), velocity], 1), guess


def _like_drums(pitches: np.ndarray, channel: int) -> str:
    """In what notes of ``pitches [n]`` look like drums.

    Raises:
        BrokenMidi: they do not.
    """
    core, kit = (float(np.isin(pitches, which).mean()) for which in (CORE, KIT))
    found = f"{core:.0%} of its notes at pitches of kick, snare, hats and cymbals, {kit:.0%} at those of a kit"
    if core < LEAST_CORE or kit < LEAST_KIT:
        raise BrokenMidi(f"has notes on channel {channel} only, which do not look like drums ({found}); say --channel "
                         f"{channel} if they are")
    return found


def stretches(midi: Midi, notes: np.ndarray, codec: DrumCodec) -> tuple[list[Stretch], list[str]]:
    """A file's drums as clips, one for each time signature after another, and what the codec cannot represent of them.

    A time signature begins a bar, wherever it stands; a hit less than half a step before it belongs to it. The tempo of
    a clip is the mean over it.

    Args:
        notes: see :func:`drums_of`; ascending.
    """
    found, lost = [], []
    begins = meter_map(midi.meters)
    half = float(4 * midi.ticks_per_beat * codec.reach / codec.steps)  # of a step, in ticks
    last = int(notes[-1, 0]) if len(notes) else 0
    for (start, meter), (end, _) in zip(begins, [*begins[1:], (None, None)]):
        first, behind = np.searchsorted(notes[:, 0], (start - half, np.inf if end is None else end - half))
        inside = notes[first:behind]
        bar = midi.ticks_per_beat * 4 * meter[0] / meter[1]
        try:
            codec.steps_per_bar(meter)
        except UserError as error:
            if len(inside):
                lost.append(str(error))
            continue
        if end is None:  # the file may end with empty bars
            bars = max(int((max(midi.end, start) - start) / bar), int((max(last, start) + half - start) / bar) + 1)
            end = start + bars * bar
        else:
            bars = max(1, -int(-(end - start) // bar))
            if (end - start) % bar:
                lost.append(f"a bar of {meter[0]}/{meter[1]} ends early at another time signature, it is filled up")
        seconds = float(midi.seconds(end) - midi.seconds(start))
        bpm = 60 * (end - start) / midi.ticks_per_beat / seconds
        inside = inside - [start, 0, 0]
        found.append(Stretch(start, DrumClip(inside, midi.ticks_per_beat, bpm, meter, bars)))
    return found, list(dict.fromkeys(lost))


def to_bytes(clip: DrumClip, name: str = "") -> bytes:
    """A clip as a file of type 0 on channel 10, which ends with its last bar. A hit sounds for 60 ticks, or until the
    next of its pitch or the end; of two of a pitch on one tick the louder is written, and what is before the first bar
    line is on it.

    Args:
        name: of the track.

    Raises:
        UserError: a tempo or time signature that no file can hold.
    """
    end = (clip.bars or 0) * clip.ticks_per_beat * 4 * clip.meter[0] // clip.meter[1]
    return midi_write.to_bytes(Midi(_notes(clip, end), clip.ticks_per_beat, [(0, clip.bpm)], [(0, *clip.meter)],
                                    {0: name} if name else {}, end))


def write(path: str | Path, clip: DrumClip) -> None:
    """Write a clip as a file; whole, or not at all.

    Raises:
        UserError: see :func:`to_bytes`.
        OSError: it cannot be written; what was there stays.
    """
    write_whole(Path(path), to_bytes(clip))


def _notes(clip: DrumClip, last: int) -> np.ndarray:
    """The hits of a clip with their ends, those of hits before tick ``last`` not behind it."""
    loudest: dict[tuple[int, int], int] = {}
    for tick, pitch, velocity in clip.notes.tolist():
        at = (pitch, max(tick, 0))
        loudest[at] = max(velocity, loudest.get(at, 0))
    order, notes = sorted(loudest), []
    for (pitch, tick), (other, following) in zip(order, [*order[1:], (-1, 0)]):
        end = min(tick + NOTE_TICKS, following) if other == pitch else tick + NOTE_TICKS
        notes.append((tick, min(end, last) if tick < last else end, pitch, loudest[pitch, tick]))
    start, end, pitch, velocity = np.array(notes, np.int64).reshape(-1, 4).T
    return np.sort(table(NOTE, start, end, 0, DRUMS, pitch, velocity), order=("start", "pitch"))
