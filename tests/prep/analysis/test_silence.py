"""Silence: what is cut out, what is kept around a hit, and that nothing that can be audible is ever lost."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.audio import silence
from data_prep.audio.analysis.outline import decibels, encode

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
    env = envelope((2, -6), (gap, -70), (2, -6))
    found = regions(env, longest=2.0)
    assert len(found) == count
    if count == 2:
        assert found == [(0, pytest.approx(2 + silence.AFTER)),
                         (pytest.approx(2 + gap - silence.BEFORE), pytest.approx(4 + gap))]


def test_switches():
    env = envelope((1, NOTHING), (1, -6), (30, NOTHING), (1, -6), (1, NOTHING))
    assert regions(env, None) == [(0, 34)]
    assert regions(env, longest=None) == [(0.95, 33.25)]  # trimmed, and never cut
    assert regions(envelope(), None) == regions(envelope()) == []


@pytest.mark.parametrize("db", [NOTHING, -100, -85])
def test_silence_is_no_region(db):
    assert regions(envelope((5, db))) == []


def music(seconds: float, db: float) -> tuple[tuple[float, float], ...]:
    """It moves: notes of 100 ms, every other one 10 dB down."""
    return ((0.1, db), (0.1, db - 10)) * round(5 * seconds)


@pytest.mark.parametrize("own", [-1, -20, -35])
def test_silence_is_measured_from_the_sounds_own_level(own):
    assert regions(envelope(*music(4, own), *music(4, own - 35), *music(4, own)), -48) == [(0, 12)]
    assert len(regions(envelope(*music(4, own), *music(4, own - 49), *music(4, own)), -48)) == 2


def test_dither_is_silence_under_a_very_quiet_sound():
    assert len(regions(envelope((5, -60), (5, -86), (5, -60)), -48)) == 2


def test_a_click_is_not_a_sounds_own_level():
    """A needle dropped at full scale before music at -40 dB; its quiet parts stay."""
    assert regions(envelope((0.03, 0), *music(4, -40), *music(4, -70), *music(4, -40)), -48) == [(0, 12.03)]


def record(seconds: float, rms_db: float, seed: int = 0) -> np.ndarray:
    """The envelope of a record's surface: noise, and four clicks a second 14 dB above it."""
    rng = np.random.default_rng(seed)
    wav = rng.normal(size=round(seconds * RATE))
    ticks = rng.random(len(wav)) < 4 / RATE
    wav[ticks] += 5 * rng.normal(size=ticks.sum())
    return encode(10 ** (rms_db / 20) * np.abs(wav).reshape(-1, FRAME).max(1))


@pytest.mark.parametrize("rms_db", [-50, -60, -70])
def test_the_noise_of_a_record_is_silence(rms_db):
    env = np.concatenate([record(6, rms_db), envelope(*music(4, -3)), record(8, rms_db, 1), envelope(*music(4, -3))])
    found = regions(env)
    assert [(round(a), round(b)) for a, b in found] == [(6, 10), (18, 22)]


def test_noise_that_is_all_there_is_is_kept():
    """Rain is a sound; whether it is wanted is not decided here."""
    assert len(regions(record(10, -50))) == 1
    env = np.concatenate([record(6, -30), envelope(*music(4, -10)), record(6, -30)])  # and so is rain in music
    assert regions(env) == [(0, 16)]


def test_a_tail_is_no_noise():
    """A bell that dies away in 8 s is audible down to the threshold; so is a tone that does not move."""
    bell = encode(10 ** (np.linspace(-3, -60, 800) / 20))
    assert regions(bell) == [(0, 8)]
    assert regions(envelope(*music(4, -3), (4, -45))) == [(0, 8)]


def test_crackle_is_no_sound_and_a_click_track_is():
    ticks = ((0.5, NOTHING), (0.01, -40)) * 10
    assert regions(envelope(*music(4, -6), *ticks, (3, NOTHING))) == [(0, pytest.approx(4.25))]
    assert regions(envelope(*ticks))[0][1] == pytest.approx(5.1)


def test_a_lone_click_is_kept():
    """It can be audible, so nothing here may drop it."""
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


def loud(env: np.ndarray, threshold_db: float) -> np.ndarray:
    """A twin of what may not be lost, frame by frame: within 20 dB of the loudest; or above the threshold for 30 ms,
    and not within 6 dB of a steady second."""
    db = decibels(env)
    out = np.zeros(len(db), bool)
    present = sorted(x for x in db if x > -84)
    if not present:
        return out
    steady = [np.median(second) for second in np.array_split(db[: len(db) // 100 * 100], max(1, len(db) // 100))
              if len(second) and np.median(np.abs(second - np.median(second))) <= 1.5]
    limit = max([-84, present[-1] + threshold_db, *(x + 6 for x in steady if -84 < x < present[-1] - 30)])
    for i in range(len(db)):
        runs = [db[max(0, j): j + 3] for j in (i - 2, i - 1, i)]
        out[i] = db[i] > max(limit, present[-1] - 20) or any(len(run) == 3 and run.min() > limit for run in runs)
    return out


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
    for i in np.flatnonzero(loud(env, settings["threshold_db"])):
        assert mask[-(-i * rate // 100): (i + 1) * rate // 100].all()
    for name, by in (("threshold_db", -10), ("longest", 0.5), ("before", 0.1), ("after", 0.1)):
        more = silence.regions(env, samples, rate, **settings | {name: settings[name] + by})
        assert not (mask & ~covered(more, samples)).any(), name
