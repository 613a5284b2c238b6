"""Pieces to look at: a piano roll with a colour for each part, drums below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.notes.codec.score import DRUMS
from audiocraft_ext.notes.midi import name_of, parts_of
from audiocraft_ext.notes.play.piece import Piece
from audiocraft_ext.sound.picture import BACKGROUND, FAINT, PANEL, TEXT, save

COLOURS, SHADES = "tab10", 10
WIDTH, HIGH = 16.0, 7.0  # inches of 100 pixels
DRUM_ROWS = 1.4  # semitones that a row of drums takes
NARROW = 12  # semitones at least


def roll(piece: Piece, path: Path) -> None:
    """Draw a piece into a PNG: time from left to right in bars, pitch upwards, louder notes brighter.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("a piano roll is drawn by matplotlib; 'pip install matplotlib', or leave it out") from None
    score, parts = piece.score, parts_of(piece.score)
    colour = {part: colormaps[COLOURS](i % SHADES)[:3] for i, part in enumerate(parts)}
    bar = score.ticks_per_beat * 4 * score.meter[0] / score.meter[1]
    tuned = score.notes[score.notes[:, 2] != DRUMS]
    low, high = (int(tuned[:, 3].min()), int(tuned[:, 3].max())) if len(tuned) else (60, 60)
    high = max(high, low + NARROW)
    drums = np.unique(score.notes[score.notes[:, 2] == DRUMS, 3]).tolist()
    fig = Figure(figsize=(WIDTH, HIGH), dpi=100, facecolor=BACKGROUND)
    axes = fig.add_axes((0.04, 0.08, 0.82, 0.84), facecolor=PANEL)
    boxes, shades = [], []
    for start, length, part, pitch, velocity in score.notes.tolist():
        y = low - 2 - DRUM_ROWS * (len(drums) - drums.index(pitch)) if part == DRUMS else pitch
        end = start + (score.ticks_per_beat // 8 if part == DRUMS else length)
        boxes.append([(start / bar, y - 0.45), (end / bar, y - 0.45), (end / bar, y + 0.45), (start / bar, y + 0.45)])
        shades.append((*colour[part], 0.3 + 0.7 * velocity / 127))
    axes.add_collection(PolyCollection(boxes, facecolors=shades, linewidths=0))
    bars = score.bars or 1
    axes.set(xlim=(0, bars), ylim=(low - 2 - DRUM_ROWS * (len(drums) + 1), high + 2))
    axes.set_xticks(range(bars + 1) if bars <= 32 else range(0, bars + 1, 4))
    axes.set_yticks(range(-(-low // 12) * 12, high + 1, 12))
    axes.set_yticklabels([f"C{pitch // 12 - 1}" for pitch in range(-(-low // 12) * 12, high + 1, 12)])
    axes.grid(axis="x", color=FAINT, alpha=0.4, linewidth=0.6)
    axes.tick_params(colors=FAINT, labelsize=9)
    recipe = piece.recipe
    title = [str(recipe.get("bundle", "")), f"{score.bpm:.4g} BPM", f"{score.meter[0]}/{score.meter[1]}",
             f"{bars} bars", f"{len(score)} notes", f"seed {recipe.get('seed', 0)}", f"piece {piece.index}"]
    axes.set_title(" · ".join(title), color=TEXT, fontsize=11, loc="left", parse_math=False)
    for i, part in enumerate(parts[:24]):
        fig.text(0.875, 0.9 - 0.035 * i, name_of(part), color=colour[part], fontsize=10, parse_math=False)
    save(fig, path, dpi=100, facecolor=BACKGROUND)
