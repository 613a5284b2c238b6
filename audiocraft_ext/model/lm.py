"""MusicGen's language model in plain torch: a causal transformer over K delayed streams of codes.

The weights have audiocraft's names (``LMModel``), so a state dict goes both ways without a change. What is left out
is what an unconditional model never uses: conditioners, cross attention, classifier-free guidance, streaming state.
Architecture: `Simple and Controllable Music Generation <https://arxiv.org/abs/2306.05284>`_, sections 2.2 and 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gate, Gates, as_gates
from audiocraft_ext.model.attention import State, held, slots, turns, visible
from audiocraft_ext.model.config import LMConfig
from audiocraft_ext.model.experts import Router
from audiocraft_ext.model.head_loss import IGNORE, stream_losses
from audiocraft_ext.model.layers import NORMS, Cache, Layer


def sin_embedding(positions: torch.Tensor, dim: int, max_period: float) -> torch.Tensor:
    """``positions [S]`` to ``[S, dim]``, cosines first (audiocraft's ``create_sin_embedding``)."""
    half = dim // 2
    rate = torch.arange(half, device=positions.device, dtype=torch.float32) / (half - 1)
    phase = positions.float()[:, None] / max_period**rate
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


class Transformer(nn.Module):
    """Only here so that the weights are called ``transformer.layers.0...`` as audiocraft calls them."""

    def __init__(self, cfg: LMConfig):
        super().__init__()
        self.layers = nn.ModuleList(Layer(cfg.block, cfg.dropout) for _ in range(cfg.num_layers))


class LM(nn.Module):
    """The model: ``codes`` in, the next codes' logits out.

    Args:
        delays, sizes, gates: see :class:`~audiocraft_ext.core.spec.Spec`.
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
        self.out_norm = NORMS[cfg.out_norm.kind](cfg.out_norm)
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
            for product in self.cfg.block.products:
                weight = layer.get_parameter(product.weight)
                if product.bare:
                    nn.init.uniform_(weight, -(product.columns**-0.5), product.columns**-0.5)
                else:
                    gaussian(weight, product.columns, depth)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    @property
    def routers(self) -> list[Router]:
        """Of the layers that are mixtures of experts."""
        return [module for module in self.modules() if isinstance(module, Router)]

    def rebalance(self, learned: bool = True) -> None:
        """Give experts that are met too seldom more to do; after each update of the weights. What was counted for one
        that was skipped (``learned`` is false) is forgotten."""
        for router in self.routers:
            router.rebalance(self.cfg.block.feed_forward.bias_speed * learned)

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
        if self.cfg.positional_embedding == "sin":
            x = x + sin_embedding(positions, self.cfg.dim, self.cfg.max_period).to(x.dtype)
        state = self._state(positions, cache)
        for i, layer in enumerate(self.transformer.layers):
            if cache is not None:  # not what was compiled: a cache has another length in every step
                x = layer.forward(x, state._replace(cache=cache.data[i]))
            elif self.training and self.cfg.checkpointing == "torch":
                x = checkpoint(layer, x, state, use_reentrant=False)
            else:
                x = layer(x, state)
        if cache is not None:
            cache.length += S
        return self.out_norm(x)

    def _state(self, at: torch.Tensor, cache: Cache | None) -> State:
        """What the layers have to know of the steps ``at [S]``, but for their part of the cache."""
        heads = self.cfg.block.attention.heads
        if cache is None:
            return State(*turns(heads, at), visible(heads, at, at) if len(at) > heads.reach else None)
        places = torch.arange(heads.places(cache.length + len(at)), device=at.device)
        return State(*turns(heads, at), visible(heads, at, held(heads, at[-1], places)), slots(heads, at))

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

        The logits of a few thousand tokens and one head exist at a time (:mod:`audiocraft_ext.model.head_loss`).

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
