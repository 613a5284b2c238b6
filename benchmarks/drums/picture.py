"""Two sets of grooves in one picture (needs matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiocraft_ext.core.files import atomic
from benchmarks.common.plots import FAINT, INK, OURS, OWN
from benchmarks.drums.stats import Grooves

BINS = 25
WORDS = {"swing": "0 is straight, 1 a triplet", "syncopation": "weight a bar", "density": "hits a bar",
         "intensity": "share of hits off the beat"}


def draw(path: Path, sets: dict[str, Grooves], classes: Sequence[str], offsets: int, title: str, small: str) -> None:
    """Draw two sets of clips.

    Args:
        sets: two, by their names; the first is the one to be like.
        classes: names of the drums.
        offsets: bins of a step.
        title, small: above and below everything.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    (first, one), (second, other) = sets.items()
    colours = {first: OWN, second: OURS}
    style = {"font.size": 9, "axes.edgecolor": FAINT, "axes.labelcolor": FAINT, "text.color": INK, "xtick.color": FAINT,
             "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False}
    with rc_context(style):
        figure = Figure(figsize=(13, 10), layout="constrained", facecolor="white")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1, rect=(0, 0.02, 1, 0.93))
        grid = figure.add_gridspec(3, 12, height_ratios=(1.15, 1, 0.8))
        _hits(figure.add_subplot(grid[0, :4]), sets, colours, classes)
        most = max(one.where.max(), other.where.max()) or 1
        for place, (name, groove) in zip((slice(4, 8), slice(8, 12)), sets.items()):
            _where(figure.add_subplot(grid[0, place]), groove.where, most, name, colours[name],
                   classes if place.start == 4 else [])
        _velocities(figure.add_subplot(grid[1, :7]), sets, colours)
        _offsets(figure.add_subplot(grid[1, 7:]), sets, colours, offsets)
        panels = [(name, {of: groove.clips[name] for of, groove in sets.items()}) for name in
                  ("swing", "syncopation", "density")]
        panels.append(("self-similarity", {of: groove.similarity for of, groove in sets.items()}))
        for i, (name, values) in enumerate(panels):
            _values(figure.add_subplot(grid[2, 3 * i : 3 * i + 3]), name, values, colours)
        figure.text(0.012, 0.965, title, fontsize=15, fontweight="bold", va="center")
        for x, name in zip((0.985 - 0.009 * len(second) - 0.03, 0.985), (first, second)):
            figure.text(x, 0.965, f"■ {name}", color=colours[name], fontsize=12, ha="right", va="center")
        figure.text(0.988, 0.008, small, ha="right", fontsize=7, color=FAINT)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            figure.savefig(part, dpi=130, format="png", metadata={"Software": None})


def _title(axis, text: str, more: str = "") -> None:
    axis.set_title(text, loc="left", fontsize=10, fontweight="bold")
    if more:
        axis.set_title(more, loc="right", fontsize=8, color=FAINT)


def _hits(axis, sets: dict[str, Grooves], colours: dict[str, str], classes: Sequence[str]) -> None:
    high = 0.38
    for i, (name, groove) in enumerate(sets.items()):
        at = np.arange(len(classes)) + (i - 0.5) * high
        means = groove.hits.mean(0)
        axis.barh(at, means, high, color=colours[name], linewidth=0)
        for y, mean in zip(at, means):
            axis.text(mean, y, f" {mean:.1f}" if mean >= 0.05 else " 0", va="center", fontsize=6.5, color=FAINT)
    axis.set_yticks(range(len(classes)), [name.replace("_", " ") for name in classes])
    axis.set_ylim(len(classes) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["bottom"].set_visible(False)
    axis.set_xticks([])
    _title(axis, "Hits a bar")


def _where(axis, where: np.ndarray, most: float, name: str, colour: str, classes: Sequence[str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    axis.pcolormesh(where, vmin=0, vmax=most, cmap=LinearSegmentedColormap.from_list("", ["#f6f6f4", colour]),
                    edgecolors="white", linewidth=0.6)
    axis.set_ylim(len(where), 0)
    axis.set_yticks(np.arange(len(classes)) + 0.5, [one.replace("_", " ") for one in classes])
    if not classes:
        axis.set_yticks([])
    _beats(axis, where.shape[1], 0.5)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(length=0)
    _title(axis, f"Where: {name}", f"darkest {100 * most:.0f}% of bars")


def _beats(axis, steps: int, shift: float = 0.0) -> None:
    beat = steps // 4 if steps % 4 == 0 else 1
    axis.set_xticks(np.arange(0, steps, beat) + shift, [str(1 + i) for i in range(len(range(0, steps, beat)))])


def _velocities(axis, sets: dict[str, Grooves], colours: dict[str, str]) -> None:
    steps = next(iter(sets.values())).where.shape[1]
    for i, (name, groove) in enumerate(sets.items()):
        x = np.arange(steps) + (i - 0.5) * 0.3
        spread = np.array([np.percentile(groove.velocity[groove.step == s], (10, 25, 50, 75, 90))
                           if (groove.step == s).any() else [np.nan] * 5 for s in range(steps)])
        axis.vlines(x, spread[:, 0], spread[:, 4], color=colours[name], linewidth=1, alpha=0.7)
        axis.vlines(x, spread[:, 1], spread[:, 3], color=colours[name], linewidth=6, alpha=0.45)
        axis.plot(x, spread[:, 2], "o", color=colours[name], markersize=4)
    axis.set_ylim(0, 127)
    _beats(axis, steps)
    axis.set_xlim(-0.6, steps - 0.4)
    axis.set_xlabel("beat", loc="right")
    _title(axis, "Velocity by step of the bar", "median, quartiles, 10 to 90%")


def _offsets(axis, sets: dict[str, Grooves], colours: dict[str, str], bins: int) -> None:
    edges = 100 * (np.arange(bins + 1) / bins - 0.5)
    for name, groove in sets.items():
        share = np.histogram(100 * groove.offset, edges)[0] / max(1, len(groove.offset))
        axis.stairs(100 * share, edges, color=colours[name], linewidth=1.5)
        axis.stairs(100 * share, edges, color=colours[name], fill=True, alpha=0.15)
    axis.axvline(0, color=FAINT, linewidth=0.6, linestyle=(0, (4, 3)))
    axis.set_xlim(-50, 50)
    axis.set_ylim(0, None)
    axis.set_xlabel("% of a step, early to late", loc="right")
    _title(axis, "Offset", "% of hits")


def _values(axis, name: str, sets: dict[str, np.ndarray], colours: dict[str, str]) -> None:
    together = np.concatenate(list(sets.values()))
    low, high = np.percentile(together, (0.5, 99.5)) if len(together) else (0, 1)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for of, values in sets.items():
        share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))
        axis.stairs(share, edges, color=colours[of], linewidth=1.3)
        axis.stairs(share, edges, color=colours[of], fill=True, alpha=0.15)
        if len(values):
            axis.axvline(np.median(values), color=colours[of], linewidth=1, linestyle=(0, (4, 3)))
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_ylim(0, None)
    axis.set_xlabel(WORDS.get(name, "hits that bars in a row share"), loc="right")
    _title(axis, name.capitalize())
