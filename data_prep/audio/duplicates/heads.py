"""Short sounds that are the same by their heads, each compared with few of those that it is like.

Takes and velocity layers of one drum are all like each other, so what is alike grows with the square of their number.
Compared is only what can change something: a sound with those before it that are copies of none before them (it
*leads*, or else it *follows* one), and with what it does not hang together with yet. So what hangs together is what
would if all were compared, and the copies that were not looked at can be asked for (:meth:`Heads.first_same`).

Still with the square of the number of short sounds, but fast: one product of their levels. Sounds that are like each
other and no copies (a hundred notes of one instrument) all lead, and are compared with each other, many at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_prep.audio.analysis.fingerprint import ATTACKS, BANDS, DEPTH, SLICES, TONES
from data_prep.audio.duplicates.alignment import EVENTS, SLICES_OFF, TONES_OFF, TUNING, Match, heads_agree
from data_prep.audio.duplicates.candidates import Prints

ROWS = 512  # heads at a time
CHUNK = 2**12  # pairs at a time
ROUGHLY = 4.0  # dB, root mean square, that like heads differ by at most
ROUNDING = 1e-3  # dB by which what is computed for many at a time may be off


class Heads:
    """The short sounds of a collection.

    Attributes:
        follows: ``bool [sounds]``, whether a sound is a copy of one before it that leads.
        compared: how many pairs were, so far.
    """

    def __init__(self, prints: Prints):
        short = [i for i in range(len(prints)) if prints[i].heads]
        self._prints = prints.only(short)
        self._short = np.array(short, np.int64)
        self._row = np.full(len(prints), -1, np.int64)
        self._row[self._short] = np.arange(len(short))
        # Quarters of dB below the loudest, as they are in a fingerprint: a quarter of the memory of levels
        self._slices = np.empty((len(ATTACKS), len(short), SLICES * BANDS), np.uint8)
        self._tones = np.empty((len(ATTACKS), len(short), TONES), np.uint8)
        self._lasts = np.empty((len(ATTACKS), len(short)), np.int64)
        self._few = np.zeros(len(short), bool)  # anchors, too few for more than heads
        for row, sound in enumerate(self._prints):
            self._few[row] = len(sound.frames) < EVENTS
            for which, head in enumerate(sound.heads):
                self._slices[which, row] = np.round(-4 * head.slices.ravel())
                self._tones[which, row] = np.round(-4 * head.tones)
                self._lasts[which, row] = head.lasts
        self.follows = np.zeros(len(prints), bool)
        self._part = np.arange(len(short))  # what hangs together has one number
        self.compared = 0

    def pairs(self) -> Iterator[tuple[int, int, Match]]:
        """Sounds (i, j), i < j, that are the same: all that lead with what follows them later, and what joins parts."""
        leads = np.zeros(len(self._short), bool)
        for begin in range(0, len(leads) if len(leads) > 1 else 0, ROWS):
            for row, like in enumerate(self._like(begin), begin):
                like = like[:row]
                for other, match in self._same(row, np.flatnonzero(like & leads[:row])):
                    self.follows[self._short[row]] = True
                    yield self._join(other, row, match)
                leads[row] = not self.follows[self._short[row]]
                apart = like & ~leads[:row] & (self._part[:row] != self._part[row])
                for other, match in self._same(row, np.flatnonzero(apart), apart_only=True):
                    yield self._join(other, row, match)

    def has(self, i: int) -> bool:
        """Whether a sound is a short one."""
        return bool(self._row[i] >= 0)

    def settled(self, i: int, j: int) -> bool:
        """Whether two need not be compared: they hang together, one follows, and anchors would tell no more."""
        x, y = self._row[i], self._row[j]
        return bool(x >= 0 and y >= 0 and (self.follows[i] or self.follows[j]) and self._few[[x, y]].any()
                    and self._part[x] == self._part[y])

    def first_same(self, i: int, others: Sequence[int]) -> int | None:
        """The first of ``others`` whose heads say that it is the same as ``i``, of pairs that may not be among
        :meth:`pairs`."""
        others = np.asarray(others, np.int64)
        rows = self._row[others[self.follows[others] | self.follows[i]]]
        found = self._same(int(self._row[i]), rows[rows >= 0]) if self._row[i] >= 0 else iter(())
        return next((int(self._short[row]) for row, _ in found), None)

    def _like(self, begin: int) -> np.ndarray:
        """Which of all rows up to them are roughly like the ROWS from ``begin`` on, ``bool [ROWS, rows]``."""
        end = min(begin + ROWS, len(self._short))
        like = np.zeros((end - begin, end), bool)
        for slices, lasts in zip(self._slices, self._lasts):
            mine = _levels(slices[begin:end])
            for at in range(0, end, CHUNK):
                part = slice(at, min(at + CHUNK, end))
                levels = _levels(slices[part])
                off = (mine**2).sum(axis=1)[:, None] + (levels**2).sum(axis=1) - 2 * mine @ levels.T
                loud = (mine > 1).sum(axis=1)[:, None] + (levels > 1).sum(axis=1)
                like[:, part] |= (off <= ROUGHLY**2 * loud) & _last_alike(lasts[begin:end, None], lasts[part])
        return like

    def _same(self, row: int, others: np.ndarray, apart_only: bool = False) -> Iterator[tuple[int, Match]]:
        """Of ``others`` those that are the same as ``row``, in order; with ``apart_only`` those that are in another
        part when it is their turn."""
        for begin in range(0, len(others), CHUNK):
            part = others[begin: begin + CHUNK]
            if apart_only:
                part = part[self._part[part] != self._part[row]]
            self.compared += len(part)
            for other in part[self._may_be_same(row, part)].tolist():
                if apart_only and self._part[other] == self._part[row]:
                    continue
                first, second = sorted((other, row))
                if match := heads_agree(self._prints[first], self._prints[second]):
                    yield other, match

    def _may_be_same(self, row: int, others: np.ndarray) -> np.ndarray:
        """What :func:`heads_agree` asks of levels and notes, of many at a time, ``bool [others]``."""
        may = np.zeros(len(others), bool)
        for slices, tones, lasts in zip(self._slices, self._tones, self._lasts):
            left = np.flatnonzero(~may)
            left = left[_last_alike(lasts[others[left]], lasts[row])]
            off = _off(_levels(slices[others[left]]), _levels(slices[row]), 1)
            left = left[off <= SLICES_OFF + ROUNDING]
            x, y = _half_steps(_levels(tones[others[left]])), _half_steps(_levels(tones[row]))
            near = [_off(x[:, max(0, s): x.shape[1] + min(0, s)], y[max(0, -s): len(y) - max(0, s)], 5)
                    for s in range(-TUNING, TUNING + 1)]
            may[left[np.min(near, axis=0) <= TONES_OFF + ROUNDING]] = True
        return may

    def _join(self, x: int, y: int, match: Match) -> tuple[int, int, Match]:
        low, high = sorted((self._part[x], self._part[y]))
        if low != high:
            self._part[self._part == high] = low
        return int(self._short[x]), int(self._short[y]), match


def _levels(quarters: np.ndarray) -> np.ndarray:
    """dB above -DEPTH."""
    return np.float32(DEPTH) - quarters / np.float32(4)


def _last_alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b) <= 4 + 0.1 * np.maximum(a, b)


def _off(a: np.ndarray, b: np.ndarray, audible: float) -> np.ndarray:
    """dB between ``a [pairs, levels]`` and ``b [levels]`` on average, where either is above ``audible``."""
    sounds = np.maximum(a, b) > audible
    return (np.abs(a - b) * sounds).sum(axis=1) / np.maximum(sounds.sum(axis=1), 1)


def _half_steps(tones: np.ndarray) -> np.ndarray:
    """With the middle after each value; the last stays as it is."""
    after = np.concatenate([tones[..., 1:], tones[..., -1:]], axis=-1)
    return np.stack([tones, (tones + after) / 2], axis=-1).reshape(*tones.shape[:-1], 2 * tones.shape[-1])
