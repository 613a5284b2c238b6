"""Songs of MIDI files: any file's notes on BeepBox's channels, each of which plays one chord at a time.

A part of the file (a track and channel) gets a channel, and where its notes overlap and there is room more of them.
Where there is none, notes that begin together become a chord, and one that still sounds ends where the next begins. A
file has more parts than channels: the smallest go along with those that lie nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.midi.file import BrokenMidi, Midi
from audiocraft_ext.midi.notes import with_sustain
from audiocraft_ext.midi.time import meter_map
from audiocraft_ext.songs.beepbox.song import (
    BARS,
    BEATS,
    CHORD,
    MIDI_PITCH,
    PARTS,
    PITCHES,
    TEMPOS,
    Pattern,
    Song,
    flat,
    song_of_bars,
)

METER = (4, 4)  # where a file's is none that BeepBox can have
GUESSES = (4, 3, 6, 8)  # rhythms in the order in which they are tried
CLOSE = 0.03  # beats by which notes may be off on average, for a rhythm to be right
DRUMS = {35: 0, 36: 0, 37: 5, 38: 4, 39: 5, 40: 4, 41: 1, 42: 8, 43: 1, 44: 8, 45: 2, 46: 8, 47: 2, 48: 3, 49: 7, 50: 3,
         51: 6, 52: 7, 53: 6, 54: 11, 55: 9, 56: 7, 57: 7, 58: 10, 59: 6, 60: 3, 61: 2, 62: 3, 63: 2, 64: 1, 65: 4,
         66: 3, 67: 10, 68: 9, 69: 10, 70: 10, 71: 11, 72: 11, 73: 10, 74: 10, 75: 10, 76: 9, 77: 5, 78: 4, 79: 4,
         80: 11, 81: 11}  # General MIDI's drums as pitches of noise
OTHER_DRUM = 5


@dataclass(frozen=True)
class Settings:
    """How files become songs.

    Attributes:
        channels: of pitches, at most; ``drums``, of noise.
        rhythm: steps a beat; None is what fits a file's notes.
    """

    channels: int = 4
    drums: int = 1
    rhythm: int | None = None


@dataclass(frozen=True, eq=False)
class Converted:
    """A stretch of a file as a song, at most 128 bars.

    Attributes:
        start: tick at which it begins; ``bar``, ticks of a bar.
        late: how far its notes are off, ``float64 [n]`` in beats.
        lost: notes that found no room, or fell on another of their pitch.
        shortened: notes that end sooner, or whose chord ends together; ``folded``, those in another octave.
    """

    song: Song
    start: float
    bar: float
    late: np.ndarray = field(repr=False)
    lost: int = 0
    shortened: int = 0
    folded: int = 0


def songs_of(midi: Midi, settings: Settings) -> tuple[list[Converted], list[str]]:
    """A file as songs, one for each time signature after another, and what is to be said of it.

    Raises:
        BrokenMidi: no notes.
    """
    if not len(midi.notes):
        raise BrokenMidi("has no notes")
    remarks = []
    if len(midi.bends):
        remarks.append("pitch bends are left out")
    midi = with_sustain(midi)
    meters = [(tick, (over, under) if _beats((over, under)) else METER) for tick, over, under in midi.meters]
    if odd := sorted({f"{over}/{under}" for _, over, under in midi.meters if not _beats((over, under))}):
        remarks.append(f"bars of {', '.join(odd)} are taken as 4/4")
    begins, found = meter_map([(tick, *meter) for tick, meter in meters]), []
    for (start, meter), (end, _) in zip(begins, [*begins[1:], (None, None)]):
        after = midi.notes["start"] >= start
        notes = midi.notes[after if end is None else after & (midi.notes["start"] < end)]
        if len(notes):
            found += _stretch(midi, notes, start, meter, settings)
    lost, folded = sum(one.lost for one in found), sum(one.folded for one in found)
    if lost:
        remarks.append(f"notes that found no room on {settings.channels} + {settings.drums} channels: {lost}")
    if folded:
        remarks.append(f"notes that are played in another octave: {folded}")
    return found, remarks


def song_of(midi: Midi, settings: Settings) -> tuple[Song, list[str]]:
    """The longest stretch of a file as one song.

    Raises:
        BrokenMidi: no notes.
    """
    found, remarks = songs_of(midi, settings)
    song = max(found, key=lambda one: one.song.bars).song
    if len(found) > 1:
        remarks.append(f"only {song.bars} of its bars are taken: it has {len(found)} stretches (of another time "
                       f"signature, or of {BARS} bars)")
    return song, remarks


def _beats(meter: tuple[int, int]) -> tuple[int, float] | None:
    """Beats of a bar of BeepBox, and quarter notes of a beat; several bars are one where they are short. None where
    there is no such bar."""
    quarters = 4 * meter[0] / meter[1]
    beats, unit = (int(quarters), 1.0) if quarters.is_integer() else (meter[0], 4 / meter[1])
    while 0 < beats < BEATS[0]:
        beats *= 2
    return (beats, unit) if beats <= BEATS[1] else None


def _stretch(midi: Midi, notes: np.ndarray, start: int, meter: tuple[int, int], settings: Settings) -> list[Converted]:
    beats, unit = _beats(meter)
    tick = 1 / (midi.ticks_per_beat * unit)  # in beats
    begin, end = (notes["start"] - start) * tick, (notes["end"] - start) * tick
    rhythm = settings.rhythm or _rhythm(begin)
    steps = np.floor(begin * rhythm + 0.5).astype(np.int64)
    ends = np.maximum(np.floor(end * rhythm + 0.5).astype(np.int64), steps + 1)
    late, bar = np.abs(steps / rhythm - begin), beats * rhythm
    drums = notes["channel"] == midi_file.DRUMS
    values, folded = _values(notes["pitch"], drums)
    ends = np.where(drums, steps + 1, ends)
    part = np.unique((notes["track"] << 8) + notes["channel"], return_inverse=True)[1]
    made, bars_all = [], int(steps.max()) // bar + 1
    for first in (np.unique(steps // (BARS * bar)) * BARS).tolist():
        inside = (steps >= first * bar) & (steps < (first + BARS) * bar)
        bars = min(BARS, bars_all - first)
        table = np.stack([steps - first * bar, np.minimum(ends - first * bar, bars * bar), values, part], 1)
        pitched, lost, short = _channels(table[inside & ~drums], settings.channels)
        noise, lost_hits, short_hits = _channels(table[inside & drums], settings.drums)
        pitched = pitched or [[]]
        patterns = [_patterns(units, bars, beats, rhythm) for units in [*pitched, *noise]]
        at = start + first * bar / rhythm / tick
        bpm = _tempo(midi, at, at + bars * bar / rhythm / tick, bars * beats)
        song = song_of_bars(patterns, len(noise), beats=beats, rhythm=rhythm, tempo=bpm)
        made.append(Converted(song, at, bar / rhythm / tick, late[inside], lost + lost_hits, short + short_hits,
                              int(folded[inside].sum())))
    return made


def _tempo(midi: Midi, start: float, end: float, beats: int) -> int:
    """Of the whole, in beats a minute; as BeepBox can have it."""
    seconds = float(midi.seconds(end) - midi.seconds(start))
    return min(max(round(60 * beats / seconds), TEMPOS[0]), TEMPOS[1]) if seconds > 0 else TEMPOS[1]


def _rhythm(begin: np.ndarray) -> int:
    """The first of :data:`GUESSES` on which the notes lie, else the one on which they lie best."""
    late = {rhythm: float(np.abs(begin - np.floor(begin * rhythm + 0.5) / rhythm).mean()) for rhythm in GUESSES}
    return next((rhythm for rhythm in GUESSES if late[rhythm] <= CLOSE), min(GUESSES, key=late.__getitem__))


def _values(pitch: np.ndarray, drums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitches of BeepBox, ``int64 [n]``, and which are in another octave, ``bool [n]``."""
    tuned = pitch - MIDI_PITCH
    top = PITCHES - 1
    inside = np.where(tuned < 0, tuned % 12, np.where(tuned > top, top - (top - tuned) % 12, tuned))
    hits = np.array([DRUMS.get(one, OTHER_DRUM) for one in range(128)])[pitch]
    return np.where(drums, hits, inside), (inside != tuned) & ~drums


@dataclass
class _Unit:
    """A chord of one channel, in steps."""

    start: int
    end: int
    pitches: list[int]


def _channels(table: np.ndarray, most: int) -> tuple[list[list[_Unit]], int, int]:
    """The notes ``[n, 4]`` (start, end, pitch, part) on at most so many channels, from the highest to the lowest; how
    many found no room, and how many are shorter or longer."""
    if not len(table):
        return [], 0, 0
    if not most:
        return [], len(table), 0
    parts = _merged(table, most)
    needs = [_overlap(table[parts == one]) for one in range(parts.max() + 1)]
    lanes = [1] * len(needs)
    while sum(lanes) < most and any(need > has for need, has in zip(needs, lanes)):
        lanes[max(range(len(needs)), key=lambda i: needs[i] - lanes[i])] += 1
    channels, lost, short = [], 0, 0
    for one, count in enumerate(lanes):
        made, gone, cut = _lanes(table[parts == one], count)
        channels, lost, short = channels + made, lost + gone, short + cut
    return sorted(channels, key=lambda units: -sum(unit.pitches[0] for unit in units) / len(units)), lost, short


def _merged(table: np.ndarray, most: int) -> np.ndarray:
    """The part of each note, ``int64 [n]`` from 0, at most so many of them: the smallest go with those that are nearest
    in pitch."""
    names, which, counts = np.unique(table[:, 3], return_inverse=True, return_counts=True)
    middle = np.bincount(which, table[:, 2]) / counts
    order = np.argsort(-counts, kind="stable")
    kept, into = order[:most], np.zeros(len(names), np.int64)
    into[kept] = np.arange(len(kept))
    for one in order[most:]:
        into[one] = int(np.argmin(np.abs(middle[kept] - middle[one])))
    return into[which]


def _overlap(table: np.ndarray) -> int:
    """How many chords (notes that begin and end together) sound at once, at most."""
    spans = np.unique(table[:, :2], axis=0)
    edges = np.concatenate([np.stack([spans[:, 0], np.ones(len(spans), np.int64)], 1),
                            np.stack([spans[:, 1], -np.ones(len(spans), np.int64)], 1)])
    return int(np.cumsum(edges[np.lexsort((edges[:, 1], edges[:, 0])), 1]).max())


def _lanes(table: np.ndarray, count: int) -> tuple[list[list[_Unit]], int, int]:
    """The notes of one part on so many channels, or fewer."""
    lanes: list[list[_Unit]] = [[] for _ in range(count)]
    lost = short = 0
    units: dict[tuple[int, int], list[int]] = {}
    for start, end, pitch in table[:, :3].tolist():
        units.setdefault((start, end), []).append(pitch)
    for (start, end), pitches in sorted(units.items(), key=lambda item: (item[0][0], -item[0][1])):
        lost += len(pitches) - len(set(pitches))
        pitches = sorted(set(pitches))
        for i in range(0, len(pitches), CHORD):
            chord = pitches[i : i + CHORD]
            free = [lane for lane in lanes if not lane or lane[-1].end <= start]
            if free:
                middle = sum(chord) / len(chord)
                lane = min(free, key=lambda lane: abs(lane[-1].pitches[0] - middle) if lane else 24)
                lane.append(_Unit(start, end, chord))
                continue
            gone, cut = _squeezed(lanes, start, end, chord)
            lost, short = lost + gone, short + cut
    return [lane for lane in lanes if lane], lost, short


def _squeezed(lanes: list[list[_Unit]], start: int, end: int, chord: list[int]) -> tuple[int, int]:
    """A chord where no channel is free: it goes to one that begins at the same time, or takes the place of what sounds
    longest; how many notes are lost, and how many are shorter or longer."""
    earlier = [lane for lane in lanes if lane[-1].start < start]
    if earlier and all(lane[-1].start < start for lane in lanes):
        lane = min(earlier, key=lambda lane: lane[-1].start)
        cut = len(lane[-1].pitches)
        lane[-1].end = start
        lane.append(_Unit(start, end, chord))
        return 0, cut
    same = [lane[-1] for lane in lanes if lane[-1].start == start]
    lost = cut = 0
    for pitch in chord:
        room = next((unit for unit in same if len(unit.pitches) < CHORD or pitch in unit.pitches), None)
        if room is None or pitch in room.pitches:
            lost += 1
        else:
            cut += end != room.end
            room.pitches = sorted([*room.pitches, pitch])
    return lost, cut


def _patterns(units: list[_Unit], bars: int, beats: int, rhythm: int) -> list[Pattern]:
    """The bars of a channel; a note over a bar line is tied."""
    step, bar = PARTS // rhythm, beats * rhythm
    found: list[list] = [[] for _ in range(bars)]
    for unit in units:
        at = unit.start
        while at < unit.end:
            number = at // bar
            end = min(unit.end, (number + 1) * bar)
            found[number].append(flat((at - number * bar) * step, (end - number * bar) * step, tuple(unit.pitches),
                                      at > unit.start))
            at = end
    return [tuple(bar) for bar in found]
