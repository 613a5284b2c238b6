"""Rate and level: lengths to the sample, loops without a seam, levels as other tools measure them, never a clip."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import signal

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound.level import CEILING, FULL_SCALE, level, loudness, resample, resample_loop, true_peak

RATE = 32_000


def db(x: float) -> float:
    return 20 * np.log10(x)


def tone(hz: float, seconds: float = 1.0, rate: int = RATE, amplitude: float = 0.5, phase: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)).astype(np.float32)


def clicks(seconds: float = 2.0) -> np.ndarray:
    """Quiet noise with loud single samples: little loudness, much peak."""
    wav = np.random.default_rng(1).normal(size=round(seconds * RATE)).astype(np.float32) * 0.01
    wav[::4000] = 0.9
    return wav


@pytest.mark.parametrize("function", [resample, resample_loop])
@pytest.mark.parametrize("rate", [8_000, 11_025, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("n", [0, 1, 2, 1000, 1001, 22_069])
def test_length_is_exact(function, rate, n):
    out = function(np.ones(n, np.float32), RATE, rate)
    assert out.shape == (round(n * rate / RATE),) and out.dtype == np.float32
    if n > 9999:
        assert np.abs(out[300:-300] - 1).max() < 1e-3  # a constant stays what it is


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_tone_stays_the_tone(rate):
    out = level(tone(997), RATE, rate=rate)
    assert out.rate == rate and out.gain_db == 0 and out.note == ""
    assert np.abs(out.wav - tone(997, rate=rate))[500:-500].max() < 2e-3  # soxr HQ: 20 bits, less near the ends


@pytest.mark.parametrize("rate, n", [(44_100, 32_000), (48_000, 32_000), (48_000, 22_069), (44_100, 22_069),
                                     (24_000, 22_070), (16_000, 22_068), (16_000, 22_069), (31_999, 1001)])
def test_a_loop_has_no_seam(rate, n):
    """Whole periods in a turn: the same tones at the new rate are the answer at every sample, the join included."""
    m = round(n * rate / RATE)
    parts = [(7, 0.3, 0.1), (100, 0.2, 2.0), (n // 5, 0.1, 1.0)]  # periods a turn, amplitude, phase

    def turn(length: int) -> np.ndarray:
        return sum(a * np.cos(2 * np.pi * k * np.arange(length) / length + p) for k, a, p in parts).astype(np.float32)

    assert np.abs(resample_loop(turn(n), RATE, rate) - turn(m)).max() < 1e-6
    assert np.abs(resample(turn(n), RATE, rate) - turn(m)).max() > 1e-3  # what a stretch of sound would become


def test_a_loop_stays_one_in_level():
    turn = tone(31, phase=0.5)
    out = level(turn, RATE, rate=48_000, peak=-6, circular=True)
    again = level(np.roll(turn, 1_000), RATE, rate=48_000, peak=-6, circular=True)
    assert np.abs(np.roll(out.wav, 1_500) - again.wav).max() < 1e-6  # wherever it is cut


@pytest.mark.parametrize("n, m", [(100, 150), (100, 151), (101, 150), (150, 100), (151, 100), (150, 101), (7, 2)])
def test_loops_as_scipy_resamples_periods(n, m):
    """Odd and even, up and down, with all that noise has at the highest frequency."""
    wav = np.random.default_rng(0).normal(size=n).astype(np.float32)
    assert np.abs(resample_loop(wav, n, m) - signal.resample(wav.astype(np.float64), m)).max() < 1e-6


def test_left_alone_unless_it_would_clip():
    wav = tone(440, amplitude=1.0, phase=0)
    out = level(wav, RATE)
    assert out.wav.tobytes() == wav.tobytes() and (out.gain_db, out.note) == (0, "")
    loud = level(2 * wav, RATE)
    assert db(np.abs(loud.wav).max()) == pytest.approx(CEILING, abs=1e-4)
    assert loud.gain_db == pytest.approx(CEILING - db(np.abs(2 * wav).max()), abs=1e-4)
    assert loud.note == "6.0 dB above full scale, made quieter instead of clipped"
    assert np.allclose(loud.wav / np.abs(loud.wav).max(), wav / np.abs(wav).max(), atol=1e-6)  # scaled, not bent


def test_what_only_clips_at_the_new_rate_is_seen():
    """Samples within full scale may have more between them."""
    square = np.sign(tone(500.3)).astype(np.float32)
    out = level(square, RATE, rate=48_000)
    assert "full scale" in out.note and np.abs(out.wav).max() <= 1


@pytest.mark.parametrize("peak", [-1.0, -12.0, -60.0, 0.0])
@pytest.mark.parametrize("amplitude", [0.001, 0.5, 3.0])
def test_peak(peak, amplitude):
    out = level(tone(440, amplitude=amplitude), RATE, rate=44_100, peak=peak)
    assert db(np.abs(out.wav).max()) == pytest.approx(min(peak, db(FULL_SCALE)), abs=1e-4) and out.note == ""
    assert np.abs(out.wav).max() <= 1 - 2.0**-16


def test_loudness_of_the_reference_tone():
    """BS.1770-4: a sine of 997 Hz at 0 dBFS in one channel is -3.01 LKFS; at every rate."""
    for rate in (32_000, 44_100, 48_000):
        assert loudness(tone(997, 2.0, rate, amplitude=1.0), rate) == pytest.approx(-3.01, abs=0.1)


@pytest.mark.parametrize("lufs", [-14.0, -23.0, -40.0])
def test_loudness_is_met(lufs):
    out = level(tone(997, 2.0, amplitude=0.01), RATE, rate=48_000, lufs=lufs)
    assert loudness(out.wav, 48_000) == pytest.approx(lufs, abs=0.01) and out.note == ""


def test_loudness_that_would_clip_falls_short_and_says_so():
    out = level(clicks(), RATE, lufs=-9)
    assert true_peak(out.wav, RATE) == pytest.approx(-1, abs=0.01)
    reached = loudness(out.wav, RATE)
    assert reached < -15
    assert out.note == f"{reached:.1f} LUFS, {-9 - reached:.1f} dB short of -9: more would clip"


def test_true_peak_lies_between_the_samples():
    """A quarter of the rate, sampled at its flanks: 3.01 dB more than any sample shows."""
    wav = tone(RATE / 4, amplitude=1.0, phase=np.pi / 4)
    assert db(np.abs(wav).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak(wav, RATE, circular=True) == pytest.approx(0, abs=0.01)
    assert true_peak(wav, RATE) == pytest.approx(0, abs=0.5)  # its start from nothing overshoots a little
    out = level(np.tile(wav, 2) * 0.1, RATE, lufs=0, circular=True)
    assert true_peak(out.wav, RATE, circular=True) == pytest.approx(-1, abs=0.01) and "short" in out.note


@pytest.mark.parametrize("wav, how, note", [
    (np.zeros(RATE, np.float32), {"lufs": -14}, "silent"), (np.zeros(RATE, np.float32), {"peak": -1}, "silent"),
    (np.zeros(0, np.float32), {"lufs": -14}, "silent"), (np.zeros(0, np.float32), {"peak": -1}, "silent"),
    (np.full(RATE, 1e-5, np.float32), {"peak": -1}, "silent"),
])
def test_silence_is_left_alone(wav, how, note):
    out = level(wav, RATE, **how)
    assert out.wav.tobytes() == wav.tobytes() and out.gain_db == 0 and note in out.note


@pytest.mark.parametrize("wav, note", [(tone(440, 0.39), "too short"), (tone(60, 2, amplitude=1e-4), "too quiet")])
def test_what_has_no_loudness_is_met_by_its_peak(wav, note):
    out = level(wav, RATE, lufs=-14)
    assert note in out.note and "\n" not in out.note
    assert db(np.abs(out.wav).max()) == pytest.approx(-1, abs=1e-4)
    assert level(tone(440, 0.4), RATE, lufs=-14).note == ""


@pytest.mark.parametrize("how, match", [
    ({"peak": 0.1}, "peak of 0.1 dBFS; -70 to 0"), ({"peak": float("nan")}, "peak"), ({"peak": -71}, "peak"),
    ({"lufs": 1}, "loudness of 1 LUFS"), ({"lufs": -float("inf")}, "loudness"), ({"rate": 7_999}, "7999 Hz; 8000 to"),
    ({"rate": 192_001}, "rate"), ({"rate": -44_100}, "rate"), ({"rate": 0}, "rate"),
    ({"peak": -1, "lufs": -14}, "one of them"),
])
def test_nonsense_is_refused(how, match):
    with pytest.raises(UserError, match=match):
        level(tone(440), RATE, **how)


def test_what_is_not_finite_is_a_bug():
    with pytest.raises(ValueError, match="not finite"):
        level(np.array([0, np.nan], np.float32), RATE)


def test_cold_without_its_libraries():
    """Neither resampler nor meter is loaded where neither is used."""
    script = "import sys, numpy as np; from audiocraft_ext.sound.level import level; level(np.zeros(9), 8000, peak=-1)"
    names = subprocess.run([sys.executable, "-c", script + "; print(*sys.modules)"], capture_output=True, text=True,
                           check=True, timeout=60).stdout.split()
    assert not {"soxr", "scipy", "pyloudnorm", "torch", "librosa"} & set(names)
