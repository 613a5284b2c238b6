"""What a model in training sees of a store of drums: windows of whole bars, augmented, each with a prompt in
front that describes the window as it is after augmentation.

A performance is the rows of one track in one time signature. A window lies within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.augment import AUGMENTATIONS, Around, augment, named
from audiocraft_ext.drums.codec import HITS, codec_of
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.drums.describe import describe, meter_of
from audiocraft_ext.store.reader import TokenStore, Track
from audiocraft_ext.weightless import store_prompts

SHIFT, METER = "shift", "meter"
PERFORMANCES = 4096  # kept as patterns; hundreds of hits each

# Options of ``dataset.view`` with their defaults. Shares are probabilities.
OPTIONS: dict[str, Any] = {
    "drop": 0.5,  # of each field being left out; the metre stays, without it a pattern cannot be read
    "drop_all": 0.15,  # of the null prompt
    "say": False,  # whether validation is conditional on all fields; else it has the null prompt
    "bars": None,  # most bars of a window; None is as many as fit
    "shorter": 0.1,  # that a window has fewer bars, any number of them
    "altered": 1.0,  # that a window is altered at all
    "strength": 1.0,  # of the augmentations that have one
    "augment": {SHIFT: 1.0, "splice": 0.2, "rotate": 0.2, "substitute": 0.1, "dropout": 0.1, "hands": 0.1,
                "swing": 0.2, "timing": 0.3, "velocity": 0.3},  # that each happens; false is none of them
}


@dataclass(frozen=True, eq=False)
class Performance:
    """All of it.

    Attributes:
        pattern: its hits.
        rows: of the manifest; row i begins with bar ``bars[i]``.
        ends: behind each bar, in frames from the first; what a codec takes for it.
    """

    pattern: Pattern
    rows: list[dict]
    bars: np.ndarray
    ends: np.ndarray

    def row(self, bar: int) -> dict:
        """The one that a bar is in."""
        return self.rows[int(np.searchsorted(self.bars, bar, side="right")) - 1]

    def fit(self, first: int, frames: int) -> int:
        """How many bars from ``first`` on fit, one at least."""
        begin = self.ends[first - 1] if first else 0
        return max(1, int(np.searchsorted(self.ends, begin + frames, side="right")) - first)


class DrumView:
    """Windows of a store; see :class:`audiocraft_ext.kinds.View`.

    Args:
        options: changes to :data:`OPTIONS`.

    Raises:
        UserError: an option that there is not, or a value that it cannot have.
    """

    def __init__(self, store: TokenStore, options: Mapping | None = None):
        self.options = _checked(options or {})
        self.store, self.codec = store, codec_of(store.settings["codec"])
        if store.spec.gates != self.codec.spec.gates:
            raise UserError(f"{store.path}: made by an earlier version, without the codes that rest where there is no "
                            "hit; prepare it anew, in a new folder")
        self.prompts = store_prompts(store)
        self.names = named([one.name for one in self.codec.drums.classes])
        self._starts = np.array([row["start"] for row in store.rows])
        self._first = _performances(store.rows)
        self._performance = lru_cache(PERFORMANCES)(self._read)

    def window(self, track: Track, start: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
        """``codes int64 [K, P + n]``, n up to ``frames``; whole bars but where not even one fits.

        With random numbers: from any bar of the performance that ``start`` lies in, augmented, with a prompt of
        which fields are left out at random. Without: the store's codes from ``start`` on.
        """
        row = int(np.searchsorted(self._starts, start, side="right")) - 1
        whole = self._performance(int(self._first[row]))
        first = int(np.searchsorted(whole.ends, start - whole.rows[0]["start"], side="right"))
        if rng is None:
            return self._as_it_is(whole, start, first, frames)
        return self._altered(whole, first, frames, rng)

    def _as_it_is(self, whole: Performance, start: int, first: int, frames: int) -> np.ndarray:
        bars = min(whole.fit(first, frames), self.options["bars"] or len(whole.ends))
        end = whole.rows[0]["start"] + int(whole.ends[first + bars - 1])
        codes = self.store.read(start, min(frames, end - start)).astype(np.int64)
        if self.prompts is None:
            return codes
        pattern = whole.pattern.take(range(first, first + bars))
        words = self._words(whole, pattern, first) if self.options["say"] else {}
        return np.concatenate([self.prompts.codes(words), codes], axis=1)

    def _altered(self, whole: Performance, first: int, frames: int, rng: np.random.Generator) -> np.ndarray:
        options, total = self.options, whole.pattern.bars
        augments = options["augment"] if rng.random() < options["altered"] else {}
        shifted, shorter = rng.random(2) < (augments.get(SHIFT, 0.0), options["shorter"])
        if shifted:  # to where as many bars follow as a window has
            most = min(options["bars"] or total, int(frames / max(1.0, whole.ends[-1] / total)) or 1)
            first = int(rng.integers(max(0, total - most) + 1))
        bars = min(whole.fit(first, frames), options["bars"] or total)
        if shorter:
            bars = int(rng.integers(1, bars + 1))
        pattern = augment(whole.pattern.take(range(first, first + bars)), rng, augments,
                          options["strength"], Around(self.names, whole.pattern))
        fitting = int(np.searchsorted(np.cumsum(self._cells(pattern)), frames, side="right"))
        if 0 < fitting < pattern.bars:  # what was spliced in takes more frames
            pattern = pattern.take(range(fitting))
        codes = self.codec.codes(pattern)[:, :frames].astype(np.int64)
        if self.prompts is None:
            return codes
        words = self._dropped(self._words(whole, pattern, first), rng)
        return np.concatenate([self.prompts.codes(words), codes], axis=1)

    def _words(self, whole: Performance, pattern: Pattern, first: int) -> dict[str, str]:
        """The full prompt of a window that begins at bar ``first``, as far as the store has words."""
        row = whole.row(first)
        words = describe(pattern, row.get("style"), row.get("kind"), row.get("bpm"), meter_of(row["time_signature"]))
        return {name: word for name, word in words.items() if word in self.prompts.words.get(name, ())}

    def _dropped(self, words: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
        """The words that are left after dropping fields at random."""
        draws = rng.random(1 + len(self.prompts.fields))
        if draws[0] < self.options["drop_all"]:
            return {}
        dropped = {field.name for field, draw in zip(self.prompts.fields, draws[1:])
                   if draw < self.options["drop"] and field.name != METER}
        return {name: word for name, word in words.items() if name not in dropped}

    def _cells(self, pattern: Pattern) -> np.ndarray:
        """How many frames each bar takes, ``int64 [bars]``."""
        if self.store.spec.codec != HITS:
            return np.full(pattern.bars, pattern.bar_steps)
        return np.bincount(pattern.step // pattern.bar_steps, minlength=pattern.bars) + 1  # and its bar line

    def _read(self, first: int) -> Performance:
        """The performance that begins with a row."""
        last = int(np.searchsorted(self._first, first, side="right"))
        rows = self.store.rows[first:last]
        meter = meter_of(rows[0]["time_signature"])
        parts = [self.codec.pattern(self.store.read(row["start"], row["frames"]), meter) for row in rows]
        bars = np.cumsum([0, *(part.bars for part in parts)])
        steps = [part.step + bar * part.bar_steps for part, bar in zip(parts, bars)]
        pattern = replace(parts[0], step=np.concatenate(steps), drum=np.concatenate([part.drum for part in parts]),
                          velocity=np.concatenate([part.velocity for part in parts]),
                          offset=np.concatenate([part.offset for part in parts]), bars=int(bars[-1]))
        return Performance(pattern, rows, bars[:-1], np.cumsum(self._cells(pattern)))


def _performances(rows: list[dict]) -> np.ndarray:
    """For each row of a manifest the first of its performance, ``int64 [rows]``, ascending."""
    first = np.arange(len(rows))
    same = ("source", "split", "time_signature")
    for i, (before, row) in enumerate(zip(rows, rows[1:]), start=1):
        if (all(before[key] == row[key] for key in same) and row.get("follows", True)
                and before["start"] + before["frames"] == row["start"]):
            first[i] = first[i - 1]
    return first


def _checked(options: Mapping) -> dict[str, Any]:
    """All options, those that are given in place of the others; None gives nothing."""
    out = deepcopy(OPTIONS)
    for name, value in options.items():
        if value is None and name in OPTIONS:
            continue
        if name not in OPTIONS:
            raise UserError(f"dataset.view: no option is called {name!r}; there are {', '.join(OPTIONS)}")
        if name == "augment":
            out[name] = _shares(value)
        elif name == "say":
            if not isinstance(value, bool):
                raise UserError(f"dataset.view.say: expected true or false, got {value!r}")
            out[name] = value
        elif name == "bars":
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"dataset.view.bars: expected a number of bars, or nothing, got {value!r}")
            out[name] = value
        else:
            out[name] = _share(f"dataset.view.{name}", value, 2.0 if name == "strength" else 1.0)
    return out


def _shares(value: object) -> dict[str, float]:
    if value is False:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"dataset.view.augment: expected a share for each, or false, got {value!r}")
    names = (SHIFT, *AUGMENTATIONS)
    if unknown := [name for name in value if name not in names]:
        raise UserError(f"dataset.view.augment: none is called {unknown[0]!r}; there are {', '.join(names)}")
    return OPTIONS["augment"] | {name: _share(f"dataset.view.augment.{name}", share, 1.0)
                                 for name, share in value.items() if share is not None}


def _share(name: str, value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise UserError(f"{name}: expected a number from 0 to {most:g}, got {value!r}")
    return float(value)
