"""What heads compute, in torch: positions of queries and keys, and looking at the keys of a cache.

Both torch models compute with it, the one in training (:mod:`audiocraft_ext.model.layers`) and the one with fixed
shapes (:mod:`audiocraft_ext.engine.torch.static_lm`).
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from audiocraft_ext.model.blocks import Heads

Turn = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, each [S, D / 2]


def rope(positions: torch.Tensor, head_dim: int, max_period: float) -> Turn:
    """How far each pair of a head's numbers is turned at ``positions [S]`` (rotary positions,
    https://arxiv.org/abs/2104.09864 section 3.2.2, with audiocraft's pairs: neighbours)."""
    phase = positions.float()[:, None] * rope_rates(head_dim, max_period, positions.device)
    return phase.cos(), phase.sin()


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
         "rope": lambda heads, positions: rope(positions, heads.size, heads.max_period)}
POSITIONS = {"none": lambda x, turn: x, "rope": turned}


def split(heads: Heads, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``[B, S, (queries + 2 * keys) * D]`` to ``[B, queries, S, D]`` and twice ``[B, keys, S, D]``."""
    parts = qkv.split([n * heads.size for n in (heads.queries, heads.keys, heads.keys)], dim=-1)
    return tuple(part.unflatten(-1, (-1, heads.size)).transpose(1, 2) for part in parts)


def joined(x: torch.Tensor) -> torch.Tensor:
    """``[B, H, S, D]`` to ``[B, S, H * D]``."""
    return x.transpose(1, 2).flatten(2)


def look(heads: Heads, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, seen: torch.Tensor,
         dropout: float = 0.0) -> torch.Tensor:
    """Attention in plain products, for what the fused kernels do not take or do slowly: heads that share keys (whose
    queries are rows of one product), few heads on a GPU.

    Args:
        q: ``[B, queries, S, D]``; ``keys`` and ``values`` ``[B, keys, N, D]``.
        seen: ``[S, N]``, what each step sees.

    Returns:
        ``[B, queries, S, D]``.
    """
    B, H, S, D = q.shape
    scores = (q * D**-0.5).reshape(B, heads.keys, -1, D) @ keys.mT  # [B, keys, queries / keys * S, N]
    scores = scores.unflatten(2, (-1, S)).masked_fill(~seen, -torch.inf)
    weights = F.dropout(scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype), dropout)
    return (weights.flatten(2, 3) @ values).view(B, H, S, -1)
