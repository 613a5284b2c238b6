"""What heads compute, in torch: positions of queries and keys, and looking at the keys of a cache.

Both torch models compute with it, the one in training (:mod:`audiocraft_ext.model.layers`) and the one with fixed
shapes (:mod:`audiocraft_ext.engine.torch.static_lm`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

from audiocraft_ext.model import blocks
from audiocraft_ext.model.blocks import AT_ONCE, Heads, LatentAttention, Norm

Turn = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, each [S, D / 2]
NEVER = 1 << 60  # the position of nothing


def rope(positions: torch.Tensor, head_dim: int, max_period: float, wide: bool = False) -> Turn:
    """How far each pair of a head's numbers is turned at ``positions [S]`` (rotary positions,
    https://arxiv.org/abs/2104.09864 section 3.2.2, with audiocraft's pairs: neighbours).

    ``wide``: in float64. An hour in, at step 180,000, the angle itself has no more than two decimals in float32.
    """
    kind = torch.float64 if wide else torch.float32
    phase = positions.to(kind)[:, None] * rope_rates(head_dim, max_period, positions.device)
    return phase.cos().float(), phase.sin().float()


def rope_rates(head_dim: int, max_period: float, device: torch.device | None = None) -> torch.Tensor:
    """How far a position turns each pair, ``[D / 2]``."""
    return 1.0 / max_period ** (torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)


def turned(x: torch.Tensor, turn: Turn) -> torch.Tensor:
    """``x [..., S, D]`` with each pair turned, in float32."""
    cos, sin = turn
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # each [..., S, D / 2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(x.dtype)


# By the positions that heads name: how far to turn at some steps, and the turning.
TURNS = {"none": lambda heads, positions: None,
         "rope": lambda heads, positions: rope(positions, heads.turned, heads.max_period, heads.window is not None)}
POSITIONS = {"none": lambda x, turn: x, "rope": turned}


class State(NamedTuple):
    """What a layer's heads have to know of the new steps.

    Attributes:
        near: how far to turn their queries and keys; ``far``: their queries where they look at sinks.
        seen: which places each sees ``[S, N]``; None without a cache: all before it.
        slots: ``[S]``, their places in the ``cache`` of the layer, ``[2, B, keys, places, D]``.
    """

    near: Turn | None
    far: Turn | None
    seen: torch.Tensor | None = None
    slots: torch.Tensor | None = None
    cache: torch.Tensor | None = None


def turns(heads: Heads, at: torch.Tensor) -> tuple[Turn | None, Turn | None]:
    """``near`` and ``far`` of :class:`State` for the steps ``at [S]``."""
    far = None if heads.window is None else TURNS[heads.position](heads, at.clamp(max=heads.reach - 1))
    return TURNS[heads.position](heads, at), far


def slots(heads: Heads, at: torch.Tensor) -> torch.Tensor:
    """The places of the steps ``at [S]`` in a cache."""
    if heads.window is None:
        return at
    assert len(at) <= AT_ONCE, f"{len(at)} steps at once into a cache that rolls by {AT_ONCE}"
    return torch.where(at < heads.sinks, at, heads.sinks + (at - heads.sinks) % (heads.places(0) - heads.sinks))


def held(heads: Heads, last: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The steps that lie in ``places [N]`` of a cache, the first N, once ``last`` is written."""
    if heads.window is None:
        return places
    step = last - (last - places) % (heads.places(0) - heads.sinks)
    return torch.where(places < heads.sinks, places, step.masked_fill(step < heads.sinks, NEVER))


def visible(heads: Heads, at: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """Which of the steps ``held [N]``, the sinks in front, each of ``at [S]`` sees: ``[S, N]``."""
    ago = at[:, None] - held
    if heads.window is None:
        return ago >= 0
    sink = torch.arange(len(held), device=at.device) < heads.sinks
    return (ago >= 0) & ((ago < heads.window) | sink)


class TorchHeads:
    """What both torch models' :class:`~audiocraft_ext.model.blocks.Parts` have in common: what is done before and after
    the heads look."""

    def norm(self, norm: Norm, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def weight(self, name: str) -> torch.Tensor:
        raise NotImplementedError

    def look(self, heads: Heads, near: torch.Tensor, far: torch.Tensor | None, k: torch.Tensor, v: torch.Tensor,
             state: State) -> torch.Tensor:
        """Of the new steps: queries ``near`` and ``far`` ``[B, queries, S, D]``, keys and values ``[B, keys, S, D]``;
        to ``[B, queries, S, D]``. With a cache they are written into it first."""
        return look(heads, near, far, *remembered(state, k, v), state.seen)

    def attend(self, attention: blocks.Attention, qkv: torch.Tensor, state: State) -> torch.Tensor:
        heads = attention.heads
        q, k, v = split(heads, qkv)
        if attention.q_norm is not None:
            q, k = self.norm(attention.q_norm, q), self.norm(attention.k_norm, k)
        near, k = (POSITIONS[heads.position](x, state.near) for x in (q, k))
        far = None if state.far is None else turned(q, state.far)
        return joined(self.look(heads, near, far, k, v, state))

    def attend_latent(self, attention: LatentAttention, q: torch.Tensor, kv: torch.Tensor,
                      state: State) -> torch.Tensor:
        """What makes keys of latents is drawn into the queries, and what makes values into what comes out."""
        latent, shared, key, near, far = self.latents(attention, q, kv, state)
        up = self.weight(attention.kv_up.weight).unflatten(0, (attention.heads.queries, -1))
        to_key, to_value = up.split([attention.key, attention.apart.size], dim=1)  # [H, ..., kv_rank]
        drawn = key @ to_key
        near, far = (turn if turn is None else torch.cat([drawn, turn], dim=-1) for turn in (near, far))
        keys = torch.cat([latent, shared], dim=-1)[:, None]
        y = self.look(attention.heads, near, far, keys, keys, state)[..., : attention.kv_rank]
        return joined(y @ to_value.mT)

    def latents(self, attention: LatentAttention, q: torch.Tensor, kv: torch.Tensor,
                state: State) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The latents ``[B, S, kv_rank]``, the keys that heads share ``[B, S, rope_dim]``, and of the queries the part
        for keys from latents ``[B, H, S, ...]``, and that for the shared ones, near and far."""
        position, rope_dim = POSITIONS[attention.heads.position], attention.rope_dim
        latent, shared = kv.split([attention.kv_rank, rope_dim], dim=-1)
        q = q.unflatten(-1, (attention.heads.queries, -1)).transpose(1, 2)
        key, turning = q.split([attention.key, rope_dim], dim=-1)
        far = None if state.far is None else turned(turning, state.far)
        latent, near = self.norm(attention.kv_norm, latent), position(turning, state.near)
        return latent, position(shared, state.near), key, near, far


def remembered(state: State, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Write keys and values of the new steps into the cache; returns what is there as far as anything is seen."""
    for part, x in zip(state.cache, (k, v)):
        part.index_copy_(2, state.slots, x)
    return tuple(state.cache[i, :, :, : state.seen.shape[1]] for i in (0, -1))


def split(heads: Heads, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``[B, S, (queries + 2 * keys) * D]`` to ``[B, queries, S, D]`` and twice ``[B, keys, S, D]``."""
    parts = qkv.split([n * heads.size for n in (heads.queries, heads.keys, heads.keys)], dim=-1)
    return tuple(part.unflatten(-1, (-1, heads.size)).transpose(1, 2) for part in parts)


def joined(x: torch.Tensor) -> torch.Tensor:
    """``[B, H, S, D]`` to ``[B, S, H * D]``."""
    return x.transpose(1, 2).flatten(2)


def look(heads: Heads, near: torch.Tensor, far: torch.Tensor | None, keys: torch.Tensor, values: torch.Tensor,
         seen: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Attention in plain products, for what the fused kernels do not take or do slowly: heads that share keys (whose
    queries are rows of one product), sinks that are looked at by other queries, few heads on a GPU.

    Args:
        near, far: ``[B, queries, S, D]``; where there is a ``far``, it is for the sinks, the first keys.
        keys, values: ``[B, keys, N, D]``.
        seen: ``[S, N]``, what each step sees.

    Returns:
        ``[B, queries, S, D]``.
    """
    B, H, S, D = near.shape

    def scores(q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return (q * heads.scaled**-0.5).reshape(B, heads.keys, -1, D) @ keys.mT  # [B, keys, queries / keys * S, N]

    if far is None:
        found = scores(near, keys)
    else:
        found = torch.cat([scores(far, keys[:, :, : heads.sinks]), scores(near, keys[:, :, heads.sinks :])], dim=-1)
    found = found.unflatten(2, (-1, S)).masked_fill(~seen, -torch.inf)
    weights = F.dropout(found.softmax(dim=-1, dtype=torch.float32).to(near.dtype), dropout)
    return (weights.flatten(2, 3) @ values).view(B, H, S, -1)
