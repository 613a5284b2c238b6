"""A layer of the LM as data: which norms, which matrices of which sizes and names, which attention, which activation.

Everything that knows a layer is made from this: the model in training (:mod:`audiocraft_ext.model.layers`), the one
with fixed shapes for a GPU (:mod:`audiocraft_ext.engine.torch.static_lm`), the ONNX graph
(:mod:`audiocraft_ext.export.onnx_lm`), and the sizes (:mod:`audiocraft_ext.model.config`). A new option is a field here
and, in each of the three, one entry in the table of its kind (``NORMS``, ``ACTIVATIONS``, ``POSITIONS``), or a method
of :class:`Parts`; tests/model/test_blocks.py and test_combinations.py then compare them. Imports no torch.

Names are those of the weights inside a layer, as audiocraft has them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol, TypeVar

X = TypeVar("X")  # a tensor, or in a graph the name of one
NORM_EPSILON = 1e-5
AT_ONCE = 64  # steps that are read at once into a cache that rolls, at most


class Product(NamedTuple):
    """A matrix product with a weight ``[rows, columns]``; ``parts`` are the rows of each matrix, where several lie one
    below the other in it. An ``exact`` one stays as it is where weights are quantised."""

    weight: str
    rows: int
    columns: int
    bias: str | None = None
    parts: tuple[int, ...] = ()
    exact: bool = False

    @property
    def name(self) -> str:
        """That of the module or of the weight without its end: what a quantised weight is called by."""
        return self.weight.removesuffix(".weight").removesuffix("_weight")

    @property
    def bare(self) -> bool:
        """A parameter and no module: audiocraft's fused projection."""
        return not self.weight.endswith(".weight")

    @property
    def size(self) -> int:
        return self.rows * self.columns

    @property
    def parameters(self) -> int:
        return self.size + (self.rows if self.bias else 0)


class Norm(NamedTuple):
    """A norm over the last ``size`` numbers. ``layer`` has a weight and a bias, ``rms`` a weight (root mean square,
    https://arxiv.org/abs/1910.07467)."""

    name: str
    size: int
    kind: str = "layer"

    @property
    def parameters(self) -> int:
        return self.size * {"layer": 2, "rms": 1}[self.kind]


class Heads(NamedTuple):
    """How queries look at keys, and what of them a cache holds.

    Attributes:
        queries, keys: heads of either; ``queries / keys`` neighbours look at the same keys and values (grouped queries,
            https://arxiv.org/abs/2305.13245).
        size: of a key and of a value; ``turned``, the last so many numbers of a key know positions.
        position: ``none`` (what comes in knows it, or nothing does) or ``rope``, which turns queries and keys
            (:func:`audiocraft_ext.model.attention.rope`) with ``max_period``.
        values: False: keys are values too, and a cache holds them once.
        scaled: scores are divided by its root.
        window: a step sees itself and ``window - 1`` before it, and the first ``sinks`` of the clip; None: all. Beyond
            the window the sinks are as far away as if they lay right before it (StreamingLLM,
            https://arxiv.org/abs/2309.17453 section 3.2), so no distance is longer than ``reach``.
    """

    queries: int
    keys: int
    size: int
    turned: int
    scaled: int
    position: str
    max_period: float
    values: bool = True
    window: int | None = None
    sinks: int = 0

    @property
    def reach(self) -> float:
        """How many steps a step sees, itself included."""
        return math.inf if self.window is None else self.sinks + self.window

    def places(self, capacity: int) -> int:
        """Of a cache for ``capacity`` steps. One with a window rolls: behind the sinks step t has the place of t modulo
        what is left, which is enough for the windows of all steps that are read at once. It is the same for all clips,
        so that what is added up does not depend on their length."""
        return capacity if self.window is None else self.sinks + self.window + AT_ONCE - 1

    def cache_shape(self, batch: int, capacity: int) -> tuple[int, ...]:
        """Of a layer: ``[2, B, keys, places, size]`` (1 where keys are values)."""
        return 1 + self.values, batch, self.keys, self.places(capacity), self.size


class Attention(NamedTuple):
    """Causal self-attention behind a norm.

    Attributes:
        qkv: queries, keys and values in one product; ``out`` of what the heads gave.
        q_norm, k_norm: of each head's queries and keys, or None.
    """

    norm: Norm
    qkv: Product
    out: Product
    heads: Heads
    q_norm: Norm | None
    k_norm: Norm | None

    @property
    def products(self) -> tuple[Product, ...]:
        return self.qkv, self.out

    @property
    def norms(self) -> tuple[Norm, ...]:
        return tuple(norm for norm in (self.norm, self.q_norm, self.k_norm) if norm is not None)

    @property
    def activations(self) -> int:
        """Numbers a token kept in training: of the norm, the product's output (normed again), the heads' output."""
        normed = 2 * self.heads.size * (self.heads.queries + self.heads.keys) if self.q_norm else 0
        return 2 * self.qkv.columns + self.qkv.rows + 2 * self.out.rows + normed

    def apply(self, parts: Parts[X], x: X, state: Any) -> X:
        qkv = parts.product(self.qkv, parts.norm(self.norm, x))
        return parts.product(self.out, parts.attend(self, qkv, state))


class LatentAttention(NamedTuple):
    """Causal self-attention whose keys and values are made of one latent vector a step (multi-head latent attention,
    DeepSeek-V2, https://arxiv.org/abs/2405.04434 section 2.1).

    Queries are made by way of a latent too. A head's key is one part made from the latent and one of ``rope_dim`` that
    all heads share and that alone knows positions. Only the latent, with its norm, and the shared key are cached: what
    makes keys of it is drawn into the queries, and what makes values into what comes out (``kv_up``, which therefore is
    no product of a step).

    Attributes:
        kv_up: of each head the rows for its key and then for its value, ``[(H * (key + value)), kv_rank]``.
        heads: as a cache sees it, where all heads look at the latents; ``apart``: with keys and values of their own, as
            a whole clip is computed in training.
    """

    norm: Norm
    q_down: Product
    q_norm: Norm
    q_up: Product
    kv_down: Product
    kv_norm: Norm
    kv_up: Product
    out: Product
    heads: Heads
    apart: Heads
    kv_rank: int
    rope_dim: int

    @property
    def products(self) -> tuple[Product, ...]:
        return self.q_down, self.q_up, self.kv_down, self.kv_up, self.out

    @property
    def norms(self) -> tuple[Norm, ...]:
        return self.norm, self.q_norm, self.kv_norm

    @property
    def key(self) -> int:
        """Numbers of a head's key that are made from the latent; its value has ``apart.size``."""
        return self.apart.size - self.rope_dim

    @property
    def activations(self) -> int:
        normed = self.q_norm.size + self.kv_norm.size
        made = self.q_down.rows + self.kv_down.rows + self.kv_up.rows + 2 * self.q_up.rows
        return 2 * self.norm.size + normed + made + self.apart.queries * self.apart.size + 2 * self.out.rows

    def apply(self, parts: Parts[X], x: X, state: Any) -> X:
        x = parts.norm(self.norm, x)
        q = parts.product(self.q_up, parts.norm(self.q_norm, parts.product(self.q_down, x)))
        return parts.product(self.out, parts.attend_latent(self, q, parts.product(self.kv_down, x), state))


class Dense(NamedTuple):
    """Two products with an activation between them.

    ``gelu``; or ``swiglu``, for which ``up`` gives a gate and what it lets through
    (https://arxiv.org/abs/2002.05202 section 2).
    """

    up: Product
    down: Product
    activation: str

    @property
    def products(self) -> tuple[Product, ...]:
        return self.up, self.down

    @property
    def activations(self) -> int:
        gated = self.down.columns if self.activation == "swiglu" else 0  # the gate as it is when it is multiplied
        return self.up.rows + self.down.columns + gated

    def apply(self, parts: Parts[X], x: X) -> X:
        return parts.product(self.down, parts.activate(self.activation, parts.product(self.up, x)))


class FeedForward(NamedTuple):
    """A feed-forward block behind a norm."""

    norm: Norm
    dense: Dense

    @property
    def products(self) -> tuple[Product, ...]:
        return self.dense.products

    @property
    def norms(self) -> tuple[Norm, ...]:
        return (self.norm,)

    @property
    def idle(self) -> int:
        """Weights that a token does not meet."""
        return 0

    @property
    def activations(self) -> int:
        return 2 * self.norm.size + self.dense.activations

    def apply(self, parts: Parts[X], x: X, state: Any) -> X:
        return self.dense.apply(parts, parts.norm(self.norm, x))


class Mixture(NamedTuple):
    """A mixture of experts behind a norm (DeepSeekMoE, https://arxiv.org/abs/2401.06066 section 3; routed and balanced
    as in DeepSeek-V3, https://arxiv.org/abs/2412.19437 section 2.1.2).

    Every token meets the ``shared`` expert, which may be as wide as several, and those ``top_k`` of the ``experts``
    whose affinity (a sigmoid of ``router``) and ``balance`` together are the highest. What an expert says is multiplied
    by its affinity, as a share of those chosen; a single one's by the affinity itself, which a share of one would hide
    from the gradient. ``balance`` has no gradient: after each update it rises by ``bias_speed`` for an expert that was
    chosen less than the mean, and falls for one that was chosen more. No other loss, no token dropped.
    """

    norm: Norm
    shared: Dense
    router: Product
    balance: str
    experts: tuple[Dense, ...]
    top_k: int
    bias_speed: float

    @property
    def products(self) -> tuple[Product, ...]:
        return *self.shared.products, self.router, *(p for expert in self.experts for p in expert.products)

    @property
    def norms(self) -> tuple[Norm, ...]:
        return (self.norm,)

    @property
    def idle(self) -> int:
        return (len(self.experts) - self.top_k) * sum(p.parameters for p in self.experts[0].products)

    @property
    def activations(self) -> int:
        """Of each chosen expert also its tokens, gathered, and what it says of them, twice."""
        one = self.experts[0].activations + 3 * self.norm.size
        return 3 * self.norm.size + self.shared.activations + 2 * len(self.experts) + self.top_k * one

    def apply(self, parts: Parts[X], x: X, state: Any) -> X:
        x = parts.norm(self.norm, x)
        return parts.mix(self, x, self.shared.apply(parts, x))


class Block(NamedTuple):
    """A layer: attention and a feed-forward block, each added back to what came in."""

    attention: Attention | LatentAttention
    feed_forward: FeedForward | Mixture

    @property
    def products(self) -> tuple[Product, ...]:
        """In the order in which they are done."""
        return self.attention.products + self.feed_forward.products

    @property
    def norms(self) -> tuple[Norm, ...]:
        """In the order in which they are done."""
        return self.attention.norms + self.feed_forward.norms

    @property
    def parameters(self) -> int:
        return sum(p.parameters for p in self.products) + sum(n.parameters for n in self.norms)

    @property
    def routing(self) -> tuple[str, ...]:
        """Names of what decides which experts a token meets: fp32 in any precision."""
        half = self.feed_forward
        return (half.router.weight, half.balance) if isinstance(half, Mixture) else ()

    @property
    def activations(self) -> int:
        """Numbers a token that a layer keeps in training: what comes into each norm, product and activation."""
        return self.attention.activations + self.feed_forward.activations


class Parts(Protocol[X]):
    """One layer's weights, and how to compute with them: what :func:`apply` asks for."""

    def norm(self, norm: Norm, x: X) -> X: ...

    def product(self, product: Product, x: X) -> X: ...

    def attend(self, attention: Attention, qkv: X, state: Any) -> X:
        """``[B, S, (queries + 2 * keys) * size]`` to ``[B, S, queries * size]``."""

    def attend_latent(self, attention: LatentAttention, q: X, kv: X, state: Any) -> X:
        """``q [B, S, H * D]`` and ``kv [B, S, kv_rank + rope_dim]`` to ``[B, S, H * D]``."""

    def activate(self, kind: str, x: X) -> X: ...

    def mix(self, mixture: Mixture, x: X, shared: X) -> X:
        """What the chosen experts say of ``x [B, S, dim]``, added to what the shared one does."""

    def add(self, x: X, y: X) -> X:
        """What came in, and what a half of the layer made of it."""


def apply(block: Block, parts: Parts[X], x: X, state: Any) -> X:
    """A layer's output for ``x [B, S, dim]``; ``state`` is the backend's own, handed on to its attention."""
    for half in block:
        x = parts.add(x, half.apply(parts, x, state))
    return x
