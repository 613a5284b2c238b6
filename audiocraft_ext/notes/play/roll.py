"""Pieces to look at, as piano rolls (:mod:`audiocraft_ext.midi.roll`)."""

from __future__ import annotations

from pathlib import Path

from audiocraft_ext.midi.roll import draw
from audiocraft_ext.notes.codec.score import DRUMS
from audiocraft_ext.notes.midi import name_of, parts_of
from audiocraft_ext.notes.play.piece import Piece


def roll(piece: Piece, path: Path) -> None:
    """Draw a piece into a PNG.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    score, recipe = piece.score, piece.recipe
    bars = score.bars or 1
    title = [str(recipe.get("bundle", "")), f"{score.bpm:.4g} BPM", f"{score.meter[0]}/{score.meter[1]}",
             f"{bars} bars", f"{len(score)} notes", f"seed {recipe.get('seed', 0)}", f"piece {piece.index}"]
    draw(path, score.notes, {part: name_of(part) for part in parts_of(score)}, (DRUMS,),
         score.ticks_per_beat * 4 * score.meter[0] / score.meter[1], bars, score.ticks_per_beat // 8,
         " · ".join(title))
