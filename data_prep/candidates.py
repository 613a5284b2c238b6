"""Pairs of fingerprints worth comparing: those with anchors in common at one offset, and those with like heads.

Anchors are found again by their 24 signs as one number, in a sorted list. Of a copy's anchors one in three to one in
ten has none of its signs changed, which is plenty in a minute; a short sound's are also looked for with each sign
turned over. Two anchors that have nothing to do with each other have the same number once in 2^24, so a collection of
N anchors has N^2 / 2^25 hits by chance: the only thing here that grows with the square.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from data_prep.alignment import SLICES_OFF
from data_prep.fingerprint import BITS, DEPTH, Print, take_apart

SHORT = 256  # anchors of a sound that is looked for with turned signs too: half a minute
REPEATS = 4  # times that a sound's own repetitions of an anchor count
CROWD = 256  # of an anchor, above which each is compared with a few others only
NEIGHBOURS = 32
TOGETHER = 15  # frames by which offsets of hits differ that speak for each other
HITS = 2  # that do, for a candidate
PLACES = 3  # offsets that are tried
CHUNK = 2**20  # hits at a time
ROWS = 512  # heads at a time
ROUGHLY = 4.0  # dB, root mean square, that like heads differ by at most
_OFFSET_BITS, _MIDDLE = 26, 2**25


class Prints:
    """All fingerprints of a collection, with their anchors in one array each: of print i, those from ``starts[i]`` to
    ``starts[i + 1]``."""

    def __init__(self, words: list[np.ndarray]):
        self._words = words
        counts = []
        frames, signs = [], []
        for w in words:
            p = take_apart(w)
            counts.append(len(p.frames))
            frames.append(p.frames.astype(np.int32))
            signs.append(p.signs)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.frames = np.concatenate([np.zeros(0, np.int32), *frames])
        self.signs = np.concatenate([np.zeros(0, np.uint32), *signs])

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, i: int) -> Print:
        return take_apart(self._words[i])


def with_common_anchors(prints: Prints) -> Iterator[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Pairs (i, j), i < j, each with places (frame of i, offset of j to it) where they may be the same, best first."""
    index = _Index(prints)
    rounds = 1 + (len(prints.signs) ** 2 >> 48)  # so that the hits of one fill little memory
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
            pair = divmod(int(pairs[begin]), len(prints))
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
        items = np.repeat(np.arange(len(prints), dtype=np.int32), np.diff(prints.starts))
        order = np.argsort(prints.signs, kind="stable")  # hence by sound and frame within the same signs
        signs, items = prints.signs[order], items[order]
        new = np.ones(len(order), bool)
        new[1:] = (signs[1:] != signs[:-1]) | (items[1:] != items[:-1])
        begins = np.flatnonzero(new)
        rank = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
        keep = rank < REPEATS
        self.signs, self.items, self.frames = signs[keep], items[keep], prints.frames[order[keep]]
        self.short = (np.diff(prints.starts) <= SHORT)[self.items]

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
        new = np.flatnonzero(np.diff(self.signs.astype(np.int64), prepend=-1))
        size = np.diff(new, append=len(self.signs))
        end = np.repeat(new + size, size)
        reach = np.where(size > CROWD, NEIGHBOURS, CROWD)
        reach = np.repeat(reach, size)
        mixed = self._mixed(new, size)
        x = np.arange(len(self.signs))
        for lag in range(1, CROWD):
            x = x[(x + lag < end[x]) & (lag <= reach[x])]
            if not len(x):
                return
            yield mixed[x], mixed[x + lag]

    def _mixed(self, new: np.ndarray, size: np.ndarray) -> np.ndarray:
        """All anchors, those of a crowd in another order in each, so that their neighbours differ."""
        mixed = np.arange(len(self.signs))
        for begin, n in zip(new[size > CROWD], size[size > CROWD]):
            mixed[begin: begin + n] = begin + np.random.default_rng(int(self.signs[begin])).permutation(n)
        return mixed

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


def with_like_heads(prints: Prints) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of short sounds with heads whose levels are alike."""
    with_heads = [i for i in range(len(prints)) if prints[i].heads]
    if len(with_heads) < 2:
        return
    heads = [prints[i].heads for i in with_heads]
    found: set[tuple[int, int]] = set()
    for which in range(len(heads[0])):
        levels = np.stack([h[which].slices.ravel() for h in heads]) + np.float32(DEPTH)  # [M, slices * bands], from 0
        lasts = np.array([h[which].lasts for h in heads])
        loud = (levels > 1).sum(axis=1)
        power = (levels**2).sum(axis=1)
        for begin in range(0, len(heads), ROWS):
            rows = slice(begin, begin + ROWS)
            off = power[rows, None] + power - 2 * levels[rows] @ levels.T
            like = off <= ROUGHLY**2 * (loud[rows, None] + loud)
            like &= np.abs(lasts[rows, None] - lasts) <= 4 + 0.1 * np.maximum(lasts[rows, None], lasts)
            x, y = np.nonzero(like & (np.arange(len(heads)) > np.arange(begin, begin + len(off))[:, None]))
            x += begin
            sounds = np.maximum(levels[x], levels[y]) > 1
            mean = (np.abs(levels[x] - levels[y]) * sounds).sum(axis=1) / np.maximum(sounds.sum(axis=1), 1)
            found.update(zip(x[mean <= SLICES_OFF].tolist(), y[mean <= SLICES_OFF].tolist()))
    for x, y in sorted(found):
        yield with_heads[x], with_heads[y]
