"""A drummer: a bundle of drums that is asked for beats and gives them (level 1). The command line of it is
:mod:`audiocraft_ext.drums.cli`.

    from audiocraft_ext.drums.drummer import Drummer

    drummer = Drummer.load("drums")
    for beat in drummer.play(drummer.recipe(bars=4, bpm=174, genre="funk", seed=1), range(16)):
        print(beat.clip.notes)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiocraft_ext.bundle import BUNDLES, Bundle, find_bundle
from audiocraft_ext.drums import describe, edit
from audiocraft_ext.drums.beat import Beat
from audiocraft_ext.drums.codec import GRID, HITS, codec_of, prompts_of
from audiocraft_ext.drums.recipe import (
    AS_IT_IS,
    BOTH,
    CONTINUE,
    HUMANISE,
    KEEP,
    PARTS,
    VARY,
    BeatRecipe,
    check_bars,
    check_bpm,
    check_guidance,
    check_meter,
    check_seed,
    said_of,
)
from audiocraft_ext.errors import UserError
from audiocraft_ext.recipe import pack, unpack
from audiocraft_ext.sampling import clip_rng

BARS, BPM, METER = 4, 120.0, (4, 4)
GUIDANCE = 3.0  # at 1 what is asked for shows in the average beat only (docs/RUNS.md)
FACTS = ("bars", "tempo", "meter")  # are told in any case
MAX_BATCH = 50
AHEAD = 256  # beats that are put in order at a time
MOST_HITS = 96  # a bar, where frames are hits: then the beat ends

if TYPE_CHECKING:
    from audiocraft_ext.engine import Engine

Say = Callable[[str], object]


class Drummer:
    """A bundle of drums, ready to be asked for beats.

    Args:
        say: takes notes for the user, a line each.
        options: those of :class:`~audiocraft_ext.engine.Engine`: threads, precision, backend, device, max_batch.

    Raises:
        UserError: the bundle is of something else.
    """

    def __init__(self, bundle: Bundle, say: Say = lambda text: None, **options: Any):
        self.bundle, self.say = bundle, say
        self._options = {"backend": "onnx", "precision": None, "max_batch": MAX_BATCH} | options
        meaning = bundle.info["codec"]
        if bundle.spec.kind != "drums" or not meaning:
            raise UserError(f"{bundle.path}: this bundle makes {bundle.spec.kind}, not drums; see infer.py --list")
        self.codec, self.prompts = codec_of(meaning), prompts_of(meaning)
        self.type = meaning.get("type", GRID)
        if self.codec.spec.n_q != bundle.spec.n_q:
            raise UserError(f"{bundle.path}: its codec has {self.codec.spec.n_q} streams and its model "
                            f"{bundle.spec.n_q}; export it again")
        self._names = {one.write: one.name for one in self.codec.drums.classes}
        shipped = bundle.path.resolve().parent == BUNDLES.resolve()
        self._about = {} if shipped else {"bundle": str(bundle.path.resolve())}
        self._engine = None

    @classmethod
    def load(cls, path: str | Path = "drums", **options: Any) -> Drummer:
        """Open a bundle by its folder or name.

        Raises:
            UserError: there is none, it is damaged, or it is of something else.
        """
        return cls(Bundle(find_bundle(path)), **options)

    @property
    def engine(self):
        """Loaded when it is first needed: what is asked for is checked before that."""
        if self._engine is None:
            from audiocraft_ext.engine import Engine

            self._engine = Engine(self.bundle, **self._options)
        return self._engine

    def recipe(self, bars: int | None = None, bpm: float | None = None, meter: tuple[int, int] | None = None, *,
               seed: int | None = None, temperature: Any = None, top_k: Any = None, top_p: Any = None,
               min_p: Any = None, change: str = "", file: Any = None, keep: str | Iterable[str] = (),
               reroll: str | Iterable[str] = (), humanise: str = BOTH, amount: float | None = None,
               groove: Any = None, channel: int | None = None, guidance: float | None = None,
               **said: Any) -> BeatRecipe:
        """Put together and check what is asked for, before anything is sampled.

        Args:
            bars, bpm, meter: 4 bars of 4/4 at 120 by default; with a file those of the file, and when it is gone on
                from 4 bars more.
            seed: 0 to 2**64 - 1; None draws one.
            temperature, top_k, top_p, min_p: see :class:`~audiocraft_ext.sampling.Sampling`; the bundle's own by
                default.
            change: what to do with ``file``, a MIDI file: one of :data:`audiocraft_ext.drums.recipe.EDITS`.
            keep, reroll: of "keep", the classes that stay, or those that do not.
            humanise: what "humanise" makes anew: both, velocities or offsets.
            amount: of "vary", 0 to 1.
            groove: a MIDI file whose velocities and offsets the hits take over.
            channel: of the drums in these files; 0 is all.
            guidance: how many times what is said counts; 1 is the model by itself, GUIDANCE by default.
            said: a word for any field of the model's prompts; a number for a level.

        Raises:
            UserError: something that cannot be; the message says what could.
        """
        meter = None if meter is None else check_meter(meter)
        bpm = None if bpm is None else check_bpm(bpm)
        bars = None if bars is None else check_bars(bars)
        sampling = self._sampling({"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p})
        seed = secrets.randbelow(2**32) if seed is None else check_seed(seed)
        edit.check_change(change, file, self.type)
        kept = edit.kept_classes(keep, reroll, self.codec.drums) if change == KEEP else ()
        if change == VARY and not (isinstance(amount, (int, float)) and 0 <= amount <= 1):
            raise UserError(f"amount: how much to vary is 0 (nothing) to 1 (all of it), got {amount}")
        if humanise not in PARTS:
            raise UserError(f"humanise: expected one of {', '.join(PARTS)}, got {humanise!r}")
        self.codec.steps_per_bar(meter or METER)
        self._words(said)  # before files are read
        heeded = any(word is not None for word in said.values()) and change != AS_IT_IS
        weight = check_guidance(GUIDANCE if guidance is None else guidance) if heeded else 1.0
        source = None
        if change:
            source = edit.read_source(file, self.codec, self.say, bars=None if change == CONTINUE else bars,
                                      meter=meter, channel=channel, last=change == CONTINUE)
            meter, bpm = source.meter, check_bpm(source.bpm) if bpm is None else bpm
            bars = edit.bars_of(change, source, bars)
        bars, bpm, meter = bars or BARS, bpm or BPM, meter or METER
        grooves = None if groove is None else edit.read_source(groove, self.codec, self.say, channel=channel)
        return BeatRecipe(
            self.bundle.name, self.bundle.hash[:16], seed, bars, bpm, meter, sampling, self._precision(),
            self._options["backend"], {} if change == AS_IT_IS else self._words(said, bars, bpm, meter), change,
            pack(source.codes) if source else "", kept, humanise if change == HUMANISE else "",
            float(amount) if change == VARY else None, pack(grooves.codes) if grooves else "",
            grooves.meter if grooves else None, weight)

    def play(self, recipe: BeatRecipe, indices: Sequence[int],
             progress: Callable[[float], object] = lambda done: None) -> Iterator[Beat]:
        """Make beats of a recipe, batch by batch; in the order of ``indices``, but for those of "vary".

        Args:
            progress: takes how many beats are done, in parts too.

        Raises:
            UserError: the recipe is another bundle's or precision's, or the bundle is damaged.
        """
        self._check_mine(recipe)
        source, values = self._unpacked(recipe.source), recipe.to_dict()
        if recipe.edit == AS_IT_IS:
            for index in indices:
                yield self._beat(recipe, values, index, source)
            return
        parts: dict[int, float] = {}  # of each batch, by its first beat, how many beats are done

        def make(engine: Engine, batch: list[int]) -> tuple[list[int], list[np.ndarray]]:
            def report(at: int, of: int) -> None:
                parts[batch[0]] = len(batch) * at / max(1, of)
                progress(sum(list(parts.values())))

            given = np.stack([self._given(recipe, source, index) for index in batch])
            return batch, self._sampled(engine, recipe, batch, given, report)

        for batch, clips in self._made(make, list(self._batches(recipe, source, indices))):
            self.bundle.verify()  # compared while the weights were read; nothing was handed out yet
            for index, codes in zip(batch, clips):
                yield self._beat(recipe, values, index, codes)

    def _made(self, make: Callable, batches: list[list[int]]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Batch after batch; several beside each other where there are cores for them."""
        engines = min(self.engine.threads, len(batches))
        if engines < 2 or self._options["backend"] != "onnx":
            yield from (make(self.engine, batch) for batch in batches)
            return
        from audiocraft_ext.drums.beside import beside
        from audiocraft_ext.engine import Engine

        more = [Engine(self.bundle, **self._options | {"threads": 1}) for _ in range(engines)]
        yield from beside(make, batches, more)

    def _batches(self, recipe: BeatRecipe, source: np.ndarray | None, indices: Sequence[int]) -> Iterator[list[int]]:
        """Beats that are sampled together: what they have to be made begins at the same step."""
        from audiocraft_ext.sampler import first_unknown

        frames = self._frames(recipe)
        rows = 1 if recipe.guidance == 1 else 2
        if recipe.edit != VARY:
            yield from self.engine.batches(indices, frames, rows)
            return
        for at in range(0, len(indices), AHEAD):
            alike: dict[int, list[int]] = {}
            for index in indices[at : at + AHEAD]:
                first = first_unknown(self._given(recipe, source, index)[None], self.bundle.spec.delays)
                alike.setdefault(int(first[0]), []).append(index)
            for _, those in sorted(alike.items()):
                yield from self.engine.batches(those, frames, rows)

    def _given(self, recipe: BeatRecipe, source: np.ndarray | None, index: int) -> np.ndarray:
        """The prompt, and what is known of the beat behind it: ``int64 [K, P + t]``."""
        K = self.bundle.spec.n_q
        parts = [np.zeros((K, 0), np.int64) if self.prompts is None else self.prompts.codes(recipe.said)]
        if source is not None:
            rng = np.random.Generator(clip_rng(recipe.seed, index).bit_generator.jumped())  # not the sampler's numbers
            parts.append(edit.given(recipe, source, self.codec, rng))
        if self._counts(recipe):
            parts.append(np.zeros((K, 1), np.int64))  # a bar line
        return np.concatenate(parts, axis=1)

    def _sampled(self, engine: Engine, recipe: BeatRecipe, batch: list[int], given: np.ndarray,
                 report: Callable[[int, int], object]) -> list[np.ndarray]:
        """Codes ``[K, T]`` of each beat of a batch, without the prompt."""
        from audiocraft_ext import sampler

        P, pieces, lines, stepper = self.bundle.spec.prompt, [], 0, engine.stepper
        if recipe.guidance != 1:
            from audiocraft_ext.guidance import Guide

            facts = {name: word for name, word in recipe.said.items() if name in FACTS}
            stepper = Guide(self.prompts.codes(facts), recipe.guidance).around(stepper, self.bundle.spec)
        for piece in sampler.stream(stepper, self.bundle.spec, batch, self._frames(recipe, given),
                                    seed=recipe.seed, sampling=recipe.sampling, given=given,
                                    window=self._window(recipe.meter), progress=report):
            pieces.append(piece)
            if self._counts(recipe):
                lines = lines + (piece[:, 0] == 0).sum(axis=1)  # a prompt has none: its codes are larger
                if lines.min() > recipe.bars:
                    break
        codes = np.concatenate(pieces, axis=-1)[..., P:]
        assert codes.min() >= 0, "a code was not made"
        return [_up_to_bar(clip, recipe.bars) for clip in codes] if self._counts(recipe) else list(codes)

    def _counts(self, recipe: BeatRecipe) -> bool:
        """Whether a beat is as long as its bar lines say, and not a number of frames."""
        return self.type == HITS and recipe.edit != HUMANISE

    def _frames(self, recipe: BeatRecipe, given: np.ndarray | None = None) -> int:
        """P + T; at most, where bars are counted."""
        if self.type != HITS:
            return self.bundle.spec.prompt + recipe.bars * self.codec.steps_per_bar(recipe.meter)
        known = 0 if given is None else given.shape[-1]
        return known + recipe.bars * MOST_HITS if self._counts(recipe) else known

    def _window(self, meter: tuple[int, int]) -> int:
        """Frames that the model hears at once: so many that its second half begins with a bar, as all that it learned
        from does."""
        if self.type == HITS:
            return self.bundle.context
        heard = self.bundle.context - self.bundle.spec.prompt
        half = heard // 2 // self.codec.steps_per_bar(meter) * self.codec.steps_per_bar(meter)
        return self.bundle.context if half == 0 else self.bundle.spec.prompt + 2 * half

    def _beat(self, recipe: BeatRecipe, values: dict[str, Any], index: int, codes: np.ndarray) -> Beat:
        """``values`` are the recipe's, for JSON."""
        if recipe.groove:
            from audiocraft_ext.drums.groove import with_groove

            groove = self.codec.pattern(self._unpacked(recipe.groove), recipe.groove_meter)
            codes = self.codec.codes(with_groove(self.codec.pattern(codes, recipe.meter), groove)).astype(np.int64)
        clip = self.codec.decode(codes, recipe.bpm, recipe.meter)
        return Beat(codes, clip, index, values, self._names, self._about)

    def _sampling(self, given: dict[str, Any]):
        sampling = replace(self.bundle.sampling, **{name: value for name, value in given.items() if value is not None})
        sampling.check(self.bundle.spec.n_q)
        return sampling.clamped(self.bundle.spec.card)[0]

    def _words(self, asked: dict[str, Any], bars: int = BARS, bpm: float = BPM,
               meter: tuple[int, int] = METER) -> dict[str, str]:
        """What the model is told: what was asked for, and bars, tempo and time signature."""
        hears = (self.bundle.context - self.bundle.spec.prompt) // self.codec.steps_per_bar(meter)
        known = {"bars": str(max(1, min(bars, hears))), "tempo": describe.tempo_word(bpm),
                 "meter": describe.meter_word(meter)}
        return said_of(asked, known, {} if self.prompts is None else self.prompts.words)

    def _unpacked(self, text: str) -> np.ndarray | None:
        """A recipe's codes; None where there are none."""
        if not text:
            return None
        codes, sizes = unpack(text), self.codec.sizes
        if len(codes) != len(sizes) or (codes.size and (codes.max(axis=1) >= sizes).any()):
            raise UserError("the recipe's codes are none of this drummer's")
        return codes

    def _precision(self) -> str:
        if self._options["backend"] == "onnx":
            return self.bundle.check_precision(self._options["precision"])
        return self.engine.precision

    def _check_mine(self, recipe: BeatRecipe) -> None:
        wanted = (recipe.bundle_hash, recipe.precision, recipe.backend)
        mine = (self.bundle.hash[:16], self._precision(), self._options["backend"])
        for name, a, b in zip(("bundle", "precision", "backend"), wanted, mine):
            if a != b:
                raise UserError(f"the beat was made with the {name} {a}, and this is {self.bundle.name} with {b}; it "
                                "would be another beat")


def _up_to_bar(codes: np.ndarray, bars: int) -> np.ndarray:
    """Of ``codes [K, T]`` whose frames are hits and bar lines, as many bars; where they have fewer, empty ones."""
    lines = np.flatnonzero(codes[0] == 0)
    if len(lines) > bars:
        return codes[:, : lines[bars]]
    return np.pad(codes, ((0, 0), (0, bars - len(lines))))
