"""Several takes of a beat, of which the one stays that is nearest to what was asked for.

Words move what a model plays, and by chance a beat still misses its level now and then. What density, intensity and
swing are can be measured, so the drummer plays a beat more than once and keeps the take that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from audiocraft_ext.drums import describe
from audiocraft_ext.drums.codec.pattern import Pattern

TAKES = 4
APART = 2**40  # of the numbers of takes of one beat, which decide their random numbers; more than there are beats
SCALES = {"density": (describe.LEVELS, describe.DENSITY, describe.density),
          "intensity": (describe.LEVELS, describe.INTENSITY, describe.intensity),
          "swing": (describe.SWINGS, describe.SWING, describe.swing)}


def measurable(said: Mapping[str, str]) -> bool:
    """Whether something was asked for of which one can tell what came."""
    return any(name in SCALES for name in said)


def numbers(index: int, takes: int) -> list[int]:
    """Those of the takes of a beat: the first is the beat's own."""
    return [index + take * APART for take in range(takes)]


def miss(pattern: Pattern, said: Mapping[str, str]) -> float:
    """How far a pattern is from what was asked for: 0 if each level is met; 1 for as much beside one as all the levels
    between the lowest and the highest are wide. What cannot be told of it counts 1."""
    total = 0.0
    for name, word in said.items():
        if name not in SCALES:
            continue
        words, edges, measure = SCALES[name]
        value, level = measure(pattern), words.index(word)
        low = edges[level - 1] if level else -np.inf
        high = edges[level] if level < len(edges) else np.inf
        total += 1.0 if value is None else max(low - value, value - high, 0.0) / (edges[-1] - edges[0])
    return float(total)


def nearest(patterns: Sequence[Pattern], said: Mapping[str, str]) -> int:
    """Which of them misses least, of several the first."""
    return int(np.argmin([miss(pattern, said) for pattern in patterns]))
