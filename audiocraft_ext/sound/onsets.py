"""Where the hits of a clip begin, to the sample, and the clip cut there: cue points and one-shots for a sampler.

A hit is a peak of spectral flux, the rise of log mel energy that a rise in a neighbouring band does not explain
(S. Böck, G. Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013), picked as in S. Böck, F.
Krebs, M. Schedl, "Evaluating the online capabilities of onset detection methods", ISMIR 2012. Its start is then looked
for in the samples. Numpy alone: librosa's detector takes 1.6 s to come up, more than a clip does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audiocraft_ext.sound.mel import mel

FRAMES = 250  # a second, or nearly
LAG = 3  # frames between which energy has to rise: a window sees a hit come for that long
COMPRESSION = 300.0  # of the loudest band's amplitude; more finds quieter hits
ABOVE = 0.08  # of the highest peak, that a peak rises above its surroundings
SURROUNDINGS, ALONE = (0.10, 0.07), 0.03  # seconds before and after a peak; with no higher peak so near
ATTACK = 0.008  # seconds over which energy before and after a start is compared
EARLY, LATE = 0.016, 0.008  # seconds around a peak in which its start lies
SNAP = 0.004  # seconds that a start may move to a zero crossing
SHORTEST, FADE_IN, FADE_OUT = 0.030, 0.002, 0.005  # seconds, of a slice


def onsets(wav: np.ndarray, sample_rate: int) -> np.ndarray:
    """Starts of the hits in ``float [N]``, as ascending samples ``int64``; none where there are none.

    Each lies on a zero crossing just before the energy rises, on the quietest sample where none is within 4 ms. Sound
    that is there at once counts as a hit at 0; an end that breaks off is none.
    """
    wav = np.asarray(wav, np.float32)
    if not len(wav) or not np.abs(wav).max() > 2.0**-15:
        return np.zeros(0, np.int64)
    shortest = round(SHORTEST * sample_rate)
    lead = round(0.1 * sample_rate)  # of silence, out of which a hit at 0 can rise
    padded = np.pad(wav, (lead, 0))
    hop = max(1, round(sample_rate / FRAMES))
    starts = [_start(padded, sample_rate, peak * hop) - lead for peak in _peaks(_flux(padded, sample_rate, hop))]
    found = np.unique([max(0, start) for start in starts if start <= len(wav) - shortest])
    return np.array(_apart(found, len(wav), shortest), np.int64)


def slices(wav: np.ndarray, sample_rate: int, onsets: Sequence[int]) -> list[np.ndarray]:
    """Cut ``float [N]`` at ``onsets``, each piece from its onset to the next, the last to the end; ``float32``.

    What lies before the first onset is in none. Pieces fade in over 2 ms and out over 5 ms, so that none clicks; one
    shorter than 30 ms stays with the piece before it.
    """
    wav, shortest = np.asarray(wav, np.float32), round(SHORTEST * sample_rate)
    starts = _apart(onsets, len(wav), shortest)
    return [_faded(wav[a:b], sample_rate) for a, b in zip(starts, [*starts[1:], len(wav)]) if a < b]


def _apart(onsets: Sequence[int], samples: int, shortest: int) -> list[int]:
    """``onsets`` in order without those that leave less than ``shortest`` samples before the next or the end."""
    starts: list[int] = []
    for onset in sorted(int(o) for o in onsets):
        if not starts or min(onset - starts[-1], samples - onset) >= shortest:
            starts.append(onset)
    return starts


def _flux(wav: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """Spectral flux ``[1 + N // hop]``, the highest 1."""
    amplitude = np.sqrt(mel(wav, sample_rate, n_mels=48, n_fft=2 ** round(np.log2(0.03 * sample_rate)), hop=hop))
    loud = np.log1p(COMPRESSION * amplitude / max(amplitude.max(), 1e-9))
    before = np.pad(loud, ((1, 1), (0, 0)), mode="edge")
    before = np.maximum(np.maximum(before[:-2], before[2:]), loud)  # the loudest of three neighbouring bands
    flux = np.zeros(loud.shape[1])
    flux[LAG:] = np.maximum(loud[:, LAG:] - before[:, :-LAG], 0).sum(0)
    return flux / max(flux.max(), 1e-9)


def _peaks(flux: np.ndarray) -> list[int]:
    """Frames that are the highest near them and rise above the median around them."""
    alone, (back, ahead) = round(ALONE * FRAMES), (round(s * FRAMES) for s in SURROUNDINGS)
    found: list[int] = []
    for t in np.flatnonzero(flux > ABOVE):
        near = flux[max(0, t - alone): t + alone + 1]
        if flux[t] == near.max() and flux[t] > np.median(flux[max(0, t - back): t + ahead + 1]) + ABOVE:
            found.append(int(t))
    return found


def _start(wav: np.ndarray, sample_rate: int, near: int) -> int:
    """The sample around ``near`` after which there is most energy for what was before it, at a zero crossing."""
    width = round(ATTACK * sample_rate)
    low = max(width, near - round(EARLY * sample_rate))
    high = min(len(wav) - width, near + round(LATE * sample_rate))
    if low >= high:
        return min(near, len(wav) - 1)
    part = wav[low - width: high + width].astype(np.float64)
    score = 0.0
    for x in (part, np.diff(part, prepend=part[0])):  # as it is, for a kick under hiss; its treble, for a hat over bass
        total = np.concatenate([[0.0], np.cumsum(x**2)])
        sums = total[width:] - total[:-width]  # [i] is the energy of the width samples from i on
        floor = 1e-6 * max(sums.max(), 1e-12)
        score = score + np.log((sums[width:] + floor) / (sums[:-width] + floor))
    best = low + int(np.argmax(score))
    return _zero_crossing(wav, best, round(SNAP * sample_rate))


def _zero_crossing(wav: np.ndarray, at: int, reach: int) -> int:
    """The last sample up to ``at`` with which the sign changes, or else the quietest that near."""
    first = max(1, at - reach)
    changes = np.flatnonzero(np.signbit(wav[first: at + 1]) != np.signbit(wav[first - 1: at]))
    return first + int(changes[-1] if len(changes) else np.argmin(np.abs(wav[first: at + 1])))


def _faded(wav: np.ndarray, sample_rate: int) -> np.ndarray:
    """A copy that starts and ends at 0."""
    out = wav.copy()
    begin, end = (min(round(s * sample_rate), len(wav)) for s in (FADE_IN, FADE_OUT))
    out[:begin] *= np.linspace(0, 1, begin, endpoint=False, dtype=np.float32)
    out[len(out) - end:] *= np.linspace(0, 1, end, endpoint=False, dtype=np.float32)[::-1]
    return out
