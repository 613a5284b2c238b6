"""Write MIDI files: what ``midi/file.py`` reads, as type 0 where it has one track, else as type 1."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import write as write_whole
from audiocraft_ext.midi.file import BACK, LATEST, Midi

UNITS = (1, 2, 4, 8, 16, 32, 64)  # of time signatures
LIMITS = {"start": (0, LATEST - 1), "end": (0, LATEST - 1), "tick": (0, LATEST - 1), "track": (0, 0xFFFE),
          "channel": (1, 16), "pitch": (0, 127), "velocity": (1, 127), "program": (0, 127), "number": (0, 127),
          "value": (0, 127), "bend": (-0x2000, 0x1FFF)}  # what a file can say
NAMES, TEMPOS, ENDS, CONTROLS, PROGRAMS, BENDS, BEGINS = range(7)  # the order at one tick
Event = tuple[int, int, int, bytes]  # tick, one of these, pitch of an end: sorted by them


def to_bytes(midi: Midi) -> bytes:
    """A file's bytes. :func:`audiocraft_ext.midi.file.parse` reads the same ``midi`` from them, provided that

    - of the notes on one track, channel and pitch none ends before one that began earlier (lengths are read first in,
      first out),
    - tempos are whole microseconds a beat, from 10 to 1000 BPM.

    Tempo, time and key signatures go on the first track, and all tracks end at ``midi.end`` or the last event.

    Raises:
        UserError: something that no file can say; names it.
    """
    rows = (midi.notes, midi.programs, midi.controls, midi.bends)
    tracks = max(midi.tracks, 1, *(track + 1 for track in midi.names),
                 *(int(table["track"].max()) + 1 for table in rows if len(table)))
    for table in rows:
        _check(table)
    if (short := midi.notes["end"] < midi.notes["start"]).any():
        raise UserError(f"a note of a MIDI file cannot end before it begins: {midi.notes[short][0]}")
    if not 1 <= midi.ticks_per_beat <= 0x7FFF or tracks > 0xFFFF:
        raise UserError(f"a MIDI file cannot say {midi.ticks_per_beat} ticks a beat in {tracks} tracks")
    events: list[list[Event]] = [[] for _ in range(tracks)]
    for track, name in midi.names.items():
        events[track].append((0, NAMES, 0, b"\xff\x03" + _sized(name.encode("utf-8", "replace"))))
    events[0] += [(tick, TEMPOS, 0, event) for tick, event in _of_time(midi)]
    for track, event in _of_channels(midi):
        events[track].append(event)
    end = max([midi.end, *(event[0] for track in events for event in track)])
    head = struct.pack(">4sIHHH", b"MThd", 6, int(tracks > 1), tracks, midi.ticks_per_beat)
    return head + b"".join(_chunk(track, end) for track in events)


def write(path: str | Path, midi: Midi) -> None:
    """Write a file; whole, or not at all.

    Raises:
        UserError: see :func:`to_bytes`.
        OSError: it cannot be written; what was there stays.
    """
    write_whole(Path(path), to_bytes(midi))


def _check(table: np.ndarray) -> None:
    for name in table.dtype.names:
        low, high = LIMITS[name]
        if (wrong := (table[name] < low) | (table[name] > high)).any():
            raise UserError(f"a MIDI file cannot say {name} {table[name][wrong][0]}, expected {low} to {high}")


def _of_time(midi: Midi) -> Iterator[tuple[int, bytes]]:
    """Tempo, time and key signatures, each with its tick."""
    for tick, bpm in midi.tempos:
        beat_us = round(60e6 / bpm)
        if not 1 <= beat_us < 2**24:
            raise UserError(f"a MIDI file says tempos from {60e6 / 2**24:.1f} BPM, got {bpm:g}")
        yield tick, b"\xff\x51\x03" + beat_us.to_bytes(3, "big")
    for tick, over, under in midi.meters:
        if under not in UNITS or not 1 <= over <= 255:
            raise UserError(f"a MIDI file cannot say {over}/{under}")
        yield tick, bytes([0xFF, 0x58, 4, over, under.bit_length() - 1, 24, 8])
    for tick, sharps, minor in midi.keys:
        if not -7 <= sharps <= 7:
            raise UserError(f"a MIDI file cannot say a key of {sharps} sharps, expected -7 to 7")
        yield tick, bytes([0xFF, 0x59, 2, sharps & 0xFF, minor])


def _of_channels(midi: Midi) -> Iterator[tuple[int, Event]]:
    """The events of channels, each with its track."""
    for start, end, track, channel, pitch, velocity in midi.notes.tolist():
        on, off = bytes([0x90 + channel - 1, pitch, velocity]), bytes([0x80 + channel - 1, pitch, 0])
        if end == start:
            yield track, (start, BEGINS, 0, on + b"\0" + off)
        else:
            yield track, (start, BEGINS, 0, on)
            yield track, (end, ENDS, pitch, off)
    for tick, track, channel, number, value in midi.controls.tolist():
        yield track, (tick, CONTROLS, 0, bytes([0xB0 + channel - 1, number, value]))
    for tick, track, channel, program in midi.programs.tolist():
        yield track, (tick, PROGRAMS, 0, bytes([0xC0 + channel - 1, program]))
    for tick, track, channel, bend in midi.bends.tolist():
        yield track, (tick, BENDS, 0, bytes([0xE0 + channel - 1, bend + 0x2000 & 0x7F, bend + 0x2000 >> 7]))


def _chunk(events: list[Event], end: int) -> bytes:
    """A track that ends at tick ``end``."""
    out, before = bytearray(), 0
    for tick, *_, event in [*sorted(events, key=lambda event: event[:3]), (end, b"\xff\x2f\0")]:
        while tick - before >= BACK:  # longer than an event can wait: empty texts on the way
            out += _number(BACK - 1) + b"\xff\x01\0"
            before += BACK - 1
        out += _number(tick - before) + event
        before = tick
    return b"MTrk" + struct.pack(">I", len(out)) + out


def _sized(data: bytes) -> bytes:
    return _number(len(data)) + data


def _number(number: int) -> bytes:
    """Of variable length."""
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(number & 0x7F | 0x80)
    return bytes(reversed(out))
