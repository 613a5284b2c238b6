"""From a decision to work: an :class:`Entry` says what to read, how, and where to cut; :func:`encode` does it.

An entry is plain values, so it can be written down and encoded on another machine; what comes out depends on it, the
file and the codec alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.audio.metronome import places
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.sound.bars import BEATS
from audiocraft_ext.sound.level import TRUE_PEAK
from data_prep.audio import augment
from data_prep.audio.analysis import levels
from data_prep.audio.analysis.facts import Facts
from data_prep.audio.beats.steady import grid_of
from data_prep.audio.cuts import Piece
from data_prep.audio.encoder import CodecRef, Encoder
from data_prep.audio.plan import pieces
from data_prep.audio.settings import Settings
from data_prep.shared.cut import Cut
from data_prep.shared.labels import Row
from data_prep.shared.split import Plan

BETWEEN = 1.0  # dB that the true peak of a channel may lie above its largest sample


@dataclass(frozen=True)
class Entry:
    """A source of the store.

    Attributes:
        name: in the store; a variant's has a number behind that of its file.
        of: the file's name.
        held_out: the share at its end that goes to valid, where there is nothing else to hold out.
        mix, dc, gain_db: see :class:`~data_prep.audio.analysis.facts.Level`; ``dc`` is taken away before the gain.
        row_seconds: of the rows of divisible pieces; others are one row each.
        about: what its rows say besides.
        grid: the first downbeat and the length of a bar, in samples, of a sound whose tempo is sure and steady.
        metronome: whether a stream more says where in the bar a frame lies.
    """

    name: str
    of: str
    path: str
    split: str
    held_out: float
    mix: str
    dc: float
    gain_db: float
    row_seconds: float
    pieces: list[Piece]
    variant: dict | None
    about: dict
    grid: tuple[float, float] | None = None
    metronome: bool = False

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Entry:
        return cls(**values | {"pieces": [Piece(**piece) for piece in values["pieces"]]})

    @property
    def samples(self) -> int:
        return sum(piece.end - piece.start for piece in self.pieces)


def entries(facts: Facts, path: Path, plan: Plan, settings: Settings, row: Row | None) -> list[Entry]:
    """The source of the store that a file becomes, and its variants."""
    cut, split = Cut.parse(settings.cut), plan.splits[facts.name]
    dc = facts.level.dc if settings.dc else 0.0
    gain, _ = levels.gain_db(facts.level, settings.level, settings.dc)
    one = Entry(facts.name, facts.name, str(path), split, settings.valid_share if plan.held_out == facts.name else 0.0,
                facts.level.mix, dc, round(gain, 3), cut.row_seconds, pieces(facts, settings),
                None, _about(facts, row, gain), grid_of(facts.beats, facts.heard_at) if settings.metronome else None,
                settings.metronome)
    if split != TRAIN or one.held_out:  # variants of what is held out would be another test
        return [one]
    return [one, *(_variant(one, number, facts, settings) for number in range(1, settings.variants + 1))]


def _variant(entry: Entry, number: int, facts: Facts, settings: Settings) -> Entry:
    variant = augment.variant(augment.Augment.parse(settings.augment), settings.seed, number, entry.of,
                              facts.level.channels, entry.mix)
    mix, gain = variant.get("mix", entry.mix), entry.gain_db
    if mix != entry.mix:  # one channel can be 6 dB louder than the mean of both; and more between its samples
        gain = min(gain, round(TRUE_PEAK - BETWEEN - 20 * math.log10(max(facts.amplitude, 1e-9)), 3))
    return dataclasses.replace(entry, name=f"{entry.name}#{number}", mix=mix, gain_db=gain, variant=variant,
                               about=entry.about | {"gain_db": gain, "variant": {"of": entry.of, **variant}})


def _about(facts: Facts, row: Row | None, gain: float) -> dict:
    """What is known of the file, for its rows; what nobody knows is left out."""
    labels = row.over(facts.labels) if row else facts.labels
    bpm, found = labels.bpm, facts.beats
    about = {"file_sha256": facts.file_sha256, "file_rate": facts.rate, "seconds": facts.seconds,
             "amplitude": facts.amplitude, "gain_db": round(gain, 3), "said_bpm": bpm, **asdict(labels)}
    if bpm is None and found is not None:
        about |= {"bpm": round(found.bpm, 3), "confidence": round(found.confidence, 3)}
    return {key: value for key, value in about.items() if value is not None}


def encode(entry: Entry, encoder: Encoder, sample_rate: int, frame_rate: float) -> list[tuple[str, np.ndarray, dict]]:
    """The rows of an entry: split, codes ``uint16 [K, T]``, and what is to be said of them.

    Args:
        sample_rate: the codec's, in Hz; an entry's positions are samples at it.

    Raises:
        BrokenAudio: the file, which could be read before, cannot any more.
    """
    rows = []
    sounds = ((piece.end - piece.start, blocks) for piece, blocks in pieces_of(entry, sample_rate))
    for piece, codes in zip(entry.pieces, encoder.encode_each(sounds), strict=True):
        if entry.metronome:
            codes = np.concatenate([codes, _metronome(codes.shape[1], piece, entry, sample_rate, frame_rate)])
        rows += _rows(codes, piece, entry, sample_rate, frame_rate)
    return _held_out(rows, entry.held_out) if entry.held_out else [(entry.split, *row) for row in rows]


def _metronome(frames: int, piece: Piece, entry: Entry, sample_rate: int, frame_rate: float) -> np.ndarray:
    """Where in the bar each frame of a piece lies, ``uint16 [1, T]``; 0 where the tempo is not sure."""
    if entry.grid is None:
        return np.zeros((1, frames), np.uint16)
    downbeat, bar = entry.grid
    speed = (entry.variant or {}).get("speed", 1.0) * piece.speed
    first = (downbeat - piece.start - _shift(entry, sample_rate)) / sample_rate / speed
    return places(frames, frame_rate, 60 * BEATS * sample_rate * speed / bar, first)[None].astype(np.uint16)


_open: list = []  # in a worker: the codec and its rates


def open_codec(recipe: CodecRef, rate: int, frame_rate: float) -> None:
    """In a worker, once."""
    _open[:] = [Encoder(recipe), rate, frame_rate]


def encode_entry(entry: Entry) -> list:
    """In a worker: the rows of an entry."""
    return encode(entry, *_open)


def pieces_of(entry: Entry, sample_rate: int) -> Iterator[tuple[Piece, Iterator[np.ndarray]]]:
    """Each piece of an entry with its sound, mono blocks ``float32 [n]`` as the codec takes them; a piece's blocks
    are to be read before the next piece."""
    with sound_files.open_sound(Path(entry.path)) as reader:
        sound = Cursor(_levelled(sound_files.mono(reader, reader.rate, sample_rate, entry.mix), entry))
        later = _shift(entry, sample_rate)
        for piece in entry.pieces:
            blocks = sound.take(piece.start + later, piece.end + later)
            change = dict(entry.variant or {})
            if piece.speed != 1:
                change["speed"] = change.get("speed", 1.0) * piece.speed
            yield piece, augment.apply(change, blocks, sample_rate) if change else blocks


def _shift(entry: Entry, sample_rate: int) -> int:
    """By how many samples all pieces begin later than in the original."""
    return round((entry.variant or {}).get("shift_ms", 0.0) * sample_rate / 1000)


def _levelled(blocks: Iterable[np.ndarray], entry: Entry) -> Iterator[np.ndarray]:
    gain = np.float32(10 ** (entry.gain_db / 20))
    for block in blocks:
        yield (block - np.float32(entry.dc)) * gain


class Cursor:
    """A stream of blocks from which ascending stretches are taken."""

    def __init__(self, blocks: Iterable[np.ndarray]):
        self._blocks, self._block, self._at = iter(blocks), np.zeros(0, np.float32), 0

    def take(self, start: int, end: int) -> Iterator[np.ndarray]:
        """Samples ``start`` to ``end``, or to the end of the stream; all of them have to be read before the next."""
        while start < end:
            stop = self._at + len(self._block)
            if start < stop:
                begin = max(0, start - self._at)
                block = self._block[begin : end - self._at]
                start = self._at + begin + len(block)
                yield block
            else:
                self._at = stop
                self._block = next(self._blocks, None)
                if self._block is None:
                    self._block = np.zeros(0, np.float32)
                    return


def _rows(codes: np.ndarray, piece: Piece, entry: Entry, sample_rate: int, frame_rate: float) -> list:
    """Codes and what is said of them, cut where the piece is one that may be."""
    speed = (entry.variant or {}).get("speed", 1.0) * piece.speed
    if piece.frames and "speed" not in (entry.variant or {}):
        codes = codes[:, : piece.frames]  # resampling may give a sample more
    facts = {key: getattr(piece, key) for key in ("bpm", "bar_seconds", "bars", "confidence") if getattr(piece, key)}
    if piece.cut == "bars" and speed != 1:
        facts |= {"bpm": round(piece.bpm * speed, 3), "bar_seconds": piece.bar_seconds / speed}
    about = entry.about | facts
    if piece.cut != "bars" and "bpm" in about and speed != 1:
        about |= {"bpm": round(about["bpm"] * speed, 3)}
    frames = codes.shape[1]
    size = max(1, round(entry.row_seconds * frame_rate)) if piece.divisible else frames
    begin, end = piece.start / sample_rate, piece.end / sample_rate
    rows = []
    for at in range(0, frames, size):
        span = [begin + at / frame_rate * speed, min(end, begin + (at + size) / frame_rate * speed)]
        rows.append((codes[:, at : at + size],
                     about | {"at": [round(t, 6) for t in span], "cut": piece.cut, "follows": at > 0 or piece.follows}))
    return rows


def _held_out(rows: list, share: float) -> list[tuple[str, np.ndarray, dict]]:
    """The last ``share`` of the frames is valid: part of a row that may be cut anywhere, whole rows of slices."""
    total = sum(codes.shape[1] for codes, _ in rows)
    left = total - min(total - 1, max(1, round(total * share)))  # frames of train
    out = []
    for i, (codes, about) in enumerate(rows):
        T = codes.shape[1]
        if about["cut"] in ("fixed", "whole") and 0 < left < T:
            at = about["at"][0] + (about["at"][1] - about["at"][0]) * left / T
            out += [(TRAIN, codes[:, :left], about | {"at": [about["at"][0], round(at, 6)]}),
                    (VALID, codes[:, left:], about | {"at": [round(at, 6), about["at"][1]]})]
        else:
            valid = left < T if len(rows) > 1 and i == len(rows) - 1 else left < T / 2
            out.append((VALID if valid and i else TRAIN, codes, about))
        left -= T
    return out
