"""Mel bands as musicnn was trained on: Slaney's scale and triangles of area 1, as librosa's defaults are."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.fft import rfft


def spectrogram(wav: np.ndarray, rate: int, n_fft: int, hop: int, n_mels: int) -> np.ndarray:
    """Power in mel bands of ``wav float32 [N]`` at ``rate`` Hz: ``float32 [1 + N // hop, n_mels]``, frames centred on
    the multiples of ``hop`` under a Hann window, with silence around the sound."""
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    padded = np.pad(np.asarray(wav, np.float32), n_fft // 2)
    spectrum = rfft(np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop] * window)
    return (spectrum.real ** 2 + spectrum.imag ** 2) @ filters(rate, n_fft, n_mels)


@cache
def filters(rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """``float32 [1 + n_fft // 2, n_mels]``, from 0 Hz to ``rate / 2``; the scale is linear up to 1 kHz, then
    logarithmic (Slaney's Auditory Toolbox, 1998)."""
    linear, log, knee = 200 / 3, np.log(6.4) / 27, 1000.0
    top = knee / linear + np.log(rate / 2 / knee) / log
    mels = np.linspace(0, top, n_mels + 2)
    hz = np.where(mels < knee / linear, mels * linear, knee * np.exp(log * (mels - knee / linear)))
    slopes = hz[:, None] - np.fft.rfftfreq(n_fft, 1 / rate)
    widths = np.diff(hz)[:, None]
    triangles = np.maximum(0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    return (triangles * (2 / (hz[2:] - hz[:-2]))[:, None]).astype(np.float32).T
