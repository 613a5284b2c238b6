"""What a sound is known again by: a few words a second that survive codecs, level, offset and a little varispeed.

A sound is described at its *anchors*, where its energy rises most (within 50 ms to either side), not on a grid: an
added lead-in moves the grid, never an anchor. An anchor is one word: how long after the last one, and 24 signs, of the
slow waves in its log spectrum around it (coefficients of a cosine transform over 24 bands and 6 spans from 80 ms before
to 200 ms after). The signs are after J. Haitsma, T. Kalker, "A highly robust audio fingerprinting system", ISMIR 2002,
the anchors after A. Wang, "An industrial-strength audio search algorithm", ISMIR 2003.

A one-shot has one to three anchors, far too few to tell two kicks apart. So a sound of up to 10 s has *heads* too: the
levels of a second from its attack on, the spectrum in quarter tones, which tells neighbouring notes apart, and the
wave itself around the attack: another decay, filter or take of a noise is another wave at like levels. There are two,
for where it first reaches a quarter of its peak, and where three quarters: a codec may move one, hardly both.

The words, ``uint32 [F]``::

    0           VERSION * 2**24 + words of the heads (0 or len(ATTACKS) * HEAD_WORDS)
    each head   frame of the attack; frames from there to where it has died away; uint8 [SLICES, BANDS], uint8 [TONES],
                both levels below the loudest in quarter dB, then int8 [WAVE], all little-endian
    the rest    frames since the last anchor * 2**24 + signs; 0 * 2**24 + frames where nothing begins for longer

Frames are 10 ms. Silence has no words at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import soxr

VERSION = 2
FRAMES = 100  # a second
BANDS, LOW, HIGH = 24, 80.0, 10_000.0  # Hz
BLOCK = 256  # frames at a time, counted from the beginning: results do not depend on what is pushed
FLOOR = -70.0  # dB a band below full scale, under which nothing counts
ALONE = 5  # frames around an anchor with no higher rise
RISE = 1.0  # dB, mean over the bands, below which nothing begins
SPANS = ((-8, -4), (-4, -1), (-1, 2), (2, 6), (6, 12), (12, 20))  # frames around an anchor
BEFORE, AFTER = 8, 20  # that the spans need
CARRY = 2 * (BEFORE + AFTER)  # frames kept for the next block
BITS = 24
# dB [band waves 1 to 8, span waves 0 to 2]; over beats and game music each is exceeded about half the time. With those
# of the later span waves at 0, a sign says how the sound moves.
MEDIANS = np.array([[77, 0, 0], [6, 0, 0], [13, 0, 0], [-2, 0, 0], [7, 0, 0], [2, 0, 0], [5, 0, 0], [1, 0, 0]])

LONGEST_HEAD = 10.0  # seconds of sound that has one
EARLY = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 66, 100])  # slices begin, frames from the attack
LATER, EVERY = np.array([100, 152, 224, 340, 500, 748, 1000]), 4  # and go on, of which every fourth frame counts
SLICES = len(EARLY) + len(LATER) - 2
TONES, LOWEST_TONE, PER_OCTAVE = 184, 50.0, 24
TONE_SECONDS = 0.5
DEPTH = 45.0  # dB below its loudest that a head reaches
WAVE_RATE, WAVE_BEFORE, WAVE = 16_000, 0.005, 1600  # Hz; seconds before the attack, at which its samples begin
ATTACKS = 0.25, 0.75  # of the highest peak: there a sound begins
HEAD_WORDS = 2 + (SLICES * BANDS + TONES + WAVE) // 4


@dataclass(frozen=True)
class Head:
    """The beginning of a short sound: frame of its ``attack``, frames that it ``lasts``, and levels in dB from -DEPTH
    to 0, ``slices [SLICES, BANDS]`` and ``tones [TONES]``; and the ``wave [WAVE]`` around the attack, its peak 127."""

    attack: int
    lasts: int
    slices: np.ndarray
    tones: np.ndarray
    wave: np.ndarray


@dataclass(frozen=True)
class Print:
    """A fingerprint taken apart: ``frames int64 [A]`` and ``signs uint32 [A]`` of its anchors, and its heads if any."""

    frames: np.ndarray
    signs: np.ndarray
    heads: tuple[Head, ...] = ()


class Fingerprinter:
    """Listens to mono sound at ``rate`` Hz, in blocks of any size."""

    def __init__(self, rate: int):
        self.rate, self.hop = rate, round(rate / FRAMES)
        self.size = 2 ** round(np.log2(0.032 * rate))  # of a window
        self._window = (np.hanning(self.size + 1)[:-1] * 4 / self.size).astype(np.float32)  # a full sine has 0 dB
        self._bands = _triangles(np.geomspace(LOW, min(HIGH, 0.45 * rate), BANDS + 2), rate, self.size)
        self._rest = np.zeros(self.size // 2, np.float32)  # not yet in a frame; the first frame is centred on 0
        self._levels = np.full((CARRY, BANDS), FLOOR, np.float32)  # before the sound is silence
        self._first = -CARRY  # frame of _levels[0]
        self._last, self._next = -1, 0  # frame of the last word, first frame that may still be an anchor
        self._words: list[np.ndarray] = []
        self._short: list[np.ndarray] | None = []  # all samples, while they may be a short sound
        self._samples = 0

    def push(self, wav: np.ndarray) -> None:
        """Take ``float32 [n]`` more."""
        wav = np.asarray(wav, np.float32)
        self._samples += len(wav)
        if self._samples > LONGEST_HEAD * self.rate:
            self._short = None
        elif self._short is not None:
            self._short.append(wav.copy())
        self._rest = np.concatenate([self._rest, wav])
        need = (BLOCK - 1) * self.hop + self.size
        at = 0
        while len(self._rest) - at >= need:
            self._analyse(self._levels_of(self._rest[at: at + need]))
            at += BLOCK * self.hop
        if at:
            self._rest = self._rest[at:].copy()

    def result(self) -> np.ndarray:
        """The fingerprint of all that was taken, ``uint32 [F]``; nothing more can be pushed."""
        left = -(-len(self._rest) // self.hop)  # frames with sound in them
        while left > 0:
            need = (BLOCK - 1) * self.hop + self.size
            part = np.pad(self._rest[:need], (0, max(0, need - len(self._rest))))
            self._analyse(self._levels_of(part))
            self._rest, left = self._rest[BLOCK * self.hop:], left - BLOCK
        self._analyse(np.full((CARRY, BANDS), FLOOR, np.float32))  # what follows is silence
        heads = self._heads()
        anchors = np.concatenate([np.zeros(0, np.uint32), *self._words])
        if not len(heads) and not len(anchors):
            return np.zeros(0, np.uint32)
        return np.concatenate([np.array([VERSION << 24 | len(heads)], np.uint32), heads, anchors])

    def _levels_of(self, wav: np.ndarray) -> np.ndarray:
        """Band levels in dB ``float32 [BLOCK, BANDS]`` of a block of frames."""
        frames = np.lib.stride_tricks.sliding_window_view(wav, self.size)[:: self.hop]
        return 10 * np.log10(self._band_power(frames) + np.float32(10 ** (FLOOR / 10)))

    def _band_power(self, frames: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(frames * self._window)
        return (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._bands

    def _analyse(self, levels: np.ndarray) -> None:
        """Find the anchors in what came before and ``levels``, up to where their surroundings are known."""
        levels = np.concatenate([self._levels, levels])
        first, end = self._next - self._first, len(levels) - AFTER  # where anchors are looked for
        at = _anchors(levels)
        at = at[(at >= first) & (at < end)]
        self._write(at + self._first, _signs(levels, at))
        self._next = self._first + end
        self._first += len(levels) - CARRY
        self._levels = levels[-CARRY:]

    def _write(self, frames: np.ndarray, signs: np.ndarray) -> None:
        gaps = np.diff(frames, prepend=self._last)
        pauses = gaps > 255
        words = np.where(pauses, 1, gaps).astype(np.uint32) << BITS | signs
        self._words.append(np.insert(words, np.flatnonzero(pauses), (gaps[pauses] - 1).astype(np.uint32)))
        self._last = int(frames[-1]) if len(frames) else self._last

    def _heads(self) -> np.ndarray:
        """The words of the heads ``uint32``; none of a long sound or silence."""
        if not self._short:
            return np.zeros(0, np.uint32)
        wav = np.concatenate(self._short)
        wav = wav - np.median(wav)  # a mean would move with the silence around it
        loud = np.abs(wav)
        peak = loud.max(initial=0.0)
        if not peak > 10 ** (FLOOR / 20):
            return np.zeros(0, np.uint32)
        end = len(wav) - int(np.argmax(loud[::-1] > peak * 10 ** (-DEPTH / 20)))
        return np.concatenate([self._head(wav, int(np.argmax(loud > share * peak)), end) for share in ATTACKS])

    def _head(self, wav: np.ndarray, attack: int, end: int) -> np.ndarray:
        levels = _below_loudest(np.concatenate([self._power(wav, attack, *EARLY[[0, -1]], 1),
                                                self._power(wav, attack, *LATER[[0, -1]], EVERY)]))
        edges = np.concatenate([EARLY, EARLY[-1] + (LATER[1:] - LATER[0]) // EVERY])  # in rows of levels
        slices = np.add.reduceat(levels, edges[:-1]) / np.diff(edges)[:, None]
        part = wav[attack:][:round(TONE_SECONDS * self.rate)]
        fade = np.cos(np.arange(len(part)) / (TONE_SECONDS * self.rate) * np.pi / 2) ** 2
        size = 2 ** int(np.ceil(np.log2(TONE_SECONDS * self.rate)))
        spectrum = np.fft.rfft(part * fade, size)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        tones = _below_loudest(power @ _tones(self.rate, size))
        levels = np.round(-4 * np.concatenate([slices.ravel(), tones])).astype(np.uint8).view("<u4")
        wave = self._wave(wav, attack).view("<u4")
        return np.concatenate([[attack // self.hop, (end - attack) // self.hop], levels, wave]).astype(np.uint32)

    def _wave(self, wav: np.ndarray, attack: int) -> np.ndarray:
        """``int8 [WAVE]`` around the attack."""
        before, spare = round(WAVE_BEFORE * self.rate), self.rate // 100
        length = WAVE * self.rate // WAVE_RATE + spare
        part = np.pad(wav[max(0, attack - before): attack - before + length], (max(0, before - attack), length))
        part = soxr.resample(part[:length].astype(np.float32), self.rate, WAVE_RATE)[:WAVE]
        return np.round(part * (127 / np.abs(part).max())).astype(np.int8)

    def _power(self, wav: np.ndarray, attack: int, first: int, end: int, every: int) -> np.ndarray:
        """Of the bands in every ``every``-th of the frames ``first`` to ``end`` after ``attack``."""
        begin, length = attack + first * self.hop - self.size // 2, (end - first - every) * self.hop + self.size
        power = np.zeros(((end - first) // every, BANDS), np.float32)
        part = wav[max(0, begin): begin + length]
        part = np.pad(part, (max(0, -begin), length))[:length]
        count = min(len(power), max(0, -(-(len(wav) - begin) // (self.hop * every))))  # what follows is silence
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(part, self.size)[:: self.hop * every][:count]
            power[:count] = self._band_power(frames)
        return power


def take_apart(words: np.ndarray) -> Print:
    """The print that ``words uint32 [F]`` are.

    Raises:
        ValueError: they are of another version.
    """
    words = np.asarray(words, np.uint32)
    if not len(words):
        return Print(np.zeros(0, np.int64), np.zeros(0, np.uint32))
    if words[0] >> 24 != VERSION:
        raise ValueError(f"expected a fingerprint of version {VERSION}, got {words[0] >> 24}")
    begin = 1 + int(words[0] & 0xFFFFFF)
    gaps, signs = (words[begin:] >> BITS).astype(np.int64), words[begin:] & np.uint32(2**BITS - 1)
    frames = np.cumsum(np.where(gaps, gaps, signs)) - 1
    heads = tuple(_head_of(words[i: i + HEAD_WORDS]) for i in range(1, begin, HEAD_WORDS))
    return Print(frames[gaps > 0], signs[gaps > 0], heads)


def _head_of(words: np.ndarray) -> Head:
    data = words[2:].astype("<u4").view(np.uint8)
    levels, wave = data[:-WAVE] / np.float32(-4), data[-WAVE:].view(np.int8)
    return Head(int(words[0]), int(words[1]), levels[:-TONES].reshape(SLICES, BANDS), levels[-TONES:],
                wave.astype(np.float32))


def _below_loudest(power: np.ndarray) -> np.ndarray:
    """In dB from -DEPTH to 0."""
    levels = 10 * np.log10(np.maximum(power, 1e-20))
    return np.maximum(levels - levels.max(), -DEPTH)


def _anchors(levels: np.ndarray) -> np.ndarray:
    """Frames of ``[T, BANDS]`` in which the levels rise more than in the ALONE frames to either side, ascending."""
    rise = np.zeros(len(levels) + 2, np.float32)
    rise[3:-1] = np.maximum(levels[2:] - levels[:-2], 0).mean(axis=1)
    rise = (rise[:-2] + 2 * rise[1:-1] + rise[2:]) / 4
    near = np.lib.stride_tricks.sliding_window_view(np.pad(rise, ALONE, constant_values=-1), 2 * ALONE + 1)
    highest = (rise >= near.max(axis=1)) & (rise > near[:, :ALONE].max(axis=1)) & (rise > RISE)
    return np.flatnonzero(highest)


def _signs(levels: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The 24 signs of each anchor, ``uint32 [A]``."""
    total = np.concatenate([np.zeros((1, BANDS)), np.cumsum(levels, axis=0, dtype=np.float64)])
    spans = np.stack([(total[at + b] - total[at + a]) / (b - a) for a, b in SPANS], axis=1)  # [A, spans, BANDS]
    waves = np.einsum("asb,bi,sj->aij", spans, _waves(BANDS, 9)[:, 1:], _waves(len(SPANS), 3))
    bits = (waves > MEDIANS).reshape(len(at), BITS)
    return (bits << np.arange(BITS)).sum(axis=1).astype(np.uint32)


def _waves(n: int, k: int) -> np.ndarray:
    """The first ``k`` waves of a cosine transform over ``n`` values, ``[n, k]``."""
    return np.sqrt(2 / n) * np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * np.arange(k))


def _triangles(edges: np.ndarray, rate: int, size: int) -> np.ndarray:
    """Overlapping bands between ``edges`` (Hz), none narrower than a bin to either side, ``float32 [bins, bands]``."""
    hz, bin_width = np.fft.rfftfreq(size, 1 / rate)[:, None], rate / size
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    low, high = np.minimum(low, centre - bin_width), np.maximum(high, centre + bin_width)
    return np.clip(np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)), 0, None).astype(np.float32)


@cache
def _tones(rate: int, size: int) -> np.ndarray:
    return _triangles(LOWEST_TONE * 2 ** (np.arange(TONES + 2) / PER_OCTAVE), rate, size)
