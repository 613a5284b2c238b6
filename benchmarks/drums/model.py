"""A bundle of drums, as the benchmarks of its quality see it: how likely it holds a clip, and what it makes when asked.

Loss is that of the model's own distribution (temperature 1, no filter), each frame of a clip knowing the prompt and the
frames before it: the sum over what its streams can take (``Spec.sizes``) and over open gates (``Spec.gates``), so an
offset counts where there is a hit. Prompts are read and not counted. Nothing is padded: clips of one length are read
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import Prompts, prompts_of
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.recipe import FACTS
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampler import PREFILL
from audiocraft_ext.midi.tempos import bpm_of
from benchmarks.drums.baselines import Loss, Odds, loss, total
from benchmarks.drums.clips import Clip, Reader

BATCH = 32  # clips whose logits are there together
Words = Mapping[str, str]  # field: word


class Model:
    """A bundle's LM with its codec and prompts.

    Args:
        temperature: of what it makes; None is the bundle's own.

    Raises:
        UserError: the engine's codes are no drums.
    """

    def __init__(self, engine: Engine, temperature: float | None = None):
        if engine.spec.kind != "drums":
            raise UserError(f"{engine.bundle.path}: expected a bundle of drums, its codes are {engine.spec.kind}")
        self.engine, self.spec = engine, engine.spec
        own = engine.bundle.sampling
        self.sampling = own if temperature is None else replace(own, temperature=temperature)
        self.sampling.check(self.spec.n_q)
        config = engine.bundle.codec_config or {}
        self.reader = Reader(config)
        self.drummer = Drummer(engine.bundle, threads=engine.threads)
        self.prompts = prompts_of(config) or Prompts((), max(self.spec.sizes or (self.spec.card,)), self.spec.n_q)

    @property
    def room(self) -> int:
        """Frames of its context besides the prompt."""
        return self.engine.bundle.context - self.spec.prompt

    def prompt(self, asked: Words) -> np.ndarray:
        """``int64 [K, P]`` of those words that the model knows."""
        return self.prompts.codes({name: word for name, word in asked.items()
                                   if word in self.prompts.words.get(name, ())})

    def fit(self, clips: Sequence[Clip]) -> list[Clip]:
        """The clips, cut to as many whole bars as fit into the context. Without a grid a bar is no number of frames;
        there the longer ones are left out."""
        out = []
        for clip in clips:
            bars = min(clip.bars, self.room // clip.bar_steps)
            if not self.reader.exact:
                out += [clip] if clip.raw.shape[1] <= self.room else []
            elif bars:
                T = bars * clip.bar_steps
                out.append(Clip(clip.codes[:, :T], clip.bar_steps, clip.source, clip.about, clip.raw[:, :T]))
        return out

    def losses(self, clips: Sequence[Clip], prompted: bool) -> tuple[dict[str, float], list[float]]:
        """Of clips that fit.

        Args:
            prompted: with all that their rows say in the words of the prompt; else with a prompt that says nothing.

        Returns:
            ``nats_a_hit`` with its parts, ``bits_a_bar``; and the nats of each clip. The parts are the three of
            :class:`~benchmarks.drums.baselines.Loss` on the grid, else one for each stream.
        """
        parts, nats = [], [0.0] * len(clips)
        lengths = [clip.raw.shape[1] for clip in clips]
        for T in sorted(set(lengths)):
            same = [i for i, length in enumerate(lengths) if length == T]
            for chosen in (same[at : at + BATCH] for at in range(0, len(same), BATCH)):
                codes = np.stack([np.concatenate([self.prompt(clips[i].about.get("prompt", {}) if prompted else {}),
                                                  clips[i].raw.astype(np.int64)], 1) for i in chosen])
                for i, part in zip(chosen, self._parts(codes, [clips[i] for i in chosen])):
                    parts.append(part)
                    nats[i] = float(sum(part))
        hits = sum(int(self.reader.codec.hits_of(clip.raw)[2].sum()) for clip in clips)
        summed = total(parts) if self.reader.exact else np.sum(parts, axis=0)
        names = Loss._fields if self.reader.exact else [f"stream {k}" for k in range(self.spec.n_q)]
        return {"nats_a_hit": float(sum(summed)) / hits,
                **{name: float(value) / hits for name, value in zip(names, summed)},
                "bits_a_bar": float(sum(summed)) / float(np.log(2)) / sum(clip.bars for clip in clips)}, nats

    def _parts(self, codes: np.ndarray, clips: list[Clip]) -> Iterator[Sequence[float]]:
        P = self.spec.prompt
        likely = log_probabilities(self.engine, codes)[:, :, P:]  # [B, K, T, card]
        for one, clip in zip(likely, clips):
            yield loss(odds(one, self.spec), clip.codes) if self.reader.exact else nats(one, clip.raw, self.spec)

    def make(self, clips: int, asked: Words | Sequence[Words], seed: int, bars: int = 4) -> list[Clip]:
        """Sample clips in 4/4, with all but the temperature as the bundle has it.

        Args:
            asked: words for all of them, or for each.
        """
        if not self.reader.exact:
            raise UserError("clips of a number of bars are sampled on a grid; this bundle's codes are "
                            f"{self.spec.codec}")
        given = self.prompt(asked) if isinstance(asked, Mapping) else np.stack([self.prompt(one) for one in asked])
        frames = self.spec.prompt + bars * self.reader.grid.steps
        codes = self.engine.generate(clips, frames, seed=seed, sampling=self.sampling, given=given)
        return [self.reader.clip(one, source=f"sample {i}") for i, one in enumerate(codes[..., self.spec.prompt :])]

    def play(self, clips: int, asked: Words, seed: int, bars: int = 4, **how: float) -> list[Clip]:
        """What a drummer plays who is asked for these words, in 4/4.

        Args:
            how: guidance and takes, if not as the drummer has them.
        """
        words = {name: word for name, word in asked.items() if name not in FACTS}
        bpm = bpm_of(asked["tempo"]) if "tempo" in asked else None
        recipe = self.drummer.recipe(bars, bpm, seed=seed, temperature=self.sampling.temperature, **how, **words)
        return [self.reader.clip(beat.codes, source=f"beat {beat.index}")
                for beat in self.drummer.play(recipe, range(clips))]


def log_probabilities(engine: Engine, codes: np.ndarray) -> np.ndarray:
    """Of every value of every code of ``codes [B, K, T]``, each knowing the frames before it (and of its own, the
    streams with a smaller delay): ``float64 [B, K, T, card]``, -inf for what a stream cannot take."""
    B, K, T = codes.shape
    spec, stepper = engine.spec, engine.stepper
    sequence = delay(codes, spec.delays, spec.special_id)  # [B, K, S]
    S = sequence.shape[-1]
    stepper.start(B, S)
    logits = np.concatenate([np.array(stepper.logits(sequence[..., s : min(s + PREFILL, S - 1)]))
                             for s in range(0, S - 1, PREFILL)], 1)  # [B, S - 1, K, card]: row s is of step s + 1
    out = np.stack([logits[:, d : d + T, k] for k, d in enumerate(spec.delays)], 1).astype(np.float64)
    for k in range(K):
        out[:, k, :, spec.size(k) :] = -np.inf
    top = out.max(-1, keepdims=True)
    return out - top - np.log(np.exp(out - top).sum(-1, keepdims=True))


def odds(likely: np.ndarray, spec: Spec) -> Odds:
    """Log-probabilities ``[2C, T, card]`` of the streams of a grid as those of its cells."""
    C = len(likely) // 2
    velocity, offset = (np.exp(likely[part, :, : spec.size(k)]) for part, k in ((slice(C), 0), (slice(C, None), C)))
    none, some = velocity[..., 0], velocity[..., 1:].sum(-1)
    return Odds(np.stack([none, some], -1), velocity[..., 1:] / some[..., None], offset)


def nats(likely: np.ndarray, codes: np.ndarray, spec: Spec) -> np.ndarray:
    """Of each stream of ``codes [K, T]``, summed over what it can take and where its gate is open: ``float64 [K]``."""
    codes = np.asarray(codes, np.int64)
    counts = codes < np.array([spec.size(k) for k in range(spec.n_q)])[:, None]
    for gate in spec.gates:
        counts[gate.stream] &= gate.open(codes[gate.gate])
    of_it = np.take_along_axis(likely, codes[..., None].clip(max=likely.shape[-1] - 1), -1)[..., 0]  # [K, T]
    return -np.where(counts, of_it, 0.0).sum(-1)
