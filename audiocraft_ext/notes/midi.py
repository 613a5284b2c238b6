"""Scores in MIDI files: which instrument plays each note, where a new time signature begins; and scores as files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.files import write as write_whole
from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.midi import write as midi_write
from audiocraft_ext.midi.file import NOTE, NOTE_TICKS, PROGRAM, BrokenMidi, Midi, table
from audiocraft_ext.midi.names import FAMILIES, program_name
from audiocraft_ext.midi.notes import programs_of, with_sustain
from audiocraft_ext.midi.time import meter_map
from audiocraft_ext.notes.codec import score as scores
from audiocraft_ext.notes.codec.multitrack import Multitrack, until_next
from audiocraft_ext.notes.codec.score import DRUMS, PROGRAMS, VOICES, Score, program_of

METER = (4, 4)  # where a file's is none of the codec's
CHANNELS = [channel for channel in range(1, 17) if channel != midi_file.DRUMS]


@dataclass(frozen=True)
class Stretch:
    """A part of a file in one time signature: a ``score`` that begins at tick ``start`` of the file."""

    start: int
    score: Score


def instruments_of(midi: Midi) -> np.ndarray:
    """The instrument of each note, ``int64 [n]``: drums on channel 10, else the program of its channel. Parts (tracks
    and channels) of one program are told apart, up to three; what is more is one with the third."""
    program, notes = programs_of(midi), midi.notes
    part = (program << 32) + (notes["track"] << 8) + notes["channel"]
    parts, which = np.unique(np.where(notes["channel"] == midi_file.DRUMS, -1, part), return_inverse=True)
    of = parts >> 32
    voice = np.minimum(np.arange(len(parts)) - np.searchsorted(of, of), VOICES - 1)
    return np.where(of < 0, DRUMS, 1 + voice * PROGRAMS + of)[which]


def stretches(midi: Midi, codec: Multitrack) -> tuple[list[Stretch], list[str]]:
    """A file as scores, one for each time signature after another, and what is to be said of it.

    A time signature begins a bar, wherever it stands; one that the codec has not is taken as 4/4. The sustain pedal is
    length. The tempo of a score is the mean over it.

    Raises:
        BrokenMidi: no notes.
    """
    if not len(midi.notes):
        raise BrokenMidi("has no notes")
    remarks = []
    if len(midi.bends) or len(midi.controls[midi.controls["number"] != 64]):
        remarks.append("pitch bends and controllers are left out")
    midi = with_sustain(midi)
    if odd := sorted({f"{over}/{under}" for _, over, under in midi.meters if not codec.fits((over, under))}):
        remarks.append(f"bars of {', '.join(odd)} are taken as 4/4")
    meters = [(tick, *(meter if codec.fits(meter) else METER)) for tick, *meter in
              ((tick, over, under) for tick, over, under in midi.meters)]
    notes = np.stack([midi.notes["start"], midi.notes["end"] - midi.notes["start"], instruments_of(midi),
                      midi.notes["pitch"], midi.notes["velocity"]], 1)
    begins, half = meter_map([(tick, *meter) for tick, *meter in meters]), midi.ticks_per_beat / codec.division / 2
    found = []
    for (start, meter), (end, _) in zip(begins, [*begins[1:], (None, None)]):
        first, behind = np.searchsorted(notes[:, 0], (start - half if start else -1,
                                                      np.inf if end is None else end - half))
        part = notes[first:behind] - [start, 0, 0, 0, 0]
        part[:, 0] = np.maximum(part[:, 0], 0)
        bar = midi.ticks_per_beat * 4 * meter[0] / meter[1]
        last = float(part[:, 0].max(initial=0)) + half
        bars = int(last / bar) + 1 if end is None else max(int(last / bar) + 1, -int(-(end - start) // bar))
        if end is not None and (end - start) % bar:
            remarks.append(f"a bar of {meter[0]}/{meter[1]} ends early at another time signature, it is filled up")
        seconds = float(midi.seconds(start + bars * bar) - midi.seconds(start))
        bpm = 60 * bars * bar / midi.ticks_per_beat / seconds
        found.append(Stretch(start, Score(part, midi.ticks_per_beat, bpm, meter, bars)))
    return found, list(dict.fromkeys(remarks))


def parts_of(score: Score) -> list[int]:
    """The instruments that play, by how many notes they have, most first."""
    found, counts = np.unique(score.notes[:, scores.INSTRUMENT], return_counts=True)
    return found[np.lexsort((found, -counts))].tolist()


def name_of(instrument: int) -> str:
    """Such as ``drums``, ``acoustic grand piano`` or ``acoustic grand piano 2``."""
    if instrument == DRUMS:
        return "drums"
    voice = (instrument - 1) // PROGRAMS
    return program_name(int(program_of(instrument))) + (f" {voice + 1}" if voice else "")


def to_midi(score: Score) -> tuple[Midi, list[str]]:
    """A score as a file of type 1, a track for each part on a channel of its own, drums on channel 10; and what is to
    be said of it. Of more than 15 parts those with the fewest notes are played by a part of the same family, else by
    the one with the most notes.

    A hit of drums sounds for 60 ticks, or until the next of its pitch.
    """
    tuned = [part for part in parts_of(score) if part != DRUMS]
    into, remarks = {part: part for part in tuned}, []
    for part in tuned[len(CHANNELS):]:
        kin = [other for other in tuned[: len(CHANNELS)] if program_of(other) // 8 == program_of(part) // 8]
        into[part] = kin[0] if kin else tuned[0]
        remarks.append(f"{name_of(part)} is played by {name_of(into[part])}: a file has {len(CHANNELS)} parts beside "
                       "drums")
    order = sorted(set(into.values()))
    place = {part: (1 + i, channel) for i, (part, channel) in enumerate(zip(order, CHANNELS))}
    place[DRUMS] = (1 + len(order), midi_file.DRUMS)
    notes = score.notes.copy()
    notes[:, scores.INSTRUMENT] = [into.get(part, DRUMS) for part in notes[:, scores.INSTRUMENT].tolist()]
    start, length, instrument, pitch, velocity = notes.T
    gap = until_next(start, instrument, pitch)  # of merged parts it may be less than their lengths
    length = np.where(instrument == DRUMS, np.minimum(NOTE_TICKS, gap), np.minimum(length, gap))
    track, channel = np.array([place[one] for one in instrument.tolist()], np.int64).reshape(-1, 2).T
    rows = table(NOTE, start, start + length, track, channel, pitch, velocity)
    rows = rows[np.lexsort((length, track, rows["pitch"], rows["start"]))]
    programs = table(PROGRAM, 0, [place[part][0] for part in order], [place[part][1] for part in order],
                     [program_of(part) for part in order]) if order else table(PROGRAM)
    names = {place[part][0]: name_of(part) for part in order}
    if (instrument == DRUMS).any():
        names[place[DRUMS][0]] = name_of(DRUMS)
    end = (score.bars or 0) * score.ticks_per_beat * 4 * score.meter[0] // score.meter[1]
    return Midi(rows, score.ticks_per_beat, [(0, score.bpm)], [(0, *score.meter)], names, end, programs=programs,
                tracks=max([1, *names]) + 1), remarks


def to_bytes(score: Score) -> bytes:
    """A score as a file, see :func:`to_midi`."""
    return midi_write.to_bytes(to_midi(score)[0])


def write(path: str | Path, score: Score) -> None:
    """Write a score as a file; whole, or not at all.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    write_whole(Path(path), to_bytes(score))


def families_of(instruments: np.ndarray) -> Iterator[str]:
    """The families of General MIDI that play, and ``drums``."""
    instruments = np.unique(instruments)
    if (instruments == DRUMS).any():
        yield "drums"
    for family in np.unique(program_of(instruments[instruments != DRUMS]) // 8).tolist():
        yield FAMILIES[family]
