"""Frames in order, by construction: what would come before the frame it follows is not sampled.

A clip of events (notes, say) has them sorted, and a model that has learned from such clips has seen nothing else. Where
it once leaves the order all the same, it is somewhere where it has never been and tends to stay there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampler import Stepper


class Order(NamedTuple):
    """Each frame comes after the one before it, compared stream by stream as words are letter by letter.

    Attributes:
        streams: those that are compared, the one that counts most first; each later than the one before it.
        first: codes of the first of them that are below it are marks and no places: they may come anywhere, and behind
            one the order begins anew.
        never: marks that are only given.
        most: how many frames may have the same code of the first stream, one after the other; 0 is any.
    """

    streams: Sequence[int]
    first: int
    never: Sequence[int] = ()
    most: int = 0

    def around(self, stepper: Stepper, spec: Spec) -> OrderedStepper:
        """The stepper with what is out of order at -inf. Streams that are not each later than the one before it (by
        the spec's delays) cannot be compared in time; from there on they are free."""
        return OrderedStepper(stepper, self, spec)


class OrderedStepper:
    """What :func:`audiocraft_ext.engine.sampler.stream` asks of a stepper; its logits leave out what is out of order.
    It has the last steps that were read in mind, as many as the delays span."""

    def __init__(self, stepper: Stepper, order: Order, spec: Spec):
        delays = [spec.delays[k] for k in order.streams]
        rising = next((i for i in range(1, len(delays)) if delays[i] <= delays[i - 1]), len(delays))
        self.stepper, self.order, self.special = stepper, order, spec.special_id
        self._delays = dict(zip(order.streams[:rising], delays))
        self._last = order.streams[-1]
        self._shape = spec.n_q, max(delays[rising - 1] - delays[0] + 2, order.most)  # streams, steps

    def start(self, batch: int, capacity: int) -> None:
        self._past = np.full((batch, *self._shape), self.special, np.int64)
        self.stepper.start(batch, capacity)

    def step(self, sequence: np.ndarray) -> np.ndarray:
        self._past = np.concatenate([self._past, sequence], axis=-1)[..., -self._shape[1] :]
        return self._limited(self.stepper.step(sequence))

    def _limited(self, logits: np.ndarray) -> np.ndarray:
        """``logits [B, K, card]`` of the next step, in which stream k tells of the frame that is ``delays[k]`` old."""
        logits, codes = logits.copy(), np.arange(logits.shape[-1])
        place = self.order.streams[0]
        logits[:, place, list(self.order.never)] = -np.inf
        streams = list(self._delays.items())
        for i, (k, delay) in enumerate(streams):
            before = self._past[:, k, -1, None]  # [B, 1], of the frame before
            bound = before < self.special
            for j, earlier in streams[:i]:  # they tell of this frame already
                now = delay - earlier  # steps since this frame's code of the stream j
                bound = bound & (self._past[:, j, -now] == self._past[:, j, -now - 1])[:, None]
            at = delay - self._delays[place] + 1
            bound &= self._past[:, place, -at, None] >= self.order.first
            after = codes >= before + (k == self._last or k == place and self._full(place))
            if k == place:
                after |= codes < self.order.first
            limited = np.where(bound & ~after, -np.inf, logits[:, k])
            possible = np.isfinite(limited).any(axis=-1, keepdims=True)  # behind the highest code there is nothing
            logits[:, k] = np.where(possible, limited, logits[:, k])
        return logits

    def _full(self, place: int) -> np.ndarray:
        """Whether as many frames as there may be have the code of the last one, ``bool [B, 1]``."""
        most = self.order.most
        last = self._past[:, place, -max(1, most) :]
        return (last == last[:, -1:]).all(axis=-1, keepdims=True) & (most > 0)
