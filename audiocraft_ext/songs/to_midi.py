"""Songs as MIDI files: a track a channel, noise on the channel of drums, ties as one note, bends as pitch bends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audiocraft_ext.core.files import write as write_whole
from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.midi import write as midi_write
from audiocraft_ext.midi.file import BEND, CONTROL, NOTE, PROGRAM, TICKS, Midi, table
from audiocraft_ext.songs.beepbox.song import LOUDEST, MIDI_PITCH, PARTS, Channel, Note, Song
from audiocraft_ext.songs.beepbox.sounds import sound_of

HITS = (36, 41, 45, 48, 40, 39, 59, 49, 46, 55, 69, 54)  # General MIDI's drums that BeepBox's drum set stands for
CHANNELS = [channel for channel in range(1, 17) if channel != midi_file.DRUMS]
PART = TICKS // PARTS
LOUD = 100  # a velocity
RANGE = 24  # semitones of a pitch bend; what is more is cut off
BEND_RANGE = ((101, 0), (100, 0), (6, RANGE), (38, 0), (101, 127), (100, 127))  # controllers that set it
SHARPS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)  # of a major key


def to_midi(song: Song) -> Midi:
    """A song as a file of type 1; a beat is a quarter note."""
    notes, programs, controls, bends, names = [], [], [], [], {}
    pitched = 0
    for track, channel in enumerate(song.channels, 1):
        midi_channel = midi_file.DRUMS if channel.noise else CHANNELS[pitched]
        pitched += not channel.noise
        names[track] = f"drums {track - song.pitched}" if channel.noise else f"channel {track}"
        if not channel.noise:
            programs.append((0, track, midi_channel, sound_of(channel).program))
        bent = False
        for start, length, note in sounding(channel, song.bars, song.parts):
            velocity = max(1, LOUD * max(point.volume for point in note.points) // LOUDEST)
            for pitch in note.pitches:
                said = HITS[pitch] if channel.noise else pitch + MIDI_PITCH + song.key
                notes.append((start * PART, (start + length) * PART, track, midi_channel, min(said, 127), velocity))
            if any(point.bend for point in note.points) and not channel.noise:
                bends += [(tick, track, midi_channel, bend) for tick, bend in _bends(start, note)]
                bent = True
        if bent:
            controls += [(0, track, midi_channel, *control) for control in BEND_RANGE]
    rows = _table(NOTE, notes)
    rows = rows[np.lexsort((rows["track"], rows["pitch"], rows["start"]))]
    return Midi(rows, TICKS, [(0, float(song.tempo))], [(0, song.beats, 4)], names, song.bars * song.parts * PART,
                keys=[(0, SHARPS[song.key], False)], programs=_table(PROGRAM, programs),
                controls=_table(CONTROL, controls), bends=_table(BEND, sorted(bends)), tracks=len(song.channels) + 1)


def to_bytes(song: Song) -> bytes:
    """A song as a file, see :func:`to_midi`."""
    return midi_write.to_bytes(to_midi(song))


def write(path: str | Path, song: Song) -> None:
    """Write a song as a file; whole, or not at all.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    write_whole(Path(path), to_bytes(song))


def sounding(channel: Channel, bars: int, parts: int) -> Iterator[tuple[int, int, Note]]:
    """Start and length in parts of the song, and the note that begins: what is tied over a bar line is one."""
    start, length, note = 0, 0, None
    for bar in range(bars):
        for one in channel.bar(bar):
            at = bar * parts + one.start
            if note is not None and one.continues and one.pitches == note.pitches and start + length == at:
                length += one.end - one.start
                continue
            if note is not None:
                yield start, length, note
            start, length, note = at, one.end - one.start, one
    if note is not None:
        yield start, length, note


def notes_of(song: Song) -> int:
    """How many pitches are played, what is tied over a bar line once."""
    return sum(len(note.pitches) for channel in song.channels
               for _, _, note in sounding(channel, song.bars, song.parts))


def _bends(start: int, note: Note) -> Iterator[tuple[int, int]]:
    """When a note's bend is what, part by part, and that it is none at its end."""
    before = 0
    for a, b in zip(note.points, note.points[1:]):
        for time in range(a.time, b.time):
            semitones = a.bend + (b.bend - a.bend) * (time - a.time) / (b.time - a.time)
            bend = min(max(round(semitones * 0x2000 / RANGE), -0x2000), 0x1FFF)
            if bend != before:
                yield (start + time) * PART, bend
                before = bend
    yield (start + note.points[-1].time) * PART, 0


def _table(dtype: np.dtype, rows: list[tuple[int, ...]]) -> np.ndarray:
    return table(dtype, *np.array(rows, np.int64).T) if rows else table(dtype)
