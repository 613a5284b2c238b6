"""The LM's options and all sizes that follow from them. Imports no torch: an engine asks it at a cold start."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.blocks import Attention, Block, FeedForward, Norm, Product

# Keys of audiocraft's `transformer_lm` that this model does not have, and the values that switch them off.
_OFF: dict[str, tuple] = {
    "activation": ("gelu",), "norm": ("layer_norm",), "causal": (True,),
    "xpos": (False,), "layer_scale": (None,), "past_context": (None,), "cross_attention": (False,),
    "qk_layer_norm": (False,), "qk_layer_norm_cross": (False,), "kv_repeat": (1,), "two_step_cfg": (False,),
    "emb_lr": (None,), "attention_dropout": (None,), "norm_first": (True,), "q_modeling": (None,),
    "weight_init": ("gaussian",), "depthwise_init": ("current",), "zero_bias_init": (True,),
}
_NO_EFFECT = {"custom", "memory_efficient", "attention_as_float32"}  # which kernel computes the same attention
_LATER = ("positional_embedding", "qk_norm")  # written where they are not the default: older files do not have them
POSITIONS = ("sin", "rope")
LAYERS = "transformer.layers"  # where the layers' weights are, as audiocraft calls them


@dataclass(frozen=True)
class LMConfig:
    """The options of a model, in audiocraft's words, and the sizes that follow from them.

    Attributes:
        n_q, card: K streams, each of codes in ``[0, card)``.
        dim: of the hidden state; the feed-forward block is ``hidden_scale`` times as wide.
        positional_embedding: ``sin`` (added to what comes in) or ``rope`` (queries and keys are turned by it,
            https://arxiv.org/abs/2104.09864), both with ``max_period``.
        qk_norm: each head's queries and keys have a norm of their own (root mean square). Not one of audiocraft's.
        checkpointing: ``torch`` keeps no activations of a layer, and computes them again in the backward pass.
    """

    n_q: int
    card: int
    dim: int
    num_heads: int
    num_layers: int
    hidden_scale: int = 4
    dropout: float = 0.0
    bias_proj: bool = False
    bias_ff: bool = False
    bias_attn: bool = False
    max_period: float = 10_000.0
    checkpointing: str = "none"
    positional_embedding: str = "sin"
    qk_norm: bool = False

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.dim % self.num_heads or self.dim % 2:
            raise UserError(f"transformer_lm.dim={self.dim} must be even and a multiple of num_heads={self.num_heads}")
        if self.checkpointing not in ("none", "torch"):
            raise UserError(f"transformer_lm.checkpointing is 'none' or 'torch', got {self.checkpointing!r}")
        if self.positional_embedding not in POSITIONS:
            raise UserError(f"transformer_lm.positional_embedding={self.positional_embedding} is not supported; use "
                            f"{' or '.join(POSITIONS)}")
        if self.positional_embedding == "rope" and self.head_dim % 2:
            raise UserError("transformer_lm.positional_embedding=rope turns pairs of numbers: dim / num_heads must be "
                            f"even, got {self.dim} / {self.num_heads}")

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LMConfig:
        """From audiocraft's ``transformer_lm`` mapping.

        Raises:
            UserError: an option is set that this model does not have.
        """
        known = {f.name for f in fields(cls)}
        for key, value in d.items():
            if key in known or key in _NO_EFFECT:
                continue
            if key not in _OFF:
                raise UserError(f"transformer_lm.{key} is not an option of this model; known: {sorted(known)}")
            if value not in _OFF[key]:
                raise UserError(f"transformer_lm.{key}={value} is not supported; use {_OFF[key][0]}")
        return cls(**{k: v for k, v in d.items() if k in known})

    def to_dict(self) -> dict[str, Any]:
        usual = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in asdict(self).items() if k not in _LATER or v != usual[k]}

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @cached_property
    def block(self) -> Block:
        """What each layer is."""
        dim, hidden = self.dim, self.hidden_scale * self.dim

        def product(name: str, rows: int, columns: int, bias: bool, end: str = ".", parts: int = 1) -> Product:
            return Product(f"{name}{end}weight", rows, columns, f"{name}{end}bias" if bias else None, parts)

        q_norm, k_norm = ((Norm(f"self_attn.{x}_norm", self.head_dim, "rms") if self.qk_norm else None) for x in "qk")
        attention = Attention(Norm("norm1", dim), product("self_attn.in_proj", 3 * dim, dim, self.bias_attn, "_", 3),
                              product("self_attn.out_proj", dim, dim, self.bias_attn), self.num_heads, self.head_dim,
                              q_norm, k_norm, "rope" if self.positional_embedding == "rope" else "none",
                              self.max_period)
        feed_forward = FeedForward(Norm("norm2", dim), product("linear1", hidden, dim, self.bias_ff),
                                   product("linear2", dim, hidden, self.bias_ff), "gelu")
        return Block(attention, feed_forward)

    @property
    def out_norm(self) -> Norm:
        """Behind the last layer."""
        return Norm("out_norm", self.dim)

    def matrices(self) -> dict[str, Product]:
        """The matrices of all layers, by the full names of their weights."""
        return {f"{LAYERS}.{i}.{p.weight}": p for i in range(self.num_layers) for p in self.block.products}

    def matrix_weights(self) -> int:
        """Number of weights in :meth:`matrices`."""
        return self.num_layers * sum(p.size for p in self.block.products)

    def weights_per_step(self) -> int:
        """How many weights a step reads: all but the embeddings, norms and biases."""
        return self.matrix_weights() + self.n_q * self.card * self.dim

    def parameter_count(self) -> int:
        """Number of weights, without building the model."""
        embeddings, heads = self.n_q * (self.card + 1) * self.dim, self.n_q * self.card * (self.dim + self.bias_proj)
        return embeddings + self.num_layers * self.block.parameters + self.out_norm.parameters + heads

    def cache_shape(self, batch: int, capacity: int) -> tuple[int, ...]:
        """Of the keys and values of ``capacity`` steps: ``[layers, 2, B, H, capacity, D]``."""
        return self.num_layers, 2, batch, self.num_heads, capacity, self.head_dim

    def cache_bytes(self, capacity: int, itemsize: int = 4) -> int:
        """Memory of one clip's cache."""
        return itemsize * prod(self.cache_shape(1, capacity))

    def activations(self) -> int:
        """Numbers a token that training keeps for the backward pass, without those of the heads."""
        if self.checkpointing == "torch":  # what comes into each layer, and one layer at a time
            return self.num_layers * self.dim + self.block.activations
        return self.num_layers * self.block.activations
