"""The shape of nano-GPT-v3 as plain torch computes it, to be timed beside ours: written anew from what its layers do.

What makes it slow is kept: no cache while it samples (:meth:`Peer.forward` of all tokens so far, for each new one);
where its cache of latents is driven by hand, keys and values of all heads are made anew from all latents in each step;
each expert is given every token, those that are not its own as zeros. What makes it wrong is not kept (a mask that is
causal twice, biases that move while it plays). Shape: 3 layers of 12 heads, dim 768, latents of 384 and 512, 2 shared
experts and 1 of 2 others. https://github.com/MQahawish/nano-GPT-v3
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from audiocraft_ext.model.lm import LMConfig


class Peer(nn.Module):
    """``cfg`` is that of ours (``model_scale=v3``), with one stream.

    Args:
        length: positions that it has learned; it cannot go further.
    """

    def __init__(self, cfg: LMConfig, length: int = 512):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(cfg.card, cfg.dim), nn.Embedding(length, cfg.dim)
        self.layers = nn.ModuleList(PeerLayer(cfg) for _ in range(cfg.num_layers))
        self.norm, self.head = nn.LayerNorm(cfg.dim, bias=False), nn.Linear(cfg.dim, cfg.card, bias=False)
        self.head.weight = self.tokens.weight  # it has them tied

    def forward(self, tokens: torch.Tensor, cache: list[torch.Tensor | None] | None = None) -> torch.Tensor:
        """``tokens [B, S]`` to the logits of the next, ``[B, card]``; a ``cache`` of latents, one a layer, is what was
        before and is replaced."""
        first = cache[0].shape[1] if cache and cache[0] is not None else 0
        x = self.tokens(tokens) + self.positions(torch.arange(first, first + tokens.shape[1]))
        for i, layer in enumerate(self.layers):
            x, latents = layer(x, cache[i] if cache else None)
            if cache is not None:
                cache[i] = latents
        return self.head(self.norm(x[:, -1]))


class PeerLayer(nn.Module):
    """Latent attention and a mixture of experts."""

    def __init__(self, cfg: LMConfig):
        super().__init__()
        dim, heads, mla = cfg.dim, cfg.num_heads, cfg.mla
        self.heads, self.size, self.rope, self.rank = heads, dim // heads, mla.rope_dim, mla.kv_rank
        self.norm1, self.norm2 = nn.LayerNorm(dim, bias=False), nn.LayerNorm(dim, bias=False)
        self.q_norm, self.kv_norm = nn.LayerNorm(mla.q_rank), nn.LayerNorm(mla.kv_rank)
        self.q_down, self.q_up = (nn.Linear(*shape, bias=False) for shape in ((dim, mla.q_rank), (mla.q_rank, dim)))
        self.kv_down = nn.Linear(dim, mla.kv_rank + mla.rope_dim, bias=False)
        self.kv_up = nn.Linear(mla.kv_rank, dim + heads * (self.size - self.rope), bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.mixture = PeerMixture(cfg)

    def forward(self, x: torch.Tensor, before: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """``x [B, S, dim]`` and the latents before it ``[B, P, rank + rope]``, which those of ``x`` are put behind."""
        h, (B, S, dim) = self.norm1(x), x.shape
        new = self.kv_down(h)
        latents = new if before is None else torch.cat([before, new], dim=1)
        total, plain = latents.shape[1], self.size - self.rope
        q = self.q_up(self.q_norm(self.q_down(h))).view(B, S, self.heads, self.size).transpose(1, 2)
        q = torch.cat([q[..., :plain], _turned(q[..., plain:], total - S)], dim=-1)
        kv = self.kv_up(self.kv_norm(latents[..., : self.rank])).view(B, total, self.heads, -1).transpose(1, 2)
        shared = _turned(latents[:, None, :, self.rank :], 0).expand(-1, self.heads, -1, -1)
        mask = torch.ones(S, total, dtype=torch.bool).tril(total - S)
        y = F.scaled_dot_product_attention(q, torch.cat([kv[..., :plain], shared], dim=-1), kv[..., plain:], mask)
        x = x + self.out(y.transpose(1, 2).reshape(B, S, dim))
        return x + self.mixture(self.norm2(x)), latents


class PeerMixture(nn.Module):
    """Shared experts, and for each token the likeliest of the others."""

    def __init__(self, cfg: LMConfig):
        super().__init__()
        dim, moe = cfg.dim, cfg.moe
        self.top_k = moe.top_k
        self.shared, self.routed = (nn.ModuleList(nn.Sequential(
            nn.Linear(dim, moe.width, bias=False), nn.GELU(), nn.Linear(moe.width, dim, bias=False))
            for _ in range(n)) for n in (moe.shared, moe.routed))
        self.centroids = nn.Parameter(torch.randn(moe.routed, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, S, dim]``, the input in it: it adds it once more."""
        scores = (x @ self.centroids.T).sigmoid()
        best, chosen = scores.topk(self.top_k, dim=-1)
        share, out = best.softmax(-1), x + sum(expert(x) for expert in self.shared)
        for k in range(self.top_k):
            for i, expert in enumerate(self.routed):
                mine = chosen[..., k] == i
                if mine.any():
                    out = out + expert(x * mine[..., None]) * share[..., k, None] * mine[..., None]
        return out


def _turned(x: torch.Tensor, first: int) -> torch.Tensor:
    """Rotary positions from ``first`` on of ``x [B, H, S, D]``, halves against halves."""
    D = x.shape[-1]
    angle = torch.outer(torch.arange(first, first + x.shape[-2]).float(), 10_000.0 ** -(torch.arange(0, D, 2) / D))
    angle = angle.repeat(1, 2)
    a, b = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat([-b, a], dim=-1) * angle.sin()
