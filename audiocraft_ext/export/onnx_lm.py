"""The LM's step as an ONNX graph: some steps of codes and the cache in, logits and the cache out.

Written by hand and not traced, because two things decide the speed (micro: 13 ms a step against 20 in torch): the
attention is ONNX Runtime's ``GroupQueryAttention``, whose cache has its full size from the start and is written in
place when the same buffer is bound as past and as present; and each matrix product has a constant right side, which
ONNX Runtime packs once. Such a product adds up every row in the same order whatever the number of rows, so a clip is
bit for bit the same alone and in a batch (tests/engine/test_engine.py). Attention is in
:mod:`audiocraft_ext.export.onnx_heads`.

Three precisions of the products (:mod:`audiocraft_ext.export.quantize`), all else is fp32. int8 quantises each row of
the left side with a scale of its own (``DynamicQuantizeLinear`` has one for the whole batch, and a clip would depend on
its neighbours); the sums are integers, so they are exact in any order. int4 is ONNX Runtime's ``MatMulNBits``, which
quantises the left side in blocks of a row; it keeps the law for two rows and more (:mod:`audiocraft_ext.engine.onnx`).

Inputs (B clips, S new steps, P capacity of the cache in steps, H heads of size D):
    codes int64 [B, K, S], positions int64 [S] (of the new steps, from 0), seqlens_k int32 [B] (steps in the cache
    after this call, minus 1), total_sequence_length int32 [1] (the same without the minus 1),
    past_key.{layer}, past_value.{layer} float32 [B, H, P, D] (H heads of keys and values; P is built in where the
    model has a window: :meth:`audiocraft_ext.model.blocks.Heads.places`).
Outputs:
    logits float32 [B, S, K, card], present_key.{layer}, present_value.{layer} as the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.export.onnx_graph import Graph
from audiocraft_ext.export.onnx_heads import POSITIONS, State, look, look_at_latents, state_of, turned
from audiocraft_ext.export.quantize import BLOCK, HEADS
from audiocraft_ext.model import blocks
from audiocraft_ext.model.blocks import NORM_EPSILON, Norm
from audiocraft_ext.model.config import LAYERS, LMConfig

ROW_MAX = 127  # of a quantised row
MANY = 8  # more streams have one table and one matrix: each node costs some microseconds of a step
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


def write_lm(cfg: LMConfig, weights: Path, out: Path, sizes: Sequence[int] = ()) -> None:
    """Write the step graph of an LM.

    Args:
        weights: a safetensors file with audiocraft's names (fp32, fp16, or of
            :func:`audiocraft_ext.export.quantize.in_bytes`), or one of :func:`audiocraft_ext.export.quantize.write`.
        sizes: how many values each stream takes; the logits of others are -inf. () is ``card`` of all.

    Raises:
        UserError: a size that the attention kernel does not take.
    """
    heads = cfg.block.attention.heads
    if heads.size % 8:
        what = "dim / num_heads" if cfg.mla is None else "mla.kv_rank + mla.rope_dim"
        raise UserError(f"expected transformer_lm.{what} to be a multiple of 8 (ONNX Runtime's attention), got "
                        f"{heads.size}")
    g = Graph("lm", weights)
    codes = g.input("codes", INT64, ["B", cfg.n_q, "S"])
    positions = g.input("positions", INT64, ["S"])
    lengths = [g.input("seqlens_k", INT32, ["B"]), g.input("total_sequence_length", INT32, [1])]

    x = _embed(g, cfg, codes)  # [B, S, dim]
    if cfg.positional_embedding == "sin":
        x = g.op("Add", x, _sin_embedding(g, cfg, positions))
    state = state_of(g, heads, positions, lengths)
    for i in range(cfg.num_layers):
        x = blocks.apply(cfg.block, OnnxLayer(g, i), x, state)
    x = NORMS[cfg.out_norm.kind](g, x, cfg.out_norm.name)
    logits = _heads(g, cfg, x)
    if sizes:
        possible = np.arange(cfg.card) < np.array(sizes)[:, None]  # [K, card]
        logits = g.op("Add", logits, g.constant(np.where(possible, 0, -np.inf).astype(np.float32).reshape(-1)))
    g.op("Reshape", logits, g.constant(np.array([0, 0, cfg.n_q, cfg.card])), outputs=["logits"])
    g.output("logits", "logits", FLOAT, ["B", "S", cfg.n_q, cfg.card])
    g.save(out)


def _embed(g: Graph, cfg: LMConfig, codes: str) -> str:
    """The sum of the streams' embeddings. Rows are taken first and made fp32 after: no table is read whole."""
    if cfg.n_q > MANY:
        return _embed_many(g, cfg, codes)
    streams = g.op("Split", codes, outputs=cfg.n_q, axis=1, num_outputs=cfg.n_q) if cfg.n_q > 1 else [codes]
    rows = []
    for k, stream in enumerate(streams):
        name = f"emb.{k}.weight"
        row = g.op("Gather", _table(g, name), g.op("Squeeze", stream, g.constant(np.array([1]))))  # [B, S, dim]
        rows.append(g.op("Cast", row, to=FLOAT) if g.entries[name]["dtype"] == "F16" else row)
    return g.op("Sum", *rows)


def _table(g: Graph, name: str) -> str:
    """A table of embeddings as it is stored; one of int8 as fp32, for its rows have scales."""
    return g.weight(name) if g.entries[name]["dtype"] == "I8" else g.stored(name)


def _embed_many(g: Graph, cfg: LMConfig, codes: str) -> str:
    """The tables of many streams as one, put together when the graph loads. The streams come first, so that their sum
    adds up whole rows, in one order for any number of clips."""
    names = [f"emb.{k}.weight" for k in range(cfg.n_q)]
    begins = np.arange(cfg.n_q)[:, None, None] * (cfg.card + 1)
    places = g.op("Add", g.op("Transpose", codes, perm=[1, 0, 2]), g.constant(begins))  # [K, B, S]
    rows = g.op("Gather", g.op("Concat", *(_table(g, name) for name in names), axis=0), places)
    if g.entries[names[0]]["dtype"] == "F16":
        rows = g.op("Cast", rows, to=FLOAT)
    return g.op("ReduceSum", rows, g.constant(np.array([0])), keepdims=0)  # [K, B, S, dim] to [B, S, dim]


def _heads(g: Graph, cfg: LMConfig, x: str) -> str:
    """``[B, S, K * card]``; quantised, or where they are many, the K heads are one matrix."""
    if cfg.n_q > MANY and not _is_quantised(g, HEADS) and not cfg.bias_proj:
        weight = g.op("Concat", *(g.weight(f"linears.{k}.weight") for k in range(cfg.n_q)), axis=0)
        return g.op("FusedMatMul", x, weight, domain="com.microsoft", transB=1)
    if not _is_quantised(g, HEADS):
        heads = [_linear(g, x, f"linears.{k}") for k in range(cfg.n_q)]
        return g.op("Concat", *heads, axis=-1) if cfg.n_q > 1 else heads[0]
    y = _product(g, x, HEADS)
    biases = [f"linears.{k}.bias" for k in range(cfg.n_q)]
    if biases[0] not in g.entries:
        return y
    return _biased(g, y, g.op("Concat", *map(g.weight, biases), axis=0), HEADS)


def _sin_embedding(g: Graph, cfg: LMConfig, positions: str) -> str:
    """``[S, dim]``, cosines first. The divisors are torch's own: at step 3000 one bit of them moves a sine by 3e-4."""
    rate = torch.arange(cfg.dim // 2, dtype=torch.float32) / (cfg.dim // 2 - 1)
    divisors = (torch.tensor(cfg.max_period, dtype=torch.float32) ** rate).numpy()
    column = g.op("Unsqueeze", g.op("Cast", positions, to=FLOAT), g.constant(np.array([1])))  # [S, 1]
    phase = g.op("Div", column, g.constant(divisors[None]))  # [S, dim / 2]
    return g.op("Concat", g.op("Cos", phase), g.op("Sin", phase), axis=-1)


def _layer_norm(g: Graph, x: str, name: str) -> str:
    return g.op("LayerNormalization", x, g.weight(f"{name}.weight"), g.weight(f"{name}.bias"), axis=-1,
                epsilon=NORM_EPSILON)


def _rms_norm(g: Graph, x: str, name: str) -> str:
    return g.op("SimplifiedLayerNormalization", x, g.weight(f"{name}.weight"), axis=-1, epsilon=NORM_EPSILON)


def _swiglu(g: Graph, x: str) -> str:
    gate, let_through = g.op("Split", x, outputs=2, axis=-1, num_outputs=2)
    return g.op("Mul", g.op("QuickGelu", gate, domain="com.microsoft", alpha=1.0), let_through)  # of alpha 1: SiLU


# By the kinds that a block names.
NORMS = {"layer": _layer_norm, "rms": _rms_norm}
ACTIVATIONS = {"gelu": lambda g, x: g.op("Gelu", x), "swiglu": _swiglu}


class OnnxLayer:
    """Nodes of one layer, :class:`~audiocraft_ext.model.blocks.Parts` of values by their names.

    Attributes:
        rows: whether what comes into a product always has some.
    """

    rows = True

    def __init__(self, g: Graph, i: int):
        self.g, self.i = g, i

    def norm(self, norm: Norm, x: str) -> str:
        return NORMS[norm.kind](self.g, x, f"{LAYERS}.{self.i}.{norm.name}")

    def product(self, product: blocks.Product, x: str) -> str:
        dot = product.weight.removeprefix(product.name)[0]
        return _linear(self.g, x, f"{LAYERS}.{self.i}.{product.name}", dot, self.rows)

    def attend(self, attention: blocks.Attention, qkv: str, state: State) -> str:
        heads, g = attention.heads, self.g
        if attention.q_norm is None and heads.position == "none" and heads.window is None:
            return look(g, heads, self.i, state, qkv)
        sizes = np.array([n * heads.size for n in (heads.queries, heads.keys, heads.keys)])
        q, k, v = g.op("Split", qkv, g.constant(sizes), outputs=3, axis=-1)
        q, k = self._per_head(heads, attention.q_norm, q), self._per_head(heads, attention.k_norm, k)
        near, k = (POSITIONS[heads.position](g, x, state.near) for x in (q, k))
        far = q if state.far is None else turned(g, q, state.far)
        return look(g, heads, self.i, state, near, k, v, far)

    def attend_latent(self, attention: blocks.LatentAttention, q: str, kv: str, state: State) -> str:
        sizes = self.g.constant(np.array([attention.kv_rank, attention.rope_dim]))
        latent, shared = self.g.op("Split", kv, sizes, outputs=2, axis=-1)
        up = self.g.weight(f"{LAYERS}.{self.i}.{attention.kv_up.weight}")
        return look_at_latents(self.g, attention, self.i, state, q, self.norm(attention.kv_norm, latent), shared, up)

    def _per_head(self, heads: blocks.Heads, norm: Norm | None, x: str) -> str:
        """``x [B, S, n * D]`` with the norm over each head."""
        if norm is None:
            return x
        each = self.g.op("Reshape", x, self.g.constant(np.array([0, 0, -1, heads.size])))
        return self.g.op("Reshape", self.norm(norm, each), self.g.constant(np.array([0, 0, -1])))

    def activate(self, kind: str, x: str) -> str:
        return ACTIVATIONS[kind](self.g, x)

    def mix(self, mixture: blocks.Mixture, x: str, shared: str) -> str:
        """Each expert is given its tokens, and no others; one that has none takes no time."""
        g, name = self.g, f"{LAYERS}.{self.i}"
        tokens, out = (g.op("Reshape", part, g.constant(np.array([-1, mixture.norm.size]))) for part in (x, shared))
        affinity = g.op("Sigmoid", _product(g, tokens, f"{name}.{mixture.router.name}"))  # [N, E]
        balanced = g.op("Add", affinity, g.weight(f"{name}.{mixture.balance}"))
        _, chosen = g.op("TopK", balanced, g.constant(np.array([mixture.top_k])), outputs=2, axis=-1)
        gates = g.op("GatherElements", affinity, chosen, axis=-1)  # [N, top_k]
        if mixture.top_k > 1:
            gates = g.op("Div", gates, g.op("ReduceSum", gates, g.constant(np.array([-1])), keepdims=1))
        for e, expert in enumerate(mixture.experts):
            places = g.op("Transpose", g.op("NonZero", g.op("Equal", chosen, g.constant(np.int64(e)))))  # [n, 2]
            places = g.op("Unsqueeze", places, g.constant(np.array([0])))  # [1, n, 2]: products have three axes here
            rows = g.op("Slice", places, *(g.constant(np.array([at])) for at in (0, 1, 2)))  # [1, n, 1]
            said = self._apart(expert, g.op("GatherND", tokens, rows))
            said = g.op("Mul", said, g.op("Unsqueeze", g.op("GatherND", gates, places), g.constant(np.array([2]))))
            out = g.op("ScatterND", out, rows, said, reduction="add")
        return g.op("Reshape", out, g.op("Shape", x))

    def _apart(self, expert: blocks.Dense, x: str) -> str:
        """``x [1, n, dim]``. Of int4 the first token is there twice: its kernel treats one row differently."""
        g = self.g
        if f"{LAYERS}.{self.i}.{expert.up.name}.int4" not in g.entries:
            return expert.apply(OnnxExpert(g, self.i), x)
        first, second, last = (g.constant(np.array([at])) for at in (0, 1, -1))
        twice = expert.apply(OnnxExpert(g, self.i), g.op("Concat", x, g.op("Slice", x, first, second, second), axis=1))
        return g.op("Slice", twice, first, last, second)

    def add(self, x: str, y: str) -> str:
        return self.g.op("Add", x, y)


class OnnxExpert(OnnxLayer):
    """Of an expert, which may have no token at all."""

    rows = False


def _linear(g: Graph, x: str, name: str, dot: str = ".", rows: bool = True) -> str:
    """``x [B, S, in]`` by the weight of ``name``; a bias only where the file has one. ``rows``: S is never 0."""
    y, bias = _product(g, x, name, dot, rows), f"{name}{dot}bias"
    return _biased(g, y, g.weight(bias), name) if bias in g.entries else y


def _biased(g: Graph, y: str, bias: str, name: str) -> str:
    """The product of ``name`` and its bias. Behind an int8 product it is a Sum: ONNX Runtime 1.31 draws an Add into its
    ``MatMulIntegerToFloat``, whose bias is wrong where each row has a scale of its own."""
    return g.op("Sum" if f"{name}.int8" in g.entries else "Add", y, bias)


def _is_quantised(g: Graph, name: str) -> bool:
    return f"{name}.scale" in g.entries


def _product(g: Graph, x: str, name: str, dot: str = ".", rows: bool = True) -> str:
    if not _is_quantised(g, name):
        return g.op("FusedMatMul", x, g.weight(f"{name}{dot}weight"), domain="com.microsoft", transB=1)
    if f"{name}.int8" in g.entries:
        return _product_int8(g, x, name, rows)
    rows, blocks, _ = g.shape(f"{name}.int4")
    return g.op("MatMulNBits", x, *(g.stored(f"{name}.{part}") for part in ("int4", "scale", "zero")),
                domain="com.microsoft", K=blocks * BLOCK, N=rows, bits=4, block_size=BLOCK, accuracy_level=4)


def _product_int8(g: Graph, x: str, name: str, rows: bool) -> str:
    """Rows to uint8 around 128 with a scale each, an exact integer product, and both scales back in."""
    greatest = g.op("ReduceMax", g.op("Abs", x), g.constant(np.array([-1])), keepdims=1)  # [B, S, 1]
    if not rows:  # ONNX Runtime 1.31 leaves the last axis as it is where another is 0
        greatest = g.op("Slice", greatest, *(g.constant(np.array([at])) for at in (0, 1, -1)))
    scale = g.op("Max", g.op("Mul", greatest, g.constant(np.float32(1 / ROW_MAX))), g.constant(np.float32(1e-12)))
    zero = np.uint8(ROW_MAX + 1)
    q = g.op("Cast", g.op("Add", g.op("Round", g.op("Div", x, scale)), g.constant(np.float32(zero))),
             to=TensorProto.UINT8)
    y = g.op("Cast", g.op("MatMulInteger", q, g.stored(f"{name}.int8"), g.constant(zero)), to=FLOAT)
    return g.op("Mul", y, g.op("Mul", scale, g.stored(f"{name}.scale")))
