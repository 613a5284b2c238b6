"""Whether the words of a prompt steer: many clips for each word of each field, and what is measured of them.

For density and intensity the levels are ranks, 0 to 4, and so are the words of swing and tempo. ``rho`` is Spearman's
rank correlation between the rank that was asked for and what is measured: over all clips, and over the medians of the
words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import spearmanr

from audiocraft_ext.drums import describe
from benchmarks.drums.clips import Clip, Reader

MEASURES: dict[str, Callable] = {"density": describe.density, "intensity": describe.intensity, "swing": describe.swing}
STEERED = ("density", "intensity", "swing")  # fields whose words say what is measured
INFORMATIVE = ("genre", "tempo", "kind")  # fields that ask for something else, for information
Measured = dict[str, np.ndarray]  # of each measure, its value of each clip; nan where there is none


def measured(reader: Reader, clips: Sequence[Clip]) -> Measured:
    """Density, intensity and swing of each clip."""
    patterns = [reader.pattern(clip) for clip in clips]
    return {name: np.array([np.nan if (value := of(one)) is None else value for one in patterns], np.float64)
            for name, of in MEASURES.items()}


def rho(groups: Sequence[np.ndarray]) -> dict[str, float]:
    """Of the rank of a group with its values: ``all`` and ``medians``; nan where nothing varies."""
    groups = [group[np.isfinite(group)] for group in groups] or [np.zeros(0)]
    ranks = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    met = [(rank, np.median(group)) for rank, group in enumerate(groups) if len(group)]
    return {"all": _spearman(ranks, np.concatenate(groups)), "medians": _spearman(*map(np.array, zip(*met)))
            if met else float("nan")}


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    if len(set(one.tolist())) < 2 or len(set(other.tolist())) < 2:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def field_table(words: Sequence[str], asked: dict[str, Measured], known: dict[str, Measured]) -> dict[str, dict]:
    """For each word: ``clips``, medians and quartiles of each measure, and its median in the rows of a store whose
    prompts have this word."""
    table = {}
    for word in words:
        there = known.get(word)
        table[word] = {"clips": len(asked[word]["density"]), "rows": len(there["density"]) if there else 0}
        for name, values in asked[word].items():
            table[word][name] = {"quartiles": _quartiles(values),
                                 "of_rows": _quartiles(there[name])[1] if there else float("nan")}
    return table


def _quartiles(values: np.ndarray) -> list[float]:
    values = values[np.isfinite(values)]
    return np.percentile(values, (25, 50, 75)).tolist() if len(values) else [float("nan")] * 3


def by_word(reader: Reader, clips: Sequence[Clip], field: str) -> dict[str, Measured]:
    """What is measured of the rows whose prompts have each word of a field."""
    words: dict[str, list[Clip]] = {}
    for clip in clips:
        if word := clip.about.get("prompt", {}).get(field):
            words.setdefault(word, []).append(clip)
    return {word: measured(reader, there) for word, there in words.items()}


def steer(reader: Reader, make: Callable[[dict[str, str]], list[Clip]], fields: dict[str, Sequence[str]],
          rows: Sequence[Clip]) -> dict[str, dict]:
    """Ask for each word of some fields.

    Args:
        make: sample clips for these words.
        fields: the words of each.
        rows: of the train split, to compare with.

    Returns:
        For each field ``words`` (:func:`field_table`), ``rho`` of each measure, and ``rho_of_rows``: that of the rows
        with the words of their prompts, which is the best that words can do.
    """
    out = {}
    for field, words in fields.items():
        asked = {word: measured(reader, make({field: word})) for word in words}
        known = by_word(reader, rows, field)
        out[field] = {"words": field_table(words, asked, known),
                      "rho": {name: rho([asked[word][name] for word in words]) for name in MEASURES},
                      "rho_of_rows": {name: rho([known[word][name] for word in words if word in known])
                                      for name in MEASURES}}
    return out


def report(results: dict[str, dict]) -> list[str]:
    """Lines of tables: for each field its words, the median of the samples and of the rows for each measure."""
    lines = []
    for field, tables in results.items():
        lines.append(f"{field:<16}" + "".join(f"{name:>16}" for name in MEASURES) + f"{'rows':>8}")
        for word, one in tables["words"].items():
            values = (tuple(f"{value:.{1 if name == 'density' else 2}f}".replace("nan", "-")
                            for value in (one[name]["quartiles"][1], one[name]["of_rows"])) for name in MEASURES)
            lines.append(f"  {word:<14}" + "".join(f"{made:>10} {there:>5}" for made, there in values)
                         + f"{one['rows']:>8}")
        if field in STEERED:
            r, best = tables["rho"][field], tables["rho_of_rows"][field]
            lines.append(f"  Spearman of {field} with the word: {r['all']:.3f} over all clips (rows: "
                         f"{best['all']:.3f}), {r['medians']:.3f} over the words' medians")
    return lines
