"""Pairs of fingerprints worth comparing: those with anchors in common at one offset.

Anchors are found again by their 24 signs as one number, in a sorted list. Of a copy's anchors one in three to one in
ten has none of its signs changed, which is plenty in a minute; a short sound's are also looked for with each sign
turned over. Two anchors that have nothing to do with each other have the same number once in 2^24, so a collection of
N anchors has N^2 / 2^25 hits by chance: the only thing here that grows with the square. (Short sounds with like heads
are data_prep/audio/duplicates/heads.py's.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from data_prep.audio.analysis.fingerprint import BITS, Print, take_apart

SHORT = 256  # anchors of a sound that is looked for with turned signs too: half a minute
REPEATS = 4  # times that a sound's own repetitions of an anchor count
CROWD = 256  # of an anchor, above which each is compared with a few others only
NEIGHBOURS = 32
TOGETHER = 15  # frames by which offsets of hits differ that speak for each other
HITS = 2  # that do, for a candidate
PLACES = 3  # offsets that are tried
CHUNK = 2**20  # hits at a time
_OFFSET_BITS, _MIDDLE = 26, 2**25


class Prints:
    """All fingerprints of a collection, taken apart when they are asked for."""

    def __init__(self, words: list[np.ndarray]):
        self._words = words

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, i: int) -> Print:
        return take_apart(self._words[i])

    def only(self, which: Iterable[int]) -> Prints:
        """Some of them."""
        return Prints([self._words[i] for i in which])

    def anchors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of all anchors the print, ``int32``, the frame, ``int32``, and the signs, ``uint32``; in order."""
        counts = [len(p.frames) for p in self]
        frames, signs = np.empty(sum(counts), np.int32), np.empty(sum(counts), np.uint32)
        end = 0
        for p in self:
            begin, end = end, end + len(p.frames)
            frames[begin:end], signs[begin:end] = p.frames, p.signs
        return np.repeat(np.arange(len(self), dtype=np.int32), counts), frames, signs


def with_common_anchors(prints: Prints) -> Iterator[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Pairs (i, j), i < j, each with places (frame of i, offset of j to it) where they may be the same, best first."""
    index = _Index(prints)
    rounds = 1 + (len(index.signs) ** 2 >> 48)  # so that the hits of one fill little memory
    count = len(prints)
    for turn in range(rounds):
        keys, frames = index.hits(turn, rounds)
        order = np.argsort(keys, kind="stable")
        keys, frames = keys[order], frames[order]
        with_it = np.searchsorted(keys, keys + TOGETHER, "right") - np.searchsorted(keys, keys - TOGETHER)
        good = with_it >= HITS
        keys, frames, with_it = keys[good], frames[good], with_it[good]
        pairs = keys >> _OFFSET_BITS
        edges = np.concatenate([np.flatnonzero(np.diff(pairs, prepend=-1)), [len(pairs)]])
        for begin, end in zip(edges[:-1], edges[1:]):
            pair = divmod(int(pairs[begin]), count)
            offsets = (keys[begin:end] & (1 << _OFFSET_BITS) - 1) - _MIDDLE
            yield pair, _places(frames[begin:end], offsets, with_it[begin:end])


def _places(frames: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> list[tuple[int, int]]:
    """The offsets with most weight, none beside another."""
    places: list[tuple[int, int]] = []
    weights = weights.copy()
    while len(places) < PLACES and weights.max() > 0:
        best = int(np.argmax(weights))
        places.append((int(frames[best]), int(offsets[best])))
        weights[np.abs(offsets - offsets[best]) <= 2 * TOGETHER] = 0
    return places


class _Index:
    """All anchors by their signs; of a sound's own repetitions the first few."""

    def __init__(self, prints: Prints):
        self.sounds = len(prints)
        items, frames, signs = prints.anchors()
        short = np.bincount(items, minlength=len(prints)) <= SHORT
        order = np.argsort(signs, kind="stable")  # hence by sound and frame within the same signs
        signs, items = signs[order], items[order]
        keep = np.ones(len(order), bool)
        keep[REPEATS:] = (signs[REPEATS:] != signs[:-REPEATS]) | (items[REPEATS:] != items[:-REPEATS])
        if keep.all():
            keep = slice(None)  # spares copies
        self.signs, self.items, self.frames = signs[keep], items[keep], frames[order[keep]]
        self.short = short[self.items]

    def hits(self, turn: int, rounds: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys (pair and offset) and frames of all hits of the sounds whose turn it is."""
        keys, frames = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for x, y in chain(self._equal(), self._turned()):
            self._take(x, y, turn, rounds, keys, frames)
        return np.concatenate(keys), np.concatenate(frames)

    def _take(self, x, y, turn, rounds, keys, frames) -> None:
        """Of anchors x and y, index into this, those of two sounds whose turn it is."""
        swap = self.items[x] > self.items[y]
        x, y = np.where(swap, y, x), np.where(swap, x, y)
        i, j = self.items[x].astype(np.int64), self.items[y]
        good = (i != j) & (i % rounds == turn)
        i, j, x, y = i[good], j[good], x[good], y[good]
        keys.append((i * self.sounds + j << _OFFSET_BITS) + (self.frames[y] - self.frames[x] + _MIDDLE))
        frames.append(self.frames[x])

    def _equal(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of anchors with the same signs."""
        begin = 0
        while begin < len(self.signs):
            end = min(begin + CHUNK, len(self.signs))
            end = int(np.searchsorted(self.signs, self.signs[end - 1], "right"))  # none in two chunks
            yield from self._equal_in(begin, end)
            begin = end

    def _equal_in(self, begin: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first = np.flatnonzero(np.diff(self.signs[begin:end].astype(np.int64), prepend=-1))
        size = np.diff(first, append=end - begin)
        places = np.arange(begin, end)
        for at, n in zip(first[size > CROWD], size[size > CROWD]):  # so that neighbours are others each time
            places[at: at + n] = begin + at + np.random.default_rng(int(self.signs[begin + at])).permutation(n)
        many = size > 1
        first, size = first[many], size[many]
        x = np.repeat(first - np.cumsum(size) + size, size) + np.arange(size.sum())
        until = np.repeat(first + size, size)
        reach = np.repeat(np.where(size > CROWD, NEIGHBOURS, CROWD), size)
        for lag in range(1, CROWD):
            more = (x + lag < until) & (lag <= reach)
            x, until, reach = x[more], until[more], reach[more]
            if not len(x):
                return
            yield places[x], places[x + lag]

    def _turned(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of anchors that differ in one sign, of which one is a short sound's."""
        mine = np.flatnonzero(self.short)
        for part in np.array_split(mine, len(mine) // CHUNK + 1):
            for bit in range(BITS):
                want = self.signs[part] ^ np.uint32(1 << bit)
                low, high = (np.searchsorted(self.signs, want, side) for side in ("left", "right"))
                many = np.minimum(high - low, CROWD)
                x = np.repeat(part, many)
                y = np.repeat(low - np.cumsum(many) + many, many) + np.arange(many.sum())
                once = ~self.short[y] | (x < y)  # two short ones find each other
                yield x[once], y[once]
