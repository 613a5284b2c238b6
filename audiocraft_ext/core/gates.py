"""Streams that say something only where another stream's code lets them.

Used by the loss (what is no target), the sampling loops (what rests instead of being sampled) and the baselines: all
of them ask :meth:`Gate.open`, or the table that is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from audiocraft_ext.core.errors import UserError


class Gate(NamedTuple):
    """``stream`` counts only in frames where the code of the stream ``gate`` opens it; elsewhere it holds ``rest``,
    which is known and therefore neither learned nor sampled.

    A gated stream may be a gate itself. Where it rests, its code is its rest code, and what hangs on it is open or not
    by that code.

    Attributes:
        opens: the codes of ``gate`` that open ``stream``; () is every code but 0. A gate of the latter sort is nothing
            or something, and is sampled so (see :func:`audiocraft_ext.engine.sampling.sample`).
    """

    stream: int
    gate: int
    rest: int
    opens: tuple[int, ...] = ()

    def open(self, codes: np.ndarray) -> np.ndarray:
        """Where ``codes`` of the stream ``gate`` open this one: bool, of the same shape."""
        return np.isin(codes, self.opens) if self.opens else codes != 0

    def to_list(self) -> list:
        """For JSON: ``[stream, gate, rest]``, with ``opens`` behind it where it is not ()."""
        return [self.stream, self.gate, self.rest, *([list(self.opens)] if self.opens else [])]


def as_gates(gates: Iterable[Gate | Sequence]) -> tuple[Gate, ...]:
    """Gates, or their :meth:`Gate.to_list`, as gates in order.

    Raises:
        UserError: something that is no gate.
    """
    found = []
    for gate in gates:
        try:
            stream, source, rest, *opens = gate.to_list() if isinstance(gate, Gate) else gate
            codes = tuple(sorted({int(code) for code in opens[0]})) if opens else ()
            if len(opens) > 1 or (opens and not codes):
                raise ValueError("more than the codes that open it, or none")
            found.append(Gate(int(stream), int(source), int(rest), codes))
        except (TypeError, ValueError):
            raise UserError(f"expected gates [stream, gate, rest] or [stream, gate, rest, [codes that open it, one at "
                            f"least]], got {gate!r}") from None
    return tuple(sorted(found))


def check(gates: Sequence[Gate], delays: Sequence[int], card: int) -> None:
    """Raise a :class:`UserError` unless each gate names streams and codes that there are, is the only one of its
    stream, is seen no later than it, and hangs on itself in no way."""
    K = len(delays)
    source = {gate.stream: gate.gate for gate in gates}
    for gate in gates:
        codes = (gate.rest, *gate.opens)
        known = 0 <= min(gate.stream, gate.gate, *codes) and max(gate.stream, gate.gate) < K and max(codes) < card
        if not known or sum(other.stream == gate.stream for other in gates) > 1 \
                or delays[gate.gate] > delays[gate.stream]:
            raise UserError(f"expected gates of streams (0 to {K - 1}) that have one each, with a delay no larger and "
                            f"codes below card={card}, got {gate.to_list()} with delays {list(delays)}")
        at, seen = gate.gate, {gate.stream}
        while at in source and at not in seen:
            seen.add(at)
            at = source[at]
        if at in seen:
            raise UserError(f"expected gates without a circle, got {[g.to_list() for g in gates]}: stream {at} would "
                            "decide whether it counts itself")


class Gates:
    """The gates of a spec as arrays of a row each.

    A row comes behind that of the gate it hangs on.

    Attributes:
        stream, gate, rest: ``int64 [G]``, of :class:`Gate`.
        lag: ``int64 [G]``, how many steps earlier the gate's code of the same frame is seen.
        opens: ``bool [G, card + 1]``, whether a code of the gate opens the stream.
        levels: slices of rows that do not hang on each other, in the order in which they are closed.
        sources: streams that are nothing or something (0 or not) to what hangs on them.
    """

    def __init__(self, gates: Sequence[Gate], delays: Sequence[int], card: int):
        source, depth = {gate.stream: gate.gate for gate in gates}, {}
        for gate in gates:
            at, depth[gate] = gate.gate, 0
            while at in source:
                at, depth[gate] = source[at], depth[gate] + 1
        rows = sorted(gates, key=depth.__getitem__)  # of equals the order stays
        ends = np.cumsum([list(depth.values()).count(level) for level in range(max(depth.values(), default=-1) + 1)])
        self.levels = [slice(int(begin), int(end)) for begin, end in zip([0, *ends], ends)]
        self.stream, self.gate, self.rest = np.array([g.to_list()[:3] for g in rows], np.int64).reshape(-1, 3).T
        self.lag = np.asarray(delays)[self.stream] - np.asarray(delays)[self.gate]
        self.opens = np.array([g.open(np.arange(card + 1)) for g in rows], bool).reshape(-1, card + 1)
        self.sources = np.unique([g.gate for g in rows if not g.opens]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.stream)

    def same(self, other: Gates) -> bool:
        return all(np.array_equal(getattr(self, name), getattr(other, name))
                   for name in ("stream", "gate", "rest", "lag", "opens", "sources"))

    def close(self, sequence: np.ndarray, s: int, unknown: np.ndarray) -> None:
        """Put to rest what was unknown in step ``s`` of ``sequence [B, K, S]`` and has its gate closed.

        Args:
            unknown: ``bool [B, K]``.
        """
        for rows in self.levels:
            stream = self.stream[rows]
            codes = sequence[:, self.gate[rows], np.maximum(s - self.lag[rows], 0)]  # [B, gates]
            closed = unknown[:, stream] & ~self.opens[np.arange(len(self))[rows], codes]
            sequence[:, stream, s] = np.where(closed, self.rest[rows], sequence[:, stream, s])
