"""Whether sound was learnt by heart: for each three seconds of it, the nearest three seconds of the training sound.

What is compared are 40 log mel bands, each less its mean over the window, so that neither level nor tone colour counts,
only what happens when in which band. A window is slid over all of the training sound in steps of 20 ms; the figure is
the correlation over bands and time at the best place, 1 for the same sound. How high it may be by chance is known
from real sound that was held out: the 99th percentile of that is the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from audiocraft_ext.evaluate.mel import spectrogram
from audiocraft_ext.evaluate.sounds import RATE, Clip, Sound
from audiocraft_ext.sound.files import resample

SR, N_FFT, HOP, BANDS = 16_000, 512, 320, 40
LONG = 150  # frames of a window, 3 s
SMOOTH, FLOOR = 5, 0.1
MOST = 160  # windows of a set
BLOCK = 2**15  # places compared at once
SHORTEST = 3.1  # seconds
VERSION = 0.6  # the median score of a held-out file that is no other music but a version of some training file


class Place(NamedTuple):
    """Where a window is most like the training sound: ``score``, a correlation; ``clip`` and ``at`` (seconds) of the
    window; ``source`` and ``start`` (seconds) of what it is like."""

    score: float
    clip: int
    at: float
    source: str
    start: float


class Library:
    """Training sound, ready to be searched. Sounds shorter than a window are left out."""

    def __init__(self, sounds: Sequence[Sound]):
        long = [s for s in sounds if len(s.wav) >= SHORTEST * RATE and np.abs(s.wav).max() >= 1e-4]
        parts = [_bands(sound.wav) for sound in long]
        self.names = [sound.name for sound in long]
        self._ends = np.cumsum([len(part) for part in parts])
        self._x = np.concatenate([np.zeros((0, BANDS), np.float32), *parts])  # [T, 40]
        whole = [np.arange(len(part)) <= len(part) - LONG for part in parts]
        self._begins = np.concatenate([np.zeros(0, bool), *whole])[: max(0, len(self._x) - LONG + 1)]
        self._energy = self._energies()

    def _energies(self) -> np.ndarray:
        """Of the window that begins at each frame, less the means of its bands."""
        x, n = self._x.astype(np.float64), len(self._begins)
        sums = np.cumsum(np.pad(x, ((1, 0), (0, 0))), 0)
        squares = np.cumsum(np.pad((x ** 2).sum(1), (1, 0)))
        means = ((sums[LONG:] - sums[:n]) ** 2).sum(1) / LONG if n else np.zeros(0)
        return np.maximum(squares[LONG:] - squares[:n] - means, 1e-3) if n else means

    def nearest(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best correlation of each of ``windows [Q, 150, 40]``, and the frame where it is; -1 where there is
        nothing to compare with."""
        x = windows - windows.mean(1, keepdims=True)
        x = x / np.maximum(np.sqrt((x ** 2).sum((1, 2))), 1e-3)[:, None, None]
        best, place = np.full(len(x), -1.0), np.zeros(len(x), int)
        for at in range(0, len(self._begins), BLOCK):
            n = min(BLOCK, len(self._begins) - at)
            found = np.zeros((len(x), n), np.float32)
            for t in range(LONG):
                found += x[:, t] @ self._x[at + t: at + t + n].T
            found /= np.sqrt(self._energy[at: at + n]).astype(np.float32)
            found[:, ~self._begins[at: at + n]] = -1
            top = found.argmax(1)
            value = found[np.arange(len(x)), top]
            place = np.where(value > best, at + top, place)
            best = np.maximum(best, value)
        return best, place

    def source(self, frame: int) -> tuple[str, float]:
        """The sound that a frame belongs to, and the seconds into it."""
        track = int(np.searchsorted(self._ends, frame, side="right"))
        return self.names[track], float(frame - (self._ends[track - 1] if track else 0)) * HOP / SR


def search(clips: Sequence[Clip], *libraries: Library, most: int = MOST) -> list[Place]:
    """The nearest place of each window of ``clips``, one every 1.5 s, in any of the libraries; ``most`` of them are
    drawn."""
    places, windows = [], []
    for number, clip in enumerate(clips):
        bands = _bands(clip.wav) if len(clip.wav) >= SHORTEST * RATE else np.zeros((0, BANDS))
        for at in range(2, len(bands) - LONG - 1, LONG // 2):
            places.append((number, at * HOP / SR))
            windows.append(bands[at: at + LONG])
    if len(windows) > most:
        drawn = sorted(np.random.default_rng(0).choice(len(windows), most, replace=False))
        places, windows = [places[i] for i in drawn], [windows[i] for i in drawn]
    libraries = tuple(library for library in libraries if library.names)
    if not windows or not libraries:
        return []
    found = [library.nearest(np.stack(windows)) for library in libraries]
    return [max((Place(float(score[i]), *places[i], *library.source(int(frame[i])))
                 for library, (score, frame) in zip(libraries, found)), key=lambda place: place.score)
            for i in range(len(windows))]


def versions(places: Sequence[Place], clips: Sequence[Clip]) -> list[str]:
    """The names of held-out sounds that are versions of training sound: half of their windows or more are found there.
    Such a one says nothing of how like other music is by chance."""
    scores: dict[str, list[float]] = {}
    for place in places:
        scores.setdefault(clips[place.clip].name, []).append(place.score)
    return sorted(name for name, found in scores.items() if np.median(found) > VERSION)


def limit(held_out: Sequence[Place]) -> float:
    """What one window in a hundred of real sound that was held out is above; NaN without any."""
    return float(np.percentile([place.score for place in held_out], 99)) if held_out else float("nan")


def share(places: Sequence[Place], above: float) -> float:
    """Of the windows, those above a limit; NaN where it cannot be told."""
    return float(np.mean([place.score > above for place in places])) if places and above == above else float("nan")


def _bands(wav: np.ndarray) -> np.ndarray:
    """``float32 [T, 40]``, 50 a second: dB, smoothed over 50 ms, with a floor 10 dB under the mean, so that what a
    codec of 1.6 kbit/s makes of quiet parts does not count."""
    power = spectrogram(resample(wav, RATE, SR), SR, N_FFT, HOP // 2, BANDS)
    power = uniform_filter1d(power, SMOOTH, axis=0)[::2]
    return 10 * np.log10(power + power.mean() * FLOOR + 1e-12).astype(np.float32)
