"""A composer: a bundle of notes that makes pieces from prompts and MIDI files. Its command line is
:mod:`audiocraft_ext.notes.play.cli`.

    from audiocraft_ext.notes.play.composer import Composer

    composer = Composer.load("my/songs")
    for piece in composer.play(composer.recipe(bars=8, bpm=120, instruments="drums,bass,piano", seed=1), range(4)):
        print(piece.score.notes)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import plain_stem
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.engine.player import PlayerBase
from audiocraft_ext.midi.tempos import tempo_word
from audiocraft_ext.notes import describe
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.codec.multitrack import INSTRUMENT, bars_of, ordered
from audiocraft_ext.notes.midi import families_of, name_of
from audiocraft_ext.notes.play import revoice
from audiocraft_ext.notes.play import source as sources
from audiocraft_ext.notes.play.piece import Piece
from audiocraft_ext.notes.play.recipe import AS_IT_IS, BUILD, CONTINUE, EDITS, INFILL, PieceRecipe, check, words_of

BARS, BPM, METER = 8, 120.0, (4, 4)
MORE = 4  # bars, where a file is continued
GUIDANCE, TAKES = 1.5, 4  # where words are asked for; takes too where bars are infilled

if TYPE_CHECKING:
    from audiocraft_ext.notes.play.output import Output


class Composer(PlayerBase):
    """A bundle of notes, ready to make pieces; an :class:`audiocraft_ext.kinds.Player`."""

    RECIPE, KIND, MAKES, ONE, MANY, MAX_BATCH = PieceRecipe, "notes", "notes", "piece", "pieces", 8
    codec_of = staticmethod(codec_of)

    def recipe(self, bars: int | None = None, bpm: float | None = None, meter: tuple[int, int] | None = None, *,
               seed: int | None = None, temperature: Any = None, top_k: Any = None, top_p: Any = None,
               min_p: Any = None, change: str = "", file: Any = None, part: str | None = None,
               span: tuple[int, int] | None = None, parts: str | Sequence[str] | None = None,
               guidance: float | None = None, takes: int | None = None, **words: Any) -> PieceRecipe:
        """Check all settings and put them into a recipe, before anything is sampled.

        Args:
            bars, bpm, meter: 8 bars of 4/4 at 120 by default; with a file those of the file, and 4 bars more when it
                is continued.
            seed: 0 to 2**64 - 1; None draws one.
            temperature, top_k, top_p, min_p: see :class:`~audiocraft_ext.engine.sampling.Sampling`; the bundle's own by
                default.
            change: what to do with ``file``, a MIDI file: one of :data:`audiocraft_ext.notes.play.recipe.EDITS`.
            part: of "add" and "reroll": "drums", a family such as "bass", a program's name or its number; of "revoice"
                see :func:`audiocraft_ext.notes.play.revoice.wanted`.
            span: of "infill": the first and the last bar that are made anew, from 1.
            parts: of a new piece: several as ``part`` says one, or a text with commas; each is made to those before it.
            guidance: the weight of classifier-free guidance; 1 is none, GUIDANCE by default where words are asked for.
            takes: how many candidates are sampled, of which the one nearest to what is asked for is kept; of "infill"
                the one that what follows goes with best. TAKES by default there and where words are asked for, else 1.
            words: see :func:`audiocraft_ext.notes.play.recipe.words_of`.

        Raises:
            UserError: something that cannot be; the message says what could.
        """
        for name, value in (("bars", bars), ("bpm", bpm), ("meter", meter and tuple(meter)), ("guidance", guidance),
                            ("takes", takes), ("seed", seed)):
            if value is not None:
                check(name, value)
        if change not in ("", *EDITS) or bool(change) != (file is not None):
            raise UserError(f"a file and what to do with it ({', '.join(EDITS)}) go together, got {change or 'none'!r}")
        if unknown := set(words) - {"instruments", "having", "without", *describe.MEASURED}:
            raise UserError(f"no prompt is called {sorted(unknown)[0]!r}")
        asked = words_of(words)
        sampling = self._sampling({"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p})
        if parts is not None and (change or takes is not None):
            raise UserError("parts are those of a new piece, and made once; leave out the file and takes")
        found, built, into, cut = None, () if parts is None else sources.parts_chosen(parts), (), None
        if built:
            plays = set(families_of(np.array(built)))
            asked = {name: describe.YES if name in plays else describe.NO for name in describe.INSTRUMENTS} | asked
        if change:
            found = sources.read_source(file, self.codec, self.say, meter, bars if change != CONTINUE else None)
            bars, built, cut = sources.what_to_make(change, found, bars, part, span, MORE)
            meter, bpm, playing = found.meter, bpm or found.bpm, {*built, *found.instruments}
            if change == "revoice":
                built, into = revoice.wanted(part, found)
                playing = revoice.left(found, built, into)
            plays = set(families_of(np.array(list(playing), np.int64)))
            asked = {name: describe.YES if name in plays else describe.NO for name in describe.INSTRUMENTS
                     if change != CONTINUE or name in plays} | asked
        bars, bpm, meter = bars or BARS, float(bpm or BPM), tuple(meter or METER)
        self.codec.bar_parts(meter)
        said = {} if change == AS_IT_IS else self._said(asked, bpm, meter)
        spoken = any(word is not None for word in words.values())
        guided = spoken or change in ("add", "reroll") or built
        if takes is None:
            takes = TAKES if change == INFILL or spoken and not built and change in ("", CONTINUE) else 1
        return PieceRecipe(
            self.bundle.name, self.bundle.hash[:16], secrets.randbelow(2**32) if seed is None else seed,
            check("bars", bars), check("bpm", bpm), meter, sampling, self._precision(), self._options["backend"], said,
            float((GUIDANCE if guided else 1.0) if guidance is None else guidance),
            takes, BUILD if parts is not None else change, pack(found.codes) if found else "", built, cut, into,
            title(change, file))

    def play(self, recipe: PieceRecipe, indices: Sequence[int],
             progress: Callable[[float], object] = lambda done: None) -> Iterator[Piece]:
        """Make pieces of a recipe, batch by batch, in the order of ``indices``.

        Args:
            progress: called with the number of pieces that are done, fractions included.

        Raises:
            UserError: the recipe is another bundle's or precision's, or the bundle is damaged.
        """
        from audiocraft_ext.notes.play import arrange

        arranger, values, done = self._arranger(recipe), recipe.to_dict(), 0
        takes = recipe.takes if recipe.edit in ("", CONTINUE) else 1
        size = max(1, self.engine.max_batch // takes)
        for at in range(0, len(indices), size):
            batch = list(indices[at : at + size])
            numbers = [index + take * arrange.APART for index in batch for take in range(takes)]

            def report(share: float, at: int = at, batch: list[int] = batch) -> None:
                progress(at + share * len(batch))

            codes = arranger.batch(numbers, report)
            self.bundle.verify()  # compared while the weights were read; nothing was handed out yet
            for i, index in enumerate(batch):
                best = min((self._finished(one, recipe) for one in codes[i * takes : (i + 1) * takes]),
                           key=lambda one: (self._miss(one, recipe), len(set(one[INSTRUMENT].tolist()))))
                yield self._piece(recipe, values, index, best)
                done += 1
                progress(done)

    def stream(self, recipe: PieceRecipe, index: int = 0) -> Iterator[np.ndarray]:
        """One piece's notes while it is sampled, bar by bar: ``int64 [n, 5]`` as in
        :class:`~audiocraft_ext.notes.codec.score.Score`. Lengths are as they were chosen: a note ends sooner where its
        pitch begins anew.

        Raises:
            UserError: a recipe that needs the whole piece.
        """
        from audiocraft_ext.notes.play import arrange

        if recipe.takes > 1 or recipe.edit not in ("", CONTINUE):
            raise UserError("a stream is given out while it is made; parts, infills and a choice among takes need the "
                            "whole piece: takes=1 makes a new one")
        codes, done = np.zeros((5, 0), np.int64), 0
        bar_ticks = 4 * 480 * recipe.meter[0] // recipe.meter[1]
        for piece in self._arranger(recipe).pieces([index]):
            self.bundle.verify()
            codes = np.concatenate([codes, piece[0]], axis=1)
            bars = bars_of(codes)
            while done < min(len(bars) - 1, recipe.bars):
                yield self._bar_notes(bars[done], recipe, done * bar_ticks)
                done += 1
        bars = bars_of(arrange.up_to_bar(codes, recipe.bars))
        for number in range(done, recipe.bars):
            yield self._bar_notes(bars[number], recipe, number * bar_ticks)

    def save(self, clip: Piece, folder: str | Path = ".", output: Output | None = None) -> list[Path]:
        """Write a piece into ``folder`` without harm to another one; returns its files, the MIDI file first and the
        JSON last.

        Raises:
            UserError: one cannot be written; then none of them is there.
        """
        from audiocraft_ext.notes.play import output as files

        return files.save(clip, folder, output or files.Output())

    def _bar_notes(self, codes: np.ndarray, recipe: PieceRecipe, start: int) -> np.ndarray:
        score = self.codec.decode(self._finished(codes, recipe), recipe.bpm, recipe.meter)
        return score.notes + [start, 0, 0, 0, 0]

    def _arranger(self, recipe: PieceRecipe):
        from audiocraft_ext.notes.play.arrange import Arranger

        self._check_mine(recipe)
        return Arranger(self.engine, recipe, self.prompts, self._unpacked(recipe.source))

    def _finished(self, codes: np.ndarray, recipe: PieceRecipe) -> np.ndarray:
        """Codes in order, without what the prompt leaves out and without divisions."""
        from audiocraft_ext.notes.play import arrange

        unwanted = np.zeros(codes.shape[1], bool)
        if recipe.edit in ("", CONTINUE):
            refused = {name for name, word in recipe.said.items() if word == describe.NO}
            for instrument in np.unique(codes[INSTRUMENT]):
                if refused & set(families_of(np.array([instrument]))):
                    unwanted |= codes[INSTRUMENT] == instrument
        return ordered(arrange.without(codes, unwanted))

    def _miss(self, codes: np.ndarray, recipe: PieceRecipe) -> int:
        """How many words of the prompt the piece is not, levels by how many they are off."""
        if recipe.takes == 1 or recipe.edit not in ("", CONTINUE):
            return 0
        heard, total = describe.describe(codes, self.codec, meter=recipe.meter), 0
        for name, word in recipe.said.items():
            if name in describe.INSTRUMENTS:
                total += heard[name] != word
            elif name in describe.MEASURED:
                level = heard.get(name)
                total += len(describe.LEVELS) if level is None else abs(
                    describe.LEVELS.index(level) - describe.LEVELS.index(word))
        return total

    def _piece(self, recipe: PieceRecipe, values: dict[str, Any], index: int, codes: np.ndarray) -> Piece:
        """``values`` are the recipe's, for JSON."""
        score = self.codec.decode(codes, recipe.bpm, recipe.meter)
        measured = {name: round(value, 2) for name, value in
                    describe.measures(codes, self.codec, recipe.meter).items()}
        parts, counts = np.unique(score.notes[:, 2], return_counts=True)
        about = self._about | {"measured": measured, "parts": {name_of(int(part)): int(count)
                                                               for part, count in zip(parts, counts)}}
        return Piece(codes, score, index, values, about | ({"title": recipe.title} if recipe.title else {}))

    def _said(self, asked: dict[str, str], bpm: float, meter: tuple[int, int]) -> dict[str, str]:
        """The words of the prompt: those asked for, and tempo and time signature."""
        there = {} if self.prompts is None else self.prompts.words
        facts = {"tempo": tempo_word(bpm), "meter": describe.meter_word(meter)}
        return {name: word for name in there if (word := (asked | facts).get(name)) is not None}

    def _unpacked(self, text: str) -> np.ndarray | None:
        """A recipe's codes; None where there are none."""
        if not text:
            return None
        codes, sizes = unpack(text), self.codec.sizes
        if len(codes) != len(sizes) or not codes.size or (codes.max(axis=1) >= sizes).any() or codes[0, 0] != 0:
            raise UserError("the recipe's codes are none of this composer's")
        return codes


def title(change: str, file: str | Path | None) -> str:
    """What a piece that came from a file is called by, such as ``add-mine``."""
    return "-".join(word for word in ("" if change == AS_IT_IS else change, file and plain_stem(file)) if word)
