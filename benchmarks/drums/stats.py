"""Grooves in numbers: what is distributed how in many clips of drums, and how far two such sets are apart.

Clips of four bars of 4/4. Distances: ``W1`` is the Wasserstein-1 (earth mover's) distance, in the unit of what is
measured; ``JS`` the Jensen-Shannon divergence in bits, 0 to 1.

    hits a bar            W1 of the hits a bar of each class, in hits, summed over the classes
    where                 JS of the shares of all hits, class by step of the bar
    velocity by step      W1 of velocities (of 127) at each step of the bar, weighted by the hits of the second set
    offset                W1 of the places of hits in their steps, in hundredths of a step
    density, intensity, swing, syncopation   W1 of those of clips (audiocraft_ext/drums/describe.py)
    self-similarity       W1 of the share of hits that two bars in a row have in common, of those of both (Jaccard)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from audiocraft_ext.drums import describe
from benchmarks.drums.clips import Clip, Reader

UNITS = {"hits a bar": "W1, hits", "where": "JS, bits", "velocity by step": "W1, of 127", "offset": "W1, % of a step",
         "density": "W1, hits a bar", "intensity": "W1, share", "swing": "W1, of a triplet",
         "syncopation": "W1, weight a bar", "self-similarity": "W1, share"}
OF_CLIPS = ("density", "intensity", "swing", "syncopation")


@dataclass(frozen=True)
class Grooves:
    """What there is of clips of one meter.

    Attributes:
        hits: ``int64 [bars, C]``, of each class in each bar.
        where: ``float64 [C, S]``, hits a bar of each class at each step.
        step, velocity, offset: of every hit: its step of the bar, velocity 1 to 127, place -0.5 to 0.5 in its step.
        clips: of each clip that has one: density, intensity, swing, syncopation.
        similarity: ``float64 [n]``, of each two bars in a row of which one has hits.
    """

    hits: np.ndarray
    where: np.ndarray
    step: np.ndarray
    velocity: np.ndarray
    offset: np.ndarray
    clips: dict[str, np.ndarray]
    similarity: np.ndarray

    def means(self) -> dict[str, float]:
        """One number for each, where one says something."""
        return {"hits a bar": float(self.hits.sum(1).mean()), "velocity by step": float(self.velocity.mean()),
                "offset": 100 * float(self.offset.mean()), **{name: _mean(self.clips[name]) for name in OF_CLIPS},
                "self-similarity": _mean(self.similarity)}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def of(reader: Reader, clips: Sequence[Clip]) -> Grooves:
    """Of clips with bars of one length."""
    patterns = [reader.pattern(clip) for clip in clips]
    S = clips[0].bar_steps
    assert all(clip.bar_steps == S for clip in clips)
    codes = np.concatenate([clip.codes for clip in clips], 1)
    C = len(codes) // 2
    bars = (codes[:C] > 0).reshape(C, -1, S)  # [C, bars, S]
    measures = {"density": [describe.density(one) for one in patterns],
            "intensity": [describe.intensity(one) for one in patterns if len(one)],
            "swing": [late for one in patterns if (late := describe.swing(one)) is not None],
            "syncopation": [describe.syncopation(one) for one in patterns]}
    return Grooves(bars.sum(2).T, bars.mean(1), *(np.concatenate(values) for values in zip(
        *((one.step % S, one.velocity, one.offset) for one in patterns))),
        {name: np.array(values, np.float64) for name, values in measures.items()},
        np.concatenate([similarity(clip) for clip in clips]))


def similarity(clip: Clip) -> np.ndarray:
    """Of each two bars in a row that are not both empty: the hits that both have, of those of either."""
    hits = (clip.codes[: len(clip.codes) // 2] > 0).reshape(len(clip.codes) // 2, clip.bars, clip.bar_steps)
    first, second = hits[:, :-1], hits[:, 1:]
    either = (first | second).sum((0, 2))
    return (first & second).sum((0, 2))[either > 0] / either[either > 0]


def distances(one: Grooves, other: Grooves) -> dict[str, float]:
    """From each other, for each of :data:`UNITS`; nan where one of them has nothing of it."""
    C, S = other.where.shape
    weights = np.bincount(other.step, minlength=S)
    by_step = [w1(one.velocity[one.step == s], other.velocity[other.step == s]) for s in range(S)]
    met = (weights > 0) & np.isfinite(by_step)
    return {"hits a bar": sum(w1(one.hits[:, c], other.hits[:, c]) for c in range(C)),
            "where": float(jensenshannon(one.where.ravel(), other.where.ravel(), 2) ** 2)
            if one.where.any() and other.where.any() else float("nan"),
            "velocity by step": float(np.average(np.array(by_step)[met], weights=weights[met])) if met.any()
            else float("nan"),
            "offset": 100 * w1(one.offset, other.offset),
            **{name: w1(one.clips[name], other.clips[name]) for name in OF_CLIPS},
            "self-similarity": w1(one.similarity, other.similarity)}


def w1(one: np.ndarray, other: np.ndarray) -> float:
    """Wasserstein-1 of two sets of values; nan where one is empty."""
    return float(wasserstein_distance(one, other)) if len(one) and len(other) else float("nan")
