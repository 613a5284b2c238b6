"""Files that hold the same or share a part, whatever they hold: links between two, groups of what hangs together.

Three relations, the strongest of which counts: ``exact``, ``copy`` and ``overlap``. What they mean is said where they
are found: data_prep/audio/duplicates/find.py for sound, data_prep/midi/duplicates.py for MIDI. Of files that are exact
or copies one is enough (:func:`superseded` says which go); those that overlap are all worth keeping, but must not lie
in both splits. A group is what hangs together by any of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

EXACT, COPY, OVERLAP = "exact", "copy", "overlap"


@dataclass(frozen=True)
class Link:
    """Two names, the lower one first, their ``relation``, the share of what was compared that agrees (0 to 1), and how
    many seconds they share."""

    a: str
    b: str
    relation: str
    score: float
    seconds: float


class Copies(Protocol):
    """Copies in a group of which no link tells."""

    def first_copy(self, name: str, of: Iterable[str]) -> str | None:
        """The first in ``of`` that is a copy of ``name``, or none."""


@dataclass(frozen=True)
class Group:
    """Names that hang together, sorted, and why: ``links``, sorted by names. Of several with the same samples, the
    first by name is linked with all the others and alone with anything else. Of many short sounds that are alike each
    is linked with few; ``others`` tells of the rest."""

    names: tuple[str, ...]
    links: tuple[Link, ...]
    others: Copies | None = field(default=None, compare=False, repr=False)


def superseded(group: Group, best_first: Sequence[str]) -> dict[str, str]:
    """Which names of a group are not needed, each with the one that is kept in its stead.

    A name goes only if one that is kept is exactly it or a copy of it: with copies of copies nothing that is left out
    is further from what is kept than one step.

    Args:
        best_first: all names of the group, in the order in which they are to be kept.
    """
    first = {link.b: link.a for link in group.links if link.relation == EXACT}  # all others are linked to that
    same: dict[str, set[str]] = defaultdict(set)
    for link in group.links:
        if link.relation == COPY:
            same[link.a].add(link.b)
            same[link.b].add(link.a)
    gone: dict[str, str] = {}
    kept: dict[str, str] = {}  # by the first of those that are exactly it
    for name in best_first:
        one = first.get(name, name)
        also = group.others.first_copy(one, kept) if group.others else None
        stead = next((kept[other] for other in kept if other in (one, also) or other in same[one]), None)
        if stead is None:
            kept[one] = name
        else:
            gone[name] = stead
    return gone


def grouped(links: list[Link]) -> list[Group]:
    """Names that hang together by links, sorted by their first names."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for link in links:
        a, b = sorted((root(link.a), root(link.b)))
        parent[b] = a
    names, of = defaultdict(list), defaultdict(list)
    for name in parent:
        names[root(name)].append(name)
    for link in links:
        of[root(link.a)].append(link)
    groups = [Group(tuple(sorted(names[r])), tuple(sorted(of[r], key=lambda l: (l.a, l.b)))) for r in names]
    return sorted(groups, key=lambda group: group.names)
