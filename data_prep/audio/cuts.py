"""Where a sound is cut: ``fixed:30`` seconds, ``bars:4`` on downbeats, or ``onsets`` for one-shots.

Pure functions of facts. A :class:`Piece` is one stretch of sound that is encoded by itself, so that its first code
begins at its first sample: a slice of four bars, a one-shot. With ``fixed`` a piece is as long as the sound goes on
without silence, and only its codes are cut, so that a training window may begin anywhere in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from audiocraft_ext.audio.metronome import locked_bpm
from audiocraft_ext.sound.bars import BEATS
from data_prep.audio.beats.grid import Beats
from data_prep.audio.beats.steady import grid_of
from data_prep.shared.cut import Cut

NEAR = 0.05  # seconds by which a bar may end behind its sound: a loop is seldom cut to the sample
LONGEST_SHOT = 8.0  # seconds that a one-shot may ring
MOST = 0.03  # share by which a sound may be played faster or slower


@dataclass(frozen=True)
class Piece:
    """Samples ``start`` to ``end`` of a sound, encoded by themselves.

    Attributes:
        follows: it goes on where the piece before it ends.
        cut: "fixed", "bars", "onsets", or "whole" where a beat was asked for and none was found.
        bpm, bar_seconds, bars, confidence: of a piece cut on downbeats.
        speed: how much faster it is played, so that its beat is a whole number of frames; ``frames`` are as many as it
            then has, 0 where it is played as it is.
    """

    start: int
    end: int
    follows: bool = False
    cut: str = "fixed"
    bpm: float | None = None
    bar_seconds: float | None = None
    bars: int | None = None
    confidence: float | None = None
    speed: float = 1.0
    frames: int = 0

    @property
    def divisible(self) -> bool:
        """Whether its codes may be cut anywhere; else it is one row."""
        return self.cut in ("fixed", "whole")


def cut(kind: Cut, regions: Sequence[tuple[int, int]], samples: int, rate: int, shortest: float, beats: Beats | None,
        onsets: np.ndarray | None) -> list[Piece]:
    """The pieces of a sound, in order, none shorter than ``shortest`` seconds.

    What lies before the first downbeat, and what is left behind the last whole bar, is in none; fewer bars than asked
    for at a region's end are a piece of their own.

    Args:
        regions: what of its ``samples`` is audible.
    """
    if kind.kind == "bars" and beats is not None and len(beats.downbeats) > 1:
        pieces = []
        for region, following in zip(regions, [*(start for start, _ in regions[1:]), samples]):
            pieces += _bars(region, (pieces[-1].end if pieces else 0, following), kind.size, rate, beats)
    elif kind.kind == "onsets" and onsets is not None:
        pieces = [p for region in regions for p in _onsets(region, onsets, rate)]
    else:
        name = "fixed" if kind.kind == "fixed" else "whole"
        pieces = [Piece(a, b, cut=name) for a, b in regions]
    return _joined([p for p in pieces if p.end - p.start >= shortest * rate])


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The same with ``follows`` set: only a slice of bars goes on in the next."""
    return [p if before is None or p.cut != "bars" or before.end != p.start
            else Piece(**vars(p) | {"follows": True}) for before, p in zip([None, *pieces], pieces)]


def _bars(region: tuple[int, int], around: tuple[int, int], size: float, rate: int, beats: Beats) -> list[Piece]:
    """Slices of a region; the silence ``around`` it (samples from and to) is a rest where it is part of a bar that is
    mostly sound."""
    start, end = region
    near = round(NEAR * rate)
    bar = round(float(np.median(np.diff(beats.downbeats))))
    first, last = max(around[0] - near, start - bar // 2), min(around[1] + near, end + bar // 2)
    lines = [int(d) for d in beats.downbeats if first <= d <= end]
    if not lines:
        return []
    while lines[-1] + bar <= last:
        lines.append(lines[-1] + bar)
    lines = [min(max(line, around[0]), around[1]) for line in lines if line <= last]
    pieces = []
    for i in range(0, len(lines) - 1, int(size)):
        group = lines[i : i + int(size) + 1]
        a, b, bars = group[0], group[-1], len(group) - 1
        if b > a:
            pieces.append(Piece(a, b, cut="bars", bpm=beats.bpm, bar_seconds=(b - a) / bars / rate, bars=bars,
                                confidence=round(beats.confidence, 3)))
    return pieces


def _onsets(region: tuple[int, int], onsets: np.ndarray, rate: int) -> list[Piece]:
    start, end = region
    inside = [int(o) for o in onsets if start <= o < end] or [start]
    return [Piece(a, min(b, a + round(LONGEST_SHOT * rate)), cut="onsets")
            for a, b in itertools.pairwise([*inside, end]) if b > a]


def locked(piece: Piece, beats: Beats | None, rate: int, frame_rate: float) -> Piece:
    """A piece of whole bars, to be played so that its beat is a whole number of frames; as it is where that takes more
    than 3% or where its tempo is not sure and steady."""
    if piece.cut != "bars" or not piece.bars or grid_of(beats, rate) is None:
        return piece
    bpm = 60 * BEATS / piece.bar_seconds
    wanted = locked_bpm(bpm, frame_rate)
    speed = wanted / bpm
    if abs(speed - 1) > MOST:
        return piece
    return replace(piece, speed=speed, frames=round(piece.bars * BEATS * 60 * frame_rate / wanted))
