"""Notes to look at: a piano roll with a colour for each part, drums below it; one alone or a sheet of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound.picture import BACKGROUND, FAINT, PANEL, TEXT, fitted, save

COLOURS, SHADES = "tab10", 10
WIDTH, HIGH = 16.0, 7.0  # inches of 100 pixels
LEFT, RIGHT = 0.64, 2.2  # inches beside a roll, for octaves and for names
SMALL = 3.2  # how high a roll of a sheet is
PER_PAGE, COLUMNS = 8, 2  # of a sheet
DRUM_ROWS = 1.4  # semitones that a row of drums takes
NARROW = 12  # semitones at least
MOST_NAMES = 24


def check() -> None:
    """Raise a :class:`UserError` where nothing can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("a piano roll is drawn by matplotlib; 'pip install matplotlib', or leave it out") from None


@dataclass(frozen=True, eq=False)
class Roll:
    """Notes as they are drawn: time from left to right in bars, pitch upwards, louder notes brighter.

    Attributes:
        notes: ``int64 [n, 5]``: start, length, part, pitch, velocity.
        names: of parts, in the order of their colours; ``drums``, those that are below.
        bar: how long one is, in what starts and lengths count; ``bars``, how many; ``hit``, how long a hit of drums is
            drawn.
    """

    notes: np.ndarray
    names: dict[int, str]
    drums: Collection[int]
    bar: float
    bars: int
    hit: float
    title: str


def draw(path: Path, roll: Roll) -> None:
    """Draw one roll into a PNG.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    fig = _figure(HIGH)
    _panel(fig, roll, (0, 0, 1, 1), HIGH, 1.0)
    save(fig, path, dpi=100, facecolor=BACKGROUND)


def sheet(rolls: Sequence[Roll], path: Path) -> list[Path]:
    """Draw many, eight small ones a picture; more become ``NAME_2.png``, ``NAME_3.png``, ... Returns the files.

    Raises:
        UserError: one cannot be written, or matplotlib is not there.
    """
    out = []
    for page, first in enumerate(range(0, max(1, len(rolls)), PER_PAGE)):
        some = rolls[first : first + PER_PAGE]
        columns = min(COLUMNS, max(1, len(some)))
        rows = max(1, -(-len(some) // columns))
        fig = _figure(rows * SMALL)
        for i, roll in enumerate(some):
            box = (i % columns / columns, 1 - (i // columns + 1) / rows, 1 / columns, 1 / rows)
            _panel(fig, roll, box, SMALL, 0.85)
        out.append(path if page == 0 else path.with_name(f"{path.stem}_{page + 1}{path.suffix}"))
        save(fig, out[-1], dpi=100, facecolor=BACKGROUND)
    return out


def _figure(high: float):
    check()
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, high), dpi=100, facecolor=BACKGROUND)


def _panel(fig, roll: Roll, box: tuple[float, float, float, float], high: float, size: float) -> None:
    """One roll into a part of a figure.

    Args:
        box: left, bottom, width and height, in shares of the figure; ``high``, its height in inches.
        size: of the texts, 1 for a picture of its own.
    """
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    (x, y, width, deep), notes, names, bar, bars = box, roll.notes, roll.names, roll.bar, roll.bars
    colour = {part: colormaps[COLOURS](i % SHADES)[:3] for i, part in enumerate(names)}
    hits = np.isin(notes[:, 2], list(roll.drums))
    tuned = notes[~hits]
    low, top = (int(tuned[:, 3].min()), int(tuned[:, 3].max())) if len(tuned) else (60, 60)
    top = max(top, low + NARROW)
    rows = np.unique(notes[hits, 3]).tolist()
    edge, left, right = 0.56 * size**2 / high * deep, LEFT * size**2 / WIDTH, RIGHT * size**2 / WIDTH
    axes = fig.add_axes((x + left, y + edge, width - left - right, deep - 2 * edge), facecolor=PANEL)
    boxes, shades = [], []
    for (start, length, part, pitch, velocity), is_hit in zip(notes.tolist(), hits.tolist()):
        at = low - 2 - DRUM_ROWS * (len(rows) - rows.index(pitch)) if is_hit else pitch
        end = start + (roll.hit if is_hit else length)
        boxes.append([(start / bar, at - 0.45), (end / bar, at - 0.45), (end / bar, at + 0.45),
                      (start / bar, at + 0.45)])
        shades.append((*colour[part], 0.3 + 0.7 * velocity / 127))
    axes.add_collection(PolyCollection(boxes, facecolors=shades, linewidths=0))
    axes.set(xlim=(0, bars), ylim=(low - 2 - DRUM_ROWS * (len(rows) + 1), top + 2))
    axes.set_xticks(range(bars + 1) if bars <= 32 else range(0, bars + 1, 4))
    axes.set_yticks(range(-(-low // 12) * 12, top + 1, 12))
    axes.set_yticklabels([f"C{pitch // 12 - 1}" for pitch in range(-(-low // 12) * 12, top + 1, 12)])
    axes.grid(axis="x", color=FAINT, alpha=0.4, linewidth=0.6)
    axes.tick_params(colors=FAINT, labelsize=9 * size)
    axes.set_title(fitted(roll.title, 100 * WIDTH * (width - left - right), 15 * size), color=TEXT, fontsize=11 * size,
                   loc="left", parse_math=False)
    step = 0.25 / high * deep * size
    for i, (part, name) in enumerate(list(names.items())[: min(MOST_NAMES, int(deep * 0.9 / step))]):
        fig.text(x + width - right * 0.93, y + deep - edge - step * (i + 0.5),
                 fitted(name, 90 * WIDTH * right, 13 * size), color=colour[part], fontsize=10 * size, parse_math=False)
