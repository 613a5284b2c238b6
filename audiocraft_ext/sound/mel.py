"""Mel spectrograms in numpy: enough for pictures and for finding hits, a second sooner than importing librosa."""

from __future__ import annotations

from functools import cache

import numpy as np


def mel(wav: np.ndarray, sample_rate: int, n_mels: int = 96, n_fft: int = 2048, hop: int = 512) -> np.ndarray:
    """Mean power in mel bands, ``float [N]`` to ``float32 [n_mels, 1 + N // hop]``, lowest band first.

    Frames are centred on the multiples of ``hop``, with silence around the sound, under a Hann window.
    """
    padded = np.pad(np.asarray(wav, np.float32), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # [frames, n_fft], no copy
    window, bands = np.hanning(n_fft + 1)[:-1].astype(np.float32), _bands(sample_rate, n_fft, n_mels)
    blocks = np.array_split(frames, len(frames) // 1024 + 1)  # a long clip's frames are 16 MB at a time, not all
    out = [np.abs(np.fft.rfft(block * window)) ** 2 @ bands.T for block in blocks]
    return np.concatenate(out).T.astype(np.float32)  # [n_mels, frames]


@cache
def _bands(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Triangles of weight 1 each, evenly spaced in mel as HTK defines it, from 0 Hz to the highest; ``[n_mels, bins]``.

    A band narrower than a bin takes its nearest one, so that no row of a picture is empty.
    """
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)  # Hz
    hz = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.clip(np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)), 0, None)
    empty = weights.sum(1) == 0
    weights[empty, np.abs(hz - centre).argmin(1)[empty]] = 1
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
