"""Rate and level of a finished clip: another sample rate, a peak or a loudness to meet, and nothing ever clipped.

Level 1; soxr, and pyloudnorm with scipy behind it, are imported by the functions that need them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound import files as sound_files

RATES = (8_000, 192_000)  # Hz
LEVELS = (-70.0, 0.0)  # dB; BS.1770 ignores what is below -70 LUFS
TRUE_PEAK = -1.0  # dBTP, the most that EBU R 128 allows
CEILING = -0.1  # dBFS, for what would clip and was asked nothing of
SILENCE = 2.0**-16  # rounds to nothing in 16 bits
FULL_SCALE = 1 - 2.0**-15  # the largest sample that 16 bits have
BLOCK = 0.4  # seconds over which BS.1770 measures


@dataclass(frozen=True)
class Levelled:
    """``wav float32 [N]`` at ``rate`` (Hz), the gain that it was given, and what is worth saying, or ""."""

    wav: np.ndarray
    rate: int
    gain_db: float
    note: str


def level(wav: np.ndarray, sample_rate: int, *, rate: int | None = None, peak: float | None = None,
          lufs: float | None = None, circular: bool = False) -> Levelled:
    """Resample ``float [N]`` and bring it to a level.

    With neither ``peak`` nor ``lufs`` the level stays, unless a sample lies beyond full scale; then the clip is made
    quieter instead of clipped. A loudness that would push the true peak above -1 dBTP is approached as far as that
    allows. A clip in which there is nothing to measure is met by its peak, silence is left alone.

    Args:
        rate: in Hz; None is the rate that it has.
        peak: largest sample, in dBFS.
        lufs: integrated loudness by ITU-R BS.1770-4.
        circular: the clip is a loop: its end leads into its start, before and after.

    Raises:
        UserError: a rate or a level that makes no sense, or two levels.
    """
    check(rate, peak, lufs)
    wav = np.asarray(wav, np.float32)
    if not np.isfinite(wav).all():
        raise ValueError("sound with values that are not finite cannot be levelled")
    rate = rate or sample_rate
    wav = (resample_loop if circular else resample)(wav, sample_rate, rate)
    if lufs is not None:
        gain, note = _to_loudness(wav, rate, lufs, circular)
    elif peak is not None:
        gain, note = _to_peak(wav, peak)
    elif (loudest := _peak(wav)) > 0:
        gain, note = CEILING - loudest, f"{loudest:.1f} dB above full scale, made quieter instead of clipped"
    else:
        gain, note = 0.0, ""
    return Levelled(wav * np.float32(10 ** (gain / 20)) if gain else wav, rate, gain, note)


def check(rate: int | None = None, peak: float | None = None, lufs: float | None = None) -> None:
    """Refuse what makes no sense, before a clip is made.

    Raises:
        UserError: see :func:`level`.
    """
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"a rate of {rate} Hz; {RATES[0]} to {RATES[1]} can be had")
    for name, unit, value in (("peak", "dBFS", peak), ("loudness", "LUFS", lufs)):
        if value is not None and not LEVELS[0] <= value <= LEVELS[1]:
            raise UserError(f"a {name} of {value:g} {unit}; {LEVELS[0]:g} to {LEVELS[1]:g} can be had")
    if peak is not None and lufs is not None:
        raise UserError("a peak and a loudness were asked for; a clip can be brought to one of them")


def resample(wav: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """``float32 [N]`` to ``[round(N * rate_to / rate_from)]``, where soxr alone gives a sample more or less."""
    n = round(len(wav) * rate_to / rate_from)
    out = sound_files.resample(wav, rate_from, rate_to)[:n]
    return np.pad(out, (0, n - len(out)))


def resample_loop(wav: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """:func:`resample` for one turn of a loop, which stays one, to the sample and without a seam.

    A turn is a period, and a period is its Fourier series: read at other points, it is exact at the join as anywhere
    else. The turn becomes a whole number of samples, so its tempo changes by less than one part in the number of them.
    """
    n, m = len(wav), round(len(wav) * rate_to / rate_from)
    if n == m or not n or not m:
        return np.ascontiguousarray(wav[:m])
    series = np.fft.rfft(wav.astype(np.float64))
    kept = min(n, m)
    out = np.zeros(m // 2 + 1, complex)
    out[: kept // 2 + 1] = series[: kept // 2 + 1]
    if kept % 2 == 0:  # the highest of an even number stands for two, which fold together or part here
        out[kept // 2] *= 0.5 if m > n else 2.0
    return (np.fft.irfft(out, m) * (m / n)).astype(np.float32)


def loudness(wav: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of ``float [N]`` in LUFS by ITU-R BS.1770-4, -inf where it is never above -70.

    Raises:
        ValueError: shorter than 0.4 s.
        UserError: pyloudnorm is not there.
    """
    try:
        import pyloudnorm
    except ImportError:
        raise UserError("loudness is measured by pyloudnorm; 'pip install pyloudnorm', or ask for a peak") from None
    return float(pyloudnorm.Meter(sample_rate, block_size=BLOCK).integrated_loudness(np.asarray(wav, np.float64)))


def true_peak(wav: np.ndarray, sample_rate: int, circular: bool = False) -> float:
    """The largest value between the samples of ``float32 [N]`` in dBTP: four times as many show it (BS.1770-4,
    annex 2)."""
    finer = (resample_loop if circular else resample)(np.asarray(wav, np.float32), sample_rate, 4 * sample_rate)
    return max(_peak(finer), _peak(wav))


def _to_peak(wav: np.ndarray, target: float) -> tuple[float, str]:
    loudest = _peak(wav)
    if loudest <= _db(SILENCE):
        return 0.0, "silent, left as it is"
    return min(target, _db(FULL_SCALE)) - loudest, ""


def _to_loudness(wav: np.ndarray, rate: int, target: float, circular: bool) -> tuple[float, str]:
    if _peak(wav) <= _db(SILENCE):
        return 0.0, "silent, left as it is"
    if len(wav) < BLOCK * rate:
        return _to_peak(wav, TRUE_PEAK)[0], f"too short for a loudness ({BLOCK:g} s), brought to a peak of -1 dBFS"
    before = loudness(wav, rate)
    if not math.isfinite(before):
        return _to_peak(wav, TRUE_PEAK)[0], "too quiet for a loudness (-70 LUFS), brought to a peak of -1 dBFS"
    gain, room = target - before, TRUE_PEAK - true_peak(wav, rate, circular)
    if gain <= room:
        return gain, ""
    return room, f"{before + room:.1f} LUFS, {gain - room:.1f} dB short of {target:g}: more would clip"


def _peak(wav: np.ndarray) -> float:
    return _db(max(float(wav.max(initial=0.0)), -float(wav.min(initial=0.0))))  # without a copy of a long clip


def _db(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
