"""A layer of the LM as data: which norms, which matrices of which sizes and names, which attention, which activation.

Everything that knows a layer is made from this: the model in training (:mod:`audiocraft_ext.model.lm`), the one with
fixed shapes for a GPU (:mod:`audiocraft_ext.engine.torch.static_lm`), the ONNX graph
(:mod:`audiocraft_ext.export.onnx_lm`), and the sizes (:mod:`audiocraft_ext.model.config`). A new option is a field here
and, in each of the three, one entry in the table of its kind (``NORMS``, ``ACTIVATIONS``, ``POSITIONS``);
tests/model/test_blocks.py then compares them. Imports no torch.

Names are those of the weights inside a layer, as audiocraft has them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

X = TypeVar("X")  # a tensor, or in a graph the name of one
NORM_EPSILON = 1e-5


class Product(NamedTuple):
    """A matrix product with a weight ``[rows, columns]``, ``parts`` matrices one below the other."""

    weight: str
    rows: int
    columns: int
    bias: str | None = None
    parts: int = 1

    @property
    def name(self) -> str:
        """That of the module or of the weight without its end: what a quantised weight is called by."""
        return self.weight.removesuffix(".weight").removesuffix("_weight")

    @property
    def size(self) -> int:
        return self.rows * self.columns


class Norm(NamedTuple):
    """A norm over the last ``size`` numbers. ``layer`` has a weight and a bias, ``rms`` a weight (root mean square,
    https://arxiv.org/abs/1910.07467)."""

    name: str
    size: int
    kind: str = "layer"

    @property
    def parameters(self) -> int:
        return self.size * {"layer": 2, "rms": 1}[self.kind]


class Attention(NamedTuple):
    """Causal self-attention behind a norm.

    Attributes:
        qkv: queries, keys and values in one product; ``out`` of what the heads gave.
        q_norm, k_norm: of each head's queries and keys, or None.
        position: ``none`` (what comes in knows it) or ``rope``, which turns queries and keys
            (:func:`audiocraft_ext.model.lm.rope`) with ``max_period``.
    """

    norm: Norm
    qkv: Product
    out: Product
    heads: int
    head_dim: int
    q_norm: Norm | None
    k_norm: Norm | None
    position: str
    max_period: float


class FeedForward(NamedTuple):
    """Two products with an activation between them, behind a norm."""

    norm: Norm
    up: Product
    down: Product
    activation: str


class Block(NamedTuple):
    """A layer: attention and a feed-forward block, each added back to what came in."""

    attention: Attention
    feed_forward: FeedForward

    @property
    def products(self) -> tuple[Product, ...]:
        """In the order in which they are done."""
        return self.attention.qkv, self.attention.out, self.feed_forward.up, self.feed_forward.down

    @property
    def norms(self) -> tuple[Norm, ...]:
        """In the order in which they are done."""
        attention = self.attention
        norms = (attention.norm, attention.q_norm, attention.k_norm, self.feed_forward.norm)
        return tuple(norm for norm in norms if norm is not None)

    @property
    def parameters(self) -> int:
        return sum(p.size + (p.rows if p.bias else 0) for p in self.products) + sum(n.parameters for n in self.norms)

    @property
    def activations(self) -> int:
        """Numbers a token that a layer keeps in training: its input to each norm, product, activation and sum."""
        down, out = self.feed_forward.down, self.attention.out
        kept = 13 * out.rows + down.columns
        return kept + 2 * sum(n.size * self.attention.heads for n in self.norms if n.kind == "rms")


class Parts(Protocol[X]):
    """One layer's weights, and how to compute with them: what :func:`apply` asks for."""

    def norm(self, norm: Norm, x: X) -> X: ...

    def product(self, product: Product, x: X) -> X: ...

    def attend(self, attention: Attention, qkv: X, state: Any) -> X:
        """``[B, S, 3 * dim]`` to ``[B, S, dim]``."""

    def activate(self, kind: str, x: X) -> X: ...

    def add(self, x: X, y: X) -> X:
        """What came in, and what a half of the layer made of it."""


def apply(block: Block, parts: Parts[X], x: X, state: Any) -> X:
    """A layer's output for ``x [B, S, dim]``; ``state`` is the backend's own, handed on to its attention."""
    attention, feed_forward = block.attention, block.feed_forward
    qkv = parts.product(attention.qkv, parts.norm(attention.norm, x))
    x = parts.add(x, parts.product(attention.out, parts.attend(attention, qkv, state)))
    hidden = parts.product(feed_forward.up, parts.norm(feed_forward.norm, x))
    return parts.add(x, parts.product(feed_forward.down, parts.activate(feed_forward.activation, hidden)))
