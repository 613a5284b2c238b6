"""Songs that lack something, with it: drums from those that are drums alone, pitches for those. Of most collections few
songs have both, and a model can only play with drums what it has heard with them.

What is put together has the same beats a bar and steps a beat (or steps of which some are the other's); it begins
with a bar and comes again from its beginning until the song is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from audiocraft_ext.songs.beepbox.song import RHYTHMS
from audiocraft_ext.songs.codec.voices import FIRST, HOLD, REST, Facts
from audiocraft_ext.store.reader import TokenStore

PITCHES, DRUMS = "pitches", "drums"


class Band:
    """The songs of a store by what they have.

    Args:
        song: the codes ``int64 [4, steps, channels]`` of the song that begins with a row.
        firsts: the first row of the song of each row.
    """

    def __init__(self, store: TokenStore, song: Callable[[int], np.ndarray], facts: Callable[[int], Facts],
                 firsts: np.ndarray):
        self._rows, self._song, self._facts = store.rows, song, facts
        self._alone: dict[int, str] = {}  # what a song of one sort alone has
        self._pools: dict[tuple, list[int]] = defaultdict(list)
        for first in np.unique(firsts).tolist():
            has = self._sort(first)
            if has:
                about = facts(first)
                self._alone[first] = has
                self._pools[store.rows[first]["split"], has, about.beats, about.rhythm].append(first)
        if DRUMS not in self._alone.values():
            self._alone = {}

    def alone(self, first: int) -> str | None:
        """What a song has nothing but; None for a song that has both, and for all where none is drums alone."""
        return self._alone.get(first)

    def completed(self, first: int, rng: np.random.Generator) -> tuple[np.ndarray, Facts]:
        """A song of :meth:`alone` with what another one has, ``int64 [4, steps, channels]``, and its facts; as it is
        where none fits."""
        song, facts, has = self._song(first), self._facts(first), self._alone[first]
        lacks = DRUMS if has == PITCHES else PITCHES
        fit = [(other, facts.rhythm // rhythm) for rhythm in RHYTHMS if facts.rhythm % rhythm == 0
               for other in self._pools.get((self._rows[first]["split"], lacks, facts.beats, rhythm), ())]
        if not fit:
            return song, facts
        other, times = fit[int(rng.integers(len(fit)))]
        more, about = finer(self._song(other), times), self._facts(other)
        bar = facts.beats * facts.rhythm
        begin = bar * int(rng.integers(max(1, more.shape[1] // bar)))
        more = np.take(more, begin + np.arange(song.shape[1]), axis=1, mode="wrap")
        pitches, drums = (song, more[:, :, about.pitched :]) if has == PITCHES else (more, song[:, :, facts.pitched :])
        return np.concatenate([pitches, drums], axis=2), facts._replace(pitched=pitches.shape[2], noise=drums.shape[2])

    def _sort(self, first: int) -> str | None:
        facts = self._facts(first)
        if not facts.noise:
            return PITCHES
        # a song of drums has a channel of pitches all the same, which rests
        return DRUMS if facts.pitched == 1 and (self._song(first)[0, :, 0] < FIRST[0]).all() else None


def finer(codes: np.ndarray, times: int) -> np.ndarray:
    """The same song ``[4, steps, channels]`` in steps of which ``times`` are one of its own."""
    out = np.repeat(codes, times, axis=1)
    for later in range(1, times):
        out[0, later::times] = np.where(codes[0] == REST, REST, HOLD)
        out[1:, later::times] = 0
    return out
