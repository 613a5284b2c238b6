"""Pieces to look at, as piano rolls (:mod:`audiocraft_ext.midi.roll`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from audiocraft_ext.midi import roll as rolls
from audiocraft_ext.midi.roll import Roll
from audiocraft_ext.notes.codec.score import DRUMS
from audiocraft_ext.notes.midi import name_of, parts_of
from audiocraft_ext.notes.play.piece import Piece


def roll(piece: Piece, path: Path) -> None:
    """Draw a piece into a PNG.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    rolls.draw(path, _drawn(piece, str(piece.recipe.get("bundle", "")), f"seed {piece.recipe.get('seed', 0)}",
                            f"piece {piece.index}"))


def sheet(pieces: Iterable[tuple[str, Piece]], path: Path) -> list[Path]:
    """Draw pieces side by side, each with its name over it; returns the files.

    Raises:
        UserError: one cannot be written, or matplotlib is not there.
    """
    return rolls.sheet([_drawn(piece, name) for name, piece in pieces], path)


def _drawn(piece: Piece, name: str, *more: str) -> Roll:
    score, bars = piece.score, piece.score.bars or 1
    title = [name, f"{score.bpm:.4g} BPM", f"{score.meter[0]}/{score.meter[1]}", f"{bars} bars",
             f"{len(score)} notes", *more]
    parts = sorted(parts_of(score))  # so that pieces of one band have its colours
    return Roll(score.notes, {part: name_of(part) for part in parts}, (DRUMS,),
                score.ticks_per_beat * 4 * score.meter[0] / score.meter[1], bars, score.ticks_per_beat // 8,
                " · ".join(title))
