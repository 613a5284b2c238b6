"""The layers of the LM in torch, for training and with a cache that grows; made from a
:class:`~audiocraft_ext.model.blocks.Block`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from audiocraft_ext.model import blocks
from audiocraft_ext.model.attention import State, TorchHeads, joined, look, remembered
from audiocraft_ext.model.blocks import NORM_EPSILON
from audiocraft_ext.model.config import LMConfig
from audiocraft_ext.model.experts import Router, route


class RMSNorm(nn.RMSNorm):
    """In float32 whatever comes in, as autocast does it for ``LayerNorm``."""

    def __init__(self, size: int):
        super().__init__(size, NORM_EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float()).to(x.dtype)


def _swiglu(x: torch.Tensor) -> torch.Tensor:
    gate, let_through = x.chunk(2, dim=-1)
    return F.silu(gate) * let_through


# By the kinds that a block names: modules for its norms, functions for its activation.
NORMS = {"layer": lambda norm: nn.LayerNorm(norm.size, NORM_EPSILON), "rms": lambda norm: RMSNorm(norm.size)}
ACTIVATIONS = {"gelu": F.gelu, "swiglu": _swiglu}
LINEARS = {"router": Router}  # products that are more than a linear module, by name


class Layer(TorchHeads, nn.Module):
    """A :class:`~audiocraft_ext.model.blocks.Block` with its weights, and the
    :class:`~audiocraft_ext.model.blocks.Parts` of it."""

    def __init__(self, block: blocks.Block, dropout: float):
        super().__init__()
        self.block, self.p = block, dropout
        for product in block.products:
            self._add(product.weight if product.bare else product.name, product)
        for norm in block.norms:
            self._add(norm.name, norm)
        self.dropout = nn.Dropout(dropout)

    def _add(self, name: str, what: blocks.Product | blocks.Norm) -> None:
        """Below modules that are only there for the names of what is in them."""
        *path, last = name.split(".")
        place: nn.Module = self
        for step in path:
            if step not in place._modules:
                place.add_module(step, nn.Module())
            place = place.get_submodule(step)
        if isinstance(what, blocks.Norm):
            place.add_module(last, NORMS[what.kind](what))
        elif what.bare:
            place.register_parameter(last, nn.Parameter(torch.empty(what.rows, what.columns)))
            if what.bias:
                place.register_parameter(what.bias.split(".")[-1], nn.Parameter(torch.zeros(what.rows)))
        else:
            place.add_module(last, LINEARS.get(last, nn.Linear)(what.columns, what.rows, bias=what.bias is not None))

    def forward(self, x: torch.Tensor, state: State) -> torch.Tensor:
        """``x [B, S, dim]``."""
        return blocks.apply(self.block, self, x, state)

    def norm(self, norm: blocks.Norm, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(norm.name)(x)

    def weight(self, name: str) -> torch.Tensor:
        return self.get_parameter(name)

    def product(self, product: blocks.Product, x: torch.Tensor) -> torch.Tensor:
        if product.bare:
            bias = None if product.bias is None else self.get_parameter(product.bias)
            return F.linear(x, self.get_parameter(product.weight), bias)
        return self.get_submodule(product.name)(x)

    def look(self, heads: blocks.Heads, near: torch.Tensor, far: torch.Tensor | None, k: torch.Tensor,
             v: torch.Tensor, state: State) -> torch.Tensor:
        p, S = self.p if self.training else 0.0, near.shape[2]
        if state.seen is None:
            return F.scaled_dot_product_attention(near, k, v, dropout_p=p, is_causal=True,
                                                  enable_gqa=heads.keys != heads.queries)
        if state.cache is not None:
            k, v = remembered(state, k, v)
        if far is None and heads.keys == heads.queries:
            every = state.cache is not None and S == 1 and heads.window is None
            return F.scaled_dot_product_attention(near, k, v, None if every else state.seen, p)
        return look(heads, near, far, k, v, state.seen, p)

    def attend_latent(self, attention: blocks.LatentAttention, q: torch.Tensor, kv: torch.Tensor,
                      state: State) -> torch.Tensor:
        """A whole clip has keys and values of its own for each head: longer to make, much quicker to look at."""
        if state.cache is not None:
            return super().attend_latent(attention, q, kv, state)
        heads = attention.apart
        latent, shared, key, near, far = self.latents(attention, q, kv, state)
        made = self.product(attention.kv_up, latent).unflatten(-1, (heads.keys, -1)).transpose(1, 2)
        k, v = made.split([attention.key, heads.size], dim=-1)
        k = torch.cat([k, shared[:, None].expand(-1, heads.keys, -1, -1)], dim=-1)
        near, far = (turn if turn is None else torch.cat([key, turn], dim=-1) for turn in (near, far))
        return joined(self.look(heads, near, far, k, v, state))

    def activate(self, kind: str, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(ACTIVATIONS[kind](x))

    def mix(self, mixture: blocks.Mixture, x: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
        """Each expert is given its tokens, and no others."""
        tokens, out = x.flatten(0, 1), shared.flatten(0, 1)
        chosen, gates = route(mixture, self.router.weight, self.router.balance, tokens)
        self.router.count(chosen)
        for e, expert in enumerate(mixture.experts):
            rows, which = (chosen == e).nonzero(as_tuple=True)
            said = expert.apply(self, tokens[rows]) * gates[rows, which, None]
            out = out.index_add(0, rows, said.to(out.dtype))
        return out.view_as(x)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(y)


class Cache:
    """Keys and values of the steps so far, allocated once (:meth:`LMConfig.cache_shape`). Not for training."""

    def __init__(self, cfg: LMConfig, batch: int, capacity: int, like: torch.Tensor):
        self.data = torch.zeros(cfg.cache_shape(batch, capacity), device=like.device, dtype=like.dtype)
        self.length = 0
