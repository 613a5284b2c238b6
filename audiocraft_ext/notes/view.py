"""What a model in training sees of a store of notes: windows of whole bars, augmented, each with a prompt in front that
describes the window as it is after augmentation; some of them played by a larger band, and some divided into parts that
are given and one that goes with them.

A song is the rows of one track in one time signature. A window lies within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from audiocraft_ext.notes import augment, band
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.codec.multitrack import FIRST, INSTRUMENT, LINE, POSITION
from audiocraft_ext.notes.describe import describe, meter_of
from audiocraft_ext.store.reader import TokenStore, Track, first_of_runs
from audiocraft_ext.weightless import store_prompts, view_options

METER = "meter"
SONGS = 1024  # kept in memory; thousands of notes each
SAME = ("source", "split", "time_signature")  # of the rows of a song

# Options of ``dataset.view`` with their defaults. All but ``say`` are probabilities.
OPTIONS: dict[str, Any] = {
    "drop_all": 0.15,  # of the null prompt; else each word but the metre is left out with one chance, any from 0 to 1
    "say": False,  # whether validation is conditional on all fields; else it has the null prompt
    "transpose": 0.9,
    "velocity": 0.5,
    "tempo": 0.5,
    "bass": 0.4,  # of pianos without a bass whose low notes are played by one
    "cast": 0.4,  # of windows with pianos, some of which are played by other instruments
    "drums": 0.5,  # of windows without drums that have those of a song of drums
    "divided": 0.4,  # of windows that are divided
}


@dataclass(frozen=True, eq=False)
class Song:
    """All of it.

    Attributes:
        codes: ``int64 [5, T]``.
        rows: of the manifest.
        lines: the frames with which bars begin, and T behind the last.
    """

    codes: np.ndarray
    rows: list[dict]
    lines: np.ndarray

    def fit(self, bar: int, frames: int) -> int:
        """The bar before which a window ends that begins with ``bar``, one further at least."""
        return max(bar + 1, int(np.searchsorted(self.lines, self.lines[bar] + frames, side="right")) - 1)

    def row(self, bar: int) -> dict:
        """The one that a bar is in."""
        starts = [row["start"] - self.rows[0]["start"] for row in self.rows]
        return self.rows[int(np.searchsorted(starts, self.lines[bar], side="right")) - 1]


class NotesView:
    """Windows of a store; see :class:`audiocraft_ext.kinds.View`.

    Args:
        options: changes to :data:`OPTIONS`.

    Raises:
        UserError: an option that there is not, or a value that it cannot have.
    """

    def __init__(self, store: TokenStore, options: Mapping | None = None):
        self.options = view_options(options or {}, OPTIONS)
        self.store, self.codec, self.prompts = store, codec_of(store.settings["codec"]), store_prompts(store)
        self._starts = np.array([row["start"] for row in store.rows])
        self._first = first_of_runs(store.rows, SAME)
        self._drummers = band.drummers(store.rows, self._first)
        self._song = lru_cache(SONGS)(self._read)

    def window(self, track: Track, start: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
        """``codes int64 [K, P + n]``, n up to ``frames``; whole bars but where not even one fits.

        With random numbers: from any bar of the song that ``start`` lies in, augmented, with a prompt of which words
        are left out at random. Without: the store's codes from the bar that ``start`` lies in.
        """
        row = int(np.searchsorted(self._starts, start, side="right")) - 1
        song = self._song(int(self._first[row]))
        at = start - song.rows[0]["start"]
        bar = min(max(0, int(np.searchsorted(song.lines, at, side="right")) - 1), len(song.lines) - 2)
        if rng is None:
            codes = song.codes[:, song.lines[bar] : song.lines[song.fit(bar, frames)]][:, :frames]
            words = self._words(codes, song.row(bar), None) if self.options["say"] else {}
            return self._prompted(codes, words)
        bars = int(np.searchsorted(song.lines, song.lines[-1] - frames)) + 1  # from where the rest fills a window
        bar = int(rng.integers(min(bars, len(song.lines) - 1)))
        return self._altered(song, bar, frames, rng)

    def _altered(self, song: Song, bar: int, frames: int, rng: np.random.Generator) -> np.ndarray:
        names = ("transpose", "velocity", "tempo", "bass", "cast", "drums", "divided", "drop_all")
        does = dict(zip(names, rng.random(len(names)) < [self.options[name] for name in names]))
        codes, row = song.codes[:, song.lines[bar] : song.lines[song.fit(bar, frames)]][:, :frames], song.row(bar)
        if does["transpose"]:
            codes = augment.transpose(codes, rng)
        codes = self._band(codes, row, does, rng)[:, :frames]
        if does["velocity"]:
            codes = augment.loudness(codes, rng)
        bpm = augment.tempo(row["bpm"], rng) if does["tempo"] and "bpm" in row else row.get("bpm")
        words = self._words(codes, row, bpm)  # of all that plays, also where some of it is not there yet
        parts = rng.permutation(np.unique(codes[INSTRUMENT, codes[POSITION] >= FIRST]))
        if does["divided"] and len(parts):
            codes = augment.divided(codes, parts[0], parts[1 : rng.integers(len(parts)) + 1])[:, :frames]
        drop, draws = rng.random(), rng.random(len(words))
        return self._prompted(codes, {} if does["drop_all"] else {
            name: word for (name, word), draw in zip(words.items(), draws) if draw >= drop or name == METER})

    def _band(self, codes: np.ndarray, row: dict, does: Mapping[str, bool], rng: np.random.Generator) -> np.ndarray:
        """The window as more instruments play it."""
        if does["bass"]:
            codes = band.with_bass(codes, self.codec, meter_of(row["time_signature"]), rng)
        if does["cast"]:
            codes = band.cast(codes, rng)
        drummers = self._drummers.get(row["time_signature"], [])
        if does["drums"] and drummers and band.lacks_drums(codes):
            codes = band.with_drums(codes, self._song(int(rng.choice(drummers))).codes, rng)
        return codes

    def _words(self, codes: np.ndarray, row: dict, bpm: float | None) -> dict[str, str]:
        """The full prompt of a window, as far as the store has words."""
        if self.prompts is None:
            return {}
        words = describe(codes, self.codec, row.get("bpm") if bpm is None else bpm, meter_of(row["time_signature"]))
        return {name: word for name, word in words.items() if word in self.prompts.words.get(name, ())}

    def _prompted(self, codes: np.ndarray, words: Mapping[str, str]) -> np.ndarray:
        codes = codes.astype(np.int64)
        return codes if self.prompts is None else np.concatenate([self.prompts.codes(words), codes], axis=1)

    def _read(self, first: int) -> Song:
        """The song that begins with a row."""
        rows = self.store.rows[first : int(np.searchsorted(self._first, first, side="right"))]
        codes = self.store.read(rows[0]["start"], sum(row["frames"] for row in rows)).astype(np.int64)
        return Song(codes, rows, np.append(np.flatnonzero(codes[POSITION] == LINE), codes.shape[1]))
