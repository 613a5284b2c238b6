"""How near music on paper is to other music, whatever the kind: distances, and runs of notes that are copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

RUN = 8  # notes of a copy
START, LENGTH, PART, PITCH = range(4)


class Music(NamedTuple):
    """One piece.

    Attributes:
        notes: ``int64 [n, 4 or more]``: start, length, part, pitch.
        drums: those parts that are.
        beat: how long a quarter note is, in what starts count; ``beats``, how many there are.
    """

    notes: np.ndarray
    drums: frozenset[int]
    beat: int
    beats: float


def tell(results: dict[str, object]) -> dict[str, object]:
    """Print them, a line each; returns them."""
    for name, value in results.items():
        print(f"{name:<44}{value:>12.4g}" if isinstance(value, float) else f"{name:<44}{value!s:>12}", flush=True)
    return results


def features(music: Music) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of what is not drums: how often each pitch class is played ``[12]``, how many notes sound at each sixteenth
    ``[n]``, and how long they are in quarter notes."""
    notes = music.notes[~np.isin(music.notes[:, PART], list(music.drums))]
    start, length = notes[:, START], notes[:, LENGTH]
    at = np.arange(round(music.beats * 4))[:, None] * music.beat // 4
    sounding = ((start <= at) & (at < start + length)).sum(axis=1)
    return (np.bincount(notes[:, PITCH] % 12, minlength=12), sounding if len(notes) else sounding[:0],
            length / music.beat)


def apart(some: Sequence[tuple], others: Sequence[tuple]) -> dict[str, float]:
    """Distances of the features of two lots of music."""
    (one, sounding, long), (two, other_sounding, other_long) = (
        (np.sum([x[0] for x in lot], axis=0), *(np.concatenate([x[i] for x in lot]) for i in (1, 2)))
        for lot in (some, others))
    return {"pitch classes": float(np.abs(one / max(1, one.sum()) - two / max(1, two.sum())).sum() / 2),
            "polyphony": float(wasserstein_distance(sounding, other_sounding)),
            "note length": float(wasserstein_distance(long, other_long))}


def distances(made: Sequence[Music], held: Sequence[Music], train: Sequence[Music], what: str,
              rng: np.random.Generator) -> dict[str, object]:
    """Of what was made to all held-out music; beside as many of the train split as were made, five times."""
    known, others = [features(one) for one in held], [features(one) for one in train]
    beside = [apart([others[i] for i in rng.choice(len(others), len(made))], known) for _ in range(5)]
    results: dict[str, object] = {}
    for name, value in apart([features(one) for one in made], known).items():
        results |= {f"{name}: {what} to held-out rows": value,
                    f"{name}: as many train rows to them": float(np.mean([one[name] for one in beside]))}
    return tell(results)


def copies(made: Sequence[Music], held: Sequence[Music], train: Sequence[Music], what: str) -> dict[str, object]:
    """Which share of runs is in the train split, of what was made and of held-out music."""
    known = np.unique(np.concatenate([runs(one) for one in train]))
    mine, theirs = (np.concatenate([runs(one) for one in lot]) for lot in (made, held))
    return tell({"copies: runs of the train split": len(known), f"copies: runs of {what}": len(mine),
                 f"copies: of {what}, in the train split": known_share(mine, known),
                 "copies: of held-out rows, in it": known_share(theirs, known)})


def known_share(found: np.ndarray, known: np.ndarray) -> float:
    """The share of ``found`` that is in ``known``; 0 of nothing."""
    return float(np.isin(found, known).sum()) / max(1, len(found))


def runs(music: Music) -> np.ndarray:
    """A number for each run of :data:`RUN` notes of a part, ``uint64 [n]``; the same in any key, drums but theirs."""
    found, notes = [np.zeros(0, np.uint64)], music.notes
    for part in np.unique(notes[:, PART]).tolist():
        mine = notes[notes[:, PART] == part]
        mine = mine[np.lexsort((mine[:, PITCH], mine[:, START]))]
        if len(mine) < RUN:
            continue
        pitch = 256 + mine[1:, PITCH] if part in music.drums else 128 + np.diff(mine[:, PITCH])
        steps = (np.diff(mine[:, START]) * 512 + pitch).astype(np.uint64)
        hashed = np.zeros(len(mine) - RUN + 1, np.uint64)
        for i in range(RUN - 1):
            hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + steps[i : i + len(hashed)] + np.uint64(1)
        found.append(hashed)
    return np.concatenate(found)
