"""A pattern of drums described in words: the fields of a prompt, and the measures behind them.

    field      words                                       from
    genre      the store's own, funk jazz rock ...         the file's label: the first part of its style
    kind       beat fill intro outro break                 the same
    density    very-low low medium high very-high          hits to a bar of 4/4
    intensity  the same five                               share of the hits that are off the beat
    swing      straight light hard                         how late the off-beats are
    tempo      <60 60-70 ... 190-200 >=200                 quarter notes a minute
    bars       1 2 ... 8                                   the length
    meter      4/4 3/4 6/8 7/8 5/4 other                   the time signature
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from audiocraft_ext.core.prompts import Field, Prompts
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.midi.tempos import TEMPOS, tempo_word

KINDS = ("beat", "fill", "intro", "outro", "break")
LEVELS = ("very-low", "low", "medium", "high", "very-high")
SWINGS = ("straight", "light", "hard")
MOST_BARS = 8
METERS, OTHER = ("4/4", "3/4", "6/8", "7/8", "5/4"), "other"

# Quintiles of the 4,265 rows of four bars in the train split of the Groove MIDI Dataset itself (drum_grid, 16
# steps, drums12; benchmarks/drums/levels.py): each level is about as frequent there as the others.
DENSITY = (14.0, 17.4, 20.8, 24.2)
INTENSITY = (0.48, 0.56, 0.62, 0.68)
# Of the way from straight to triplets. The same rows make two heaps, around 0.1 and 0.65, and are rarest between them
# at 0.55; below 0.25 are three in five of them.
SWING = (0.25, 0.55)

# Where in a quarter note an off-beat may lie and count as a late one: an eighth from 0.44, where it is as
# early as anybody plays it, up to halfway between a triplet (2/3) and the last sixteenth (3/4). A sixteenth alike, in
# its eighth; its earliest is where the late eighth ends.
EIGHTH, SIXTEENTH = (0.44, 17 / 24), (5 / 12, 17 / 24)
TRIPLET = 1 / 6  # how much later than straight it is, in quarters or eighths
SWUNG = 4  # hits at least, for swing to be measured


def fields(genres: Iterable[str]) -> tuple[Field, ...]:
    """All fields in the order of their streams; ``genres`` are the words of the first."""
    return (Field("genre", tuple(genres)), Field("kind", KINDS), Field("density", LEVELS), Field("intensity", LEVELS),
            Field("swing", SWINGS), Field("tempo", TEMPOS),
            Field("bars", tuple(str(bars) for bars in range(1, MOST_BARS + 1))), Field("meter", (*METERS, OTHER)))


NAMES = tuple(field.name for field in fields(()))


def prompts(genres: Iterable[str], codec) -> Prompts:
    """The prompts of a store: of a :class:`DrumGrid` or a :class:`DrumHits`."""
    return Prompts(fields(genres), max(codec.sizes), codec.spec.n_q)


def genre_of(style: str | None) -> str | None:
    """The genre that a style such as ``latin/brazilian-samba`` belongs to; None without a style."""
    return (style or "").split("/")[0].strip().lower() or None


def describe(pattern: Pattern, style: str | None = None, kind: str | None = None, bpm: float | None = None,
             meter: tuple[int, int] = (4, 4)) -> dict[str, str]:
    """A word for each field that can be filled. The genre is that of the style, whether a model has a word for it or
    not."""
    words = {"genre": genre_of(style), "kind": kind.lower() if kind and kind.lower() in KINDS else None,
            "tempo": None if bpm is None else tempo_word(bpm), "meter": meter_word(meter), **measured(pattern)}
    return {name: words[name] for name in NAMES if words[name] is not None}


def measured(pattern: Pattern) -> dict[str, str | None]:
    """Density, intensity, swing and bars of a pattern. None where there is no word: intensity without hits, swing with
    too few off-beats, more than eight bars."""
    late = swing(pattern)
    return {"density": _level(density(pattern), DENSITY, LEVELS),
            "intensity": _level(intensity(pattern), INTENSITY, LEVELS) if len(pattern) else None,
            "swing": None if late is None else _level(late, SWING, SWINGS),
            "bars": str(pattern.bars) if pattern.bars <= MOST_BARS else None}


def density(pattern: Pattern) -> float:
    """Hits in four quarter notes, all classes together."""
    return len(pattern) * 4 * pattern.beat_steps / pattern.steps


def intensity(pattern: Pattern) -> float:
    """The share of the hits whose nearest step is not on a quarter note, 0 to 1; each hit counts alike, however soft.
    0 without hits."""
    return np.count_nonzero(_in_beat(pattern)) / len(pattern) if len(pattern) else 0.0


def swing(pattern: Pattern) -> float | None:
    """How late the off-beats are on average: 0 is straight, 1 is the last of a triplet, whose ratio is 2 : 1.

    Of eighths or of sixteenths, whichever are later. None with fewer than four hits of either.
    """
    return max((late for late in lateness(pattern) if late is not None), default=None)


def lateness(pattern: Pattern) -> tuple[float | None, float | None]:
    """How late the off-beat eighths and the off-beat sixteenths are on average, of a triplet; None of too few. What is
    nearer to another place than to an off-beat, late or not, does not count."""
    quarter = (_in_beat(pattern) + pattern.offset) / pattern.beat_steps  # where in the quarter note, 0 to 1
    late: list[float | None] = []
    for place, (first, last) in ((quarter, EIGHTH), (2 * quarter % 1, SIXTEENTH)):
        swung = place[(place >= first) & (place < last)]
        late.append((float(swung.sum()) / len(swung) - 0.5) / TRIPLET if len(swung) >= SWUNG else None)
    return late[0], late[1]


def syncopation(pattern: Pattern) -> float:
    """How much the hits contradict the metre, in four quarter notes, summed over the classes.

    A hit is syncopated where a stronger place follows before the next hit of its class and stays empty, by the
    difference of their weights (C. Longuet-Higgins and C. Lee, "The rhythmic interpretation of monophonic music", 1984;
    of the empty places the strongest counts, as in W. Fitch and A. Rosenfeld, "Perception and production of syncopated
    rhythms", 2007). The last hit is followed by the first, as in a loop.
    """
    weight, total = weights(pattern.bar_steps, pattern.beat_steps), 0
    for drum in np.unique(pattern.drum):
        step = np.unique(pattern.step[pattern.drum == drum])
        for here, following in zip(step, np.append(step[1:], step[0] + pattern.steps)):
            between = np.arange(here + 1, min(following, here + pattern.bar_steps + 1)) % pattern.bar_steps
            if len(between):
                total += max(0, int(weight[between].max() - weight[here % pattern.bar_steps]))
    return total * 4 * pattern.beat_steps / pattern.steps


def weights(bar_steps: int, beat_steps: int) -> np.ndarray:
    """How strong each step of a bar is, ``int64 [bar_steps]``: 0 is the bar line, -1 what the bar is first divided
    into (halves where it has 2, 4, 8 ... quarters, else quarters), and so on down to the step."""
    weight, unit, level = np.zeros(bar_steps, np.int64), bar_steps, 0
    quarters = bar_steps // beat_steps
    halves = bar_steps % beat_steps == 0 and quarters & (quarters - 1) == 0
    at = np.arange(bar_steps)
    while unit > 1:
        if unit > beat_steps:
            unit = unit // 2 if halves else beat_steps
        else:
            unit //= 2 if unit % 2 == 0 else unit  # quarters are halved, and halved again; what is left are triplets
        level -= 1
        weight[(at % unit == 0) & (weight == 0) & (at > 0)] = level
    return weight


def meter_word(meter: tuple[int, int]) -> str:
    """Of a time signature."""
    return word if (word := f"{meter[0]}/{meter[1]}") in METERS else OTHER


def meter_of(word: str) -> tuple[int, int]:
    """The time signature of a manifest's row, ``4/4``."""
    numerator, denominator = word.split("/")
    return int(numerator), int(denominator)


def _level(value: float, thresholds: tuple[float, ...], words: tuple[str, ...]) -> str:
    return words[int(np.searchsorted(thresholds, value, side="right"))]


def _in_beat(pattern: Pattern) -> np.ndarray:
    """The step of each hit within its quarter note; a bar always begins one."""
    return pattern.step % pattern.bar_steps % pattern.beat_steps
