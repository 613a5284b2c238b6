"""The next codes from logits: how they are chosen, and where the randomness comes from.

Everything is done row by row: what a row gives depends on that row's logits, settings and uniform alone, bit for bit,
whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from audiocraft_ext.core.errors import UserError

_BLOCK = 64  # the search for a code goes over sums of blocks first: a running sum over all of card costs more
TAMEST = 1e-30  # a temperature between 0 and this counts as this: float32 holds its inverse

# What is wrong with one value, and the rule in words.
_RULES = {
    "temperature": (lambda v: np.isfinite(v) and v >= 0, "0 (always the likeliest code) or more"),
    "top_k": (lambda v: v >= 0 and v % 1 == 0, "0 (off) or a number of codes to choose among"),
    "top_p": (lambda v: 0 < v <= 1, "a share of the probability above 0, up to 1 (off)"),
    "min_p": (lambda v: 0 <= v < 1, "0 (off) or a share of the likeliest code's probability, below 1"),
}


@dataclass(frozen=True)
class Sampling:
    """How the next code is chosen; each setting is one number, or a tuple with one number per codebook.

    They act in this order, which is that of transformers' ``generate``: the temperature reshapes the distribution,
    then each filter judges what the one before left. llama.cpp has the same three filters in the same order and the
    temperature last; here it comes first, as in audiocraft, so that top_p and min_p are shares of the distribution
    that is drawn from, and a wilder temperature lets more codes through. All filters keep the likeliest codes down to
    some probability, so codes that tie at the edge all stay, as in audiocraft's top_k.

    Attributes:
        temperature: above 1 wilder, below 1 tamer; 0 takes the likeliest code (the first of equals), whatever the
            filters say.
        top_k: only codes at least as likely as the ``top_k``-th likeliest. 0 is off; beyond ``card`` means all.
        top_p: only the likeliest codes that together have this share of the probability that ``top_k`` left; 1 is off
            (nucleus sampling, https://arxiv.org/abs/1904.09751 section 3.1).
        min_p: only codes at least this many times as likely as the likeliest; 0 is off
            (https://arxiv.org/abs/2407.01082).

    Raises:
        UserError: something that is no number, nor a row of numbers. :meth:`check` looks at their values.
    """

    temperature: float | tuple[float, ...] = 1.0
    top_k: int | tuple[int, ...] = 250
    top_p: float | tuple[float, ...] = 1.0
    min_p: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for name in _RULES:
            value = getattr(self, name)
            many = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
            numbers = tuple(_number(name, v) for v in value) if many else _number(name, value)
            object.__setattr__(self, name, numbers)

    def check(self, n_q: int) -> None:
        """Make sure that every value can be used, and that there is one per codebook where there are several.

        Raises:
            UserError: names the setting, the rule and what came.
        """
        for name, (good, rule) in _RULES.items():
            value = getattr(self, name)
            many = isinstance(value, tuple)
            if many and len(value) != n_q:
                raise UserError(f"{name} is one number or {n_q} (one per codebook), got {len(value)}: "
                                f"{', '.join(map(str, value))}")
            for k, v in enumerate(value if many else (value,)):
                if not good(v):
                    raise UserError(f"{name} is {rule}, got {v}" + (f" for codebook {k}" if many else ""))

    def clamped(self, card: int) -> tuple[Sampling, str | None]:
        """The same with ``top_k`` no larger than ``card``, and a line that says so where it changed something."""
        many = isinstance(self.top_k, tuple)
        kept = tuple(min(k, card) for k in self.top_k) if many else min(self.top_k, card)
        if kept == self.top_k:
            return self, None
        largest = max(self.top_k) if many else self.top_k
        return replace(self, top_k=kept), f"top_k {largest} is more than the {card} codes there are: all of them"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: a number stays one, numbers per codebook become a list."""
        return {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in _RULES}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Sampling:
        """The inverse of :meth:`to_dict`; a setting that is not there has its default.

        Raises:
            UserError: a setting that is not known, or not a number.
        """
        unknown = d.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise UserError(f"expected the sampling settings {', '.join(_RULES)}, got {', '.join(sorted(unknown))}")
        return cls(**d)

    def widened(self, n_q: int) -> Sampling:
        """The same for ``n_q`` codebooks: where there is one number for each, the last stands for those behind it."""
        rows = {name: value + value[-1:] * (n_q - len(value)) for name in _RULES
                if isinstance(value := getattr(self, name), tuple)}
        return replace(self, **rows) if rows else self

    def rows(self, name: str, n_q: int) -> tuple:
        """A setting's value for each codebook."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,) * n_q


def _number(name: str, value: Any) -> float | int:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise UserError(f"{name} is a number, or one per codebook, got {value!r}")
    return int(value) if name == "top_k" and value % 1 == 0 else float(value)


def clip_rng(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one clip, a function of ``seed`` and the clip's ``index`` (each 0 to 2**64 - 1).

    Clip 7 of a batch of ten, of ten batches of one, or made alone, draws the same numbers. Philox is a counter under
    a key, so neighbouring seeds and indices share nothing.
    """
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**64:
            raise UserError(f"the {name} is a number from 0 to 2**64 - 1, got {value}")
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


class Plan(NamedTuple):
    """A :class:`Sampling` as arrays; None where a step has nothing to do."""

    greedy: np.ndarray | None  # bool [K]
    temperature: np.ndarray | None  # float32 [K, 1], None where all are 1
    partition: tuple[int, ...] | None  # where a row is parted for top_k: there then lie the least codes kept
    off: np.ndarray | None  # bool [K], codebooks without top_k, where others have it
    least: int | tuple  # index of the least code kept: of a row, or of each codebook
    widest: int  # as many of the likeliest are enough for every codebook's top_k
    top_p: np.ndarray | None  # float64 [K, 1]
    min_p: np.ndarray | None  # float32 [K, 1]

    @property
    def plain(self) -> bool:
        """Whether codes are drawn as likely as the model has them."""
        return all(part is None for part in (self.greedy, self.temperature, self.partition, self.top_p, self.min_p))


@lru_cache(maxsize=64)
def planned(sampling: Sampling, n_q: int, card: int) -> Plan:
    """Settings checked, and worked out once for all the steps of a clip.

    Raises:
        UserError: see :meth:`Sampling.check`.
    """
    sampling.check(n_q)
    temperature, top_p, min_p = (np.array(sampling.rows(name, n_q))[:, None] for name in
                                 ("temperature", "top_p", "min_p"))  # float64 [K, 1]
    top_k = [k if 0 < k < card else card for k in sampling.rows("top_k", n_q)]
    least = [card - k for k in top_k]  # 0: all are kept
    cuts = tuple(sorted(set(least) - {0}))
    same = len(set(least)) == 1
    greedy = temperature[:, 0] == 0
    temperature = np.where(temperature == 0, 1, np.maximum(temperature, TAMEST)).astype(np.float32)
    return Plan(greedy if greedy.any() else None,
                 temperature if (temperature != 1).any() else None,
                 cuts or None, None if all(least) else np.array(least) == 0,
                 least[0] if same else (np.arange(n_q), np.array(least)), max(top_k),
                 top_p if (top_p < 1).any() else None,
                 min_p.astype(np.float32) if (min_p > 0).any() else None)


def sample(logits: np.ndarray, sampling: Sampling, uniforms: np.ndarray,
           gates: np.ndarray | None = None) -> np.ndarray:
    """Draw one code per stream.

    Args:
        logits: ``float32 [B, K, card]``.
        uniforms: ``float64 [B, K]`` in [0, 1): the point of the cumulated distribution that is taken.
        gates: ``int64 [G]``, streams whose 0 is nothing and all else something (``Gates.sources``; a gate that opens
            by a set of codes is none of them). There it is first whether, then what:
            the temperature acts on each of the two choices, a filter on the second alone. Else a temperature below 1
            would choose the one nothing over many kinds of something that are together as likely.

    Returns:
        ``codes int64 [B, K]``, every one in ``[0, card)``.

    Raises:
        UserError: a bad setting, or logits that hold a NaN or +inf.
    """
    B, K, card = logits.shape
    plan = planned(sampling, K, card)
    if gates is not None and len(gates) and not plan.plain:
        return _sample_gated(logits, plan, uniforms, gates)
    top = logits.max(axis=-1, keepdims=True)  # [B, K, 1]; a NaN in the row comes through
    if not np.isfinite(top).all():
        raise UserError("the model's output is not finite; its weights are damaged or its training had diverged")
    if plan.greedy is None:
        return _draw(_weights(logits, top, plan), uniforms)
    likeliest = logits.argmax(axis=-1)
    if plan.greedy.all():
        return likeliest
    return np.where(plan.greedy, likeliest, _draw(_weights(logits, top, plan), uniforms))


def _sample_gated(logits: np.ndarray, plan: Plan, uniforms: np.ndarray, gates: np.ndarray) -> np.ndarray:
    """As :func:`sample`, whether before what for the streams ``gates``."""
    inner = logits.copy()
    inner[:, gates, 0] = -np.inf
    top = inner.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all() or np.isnan(logits).any():
        raise UserError("the model's output is not finite; its weights are damaged or its training had diverged")
    nothing = logits[:, gates, 0].astype(np.float64)  # [B, G]
    highest = top[:, gates, 0].astype(np.float64)
    something = highest + np.log(np.exp(inner[:, gates] - top[:, gates]).sum(axis=-1, dtype=np.float64))
    likeliest = inner.argmax(axis=-1)
    likeliest[:, gates] = np.where(nothing >= something, 0, likeliest[:, gates])
    if plan.greedy is not None and plan.greedy.all():
        return likeliest
    weights = _weights(inner, top, plan)
    higher = np.maximum(nothing, something)
    tempered = 1.0 if plan.temperature is None else plan.temperature[gates, 0].astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        none, some = np.exp((nothing - higher) / tempered), np.exp((something - higher) / tempered)
    kinds = weights[:, gates]
    kinds *= (some / kinds.sum(axis=-1, dtype=np.float64))[..., None].astype(np.float32)
    kinds[..., 0] = none
    weights[:, gates] = kinds
    drawn = _draw(weights, uniforms)
    return drawn if plan.greedy is None else np.where(plan.greedy, likeliest, drawn)


def _weights(logits: np.ndarray, top: np.ndarray, plan: Plan) -> np.ndarray:
    """Probabilities up to a factor, ``float32 [B, K, card]``: 1 for the likeliest, 0 for what a filter took out."""
    weights = _tempered(logits - top, plan)
    likeliest = logits  # [B, K, widest], in no order
    if plan.partition is not None:
        parted = np.partition(logits, plan.partition, axis=-1)
        least = parted[..., plan.least] if isinstance(plan.least, int) else parted[:, plan.least[0], plan.least[1]]
        if plan.off is not None:
            least = np.where(plan.off, -np.inf, least)
        weights *= logits >= least[..., None]
        likeliest = parted[..., -plan.widest :]
    if plan.top_p is not None:
        weights *= logits >= _nucleus(likeliest, top, weights.sum(axis=-1, keepdims=True), plan)
    if plan.min_p is not None:
        weights *= weights >= plan.min_p
    return weights


def _tempered(z: np.ndarray, plan: Plan) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(z if plan.temperature is None else z / plan.temperature)


def _nucleus(likeliest: np.ndarray, top: np.ndarray, total: np.ndarray, plan: Plan) -> np.ndarray:
    """The logit of the last code that top_p keeps, ``[B, K, 1]``: the one under the point top_p, when the codes lie in
    the order of their probability.

    Args:
        likeliest: the logits that may be kept, or more, in any order. Of codes that tie at the end of top_k some may
            be missing: they weigh as much as the last that is there, and stay or go with it.
        total: the weight of all that may be kept, ``[B, K, 1]``.
    """
    falling = -np.sort(-likeliest, axis=-1)  # [B, K, W]
    point = np.nextafter(plan.top_p * total, 0)  # [B, K, 1]; codes that have top_p to the last bit are enough
    last = np.take_along_axis(falling, _find(_tempered(falling - top, plan), point[..., 0])[..., None], axis=-1)
    return np.where(plan.top_p < 1, last, -np.inf)


def _draw(weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """The code under each uniform: ``weights [B, K, card]``, ``uniforms [B, K]`` to ``int64 [B, K]``."""
    return _find(weights, uniforms, relative=True)


def _find(weights: np.ndarray, points: np.ndarray, relative: bool = False) -> np.ndarray:
    """Where the running sum of ``weights [B, K, N]`` first exceeds ``points [B, K]``, ``int64 [B, K]``; at the end the
    last weight that is not 0.

    Args:
        relative: the points are shares of the whole sum.
    """
    B, K, N = weights.shape
    if N <= _BLOCK:  # one running sum, which stays level behind the last weight and ends above every point
        running = weights.cumsum(axis=-1)
        total = running[..., -1].astype(np.float64)
        point = np.minimum(points * total if relative else points, np.nextafter(total, 0))
        return (running <= point[..., None]).sum(axis=-1)
    if N % _BLOCK:
        whole = np.zeros((B, K, N + -N % _BLOCK), weights.dtype)
        whole[..., :N] = weights
        weights = whole
    rows = weights.reshape(B * K, -1, _BLOCK)
    cumulated = rows.sum(axis=-1).cumsum(axis=-1).astype(np.float64)  # [B * K, blocks]
    total = cumulated[:, -1]
    point = points.reshape(-1) * total if relative else points.reshape(-1)
    point = np.minimum(point, np.nextafter(total, 0))  # below total, so that a block is found
    block = (cumulated <= point[:, None]).sum(axis=-1)
    each = np.arange(B * K)
    point -= np.where(block > 0, cumulated[each, block - 1], 0.0)
    inside = rows[each, block]  # [B * K, _BLOCK], its sum is above 0
    within = (inside.cumsum(axis=-1) <= point[:, None]).sum(axis=-1)
    # The block's two sums may differ in the last bit and put the point behind its end: then its last possible code.
    last = _BLOCK - 1 - (inside[:, ::-1] > 0).argmax(axis=-1)
    return (block * _BLOCK + np.minimum(within, last)).reshape(B, K)
