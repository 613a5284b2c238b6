"""How steady the beat of a clip is, by the autocorrelation of its onsets; and what else can be told of one clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, rfft

from audiocraft_ext.evaluate.mel import spectrogram
from audiocraft_ext.evaluate.sounds import RATE, Clip
from audiocraft_ext.sound.onsets import onsets
from data_prep.audio.beats.grid import SURE, Beats
from data_prep.audio.beats.listener import BeatListener

FPS = 100  # of the onset envelope
LAGS = 0.3, 1.0  # seconds: 200 to 60 BPM
TEMPO, NEAR, MOST = 0.02, 0.03, 0.8  # share a tempo may be off, seconds a downbeat may be, of how many of them
QUIET = 1e-3  # RMS of 20 ms: 42 dB below the loudness of a clip


class Pulse(NamedTuple):
    """Attributes:
        pulse: the highest autocorrelation of the onset envelope from 60 to 200 BPM; 1 is what never changes.
        bars: the mean of it at two, four and eight times that lag: still in step bars later.
        bpm: of that lag; the half or the double of the tempo as often as not.
    """

    pulse: float
    bars: float
    bpm: float


def pulse(wav: np.ndarray) -> Pulse:
    """Of ``float32 [N]`` at 32 kHz; zeros where it is shorter than two seconds or so."""
    found = _correlation(_envelope(wav))
    low, high = round(FPS * LAGS[0]), min(round(FPS * LAGS[1]), len(found) // 2 - 1)
    if high <= low:
        return Pulse(0.0, 0.0, 0.0)
    peak = low + int(np.argmax(found[low: high + 1]))
    before, at, after = found[peak - 1: peak + 2]
    bend = before - 2 * at + after
    lag = peak + float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5) if bend < 0 else 0.0)
    far = []
    for times in (2, 4, 8):
        slack = max(1, round(times * 0.5))
        if times * lag + slack < len(found) * 0.5:
            middle = round(times * lag)
            far.append(found[middle - slack: middle + slack + 1].max())
    return Pulse(float(at), float(np.mean(far)) if far else 0.0, 60 * FPS / lag)


def _envelope(wav: np.ndarray) -> np.ndarray:
    """The rise of 40 log mel bands over 20 ms, less its mean over half a second; 100 a second."""
    loud = np.log1p(10 * np.sqrt(spectrogram(wav, RATE, 1024, RATE // FPS, 40)))
    flux = np.maximum(loud[2:] - loud[:-2], 0).sum(1)
    if not len(flux):
        return np.zeros(1)
    half = FPS // 2
    local = np.convolve(np.pad(flux, half // 2, mode="edge"), np.ones(half) / half, "valid")[: len(flux)]
    return np.maximum(flux - local, 0)


def _correlation(envelope: np.ndarray) -> np.ndarray:
    """Unbiased, 1 for lag 0."""
    centred, n = envelope - envelope.mean(), len(envelope)
    found = irfft(np.abs(rfft(centred, 2 * n)) ** 2)[:n] / np.maximum(n - np.arange(n), 1)
    return found / max(found[0], 1e-12)


def describe(clip: Clip) -> dict[str, float]:
    """All that is told of one clip.

    Returns:
        ``pulse``, ``in_step``, ``bpm``: a :class:`Pulse`; ``sure``, 0 or 1: our beat tracker is sure of the bars;
        ``found``, 0 or 1: it found them where they are, NaN where nobody said where; ``onsets``, a second;
        ``flatness``, of the spectrum, 1 is white noise; ``silence``, the share of 20 ms pieces.
    """
    wav = clip.wav
    found = pulse(wav)
    listener = BeatListener(RATE)
    listener.push(wav)
    beats = listener.result(whole_loop=False)
    return {"pulse": found.pulse, "in_step": found.bars, "bpm": found.bpm,
            "sure": float(beats is not None and beats.confidence >= SURE), "found": _found(clip, beats),
            "onsets": len(onsets(wav, RATE)) * RATE / len(wav), "flatness": _flatness(wav), "silence": _silence(wav)}


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Medians over clips; of ``sure``, ``found`` and ``silence``, which are shares, means (of ``found`` over the clips
    of which it is known)."""
    out = {}
    for name in ("pulse", "in_step", "sure", "found", "onsets", "flatness", "silence") if rows else ():
        known = [row[name] for row in rows if row[name] == row[name]]
        middle = np.mean if name in ("sure", "found", "silence") else np.median
        out[name] = float(middle(known)) if known else float("nan")
    return out


def _found(clip: Clip, beats: Beats | None) -> float:
    """Whether the tracker has the tempo and most of its downbeats lie where bars begin."""
    if clip.bpm is None:
        return float("nan")
    if beats is None or abs(beats.bpm / clip.bpm - 1) > TEMPO:
        return 0.0
    bar = 240 / clip.bpm
    off = (beats.downbeats / RATE + clip.start + bar / 2) % bar - bar / 2
    return float((np.abs(off) <= NEAR).mean() >= MOST)


def _flatness(wav: np.ndarray) -> float:
    """The median over frames of geometric by arithmetic mean of the power spectrum; 0 where nothing is loud enough."""
    if len(wav) < 2048:
        return 0.0
    power = np.abs(rfft(np.lib.stride_tricks.sliding_window_view(wav, 2048)[::1024] * np.hanning(2048))) ** 2
    power = power[power.mean(1) > 1e-5][:, 1:] + 1e-10
    return float(np.median(np.exp(np.log(power).mean(1)) / power.mean(1))) if len(power) else 0.0


def _silence(wav: np.ndarray) -> float:
    n = RATE // 50
    pieces = wav[: len(wav) // n * n].reshape(-1, n)
    return float((np.sqrt((pieces ** 2).mean(1)) < QUIET).mean()) if len(pieces) else 0.0
