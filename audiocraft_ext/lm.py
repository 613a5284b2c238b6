"""MusicGen's language model in plain torch: a causal transformer over K delayed streams of codes.

The weights have audiocraft's names (``LMModel``), so a state dict goes both ways without a change. What is left out
is what an unconditional model never uses: conditioners, cross attention, classifier-free guidance, streaming state.
Architecture: `Simple and Controllable Music Generation <https://arxiv.org/abs/2306.05284>`_, sections 2.2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from audiocraft_ext.delay import delay
from audiocraft_ext.errors import UserError
from audiocraft_ext.gates import Gate, Gates, as_gates
from audiocraft_ext.head_loss import IGNORE, stream_losses

# Keys of audiocraft's `transformer_lm` that this model does not have, and the values that switch them off.
_OFF: dict[str, tuple] = {
    "activation": ("gelu",), "norm": ("layer_norm",), "positional_embedding": ("sin",), "causal": (True,),
    "xpos": (False,), "layer_scale": (None,), "past_context": (None,), "cross_attention": (False,),
    "qk_layer_norm": (False,), "qk_layer_norm_cross": (False,), "kv_repeat": (1,), "two_step_cfg": (False,),
    "emb_lr": (None,), "attention_dropout": (None,), "norm_first": (True,), "q_modeling": (None,),
    "weight_init": ("gaussian",), "depthwise_init": ("current",), "zero_bias_init": (True,),
}
_NO_EFFECT = {"custom", "memory_efficient", "attention_as_float32"}  # which kernel computes the same attention


@dataclass(frozen=True)
class LMConfig:
    """The size of a model, in audiocraft's words."""

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
    checkpointing: str = "none"  # "torch": keep no activations of a layer, compute them again in the backward pass

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.dim % 2:
            raise UserError(f"transformer_lm.dim={self.dim} must be even and a multiple of num_heads={self.num_heads}")
        if self.checkpointing not in ("none", "torch"):
            raise UserError(f"transformer_lm.checkpointing is 'none' or 'torch', got {self.checkpointing!r}")

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
        return asdict(self)

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    def parameter_count(self) -> int:
        """Number of weights, without building the model."""
        d, hidden = self.dim, self.hidden_scale * self.dim
        layer = 4 * d * d + 2 * d * hidden + 4 * d
        layer += self.bias_attn * 4 * d + self.bias_ff * (hidden + d)
        heads = self.n_q * self.card * (d + self.bias_proj)
        return self.n_q * (self.card + 1) * d + self.num_layers * layer + 2 * d + heads


def sin_embedding(positions: torch.Tensor, dim: int, max_period: float) -> torch.Tensor:
    """``positions [S]`` to ``[S, dim]``, cosines first (audiocraft's ``create_sin_embedding``)."""
    half = dim // 2
    rate = torch.arange(half, device=positions.device, dtype=torch.float32) / (half - 1)
    phase = positions.float()[:, None] / max_period**rate
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


class Attention(nn.Module):
    """Causal self-attention with one fused projection."""

    def __init__(self, cfg: LMConfig):
        super().__init__()
        self.num_heads, self.dropout = cfg.num_heads, cfg.dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * cfg.dim, cfg.dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * cfg.dim)) if cfg.bias_attn else None
        self.out_proj = nn.Linear(cfg.dim, cfg.dim, bias=cfg.bias_attn)

    def forward(self, x: torch.Tensor, cache: Cache | None = None, layer: int = 0) -> torch.Tensor:
        B, S, _ = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(B, S, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # each [B, H, S, D]
        if cache is None:
            p = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        else:
            k, v = cache.append(layer, k, v)
            seen = torch.ones(S, k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - S) if S > 1 else None
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out_proj(y.transpose(1, 2).reshape(B, S, -1))


class Layer(nn.Module):
    """Attention and a feed-forward block, each behind a norm and added back."""

    def __init__(self, cfg: LMConfig):
        super().__init__()
        self.self_attn = Attention(cfg)
        self.linear1 = nn.Linear(cfg.dim, cfg.hidden_scale * cfg.dim, bias=cfg.bias_ff)
        self.linear2 = nn.Linear(cfg.hidden_scale * cfg.dim, cfg.dim, bias=cfg.bias_ff)
        self.norm1, self.norm2 = nn.LayerNorm(cfg.dim), nn.LayerNorm(cfg.dim)
        self.dropout = nn.Dropout(cfg.dropout)

    def forward(self, x: torch.Tensor, cache: Cache | None = None, layer: int = 0) -> torch.Tensor:
        x = x + self.dropout(self.self_attn(self.norm1(x), cache, layer))
        return x + self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(self.norm2(x))))))


class Transformer(nn.Module):
    """Only here so that the weights are called ``transformer.layers.0...`` as audiocraft calls them."""

    def __init__(self, cfg: LMConfig):
        super().__init__()
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.num_layers))


class Cache:
    """Keys and values of the steps so far, allocated once: ``[layers, 2, B, H, capacity, D]``. Not for training."""

    def __init__(self, cfg: LMConfig, batch: int, capacity: int, like: torch.Tensor):
        shape = (cfg.num_layers, 2, batch, cfg.num_heads, capacity, cfg.head_dim)
        self.data = torch.zeros(shape, device=like.device, dtype=like.dtype)
        self.length = 0

    def append(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write ``k, v [B, H, S, D]`` behind what is there; returns all keys and values up to their end."""
        end = self.length + k.shape[2]
        keys, values = self.data[layer, 0], self.data[layer, 1]
        keys[:, :, self.length : end], values[:, :, self.length : end] = k, v
        return keys[:, :, :end], values[:, :, :end]


class LM(nn.Module):
    """The model: ``codes`` in, the next codes' logits out.

    Args:
        delays, sizes, gates: see :class:`~audiocraft_ext.spec.Spec`.
    """

    def __init__(self, cfg: LMConfig, delays: tuple[int, ...], sizes: tuple[int, ...] = (),
                 gates: Sequence[Gate] = ()):
        super().__init__()
        if len(delays) != cfg.n_q:
            raise UserError(f"codebooks_pattern has {len(delays)} delays, transformer_lm.n_q is {cfg.n_q}")
        self.cfg, self.delays = cfg, tuple(delays)
        self.sizes, self.gates = tuple(sizes) or (cfg.card,) * cfg.n_q, as_gates(gates)
        self.emb = nn.ModuleList(nn.Embedding(cfg.card + 1, cfg.dim) for _ in range(cfg.n_q))
        self.transformer = Transformer(cfg)
        self.out_norm = nn.LayerNorm(cfg.dim)
        self.linears = nn.ModuleList(nn.Linear(cfg.dim, cfg.card, bias=cfg.bias_proj) for _ in range(cfg.n_q))
        # On the device from the start: what is carried there in an update, the host waits for.
        self.register_buffer("_sizes", torch.tensor(self.sizes)[:, None], persistent=False)
        if self.gates:
            rows = Gates(self.gates, self.delays, cfg.card)
            for name in ("stream", "gate", "opens"):
                self.register_buffer(f"_gates_{name}", torch.from_numpy(getattr(rows, name)), persistent=False)
            self.register_buffer("_gates_row", torch.arange(len(rows))[:, None], persistent=False)  # [G, 1]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """audiocraft's ``weight_init: gaussian, depthwise_init: current``: std 1/sqrt(fan in), cut at 3 sigma, and
        smaller by sqrt(2 * depth) inside layer number ``depth`` (from 1). The fused projection is there a bare
        parameter taken from a ``Linear``, which the rule passes over: it keeps torch's default for a ``Linear``."""

        def gaussian(weight: torch.Tensor, fan_in: int, depth: float = 0.5) -> None:
            std = (fan_in * 2 * depth) ** -0.5
            nn.init.trunc_normal_(weight, 0.0, std, -3 * std, 3 * std)

        for module in [*self.emb, *self.linears]:
            gaussian(module.weight, self.cfg.dim)
        for depth, layer in enumerate(self.transformer.layers, start=1):
            nn.init.uniform_(layer.self_attn.in_proj_weight, -(self.cfg.dim**-0.5), self.cfg.dim**-0.5)
            for linear in (layer.self_attn.out_proj, layer.linear1, layer.linear2):
                gaussian(linear.weight, linear.in_features, depth)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    @property
    def special_id(self) -> int:
        """The code of "nothing here yet", equal to ``card``."""
        return self.cfg.card

    def compile_layers(self, backend: str = "inductor") -> None:
        """Have the layers compiled when they first run: one piece of code for all of them, which takes a fraction of
        the time that the whole model would. The names of the weights stay as they are; sampling is not compiled.

        Raises:
            UserError: there is no compiler.
        """
        try:
            torch.compile(torch.sin, backend=backend)(torch.ones(8, device=self.out_norm.weight.device))
        except Exception as error:  # whatever part of the chain is missing has its own
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"compile=true, but torch.compile does not work here ({reason}); install a C++ compiler "
                            "(g++), or set compile=false") from error
        for layer in self.transformer.layers:
            layer.compile(backend=backend)

    def hidden(self, sequence: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """``sequence [B, K, S]`` (delayed codes) to the last hidden state ``[B, S, dim]``."""
        B, K, S = sequence.shape
        start = cache.length if cache is not None else 0
        x = sum(self.emb[k](sequence[:, k]) for k in range(K))  # [B, S, dim]
        positions = torch.arange(start, start + S, device=sequence.device)
        x = x + sin_embedding(positions, self.cfg.dim, self.cfg.max_period).to(x.dtype)
        for i, layer in enumerate(self.transformer.layers):
            if cache is not None:
                x = layer.forward(x, cache, i)  # not what was compiled: a cache has another length in every step
            elif self.training and self.cfg.checkpointing == "torch":
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
        if cache is not None:
            cache.length += S
        return self.out_norm(x)

    def forward(self, sequence: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """``sequence [B, K, S]`` to ``logits [B, K, S, card]``; step s predicts step s + 1. What a stream cannot take
        has -inf."""
        h = self.hidden(sequence, cache)
        heads = [F.pad(self._head(k, h), (0, self.cfg.card - size), value=-torch.inf)
                 for k, size in enumerate(self.sizes)]
        return torch.stack(heads, dim=1)  # [B, K, S, card]

    def _head(self, k: int, h: torch.Tensor) -> torch.Tensor:
        """``h [..., dim]`` to the logits ``[..., sizes[k]]`` of what stream k can take."""
        linear, size = self.linears[k], self.sizes[k]
        if size == self.cfg.card:
            return linear(h)
        return F.linear(h, linear.weight[:size], None if linear.bias is None else linear.bias[:size])

    def step(self, frame: torch.Tensor, cache: Cache) -> torch.Tensor:
        """One frame of every stream, ``[B, K]``, to the logits of the next, ``[B, K, card]``."""
        return self(frame[:, :, None], cache)[:, :, 0]

    def targets(self, codes: torch.Tensor) -> torch.Tensor:
        """How many codes of each stream are predicted, ``[K]``. What rests behind a closed gate counts: it is
        predicted for certain."""
        return torch.stack([(codes[:, k, : max(0, codes.shape[-1] - d)] < size).sum()
                            for k, (d, size) in enumerate(zip(self.delays, self.sizes))])

    def _labels(self, codes: torch.Tensor) -> torch.Tensor:
        """``codes [B, K, T]`` with IGNORE for what is no target."""
        labels = codes.masked_fill(codes >= self._sizes, IGNORE)
        if self.gates:
            closed = ~self._gates_opens[self._gates_row, codes[:, self._gates_gate]]  # [B, G, T]
            labels[:, self._gates_stream] = labels[:, self._gates_stream].masked_fill(closed, IGNORE)
        return labels

    def losses(self, codes: torch.Tensor, targets: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy of ``codes [B, K, T]`` under the model.

        A code that its stream cannot take is not a target: padding (``card``), the words of a prompt. What a closed
        gate puts to rest costs nothing. As in audiocraft the delayed sequence ends with the clip, so the last
        ``delays[k]`` codes of stream k are not predicted::

            step       0 1 2 3 4          stream k = 2, delay 2, T = 4
            input      . . . a b          "." is the special id
            predicts   . . a b            c and d would need steps 5 and 6

        Args:
            targets: what to divide by, for ``codes`` that are a part of a batch: the :meth:`targets` of the batch.
                The losses of the parts then add up to that of the batch.

        The logits of a few thousand tokens and one head exist at a time (:mod:`audiocraft_ext.head_loss`).

        Returns:
            Mean over the streams (a scalar), and the mean of each stream ``[K]`` in nats (detached; 0 where a stream
            has no target at all).
        """
        B, K, T = codes.shape
        labels = delay(self._labels(codes), self.delays, IGNORE)[..., 1 : T + 1]  # of what each step predicts
        h = self.hidden(delay(codes, self.delays, self.special_id)[..., :T])
        count = (self.targets(codes) if targets is None else targets).clamp(min=1)
        biases = [linear.bias for linear in self.linears] if self.cfg.bias_proj else None
        return stream_losses(h.flatten(0, 1), labels.transpose(0, 1).flatten(1), count, self.sizes,
                             [linear.weight for linear in self.linears], biases)
