"""Histograms and waveforms as coordinates: the template draws them, nothing here is text of a stranger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data_prep.report.words import count, span

WIDTH, LEFT, RIGHT = 380, 46, 14  # of a chart, in its own units
PANEL, GAP, TOP = 74, 26, 18  # height of one panel, between two, above the first
WAVE = 120  # points of a small waveform
WAVE_HEIGHT = 60
LEAST_PEAK = 6  # of 127: what is softer is drawn as soft

LENGTHS = {0: "0", 0.25: "¼ s", 0.5: "½", 1: "1", 2: "2", 4: "4", 8: "8", 15: "15", 30: "30", 60: "1 m", 120: "2",
           300: "5", 600: "10", 3600: "1 h"}


def chart(histogram: dict, kind: str) -> dict:
    """Two panels on one axis, before and after, each with a scale of its own.

    Args:
        histogram: one of :meth:`data_prep.report.numbers.Sums.histograms`.
        kind: "tempo", "loudness" or "length".

    Returns:
        ``panels``, each with ``bars`` (x, y, width, height, what it says), ``y`` of its foot, its ``name``, its ``top``
        label and ``note``; ``ticks`` (x, text, with a mark or not); ``height``, ``width``.
    """
    edges, wide = histogram["edges"], kind == "length"
    step = (WIDTH - LEFT - RIGHT) / (len(edges) - 1)
    text = (lambda n: count(round(n), "file")) if wide else span
    panels = [_panel("all that can be read", histogram["before"], edges, step, TOP, kind, text,
                     _note(histogram["quartiles_before"], kind)),
              _panel("what is kept", histogram["after"], edges, step, TOP + PANEL + GAP, kind,
                     (lambda n: count(round(n), "slice")) if wide else span, _note(histogram["quartiles_after"], kind))]
    every = 1 if wide else 3 if kind == "loudness" else 5
    ticks = [(LEFT + i * step, _tick(edge, kind)) for i, edge in enumerate(edges) if i % every == 0]
    return {"panels": panels, "ticks": [tick for tick in ticks if tick[1]], "width": WIDTH,
            "height": TOP + 2 * PANEL + GAP + 34, "foot": TOP + 2 * PANEL + GAP, "left": LEFT, "right": WIDTH - RIGHT,
            "axis": {"tempo": "BPM", "loudness": "LUFS", "length": "length (seconds, minutes, hours)"}[kind]}


def _panel(name: str, values: Sequence[float], edges: Sequence[float], step: float, top: float, kind: str,
           text: Callable[[float], str], note: str) -> dict:
    most = max(values, default=0.0)
    bars = []
    for i, value in enumerate(values):
        height = PANEL * value / most if most else 0
        if value:
            height = max(height, 1.5)  # few is not none
            bars.append((round(LEFT + i * step + 0.75, 1), round(top + PANEL - height, 1), round(step - 1.5, 1),
                         round(height, 1), f"{_range(edges, i, kind)}: {text(value)}"))
    return {"name": name, "bars": bars, "y": top + PANEL, "top": top, "most": text(most) if most else "", "note": note}


def _range(edges: Sequence[float], i: int, kind: str) -> str:
    low, high = edges[i], edges[i + 1]
    if kind == "length":
        return f"{span(low)} or longer" if high == float("inf") else f"{span(low)} to {span(high)}"
    unit = "BPM" if kind == "tempo" else "LUFS"
    if i == 0:
        return f"below {high:g} {unit}"
    return f"{low:g} {unit} or more" if i + 2 == len(edges) else f"{low:g} to {high:g} {unit}"


def _tick(edge: float, kind: str) -> str:
    if kind == "length":
        return LENGTHS.get(edge, "")
    return f"{edge:g}".replace("-", "−")


def _note(quartiles: list[float] | None, kind: str) -> str:
    if quartiles is None:
        return "none"
    low, middle, high = quartiles
    if kind == "length":
        return f"median {span(middle)}"
    return f"median {middle:.0f}, half within {low:.0f} to {high:.0f}".replace("-", "−")


def wave(overview: np.ndarray | None) -> str:
    """The outline of a sound as the ``d`` of an SVG path, WAVE wide and WAVE_HEIGHT high, drawn to its own peak."""
    if overview is None or not len(overview):
        return ""
    overview = np.asarray(overview, np.float64)
    low, high = overview[:, 0].reshape(WAVE, -1).min(1), overview[:, 1].reshape(WAVE, -1).max(1)
    half = WAVE_HEIGHT / 2
    scale = (half - 1) / max(-low.min(), high.max(), LEAST_PEAK)
    upper = np.rint(half - np.maximum(high * scale, 0.5)).astype(int)
    lower = np.rint(half - np.minimum(low * scale, -0.5)).astype(int)
    return (f"M0 {upper[0]}L" + " ".join(f"{x} {y}" for x, y in enumerate(upper))
            + " " + " ".join(f"{x} {lower[x]}" for x in range(WAVE - 1, -1, -1)) + "Z")


def strips(source: dict) -> list[tuple[float, float, str]]:
    """What is kept of a file below its waveform: x, width, split; neighbours as one."""
    seconds = source["seconds"]
    if not seconds:
        return []
    out: list[list] = []
    for start, end, split in source.get("spans") or ():
        x, stop = WAVE * start / seconds, min(WAVE, WAVE * end / seconds)
        if out and out[-1][2] == split and x - out[-1][1] < 0.7:
            out[-1][1] = max(stop, out[-1][1])
        else:
            out.append([x, stop, split])
    return [(round(x, 1), round(max(stop - x, 0.5), 1), split) for x, stop, split in out]
