"""Which drum files hold the same: by their hits on the grid, whatever their tempo, velocities and kit.

The relations are those of data_prep/shared/groups.py:

- ``exact``: the same codes;
- ``copy``: the same performance, from another kit or with other velocities, a few hits more or less, or quantised: the
  hits agree, and so do their places in the step, unless one has all of them on the step;
- ``overlap``: the same pattern played another time, or a stretch of two bars that is the same to the offsets.

Files with much in common are found by MinHash (A. Broder, "On the resemblance and containment of documents", 1997) over
sets of (step, drum), in bands, so that the cost grows with the collection and not with its square.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.shared.groups import COPY, EXACT, OVERLAP, Group, Link, grouped

BANDS, ROWS = 10, 4  # of a MinHash: of pairs with 0.85 in common 1 in 1,600 is missed, with 0.3 1 in 13 is compared
ALIKE = 0.85  # of all hits of two patterns (Jaccard), that are the same then
LEAST_HITS = 8  # of a pattern of which it can be said that another is the same
TIMING = 0.03  # of a step: mean difference of hits that were played once; on Groove, twice is 0.05 and more
WINDOW, WINDOW_HITS = 2, 12  # bars, and their least hits, that say where they are from
DRUMS = 128  # more than there are of anything in a step
COMMON = 8  # files with the same two bars: they belong to everybody
OTHER_KIT = 3  # drums at least that a pattern needs to be known again on another kit
EARLIER = 16  # of a band, that a file is compared with


@dataclass(frozen=True)
class Cells:
    """Hits on the grid as a set.

    Attributes:
        at: ``int32 [n]``, ascending: DRUMS x step + drum.
        offsets: ``float16 [n]``, their places in the step, -0.5 to 0.5.
        hashes: MinHashes of ``at``, ``uint64 [BANDS * ROWS]``.
    """

    at: np.ndarray
    offsets: np.ndarray
    hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.at)

    @classmethod
    def of(cls, step: np.ndarray, drum: np.ndarray, offset: np.ndarray) -> Cells:
        """Of hits in any order; of several in one cell the first counts."""
        at, first = np.unique(DRUMS * step + drum, return_index=True)
        return cls(at.astype(np.int32), offset[first].astype(np.float16), _min_hash(at))


@dataclass(frozen=True)
class Print:
    """What a file is compared by: its hits from its first row on.

    Attributes:
        drums: by classes.
        kit: by which of the file's pitches it is, counted from the lowest: the same from any kit that has them in the
            same order.
        pitches: how many those are.
        windows: hashes of its stretches of WINDOW bars.
        sha256: of its codes.
    """

    drums: Cells
    kit: Cells
    pitches: int
    windows: frozenset[bytes]
    sha256: str


def prints(hits: np.ndarray, bars: list[tuple[int, int]], notes: np.ndarray, offsets: int) -> Print:
    """The print of a file.

    Args:
        hits: ``int64 [n, 4]``: step from the first row on, class, velocity, offset; of several in a cell the first
            counts.
        bars: where each begins and how many steps it has.
        notes: ``int64 [m, 3]``, all that were played there: step, pitch, offset.
        offsets: bins in a step.
    """
    def place(codes: np.ndarray) -> np.ndarray:
        return (codes - offsets // 2) / offsets

    pitches = np.unique(notes[:, 1])
    return Print(Cells.of(hits[:, 0], hits[:, 1], place(hits[:, 3])),
                 Cells.of(notes[:, 0], np.searchsorted(pitches, notes[:, 1]), place(notes[:, 2])), len(pitches),
                 frozenset(_windows(hits, bars)),
                 hashlib.sha256(repr(bars).encode() + hits.astype("<i8").tobytes()).hexdigest())


def _mixed(x: np.ndarray) -> np.ndarray:
    """Well mixed 64 bits: the finaliser of SplitMix64 (G. Steele et al., OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_FACTORS = _mixed(np.arange(1, BANDS * ROWS + 1, dtype=np.uint64)) | np.uint64(1)


def _min_hash(cells: np.ndarray) -> np.ndarray:
    mixed = _mixed(cells.astype(np.uint64) + np.uint64(1))
    return np.array([((mixed * factor) >> np.uint64(20)).min() for factor in _FACTORS])


def _windows(hits: np.ndarray, bars: list[tuple[int, int]]) -> Iterator[bytes]:
    starts = np.array([start for start, _ in bars])
    edges = np.searchsorted(hits[:, 0], [*starts, starts[-1] + bars[-1][1]])
    for i in range(len(bars) - WINDOW + 1):
        part = hits[edges[i] : edges[i + WINDOW]]
        if len(part) >= WINDOW_HITS:
            notes = part[:, [0, 1, 3]] - [[starts[i], 0, 0]]
            yield hashlib.blake2b(repr(bars[i][1]).encode() + notes.astype("<i2").tobytes(), digest_size=8).digest()


def find(items: Iterable[tuple[str, Print]]) -> list[Group]:
    """All groups of two and more, by their first names; the same for any order of ``items``, whose names are unique."""
    items = sorted(items)
    first: dict[str, int] = {}  # one of those with the same codes stands for all
    links = []
    for i, (name, item) in enumerate(items):
        one = first.setdefault(item.sha256, i)
        if one != i:
            links.append(Link(items[one][0], name, EXACT, 1.0, 0.0))
    items = [items[i] for i in first.values()]
    found: dict[tuple[int, int], tuple[str, float]] = {}
    for i, j in _candidates([item for _, item in items]):
        if relation := compare(items[i][1], items[j][1]):
            found[i, j] = relation
    for i, j in _sharing([item for _, item in items]):
        found.setdefault((i, j), (OVERLAP, 1.0))
    links += [Link(items[i][0], items[j][0], relation, round(score, 4), 0.0)
              for (i, j), (relation, score) in sorted(found.items())]
    return grouped(links)


def _candidates(items: list[Print]) -> Iterator[tuple[int, int]]:
    """Pairs that have a band of their hashes in common."""
    buckets: dict[tuple[bool, int, bytes], list[int]] = defaultdict(list)
    for j, item in enumerate(items):
        earlier: set[int] = set()
        for kit, cells in enumerate((item.drums, item.kit)):
            for band, values in enumerate(cells.hashes.reshape(BANDS, ROWS)):
                bucket = buckets[bool(kit), band, values.tobytes()]
                earlier.update(bucket[-EARLIER:])
                bucket.append(j)
        yield from ((i, j) for i in sorted(earlier))


def _sharing(items: list[Print]) -> Iterator[tuple[int, int]]:
    """Pairs with two bars in common that few others have."""
    where: dict[bytes, list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        for window in item.windows:
            where[window].append(i)
    for files in where.values():
        if len(files) <= COMMON:
            yield from ((files[0], j) for j in files[1:])


def compare(a: Print, b: Print) -> tuple[str, float] | None:
    """What two files are to each other, but for parts that they share, and the share of their hits that agrees."""
    found = _compared(a.drums, b.drums)
    if found is None and min(a.pitches, b.pitches) >= OTHER_KIT:
        found = _compared(a.kit, b.kit)
    return found


def _compared(a: Cells, b: Cells) -> tuple[str, float] | None:
    if min(len(a), len(b)) < LEAST_HITS:
        return None
    common, in_a, in_b = np.intersect1d(a.at, b.at, assume_unique=True, return_indices=True)
    share = len(common) / (len(a) + len(b) - len(common))
    if share < ALIKE:
        return None
    one_is_straight = not (a.offsets.any() and b.offsets.any())
    apart = float(np.abs(a.offsets[in_a] - b.offsets[in_b]).mean(dtype=np.float32))
    return (COPY if one_is_straight or apart < TIMING else OVERLAP), share
