"""What is laid over a break, and what is done to it: bass, stabs and pads in key; drive, room, a moving filter."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, lfilter

from data_prep.audio.beats.renders import RATE

LEVEL_DB, PEAK = -18.0, 0.95  # RMS of what comes out, and its largest sample
EDGE = 64  # samples of a chop's fade, 2 ms
MINOR = (0, 3, 7, 10)  # semitones of the chords and of most bass notes
ROOTS = (0, 0, 0, -4, -2, 3, 5)  # of a bar's chord, in the key
BLOCK = 512  # samples between two places of a filter that moves


def soften(chop: np.ndarray) -> None:
    """Fade the ends of ``chop [N]`` in place, so that joins do not click."""
    n = min(EDGE, len(chop) // 4)
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    chop[:n] *= ramp
    chop[len(chop) - n:] *= ramp[::-1]


def levelled(wav: np.ndarray) -> np.ndarray:
    """``[N]`` at -18 dB RMS, or as near as its peak allows."""
    rms, peak = float(np.sqrt(np.mean(wav**2))), float(np.abs(wav).max())
    return (wav * min(10 ** (LEVEL_DB / 20) / max(rms, 1e-9), PEAK / max(peak, 1e-9))).astype(np.float32)


def accompaniment(rng: np.random.Generator, root: int, bpm: float, bars: int, samples: int) -> np.ndarray:
    """Bass, stabs and a pad, each or none of them, ``float32 [samples]``; ``root`` is the key's, 0 is C."""
    out, bar = np.zeros(samples, np.float32), samples / bars
    degrees = [int(rng.choice(ROOTS)) for _ in range(int(rng.choice([1, 2, 4])))]
    if rng.random() < 0.6:
        out += rng.uniform(0.3, 1.0) * _bass(rng, root, degrees, bars, bar, samples)
    if rng.random() < 0.3:
        out += rng.uniform(0.1, 0.4) * _stabs(rng, root, degrees, bars, bar, samples)
    if rng.random() < 0.35:
        out += rng.uniform(0.1, 0.35) * _pad(rng, root, degrees, bars, bar, samples)
    return out


def _frequency(semitones: float) -> float:
    """Of a note so many semitones above the C of 32.7 Hz."""
    return 32.703 * 2 ** (semitones / 12)


def _place(out: np.ndarray, at: float, sound: np.ndarray) -> None:
    """Add ``sound`` at sample ``at``; what passes the end comes round to the start, as in a loop."""
    begin = int(round(at))
    n = min(len(sound), len(out) - begin)
    out[begin: begin + n] += sound[:n]
    rest = min(len(sound) - n, len(out))
    out[:rest] += sound[n: n + rest]


def _tone(frequency: float, n: int, richness: int, slide: float = 0.0) -> np.ndarray:
    """A saw of so many partials; ``slide`` semitones down over its length."""
    t = np.arange(n) / RATE
    phase = 2 * np.pi * np.cumsum(frequency * 2 ** (-slide * t / (12 * max(t[-1], 1e-3)))) / RATE
    top = max(1, min(richness, int(RATE / 2 / frequency)))
    return sum(np.sin(k * phase) / k for k in range(1, top + 1)).astype(np.float32)


def _shape(n: int, attack: float, decay: float) -> np.ndarray:
    t = np.arange(n) / RATE
    return (np.minimum(1, t / attack) * np.minimum(1, (t[-1] - t) / 0.01) * np.exp(-t * decay)).astype(np.float32)


def _bass(rng, root, degrees, bars, bar, samples) -> np.ndarray:
    """A line of one bar that follows the chords."""
    out, step, richness = np.zeros(samples, np.float32), bar / 16, int(rng.choice([1, 2, 4, 12]))
    where = sorted({0, *rng.choice(16, size=int(rng.integers(1, 7)), replace=False).tolist()})
    tones = [int(rng.choice([0, 0, 0, 7, 12, 10, 3])) for _ in where]
    length, slide = rng.choice([0.9, 0.5, 0.3]), float(rng.choice([0, 0, 0, 5]))
    for b in range(bars):
        for i, (at, tone) in enumerate(zip(where, tones)):
            n = max(64, int((([*where, 16][i + 1]) - at) * step * length))
            pitch = _frequency(root + degrees[b % len(degrees)] + tone + (12 if root < 5 else 0))
            _place(out, b * bar + at * step, _tone(pitch, n, richness, slide) * _shape(n, 0.004, 1.0))
    return out


def _stabs(rng, root, degrees, bars, bar, samples) -> np.ndarray:
    """Short chords, off the beat as often as on it."""
    out, step, richness = np.zeros(samples, np.float32), bar / 16, int(rng.integers(3, 14))
    where = rng.choice(32, size=int(rng.integers(1, 5)), replace=False)
    for b in range(0, bars, 2):
        for at in where:
            n = int(step * rng.choice([1, 2, 4]))
            degree = degrees[(b + int(at) // 16) % len(degrees)]
            chord = sum(_tone(_frequency(36 + root + degree + k), n, richness) for k in MINOR)
            _place(out, b * bar + at * step, chord * _shape(n, 0.003, 6.0) / 4)
    return out


def _pad(rng, root, degrees, bars, bar, samples) -> np.ndarray:
    """Held chords, each as long as a bar."""
    out, richness, n = np.zeros(samples, np.float32), int(rng.integers(1, 8)), int(bar)
    attack, drift = float(rng.choice([0.02, 0.2])), 2 ** (float(rng.uniform(2, 9)) / 1200)
    chords = {degree: sum(_tone(_frequency(36 + root + degree + k) * d, n, richness)
                          for k in MINOR for d in (1, drift)) * _shape(n, attack, 0.3) / 8 for degree in set(degrees)}
    for b in range(bars):
        _place(out, b * bar, chords[degrees[b % len(degrees)]])
    return out


def treated(rng: np.random.Generator, drums: np.ndarray, music: np.ndarray) -> np.ndarray:
    """Drums and music mixed, each with what it gets, and all of it driven, ``float32 [N]``."""
    drums = drums / max(float(np.abs(drums).max()), 1e-9)
    if rng.random() < 0.5:  # drive, as of tape or a sampler's input
        amount = rng.uniform(1, 5)
        drums = np.tanh(drums * amount) / np.tanh(amount)
    if rng.random() < 0.3:
        drums = room(rng, drums)
    wav = drums + music * rng.uniform(0.3, 1.0)
    if rng.random() < 0.25:
        wav = moving_filter(rng, wav)
    if rng.random() < 0.2:  # dull, as a record or an old sampler is
        wav = low_pass(wav, rng.uniform(5_000, 11_000))
    if rng.random() < 0.3:
        wav = wav + rng.normal(size=len(wav)) * 10 ** (rng.uniform(-60, -42) / 20)
    return np.tanh(0.9 * wav).astype(np.float32)


def room(rng: np.random.Generator, wav: np.ndarray) -> np.ndarray:
    """A short room of noise that dies away, round the loop."""
    n = int(RATE * rng.uniform(0.1, 0.5))
    answer = rng.normal(size=n) * np.exp(-np.arange(n) * 6.9 / n)
    answer = low_pass(answer, rng.uniform(2_000, 9_000))
    answer /= np.sqrt(np.sum(answer**2))
    wet = fftconvolve(wav, answer)
    wet[: n - 1] += wet[len(wav):]
    return wav + rng.uniform(0.1, 0.5) * wet[: len(wav)]


def low_pass(wav: np.ndarray, cutoff: float) -> np.ndarray:
    """Two poles."""
    pole = np.exp(-2 * np.pi * cutoff / RATE)
    for _ in range(2):
        wav = lfilter([1 - pole], [1, -pole], wav)
    return wav


def moving_filter(rng: np.random.Generator, wav: np.ndarray) -> np.ndarray:
    """A low pass that opens or closes, or goes back and forth, over the whole of it."""
    x = np.arange(0, len(wav), BLOCK) / len(wav)
    place = rng.choice([0, 1, 2])
    way = x if place == 0 else 1 - x if place == 1 else 0.5 - 0.5 * np.cos(2 * np.pi * x * rng.integers(1, 5))
    cutoffs = 300 * (12_000 / 300) ** way
    out, state = np.empty_like(wav), [np.zeros(1), np.zeros(1)]
    for i, cutoff in enumerate(cutoffs):
        pole, part = np.exp(-2 * np.pi * cutoff / RATE), wav[i * BLOCK: (i + 1) * BLOCK]
        for k in range(2):
            part, state[k] = lfilter([1 - pole], [1, -pole], part, zi=state[k])
        out[i * BLOCK: (i + 1) * BLOCK] = part
    return out
