"""Beats to look at: piano rolls, one alone or a sheet of them.

A row is a class of drums, the first at the bottom. A hit is a wedge whose upright edge stands at the very time of the
hit, so its distance from a line of the grid shows how early or late it is; the louder, the taller and the
brighter. Colours are matplotlib's "plasma", even steps of which look like even steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.sound.picture import BACKGROUND, FAINT, MARGIN, PANEL, TEXT, WIDTH, fitted, save

STRIPE, STEP, BEAT, BAR = "#15171c", "#23262e", "#3b404c", "#8a8d96"  # every other row; lines of the grid
COLOURS, DARKEST = "plasma", 0.25  # darker shades would look like the panel
LOUDEST = 127
FINEST = 4  # pixels between two lines of the grid
LINES = 4  # of bars in a picture, or more where a line would have less than two bars
PER_PAGE, COLUMNS = 8, 2  # of a sheet
SCALE = 110  # pixels to the right of a roll for the scale of velocity


@dataclass
class Canvas:
    """What is drawn, in pixels from the top left: one axes holds it all, many small ones take matplotlib its time."""

    boxes: list[tuple[float, float, float, float, str]] = field(default_factory=list)  # x, y, width, height, colour
    lines: list[tuple[float, float, float, float, str]] = field(default_factory=list)  # x, y, x, y, colour
    wedges: list[np.ndarray] = field(default_factory=list)  # [3, 2]
    velocities: list[int] = field(default_factory=list)
    texts: list[tuple[float, float, str, float, str, str]] = field(default_factory=list)  # x, y, what, high, colour, ha

    def text(self, x: float, y: float, what: str, high: float, colour: str = TEXT, align: str = "left") -> None:
        """One line, ``y`` its middle, ``high`` in pixels."""
        self.texts.append((x, y, what, high, colour, align))

    def wedge(self, x: float, y: float, width: float, half: float, velocity: int) -> None:
        self.wedges.append(np.array([(x, y - half), (x, y + half), (x + width, y)]))
        self.velocities.append(velocity)

    def draw(self, path: Path, width: int, height: int) -> None:
        """Raises a :class:`UserError` where it cannot be written, or matplotlib is not there."""
        try:
            from matplotlib import colormaps
            from matplotlib.collections import LineCollection, PolyCollection
            from matplotlib.figure import Figure
        except ImportError:
            raise UserError("a piano roll is drawn by matplotlib; 'pip install matplotlib', or leave it out") from None
        fig = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=BACKGROUND)
        axes = fig.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # y downwards, as one reads
        axes.axis("off")
        boxes = [[(x, y), (x + wide, y), (x + wide, y + high), (x, y + high)] for x, y, wide, high, _ in self.boxes]
        axes.add_collection(PolyCollection(boxes, facecolors=[box[4] for box in self.boxes], linewidths=0,
                                           antialiaseds=False))
        axes.add_collection(LineCollection([[line[:2], line[2:4]] for line in self.lines], linewidths=0.72,
                                           colors=[line[4] for line in self.lines]))
        if self.wedges:
            shade = DARKEST + (1 - DARKEST) * (np.array(self.velocities) - 1) / (LOUDEST - 1)
            axes.add_collection(PolyCollection(self.wedges, facecolors=colormaps[COLOURS](shade), linewidths=0,
                                               zorder=3))
        for x, y, what, high, colour, align in self.texts:
            axes.text(x, y, what, color=colour, size=high * 0.72, va="center", ha=align, family="DejaVu Sans Mono",
                      parse_math=False)
        save(fig, path, dpi=100, facecolor=BACKGROUND)


def roll(beat: Beat, path: Path) -> None:
    """Draw one beat into a PNG, two bars a line, or four lines.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    bars, rows = beat.clip.bars, _rows(beat)
    per_line = min(bars, max(2, math.ceil(bars / LINES)))
    high, label, canvas = 24, 124, Canvas()
    x, y, width = MARGIN + label, MARGIN + 76, WIDTH - 2 * MARGIN - label - SCALE
    what, how = _title(beat)
    canvas.text(MARGIN, MARGIN + 12, fitted(what, WIDTH - 2 * MARGIN, 22), 22)
    canvas.text(MARGIN, MARGIN + 42, fitted(how, WIDTH - 2 * MARGIN, 14), 14, FAINT)
    top = y + 20
    for first in range(0, bars, per_line):
        last = min(first + per_line, bars)
        y = _panel(canvas, beat, rows, (first, last), x, y + 20, width / per_line, high, label, 14) + 22
    _scale(canvas, WIDTH - MARGIN - SCALE + 40, top, min(y - 22 - top, 12 * high))
    canvas.draw(path, WIDTH, int(y - 22 + MARGIN))


def sheet(beats: Sequence[Beat], path: Path, title: str = "") -> list[Path]:
    """Draw many beats, eight small rolls a picture; more become ``NAME_2.png``, ``NAME_3.png``, ... Returns the files.

    Raises:
        UserError: one cannot be written, or matplotlib is not there.
    """
    pages = max(1, math.ceil(len(beats) / PER_PAGE))
    out = []
    for page in range(pages):
        out.append(path if page == 0 else path.with_name(f"{path.stem}_{page + 1}{path.suffix}"))
        heading = f"{title}  {page + 1}/{pages}".strip() if pages > 1 else title
        _page(beats[page * PER_PAGE: (page + 1) * PER_PAGE], out[-1], heading)
    return out


def _page(beats: Sequence[Beat], path: Path, title: str) -> None:
    high, label, gap, canvas = 14, 84, 36, Canvas()
    top = MARGIN + (44 if title else 0)
    if title:
        canvas.text(MARGIN, MARGIN + 12, fitted(title, WIDTH - 2 * MARGIN, 20), 20)
    columns = min(COLUMNS, max(1, len(beats)))
    cell = (WIDTH - 2 * MARGIN - SCALE - (columns - 1) * gap) / columns
    y = bottom = top
    for i, beat in enumerate(beats):
        x = MARGIN + i % columns * (cell + gap)
        y = bottom if i % columns == 0 and i else y
        what, how = _title(beat)
        canvas.text(x, y, fitted(what, cell, 13), 13)
        canvas.text(x, y + 18, fitted(how, cell, 11), 11, FAINT)
        end = _panel(canvas, beat, _rows(beat), (0, beat.clip.bars), x + label, y + 44, (cell - label) / beat.clip.bars,
                     high, label, 10)
        bottom = max(bottom, end + 32)
    _scale(canvas, WIDTH - MARGIN - SCALE + 40, top + 44, 12 * high)
    canvas.draw(path, WIDTH, int(max(bottom - 32, top + 44 + 12 * high) + MARGIN))


def _rows(beat: Beat) -> dict[int, str]:
    """The pitches from top to bottom, with their names."""
    others = sorted(set(beat.clip.notes[:, 1].tolist()) - beat.names.keys())
    rows = beat.names | {pitch: f"note {pitch}" for pitch in others}
    return dict(reversed(rows.items()))


def _title(beat: Beat) -> tuple[str, str]:
    """Bundle and prompt; and tempo, metre, length, hits, seed and index."""
    clip, recipe = beat.clip, beat.recipe
    prompt = [f"{name} {word}" for name, word in (recipe.get("said") or {}).items()]
    what = " · ".join([str(recipe.get("bundle", "beat")), *prompt])
    bars = f"{clip.bars} bar{'s' * (clip.bars != 1)}"
    how = (f"{clip.bpm:.4g} BPM · {clip.meter[0]}/{clip.meter[1]} · {bars} · {len(clip.notes)} "
           f"hit{'s' * (len(clip.notes) != 1)} · seed {recipe.get('seed', 0)} · beat {beat.index}")
    return what, how


def _panel(canvas: Canvas, beat: Beat, rows: dict[int, str], span: tuple[int, int], x: float, y: float, bar: float,
           high: int, label: int, size: int) -> float:
    """Bars ``span`` of a beat, each ``bar`` pixels wide, names in ``label`` pixels on the left of x and bars numbered
    over y; returns where it ends below."""
    (first, last), clip = span, beat.clip
    width, deep = (last - first) * bar, len(rows) * high
    away = 10 + math.ceil(bar / _steps(beat) / 2 if last - first < clip.bars else 0)  # a hit may stand before its bar
    for i, name in enumerate(rows.values()):
        canvas.boxes.append((x, y + i * high, width, high, PANEL if i % 2 else STRIPE))
        canvas.text(x - away, y + (i + 0.5) * high, fitted(name, label - away, size), size, FAINT, "right")
    steps = _steps(beat)
    for parts, colour in ((steps, STEP), (clip.meter[0], BEAT), (1, BAR)):
        if bar / parts >= FINEST or parts == 1:
            for line in range((last - first) * parts + 1):
                place = x + line * bar / parts
                canvas.lines.append((place, y, place, y + deep, colour))
    for number in range(first, last, math.ceil(3 * size / bar)):
        canvas.text(x + (number - first) * bar + 2, y - size * 0.75, str(number + 1), size, FAINT)
    bar_ticks = clip.ticks_per_beat * 4 * clip.meter[0] / clip.meter[1]
    row = {pitch: i for i, pitch in enumerate(rows)}
    long = max(5, min(0.8 * bar / steps, 28))
    for tick, pitch, velocity in clip.notes.tolist():
        at = max(tick, 0) / bar_ticks - first
        bar_of = math.floor(first + at + 0.5 / steps)  # one that is just before a bar line belongs to it
        if first <= min(bar_of, clip.bars - 1) < last:
            canvas.wedge(x + at * bar, y + (row[pitch] + 0.5) * high, min(long, max(4, width - at * bar)),
                         high * _half(velocity), velocity)
    return y + deep


def _steps(beat: Beat) -> int:
    """Lines in a bar: the steps of the grid that the beat was made on, or sixteenths."""
    steps, rest = divmod(beat.codes.shape[1], beat.clip.bars)
    if len(beat.codes) == 2 * len(beat.names) and not rest and steps:
        return steps
    return max(1, 16 * beat.clip.meter[0] // beat.clip.meter[1])


def _half(velocity: int) -> float:
    """Of a wedge's height, in rows."""
    return 0.12 + 0.36 * velocity / LOUDEST


def _scale(canvas: Canvas, x: float, y: float, deep: float) -> None:
    """Which height and colour is which velocity."""
    canvas.text(x, y - 12, "velocity", 12, FAINT)
    for velocity in (127, 112, 96, 80, 64, 48, 32, 16, 1):
        at = y + deep * (0.06 + 0.9 * (1 - velocity / LOUDEST))
        canvas.wedge(x, at, 20, deep / 12 * _half(velocity), velocity)
        canvas.text(x + 60, at, str(velocity), 12, FAINT, "right")
