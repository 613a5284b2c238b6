"""Takes of a beat: how far each is from what was asked for, and which stays."""

import numpy as np
import pytest

from audiocraft_ext.drums import describe
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.drums.play.best_of import APART, measurable, miss, nearest, numbers


def straight(hits: int, bars: int = 4) -> Pattern:
    """So many hits a bar, the first of them on the beats."""
    at = [0, 4, 8, 12, 2, 6, 10, 14, 1, 3, 5, 7, 9, 11, 13, 15]
    cells = sorted((bar * 16 + at[i % 16], i // 16) for bar in range(bars) for i in range(hits))
    step, drum = np.array(cells).T
    return Pattern(step, drum, np.full(len(step), 90.0), np.zeros(len(step)), bars, 16, 4)


def test_a_level_is_met_or_missed_by_so_much():
    low, high = describe.DENSITY[0], describe.DENSITY[-1]
    for hits in range(4, 33):
        pattern = straight(hits)
        for word in describe.LEVELS:
            words = {"density": word, "genre": "funk"}
            met = describe.describe(pattern)["density"] == word
            assert (miss(pattern, words) == 0) == met or describe.density(pattern) in describe.DENSITY
    assert miss(straight(30), {"density": "very-low"}) == pytest.approx((30 - low) / (high - low))
    assert miss(straight(4), {"density": "very-high"}) == pytest.approx((high - 4) / (high - low))
    both = {"density": "very-low", "intensity": "very-high"}
    assert miss(straight(4), both) > 0 == miss(straight(4), {"density": "very-low"})
    assert miss(straight(1), {"swing": "hard"}) == 1.0  # too few off-beats to tell
    assert miss(straight(30), {"genre": "funk"}) == 0.0


def test_the_nearest_stays():
    candidates = [straight(hits) for hits in (8, 20, 30, 28)]
    assert [nearest(candidates, {"density": word}) for word in describe.LEVELS] == [0, 1, 1, 1, 2]
    assert nearest(candidates, {"genre": "funk"}) == 0


def test_numbers_of_candidates_are_nobody_elses():
    assert numbers(7, 3) == [7, 7 + APART, 7 + 2 * APART] and APART > 10**9
    assert measurable({"density": "low"}) and not measurable({"genre": "funk", "bars": "4"})
