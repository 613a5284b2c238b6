"""Weird tools: codes ``[K, T]`` in, codes ``[K, T']`` out, in a chain that is typed on one line.

    --weird "mutate:share=10%,books=1-3; stutter:at=2b,len=1/4b,times=4; reroll:keep=0"

A chain is links with ``;`` between them, done from left to right; a link is ``tool:name=value,name=value``.
Codebooks are numbered from 0, the coarsest: ``0``, ``1-3``, ``1-`` (to the last), ``0+2``, ``all``.
Times have a unit: ``2b`` beats, ``1/4b``, ``1bar`` (four beats), ``0.5s``, ``80ms``, ``10f`` frames; ``at=-1b`` counts
from the end. ``at`` and ``len`` make a span (from the start and to the end where one is left out), ``every`` repeats it
to the end of the clip. Every position is rounded to its nearest frame from its exact time, so nothing drifts.
A name with ``;`` or quotes in it goes in quotes, ``with='a;b.wav'``, a quote in it doubled.

The tools themselves are in :mod:`~audiocraft_ext.audio.weird.tools`; what each sounds like is in docs/WEIRD.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from audiocraft_ext.audio.weird import tools
from audiocraft_ext.audio.weird.text import VALUES, Books, Time, assignments, guess, quoted, read_time, split
from audiocraft_ext.audio.weird.tools import UNKNOWN, nearest
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampling import clip_rng

Resample = Callable[[np.ndarray, int], np.ndarray]  # (given int64 [K, T] with UNKNOWN, seed) -> codes [K, T]


@dataclass(frozen=True)
class Context:
    """What a chain has to know of the clip it works on, and what it may ask for.

    Attributes:
        spec: of the clip's codes.
        seed, index: of the clip; with a link's place in the chain they decide the link's random numbers.
        bpm: beats a minute; None where nothing says so, then beats are refused.
        other: ``name -> codes [K, T]`` of another clip, for ``swap`` and ``splice``.
        resample: fills in what is :data:`UNKNOWN`, for ``reroll`` and ``infill``; the engine's ``given`` with the seed
            that it is called with (the clip's own would give back the very codes that were taken out).
        model: ``name -> (its spec, its resample)``, another instrument, for ``through``.
    """

    spec: Spec
    seed: int
    index: int = 0
    bpm: float | None = None
    other: Callable[[str], np.ndarray] | None = None
    resample: Resample | None = None
    model: Callable[[str], tuple[Spec, Resample]] | None = None


@dataclass(frozen=True)
class Link:
    """One tool and what was set, in the order of :data:`TOOLS`."""

    tool: str
    values: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        values = ",".join(f"{name}={quoted(str(value))}" for name, value in self.values)
        return f"{self.tool}:{values}" if values else self.tool

    def get(self, name: str, default=None):
        return dict(self.values).get(name, default)

    @classmethod
    def parse(cls, text: str) -> Link:
        tool, _, rest = text.partition(":")
        tool = tool.strip()
        if tool not in TOOLS:
            raise UserError(f"no tool {tool!r}{guess(tool, TOOLS)}; there are {', '.join(TOOLS)}")
        required, optional, _ = TOOLS[tool]
        known, found = (*required, *optional), {}
        for name, value in assignments(rest, tool, known):
            if name not in known:
                raise UserError(f"{tool} has no {name!r}{guess(name, known)}; it takes {', '.join(known)}")
            if name in found:
                raise UserError(f"{tool} has {name}= twice")
            read, words = VALUES[name]
            try:
                found[name] = read(value)
            except (ValueError, ZeroDivisionError):
                raise UserError(f"{tool}: {name} is {words}, got {value!r}") from None
        missing = [name for name in required if name not in found]
        if missing:
            raise UserError(f"{tool} needs {missing[0]}=, {VALUES[missing[0]][1]}; it takes {', '.join(known)}")
        if tool == "reroll" and ("keep" in found) == ("books" in found):
            raise UserError("reroll needs either keep= (codebooks that stay) or books= (those that are made again)")
        return cls(tool, tuple((name, found[name]) for name in known if name in found))


@dataclass(frozen=True)
class Chain:
    """Links, done one after the other. ``Chain.parse(str(chain)) == chain``, so the text may stand in a JSON file."""

    links: tuple[Link, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.links))

    @classmethod
    def parse(cls, text: str) -> Chain:
        """Read a chain as it is typed; an empty text is the chain that does nothing.

        Raises:
            UserError: which link is wrong, what was expected and what is there.
        """
        links = []
        for number, part in enumerate((p for p in split(text, ";") if p.strip()), 1):
            try:
                links.append(Link.parse(part.strip()))
            except UserError as error:
                raise UserError(f"weird link {number}: {error}") from None
        return cls(tuple(links))

    def apply(self, codes: np.ndarray, context: Context) -> np.ndarray:
        """Play the chain on a clip.

        Args:
            codes: integers ``[K, T]``, T > 0, in ``[0, card)``; left as they are.

        Returns:
            ``codes int64 [K, T']``, in ``[0, card)``; T' differs from T after ``repeat`` and ``splice`` alone.

        Raises:
            UserError: a link does not fit the clip; the message names it.
        """
        codes = _checked(codes, context.spec, "the clip")
        for position, link in enumerate(self.links):
            try:
                codes = TOOLS[link.tool][2](codes, link, _Place(context, link, position))
            except UserError as error:
                raise UserError(f"weird link {position + 1} ({link}): {error}") from None
            assert codes.min() >= 0 and codes.max() < context.spec.card, f"{link}: {codes.min()} to {codes.max()}"
        return codes

    def check(self, frames: int, context: Context) -> int:
        """Go through the chain without sampling anything, to find what does not fit before a clip is made.

        Args:
            frames: T of the clip to come.

        Returns:
            T', the frames that the clip will have.
        """
        def fill(given: np.ndarray, seed: int) -> np.ndarray:
            return np.maximum(given, 0)

        model = context.model and (lambda name: (context.model(name)[0], fill))
        dry = replace(context, resample=context.resample and fill, model=model)
        return self.apply(np.zeros((context.spec.n_q, frames), np.int64), dry).shape[1]


class _Place:
    """A link at its place in a chain, on a clip: its random numbers, its codebooks and its spans."""

    def __init__(self, context: Context, link: Link, position: int):
        self.context, self.link, self.position = context, link, position

    def rng(self) -> np.random.Generator:
        """A function of (seed, clip index, place of the link); with a seed of its own, that of a first link.

        Each place is 2**128 draws of the clip's own random numbers further on, so none meets another's.
        """
        own = self.link.get("seed")
        jumps = 1 + (self.position if own is None else 0)
        stream = clip_rng(self.context.seed if own is None else own, self.context.index)
        return np.random.Generator(stream.bit_generator.jumped(jumps))

    def books(self) -> list[int]:
        n_q = self.context.spec.n_q
        keep = self.link.get("keep")
        if keep is not None:
            kept = keep.of(n_q)
            return [k for k in range(n_q) if k not in kept]
        return self.link.get("books", Books(((0, None),))).of(n_q)

    def frames(self, time: Time) -> Fraction:
        return time.frames(self.context.spec.frame_rate, self.context.bpm)

    def at(self, T: int, name: str = "at", default: str = "0", clip: str = "the clip") -> Fraction:
        """A position in frames, exactly; a negative one counts from the end of the T frames."""
        time = self.link.get(name, read_time(default))
        at = self.frames(time)
        at += T if time.value < 0 else 0
        if not 0 <= nearest(at) < T:
            raise UserError(f"{name}={time} is frame {nearest(at)}, and {clip} has the frames 0 to {T - 1} "
                            f"({self.context.spec.length(T, 'g')})")
        return at

    def length(self, T: int, at: Fraction, name: str = "len") -> Fraction:
        time = self.link.get(name)
        if time is None:
            return T - at
        length = self.frames(time)
        if length < 1:
            raise UserError(f"{name}={time} is {float(length):.2g} of a frame, and 1 frame is the least "
                            f"({1000 * self.context.spec.seconds(1):g} ms)")
        if name == "len" and nearest(at + length) > T:
            raise UserError(f"the span ends at frame {nearest(at + length)}, and the clip at frame {T} "
                            f"({self.context.spec.length(T, 'g')})")
        return length

    def starts(self, T: int, at: Fraction, taken: Fraction) -> Iterator[Fraction]:
        """``at``, and with ``every`` each further one up to the end; one takes up ``taken`` frames."""
        yield at
        if self.link.get("every") is None:
            return
        every = self.length(T, at, "every")
        if every < taken:
            raise UserError(f"every={self.link.get('every')} is less than the {float(taken):g} frames that it repeats")
        times = 1
        while nearest(at + times * every) < T:
            yield at + times * every
            times += 1

    def spans(self, T: int) -> list[tuple[int, int]]:
        """From and to in frames; the last may be cut short by the end of the clip."""
        at = self.at(T)
        length = self.length(T, at)
        return [(nearest(a), min(T, nearest(a + length))) for a in self.starts(T, at, length)]

    def other(self) -> np.ndarray:
        """The codes of the clip named by ``with``."""
        name = self.link.get("with")
        if self.context.other is None:
            raise UserError(f"another clip ({name}) cannot be had here")
        return _checked(self.context.other(name), self.context.spec, name)

    def resample(self, given: np.ndarray, how: Resample | None) -> np.ndarray:
        """Have what is UNKNOWN sampled, with a seed of the link's own."""
        if how is None:
            raise UserError("nothing to sample with here: it needs a model")
        if (given != UNKNOWN).all():
            return given
        codes = np.asarray(how(given, int(self.rng().integers(2**63))))
        assert codes.shape == given.shape and (codes == given)[given != UNKNOWN].all(), "known codes were changed"
        return codes.astype(np.int64)


def _swap(codes, link, place):
    other = place.other()
    common = min(codes.shape[1], other.shape[1])
    return tools.swap(codes, other, place.books(), place.spans(common))[0]


def _shift(codes, link, place):
    by = nearest(place.frames(link.get("by")))
    return tools.shift(codes, by, place.books(), place.spans(codes.shape[1]))


def _recode(codes, link, place):
    return tools.recode(codes, link.get("add"), place.context.spec.card, place.books(), place.spans(codes.shape[1]))


def _mutate(codes, link, place):
    return tools.mutate(codes, link.get("share"), place.rng(), place.context.spec.card, place.books(),
                        place.spans(codes.shape[1]), link.get("pick", tools.PICKS[0]))


def _reverse(codes, link, place):
    return tools.reverse(codes, place.books(), place.spans(codes.shape[1]))


def _stutter(codes, link, place):
    T, times = codes.shape[1], link.get("times", 4)
    at = place.at(T)
    length = place.length(T, at)
    for start in place.starts(T, at, times * length):
        if nearest(start + length) > T:  # nothing comes after it
            break
        codes = tools.stutter(codes, start, length, times, place.books())
    return codes


def _repeat(codes, link, place):
    at = place.at(codes.shape[1])
    return tools.repeat(codes, at, place.length(codes.shape[1], at), link.get("times", 2))


def _splice(codes, link, place):
    other, at = place.other(), place.at(codes.shape[1])
    start = place.at(other.shape[1], "from", str(link.get("at")), "the other clip")
    return tools.splice(codes, other, nearest(at), nearest(start))


def _reroll(codes, link, place):
    given = tools.forget(codes, place.books(), place.spans(codes.shape[1]))
    return place.resample(given, place.context.resample)


def _through(codes, link, place):
    name = link.get("model")
    if place.context.model is None:
        raise UserError(f"another instrument ({name}) cannot be had here")
    spec, resample = place.context.model(name)
    place.context.spec.check_same_stream(spec, "the clip", name)
    T = codes.shape[1]
    return place.resample(tools.forget(codes, spans=[(nearest(place.at(T)), T)]), resample)


_SPAN = ("books", "at", "len", "every")
TOOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable]] = {  # what each needs, what it may have
    "swap": (("with", "books"), ("at", "len", "every"), _swap),
    "shift": (("by",), _SPAN, _shift),
    "recode": (("add",), _SPAN, _recode),
    "mutate": (("share",), ("pick", *_SPAN, "seed"), _mutate),
    "reverse": ((), _SPAN, _reverse),
    "stutter": (("at", "len"), ("times", "every", "books"), _stutter),
    "repeat": (("at", "len"), ("times",), _repeat),
    "splice": (("with", "at"), ("from",), _splice),
    "reroll": ((), ("keep", *_SPAN, "seed"), _reroll),
    "infill": (("at", "len"), ("every", "books", "seed"), _reroll),
    "through": (("model", "at"), ("seed",), _through),
}


def _checked(codes: np.ndarray, spec: Spec, what: str) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[0] != spec.n_q or codes.shape[1] == 0:
        raise UserError(f"{what}: expected codes [{spec.n_q}, T] with T > 0, got {list(codes.shape)}")
    if codes.min() < 0 or codes.max() >= spec.card:
        raise UserError(f"{what}: expected codes from 0 to {spec.card - 1}, got {codes.min()} to {codes.max()}")
    return codes.astype(np.int64)
