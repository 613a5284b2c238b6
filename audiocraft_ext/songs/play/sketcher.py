"""A sketcher: a bundle of songs that makes songs of BeepBox. Its command line is :mod:`audiocraft_ext.songs.play.cli`.

    from audiocraft_ext.songs.play.sketcher import Sketcher

    sketcher = Sketcher.load("my/songs")
    for sketch in sketcher.play(sketcher.recipe(bars=8, channels=3, drums=1, rhythm=4, seed=1), range(4)):
        print(sketch.song)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiocraft_ext.core.delay import steps_of
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.engine.player import PlayerBase
from audiocraft_ext.songs.beepbox.song import CHORD
from audiocraft_ext.songs.codec.voices import FIRST, HOLD, Facts, codec_of
from audiocraft_ext.songs.describe import describe
from audiocraft_ext.songs.places import controls
from audiocraft_ext.songs.play.recipe import SongRecipe, check, key_named
from audiocraft_ext.songs.play.sketch import Sketch
from audiocraft_ext.songs.play.source import read_source

BARS, MORE = 8, 4  # by default: of a new sketch, behind a file

if TYPE_CHECKING:
    from audiocraft_ext.songs.play.output import Output


class Sketcher(PlayerBase):
    """A bundle of songs, ready to make them; an :class:`audiocraft_ext.kinds.Player`."""

    RECIPE, KIND, MAKES, ONE, MANY, MAX_BATCH = SongRecipe, "song", "songs", "sketch", "sketches", 8
    codec_of = staticmethod(codec_of)

    def recipe(self, bars: int | None = None, bpm: float | None = None, *, channels: int | None = None,
               drums: int | None = None, rhythm: int | None = None, beats: int | None = None, key: Any = None,
               seed: int | None = None, temperature: Any = None, top_k: Any = None, top_p: Any = None,
               min_p: Any = None, file: Any = None) -> SongRecipe:
        """Check all settings and put them into a recipe, before anything is sampled.

        Args:
            bars, bpm, beats: 8 bars of 4 beats at 120 by default; with a file its own, and 4 bars more.
            channels, drums: how many channels of pitches and of noise: 3 and 1 by default; a file has its own, or of a
                MIDI file at most so many.
            rhythm: steps a beat: 3, 4, 6, 8 or 24, by default 4 or the file's.
            key: a name such as "F#", or semitones above C.
            seed: 0 to 2**64 - 1; None draws one.
            temperature, top_k, top_p, min_p: see :class:`~audiocraft_ext.engine.sampling.Sampling`; the bundle's own by
                default.
            file: a song to begin with: BeepBox's JSON, its URL in a text file, or MIDI.

        Raises:
            UserError: something that cannot be; the message says what could.
        """
        if bpm is not None and float(bpm).is_integer():
            bpm = int(bpm)
        said = {"bpm": bpm, "channels": channels, "drums": drums, "rhythm": rhythm, "beats": beats,
                "key": None if key is None else key_named(key)}
        for name, value in {**said, "bars": bars, "seed": seed}.items():
            if value is not None:
                check(name, value)
        usual, source, title = Facts(), "", ""
        if file is not None:
            found = read_source(file, self.codec, self.say, said)
            usual, source, title = found.facts, pack(found.codes), found.title
            bars = found.bars + MORE if bars is None else bars
            if bars <= found.bars:
                raise UserError(f"bars: the sketch begins with the {found.bars} bars of the file; ask for more than "
                                f"those, got {bars}")
        usual = {"bpm": usual.tempo, "channels": usual.pitched, "drums": usual.noise, "rhythm": usual.rhythm,
                 "beats": usual.beats, "key": usual.key}
        facts = usual | {name: value for name, value in said.items() if value is not None}
        return SongRecipe(self.bundle.name, self.bundle.hash[:16],
                          secrets.randbelow(2**32) if seed is None else seed, check("bars", bars or BARS),
                          sampling=self._sampling({"temperature": temperature, "top_k": top_k, "top_p": top_p,
                                                   "min_p": min_p}),
                          precision=self._precision(), backend=self._options["backend"], source=source, title=title,
                          **facts)

    def play(self, recipe: SongRecipe, indices: Sequence[int],
             progress: Callable[[float], object] = lambda done: None) -> Iterator[Sketch]:
        """Make sketches of a recipe, batch by batch, in the order of ``indices``.

        Args:
            progress: called with the number of sketches that are done, fractions included.

        Raises:
            UserError: the recipe is another bundle's or precision's, or the bundle is damaged.
        """
        values, done = recipe.to_dict(), 0
        given = self._given(recipe)
        about = self._about | ({"title": recipe.title} if recipe.title else {})
        for batch in self.engine.batches(indices, self._frames(recipe)):
            def report(steps: int, total: int, done: int = done, batch: list[int] = batch) -> None:
                progress(done + steps / total * len(batch))

            codes = np.concatenate(list(self._sampled(recipe, batch, given, report)), axis=-1)[..., self._prompt :]
            self.bundle.verify()  # compared while the weights were read; nothing was handed out yet
            for index, one in zip(batch, codes):
                yield Sketch(one, self.codec.decode(one, recipe.facts), index, values, about)
                done += 1
                progress(done)

    def stream(self, recipe: SongRecipe, index: int = 0) -> Iterator[np.ndarray]:
        """One sketch's notes while it is sampled, bar by bar: ``int64 [n, 4]``, start and length in parts (24 a beat),
        channel, pitch. What is held over a bar line begins anew there.

        Raises:
            UserError: the recipe is another bundle's, or the bundle is damaged.
        """
        facts, left, bar = recipe.facts, self._prompt, 0
        codes, sounds = np.zeros((CHORD, 0), np.int64), np.zeros((CHORD, facts.channels), np.int64)
        for piece in self._sampled(recipe, [index], self._given(recipe)):
            self.bundle.verify()
            skipped = min(left, piece.shape[-1])
            left -= skipped
            codes = np.concatenate([codes, piece[0][:, skipped:]], axis=1)
            while codes.shape[1] >= facts.bar:
                now, codes = codes[:, : facts.bar].copy(), codes[:, facts.bar :]
                steps = now.reshape(CHORD, -1, facts.channels)
                steps[:, 0] = np.where(steps[0, 0] == HOLD, sounds, steps[:, 0])
                notes = [(bar * facts.beats * 24 + note.start, note.end - note.start, channel, pitch)
                         for channel, _, note in self.codec.decode(now, facts).notes() for pitch in note.pitches]
                yield np.array(notes, np.int64).reshape(-1, 4)
                for step in range(steps.shape[1]):
                    sounds = np.where(steps[0, step] == HOLD, sounds, steps[:, step])
                sounds = np.where(sounds[0] >= FIRST[0], sounds, 0)
                bar += 1

    def save(self, clip: Sketch, folder: str | Path = ".", output: Output | None = None) -> list[Path]:
        """Write a sketch into ``folder`` without harm to another one; returns its files, BeepBox's JSON first and the
        sidecar last.

        Raises:
            UserError: one cannot be written; then none of them is there.
        """
        from audiocraft_ext.songs.play import output as files

        return files.save(clip, folder, output or files.Output())

    def window_of(self, facts: Facts) -> int:
        """The model's context in frames, such that the next window begins with a bar, else with a beat, else with a
        step: then a frame of a channel is where the model expects it."""
        spec = self.bundle.spec
        limit = (steps_of(self.bundle.context, spec.delays) - spec.prompt) // 2
        units = (facts.bar, facts.rhythm * facts.channels, facts.channels)
        hop = next((limit // unit * unit for unit in units if limit // unit * unit > limit // 2), limit)
        return 2 * hop + spec.prompt - steps_of(0, spec.delays)

    @property
    def _prompt(self) -> int:
        return self.bundle.spec.prompt

    def _frames(self, recipe: SongRecipe) -> int:
        return self._prompt + recipe.bars * recipe.facts.bar

    def _given(self, recipe: SongRecipe) -> np.ndarray:
        """What is known before sampling: the prompt, and the codes of the source."""
        self._check_mine(recipe)
        prompt = np.zeros((CHORD, 0), np.int64)
        if self.prompts is not None:
            words = describe(recipe.facts, recipe.bpm)
            prompt = self.prompts.codes({name: word for name, word in words.items()
                                         if word in self.prompts.words.get(name, ())})
        if not recipe.source:
            return prompt
        source = unpack(recipe.source)
        if len(source) != CHORD or (source >= np.array(self.codec.sizes)[:, None]).any() or (
                source.shape[1] > recipe.bars * recipe.facts.bar):
            raise UserError("the recipe's codes are none of this sketcher's")
        return np.concatenate([prompt, source], axis=1)

    def _sampled(self, recipe: SongRecipe, indices: Sequence[int], given: np.ndarray,
                 progress: Callable[[int, int], object] | None = None) -> Iterator[np.ndarray]:
        where = controls(self.bundle.lm_spec, recipe.facts, recipe.bars * recipe.facts.bar)
        return self.engine.stream(indices, self._frames(recipe), seed=recipe.seed, sampling=recipe.sampling,
                                  given=given, progress=progress, window=self.window_of(recipe.facts), controls=where)
