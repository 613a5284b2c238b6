"""How the pieces of a recipe are sampled: from bar line to bar line, by the engine's own loop.

A new piece, and one that goes on from a file, are sampled until there are enough bar lines; one that is built of chosen
parts is made part after part. Where a part is added to others, each bar is divided
(:mod:`audiocraft_ext.notes.codec.multitrack`): the notes that are given come first, then those of the new part are
sampled up to the next bar line, which gives way to the notes given of the next bar. So no loop of its own is needed,
only one call of the engine a bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import Prompts
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.order import Order
from audiocraft_ext.engine.sampler import UNKNOWN
from audiocraft_ext.notes.codec.multitrack import DIVIDE, FIRST, INSTRUMENT, LINE, PITCH, POSITION, bars_of, ordered
from audiocraft_ext.notes.midi import families_of
from audiocraft_ext.notes.play import revoice
from audiocraft_ext.notes.play.recipe import AS_IT_IS, BUILD, CONTINUE, INFILL, REVOICE, PieceRecipe

MOST_NOTES = 96  # a bar: then the piece ends with empty bars
APART = 2**40  # between the numbers of one piece's candidates, which seed them
FACTS = ("tempo", "meter")  # fields that are always given
ORDER = Order((POSITION, INSTRUMENT, PITCH), FIRST, never=(DIVIDE,))  # as the notes of each bar are in a store
TRIES = 4  # of a part that does not play at all
HANDS = 6  # notes that a part plays at a place, at most
SOLO = ("bass", "reed", "pipe", "lead")  # families that play one
K = 5


class Arranger:
    """A recipe that is to be sampled.

    Args:
        prompts: those of the model; None where it has none.
        source: ``int64 [5, t]``, whole bars of its file; None without one.
    """

    def __init__(self, engine: Engine, recipe: PieceRecipe, prompts: Prompts | None, source: np.ndarray | None):
        self.engine, self.recipe, self.source = engine, recipe, source
        none = np.zeros((K, 0), np.int64)
        self.prompt = none if prompts is None else prompts.codes(recipe.said)
        self.guide = None
        if recipe.guidance != 1 and prompts is not None:
            facts = {name: word for name, word in recipe.said.items() if name in FACTS}
            self.guide = Guide(recipe.guidance, prompts.codes(facts))

    def batch(self, numbers: Sequence[int], progress: Callable[[float], object]) -> list[np.ndarray]:
        """The codes ``int64 [5, T]`` of each number, without the prompt; ``progress`` takes a share of them."""
        if self.recipe.edit in ("", CONTINUE):
            codes = np.concatenate(list(self.pieces(numbers, progress)), axis=-1)
            return [up_to_bar(one, self.recipe.bars) for one in codes]
        if self.recipe.edit == AS_IT_IS:
            return [self.source for _ in numbers]
        make = {INFILL: self._infilled, BUILD: self._built, REVOICE: self._revoiced}.get(
            self.recipe.edit, self._arranged)
        return [make(number, lambda share, i=i: progress((i + share) / len(numbers)))
                for i, number in enumerate(numbers)]

    def pieces(self, numbers: Sequence[int], progress: Callable[[float], object] = lambda share: None
               ) -> Iterator[np.ndarray]:
        """Codes ``[B, 5, t]`` of new pieces, or that go on from the source, as they are sampled; until all have enough
        bar lines."""
        known = np.zeros((K, 0), np.int64) if self.source is None else self.source
        given = np.concatenate([self.prompt, known, _frame(LINE)], axis=1)
        P, lines, bars = self.prompt.shape[1], 0, self.recipe.bars
        frames = given.shape[1] + bars * MOST_NOTES
        left = P
        for piece in self._stream(numbers, given, frames):
            skipped = min(left, piece.shape[-1])
            left, piece = left - skipped, piece[..., skipped:]
            if piece.shape[-1]:
                yield piece
                lines = lines + (piece[:, POSITION] == LINE).sum(axis=1)
                progress(float(np.minimum(lines / (bars + 1), 1).mean()))
                if lines.min() > bars:
                    return

    def _arranged(self, number: int, progress: Callable[[float], object]) -> np.ndarray:
        """The source with the parts of the recipe made anew."""
        return self._with_parts(number, without(self.source, np.isin(self.source[INSTRUMENT], self.recipe.parts)),
                                progress)

    def _built(self, number: int, progress: Callable[[float], object]) -> np.ndarray:
        """The parts of the recipe and nothing else."""
        return self._with_parts(number, np.repeat(_frame(LINE), self.recipe.bars, axis=1), progress)

    def _with_parts(self, number: int, codes: np.ndarray, progress: Callable[[float], object]) -> np.ndarray:
        """``codes`` with the parts of the recipe, made one after the other, each to those before it; one that rests in
        all bars is made again, a few times."""
        parts = self.recipe.parts
        for i, part in enumerate(parts):
            for take in range(i * TRIES, (i + 1) * TRIES):
                made = self._with_part(number + take * APART, codes, part,
                                       lambda share, i=i: progress((i + share) / len(parts)))
                if ((made[INSTRUMENT] == part) & (made[POSITION] >= FIRST)).any():
                    break
            codes = ordered(made)
        return codes

    def _revoiced(self, number: int, progress: Callable[[float], object]) -> np.ndarray:
        """The source with other instruments; a piece's number is the rank of those that the model chose."""
        if number >= len(self._versions):
            raise UserError(f"-n is at most {len(self._versions)} here: " + (
                "nothing is left to choose" if len(self._versions) == 1 else "so many other programs a family has"))
        progress(1.0)
        return self._versions[number]

    @cached_property
    def _versions(self) -> list[np.ndarray]:
        room = self.engine.bundle.context

        def likely(codes: np.ndarray) -> float:
            heard = np.concatenate([self.prompt, ordered(codes)], axis=1)[:, :room]
            return float(self.engine.score(heard[None], self.prompt.shape[1])[0])

        return revoice.versions(self.source, self.recipe.parts, self.recipe.into, likely)

    def _with_part(self, number: int, codes: np.ndarray, part: int, progress: Callable[[float], object]) -> np.ndarray:
        """Codes with one part more, bar by bar, each divided into the parts that are there and this one."""
        so_far, done, bars, divide = self.prompt, [], bars_of(codes), _frame(DIVIDE, part)
        for i, bar in enumerate(bars):
            so_far = np.concatenate([so_far, bar, divide], axis=1)
            made = self._bar(number, so_far, part)
            so_far = np.concatenate([so_far, made], axis=1)
            done += [bar, made]
            progress((i + 1) / len(bars))
        return np.concatenate(done, axis=1)

    def _infilled(self, number: int, progress: Callable[[float], object]) -> np.ndarray:
        """The source with the bars of the span made anew; of several takes the one that makes what follows
        likeliest."""
        first, end = self.recipe.span
        bars = bars_of(self.source)
        before, after = (np.concatenate([np.zeros((K, 0), np.int64), *some], axis=1)
                         for some in (bars[:first], bars[end:]))
        found, likely = [], []
        for take in range(self.recipe.takes):
            codes = np.concatenate([self.prompt, before], axis=1)
            for _ in range(first, end):
                codes = np.concatenate([codes, _frame(LINE)], axis=1)
                codes = np.concatenate([codes, self._bar(number + take * APART, codes, None)], axis=1)
            found.append(codes[:, self.prompt.shape[1] :])
            if self.recipe.takes > 1 and after.shape[1]:
                heard = np.concatenate([codes, after[:, : self.engine.bundle.context // 2]], axis=1)
                likely.append(float(self.engine.score(heard[None], codes.shape[1])[0]))
            progress((take + 1) / self.recipe.takes)
        best = found[int(np.argmax(likely))] if likely else found[0]
        return np.concatenate([best, after], axis=1)

    def _bar(self, number: int, given: np.ndarray, part: int | None) -> np.ndarray:
        """The notes ``[5, n]`` that follow what is given, up to a bar line; of one part, or of any (None)."""
        T = given.shape[1]
        room, order = np.full((K, MOST_NOTES), UNKNOWN, np.int64), ORDER
        if part is not None:
            room[INSTRUMENT] = part  # at the line that ends the bar nobody asks
            order = ORDER._replace(most=1 if next(families_of(np.array([part]))) in SOLO else HANDS)
        made, at = [], 0
        for piece in self._stream([number], np.concatenate([given, room], axis=1), T + MOST_NOTES, order):
            new, at = piece[0][:, max(0, T - at) :], at + piece.shape[-1]
            ends = np.flatnonzero(new[POSITION] < FIRST)
            made.append(new[:, : ends[0]] if len(ends) else new)
            if len(ends):
                break
        return np.concatenate(made, axis=1)

    def _stream(self, numbers: Sequence[int], given: np.ndarray, frames: int,
                order: Order = ORDER) -> Iterator[np.ndarray]:
        recipe = self.recipe
        return self.engine.stream(numbers, frames, seed=recipe.seed, sampling=recipe.sampling, given=given,
                                  guide=self.guide, order=order)


def up_to_bar(codes: np.ndarray, bars: int) -> np.ndarray:
    """Of codes that begin with a bar line as many bars; where they have fewer, empty ones."""
    lines = np.flatnonzero(codes[POSITION] == LINE)
    if len(lines) > bars:
        return codes[:, : lines[bars]]
    return np.concatenate([codes, *[_frame(LINE)] * (bars - len(lines))], axis=1)


def without(codes: np.ndarray, unwanted: np.ndarray) -> np.ndarray:
    """Codes without the notes that are ``unwanted``, ``bool [T]``, and without divisions."""
    return codes[:, (codes[POSITION] == LINE) | (codes[POSITION] >= FIRST) & ~unwanted]


def _frame(position: int, instrument: int = 0) -> np.ndarray:
    frame = np.zeros((K, 1), np.int64)
    frame[POSITION], frame[INSTRUMENT] = position, instrument
    return frame
