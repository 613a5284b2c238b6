"""Best of n: several candidates of a beat are sampled, and the one nearest to the prompt is kept.

A prompt shifts what a model plays, but a sample still misses its level now and then. Density, intensity and swing can
be measured, so the drummer samples n candidates of a beat (the option ``--takes``) and keeps the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from audiocraft_ext.drums import describe
from audiocraft_ext.drums.codec.pattern import Pattern

CANDIDATES = 4
APART = 2**40  # between the numbers of one beat's candidates, which seed them; more than there are beats
SCALES = {"density": (describe.LEVELS, describe.DENSITY, describe.density),
          "intensity": (describe.LEVELS, describe.INTENSITY, describe.intensity),
          "swing": (describe.SWINGS, describe.SWING, describe.swing)}


def measurable(words: Mapping[str, str]) -> bool:
    """Whether the prompt has a field that can be measured in the result."""
    return any(name in SCALES for name in words)


def numbers(index: int, n: int) -> list[int]:
    """The indices of a beat's n candidates: the first is the beat's own."""
    return [index + candidate * APART for candidate in range(n)]


def miss(pattern: Pattern, words: Mapping[str, str]) -> float:
    """How far a pattern is from the prompt's words: a sum over the measurable fields.

    A field counts 0 inside its level. Outside, it counts the distance to the level, divided by the distance between the
    first and the last threshold. A field that cannot be measured in the pattern counts 1.
    """
    total = 0.0
    for name, word in words.items():
        if name not in SCALES:
            continue
        levels, edges, measure = SCALES[name]
        value, level = measure(pattern), levels.index(word)
        low = edges[level - 1] if level else -np.inf
        high = edges[level] if level < len(edges) else np.inf
        total += 1.0 if value is None else max(low - value, value - high, 0.0) / (edges[-1] - edges[0])
    return float(total)


def nearest(patterns: Sequence[Pattern], words: Mapping[str, str]) -> int:
    """The index of the pattern that misses least; of equals the first."""
    return int(np.argmin([miss(pattern, words) for pattern in patterns]))
