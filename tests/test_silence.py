"""Silence: what is cut out, what is kept around a hit, and that nothing that can be heard is ever lost."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep import silence
from data_prep.outline import decibels, encode

RATE = 32_000
FRAME = RATE // 100


def envelope(*parts: tuple[float, float]) -> np.ndarray:
    """From (seconds, dBFS); -inf is silence."""
    magnitudes = [np.full(round(100 * seconds), 10 ** (db / 20)) for seconds, db in parts]
    return encode(np.concatenate([np.zeros(0), *magnitudes]))


def regions(env: np.ndarray, *args, **more) -> list[tuple[float, float]]:
    """In seconds."""
    return [(a / RATE, b / RATE) for a, b in silence.regions(env, FRAME * len(env), RATE, *args, **more)]


NOTHING = -np.inf


def test_both_ends_are_trimmed_with_room_left():
    env = envelope((3, NOTHING), (2, -6), (4, NOTHING))
    assert regions(env) == [(pytest.approx(3 - silence.BEFORE), pytest.approx(5 + silence.AFTER))]


def test_room_ends_with_the_sound():
    assert regions(envelope((0.02, NOTHING), (1, -6), (0.1, NOTHING))) == [(0, 1.12)]
    assert silence.regions(envelope((1, -6)), 31_999, RATE) == [(0, 31_999)]  # the last frame is not whole


@pytest.mark.parametrize("gap, count", [(0.3, 1), (1.9, 1), (2.0, 1), (2.1, 2), (60, 2)])
def test_long_inner_silence_is_cut_out(gap, count):
    env = envelope((2, -6), (gap, -90), (2, -6))
    found = regions(env, -48, 2.0)
    assert len(found) == count
    if count == 2:
        assert found == [(0, pytest.approx(2 + silence.AFTER)),
                         (pytest.approx(2 + gap - silence.BEFORE), pytest.approx(4 + gap))]


def test_switches():
    env = envelope((1, NOTHING), (1, -6), (30, NOTHING), (1, -6), (1, NOTHING))
    assert regions(env, None) == [(0, 34)]
    assert regions(env, -48, None) == [(0.95, 33.25)]  # trimmed, and never cut
    assert regions(envelope(), None) == regions(envelope()) == []


@pytest.mark.parametrize("db", [NOTHING, -100, -85])
def test_silence_is_no_region(db):
    assert regions(envelope((5, db))) == []


@pytest.mark.parametrize("own", [-1, -20, -40])
def test_silence_is_measured_from_the_sounds_own_level(own):
    """A quiet recording is not silence; the noise of the record under a loud one is, up to 48 dB below it."""
    kept = envelope((5, own), (5, own - 40), (5, own))
    assert regions(kept) == [(0, 15)]
    cut = envelope((5, own), (5, max(own - 52, -90)), (5, own))
    assert len(regions(cut)) == 2


def test_dither_is_silence_under_a_very_quiet_sound():
    assert len(regions(envelope((5, -60), (5, -86), (5, -60)))) == 2


def test_a_click_is_not_a_sounds_own_level():
    """A needle dropped at full scale before music at -40 dB; its quiet parts stay."""
    env = envelope((0.03, 0), (5, -40), (5, -70), (5, -40))
    assert regions(env) == [(0, 15.03)]


def test_a_lone_click_is_kept():
    """It can be heard, so nothing here may drop it."""
    assert regions(envelope((5, NOTHING), (0.01, -6), (5, NOTHING))) == [(4.95, pytest.approx(5.26))]


def random_envelope(rng: np.random.Generator) -> np.ndarray:
    parts = [(rng.choice([0.01, 0.05, 0.3, 2, 5]) * rng.uniform(0.5, 1.5), rng.choice([0, -20, -45, -60, -90, NOTHING]))
             for _ in range(rng.integers(1, 12))]
    return envelope(*parts)


def covered(found: list[tuple[int, int]], samples: int) -> np.ndarray:
    mask = np.zeros(samples, bool)
    for start, end in found:
        mask[start:end] = True
    return mask


@pytest.mark.parametrize("seed", range(60))
def test_laws(seed):
    rng = np.random.default_rng(seed)
    env = random_envelope(rng)
    rate = int(rng.choice([8_000, 32_000, 22_050]))
    samples = max(0, len(env) * rate // 100 - int(rng.integers(0, rate // 100)))
    settings = {"threshold_db": float(rng.uniform(-80, -20)), "longest": float(rng.choice([0, 0.2, 2.0])),
                "before": float(rng.uniform(0, 0.3)), "after": float(rng.uniform(0, 0.5))}
    found = silence.regions(env, samples, rate, **settings)
    assert found == silence.regions(env, samples, rate, **settings)
    assert all(0 <= a < b <= samples for a, b in found)
    assert all(b < c for (_, b), (c, _) in zip(found, found[1:]))  # ascending, apart
    mask = covered(found, samples)
    for i in np.flatnonzero(decibels(env) > silence.threshold(env, settings["threshold_db"])):
        assert mask[-(-i * rate // 100): (i + 1) * rate // 100].all()  # whatever can be heard
    for name, by in (("threshold_db", -10), ("longest", 0.5), ("before", 0.1), ("after", 0.1)):
        more = silence.regions(env, samples, rate, **settings | {name: settings[name] + by})
        assert not (mask & ~covered(more, samples)).any(), name
