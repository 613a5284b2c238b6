"""Read one MIDI file, and say what it is and what rows it would become: :class:`MidiFacts`. Runs in a worker process.

Rows are cut here and now, for a file is read in a millisecond; what is kept of it is decided from all files together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiocraft_ext.drums.codec.base import DrumCodec
from audiocraft_ext.drums.codec.clip import Hits
from audiocraft_ext.drums.midi import Stretch, drums_of, stretches
from audiocraft_ext.midi.file import Midi, parse
from data_prep.midi import duplicates, labels
from data_prep.midi.duplicates import Print
from data_prep.midi.labels import DrumLabels
from data_prep.midi.settings import MidiSettings

OVERVIEW = 240  # points
ERROR_BINS, ERROR_MS = 1000, 0.1  # of the errors in time: so many, so wide, and what is more in the last


@dataclass(frozen=True)
class Task:
    """A file to be read, and how; ``root`` is the folder that is prepared."""

    path: str
    name: str
    root: str
    settings: MidiSettings


@dataclass(frozen=True)
class Slice:
    """A row of the store.

    Attributes:
        bar: of the file, from 0, at which it begins.
        bars, steps: how many it has.
        meter: its time signature.
        begin, end: in seconds of the file.
        bpm: mean over it.
        follows: it goes on where the one before it ends, in the same time signature.
        hits: ``uint16 [n, 4]``: step, class, velocity and offset as codes; of several instruments ``uint16 [n, 5]``,
            rows of :meth:`audiocraft_ext.notes.codec.multitrack.Multitrack.quantise`; of songs its codes, frame by
            frame.
        facts: more that the store's row has to say.
    """

    bar: int
    bars: int
    steps: int
    meter: tuple[int, int]
    begin: float
    end: float
    bpm: float
    follows: bool
    hits: np.ndarray
    facts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FileCost:
    """Hits of a file by what became of them, and how far those that are kept are off.

    Attributes:
        hits: all; ``kept``, those of the slices.
        unmapped: by pitch, those that the map has no class for (whether it drops them or not).
        dropped: of these, how many are dropped; ``merged``, those in whose place a louder one was; ``cut``,
            those in pieces that are too short; ``metre``, those in a time signature that the codec has not; ``room``,
            those for which a song of BeepBox has no channel.
        velocity: sum of the errors of those that are kept.
        timing: how many of them are off by how much, ``int64 [ERROR_BINS]`` of 0.1 ms; ``timing_ms``, the sum.
    """

    hits: int = 0
    kept: int = 0
    unmapped: Counter[int] = field(default_factory=Counter)
    dropped: int = 0
    merged: int = 0
    cut: int = 0
    metre: int = 0
    room: int = 0
    velocity: float = 0.0
    timing: np.ndarray = field(default_factory=lambda: np.zeros(ERROR_BINS, np.int64))
    timing_ms: float = 0.0

    def __add__(self, other: FileCost) -> FileCost:
        return FileCost(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class MidiFacts:
    """What is known of one file.

    Attributes:
        sha256: of its bytes.
        seconds: up to the end of its last bar; ``short``, those of pieces that are too short.
        tempo: the mean over its slices; None where the file says none and nobody else does.
        remarks: what a person may want to know.
        prints: what it is compared by; None where no slice is left of it.
        overview: ``int8 [240, 2]``, how much is hit in 240 pieces of equal length, the most is 127.
    """

    name: str
    sha256: str
    seconds: float
    short: float
    tempo: float | None
    labels: DrumLabels
    remarks: list[str]
    slices: list[Slice]
    cost: FileCost
    prints: Print | None
    overview: np.ndarray

    @property
    def kept(self) -> float:
        """Seconds of its slices."""
        return sum(one.end - one.begin for one in self.slices)


def analyse(task: Task) -> MidiFacts:
    """Read one file of drums.

    Raises:
        BrokenMidi: it cannot be used.
    """
    path, settings = Path(task.path), task.settings
    data = path.read_bytes()
    midi = parse(data)
    notes, guess = drums_of(midi, settings.channel)
    said = labels.read(path, Path(task.root))
    no_tempo = not midi.tempos
    if no_tempo:
        midi.tempos = [(0, said.labels.bpm or 120.0)]
        midi.remarks.append(f"no tempo in it, taken as {midi.tempos[0][1]:g} BPM")
    parts, lost = stretches(midi, notes, settings.codec)
    remarks = [*([guess] if guess else []), *midi.remarks, *lost, *tempo_remark(midi, said)]
    slices, played, short = [], [], 0.0
    cost = FileCost(hits=len(notes), metre=len(notes) - sum(len(part.clip.notes) for part in parts))
    for part, bar in zip(parts, first_bars(parts, "clip")):
        cut = _cut(midi, part, bar, settings)
        slices, played, short, cost = slices + cut.slices, played + cut.played, short + cut.short, cost + cut.cost
    end = max((float(midi.seconds(tick_of(part.start, part.clip, part.clip.bars))) for part in parts), default=0.0)
    return MidiFacts(task.name, hashlib.sha256(data).hexdigest(), end, short,
                     None if no_tempo else mean_tempo(slices), said,
                 remarks, slices, cost, _print(slices, played, settings.codec.offsets), overview(midi, notes, end))


def tempo_remark(midi: Midi, said: DrumLabels) -> Iterator[str]:
    """What there is to say of a file's tempo."""
    if len({bpm for _, bpm in midi.tempos}) > 1:
        yield "tempo changes, each row has its mean"
    elif said.labels.bpm and abs(said.labels.bpm / midi.tempos[0][1] - 1) > 0.02:
        yield f"its tempo is {midi.tempos[0][1]:.4g} BPM, but {said.labels.bpm:g} is said of it"


def first_bars(parts: list, music: str) -> Iterator[int]:
    """The bar of the file with which each part begins; ``music`` is the attribute that knows how many it has."""
    bar = 0
    for part in parts:
        yield bar
        bar += getattr(part, music).bars


def tick_of(start: int, music, bar: int | np.ndarray) -> float | np.ndarray:
    """Of the file, where a bar of music (a DrumClip or a Score) begins that begins at tick ``start``."""
    return start + bar * music.ticks_per_beat * 4 * music.meter[0] / music.meter[1]


@dataclass(frozen=True)
class _Cut:
    """What becomes of a part: ``played`` in each slice, ``int64 [m, 3]`` of its step, pitch and offset; ``short``, the
    seconds of the pieces that are left out."""

    slices: list[Slice]
    played: list[np.ndarray]
    short: float
    cost: FileCost


def _cut(midi: Midi, part: Stretch, first_bar: int, settings: MidiSettings) -> _Cut:
    codec, clip = settings.codec, part.clip
    steps = codec.steps_per_bar(clip.meter)
    hits = codec.quantise(clip)
    inside = hits.between(0, clip.bars * steps)
    table = np.stack([inside.step, inside.drum, inside.velocity, inside.offset], 1)
    step, offset = codec.place(clip)  # ascending, as the notes are
    notes = np.stack([step, clip.notes[:, 1], offset], 1)
    rows = np.array(rows_of_bars(np.unique(inside.step // steps), settings), np.int64).reshape(-1, 2)
    of_hits, of_notes = (np.searchsorted(where, rows * steps) for where in (inside.step, step))
    slices, played, kept, short, before = [], [], np.zeros(len(inside), bool), 0.0, None
    for (begin, end), (a, b), (c, d), (start, stop) in zip(rows.tolist(), of_hits, of_notes,
                                                           midi.seconds(tick_of(part.start, clip, rows)).tolist()):
        if end - begin < settings.min_bars:
            short += stop - start
            continue
        kept[a:b] = True
        bpm = 240 * clip.meter[0] / clip.meter[1] * (end - begin) / (stop - start)
        slices.append(Slice(first_bar + begin, end - begin, (end - begin) * steps, clip.meter, start, stop, bpm,
                            begin == before, (table[a:b] - [begin * steps, 0, 0, 0]).astype(np.uint16)))
        played.append(notes[c:d] - [begin * steps, 0, 0])
        before = end
    return _Cut(slices, played, short, _cost(codec, part, inside, kept, len(hits) - len(inside)))


def rows_of_bars(used: np.ndarray, settings: MidiSettings) -> list[tuple[int, int]]:
    """The rows of the bars that are ``used``, from bar to bar."""
    if not len(used):
        return []
    ends = np.flatnonzero(np.diff(used) > settings.empty_bars + 1)
    runs = zip(used[[0, *(ends + 1)]].tolist(), used[[*ends, -1]].tolist())
    return [(begin, min(begin + settings.bars, last + 1)) for first, last in runs
            for begin in range(first, last + 1, settings.bars)]


def _cost(codec: DrumCodec, part: Stretch, inside: Hits, kept: np.ndarray, outside: int) -> FileCost:
    pitch = part.clip.notes[:, 1]
    unmapped = pitch[~codec.drums.known()[pitch]]
    dropped = int((codec.drums.table()[pitch] < 0).sum())
    velocity, timing = (error[kept] for error in codec.errors(part.clip, inside))
    late = np.minimum(timing / ERROR_MS, ERROR_BINS - 1).astype(np.int64)
    return FileCost(kept=int(kept.sum()), unmapped=Counter(unmapped.tolist()), dropped=dropped,
                    merged=len(pitch) - dropped - len(inside) - outside, cut=len(inside) - int(kept.sum()) + outside,
                    velocity=float(velocity.sum()), timing=np.bincount(late, minlength=ERROR_BINS),
                    timing_ms=float(timing.sum()))


def mean_tempo(slices: list[Slice]) -> float | None:
    """Over all slices."""
    seconds = sum(one.end - one.begin for one in slices)
    return sum(one.bpm * (one.end - one.begin) for one in slices) / seconds if seconds else None


def _print(slices: list[Slice], played: list[np.ndarray], offsets: int) -> Print | None:
    if not slices:
        return None
    at = np.cumsum([0, *(one.steps for one in slices[:-1])])
    lengths = [len(one.hits) for one in slices]
    hits = np.concatenate([one.hits for one in slices]).astype(np.int64)
    hits[:, 0] += np.repeat(at, lengths)
    notes = np.concatenate(played)
    notes[:, 0] += np.repeat(at, [len(one) for one in played])
    bars = [(int(begin) + one.steps // one.bars * i, one.steps // one.bars)
            for one, begin in zip(slices, at) for i in range(one.bars)]
    return duplicates.prints(hits, bars, notes, offsets)


def overview(midi: Midi, notes: np.ndarray, end: float) -> np.ndarray:
    """How much is played when, of ``notes [n, 3]`` of tick, pitch and velocity; see :class:`MidiFacts`."""
    at = np.clip(midi.seconds(notes[:, 0]) / max(end, 1e-9) * OVERVIEW, 0, OVERVIEW - 1).astype(np.int64)
    heap = np.bincount(at, notes[:, 2], OVERVIEW)
    height = np.ceil(127 * heap / max(heap.max(), 1)).astype(np.int8)
    return np.stack([-height, height], 1)
