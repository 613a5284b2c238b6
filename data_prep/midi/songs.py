"""Read one MIDI file of several instruments, and say what rows it would become: what data_prep/midi/read.py is for
drums. Runs in a worker process.

No note is lost but those in pieces that are too short (--min-bars).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from audiocraft_ext.midi.file import Midi, parse
from audiocraft_ext.notes.codec import score as scores
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.notes.codec.score import DRUMS
from audiocraft_ext.notes.midi import Stretch, stretches
from data_prep.midi import duplicates, labels
from data_prep.midi.duplicates import Print
from data_prep.midi.read import (
    ERROR_BINS,
    ERROR_MS,
    FileCost,
    MidiFacts,
    Slice,
    Task,
    first_bars,
    mean_tempo,
    overview,
    rows_of_bars,
    tempo_remark,
    tick_of,
)
from data_prep.midi.settings import MidiSettings


def analyse(task: Task) -> MidiFacts:
    """Read one file.

    Raises:
        BrokenMidi: it cannot be used.
    """
    path, settings = Path(task.path), task.settings
    data = path.read_bytes()
    midi = parse(data)
    said = labels.read(path, Path(task.root))
    no_tempo = not midi.tempos
    if no_tempo:
        midi.tempos = [(0, said.labels.bpm or 120.0)]
        midi.remarks.append(f"no tempo in it, taken as {midi.tempos[0][1]:g} BPM")
    parts, remarks = stretches(midi, settings.codec)
    remarks = [*midi.remarks, *remarks, *tempo_remark(midi, said)]
    slices, short, cost = [], 0.0, FileCost(hits=len(midi.notes))
    for part, bar in zip(parts, first_bars(parts, "score")):
        of_part, too_short, lost = _cut(midi, part, bar, settings)
        slices, short, cost = slices + of_part, short + too_short, cost + lost
    end = max((float(midi.seconds(tick_of(part.start, part.score, part.score.bars))) for part in parts), default=0.0)
    played = np.stack([midi.notes["start"], midi.notes["pitch"], midi.notes["velocity"]], 1)
    return MidiFacts(task.name, hashlib.sha256(data).hexdigest(), end, short,
                     None if no_tempo else mean_tempo(slices), said, remarks, slices, cost,
                     _print(slices, settings.codec), overview(midi, played, end))


def _cut(midi: Midi, part: Stretch, first_bar: int, settings: MidiSettings) -> tuple[list[Slice], float, FileCost]:
    """The rows of a part, the seconds of its pieces that are left out, and what all that cost."""
    codec, score = settings.codec, part.score
    bar = codec.bar_parts(score.meter)
    notes, which, _ = codec.inside(score)
    rows = np.array(rows_of_bars(np.unique(notes[:, 0] // bar), settings), np.int64).reshape(-1, 2)
    edges = np.searchsorted(notes[:, 0], rows * bar)
    slices, kept, short, before = [], np.zeros(len(notes), bool), 0.0, None
    seconds = midi.seconds(tick_of(part.start, score, rows)).tolist()
    for (begin, end), (a, b), (start, stop) in zip(rows.tolist(), edges, seconds):
        if end - begin < settings.min_bars:
            short += stop - start
            continue
        kept[a:b] = True
        bpm = 240 * score.meter[0] / score.meter[1] * (end - begin) / (stop - start)
        slices.append(Slice(first_bar + begin, end - begin, (end - begin) * bar, score.meter, start, stop, bpm,
                            begin == before, (notes[a:b] - [begin * bar, 0, 0, 0, 0]).astype(np.uint16)))
        before = end
    was = score.notes[which[kept], scores.START]
    late = np.abs(notes[kept, 0] / codec.division - was / score.ticks_per_beat) * 60_000 / score.bpm
    bins = np.minimum(late / ERROR_MS, ERROR_BINS - 1).astype(np.int64)
    return slices, short, FileCost(kept=int(kept.sum()), cut=len(score) - int(kept.sum()),
                                   timing=np.bincount(bins, minlength=ERROR_BINS), timing_ms=float(late.sum()))


def _print(slices: list[Slice], codec: Multitrack) -> Print | None:
    """By what is not drums, if there is any, in sixteenths: the same song in another key is a copy too."""
    if not slices:
        return None
    at = np.cumsum([0, *(one.steps for one in slices[:-1])])
    notes = np.concatenate([one.hits.astype(np.int64) + [begin, 0, 0, 0, 0] for one, begin in zip(slices, at)])
    tuned = notes[notes[:, 1] != DRUMS]
    notes = tuned if len(tuned) else notes
    step = codec.division // 4
    place = notes[:, 0] + step // 2
    hits = np.stack([place // step, notes[:, 2], notes[:, 3], place % step], 1)
    bars = [(int(begin + one.steps // one.bars * i) // step, one.steps // one.bars // step)
            for one, begin in zip(slices, at) for i in range(one.bars)]
    return duplicates.prints(hits, bars, hits[:, [0, 1, 3]], step)
