"""MIDI files: their notes with tempo and time signatures; and clips of drums as files.

Standard MIDI Files 1.0, type 0 and 1. The reader takes notes, tempo, time signatures and names and steps over the rest;
durations are nothing to drums. A general library (mido) builds an object of every message, which takes many times as
long; the tests hold the two against each other. Whatever the bytes are, they are read in one pass or refused in one
line.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiocraft_ext.codecs.drum_clip import TICKS, DrumClip
from audiocraft_ext.errors import UserError
from audiocraft_ext.files import write as atomic_write

DRUMS = 10  # the channel of General MIDI's drums, from 1
SLOWEST, FASTEST = 10.0, 1000.0  # BPM: others are not believed
LATEST = 2**40  # tick
BACK = 0x0FF00000  # a delta time of 28 bits from here on was a negative number
NOTE_TICKS = 60  # ticks that a hit sounds, unless the next is sooner


class BrokenMidi(UserError):
    """A file whose notes cannot be known; says why."""


@dataclass
class Midi:
    """What a file says.

    Attributes:
        notes: ``int64 [n, 5]``, sorted by tick and pitch: tick, track from 0, channel from 1, pitch, velocity above 0.
        ticks_per_beat: a quarter note.
        tempos: (tick, quarter notes a minute), ascending; empty is 120.
        meters: (tick, numerator, denominator), ascending; empty is 4/4.
        names: of tracks and their instruments, by track.
        end: the last tick of any track.
        remarks: what was not believed.
    """

    notes: np.ndarray
    ticks_per_beat: int
    tempos: list[tuple[int, float]] = field(default_factory=list)
    meters: list[tuple[int, int, int]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    end: int = 0
    remarks: list[str] = field(default_factory=list)

    def seconds(self, ticks: np.ndarray | float) -> np.ndarray:
        """When ticks are, by the tempo up to there."""
        at = np.array([0.0, *(tick for tick, _ in self.tempos)])
        tick_s = 60 / (np.array([120.0, *(bpm for _, bpm in self.tempos)]) * self.ticks_per_beat)
        begin = np.concatenate([[0.0], np.cumsum(np.diff(at) * tick_s[:-1])])
        i = np.maximum(np.searchsorted(at, ticks, side="right") - 1, 0)
        return begin[i] + (np.asarray(ticks) - at[i]) * tick_s[i]


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
    if data[:4] != b"MThd":
        raise BrokenMidi(f"is not a MIDI file, it begins with {data[:4]!r}")
    if len(data) < 14:
        raise BrokenMidi(f"ends inside its header, after {len(data)} bytes")
    size, kind, tracks, division = struct.unpack(">IHHH", data[4:14])
    if size < 6 or kind > 2 or not division:
        raise BrokenMidi(f"has a header that makes no sense (type {kind}, {tracks} tracks, division {division})")
    if kind == 2:
        raise BrokenMidi("is of type 2, patterns that follow no common time; save it as type 0 or 1")
    return _in_beats(_Reader(data).read(8 + size, tracks), division)


class _Reader:
    """Goes through the tracks."""

    def __init__(self, data: bytes):
        self.data, self.end = data, 0
        self.notes: list[np.ndarray] = []  # of each track, [n, 5]
        self.tempos: list[tuple[int, int]] = []  # tick, microseconds a beat
        self.meters: list[tuple[int, int, int]] = []
        self.names: dict[int, str] = {}

    def read(self, at: int, tracks: int) -> _Reader:
        data, track = self.data, 0
        while track < tracks:
            if at + 8 > len(data):
                raise BrokenMidi(f"ends after {track} of its {tracks} tracks")
            size = int.from_bytes(data[at + 4 : at + 8], "big")
            if data[at : at + 4] == b"MTrk":
                if (missing := at + 8 + size - len(data)) > 0:
                    raise BrokenMidi(f"ends inside track {track + 1} of {tracks}, {missing} bytes too early")
                try:
                    self._track(track, at + 8, at + 8 + size)
                except IndexError:
                    raise BrokenMidi(f"ends inside an event of track {track + 1}") from None
                track += 1
            at += 8 + size
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

    def _track(self, track: int, at: int, end: int) -> None:
        data, tick, status = self.data, 0, 0
        notes: list[int] = []  # one whole number each: tick, channel, pitch, velocity
        while at < end:
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
            if byte >= 0xF0:
                at = self._other(track, tick, byte, at + 1, end)
                continue
            if byte >= 0x80:
                status = byte
                at += 1
            if 0xC0 <= status < 0xE0:  # program and channel pressure: one byte, all others two
                if data[at] > 0x7F:
                    raise BrokenMidi(f"has a value of {data[at]} at byte {at}, values go up to 127")
                at += 1
                continue
            if not status:
                raise BrokenMidi(f"has values without an event at byte {at}")
            pitch, velocity = data[at], data[at + 1]
            if pitch > 0x7F or velocity > 0x7F:
                raise BrokenMidi(f"has a value of {max(pitch, velocity)} at byte {at}, values go up to 127")
            at += 2
            if 0x90 <= status < 0xA0 and velocity:
                notes.append(tick << 18 | (status & 15) << 14 | pitch << 7 | velocity)
        if at > end:
            raise BrokenMidi(f"has an event that goes on behind track {track + 1}")
        if tick >= LATEST:
            raise BrokenMidi(f"goes on for {tick:.0e} ticks")
        self.end = max(self.end, tick)
        packed = np.array(notes, np.int64)
        self.notes.append(np.stack([packed >> 18, np.full(len(notes), track), (packed >> 14 & 15) + 1,
                                    packed >> 7 & 127, packed & 127], 1))

    def _other(self, track: int, tick: int, status: int, at: int, end: int) -> int:
        """An event that is not a channel's; where it ends. The last of a track is the end of it."""
        kind = -1
        if status == 0xFF:
            kind, at = self.data[at], at + 1
        elif status not in (0xF0, 0xF7):
            raise BrokenMidi(f"has an event {status:#x} at byte {at - 1}, which no file may have")
        size, at = self._number(at)
        if at + size > end:
            raise BrokenMidi(f"has an event that goes on behind track {track + 1}")
        value = self.data[at : at + size]
        if kind == 0x2F:
            return end
        if kind == 0x51 and size == 3:
            self.tempos.append((tick, int.from_bytes(value, "big")))
        elif kind == 0x58 and size >= 2:
            self.meters.append((tick, value[0], value[1]))
        elif kind in (0x03, 0x04):
            self.names[track] = f"{self.names.get(track, '')} {value[:200].decode('latin-1')}".strip()
        return at + size


def _in_beats(raw: _Reader, division: int) -> Midi:
    """What was read with what is not believable left out, in order, and times as beats."""
    remarks = []
    notes = np.concatenate([np.zeros((0, 5), np.int64), *raw.notes])
    notes = notes[np.lexsort((notes[:, 3], notes[:, 0]))]
    tempos = [(tick, 60e6 / us) for tick, us in sorted(raw.tempos, key=lambda one: one[0]) if us]
    if len(sane := [one for one in tempos if SLOWEST <= one[1] <= FASTEST]) < len(raw.tempos):
        remarks.append(f"tempo outside of {SLOWEST:g} to {FASTEST:g} BPM, not believed")
    meters = [(tick, over, 2**under) for tick, over, under in sorted(raw.meters, key=lambda one: one[0])
              if 1 <= over <= 64 and under <= 6]
    if len(meters) < len(raw.meters):
        remarks.append("time signature of a kind that there is none, not believed")
    midi = Midi(notes, division, sane, meters, raw.names, raw.end, remarks)
    return midi if division < 0x8000 else _from_frames(midi, division)


def _from_frames(midi: Midi, division: int) -> Midi:
    """The same for a file whose ticks are parts of a film's frame: seconds, which the tempo turns into beats."""
    frames, parts = 256 - (division >> 8), division & 0xFF
    if frames not in (24, 25, 29, 30) or not parts:
        raise BrokenMidi(f"has a header that makes no sense (division {division})")
    per_second = parts * (30_000 / 1001 if frames == 29 else frames)
    at = [0, *(tick for tick, _ in midi.tempos)]
    bpm = [120.0, *(bpm for _, bpm in midi.tempos)]
    begin = np.concatenate([[0.0], np.cumsum(np.diff(at) / per_second * np.array(bpm[:-1]) / 60)])

    def ticks(of: np.ndarray) -> np.ndarray:
        i = np.searchsorted(at, of, side="right") - 1
        beats = begin[i] + (of - np.array(at)[i]) / per_second * np.array(bpm)[i] / 60
        return np.rint(beats * TICKS).astype(np.int64)

    midi.notes[:, 0] = ticks(midi.notes[:, 0])
    midi.tempos = [(int(ticks(np.array(tick))), value) for tick, value in midi.tempos]
    midi.meters = [(int(ticks(np.array(tick))), *value) for tick, *value in midi.meters]
    midi.end, midi.ticks_per_beat = int(ticks(np.array(midi.end))), TICKS
    midi.remarks.append("its time is that of film, beats are by its tempo")
    return midi


def to_bytes(clip: DrumClip, name: str = "") -> bytes:
    """A clip as a file of type 0 on channel 10, which ends with its last bar. A hit sounds for 60 ticks, or until the
    next of its pitch or the end; of two of a pitch on one tick the louder is written, and what is before the first bar
    line is on it.

    Args:
        name: of the track.

    Raises:
        UserError: a tempo that no file can say.
    """
    beat_us = round(60e6 / clip.bpm)
    over, under = clip.meter
    if not 1 <= beat_us < 2**24:
        raise UserError(f"a MIDI file says tempos from {60e6 / 2**24:.1f} BPM, got {clip.bpm:g}")
    if under not in (1, 2, 4, 8, 16, 32, 64) or over > 255 or clip.ticks_per_beat > 0x7FFF:
        raise UserError(f"a MIDI file cannot say {over}/{under} with {clip.ticks_per_beat} ticks a beat")
    end = (clip.bars or 0) * clip.ticks_per_beat * 4 * over // under
    called = name.encode("utf-8", "replace")
    events = [(0, b"\xff\x03" + _variable(len(called)) + called)] if name else []
    events += [(0, b"\xff\x51\x03" + beat_us.to_bytes(3, "big")),
               (0, bytes([0xFF, 0x58, 4, over, under.bit_length() - 1, 24, 8])), *_hits(clip, end)]
    events.append((max(end, events[-1][0]), b"\xff\x2f\x00"))
    track, before = bytearray(), 0
    for tick, event in events:
        track += _variable(tick - before) + event
        before = tick
    head = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, clip.ticks_per_beat, b"MTrk", len(track))
    return head + track


def write(path: str | Path, clip: DrumClip) -> None:
    """Write a clip as a file; whole, or not at all.

    Raises:
        UserError: see :func:`to_bytes`.
        OSError: it cannot be written; what was there stays.
    """
    atomic_write(Path(path), to_bytes(clip))


def _hits(clip: DrumClip, last: int) -> list[tuple[int, bytes]]:
    """Ons and offs by tick, those of hits before tick ``last`` not behind it; at one tick the offs come first."""
    loudest: dict[tuple[int, int], int] = {}
    for tick, pitch, velocity in clip.notes.tolist():
        at = (pitch, max(tick, 0))
        loudest[at] = max(velocity, loudest.get(at, 0))
    order = sorted(loudest)
    events = []
    for (pitch, tick), (other, following) in zip(order, [*order[1:], (-1, 0)]):
        end = min(tick + NOTE_TICKS, following) if other == pitch else tick + NOTE_TICKS
        end = min(end, last) if tick < last else end
        events += [(tick, 1, pitch, loudest[pitch, tick]), (end, 0, pitch, 0)]
    channel = DRUMS - 1
    return [(tick, bytes([(0x90 if on else 0x80) | channel, pitch, velocity]))
            for tick, on, pitch, velocity in sorted(events)]


def _variable(number: int) -> bytes:
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(number & 0x7F | 0x80)
    return bytes(reversed(out))
