"""The weird tools on codes: pure functions, integers ``[K, T]`` to ``int64 [K, T']``.

``books`` are numbers of codebooks (None: all), ``spans`` pairs of frames, from and behind-the-last (None: the whole
clip). What lies outside of both comes through untouched. Exact positions are fractions of a frame; each is rounded
by itself (:func:`nearest`), so that a figure repeated on a beat that is no whole number of frames does not drift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.sampler import UNKNOWN

PICKS = ("clip", "any")
MAX_FRAMES = 2**20  # hours: what is longer was a slip, and would fill the memory

Spans = Sequence[tuple[int, int]]
Exact = Fraction | int


def nearest(position: Exact) -> int:
    """The nearest whole frame; halves go up, so steps of a frame or more never fall together."""
    return math.floor(position + Fraction(1, 2))


def where(codes: np.ndarray, books: Sequence[int] | None = None, spans: Spans | None = None) -> np.ndarray:
    """``bool [K, T]``: inside of the codebooks and spans."""
    inside = np.zeros(codes.shape, bool)
    for a, b in [(0, codes.shape[1])] if spans is None else spans:
        inside[_rows(codes, books), a:b] = True
    return inside


def swap(a: np.ndarray, b: np.ndarray, books: Sequence[int], spans: Spans | None = None
         ) -> tuple[np.ndarray, np.ndarray]:
    """Exchange codebooks between two clips, as far as both have frames. Twice is nothing."""
    T = min(a.shape[1], b.shape[1])
    inside = where(a[:, :T], books, spans)
    new_a, new_b = _copy(a), _copy(b)
    np.copyto(new_a[:, :T], b[:, :T], where=inside)
    np.copyto(new_b[:, :T], a[:, :T], where=inside)
    return new_a, new_b


def shift(codes: np.ndarray, by: int, books: Sequence[int] | None = None, spans: Spans | None = None) -> np.ndarray:
    """Rotate codebooks in time, within each span: ``by`` frames later, what falls off the end comes in at the start.

    A rotation and not a delay with a gap, so that nothing is lost: shifting back by ``-by`` is nothing.
    """
    return _each_span(codes, books, spans, lambda part: np.roll(part, by % part.shape[1], axis=1))


def recode(codes: np.ndarray, add: int, card: int, books: Sequence[int] | None = None, spans: Spans | None = None
           ) -> np.ndarray:
    """Add a constant to code values, modulo ``card``; ``-add`` undoes it.

    The numbers of a codebook have no order, so this puts an arbitrary sound in the place of each; but always the
    same for the same, so what repeats in the clip still does.
    """
    return np.where(where(codes, books, spans), (_copy(codes) + add % card) % card, codes)


def mutate(codes: np.ndarray, share: float, rng: np.random.Generator, card: int, books: Sequence[int] | None = None,
           spans: Spans | None = None, pick: str = "clip") -> np.ndarray:
    """Replace about a ``share`` of the codes, each chosen by itself; 0 is nothing, 1 is all.

    A larger share replaces what a smaller one does and more; other books or spans change nothing about which.

    Args:
        pick: ``clip`` draws from the codes of the same codebook in this clip, as often as they occur there, so that
            the palette stays; ``any`` draws from the whole codebook. Either may draw the code that was there.
    """
    K, T = codes.shape
    chosen = rng.random((T, K)).T < share
    if pick == "clip":
        drawn = np.take_along_axis(codes, rng.integers(T, size=(T, K)).T, axis=1)
    else:
        drawn = rng.integers(card, size=(T, K)).T
    return np.where(chosen & where(codes, books, spans), drawn, codes).astype(np.int64)


def forget(codes: np.ndarray, books: Sequence[int] | None = None, spans: Spans | None = None) -> np.ndarray:
    """Set codes to :data:`UNKNOWN`: what the engine takes as ``given`` and samples again.

    All but codebook 0 is a reroll, a span is an infill, a span to the end is a prompt.
    """
    return np.where(where(codes, books, spans), UNKNOWN, codes).astype(np.int64)


def reverse(codes: np.ndarray, books: Sequence[int] | None = None, spans: Spans | None = None) -> np.ndarray:
    """Turn the frames of each span round. Twice is nothing. The frames go backwards, not the sound within them."""
    return _each_span(codes, books, spans, lambda part: part[:, ::-1])


def stutter(codes: np.ndarray, at: Exact, length: Exact, times: int, books: Sequence[int] | None = None) -> np.ndarray:
    """Play ``length`` frames from ``at`` so many times in all, over what came after them; the clip stays as long.

    Once is nothing. What goes beyond the end is cut. A piece that rounding makes a frame longer than the first takes
    the frame that followed.
    """
    _check_span(codes, at, length, times)
    out, rows, start, T = _copy(codes), _rows(codes, books), nearest(at), codes.shape[1]
    for i in range(1, times):
        a, b = nearest(at + i * length), min(T, nearest(at + (i + 1) * length))
        if a >= T:
            break
        out[rows, a:b] = codes[rows, start : start + b - a]
    return out


def repeat(codes: np.ndarray, at: Exact, length: Exact, times: int) -> np.ndarray:
    """Play ``length`` frames from ``at`` so many times in all and go on after it: the clip gets longer.

    Once is nothing. All codebooks, or they would come apart.
    """
    _check_span(codes, at, length, times)
    T, start = codes.shape[1], nearest(at)
    cuts = [nearest(at + i * length) for i in range(1, times + 1)]
    if T + cuts[-1] - cuts[0] > MAX_FRAMES:
        raise UserError(f"the clip would have {T + cuts[-1] - cuts[0]} frames, {MAX_FRAMES} is the most")
    # A piece that rounding makes longer takes the frame that followed, at the clip's end its last.
    pieces = [np.minimum(np.arange(start, start + b - a), T - 1) for a, b in zip(cuts, cuts[1:])]
    order = np.concatenate([np.arange(cuts[0]), *pieces, np.arange(cuts[0], T)])
    return _copy(codes[:, order])


def splice(a: np.ndarray, b: np.ndarray, at: int, start: int) -> np.ndarray:
    """The head of ``a`` up to frame ``at``, then ``b`` from its frame ``start`` to its end."""
    return _copy(np.concatenate([a[:, :at], b[:, start:]], axis=1))


def _each_span(codes: np.ndarray, books, spans, change) -> np.ndarray:
    out, rows = _copy(codes), _rows(codes, books)
    for a, b in [(0, codes.shape[1])] if spans is None else spans:
        out[rows, a:b] = change(codes[rows, a:b])
    return out


def _rows(codes: np.ndarray, books: Sequence[int] | None) -> list[int]:
    return list(range(codes.shape[0])) if books is None else list(books)


def _copy(codes: np.ndarray) -> np.ndarray:
    return np.array(codes, np.int64)


def _check_span(codes: np.ndarray, at: Exact, length: Exact, times: int) -> None:
    if times < 1 or length < 1 or nearest(at) < 0 or nearest(at + length) > codes.shape[1]:
        raise UserError(f"expected a span of 1 frame or more within {codes.shape[1]} frames, once or more, "
                        f"got {float(length):g} frames from {float(at):g}, {times} times")
