"""What a model in training sees of a store of songs: windows that begin with a bar, with a prompt in front; some of
them in another key, with fewer channels, or with the drums of another song."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from audiocraft_ext.songs import augment
from audiocraft_ext.songs.band import DRUMS, Band
from audiocraft_ext.songs.beepbox.song import CHORD
from audiocraft_ext.songs.codec.voices import Facts, codec_of, joined
from audiocraft_ext.songs.describe import describe
from audiocraft_ext.songs.places import controls
from audiocraft_ext.store.reader import TokenStore, Track, first_of_runs
from audiocraft_ext.weightless import store_prompts, view_options

SONGS = 1024  # kept in memory; 40 KB each
SAME = ("source", "split", "beats", "rhythm", "channels", "drums")  # of the rows of a song

# Options of ``dataset.view`` with their defaults. All but ``say`` are probabilities.
OPTIONS: dict[str, Any] = {
    "drop_tempo": 0.3,  # that the prompt does not say the tempo; all else is always said
    "say": False,  # whether validation is told the tempo
    "transpose": 0.9,
    "fewer": 0.3,  # that some channels are left out, where there are two or more
    "tempo": 0.5,
    "drums": 0.5,  # that a song without drums gets those of one that is drums alone, where there are such
}


class SongView:
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
        self._song = lru_cache(SONGS)(self._read)
        self._band = Band(store, self._song, lambda first: self._facts(first)[0], self._first)

    def window(self, track: Track, start: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
        """``codes int64 [K, P + n]``, n up to ``frames``, with the places that the spec has room for; whole bars but
        where not even one fits.

        With random numbers: from any bar of the song that ``start`` lies in, altered, with a prompt. Without: the
        store's codes from the bar that ``start`` lies in. Drums alone get pitches in both.
        """
        row = int(np.searchsorted(self._starts, start, side="right")) - 1
        first = int(self._first[row])
        facts, bpm = self._facts(row)
        if rng is None:
            bar = (start - self.store.rows[first]["start"]) // facts.bar
            song = self._song(first)
            if self._band.alone(first) == DRUMS:
                song, facts = self._band.completed(first, np.random.default_rng(first))
            codes = self._bars(song, facts, bar, frames)
            return self._prompted(codes, facts, bpm if self.options["say"] else None)
        moved, less, faster, untold = (rng.random(4) < [self.options[name] for name in
                                                        ("transpose", "fewer", "tempo", "drop_tempo")]).tolist()
        song, alone = self._song(first), self._band.alone(first)
        if alone == DRUMS or alone and rng.random() < self.options["drums"]:
            song, facts = self._band.completed(first, rng)
        if less and facts.channels > 1:
            kept = augment.fewer(facts.pitched, facts.noise, rng)
            song, pitched = song[:, :, kept], int((kept < facts.pitched).sum())
            facts = facts._replace(pitched=pitched, noise=len(kept) - pitched)
        bars = song.shape[1] // (facts.beats * facts.rhythm)
        fit = max(1, frames // facts.bar)
        codes = self._bars(song, facts, int(rng.integers(max(1, bars - fit + 1))), frames)
        if moved:
            codes = augment.transpose(codes, rng)
        bpm = augment.tempo(bpm, rng) if faster and bpm else bpm
        return self._prompted(codes, facts, None if untold else bpm)

    def _bars(self, song: np.ndarray, facts: Facts, bar: int, frames: int) -> np.ndarray:
        """Frames from a bar on: as many bars as fit, of one that does not what fits."""
        steps = facts.beats * facts.rhythm
        fit = max(1, frames // facts.bar)
        return joined(song[:, bar * steps : (bar + fit) * steps])[:, :frames]

    def _facts(self, row: int) -> tuple[Facts, float | None]:
        """Of a row, and its tempo."""
        found = self.store.rows[row]
        return Facts(found["beats"], found["rhythm"], found["channels"], found["drums"]), found.get("bpm")

    def _prompted(self, codes: np.ndarray, facts: Facts, bpm: float | None) -> np.ndarray:
        where = controls(self.store.spec, facts, codes.shape[1])
        if self.prompts is not None:
            codes = np.concatenate([self.prompts.codes(describe(facts, bpm)), codes], axis=1)
        return np.concatenate([codes.astype(np.int64), where])

    def _read(self, first: int) -> np.ndarray:
        """The song that begins with a row, by channel: ``int64 [4, steps, channels]``."""
        rows = self.store.rows[first : int(np.searchsorted(self._first, first, side="right"))]
        codes = self.store.read(rows[0]["start"], sum(row["frames"] for row in rows))[:CHORD].astype(np.int64)
        return codes.reshape(CHORD, -1, self._facts(first)[0].channels)
