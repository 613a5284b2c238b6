"""The attention of the LM's step as nodes: positions of queries and keys, and looking at the keys of a cache.

Without a window it is ONNX Runtime's ``GroupQueryAttention``, which looks at the steps so far and writes the cache in
place. A cache that rolls is written by ``ScatterElements``, in place too where the same buffer is bound as past and as
present, and looked at in plain products: all of its places, those that are not to be seen masked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from audiocraft_ext.export.onnx_graph import Graph
from audiocraft_ext.model.attention import rope_rates
from audiocraft_ext.model.blocks import Heads, LatentAttention

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


class State(NamedTuple):
    """What every layer's heads have to know of the new steps: ``seqlens_k`` and ``total_sequence_length``, how far to
    turn queries and keys (``near``) and queries that look at sinks (``far``), and of a cache that rolls their places
    ``[1, 1, S, 1]`` and what each does not see, -inf in ``[S, N]``."""

    lengths: list[str]
    near: tuple[str, str] | None
    far: tuple[str, str] | None = None
    slots: str = ""
    unseen: str = ""


def state_of(g: Graph, heads: Heads, positions: str, lengths: list[str]) -> State:
    """For the new steps ``positions int64 [S]``; the arithmetic is that of :mod:`audiocraft_ext.model.attention`."""
    near = TURNS[heads.position](g, heads, positions)
    if heads.window is None:
        return State(lengths, near)

    def number(value: int) -> str:
        return g.constant(np.int64(value))

    far = TURNS[heads.position](g, heads, g.op("Min", positions, number(int(heads.reach) - 1)))
    N, sinks = heads.places(0), heads.sinks
    index, ring = np.arange(N), number(N - sinks)
    sink = g.constant(index < sinks)
    rolled = g.op("Add", g.op("Mod", g.op("Sub", positions, number(sinks)), ring), number(sinks))
    slots = g.op("Where", g.op("Less", positions, number(sinks)), positions, rolled)
    last = g.op("Gather", positions, number(-1))
    step = g.op("Sub", last, g.op("Mod", g.op("Sub", last, g.constant(index)), ring))
    held = g.op("Where", sink, g.constant(index), step)  # [N]
    there = g.op("Or", sink, g.op("GreaterOrEqual", step, number(sinks)))
    ago = g.op("Sub", g.op("Unsqueeze", positions, g.constant(np.array([1]))), held)  # [S, N]
    near_enough = g.op("Or", sink, g.op("Less", ago, number(heads.window)))
    seen = g.op("And", g.op("And", g.op("GreaterOrEqual", ago, number(0)), near_enough), there)
    unseen = g.op("Where", seen, g.constant(np.float32(0)), g.constant(np.float32(-np.inf)))
    return State(lengths, near, far, g.op("Reshape", slots, g.constant(np.array([1, 1, -1, 1]))), unseen)


def _rope(g: Graph, heads: Heads, positions: str) -> tuple[str, str]:
    """Cosines and sines of how far pairs are turned, each ``[S, D / 2]``; the rates are torch's own."""
    wide = heads.window is not None  # as in :func:`audiocraft_ext.model.attention.rope`
    rates = rope_rates(heads.turned, heads.max_period).numpy().astype(np.float64 if wide else np.float32)
    column = g.op("Unsqueeze", g.op("Cast", positions, to=DOUBLE if wide else FLOAT), g.constant(np.array([1])))
    phase = g.op("Mul", column, g.constant(rates[None]))
    cos, sin = (g.op(kind, phase) for kind in ("Cos", "Sin"))
    return (g.op("Cast", cos, to=FLOAT), g.op("Cast", sin, to=FLOAT)) if wide else (cos, sin)


def turned(g: Graph, x: str, turn: tuple[str, str]) -> str:
    """``x [B, S, H * D]`` with each pair turned. The tables have a row for each new step: no length is built in."""
    return g.op("RotaryEmbedding", x, g.constant(np.array([0])), *turn, domain="com.microsoft", interleaved=1)


# By the positions that heads name.
TURNS = {"none": lambda g, heads, positions: None, "rope": _rope}
POSITIONS = {"none": lambda g, x, turn: x, "rope": turned}


def look(g: Graph, heads: Heads, layer: int, state: State, q: str, k: str = "", v: str = "", far: str = "") -> str:
    """``q [B, S, queries * D]`` and ``k, v [B, S, keys * D]`` of the new steps (without a window ``q`` may be all three
    in one) to ``[B, S, queries * D]``. The cache of the layer becomes inputs and outputs of the graph.

    Args:
        far: the queries where they look at sinks.
    """
    shape = ["B", heads.keys, "P" if heads.window is None else heads.places(0), heads.size]
    kinds = ("key", "value") if heads.values else ("key",)
    past = [g.input(f"past_{kind}.{layer}", FLOAT, shape) for kind in kinds]
    present = [f"present_{kind}.{layer}" for kind in kinds]
    if heads.window is None:
        if not heads.values:  # it writes both, to the same place: the stepper binds one buffer to either
            present = [f"present_{kind}.{layer}" for kind in ("key", "value")]
        scale = {} if heads.scaled == heads.size else {"scale": heads.scaled**-0.5}
        y = g.op("GroupQueryAttention", q, k, v, past[0], past[-1], *state.lengths,
                 outputs=[f"attention.{layer}", *present], domain="com.microsoft", num_heads=heads.queries,
                 kv_num_heads=heads.keys, **scale)[0]
    else:
        for x, old, new in zip((k, v), past, present):
            _write(g, heads, state, x, old, new)
        y = _look_around(g, heads, state, q, far, present[0], present[-1])
    for name in present:
        g.output(name, name, FLOAT, shape)
    return y


def _per_head(g: Graph, x: str, count: int, size: int) -> str:
    """``[B, S, count * D]`` to ``[B, count, S, D]``."""
    return g.op("Transpose", g.op("Reshape", x, g.constant(np.array([0, 0, count, size]))), perm=[0, 2, 1, 3])


def look_at_latents(g: Graph, attention: LatentAttention, layer: int, state: State, q: str, latent: str, shared: str,
                    up: str) -> str:
    """As :meth:`audiocraft_ext.model.attention.TorchHeads.attend_latent`.

    Args:
        q: ``[B, S, H * D]``; ``latent [B, S, kv_rank]`` with its norm; ``shared [B, S, rope_dim]``.
        up: the weight ``[H * (key + D), kv_rank]``.
    """
    def numbers(*values: int) -> str:
        return g.constant(np.array(values))

    heads, H, R = attention.heads, attention.heads.queries, attention.kv_rank
    position, D = POSITIONS[heads.position], attention.apart.size
    by_head = g.op("Reshape", up, numbers(H, -1, R))
    to_key, to_value = g.op("Split", by_head, numbers(attention.key, D), outputs=2, axis=1)
    key, turning = g.op("Split", g.op("Reshape", q, numbers(0, 0, H, D)), numbers(attention.key, attention.rope_dim),
                        outputs=2, axis=-1)  # [B, S, H, ...]
    drawn = g.op("MatMul", g.op("Transpose", key, perm=[0, 2, 1, 3]), to_key)  # [B, H, S, kv_rank]
    drawn, turning = g.op("Transpose", drawn, perm=[0, 2, 1, 3]), g.op("Reshape", turning, numbers(0, 0, -1))

    def query(shared_part: str) -> str:
        whole = g.op("Concat", drawn, g.op("Reshape", shared_part, numbers(0, 0, H, -1)), axis=-1)
        return g.op("Reshape", whole, numbers(0, 0, H * heads.size))

    far = "" if heads.window is None else query(turning if state.far is None else turned(g, turning, state.far))
    keys = g.op("Concat", latent, position(g, shared, state.near), axis=-1)
    y = look(g, heads, layer, state, query(position(g, turning, state.near)), keys, keys, far)
    y = g.op("Slice", _per_head(g, y, H, heads.size), numbers(0), numbers(R), numbers(3))  # [B, H, S, kv_rank]
    y = g.op("FusedMatMul", y, to_value, domain="com.microsoft", transB=1)
    return g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), numbers(0, 0, H * D))


def _write(g: Graph, heads: Heads, state: State, x: str, old: str, new: str) -> None:
    """``x [B, S, keys * D]`` into its places of the cache ``old``, which is ``new`` then."""
    x = _per_head(g, x, heads.keys, heads.size)
    places = g.op("Expand", state.slots, g.op("Shape", x))
    g.op("ScatterElements", old, places, x, outputs=[new], axis=2)


def _look_around(g: Graph, heads: Heads, state: State, near: str, far: str, keys: str, values: str) -> str:
    """As :func:`audiocraft_ext.model.attention.look`. What the sinks' keys give with ``near`` is computed along and
    left out: the rest of the keys by themselves would be a copy of them."""
    G, D = heads.keys, heads.size
    as_rows, numbers = g.constant(np.array([0, G, -1, D])), (lambda *values: g.constant(np.array(values)))

    def scores(q: str, keys: str) -> str:  # [B, keys, queries / keys * S, N]
        rows = g.op("Reshape", _per_head(g, q, heads.queries, D), as_rows)
        return g.op("FusedMatMul", rows, keys, domain="com.microsoft", transB=1, alpha=heads.scaled**-0.5)

    sinks = g.op("Slice", keys, numbers(0), numbers(heads.sinks), numbers(2))
    rest = g.op("Slice", scores(near, keys), numbers(heads.sinks), numbers(heads.places(0)), numbers(3))
    found = g.op("Concat", scores(far, sinks), rest, axis=-1)
    N = heads.places(0)
    by_step = g.op("Reshape", found, g.op("Concat", numbers(0, G, heads.queries // G), g.op("Shape", state.unseen),
                                          axis=0))  # [B, keys, queries / keys, S, N]
    weights = g.op("Softmax", g.op("Add", by_step, state.unseen), axis=-1)
    y = g.op("MatMul", g.op("Reshape", weights, numbers(0, G, -1, N)), values)
    y = g.op("Reshape", y, numbers(0, heads.queries, -1, D))
    return g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), numbers(0, 0, heads.queries * D))
