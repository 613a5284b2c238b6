"""Sound made for the tests: beats, scattered hits, noise."""

from __future__ import annotations

import numpy as np

RATE = 32_000


def hits(seconds: float, times: np.ndarray, seed: int) -> np.ndarray:
    """Decaying bursts of a tone and noise, of random pitch, at ``times`` (seconds): ``float32 [N]``."""
    rng, wav = np.random.default_rng(seed), np.zeros(round(seconds * RATE), np.float32)
    t = np.arange(RATE // 5) / RATE
    for at in times:
        tone = np.sin(2 * np.pi * 100 * 2 ** rng.uniform(0, 5) * t) + 0.3 * rng.standard_normal(len(t))
        start = round(at * RATE)
        part = wav[start: start + len(t)]
        part += (0.3 * rng.uniform(0.5, 1) * tone * np.exp(-20 * t))[: len(part)]
    return wav


def beat(seconds: float, bpm: float = 120, seed: int = 0) -> np.ndarray:
    return hits(seconds, np.arange(0, seconds, 60 / bpm), seed)


def scattered(seconds: float, seed: int = 0) -> np.ndarray:
    """As many hits as a beat at 120 BPM has, anywhere."""
    return hits(seconds, np.sort(np.random.default_rng(seed).uniform(0, seconds, round(2 * seconds))), seed)


def white(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)
