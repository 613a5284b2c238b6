"""Music described in words: the fields of a prompt, and the measures behind them.

    field                    words                                 from
    drums, piano, bass, ...  no yes                                whether an instrument of this family plays
    meter                    4/4 3/4 6/8 2/4 other                 the time signature
    tempo                    <60 60-70 ... 190-200 >=200           quarter notes a minute
    density                  very-low low medium high very-high    notes to a quarter note, without drums
    polyphony                the same five                         how many notes sound at once, without drums
    register                 the same five                         their mean pitch
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audiocraft_ext.core.prompts import Field, Prompts
from audiocraft_ext.midi.names import INSTRUMENTS
from audiocraft_ext.midi.tempos import TEMPOS, bpm_of, tempo_word
from audiocraft_ext.notes.codec.multitrack import FIRST, INSTRUMENT, LENGTH, LINE, PITCH, POSITION, Multitrack
from audiocraft_ext.notes.codec.score import DRUMS
from audiocraft_ext.notes.midi import families_of

LEVELS = ("very-low", "low", "medium", "high", "very-high")
METERS, OTHER = ("4/4", "3/4", "6/8", "2/4"), "other"
PLAYS = NO, YES = "no", "yes"
# Between the quintiles of 363 rows of Freedoom's music (bands) and 5,922 of POP909 (pianos), four bars each.
DENSITY, POLYPHONY, REGISTER = (3.0, 4.5, 6.0, 8.0), (3.0, 4.5, 6.0, 8.0), (48.0, 55.0, 60.0, 64.0)
MEASURED = ("density", "polyphony", "register")


def fields() -> tuple[Field, ...]:
    """All fields in the order of their streams."""
    return (*(Field(name, PLAYS) for name in INSTRUMENTS), Field("meter", (*METERS, OTHER)), Field("tempo", TEMPOS),
            *(Field(name, LEVELS) for name in MEASURED))


def prompts(codec: Multitrack) -> Prompts:
    """The prompts of a store."""
    return Prompts(fields(), max(codec.sizes), codec.spec.n_q)


def describe(codes: np.ndarray, codec: Multitrack, bpm: float | None = None,
             meter: tuple[int, int] = (4, 4)) -> dict[str, str]:
    """A word for each field that can be filled, of codes ``[5, T]``."""
    notes = codes[:, codes[POSITION] >= FIRST]
    plays = set(families_of(notes[INSTRUMENT]))
    words = {name: YES if name in plays else NO for name in INSTRUMENTS} | {"meter": meter_word(meter)}
    if bpm is not None:
        words["tempo"] = tempo_word(bpm)
    return words | {name: level(name, value) for name, value in measures(codes, codec, meter).items()}


def measures(codes: np.ndarray, codec: Multitrack, meter: tuple[int, int] = (4, 4)) -> dict[str, float]:
    """Density, polyphony and register of what is not drums; nothing where there are no such notes."""
    notes = codes[:, (codes[POSITION] >= FIRST) & (codes[INSTRUMENT] != DRUMS)].astype(np.int64)
    if not notes.shape[1]:
        return {}
    parts = max(1, int((codes[POSITION] == LINE).sum())) * codec.bar_parts(meter)
    return {"density": notes.shape[1] * codec.division / parts,
            "polyphony": float(codec.lengths[notes[LENGTH]].sum()) / parts, "register": float(notes[PITCH].mean())}


def level(name: str, value: float) -> str:
    """The word for one of :data:`MEASURED`."""
    edges = {"density": DENSITY, "polyphony": POLYPHONY, "register": REGISTER}[name]
    return LEVELS[int(np.searchsorted(edges, value, side="right"))]


def meter_word(meter: tuple[int, int]) -> str:
    """Of a time signature."""
    return word if (word := f"{meter[0]}/{meter[1]}") in METERS else OTHER


def meter_of(word: str) -> tuple[int, int]:
    """The time signature that is written ``4/4``."""
    over, under = word.split("/")
    return int(over), int(under)


def facts_of(words: Mapping[str, str]) -> tuple[float, tuple[int, int]]:
    """Tempo and time signature of a prompt; 120 BPM and 4/4 where it does not say."""
    meter = words.get("meter", OTHER)
    return (bpm_of(words["tempo"]) if "tempo" in words else 120.0), meter_of(meter if meter != OTHER else METERS[0])
