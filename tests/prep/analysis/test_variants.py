"""Short sounds that differ in decay, tuning, filter, layer or take are kept; planted copies of them are found."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.prep import variants
from benchmarks.prep.duplicates import RATE, item
from data_prep.audio.duplicates.find import find
from data_prep.shared.groups import COPY


def tone(seconds: float, *partials: float) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * hz * t + n) for n, hz in enumerate(partials)) * np.exp(-5 * t / seconds)


def falling(seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * (50 * t + 5 * (1 - np.exp(-30 * t)))) * np.exp(-8 * t)


def noise(seconds: float, seed: int) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return np.random.default_rng(seed).normal(size=len(t)) * np.exp(-6 * t / seconds)


def scaled(wav: np.ndarray) -> np.ndarray:
    return np.pad(0.5 * wav / np.abs(wav).max(), (200, 2000)).astype(np.float32)


SOUNDS = {
    "cymbal": scaled(tone(1.2, 3151, 4211, 5397, 6043, 7229) + 2 * np.diff(noise(1.2, 1), append=0)),
    "snare": scaled(tone(0.4, 182, 331) + 0.7 * noise(0.4, 2)),
    "kick": scaled(falling(0.5)),
    "pluck": scaled(tone(0.8, 220, 441, 662, 885)),
}


@cache
def copies_of(name: str) -> set[str]:
    """What is taken for a copy of one of these sounds."""
    items = [item("", SOUNDS[name])]
    for kind, change in (variants.COPIES | variants.VARIANTS).items():
        changed = change(SOUNDS[name])
        if kind in variants.COPIES or variants.correlation(SOUNDS[name], changed) < variants.SAME:
            items.append(item(kind, changed))
    return {link.b for group in find(items) for link in group.links if link.a == "" and link.relation == COPY}


@pytest.mark.parametrize("name", SOUNDS)
def test_variants_are_kept_and_copies_found(name):
    pytest.importorskip("av")
    assert copies_of(name) == set(variants.COPIES)


def test_a_low_kick_half_a_semitone_up_is_another():
    """Its wave of 100 ms is all but the same at the speed of a copy; the very same at another."""
    for change in ("half a semitone up", "a semitone up", "a semitone down"):
        items = [item("", SOUNDS["kick"]), item("tuned", variants.VARIANTS[change](SOUNDS["kick"]))]
        assert not [link for group in find(items) for link in group.links if link.relation == COPY]


def test_another_take_of_a_noise_is_no_copy():
    """The same snare at the same setting: levels and length are alike, the noise is another."""
    takes = [item(str(seed), scaled(0.3 * tone(0.4, 182, 331) + noise(0.4, seed))) for seed in range(6)]
    assert not [link for group in find(takes) for link in group.links if link.relation == COPY]
