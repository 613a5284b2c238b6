"""Read one song of BeepBox, or a MIDI file as one, and say what rows it would become: what data_prep/midi/read.py is
for drums. Runs in a worker process.

Channels without a note are left out, for a model would learn to be silent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from audiocraft_ext.midi.file import Midi, parse
from audiocraft_ext.songs.beepbox import files
from audiocraft_ext.songs.beepbox.song import PARTS, PITCHES, Song
from audiocraft_ext.songs.codec.voices import FIRST, Voices, facts_of, joined
from audiocraft_ext.songs.from_midi import songs_of
from audiocraft_ext.songs.to_midi import to_midi
from data_prep.midi import duplicates, labels
from data_prep.midi.duplicates import Print
from data_prep.midi.labels import DrumLabels
from data_prep.midi.read import (
    ERROR_BINS,
    ERROR_MS,
    FileCost,
    MidiFacts,
    Slice,
    Task,
    mean_tempo,
    overview,
    rows_of_bars,
    tempo_remark,
)
from data_prep.midi.settings import ENDINGS, MidiSettings

CELL = PARTS // 4  # parts of a sixteenth, by which songs are compared


@dataclass(frozen=True, eq=False)
class Piece:
    """A song that a file is, or a part of it: when each of its bars begins, in seconds, and how late its notes are."""

    song: Song
    seconds: Callable[[np.ndarray], np.ndarray]
    late: np.ndarray


def analyse(task: Task) -> MidiFacts:
    """Read one file.

    Raises:
        UserError: it cannot be used.
    """
    path, settings = Path(task.path), task.settings
    data = path.read_bytes()
    said = labels.read(path, Path(task.root))
    if path.suffix.lower() in ENDINGS:
        pieces, midi, tempo_known, remarks = _of_midi(data, said, settings)
    else:
        song, remarks = files.parse(data)
        pieces, midi, tempo_known = [_of_song(song, remarks)], to_midi(song), True
    slices, short, total, first_bar = [], 0.0, 0, 0
    for piece in pieces:
        of_piece, too_short, notes = _cut(piece, first_bar, settings)
        slices, short, total = slices + of_piece, short + too_short, total + notes
        first_bar += piece.song.bars
    kept = sum(onsets(one.hits.T) for one in slices)
    late = np.concatenate([piece.late for piece in pieces]) if pieces else np.zeros(0)
    bins = np.minimum(late / ERROR_MS, ERROR_BINS - 1).astype(np.int64)
    notes = max(total, len(midi.notes) if path.suffix.lower() in ENDINGS else 0)
    cost = FileCost(hits=notes, kept=kept, room=notes - total, cut=total - kept,
                    timing=np.bincount(bins, minlength=ERROR_BINS), timing_ms=float(late.sum()))
    end = max((float(piece.seconds(np.array([piece.song.bars]))[0]) for piece in pieces), default=0.0)
    played = np.stack([midi.notes["start"], midi.notes["pitch"], midi.notes["velocity"]], 1)
    return MidiFacts(task.name, hashlib.sha256(data).hexdigest(), end, short,
                     mean_tempo(slices) if tempo_known else None, said, remarks, slices, cost, _print(slices),
                     overview(midi, played, end))


def onsets(codes: np.ndarray) -> int:
    """How many pitches begin in codes ``[4, T]``."""
    return int((codes[0] >= FIRST[0]).sum() + (codes[1:] > 0).sum())


def _of_midi(data: bytes, said: DrumLabels, settings: MidiSettings) -> tuple[list[Piece], Midi, bool, list[str]]:
    """The songs of a MIDI file, the file, whether its tempo is known, and what there is to say."""
    midi = parse(data)
    known = bool(midi.tempos)
    if not known:
        midi.tempos = [(0, said.labels.bpm or 120.0)]
        midi.remarks.append(f"no tempo in it, taken as {midi.tempos[0][1]:g} BPM")
    found, remarks = songs_of(midi, settings.convert)
    pieces = [Piece(one.song, lambda bars, one=one: midi.seconds(one.start + bars * one.bar),
                    one.late * 60_000 / one.song.tempo) for one in found]
    return pieces, midi, known, [*midi.remarks, *remarks, *tempo_remark(midi, said)]


def _of_song(song: Song, remarks: list[str]) -> Piece:
    """A song of BeepBox; ``remarks`` takes up what its codes do not say."""
    cost = Voices().cost(song)
    if cost.bent:
        remarks.append(f"{cost.bent} of its {cost.notes} notes bend, which is left out")
    if cost.louder:
        remarks.append(f"{cost.louder} of its {cost.notes} notes change in volume, which is left out")
    if cost.rhythm != song.rhythm:
        remarks.append(f"its notes lie between the {song.rhythm} steps a beat of its rhythm, taken as {cost.rhythm}")
    bar = song.beats * 60 / song.tempo
    return Piece(song, lambda bars: bars * bar, np.zeros(cost.notes))


def _cut(piece: Piece, first_bar: int, settings: MidiSettings) -> tuple[list[Slice], float, int]:
    """The rows of a song, the seconds of its pieces that are left out, and how many notes it has."""
    song = _sounding(piece.song)
    if song is None:
        return [], 0.0, 0
    facts, codes = facts_of(song), Voices().channels(song)
    steps = facts.beats * facts.rhythm
    used = np.flatnonzero((codes[0].reshape(song.bars, -1) > 0).any(axis=1))
    slices, short, before = [], 0.0, None
    for begin, end in rows_of_bars(used, settings):
        start, stop = piece.seconds(np.array([begin, end])).tolist()
        if end - begin < settings.min_bars:
            short += stop - start
            continue
        slices.append(Slice(first_bar + begin, end - begin, (end - begin) * steps, (facts.beats, 4), start, stop,
                            60 * facts.beats * (end - begin) / max(stop - start, 1e-9), begin == before,
                            joined(codes[:, begin * steps : end * steps]).T,
                            {"beats": facts.beats, "rhythm": facts.rhythm, "channels": facts.pitched,
                             "drums": facts.noise}))
        before = end
    return slices, short, onsets(joined(codes))


def _sounding(song: Song) -> Song | None:
    """The song without the channels that never play; None where none of pitches does."""
    channels = tuple(one for one in song.channels if any(one.bar(bar) for bar in range(song.bars)))
    if not channels:
        return None
    if channels[0].noise:
        channels = (song.channels[0], *channels)  # a song has a pitch channel
    return replace(song, channels=channels)


def _print(slices: list[Slice]) -> Print | None:
    """By the pitches of what is not noise, if there is any, in sixteenths: the same song in another key is a copy too,
    and so is a MIDI file of it."""
    if not slices:
        return None
    rows, bars, at = [], [], 0
    for one in slices:
        beats, rhythm, channels = one.facts["beats"], one.facts["rhythm"], one.facts["channels"] + one.facts["drums"]
        codes = one.hits.T.astype(np.int64)
        for voice, first in enumerate(FIRST):
            frame = np.flatnonzero(codes[voice] >= first)
            part = frame // channels * (PARTS // rhythm) + CELL // 2
            rows.append(np.stack([at + part // CELL, codes[voice, frame] - first, np.ones_like(frame), part % CELL], 1))
        cells = beats * PARTS // CELL
        bars += [(at + cells * i, cells) for i in range(one.bars)]
        at += cells * one.bars
    hits = np.concatenate(rows)
    tuned = hits[hits[:, 1] < PITCHES]
    hits = tuned if len(tuned) else hits
    hits = hits[np.lexsort((hits[:, 1], hits[:, 0]))]
    return duplicates.prints(hits, bars, hits[:, [0, 1, 3]], CELL)
