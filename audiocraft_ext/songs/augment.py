"""Codes of songs altered at random: in another key, with fewer channels. Each is a function of what it alters
and of a generator."""

from __future__ import annotations

import numpy as np

from audiocraft_ext.songs.beepbox.song import PITCHES
from audiocraft_ext.songs.codec.voices import FIRST

SEMITONES = 6  # at most, up or down
_FIRST = np.array(FIRST)[:, None]


def transpose(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Codes ``int64 [4, T]``, all but the noise up or down, as far as there are pitches."""
    tuned = (codes >= _FIRST) & (codes < _FIRST + PITCHES)
    pitches = (codes - _FIRST)[tuned]
    if not len(pitches):
        return codes
    down, up = min(SEMITONES, int(pitches.min())), min(SEMITONES, PITCHES - 1 - int(pitches.max()))
    out = codes.copy()
    out[tuned] += int(rng.integers(-down, up + 1))
    return out


def fewer(pitched: int, noise: int, rng: np.random.Generator) -> np.ndarray:
    """Which channels stay, ascending: some of pitches, one at least, and of noise some or none."""
    tuned = rng.permutation(pitched)[: rng.integers(1, pitched + 1)]
    hits = pitched + rng.permutation(noise)[: rng.integers(0, noise + 1)]
    return np.sort(np.concatenate([tuned, hits]).astype(np.int64))


def tempo(bpm: float, rng: np.random.Generator) -> float:
    """A little faster or slower: 11% at most."""
    return bpm * 2.0 ** rng.uniform(-0.15, 0.15)
