"""Notes to look at: a piano roll with a colour for each part, drums below it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound.picture import BACKGROUND, FAINT, PANEL, TEXT, save

COLOURS, SHADES = "tab10", 10
WIDTH, HIGH = 16.0, 7.0  # inches of 100 pixels
DRUM_ROWS = 1.4  # semitones that a row of drums takes
NARROW = 12  # semitones at least
MOST_NAMES = 24


def check() -> None:
    """Raise a :class:`UserError` where nothing can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("a piano roll is drawn by matplotlib; 'pip install matplotlib', or leave it out") from None


def draw(path: Path, notes: np.ndarray, names: dict[int, str], drums: Collection[int], bar: float, bars: int,
         hit: float, title: str) -> None:
    """Draw notes into a PNG: time from left to right in bars, pitch upwards, louder notes brighter.

    Args:
        notes: ``int64 [n, 5]``: start, length, part, pitch, velocity.
        names: of parts, in the order of their colours; ``drums``, those that are below.
        bar: how long one is, in what starts and lengths count; ``bars``, how many; ``hit``, how long a hit of drums is
            drawn.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    check()
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    colour = {part: colormaps[COLOURS](i % SHADES)[:3] for i, part in enumerate(names)}
    hits = np.isin(notes[:, 2], list(drums))
    tuned = notes[~hits]
    low, high = (int(tuned[:, 3].min()), int(tuned[:, 3].max())) if len(tuned) else (60, 60)
    high = max(high, low + NARROW)
    rows = np.unique(notes[hits, 3]).tolist()
    fig = Figure(figsize=(WIDTH, HIGH), dpi=100, facecolor=BACKGROUND)
    axes = fig.add_axes((0.04, 0.08, 0.82, 0.84), facecolor=PANEL)
    boxes, shades = [], []
    for (start, length, part, pitch, velocity), is_hit in zip(notes.tolist(), hits.tolist()):
        y = low - 2 - DRUM_ROWS * (len(rows) - rows.index(pitch)) if is_hit else pitch
        end = start + (hit if is_hit else length)
        boxes.append([(start / bar, y - 0.45), (end / bar, y - 0.45), (end / bar, y + 0.45), (start / bar, y + 0.45)])
        shades.append((*colour[part], 0.3 + 0.7 * velocity / 127))
    axes.add_collection(PolyCollection(boxes, facecolors=shades, linewidths=0))
    axes.set(xlim=(0, bars), ylim=(low - 2 - DRUM_ROWS * (len(rows) + 1), high + 2))
    axes.set_xticks(range(bars + 1) if bars <= 32 else range(0, bars + 1, 4))
    axes.set_yticks(range(-(-low // 12) * 12, high + 1, 12))
    axes.set_yticklabels([f"C{pitch // 12 - 1}" for pitch in range(-(-low // 12) * 12, high + 1, 12)])
    axes.grid(axis="x", color=FAINT, alpha=0.4, linewidth=0.6)
    axes.tick_params(colors=FAINT, labelsize=9)
    axes.set_title(title, color=TEXT, fontsize=11, loc="left", parse_math=False)
    for i, (part, name) in enumerate(list(names.items())[:MOST_NAMES]):
        fig.text(0.875, 0.9 - 0.035 * i, name, color=colour[part], fontsize=10, parse_math=False)
    save(fig, path, dpi=100, facecolor=BACKGROUND)
