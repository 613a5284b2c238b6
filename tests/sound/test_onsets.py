"""Hits are found where a drum machine put them, and slices are the clip without clicks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from audiocraft_ext.sound.onsets import onsets, slices

STEPS = "k h k h s h h s h s k k s h h h".split()


def hit(kind: str, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A kick, a snare or a hat, each with its tail."""
    t = np.arange(int({"k": 0.25, "s": 0.18, "h": 0.06}[kind] * rate)) / rate
    hiss = rng.normal(size=len(t))
    if kind == "k":
        return 0.6 * np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-30 * t)))) * np.exp(-14 * t)
    if kind == "s":
        return 0.25 * (hiss * np.exp(-25 * t) + np.sin(2 * np.pi * 190 * t) * np.exp(-22 * t))
    return 0.1 * np.diff(hiss, append=0) * np.exp(-70 * t)


def drums(times, kinds, rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    """Hits at ``times`` (s) over a little hiss; one's tail lies under the next."""
    rng = np.random.default_rng(seed)
    wav = rng.normal(size=round(seconds * rate)) * 1e-4
    for time, kind in zip(times, kinds):
        at, sound = round(time * rate), hit(kind, rate, rng)[: len(wav) - round(time * rate)]
        wav[at: at + len(sound)] += sound
    return wav.astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("bpm", [90, 174])
@pytest.mark.parametrize("lead", [0.0, 0.2])
def test_a_break_is_found_within_10_ms(rate, bpm, lead):
    """Two bars of sixteenths, 86 ms apart at the fastest: each hit, and nothing else."""
    times = lead + np.arange(32) * 60 / bpm / 4
    for seed in (100, 101, 102):
        found = onsets(drums(times, STEPS * 2, rate, times[-1] + 0.3, seed), rate) / rate
        assert len(found) == 32 and np.abs(found - times).max() < 0.010


def test_hits_at_any_time_are_found_within_10_ms():
    """Not on a grid of frames or beats, quiet after loud."""
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.uniform(0.09, 0.4, 60))
    kinds = rng.choice(list("ksh"), 60)
    found = onsets(drums(times, kinds, 32_000, times[-1] + 0.5), 32_000) / 32_000
    assert len(found) == 60 and np.abs(found - times).max() < 0.010


def test_hiss_is_not_heard_as_hits():
    """Only its beginning, with the clip."""
    times = 0.1 + np.arange(32) * 0.12
    wav = drums(times, STEPS * 2, 32_000, 4.2) + np.random.default_rng(5).normal(size=134_400) * 0.03
    found = onsets(wav, 32_000) / 32_000
    assert len(found) == 33 and found[0] == 0 and np.abs(found[1:] - times).max() < 0.010


def test_a_breath_before_a_hit_is_not_its_start():
    """Out of digital silence even the faintest hiss is an endless rise."""
    wav = drums([0.1], "s", 32_000, 0.5)
    wav[: 3_200 - 480] = 0
    wav[3_200 - 480: 3_200] *= 0.1  # 1e-5, 15 ms of it
    assert onsets(wav, 32_000).tolist() == [pytest.approx(3_200, abs=32)]


def test_onsets_lie_on_zero_crossings_before_the_rise():
    rate = 32_000
    times = 0.1 + np.arange(16) * 0.12
    wav = drums(times, STEPS, rate, 2.2)
    found = onsets(wav, rate)
    assert found.dtype == np.int64 and (np.diff(found) > 0).all()
    for at in found[wav[found] * wav[found - 1] > 0]:  # in a kick's slow tail there may be none for 10 ms
        near = wav[at - 64: at + 1]
        assert (np.sign(near) == np.sign(near[0])).all() and np.abs(wav[at]) == np.abs(near).min()
    assert (wav[found] * wav[found - 1] <= 0).sum() >= 14
    for at in found:
        rise = [np.square(x[at: at + 160]).mean() / np.square(x[at - 160: at]).mean() for x in (wav, np.diff(wav))]
        assert max(rise) > 2  # of the sound or of its treble: a hat over a bass is little energy


@pytest.mark.parametrize("shape", ["tone", "vibrato", "tremolo", "noise"])
def test_what_goes_on_has_one_start(shape):
    """Not one more where it breaks off or wavers."""
    t = np.arange(64_000) / 32_000
    swing = 2 * np.pi * (440 * t + 10 * np.sin(2 * np.pi * 5 * t))  # between 126 and 754 Hz
    wav = {"tone": np.sin(2 * np.pi * 220 * t), "noise": np.random.default_rng(0).normal(size=64_000) * 0.2,
           "vibrato": np.sin(swing) + 0.3 * np.sin(2 * swing),
           "tremolo": np.sin(2 * np.pi * 220 * t) * (0.3 + 0.15 * np.sin(2 * np.pi * 6 * t))}[shape]
    assert onsets(wav, 32_000).tolist() == [0]


@pytest.mark.parametrize("wav", [np.zeros(0), np.zeros(32_000), np.sin(np.arange(32_000)) * 1e-6,
                                 np.ones(1), np.ones(100) * 0.5, np.full(9, 1e-6)])
def test_nothing_to_find(wav):
    assert onsets(wav, 32_000).tolist() == []


def test_level_does_not_matter():
    wav = drums(0.1 + np.arange(16) * 0.12, STEPS, 32_000, 2.2)
    assert np.array_equal(onsets(wav, 32_000), onsets(wav * 0.01, 32_000))


def test_slices_are_the_clip():
    """Between the fades each is what it was; together they are all that follows the first onset."""
    wav = np.random.default_rng(0).uniform(-1, 1, 32_000).astype(np.float32)
    cuts = [1_000, 5_001, 20_000, 32_000]
    parts = slices(wav, 32_000, cuts[:-1])
    assert [len(p) for p in parts] == np.diff(cuts).tolist()
    for start, part in zip(cuts, parts):
        assert part.dtype == np.float32
        assert np.array_equal(part[64:-160], wav[start + 64: start + len(part) - 160])
        assert part[0] == 0 and part[-1] == 0
        assert np.abs(part[:8]).max() < 0.13 and np.abs(part[-8:]).max() < 0.06  # 8/64 and 8/160 of the way
    assert wav.max() > 0.99 and np.abs(wav[1_000]) > 0  # the clip itself is not faded


def test_short_slices_stay_with_the_one_before():
    wav = np.ones(32_000, np.float32)
    lengths = lambda cuts: [len(p) for p in slices(wav, 32_000, cuts)]
    assert lengths([0, 959, 10_000]) == [10_000, 22_000]
    assert lengths([0, 960, 10_000]) == [960, 9_040, 22_000]
    assert lengths([0, 500, 1_000, 10_000]) == [1_000, 9_000, 22_000]  # measured from what was kept
    assert lengths([0, 31_500]) == [32_000]
    assert lengths([31_500]) == [500]  # there is none before
    assert lengths([10_000, 0]) == [10_000, 22_000]
    assert lengths([]) == [] and lengths([32_000]) == []
    assert slices(wav[:3], 32_000, [0])[0].tolist() == [0, pytest.approx(1 / 9), 0]  # both fades


def test_slices_of_onsets_begin_with_their_hit():
    times = 0.1 + np.arange(8) * 0.25
    wav = drums(times, "kshkkshs", 32_000, 2.2)
    parts = slices(wav, 32_000, onsets(wav, 32_000))
    assert len(parts) == 8
    for part in parts:
        energy = np.cumsum(np.square(part, dtype=np.float64))
        assert energy[4_000] > 0.6 * energy[-1]


def test_cold_with_numpy_alone():
    script = "import sys, numpy as np; from audiocraft_ext.sound.onsets import onsets; onsets(np.ones(9999), 8000)"
    names = subprocess.run([sys.executable, "-c", script + "; print(*sys.modules)"], capture_output=True, text=True,
                           check=True, timeout=60).stdout.split()
    assert not {"scipy", "torch", "librosa", "soundfile", "numba"} & set(names)
