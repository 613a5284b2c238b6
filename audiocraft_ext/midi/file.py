"""Read MIDI files: notes with their lengths, programs, controllers, pitch bends, tempo, time and key signatures, names.

Standard MIDI Files 1.0, type 0 and 1; :mod:`audiocraft_ext.midi.write` writes them. Whatever the bytes are, they are
read in one pass or refused in one line. What is wrong with one message costs that message, what is wrong with counts
and sizes costs nothing, and of a file that ends too early what is there is read; all of it is remarked. A file is
refused where its messages cannot be told apart. Not kept: aftertouch, system exclusive messages, lyrics, markers and
other texts. Why this is not a library (mido, symusic) is measured in docs/RUNS.md and decided in docs/DESIGN.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi import chunks
from audiocraft_ext.midi import time as midi_time
from audiocraft_ext.midi.notes import pair

TICKS = 480  # a quarter note, in what is written
NOTE_TICKS = 60  # ticks that a hit of drums sounds in our files, unless the next is sooner
DRUMS = 10  # the channel of General MIDI's drums, from 1
SLOWEST, FASTEST = 10.0, 1000.0  # BPM: others are left out
LATEST = 2**40  # tick
BACK = 0x0FF00000  # a delta time of 28 bits from here on was a negative number
NAME = 200  # characters of a name that are kept
WRONG, WRONG_SHARE = 3, 0.02  # messages of a track that may be wrong: so many, and of all that share more
LIVE = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, **dict.fromkeys(range(0xF8, 0xFF), 0)}  # no file has these: bytes of values


def _row(*names: str) -> np.dtype:
    return np.dtype([(name, np.int64) for name in names])


NOTE = _row("start", "end", "track", "channel", "pitch", "velocity")
PROGRAM = _row("tick", "track", "channel", "program")
CONTROL = _row("tick", "track", "channel", "number", "value")
BEND = _row("tick", "track", "channel", "bend")


class BrokenMidi(UserError):
    """A file whose notes cannot be read; the message says why."""


def table(dtype: np.dtype, *columns: object) -> np.ndarray:
    """Equally long columns (or single values) as rows of ``dtype``, such as :data:`NOTE`; without any it is empty."""
    out = np.zeros(np.broadcast(*columns).size if columns else 0, dtype)
    for name, column in zip(dtype.names, columns):
        out[name] = column
    return out


@dataclass(eq=False)
class Midi:
    """What a file holds. Tables are structured arrays of ``int64``, such as ``notes["pitch"]``. Tracks count from 0,
    channels from 1.

    Attributes:
        notes: rows of :data:`NOTE` by start and pitch, with velocities above 0. An end belongs to the oldest note of
            its track, channel and pitch that sounds; a note that is never ended ends with its track.
        ticks_per_beat: a quarter note.
        tempos: (tick, quarter notes a minute), ascending; empty is 120.
        meters: (tick, numerator, denominator), ascending; empty is 4/4.
        names: of tracks and their instruments, by track.
        end: the last tick of any track.
        remarks: what was left out, and what is wrong with the file.
        keys: (tick, sharps from -7 to 7, whether it is minor), ascending.
        programs: rows of :data:`PROGRAM`, 0 to 127, by tick.
        controls: rows of :data:`CONTROL`, by tick; the sustain pedal is number 64.
        bends: rows of :data:`BEND`, -8192 to 8191, by tick.
        tracks: how many the file has.
    """

    notes: np.ndarray
    ticks_per_beat: int = TICKS
    tempos: list[tuple[int, float]] = field(default_factory=list)
    meters: list[tuple[int, int, int]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    end: int = 0
    remarks: list[str] = field(default_factory=list)
    keys: list[tuple[int, int, bool]] = field(default_factory=list)
    programs: np.ndarray = field(default_factory=lambda: table(PROGRAM))
    controls: np.ndarray = field(default_factory=lambda: table(CONTROL))
    bends: np.ndarray = field(default_factory=lambda: table(BEND))
    tracks: int = 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Midi):
            return NotImplemented
        return all(np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs for mine, theirs in
                   ((getattr(self, one.name), getattr(other, one.name)) for one in fields(self)))

    def seconds(self, ticks: np.ndarray | float) -> np.ndarray:
        """When ticks are, by the tempo up to there."""
        return midi_time.seconds(ticks, self.tempos, self.ticks_per_beat)


def read(path: str | Path) -> Midi:
    """Raises :class:`BrokenMidi` where the file is none, OSError where it cannot be read."""
    try:
        return parse(Path(path).read_bytes())
    except BrokenMidi as error:
        raise BrokenMidi(f"{path}: {error}") from None


def parse(data: bytes) -> Midi:
    """A file's bytes.

    Raises:
        BrokenMidi: no MIDI file, one that ends too early or makes no sense.
    """
    if not data:
        raise BrokenMidi("is empty (0 bytes)")
    data, before = chunks.unwrap(data)
    if data[:4] != chunks.HEADER:
        raise BrokenMidi(f"is not a MIDI file, it begins with {data[:4]!r}")
    if len(data) < 14:
        raise BrokenMidi(f"ends inside its header, after {len(data)} bytes")
    size, kind, tracks, division = struct.unpack(">IHHH", data[4:14])
    if size < 6 or kind > 2 or not division:
        raise BrokenMidi(f"has a header that makes no sense (type {kind}, {tracks} tracks, division {division})")
    if kind == 2:
        raise BrokenMidi("is of type 2, patterns that follow no common time; save it as type 0 or 1")
    midi = _Reader(data, [before] if before else []).read(8 + size, tracks).midi(division)
    return midi if division < 0x8000 else _from_frames(midi, division)


class _Reader:
    """Goes through the tracks."""

    def __init__(self, data: bytes, remarks: list[str]):
        self.data, self.remarks = data, remarks
        self.bytes = np.frombuffer(data + bytes(2), np.uint8)  # an event may be cut off by the end
        self.ends: list[int] = []  # ticks, of each track
        self.ticks: list[np.ndarray] = []  # of each track's events of channels
        self.events: list[np.ndarray] = []  # what they are, see _events
        self.wrong = 0  # messages that no file may have
        self.tempos: list[tuple[int, int]] = []  # tick, microseconds a beat
        self.meters: list[tuple[int, int, int]] = []
        self.keys: list[tuple[int, int, bool]] = []
        self.names: dict[int, str] = {}

    def read(self, at: int, counted: int) -> _Reader:
        data, junk = self.data, 0
        while (found := chunks.next_track(data, at)) is not None:
            at, junk = self._track(len(self.ends), found.begin, found.end), junk + found.junk
        tracks = len(self.ends)
        if not tracks:
            raise BrokenMidi(f"ends after 0 of its {counted} tracks")
        if tracks != counted:
            s = "s" * (counted != 1)
            self.remarks.append(f"its header counts {counted} track{s}, it has {tracks}: all are read")
        if junk:
            self.remarks.append(f"{junk} bytes between its tracks are no MIDI, passed over")
        if data[at : at + 4] == chunks.HEADER:
            self.remarks.append(f"another MIDI file begins at its byte {at}, not read")
        if self.wrong:
            self.remarks.append(f"{self.wrong} message{'s' * (self.wrong > 1)} that no file may have (a value above "
                                "127, a clock), passed over")
        return self

    def _number(self, at: int) -> tuple[int, int]:
        """A number of variable length, and where it ends."""
        value = 0
        for i in range(at, at + 4):
            byte = self.data[i]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, i + 1
        raise BrokenMidi(f"has a number of more than four bytes at byte {at} (a negative time?)")

    def _track(self, track: int, at: int, end: int) -> int:
        """Read the track from byte ``at``, which by its size ends at ``end``; where it does."""
        data, tick, size = self.data, 0, 0
        limit = end if chunks.ends_there(data, end) else len(data)
        ticks: list[int] = []  # of the events of channels
        places: list[int] = []  # of their values, behind the status
        cut = ended = False
        try:
            while at < limit:
                byte = data[at]
                if byte < 0x80:
                    tick += byte
                    at += 1
                else:
                    delta, at = self._number(at)
                    if delta >= BACK:
                        raise BrokenMidi(f"steps back in time at byte {at}")
                    tick += delta
                byte = data[at]
                if byte >= 0x80:
                    if byte >= 0xF0:
                        at, ended = self._other(track, tick, byte, at + 1, limit)
                        if ended:
                            break
                        continue
                    at += 1
                    size = 1 if 0xC0 <= byte < 0xE0 else 2  # program and channel pressure: one value, all others two
                ticks.append(tick)
                places.append(at)
                at += size
        except IndexError:
            cut = True
        finally:  # what is wrong with the values of an event comes before what is wrong behind it
            whole = len(places) - (at > len(data))
            events, right = self._events(np.array(places[:whole], np.int64))
        if at > limit and limit < len(data) or (cut or at > limit) and end <= len(data):
            raise BrokenMidi(f"has an event that goes on behind track {track + 1}" if limit < len(data) else
                             f"ends inside an event of track {track + 1}")
        if tick >= LATEST:
            raise BrokenMidi(f"goes on for {tick:.0e} ticks")
        if not ended and end > len(data):
            self.remarks.append(f"ends inside track {track + 1}, {end - len(data)} bytes too early: read up to there")
        elif limit != end or chunks.TRACK in data[at:limit]:
            self.remarks.append(f"the size of track {track + 1} is wrong, read up to its end")
            limit = at
        elif data[at:limit].strip(b"\0"):
            self.remarks.append(f"track {track + 1} has an end before its last {limit - at} bytes: read up to there")
        self.ends.append(tick)
        self.ticks.append(np.array(ticks[:whole], np.int64)[right])
        self.events.append(events)
        return limit

    def _events(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of values at ``places [n]``: status, first and second value (that of the next event, where there is only
        one), ``uint8 [3, m]``, and ``bool [n]``: which are right. Each of the others is one message less, unless there
        are so many of them that these are no messages."""
        if not len(places):
            return np.zeros((3, 0), np.uint8), np.zeros(0, bool)
        status = self.bytes[places - 1]
        latest = np.maximum.accumulate(np.where(status >= 0x80, np.arange(len(places)), -1))  # the last event with one
        status = np.where(latest < 0, 0, status[latest])
        first, second = self.bytes[places], self.bytes[places + 1]
        if not status[0]:
            raise BrokenMidi(f"has values without an event at byte {places[0]}")
        alone = (status >= 0xC0) & (status < 0xE0)
        wrong = (first > 0x7F) | (second > 0x7F) & ~alone
        self.wrong += (count := int(wrong.sum()))
        if count > WRONG + len(places) * WRONG_SHARE:
            i = int(np.argmax(wrong))
            worst = first[i] if alone[i] else max(first[i], second[i])
            raise BrokenMidi(f"has {count} values above 127 in {len(places)} events, too many to believe the others; "
                             f"the first is {worst} at byte {places[i]}")
        return np.stack([status, first, second])[:, ~wrong], ~wrong

    def _other(self, track: int, tick: int, status: int, at: int, end: int) -> tuple[int, bool]:
        """An event that is not a channel's; where it ends, and whether the track does."""
        kind = -1
        if status in LIVE:
            self.wrong += 1
            return at + LIVE[status], False
        if status == 0xFF:
            kind, at = self.data[at], at + 1
        elif status not in (0xF0, 0xF7):
            raise BrokenMidi(f"has an event {status:#x} at byte {at - 1}, which no file may have")
        size, at = self._number(at)
        if at + size > end:
            raise IndexError
        value = self.data[at : at + size]
        if kind == 0x2F:
            return at + size, True
        if kind == 0x51 and size == 3:
            self.tempos.append((tick, int.from_bytes(value, "big")))
        elif kind == 0x58 and size >= 2:
            self.meters.append((tick, value[0], value[1]))
        elif kind == 0x59 and size == 2:
            self.keys.append((tick, (value[0] ^ 0x80) - 0x80, bool(value[1])))
        elif kind in (0x03, 0x04):
            self.names[track] = f"{self.names.get(track, '')} {_text(value)}".strip()
        return at + size, False

    def midi(self, division: int) -> Midi:
        """What was read with what is not believable left out, in order."""
        remarks = self.remarks
        tempos = [(tick, 60e6 / us) for tick, us in sorted(self.tempos, key=lambda one: one[0]) if us]
        if len(sane := [one for one in tempos if SLOWEST <= one[1] <= FASTEST]) < len(self.tempos):
            remarks.append(f"tempo outside of {SLOWEST:g} to {FASTEST:g} BPM, not believed")
        meters = [(tick, over, 2**under) for tick, over, under in sorted(self.meters, key=lambda one: one[0])
                  if 1 <= over <= 64 and under <= 6]
        if len(meters) < len(self.meters):
            remarks.append("time signature of a kind that there is none, not believed")
        keys = sorted((one for one in self.keys if abs(one[1]) <= 7), key=lambda one: one[0])
        notes, programs, controls, bends = self._tables()
        return Midi(notes, division, sane, meters, self.names, max(self.ends, default=0), remarks, keys, programs,
                    controls, bends, len(self.ends))

    def _tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Notes, programs, controllers and pitch bends of all tracks, in the order of time."""
        if not self.ends:
            return table(NOTE), table(PROGRAM), table(CONTROL), table(BEND)
        status, first, second = np.concatenate(self.events, 1)
        track = np.repeat(np.arange(len(self.ends)), [len(ticks) for ticks in self.ticks])
        rows = np.stack([np.concatenate(self.ticks), track, (status & 15) + 1, first, second])
        kind = status >> 4
        if len(self.ends) > 1:
            order = np.argsort(rows[0], kind="stable")
            rows, kind = rows.take(order, 1), kind[order]

        def of(wanted: np.ndarray) -> np.ndarray:
            return rows.take(np.flatnonzero(wanted), 1)

        tick, track, channel, pitch, velocity = played = of(kind <= 9)  # 8 ends a note, as 9 does with a velocity of 0
        on = (kind[kind <= 9] == 9) & (velocity > 0)
        ends = pair(((track << 4) + channel << 7) + pitch, tick, on, np.array(self.ends).take(track))
        found = np.flatnonzero(on)
        found = found[np.argsort((tick[found] << 7) + pitch[found], kind="stable")]
        tick, *rest = played.take(found, 1)
        *which, low, high = of(kind == 14)
        return (table(NOTE, tick, ends[found], *rest), table(PROGRAM, *of(kind == 12)[:4]),
                table(CONTROL, *of(kind == 11)), table(BEND, *which, (high << 7) + low - 0x2000))


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")[:NAME]
    except UnicodeDecodeError:
        return value[:NAME].decode("latin-1")


def _from_frames(midi: Midi, division: int) -> Midi:
    """The same for a file whose ticks are parts of a film's frame: seconds, which the tempo turns into beats."""
    frames, parts = 256 - (division >> 8), division & 0xFF
    if frames not in (24, 25, 29, 30) or not parts:
        raise BrokenMidi(f"has a header that makes no sense (division {division})")
    per_second, tempos = parts * (30_000 / 1001 if frames == 29 else frames), midi.tempos

    def ticks(of: np.ndarray) -> np.ndarray:
        return np.rint(midi_time.beats_of_frames(of, tempos, per_second) * TICKS).astype(np.int64)

    for rows, name in ((midi.notes, "start"), (midi.notes, "end"), (midi.programs, "tick"), (midi.controls, "tick"),
                       (midi.bends, "tick")):
        rows[name] = ticks(rows[name])
    midi.keys = [(int(ticks(np.array(tick))), *value) for tick, *value in midi.keys]
    midi.meters = [(int(ticks(np.array(tick))), *value) for tick, *value in midi.meters]
    midi.tempos = [(int(ticks(np.array(tick))), value) for tick, value in tempos]
    midi.end, midi.ticks_per_beat = int(ticks(np.array(midi.end))), TICKS
    midi.remarks.append("its time is that of film, beats are by its tempo")
    return midi
