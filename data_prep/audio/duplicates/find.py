"""Which sounds of a collection are the same, and which share a part: from their fingerprints alone.

Three relations, the strongest of which counts: ``exact``, both decode to the same samples; ``copy``, practically all of
both is one sound (another codec, level, offset, a little varispeed); ``overlap``, they have a part in common, such as a
loop and a track that plays it. What follows from them is in data_prep/shared/groups.py.

What says too little is no evidence (data_prep/audio/duplicates/alignment.py): silence, hum, a metronome, one kick in
two songs or two takes of one groove link nothing. Candidates come from an index
(data_prep/audio/duplicates/candidates.py), whose hits by chance alone grow with the square of the collection; of short
sounds that are all alike each is compared with few (data_prep/audio/duplicates/heads.py), so that a group has the links
that hold it together, not all there could be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.audio.duplicates import candidates
from data_prep.audio.duplicates.alignment import Match, align, another_setting, heads_agree
from data_prep.audio.duplicates.heads import Heads
from data_prep.shared.groups import COPY, EXACT, OVERLAP, Group, Link, grouped


@dataclass(frozen=True)
class Item:
    """A sound: its ``name``, the hash of its samples, its fingerprint and its length in seconds."""

    name: str
    sound_sha256: str
    fingerprint: np.ndarray
    seconds: float


class Relatives:
    """Short sounds that are copies of each other though no link says so: compared when that is asked."""

    def __init__(self, names: Sequence[str], heads: Heads):
        self._names, self.heads = names, heads
        self._at = {name: i for i, name in enumerate(names) if heads.has(i)}

    def first_copy(self, name: str, of: Iterable[str]) -> str | None:
        """The first in ``of`` that is a copy of ``name``, or none."""
        if name not in self._at:
            return None
        found = self.heads.first_same(self._at[name], [self._at[other] for other in of if other in self._at])
        return None if found is None else self._names[found]


def find(items: Iterable[Item]) -> list[Group]:
    """All groups of two and more, by their first names; the same for any order of ``items``, whose names are unique."""
    items = sorted(items, key=lambda item: item.name)
    first: dict[str, int] = {}  # one of those with the same samples stands for all
    links = []
    for i, item in enumerate(items):
        one = first.setdefault(item.sound_sha256, i)
        if one != i:
            links.append(Link(items[one].name, item.name, EXACT, 1.0, item.seconds))
    distinct = [items[i] for i in first.values()]
    prints = candidates.Prints([item.fingerprint for item in distinct])
    heads = Heads(prints)
    links += _sounding_alike(distinct, prints, heads)
    others = Relatives([item.name for item in distinct], heads)
    return [replace(group, others=others) for group in grouped(links)]


def _sounding_alike(items: list[Item], prints: candidates.Prints, heads: Heads) -> list[Link]:
    found: dict[tuple[int, int], Match] = {(i, j): match for i, j, match in heads.pairs()}

    for (i, j), places in candidates.with_common_anchors(prints):
        if heads.settled(i, j):
            continue
        a, b = prints[i], prints[j]
        best = found.get((i, j)) or heads_agree(a, b)
        for at, offset in places:
            if best is not None and best.whole:
                break
            match = align(a, b, at, offset)
            if match is not None and match.whole and another_setting(a, b, at, offset):
                match = replace(match, whole=False)
            best = max(filter(None, (best, match)), key=lambda m: (m.whole, m.seconds), default=None)
        if best is not None:
            found[i, j] = best
    return [Link(items[i].name, items[j].name, COPY if m.whole else OVERLAP, round(m.score, 4), round(m.seconds, 2))
            for (i, j), m in found.items()]
