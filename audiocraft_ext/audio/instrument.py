"""An instrument: a bundle that is asked for clips and gives them. The command line of it is
:mod:`audiocraft_ext.audio.cli`.

    from audiocraft_ext import Instrument

    for clip in Instrument.load("my/jungle").generate(seconds=10, n=4, seed=1):
        clip.save("out")
"""

from __future__ import annotations

import itertools
import operator
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft_ext.audio import metronome
from audiocraft_ext.audio.clips import Clip, Output
from audiocraft_ext.audio.engine import SoundBundle, SoundEngine
from audiocraft_ext.audio.recipe import Recipe
from audiocraft_ext.audio.sources import checked_codes, read_codes
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.lazy import Lazy
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.engine.bundle import BUNDLES, LONGEST, find_bundle
from audiocraft_ext.engine.engine import MAX_BATCH
from audiocraft_ext.engine.guidance import CONTROLLED, check_weight
from audiocraft_ext.engine.sampling import clip_rng
from audiocraft_ext.sound.bars import Bars

Say = Callable[[str], object]


def _whole(what: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"the {what} is a whole number, got {value!r}") from None


class Instrument:
    """A bundle, ready to be asked for clips; an :class:`audiocraft_ext.kinds.Player`. Any number of threads may share
    it, and each gets the clips that it would get alone; a fork of the process opens the bundle again.

    Args:
        say: takes notes for the user, a line each.
        The others: see :class:`~audiocraft_ext.engine.engine.Engine`.
    """

    RECIPE = Recipe

    def __init__(self, bundle: SoundBundle, say: Say = lambda text: None, *, threads: int | None = None,
                 precision: str | None = None, backend: str = "onnx", device: str | None = None,
                 max_batch: int = MAX_BATCH):
        self.bundle, self.say = bundle, say
        self._engine_options = dict(threads=threads, precision=precision, backend=backend, device=device,
                                    max_batch=max_batch)
        self._engine = Lazy(lambda: SoundEngine(self.bundle, **self._engine_options))
        self._chains = Lazy(self._chain_player)

    @classmethod
    def load(cls, path: str | Path | None = None, **options: Any) -> Instrument:
        """Open a bundle by its folder or name; None is the embedded one.

        Raises:
            UserError: there is none, it is damaged, or it has no codec of sound.
        """
        return cls(SoundBundle(find_bundle(path)), **options)

    @property
    def engine(self) -> SoundEngine:
        """Loaded when it is first needed: what is asked for is checked before that."""
        return self._engine()

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.bundle.hop_length

    def recipe(self, seconds: float | None = None, *, seed: int | None = None, bpm: float | None = None,
               bars: float | None = None, loop: bool = False, temperature: Any = None, top_k: Any = None,
               top_p: Any = None, min_p: Any = None, guidance: float | None = None, prompt: Any = None,
               prompt_seconds: float | None = None, source: Any = None, weird: str = "") -> Recipe:
        """Put together and check what is asked for, before anything is sampled.

        Args:
            seconds: length with the prompt, 10 by default; of a source, all of it by default.
            seed: 0 to 2**64 - 1; None draws one.
            bpm, bars: tempo, and a length in bars of 4/4 instead of seconds. A model that hears a metronome has a usual
                tempo for a clip that begins with nothing.
            loop: make the end lead into the start.
            temperature, top_k, top_p, min_p: see :class:`~audiocraft_ext.engine.sampling.Sampling`; one number or one
                per
                codebook; the bundle's own by default.
            guidance: how closely the beat is followed by a model that hears a metronome and knows the tempo: 1 is the
                model by itself, :data:`~audiocraft_ext.engine.guidance.CONTROLLED` the default.
            prompt: what the clip begins with: a sound file, a clip's JSON, a sound ``[N]`` at the bundle's rate, or
                codes (integers ``[K, T]``); only its last ``prompt_seconds`` are used.
            source: play on this instead of a new clip; as ``prompt``.
            weird: a chain of tools, see :mod:`audiocraft_ext.audio.weird.chain`.

        Raises:
            UserError: something that cannot be; the message says what could.
        """
        bundle, spec = self.bundle, self.bundle.spec
        rate, hop = bundle.sample_rate, self.hop
        given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        sampling = replace(bundle.sampling, **{name: value for name, value in given.items() if value is not None})
        sampling.check(spec.n_q)
        sampling, note = sampling.clamped(spec.card)
        if note:
            self.say(f"note: {note}")
        seed = secrets.randbelow(2**32) if seed is None else _whole("seed", seed)
        clip_rng(seed, 0)
        if prompt is not None and source is not None:
            raise UserError("a prompt and a source were given; a clip continues one or plays on the other")
        if bpm is None and prompt is None and source is None and metronome.has_metronome(bundle.lm_spec):
            bpm = metronome.usual_bpm(spec.frame_rate, bundle.codec_config)
        weight = self._guidance(guidance, bpm)
        longest = self._samples(seconds, bpm, bars, rate, 0) if (seconds, bars) != (None, None) else None
        played = None if source is None else self._source(source, longest and self._frames(longest))
        samples = self._samples(seconds, bpm, bars, rate, None if played is None else played.shape[1] * hop)
        frames = self._frames(samples)
        if played is not None:
            if played.shape[1] < frames:
                raise UserError(f"the source lasts {spec.length(played.shape[1])}, shorter than the "
                                f"{spec.length(frames)} that were asked for")
            played = played[:, :frames]
        recipe = Recipe(
            bundle.name, bundle.hash[:16], seed, samples, sampling, self._precision(),
            self._engine_options["backend"], None if bpm is None else float(bpm),
            None if bars is None else float(bars), weight, bool(loop),
            source="" if played is None else pack(played),
            prompt="" if prompt is None else pack(self._prompt(prompt, prompt_seconds, frames)))
        if prompt is None and prompt_seconds is not None:
            raise UserError("prompt_seconds says how much of a prompt is used, and there is no prompt")
        sampled = 0 if played is not None else frames
        if weird.strip():
            from audiocraft_ext.audio.weird.player import with_chain

            recipe, frames = with_chain(recipe, weird, frames, spec, lambda name: self._codes(name, "other clip"))
        if loop:
            self._check_loop(frames)
        if bundle.restart and sampled > bundle.restart:
            learned = spec.seconds(bundle.context)
            self.say(f"note: the context of {bundle.name} is {learned:g} s; a longer clip continues from its own last "
                     f"{learned / 2:g} s")
        return recipe

    def generate(self, seconds: float | None = None, n: int = 1, **what: Any) -> list[Clip]:
        """Make ``n`` clips; ``what`` as for :meth:`recipe`. The same seed gives the same clips, whatever ``n``."""
        if _whole("number of clips", n) < 1:
            raise UserError(f"expected 1 clip or more, got {n}")
        return list(self.play(self.recipe(seconds, **what), range(n)))

    def play(self, recipe: Recipe, indices: Sequence[int],
             progress: Callable[[float], object] = lambda done: None) -> Iterator[Clip]:
        """Make clips of a recipe, batch by batch.

        Args:
            progress: takes how many clips are done, in parts too.

        Raises:
            UserError: the recipe is another bundle's or precision's, or the bundle is damaged.
        """
        self._check_mine(recipe)
        frames, done, given = self._frames(recipe.samples), 0, self._unpacked(recipe.prompt)
        controls = self._controls(recipe, frames)
        plain = not (recipe.loop or recipe.weird or recipe.source)
        sampling = 1.0 if plain else 0.0 if recipe.source else 0.5  # of a clip's work, for the progress
        guide = recipe.guide
        for batch in self.engine.batches(indices, frames, 1 if guide is None else 2):
            def report(at: int, of: int, done: int = done, size: int = len(batch)) -> None:
                progress(done + sampling * size * at / max(1, of))

            wavs = None
            how = dict(seed=recipe.seed, sampling=recipe.sampling, progress=report, given=given, controls=controls,
                       guide=guide)
            if recipe.source:
                codes = np.repeat(self._unpacked(recipe.source)[None], len(batch), axis=0)
            elif plain:
                codes, wavs = self.engine.play(batch, frames, **how)
            else:
                codes = self.engine.generate(batch, frames, **how)
            for row, index in enumerate(batch):
                wav = None if wavs is None else wavs[row, 0, : recipe.samples]
                clip = self._finish(recipe, index, codes[row], wav)
                self.bundle.verify()  # compared while the weights were read; nothing was handed out yet
                yield clip
                progress(done + sampling * len(batch) + (1 - sampling) * (row + 1))
            done += len(batch)

    def stream(self, recipe: Recipe, index: int = 0) -> Iterator[np.ndarray]:
        """One clip's sound while it is sampled, ``float32 [n]`` in pieces of about a second.

        Raises:
            UserError: a recipe that needs the whole clip.
        """
        if recipe.loop or recipe.weird or recipe.source:
            raise UserError("a stream is played while it is made; a loop, weird tools and a source need the whole clip")
        self._check_mine(recipe)
        decoding, left = self.engine.decoding(1), recipe.samples
        frames = self._frames(recipe.samples)
        pieces = self.engine.stream([index], frames, seed=recipe.seed, sampling=recipe.sampling,
                                    given=self._unpacked(recipe.prompt), controls=self._controls(recipe, frames),
                                    guide=recipe.guide)
        nothing = np.zeros((1, self.bundle.spec.n_q, 0), np.int64)
        for piece in itertools.chain(pieces, [None]):
            decoding.push(nothing if piece is None else piece, last=piece is None)
            wav = decoding.ready()[0, :left]
            if len(wav):
                self.bundle.verify()
                yield wav
                left -= len(wav)

    def save(self, clip: Clip, folder: str | Path = ".", output: Output | None = None) -> list[Path]:
        """Write a clip into ``folder`` without harm to another one; returns its WAV and its JSON.

        Raises:
            UserError: it cannot be written; then nothing of it is left.
        """
        path = clip.save(folder, output or Output())
        return [path, path.with_suffix(".json")]

    def _finish(self, recipe: Recipe, index: int, codes: np.ndarray, wav: np.ndarray | None) -> Clip:
        """Weird tools, loop, sound."""
        shipped = self.bundle.path.resolve().parent == BUNDLES.resolve()
        about: dict[str, Any] = {} if shipped else {"bundle": str(self.bundle.path.resolve())}
        samples = recipe.samples
        if recipe.weird:
            before = codes.shape[1]
            codes = self._chains().play(self.engine, recipe, index, codes)
            samples = self._after_chain(recipe, samples, before, codes.shape[1])
        if recipe.loop:
            from audiocraft_ext.audio.loop import make_loop

            beat = Bars(recipe.bpm, 1).beat_frames(self.bundle.spec.frame_rate) if recipe.bpm else None
            loop = make_loop(self.engine, codes, samples, seed=recipe.seed, index=index, sampling=recipe.sampling,
                             beat_frames=beat, controls=self._controls(recipe, codes.shape[1]), guide=recipe.guide)
            codes, wav, about["loop"] = loop.codes, loop.wav, loop.report.to_dict()
        elif wav is None:
            wav = self.engine.decode(codes[None])[0, 0, :samples]
        return Clip(recipe, index, self.bundle.spec, codes, wav, self.bundle.sample_rate, about)

    def _chain_player(self):
        from audiocraft_ext.audio.weird.player import ChainPlayer

        return ChainPlayer(self._engine_options["threads"])

    def _after_chain(self, recipe: Recipe, samples: int, before: int, after: int) -> int:
        """Samples of a clip whose frames were ``before`` and are ``after`` now. One in bars stays one in sixteenths."""
        if before == after:
            return samples
        samples += (after - before) * self.hop
        if recipe.bars:
            sixteenth = 15 / recipe.bpm * self.bundle.sample_rate
            exact = round(round(samples / sixteenth) * sixteenth)
            samples = exact if 0 < exact and abs(exact - samples) < self.hop else samples
        return min(samples, after * self.hop)

    def _frames(self, samples: int) -> int:
        return -(-samples // self.hop)

    def _samples(self, seconds: float | None, bpm: float | None, bars: float | None, rate: int,
                 played: int | None) -> int:
        if bpm is not None:
            Bars(bpm, 1 if bars is None else bars)  # it checks them
        if bars is not None:
            if bpm is None:
                raise UserError(f"{bars:g} bars last as long as a tempo says; give it with --bpm")
            if seconds is not None:
                raise UserError("a length in seconds and one in bars were given; leave one out")
            seconds = Bars(bpm, bars).seconds
            samples = Bars(bpm, bars).samples(rate)
        elif seconds is None and played is not None:
            return played
        else:
            seconds = 10.0 if seconds is None else seconds
            samples = self.bundle.frames(seconds) * self.hop
        if seconds > LONGEST:
            raise UserError(f"a clip lasts at most {LONGEST} s, got {seconds:g} s")
        return samples

    def _source(self, source: Any, frames: int | None) -> np.ndarray:
        """Codes ``[K, T]``, the first ``frames`` of the source if so many are asked for."""
        codes, _ = read_codes(source, "source", self.bundle, lambda wav: self.engine.encode(wav), first=frames,
                              say=self.say)
        return codes

    def _prompt(self, prompt: Any, seconds: float | None, frames: int) -> np.ndarray:
        """Codes ``[K, T0]``, the last ``seconds`` of the prompt."""
        spec, context = self.bundle.spec, self.bundle.context
        longest = spec.seconds(context)
        if seconds is not None and not 0 < seconds <= longest:
            raise UserError(f"the context of {self.bundle.name} is {longest:g} s; a prompt lasts more than 0 and at "
                            f"most that, got {seconds:g} s")
        keep = context // 2 if seconds is None else max(1, spec.frames(seconds))
        codes = self._codes(prompt, "prompt", keep, say=seconds is None)
        if codes.shape[1] >= frames:
            raise UserError(f"the prompt ({spec.length(codes.shape[1])}) fills the clip "
                            f"({spec.length(frames)}), which begins with it: ask for a longer clip, or for "
                            "fewer prompt seconds")
        return codes

    def _codes(self, given: Any, what: str, keep: int | None = None, say: bool = True) -> np.ndarray:
        """A file, a sound or codes as codes ``[K, T]``; only the last ``keep`` frames, with a note if ``say``."""
        codes, length = read_codes(given, what, self.bundle, lambda wav: self.engine.encode(wav), keep,
                                   say=self.say)
        if say and length > codes.shape[1]:
            self.say(f"note: the last {self.bundle.spec.length(codes.shape[1], 'g')} of the {what} are used")
        return codes

    def _unpacked(self, text: str) -> np.ndarray | None:
        """A recipe's codes; None where there are none."""
        return checked_codes(unpack(text), self.bundle.spec, "the recipe") if text else None

    def _controls(self, recipe: Recipe, frames: int) -> np.ndarray | None:
        """The metronome ``[1, T]``; None where the model hears none, or nobody knows the tempo."""
        return metronome.codes(self.bundle.lm_spec, frames, recipe.bpm)

    def _guidance(self, asked: float | None, bpm: float | None) -> float:
        """The weight of a clip at ``bpm``.

        Raises:
            UserError: it is asked for where there is nothing to follow, or cannot be.
        """
        if bpm is not None and metronome.has_metronome(self.bundle.lm_spec):
            return check_weight(CONTROLLED if asked is None else asked)
        if asked is not None and check_weight(asked) != 1:
            heard = metronome.has_metronome(self.bundle.lm_spec)
            raise UserError("guidance says how closely the beat is followed; " + (
                "give its tempo with --bpm" if heard else f"{self.bundle.name} hears no metronome, leave it out"))
        return 1.0

    def _check_loop(self, frames: int) -> None:
        from audiocraft_ext.audio.loop import SHORTEST

        if frames < SHORTEST:
            spec = self.bundle.spec
            raise UserError(f"a loop lasts {spec.length(SHORTEST, 'g')} or more, got {spec.length(frames, 'g')}")

    def _precision(self) -> str:
        precision = self._engine_options["precision"]
        if self._engine_options["backend"] == "onnx":
            return self.bundle.check_precision(precision)
        return self.engine.precision

    def _check_mine(self, recipe: Recipe) -> None:
        wanted = (recipe.bundle_hash, recipe.precision, recipe.backend)
        mine = (self.bundle.hash[:16], self._precision(), self._engine_options["backend"])
        for name, a, b in zip(("bundle", "precision", "backend"), wanted, mine):
            if a != b:
                raise UserError(f"the clip was made with the {name} {a}, and this is {self.bundle.name} with {b}; it "
                                "would be another clip")
        if recipe.samples > LONGEST * self.bundle.sample_rate:
            raise UserError(f"a clip lasts at most {LONGEST} s, got {recipe.samples} samples")
        if recipe.bpm is not None:
            Bars(recipe.bpm, recipe.bars or 1)  # it checks them
        check_weight(recipe.guidance)
