"""The numbers of a report: totals, histograms, the most frequent things; from the sources one after the other."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.report.words import ONE_SHOT

TEMPO_EDGES = tuple(range(60, 221, 8))
LOUDNESS_EDGES = tuple(range(-48, 1, 3))
LENGTH_EDGES = (0, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 3600, float("inf"))
BAND, BANDS = 10, 3  # BPM: "mostly 165 to 175"; how many such are told


class Sums:
    """Hears of each source once and keeps a few numbers of each.

    Attributes:
        licences, keys: seconds that are kept, by name; of sources without, by None (licences only).
        flags: how many sources have each.
    """

    def __init__(self):
        self._totals: Counter[str] = Counter()
        self._splits = {"train": Counter(), "valid": Counter()}
        self._largest = ("", 0.0)
        self._tempo, self._loudness = array("d"), array("d")  # value, then seconds in all and kept
        self._after = array("d")  # loudness after, seconds kept
        self._lengths = array("d")  # of all files
        self.licences: Counter[str | None] = Counter()
        self.keys: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self._sure = 0.0

    def add(self, source: dict, sure: float) -> None:
        """Take in a source (see :mod:`data_prep.report.report`); from ``sure`` on a tempo's confidence is enough."""
        seconds, kept, status = source["seconds"], source["kept"], source["status"]
        t = self._totals
        t["files"] += 1
        t["seconds"] += seconds
        t[{"kept": "kept", "duplicate": "duplicates"}.get(status, "left_out")] += 1
        self._lengths.append(seconds)
        self.flags.update({flag_kind(flag) for flag in source["flags"]})
        if source.get("bpm"):
            self._tempo.extend((source["bpm"], seconds, kept))
            if source.get("bpm_said") or (source.get("confidence") or 0) >= sure:
                self._sure += kept
        if source.get("lufs") is not None:
            self._loudness.extend((source["lufs"], seconds))
        if status != "kept":
            t["duplicate_seconds" if status == "duplicate" else "left_out_seconds"] += seconds
            return
        silence = min(source.get("silence") or 0.0, max(0.0, seconds - kept))
        t["kept_seconds"] += kept
        t["silence_seconds"] += silence
        t["remainder_seconds"] += max(0.0, seconds - kept - silence)
        t["slices"] += source["slices"]
        t["variants"] += source.get("variants") or 0
        if source.get("one_shot", seconds < ONE_SHOT or source.get("cut") == "onsets"):
            t["one_shots"] += 1
            t["one_shot_slices"] += source["slices"]
            t["one_shot_seconds"] += kept
        if source.get("lufs") is not None:
            self._after.extend((source["lufs"] + (source.get("gain_db") or 0.0), kept))
        self._largest = max(self._largest, (source["name"], kept), key=lambda pair: pair[1])
        self.licences[source.get("licence")] += kept
        if source.get("key"):
            self.keys[source["key"]] += kept
        for split, (part, slices) in _splits(source).items():
            self._splits[split].update(files=1, slices=slices, seconds=part)

    def totals(self) -> dict:
        names = ("files", "seconds", "kept", "kept_seconds", "duplicates", "duplicate_seconds", "left_out",
                 "left_out_seconds", "silence_seconds", "remainder_seconds", "slices", "variants", "one_shots",
                 "one_shot_slices", "one_shot_seconds")
        return {name: self._totals[name] for name in names} | {
            "largest": self._largest[0], "largest_seconds": self._largest[1], "keys": _ranked(self.keys),
            "licences": _ranked(self.licences), "flags": _ranked(self.flags),
            **{split: {name: sums[name] for name in ("files", "slices", "seconds")}
               for split, sums in self._splits.items()}}

    def tempo(self) -> dict:
        """Of what is kept: quartiles, and the bands in which most of it lies ``[(from, to, seconds)]``, most first."""
        bpm, _, kept = np.reshape(self._tempo, (-1, 3)).T
        known = float(kept.sum())
        if not known:
            return {"known_seconds": 0.0, "sure_seconds": 0.0, "quartiles": None, "bands": []}
        bands, left = [], kept.copy()
        while len(bands) < BANDS and left.any():
            bands.append(_fullest(bpm, left))
            left[(bpm >= bands[-1][0]) & (bpm < bands[-1][1])] = 0
        return {"known_seconds": known, "sure_seconds": self._sure, "quartiles": quantiles(bpm, kept), "bands": bands}

    def histograms(self, slice_seconds: Iterable[tuple[float, int]]) -> dict:
        """Tempo, loudness and length, before and after; the first two in seconds of sound, the last in counts."""
        bpm, seconds, kept = np.reshape(self._tempo, (-1, 3)).T
        lufs, sounding = np.reshape(self._loudness, (-1, 2)).T
        after, after_kept = np.reshape(self._after, (-1, 2)).T
        lengths, counts = np.reshape([*slice_seconds], (-1, 2)).T
        files = np.asarray(self._lengths)
        return {"tempo": _histogram(TEMPO_EDGES, (bpm, seconds), (bpm, kept)),
                "loudness": _histogram(LOUDNESS_EDGES, (lufs, sounding), (after, after_kept)),
                "length": _histogram(LENGTH_EDGES, (files, np.ones(len(files))), (lengths, counts))}


def flag_kind(flag: str) -> str:
    """What kind of thing a flag says: "clipped" of "clipped (3.1%)", "an offset of ..." of "an offset of 7%"."""
    for i, c in enumerate(flag):
        if i and c in "(:,;":
            return flag[:i].rstrip()
        if i and c.isdigit():
            return flag[:i].rstrip(" -+") + " ..."
    return flag


def _splits(source: dict) -> dict[str, tuple[float, int]]:
    """Seconds and slices in each split of a source that is kept."""
    if source["split"] != "both":
        return {source["split"]: (source["kept"], source["slices"])}
    valid, slices = source["valid_seconds"], source["valid_slices"]
    return {"train": (source["kept"] - valid, source["slices"] - slices), "valid": (valid, slices)}


def _fullest(bpm: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float]:
    """The BAND with most in it, from and to a multiple of its half; of two the one in whose middle it lies."""
    def full(start: float) -> tuple[float, float]:
        inside = (bpm >= start) & (bpm < start + BAND) & (seconds > 0)
        return seconds[inside].sum(), -abs(start + BAND / 2 - np.average(bpm[inside], weights=seconds[inside]))

    first = np.unique(np.floor(bpm[seconds > 0] / BAND * 2)) * BAND / 2
    low = float(max(np.unique([first - BAND / 2, first]), key=full))
    return low, low + BAND, float(full(low)[0])


def _ranked(counter: Counter) -> list[tuple[str | None, float]]:
    return sorted(counter.items(), key=lambda pair: (-pair[1], pair[0] or ""))


def quantiles(values: np.ndarray, weights: np.ndarray, at: Sequence[float] = (0.25, 0.5, 0.75)) -> list[float] | None:
    """Weighted quantiles: the least value with at least so much weight at or below it; None without any weight."""
    if not len(values) or not weights.sum():
        return None
    order = np.argsort(values, kind="stable")
    heap = np.cumsum(weights[order])
    return [float(values[order][min(int(np.searchsorted(heap, q * heap[-1])), len(heap) - 1)]) for q in at]


def _histogram(edges: Sequence[float], before: tuple, after: tuple) -> dict:
    """Weights by bin; what lies outside counts in the first and last."""
    def binned(values: np.ndarray, weights: np.ndarray) -> list[float]:
        top = edges[-1] if np.isfinite(edges[-1]) else 1e12
        finite = [*edges[:-1], top]
        inside = np.clip(values, finite[0], np.nextafter(finite[-1], -np.inf))
        return [float(w) for w in np.histogram(inside, finite, weights=weights)[0]]

    return {"edges": list(edges), "before": binned(*before), "after": binned(*after),
            "quartiles_before": quantiles(*before), "quartiles_after": quantiles(*after)}
