"""How the beats of a recipe are sampled: which codes of each are given, how many share a batch, and how many frames the
model attends to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from audiocraft_ext.core.delay import steps_of
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.core.prompts import Prompts
from audiocraft_ext.drums.codec import HITS
from audiocraft_ext.drums.play import best_of, edit
from audiocraft_ext.drums.play.recipe import FACTS, HUMANISE, INFILL, VARY, BeatRecipe
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.sampling import clip_rng

if TYPE_CHECKING:
    from audiocraft_ext.engine.engine import Engine

AHEAD = 256  # beats that are put in order at a time
MOST_HITS = 96  # a bar, where frames are hits: then the beat ends
ROW = 4  # bars in a training row of a model of hits


def window_of(bundle: Bundle, codec, bars: int, meter: tuple[int, int]) -> tuple[int, int]:
    """The window in frames, with the prompt, and the number of bars that the prompt gives for it.

    A beat that fits into the context is one window. For a longer one the window has an even number of bars, so that its
    second half begins with a bar, as every training window does. A model of hits has the whole context as its window:
    the number of hits in a bar is not known before they are sampled.
    """
    P, context = bundle.spec.prompt, bundle.context
    if codec.spec.codec == HITS:
        return context, min(bars, ROW)
    bar = codec.steps_per_bar(meter)
    if P + bars * bar <= context:
        return context, bars
    half = (context - P) // 2 // bar
    return (P + 2 * half * bar, 2 * half) if half else (context, max(1, (context - P) // bar))


class Playing:
    """A recipe that is to be sampled.

    Args:
        source: codes ``[K, t]`` of its file.
    """

    def __init__(self, recipe: BeatRecipe, bundle: Bundle, codec, prompts: Prompts | None,
                 source: np.ndarray | None = None):
        self.recipe, self.bundle, self.codec, self.prompts, self.source = recipe, bundle, codec, prompts, source
        self.rows = recipe.takes * (1 if recipe.guidance == 1 else 2)  # of a batch, for each beat
        self.counts = codec.spec.codec == HITS and recipe.edit != HUMANISE  # as long as its bar lines say, not frames

    def made(self, engine: Engine, another: Callable[[], Engine], indices: Sequence[int],
             progress: Callable[[float], object]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Batch after batch with the codes ``[K, T]`` of each beat, without the prompt; several batches in
        parallel where there are cores for them.

        Args:
            another: gives one more engine, with one thread.
            progress: called with the number of beats that are done, fractions included; in the caller's thread.
        """
        most, size = self._room(engine)
        batches = self._batches(indices, size)
        first = list(islice(batches, most))
        done, parts = 0, {}  # of batches under way, by their first beat

        def report_all() -> None:
            progress(done + sum(list(parts.values())))

        def make(engine: Engine, batch: list[int],
                 reported: Callable[[], object]) -> tuple[list[int], list[np.ndarray]]:
            def report(at: int, of: int) -> None:
                parts[batch[0]] = len(batch) * at / max(1, of)
                reported()

            return batch, self._sampled(engine, batch, report)

        if len(first) > 1:
            from audiocraft_ext.engine.workers import in_parallel

            results = in_parallel(make, chain(first, batches), [another() for _ in first], report_all)
        else:
            results = (make(engine, batch, report_all) for batch in chain(first, batches))
        with closing(results):
            for batch, clips in results:
                done += len(batch)
                parts.pop(batch[0], None)
                report_all()
                yield batch, clips

    @cached_property
    def frames(self) -> int:
        """P + T; at most, where bars are counted."""
        P, recipe = self.bundle.spec.prompt, self.recipe
        known = 0 if self.source is None else self.source.shape[1]
        if self.codec.spec.codec != HITS:
            return P + recipe.bars * self.codec.steps_per_bar(recipe.meter)
        return P + known + (1 + recipe.bars * MOST_HITS if self.counts else 0)

    def given(self, index: int) -> np.ndarray:
        """The prompt and the given codes of the beat behind it: ``int64 [K, P + t]``."""
        K, recipe = self.bundle.spec.n_q, self.recipe
        parts = [np.zeros((K, 0), np.int64) if self.prompts is None else self.prompts.codes(recipe.said)]
        if self.source is not None:
            rng = np.random.Generator(clip_rng(recipe.seed, index).bit_generator.jumped())  # not the sampler's numbers
            parts.append(edit.given(recipe, self.source, self.codec, rng))
        if self.counts:
            parts.append(np.zeros((K, 1), np.int64))  # a bar line
        return np.concatenate(parts, axis=1)

    def _room(self, engine: Engine) -> tuple[int, int]:
        """How many engines work in parallel, and how many beats each has in a batch: all their caches fit into
        ``CACHE_BYTES``."""
        from audiocraft_ext.engine.engine import CACHE_BYTES

        steps = steps_of(min(self.frames, self.bundle.restart or self.frames), self.bundle.spec.delays)
        fit = max(1, CACHE_BYTES // (self.rows * engine.stepper.cache_bytes(steps)))
        engines = min(engine.threads, physical_cores(), fit) if self.recipe.backend == "onnx" else 1
        return engines, max(1, min(engine.max_batch // self.rows, fit // engines))

    def _batches(self, indices: Sequence[int], size: int) -> Iterator[list[int]]:
        """Beats that are sampled together: what they have to be made begins at the same step."""
        from audiocraft_ext.engine.sampler import first_unknown

        if self.recipe.edit != VARY:
            yield from _cut(indices, size)
            return
        for some in _cut(indices, AHEAD):
            alike: dict[int, list[int]] = {}
            for index in some:
                first = first_unknown(self.given(index)[None], self.bundle.spec.delays)
                alike.setdefault(int(first[0]), []).append(index)
            for _, those in sorted(alike.items()):
                yield from _cut(those, size)

    def _sampled(self, engine: Engine, batch: list[int], report: Callable[[int, int], object]) -> list[np.ndarray]:
        """The codes of each beat of a batch: of its candidates the one that is nearest to the prompt, or after which
        what follows is likeliest."""
        n, recipe = self.recipe.takes, self.recipe
        given = np.repeat(np.stack([self.given(index) for index in batch]), n, axis=0)
        clips = self._candidates(engine, [one for index in batch for one in best_of.numbers(index, n)], given, report)
        if n == 1:
            return clips
        if recipe.edit == INFILL and recipe.span[1] < recipe.bars:
            return [self._likeliest(engine, clips[at : at + n]) for at in range(0, len(clips), n)]
        patterns = [self.codec.pattern(codes, recipe.meter) for codes in clips]
        return [clips[at + best_of.nearest(patterns[at : at + n], recipe.said)] for at in range(0, len(clips), n)]

    def _likeliest(self, engine: Engine, clips: list[np.ndarray]) -> np.ndarray:
        """Of beats with a bar made anew the one after which the model expects the following bar most."""
        prompt = np.zeros((self.bundle.spec.n_q, 0), np.int64) if self.prompts is None else self.prompts.codes(
            self.recipe.said)
        bar, end = self.codec.steps_per_bar(self.recipe.meter), self.recipe.span[1]
        heard = np.stack([np.concatenate([prompt, codes[:, : (end + 1) * bar]], axis=1) for codes in clips])
        return clips[int(np.argmax(engine.score(heard, prompt.shape[1] + end * bar)))]

    def _candidates(self, engine: Engine, numbers: list[int], given: np.ndarray,
                    report: Callable[[int, int], object]) -> list[np.ndarray]:
        """Codes ``[K, T]``, without the prompt."""
        codes = np.concatenate(list(self._pieces(engine, numbers, given, report)), axis=-1)
        codes = codes[..., self.bundle.spec.prompt :]
        assert codes.min() >= 0, "a code was not made"
        return [_up_to_bar(clip, self.recipe.bars) for clip in codes] if self.counts else list(codes)

    def bars(self, engine: Engine, index: int) -> Iterator[np.ndarray]:
        """One beat while it is made: the codes ``[K, T]`` of all its bars so far, once for each bar."""
        recipe, bar, done = self.recipe, self.codec.steps_per_bar(self.recipe.meter), 0
        codes = np.zeros((self.bundle.spec.n_q, 0), np.int64)
        by_line = self.codec.spec.codec == HITS
        for piece in self._pieces(engine, [index], self.given(index)[None], lambda at, of: None):
            codes = np.concatenate([codes, piece[0]], axis=1)
            clip = codes[:, self.bundle.spec.prompt :]
            there = int((clip[0] == 0).sum()) - 1 if by_line else clip.shape[1] // bar
            while done < min(there, recipe.bars):
                done += 1
                yield _up_to_bar(clip, done) if by_line else clip[:, : done * bar]
        while done < recipe.bars:  # its end is no bar line
            done += 1
            yield _up_to_bar(codes[:, self.bundle.spec.prompt :], done)

    def _pieces(self, engine: Engine, numbers: list[int], given: np.ndarray,
                report: Callable[[int, int], object]) -> Iterator[np.ndarray]:
        """Codes ``[B, K, t]`` as they are sampled, with the prompt; up to the last bar line that counts."""
        recipe, guide, lines = self.recipe, None, 0
        if recipe.guidance != 1:
            from audiocraft_ext.engine.guidance import Guide

            facts = {name: word for name, word in recipe.said.items() if name in FACTS}
            guide = Guide(recipe.guidance, self.prompts.codes(facts))
        for piece in engine.stream(numbers, self.frames, seed=recipe.seed, sampling=recipe.sampling, given=given,
                                   progress=report, guide=guide,
                                   window=window_of(self.bundle, self.codec, recipe.bars, recipe.meter)[0]):
            yield piece
            if self.counts:
                lines = lines + (piece[:, 0] == 0).sum(axis=1)  # a prompt has none: its codes are larger
                if lines.min() > recipe.bars:
                    break


def _cut(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    for at in range(0, len(indices), size):
        yield list(indices[at : at + size])


def _up_to_bar(codes: np.ndarray, bars: int) -> np.ndarray:
    """Of ``codes [K, T]`` whose frames are hits and bar lines, as many bars; where they have fewer, empty ones."""
    lines = np.flatnonzero(codes[0] == 0)
    if len(lines) > bars:
        return codes[:, : lines[bars]]
    return np.pad(codes, ((0, 0), (0, bars - len(lines))))
