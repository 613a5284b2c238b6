"""Patterns altered at random, as another drummer, another take or another kit would have it.

Each augmentation is a function of a pattern, a generator, a strength (1 is as much as still sounds played) and what is
around the pattern; a pattern that it has nothing to do with comes back as it is. :func:`augment` applies those that
are drawn, in the order of :data:`AUGMENTATIONS`. The result depends on the generator alone. What each is worth is
measured by benchmarks/drums/ablation.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.drums.describe import TRIPLET, lateness

SPLICED = 0.5  # of the bars, at strength 1
GAIN, CURVE = 0.35, 0.5  # of velocities, octaves of a factor and of an exponent
TIGHTER, LOOSER = 0.4, 1.4  # factors of the offsets
SWING = 0.5  # of a triplet, later or earlier
FEWEST = 3  # classes of which one may be left out

# Names of classes as the maps drums9 and drums12 have them. A map of somebody's own may name others, or lack some.
EXCHANGED = (("closed_hat", "ride"), ("closed_hat", "open_hat"), ("closed_hat", "pedal_hat"), ("snare", "side_stick"),
             ("crash", "ride"), ("crash", "open_hat"), ("high_tom", "mid_tom"), ("mid_tom", "floor_tom"))
HANDS, TOMS = ("closed_hat", "ride"), ("high_tom", "mid_tom", "floor_tom")


@dataclass(frozen=True)
class Around:
    """What an augmentation may know besides the pattern.

    Attributes:
        names: of the classes, see :func:`named`.
        performance: all bars of the one that the pattern is from.
    """

    names: Mapping[str, int]
    performance: Pattern


def named(names: Sequence[str]) -> dict[str, int]:
    """The number of each class by its name in lower case, words joined by "_"; a hi-hat is a hat."""
    plain = (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names)
    return {re.sub(r"hi_?hat", "hat", name): i for i, name in enumerate(plain)}


def splice(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """Some bars give way to other bars of the performance."""
    others = around.performance
    chosen = np.flatnonzero(rng.random(pattern.bars) < SPLICED * strength)
    bars = rng.integers(others.bars, size=pattern.bars)  # drawn anyway: each draw means the same at any strength
    if not len(chosen) or others.bars == 1:
        return pattern
    order = np.arange(pattern.bars)
    order[chosen] = pattern.bars + np.arange(len(chosen))
    more = others.take(bars[chosen])
    both = [np.concatenate(pair) for pair in ((pattern.step, more.step + pattern.steps), (pattern.drum, more.drum),
                                              (pattern.velocity, more.velocity), (pattern.offset, more.offset))]
    return replace(pattern, step=both[0], drum=both[1], velocity=both[2], offset=both[3],
                   bars=pattern.bars + len(chosen)).take(order)


def rotate(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """The bars begin with another one and go round."""
    if pattern.bars == 1:
        return pattern
    return pattern.take((np.arange(pattern.bars) + rng.integers(1, pattern.bars)) % pattern.bars)


def substitute(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """Two drums that stand for each other are exchanged: hat and ride, snare and side stick, neighbouring toms."""
    played = set(np.unique(pattern.drum).tolist())
    pairs = [pair for names in EXCHANGED if len(pair := _numbers(names, around)) == 2 and played & set(pair)]
    if not pairs:
        return pattern
    one, other = pairs[int(rng.integers(len(pairs)))]
    return _renamed(pattern, (one, other), (other, one))


def dropout(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """One of the classes is left out, where three or more play."""
    played = np.unique(pattern.drum)
    if len(played) < FEWEST:
        return pattern
    return pattern.only(pattern.drum != played[int(rng.integers(len(played)))])


def hands(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """The other hand leads: strokes of hat and ride exchange their velocities two by two, or the toms are mirrored."""
    toms, hats = _numbers(TOMS, around), _numbers(HANDS, around)
    ways = [way for way, drums in (("toms", toms), ("hats", hats)) if np.isin(pattern.drum, drums).any()]
    if not ways:
        return pattern
    if ways[int(rng.integers(len(ways)))] == "toms":
        return _renamed(pattern, toms, toms[::-1])
    velocity = pattern.velocity.copy()
    for drum in hats:
        strokes = np.flatnonzero(pattern.drum == drum)
        pairs = strokes[: len(strokes) // 2 * 2].reshape(-1, 2)
        velocity[pairs] = velocity[pairs[:, ::-1]]
    return replace(pattern, velocity=velocity)


def swing(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """Off-beats come later or earlier, and what is between them and the beats is stretched with them; no straighter
    than straight, no later than a triplet (nor than they were)."""
    late, change = lateness(pattern), strength * SWING * rng.uniform(-1, 1)
    levels = [i for i, value in enumerate(late) if value is not None]
    if not levels:
        return pattern
    level = max(levels, key=lambda i: late[i])  # of eighths or of sixteenths, whichever swing
    new = float(np.clip(late[level] + change, min(0.0, late[level]), max(1.0, late[level])))
    unit = pattern.beat_steps / 2**level
    place = pattern.step % pattern.bar_steps + pattern.offset
    before = pattern.step // pattern.bar_steps * pattern.bar_steps  # the bar line
    whole = (place >= 0) & (place < pattern.bar_steps // unit * unit)  # a bar of 7/8 ends inside a quarter note
    moved = np.where(whole, _warped(place / unit, 0.5 + TRIPLET * late[level], 0.5 + TRIPLET * new) * unit, place)
    return _placed(pattern, before + moved)


def timing(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """All offsets are made smaller or larger: tighter or looser."""
    factor = np.exp(strength * rng.uniform(np.log(TIGHTER), np.log(LOOSER)))
    return replace(pattern, offset=np.clip(pattern.offset * factor, -0.5, np.nextafter(0.5, 0)))


def velocity(pattern: Pattern, rng: np.random.Generator, strength: float, around: Around) -> Pattern:
    """Softer or louder, with softer or harder accents."""
    gain, curve = 2.0 ** (strength * rng.uniform((-GAIN, -CURVE), (GAIN, CURVE)))
    middle = np.exp(np.log(pattern.velocity).mean()) if len(pattern) else 1.0  # which the curve leaves where it is
    return replace(pattern, velocity=np.clip(gain * middle * (pattern.velocity / middle) ** curve, 1, 127))


AUGMENTATIONS: dict[str, Callable[[Pattern, np.random.Generator, float, Around], Pattern]] = {
    "splice": splice, "rotate": rotate, "substitute": substitute, "dropout": dropout, "hands": hands, "swing": swing,
    "timing": timing, "velocity": velocity}


def augment(pattern: Pattern, rng: np.random.Generator, shares: Mapping[str, float], strength: float,
            around: Around) -> Pattern:
    """Each augmentation with the probability that ``shares`` gives it, 0 if none."""
    drawn = rng.random(len(AUGMENTATIONS))
    for (name, alter), draw in zip(AUGMENTATIONS.items(), drawn):
        if draw < shares.get(name, 0.0):
            pattern = alter(pattern, rng, strength, around)
    return pattern


def _numbers(names: Sequence[str], around: Around) -> list[int]:
    """Of the classes that the map has."""
    return [around.names[name] for name in names if name in around.names]


def _renamed(pattern: Pattern, drums: Sequence[int], to: Sequence[int]) -> Pattern:
    """A permutation of classes."""
    table = np.arange(max(max(drums), pattern.drum.max(initial=0)) + 1)
    table[list(drums)] = to
    return _sorted(replace(pattern, drum=table[pattern.drum]))


def _sorted(pattern: Pattern) -> Pattern:
    return pattern.only(np.lexsort((pattern.offset, pattern.drum, pattern.step)))


def _warped(place: np.ndarray, middle: float, to: float) -> np.ndarray:
    """Places in units, whose inside is stretched so that what was at ``middle`` is at ``to``."""
    unit, inside = np.floor(place), place % 1
    return unit + np.where(inside < middle, inside * to / middle, 1 - (1 - inside) * (1 - to) / (1 - middle))


def _placed(pattern: Pattern, place: np.ndarray) -> Pattern:
    """The hits at other places, in steps; those that would lie outside of the bars stay in the first or last step."""
    step = np.clip(np.floor(place + 0.5), 0, pattern.steps - 1)
    return pattern.with_table(np.stack([step, pattern.drum, pattern.velocity, place - step], 1))
