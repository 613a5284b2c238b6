"""Figures in words: how a set of clips stands between real sound that was held out and noise."""

from __future__ import annotations

import math

from audiocraft_ext.evaluate.judge import ENOUGH, HELD_OUT, MADE, NOISE, Result

# Of the way from noise to held-out sound, in pulse. Real music through a codec of 1.6 kbit/s goes 0.74 of it, through
# Opus at 6 kbit/s 0.69; pieces of 0.1 s of it in any order 0.04.
STEADY, LOOSE = 0.6, 0.25
# Of the way from held-out sound to noise, in KAD. Opus at 12 kbit/s goes 0.05 of it, a codec of 1.6 kbit/s 0.18, pieces
# of 0.1 s in any order 0.36.
CLOSE, RELATED, DISTANT = 0.1, 0.25, 0.7
CHANCE, MUCH = 0.04, 0.25  # of the windows above the limit: one in a hundred is chance, of 160 rarely seven


def words(result: Result, like: str) -> list[tuple[str, str, str]]:
    """``(what, verdict, why)`` of the beat, of the resemblance, and of copies."""
    return [("beat", *beat(result)), (f"like {like}", *resemblance(result)), ("copied", *copied(result))]


def beat(result: Result) -> tuple[str, str]:
    made, real, noise = (result.sets[name].figures.get("pulse", math.nan) for name in (MADE, HELD_OUT, NOISE))
    why = f"pulse {number(made)}; your sound {number(real)}, noise {number(noise)}"
    if not made == made:
        return "unknown", "nothing but silence was made"
    if not real - noise > 0.1:
        return "unknown", f"{why}: your sound has no steady beat to be compared with"
    way = (made - noise) / (real - noise)
    return "steady" if way >= STEADY else "loose" if way >= LOOSE else "none", why


def resemblance(result: Result) -> tuple[str, str]:
    made, real, noise = (result.sets[name].figures["kad_msd"] for name in (MADE, HELD_OUT, NOISE))
    error = result.sets[MADE].figures["kad_msd_error"]
    why = f"distance {number(made, 1)}; your own held-out sound {number(real, 1)}, noise {number(noise, 1)}"
    if not (made == made and noise > real):
        return "unknown", f"{why}: too little to compare"
    if made <= real + (2 * error if error == error else 0):
        return "as much as your own", why
    way = (made - real) / (noise - real)
    return "closely" if way < CLOSE else "related" if way < RELATED else "distantly" if way < DISTANT else "no", why


def copied(result: Result) -> tuple[str, str]:
    share, windows = (result.sets[MADE].figures[name] for name in ("copied", "windows"))
    if not share == share or result.limit_windows < ENOUGH:
        return "unknown", f"{windows} windows were made, {result.limit_windows} are held-out sound: too little to tell"
    why = f"{round(share * windows)} of {windows} windows of 3 s are more like the training sound than chance"
    if share <= CHANCE:
        return "no", why
    nearest = max(result.sets[MADE].places)
    clip = result.sets[MADE].clips[nearest.clip]
    why += (f"; the nearest: {clip.name} at {clip.start + nearest.at:.1f} s, {nearest.source} at {nearest.start:.1f} s "
            f"({nearest.score:.2f})")
    return "much of it" if share > MUCH else "in places", why


def number(value: float | None, digits: int = 2) -> str:
    return "?" if value is None or value != value else f"{value:.{digits}f}"
