"""The LM's options and all sizes that follow from them. Imports no torch: an engine asks it at a cold start."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.assemble import ATTENTION, FEED_FORWARD, block_of, latent_sizes
from audiocraft_ext.model.blocks import Block, Norm, Product

# Keys of audiocraft's `transformer_lm` that this model does not have, and the values that switch them off.
_OFF: dict[str, tuple] = {
    "activation": ("gelu",), "causal": (True,),
    "xpos": (False,), "layer_scale": (None,), "past_context": (None,), "cross_attention": (False,),
    "qk_layer_norm": (False,), "qk_layer_norm_cross": (False,), "two_step_cfg": (False,),
    "emb_lr": (None,), "attention_dropout": (None,), "norm_first": (True,), "q_modeling": (None,),
    "weight_init": ("gaussian",), "depthwise_init": ("current",), "zero_bias_init": (True,),
}
_NO_EFFECT = {"custom", "memory_efficient", "attention_as_float32"}  # which kernel computes the same attention
_FIRST = ("n_q", "card", "dim", "num_heads", "num_layers", "hidden_scale", "dropout", "bias_proj", "bias_ff",
          "bias_attn", "max_period", "checkpointing")  # always written; others where they are not the default
CHOICES = {"positional_embedding": ("sin", "rope", "none"), "checkpointing": ("none", "torch"),
           "norm": ("layer", "rms"), "attention": tuple(ATTENTION), "ffn": tuple(FEED_FORWARD)}
LAYERS = "transformer.layers"  # where the layers' weights are, as audiocraft calls them


@dataclass(frozen=True)
class Mla:
    """Latent attention: see :class:`audiocraft_ext.model.blocks.LatentAttention`.

    Attributes:
        q_rank, kv_rank: sizes of the latents of queries, and of keys and values; by default half of ``dim``.
        rope_dim: of a head's ``dim / num_heads`` numbers, those that know positions; by default half.
    """

    q_rank: int | None = None
    kv_rank: int | None = None
    rope_dim: int | None = None


@dataclass(frozen=True)
class Moe:
    """A mixture of experts: see :class:`audiocraft_ext.model.blocks.Mixture`.

    Attributes:
        shared: experts that every token meets; ``routed``: others, of which it meets ``top_k``.
        width: of each; by default such that a token meets as many weights as with ``ffn=gelu``.
        bias_speed: of the balance, an update.
    """

    shared: int = 1
    routed: int = 8
    top_k: int = 2
    width: int | None = None
    bias_speed: float = 0.001

    def __post_init__(self) -> None:
        if not (self.shared >= 1 and 1 <= self.top_k < self.routed and self.bias_speed >= 0):
            raise UserError("transformer_lm.moe: expected shared from 1 on, top_k from 1 to below routed, bias_speed "
                            f"from 0 on, got shared={self.shared}, routed={self.routed}, top_k={self.top_k}, "
                            f"bias_speed={self.bias_speed}")


@dataclass(frozen=True)
class LMConfig:
    """The options of a model, in audiocraft's words, and the sizes that follow from them.

    Attributes:
        n_q, card: K streams, each of codes in ``[0, card)``.
        dim: of the hidden state; the feed-forward block is ``hidden_scale`` times as wide.
        positional_embedding: ``sin`` (added to what comes in) or ``rope`` (queries and keys are turned by it,
            https://arxiv.org/abs/2104.09864), both with ``max_period``; or ``none``: that a step sees only what was
            before it has to do (https://arxiv.org/abs/2203.16634).
        norm: ``layer`` or ``rms`` (root mean square, https://arxiv.org/abs/1910.07467).
        attention: ``mha``; or ``gqa``, where ``kv_heads`` heads of keys and values serve all ``num_heads``
            (https://arxiv.org/abs/2305.13245): a smaller cache; or ``mla``, latent attention, whose options are
            ``mla``: a still smaller one.
        window: frames that a step sees in every layer, besides the first ``sinks`` steps (StreamingLLM,
            https://arxiv.org/abs/2309.17453); empty: all. Needs positions that are relative, ``rope`` or ``none``; then
            a clip of any length is one pass, with a cache that rolls. Step 0, which is always the same, is the sink
            that training makes; more of them keep the prompt in sight.
        ffn: ``gelu``; or ``swiglu``, a gated one (https://arxiv.org/abs/2002.05202), two thirds as wide, so that it
            has as many weights; or ``moe``, a mixture of experts, whose options are ``moe``.
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
    norm: str = "layer"
    attention: str = "mha"
    kv_heads: int | None = None
    mla: Mla | None = None
    window: int | None = None
    sinks: int = 1
    ffn: str = "gelu"
    moe: Moe | None = None

    def __post_init__(self) -> None:
        self._read("mla", Mla, self.attention == "mla", "attention=mla")
        self._read("moe", Moe, self.ffn == "moe", "ffn=moe")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UserError(f"transformer_lm.{name}={getattr(self, name)} is not supported; use "
                                f"{', '.join(known[:-1])} or {known[-1]}")
        if not isinstance(self.qk_norm, bool):
            raise UserError(f"transformer_lm.qk_norm is true or false, got {self.qk_norm!r}")
        if self.num_heads < 1 or self.dim % self.num_heads or self.dim % 2:
            raise UserError(f"transformer_lm.dim={self.dim} must be even and a multiple of num_heads={self.num_heads}")
        if self.positional_embedding == "rope" and self.head_dim % 2:
            raise UserError("transformer_lm.positional_embedding=rope turns pairs of numbers: dim / num_heads must be "
                            f"even, got {self.dim} / {self.num_heads}")
        if (self.attention == "gqa") != (self.kv_heads is not None):
            raise UserError("transformer_lm.kv_heads goes with transformer_lm.attention=gqa, and only with it; got "
                            f"kv_heads={self.kv_heads} and attention={self.attention}")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.num_heads % self.kv_heads):
            raise UserError(f"transformer_lm.kv_heads={self.kv_heads} must divide num_heads={self.num_heads}")
        self._check_latent()
        if self.window is not None and self.positional_embedding == "sin":
            raise UserError("transformer_lm.window needs positions that are relative; set "
                            "transformer_lm.positional_embedding=rope (or none)")
        if self.sinks < 1 or (self.window is not None and self.window < 1):
            raise UserError(f"transformer_lm.window and sinks are from 1 on, got {self.window} and {self.sinks}")

    def _check_latent(self) -> None:
        if self.mla is None:
            return
        rope_dim = latent_sizes(self)[-1]
        if not 0 < rope_dim < self.head_dim or rope_dim % 2:
            raise UserError(f"transformer_lm.mla.rope_dim={rope_dim} must be even and below dim / num_heads, "
                            f"{self.head_dim}")
        if self.qk_norm:
            raise UserError("transformer_lm.attention=mla has norms of its own; leave transformer_lm.qk_norm out")

    def _read(self, name: str, kind: type, wanted: bool, where: str) -> None:
        """An option that has options: a mapping, in which what is empty is as it is by default."""
        value = getattr(self, name)
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if v is not None}
            unknown = value.keys() - {f.name for f in fields(kind)}
            if unknown:
                raise UserError(f"transformer_lm.{name}.{min(unknown)} is not an option of this model; known: "
                                f"{', '.join(f.name for f in fields(kind))}")
            value = kind(**value) if value else None
        if value is not None and not wanted:
            raise UserError(f"transformer_lm.{name} goes with transformer_lm.{where}, and only with it")
        object.__setattr__(self, name, kind() if value is None and wanted else value)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LMConfig:
        """From audiocraft's ``transformer_lm`` mapping; what is empty is as it is by default.

        Raises:
            UserError: an option is set that this model does not have.
        """
        known = {f.name for f in fields(cls)}
        usual = {f.name for f in fields(cls) if f.default is not MISSING}
        d = {key: value for key, value in d.items() if key not in usual or value is not None}
        for key, value in d.items():
            if key in known or key in _NO_EFFECT or key == "kv_repeat":
                continue
            if key not in _OFF:
                raise UserError(f"transformer_lm.{key} is not an option of this model; known: {sorted(known)}")
            if value not in _OFF[key]:
                raise UserError(f"transformer_lm.{key}={value} is not supported; use {_OFF[key][0]}")
        return cls(**_ours({k: v for k, v in d.items() if k in known}, d.get("kv_repeat", 1)))

    def to_dict(self) -> dict[str, Any]:
        usual = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in asdict(self).items() if k in _FIRST or v != usual[k]}

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @cached_property
    def block(self) -> Block:
        """What each layer is."""
        return block_of(self)

    @property
    def out_norm(self) -> Norm:
        """Behind the last layer."""
        return Norm("out_norm", self.dim, self.norm)

    def matrices(self) -> dict[str, Product]:
        """The matrices of all layers, by the full names of their weights."""
        return {f"{LAYERS}.{i}.{p.weight}": p for i in range(self.num_layers) for p in self.block.products}

    def matrix_weights(self) -> int:
        """Number of weights in :meth:`matrices`."""
        return self.num_layers * sum(p.size for p in self.block.products)

    def weights_per_step(self) -> int:
        """How many weights a step of one clip reads: all but the embeddings, norms and biases, and the experts that it
        does not meet."""
        return self.matrix_weights() - self.num_layers * self.block.feed_forward.idle + self.n_q * self.card * self.dim

    def parameter_count(self) -> int:
        """Number of weights, without building the model (the balance of experts is none)."""
        embeddings, heads = self.n_q * (self.card + 1) * self.dim, self.n_q * self.card * (self.dim + self.bias_proj)
        return embeddings + self.num_layers * self.block.parameters + self.out_norm.parameters + heads

    def active_parameters(self) -> int:
        """Those that a token meets."""
        return self.parameter_count() - self.num_layers * self.block.feed_forward.idle

    def cache_shape(self, batch: int, capacity: int) -> tuple[int, ...]:
        """Of the keys and values of ``capacity`` steps: ``[layers, 2, B, H, capacity, D]`` with MusicGen's options;
        see :meth:`Heads.cache_shape`."""
        return self.num_layers, *self.block.attention.heads.cache_shape(batch, capacity)

    def cache_bytes(self, capacity: int, itemsize: int = 4) -> int:
        """Memory of one clip's cache."""
        return itemsize * prod(self.cache_shape(1, capacity))

    def activations(self, frames: int) -> int:
        """Numbers a token that training keeps for the backward pass of clips of ``frames``, without those of the
        K heads."""
        layer = self.block.activations
        if frames > self.block.attention.heads.reach:  # plain products: what each head makes of each pair of steps
            layer += 3 * self.num_heads * frames
        if self.checkpointing == "torch":  # what comes into each layer, and one layer at a time
            return self.num_layers * self.dim + layer
        return self.num_layers * layer


def _ours(d: dict[str, Any], kv_repeat: int) -> dict[str, Any]:
    """Options in audiocraft's words as ours."""
    if d.get("norm") == "layer_norm":
        d["norm"] = "layer"
    if kv_repeat != 1:
        d |= {"attention": "gqa", "kv_heads": d["num_heads"] // kv_repeat}
    return d
