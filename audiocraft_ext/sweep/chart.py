"""Loss curves as coordinates: the page draws them, nothing here is text of a stranger.

x is in thousandths of the width, y in pixels, so that a browser may stretch the picture sideways and its lines stay
lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

WIDTH, HEIGHT = 1000, 380
MOST = 300  # points of a curve; more cannot be told apart
LABEL = 16  # pixels between two labels
BEGINNING = 0.05  # of a curve: what a model unlearns first would leave no room for the rest
NEAR = 40  # a point of the training curve is the mean of this part of it to either side: batches differ more than runs


@dataclass(frozen=True)
class Curve:
    """Paths of one run (SVG's ``d``), and the height of its label, None where there is nothing to label."""

    train: str
    valid: str
    dots: str
    label: float | None


@dataclass(frozen=True)
class Chart:
    """``x_ticks``, ``y_ticks``: position and text."""

    curves: list[Curve]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def chart(runs: Sequence[Mapping[str, list[dict]]]) -> Chart | None:
    """Of the curves of several runs (:func:`audiocraft_ext.runs.record.read_curve`); None where there is nothing
    yet."""
    points = [{"train": smooth(_points(run.get("train", []))), "valid": _points(run.get("valid", []))} for run in runs]
    every = [point for run in points for stage in run.values() for point in stage]
    if not every:
        return None
    last = max(step for step, _ in every) or 1
    low, high = _range(points)
    ticks = nice(low, high, 8)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        step, ce = point
        y = HEIGHT * (high - ce) / (high - low)
        return round(WIDTH * step / last, 1), round(min(max(y, -HEIGHT), 2 * HEIGHT), 1)  # outside is cut off

    placed = [{stage: [place(point) for point in thinned(stage_points)] for stage, stage_points in run.items()}
              for run in points]
    ends = [((run["valid"] or run["train"]) or [(0, None)])[-1][1] for run in placed]
    labels = spread(ends)
    return Chart(
        [Curve(line(run["train"]), line(run["valid"]), " ".join(f"M{x:g} {y:g}h0" for x, y in run["valid"]), label)
         for run, label in zip(placed, labels)],
        [(WIDTH * tick / last, _count(tick)) for tick in nice(0, last, 6) if tick <= last],
        [(HEIGHT * (high - tick) / (high - low), f"{tick:g}") for tick in ticks])


def _points(stage: list[dict]) -> list[tuple[float, float]]:
    pairs = [(point["step"], point.get("ce")) for point in stage]
    return [(step, ce) for step, ce in pairs if isinstance(ce, (int, float)) and math.isfinite(ce)]


def _range(points: list[dict]) -> tuple[float, float]:
    """From the lowest loss to the highest that a run has after its beginning; a run that explodes does not count."""
    low = min(ce for run in points for stage in run.values() for _, ce in stage)
    tops = [max(ce for stage in run.values() for _, ce in stage[int(BEGINNING * len(stage)):] or stage)
            for run in points if any(run.values())]
    high = min(max(tops), low + 3 * (median(tops) - low))
    margin = 0.04 * (high - low) or 0.1
    return low - margin, high + margin


def smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each the mean of its neighbours, as many to the left as to the right; at the end, where a curve is flat, of those
    there are."""
    n, sums = len(points), [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    out = []
    for i, (x, _) in enumerate(points):
        k = min(n // NEAR, i)
        end = min(i + k + 1, n)
        out.append((x, (sums[end] - sums[i - k]) / (end - i + k)))
    return out


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most :data:`MOST` points, each the mean of its neighbours."""
    size = -(-len(points) // MOST)
    parts = [points[i : i + size] for i in range(0, len(points), size)] if size else []
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def line(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""


def spread(heights: Sequence[float | None]) -> list[float | None]:
    """Labels as near as they can be to their heights without lying on each other; more than there is room for get
    none, from the bottom of the list on."""
    wanted = [i for i, y in enumerate(heights) if y is not None][: HEIGHT // LABEL]
    wanted.sort(key=lambda i: (heights[i], i))
    at: dict[int, float] = {}
    below = 0.0
    for i in wanted:  # downwards: none above the one before it
        at[i] = below = max(below, min(max(heights[i], 0), HEIGHT))
        below += LABEL
    above = float(HEIGHT)
    for i in reversed(wanted):  # and back, from the foot
        at[i] = above = min(at[i], above)
        above -= LABEL
    return [at.get(i) for i in range(len(heights))]


def nice(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two, at most ``most`` or so."""
    step = 10.0 ** math.floor(math.log10((high - low) / most or 1))
    step *= next((m for m in (1, 2, 2.5, 5, 10) if (high - low) / (m * step) <= most), 10)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _count(step: float) -> str:
    return f"{step / 1000:g}k" if step >= 10000 else f"{step:g}"
