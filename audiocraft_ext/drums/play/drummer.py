"""A drummer: a bundle of drums that makes beats from prompts and MIDI files. Its command line is
:mod:`audiocraft_ext.drums.play.cli`.

    from audiocraft_ext.drums.play.drummer import Drummer

    drummer = Drummer.load("drums")
    for beat in drummer.play(drummer.recipe(bars=4, bpm=174, genre="funk", seed=1), range(16)):
        print(beat.clip.notes)
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.drums import describe
from audiocraft_ext.drums.codec import GRID, codec_of
from audiocraft_ext.drums.play import edit, lanes
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.drums.play.best_of import CANDIDATES, measurable
from audiocraft_ext.drums.play.recipe import (
    AS_IT_IS,
    BOTH,
    CONTINUE,
    FACTS,
    HUMANISE,
    INFILL,
    PARTS,
    SCALES,
    TO,
    VARY,
    BeatRecipe,
    check_bars,
    check_bpm,
    check_meter,
    check_seconds,
    check_seed,
    check_takes,
    prompt_of,
    title,
)
from audiocraft_ext.drums.play.sampling import Playing, window_of
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.guidance import check_weight
from audiocraft_ext.engine.player import PlayerBase, Say
from audiocraft_ext.midi.tempos import tempo_word

BARS, BPM, METER = 4, 120.0, (4, 4)
GUIDANCE = 2.0  # at 1 the prompt shows only in the mean of many beats (docs/RUNS.md)

if TYPE_CHECKING:
    from audiocraft_ext.drums.play.output import Output
    from audiocraft_ext.engine.engine import Engine



class Drummer(PlayerBase):
    """A bundle of drums, ready to make beats; an :class:`audiocraft_ext.kinds.Player`."""

    RECIPE, KIND, MAKES, ONE, MANY, MAX_BATCH = BeatRecipe, "drums", "drums", "beat", "beats", 50
    codec_of = staticmethod(codec_of)

    def __init__(self, bundle: Bundle, say: Say = lambda text: None, **options: Any):
        super().__init__(bundle, say, **options)
        self.type = bundle.codec_config.get("type", GRID)
        if self.codec.spec.n_q != bundle.spec.n_q:
            raise UserError(f"{bundle.path}: its codec has {self.codec.spec.n_q} streams and its model "
                            f"{bundle.spec.n_q}; export it again")
        self._names, self._noted = {one.write: one.name for one in self.codec.drums.classes}, set()

    @classmethod
    def load(cls, path: str | Path = "drums", **options: Any) -> Drummer:
        """As :meth:`PlayerBase.load`; by default the drummer that ships."""
        return super().load(path, **options)

    def recipe(self, bars: int | None = None, bpm: float | None = None, meter: tuple[int, int] | None = None, *,
               seed: int | None = None, temperature: Any = None, top_k: Any = None, top_p: Any = None,
               min_p: Any = None, change: str = "", file: Any = None, keep: str | Iterable[str] = (),
               reroll: str | Iterable[str] = (), humanise: str = BOTH, amount: float | None = None,
               groove: Any = None, channel: int | None = None, guidance: float | None = None,
               takes: int | None = None, span: tuple[int, int] | None = None, lane: str | None = None,
               **words: Any) -> BeatRecipe:
        """Check all settings and put them into a recipe, before anything is sampled.

        Args:
            bars, bpm, meter: 4 bars of 4/4 at 120 by default; with a file those of the file, and 4 bars more
                when it is continued.
            seed: 0 to 2**64 - 1; None draws one.
            temperature, top_k, top_p, min_p: see :class:`~audiocraft_ext.engine.sampling.Sampling`; the bundle's own by
                default.
            change: what to do with ``file``, a MIDI file: one of :data:`audiocraft_ext.drums.play.recipe.EDITS`.
            keep, reroll: of "keep", the classes that stay, or those that do not.
            humanise: what "humanise" makes anew: both, velocities or offsets.
            amount: of "vary", 0 to 1.
            groove: a MIDI file whose velocities and offsets the hits take over.
            channel: of the drums in these files; 0 is all.
            guidance: the weight of classifier-free guidance; 1 is none, GUIDANCE by default.
            takes: how many candidates of each beat are sampled, of which the one nearest to density, intensity and
                swing is kept; CANDIDATES by default where one of them is in the prompt. Of "infill" the one is kept
                that what follows goes with best.
            span: of "infill", the first and the last bar that are made anew, from 1.
            lane: of "to", the class that plays at the onsets of the file, whatever part they are of; the first one by
                default. The others are sampled to it.
            words: a word for any field of the model's prompts; a number for a level.

        Raises:
            UserError: something that cannot be; the message says what could.
        """
        meter = None if meter is None else check_meter(meter)
        bpm = None if bpm is None else check_bpm(bpm)
        bars = None if bars is None else check_bars(bars)
        sampling = self._sampling({"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p})
        seed = secrets.randbelow(2**32) if seed is None else check_seed(seed)
        edit.check_change(change, file, self.type)
        edit.check_span(span, change)
        kept = lanes.kept(change, keep, reroll, lane, self.codec.drums)
        if change == VARY and not (isinstance(amount, (int, float)) and 0 <= amount <= 1):
            raise UserError(f"amount: how much to vary is 0 (nothing) to 1 (all of it), got {amount}")
        if humanise not in PARTS:
            raise UserError(f"humanise: expected one of {', '.join(PARTS)}, got {humanise!r}")
        self.codec.steps_per_bar(meter or METER)
        self._prompt(words)  # before files are read
        conditional = any(word is not None for word in words.values()) and change != AS_IT_IS
        weight = check_weight(GUIDANCE if guidance is None else guidance) if conditional else 1.0
        candidates = check_takes(CANDIDATES if takes is None else takes)
        if change == INFILL:
            pass
        elif not conditional or change == HUMANISE or not measurable({n: w for n, w in words.items() if w is not None}):
            candidates = 1
        source, notes = None, []
        if change:
            source = edit.read_source(file, self.codec, notes.append, bars=None if change == CONTINUE else bars,
                                      meter=meter, channel=channel, last=change == CONTINUE,
                                      lane=kept[0] if change == TO else None)
            meter, bpm = source.meter, check_bpm(source.bpm) if bpm is None else bpm
            bars = edit.bars_of(change, source, bars)
        bars, bpm, meter = bars or BARS, bpm or BPM, meter or METER
        check_seconds(bars, bpm, meter)
        grooves = None if groove is None else edit.read_source(groove, self.codec, notes.append, channel=channel)
        recipe = BeatRecipe(
            self.bundle.name, self.bundle.hash[:16], seed, bars, bpm, meter, sampling, self._precision(),
            self._options["backend"], {} if change == AS_IT_IS else self._prompt(words, bars, bpm, meter), change,
            pack(source.codes) if source else "", kept, humanise if change == HUMANISE else "",
            float(amount) if change == VARY else None, pack(grooves.codes) if grooves else "",
            grooves.meter if grooves else None, weight, candidates,
            edit.check_span(span, change, source.bars if source else None), title(change, file, groove))
        for text in notes:  # when nothing is wrong, and once: two beats may come from one file
            if text not in self._noted:
                self._noted.add(text)
                self.say(text)
        return recipe

    def play(self, recipe: BeatRecipe, indices: Sequence[int],
             progress: Callable[[float], object] = lambda done: None) -> Iterator[Beat]:
        """Make beats of a recipe, batch by batch; in the order of ``indices``, but for those of "vary".

        Args:
            progress: called with the number of beats that are done, fractions included.

        Raises:
            UserError: the recipe is another bundle's or precision's, or the bundle is damaged.
        """
        self._check_mine(recipe)
        source, values = self._unpacked(recipe.source), recipe.to_dict()
        if recipe.edit == AS_IT_IS:
            for index in indices:
                yield self._beat(recipe, values, index, source)
            return
        playing = Playing(recipe, self.bundle, self.codec, self.prompts, source)
        with closing(playing.made(self.engine, self._another, indices, progress)) as made:
            for batch, clips in made:
                self.bundle.verify()  # compared while the weights were read; nothing was handed out yet
                for index, codes in zip(batch, clips):
                    yield self._beat(recipe, values, index, codes)

    def stream(self, recipe: BeatRecipe, index: int = 0) -> Iterator[np.ndarray]:
        """One beat's notes while it is sampled, bar by bar: ``int64 [n, 3]`` of tick, pitch and velocity, of a bar
        without hits ``[0, 3]``. A note that lies before its bar line comes with its bar.

        Raises:
            UserError: a recipe that needs the whole beat.
        """
        if recipe.takes > 1 or recipe.groove or recipe.edit == AS_IT_IS:
            raise UserError("a stream is given out while it is made; a groove and a choice among candidates need the "
                            "whole beat: takes=1 makes one")
        self._check_mine(recipe)
        playing = Playing(recipe, self.bundle, self.codec, self.prompts, self._unpacked(recipe.source))
        before: Counter[tuple[int, ...]] = Counter()
        with closing(playing.bars(self.engine, index)) as bars:
            for codes in bars:
                self.bundle.verify()  # compared while the weights were read; nothing was handed out yet
                notes = self.codec.decode(codes, recipe.bpm, recipe.meter).notes
                notes_so_far = Counter(map(tuple, notes.tolist()))
                yield np.array(sorted((notes_so_far - before).elements()), np.int64).reshape(-1, 3)
                before = notes_so_far

    def save(self, clip: Beat, folder: str | Path = ".", output: Output | None = None) -> list[Path]:
        """Write a beat into ``folder`` without harm to another one; returns its files, the MIDI file first and the
        JSON last.

        Raises:
            UserError: one cannot be written; then none of them is there.
        """
        from audiocraft_ext.drums.play import output as files

        return files.save(clip, folder, output or files.Output())

    def _another(self) -> Engine:
        """An engine with one thread, for a worker of the pool."""
        return self._open(threads=1)

    def _beat(self, recipe: BeatRecipe, values: dict[str, Any], index: int, codes: np.ndarray) -> Beat:
        """``values`` are the recipe's, for JSON."""
        if recipe.groove:
            from audiocraft_ext.drums.play.groove import with_groove

            groove = self.codec.pattern(self._unpacked(recipe.groove), recipe.groove_meter)
            codes = self.codec.codes(with_groove(self.codec.pattern(codes, recipe.meter), groove)).astype(np.int64)
        clip = self.codec.decode(codes, recipe.bpm, recipe.meter)
        measured = describe.measured(self.codec.pattern(codes, recipe.meter))
        about = self._about | {"measured": {name: measured[name] for name in SCALES if measured[name] is not None}}
        if recipe.title:
            about["title"] = recipe.title
        return Beat(codes, clip, index, values, self._names, about)

    def _prompt(self, asked: dict[str, Any], bars: int = BARS, bpm: float = BPM,
                meter: tuple[int, int] = METER) -> dict[str, str]:
        """The words of the prompt: those asked for, and bars, tempo and time signature."""
        window_bars = window_of(self.bundle, self.codec, bars, meter)[1]
        facts = dict(zip(FACTS, (str(window_bars), tempo_word(bpm), describe.meter_word(meter))))
        return prompt_of(asked, facts, {} if self.prompts is None else self.prompts.words)

    def _unpacked(self, text: str) -> np.ndarray | None:
        """A recipe's codes; None where there are none."""
        if not text:
            return None
        codes, sizes = unpack(text), self.codec.sizes
        if len(codes) != len(sizes) or (codes.size and (codes.max(axis=1) >= sizes).any()):
            raise UserError("the recipe's codes are none of this drummer's")
        return codes
