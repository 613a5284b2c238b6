"""From the options of a model (:class:`~audiocraft_ext.model.config.LMConfig`) to its layer
(:class:`~audiocraft_ext.model.blocks.Block`): all names of weights and their sizes. Imports no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from audiocraft_ext.model.blocks import (
    Attention,
    Block,
    Dense,
    FeedForward,
    Heads,
    LatentAttention,
    Mixture,
    Norm,
    Product,
)

if TYPE_CHECKING:
    from audiocraft_ext.model.config import LMConfig

STEP = 32  # widths that are chosen here are a multiple of it


def block_of(cfg: LMConfig) -> Block:
    """What each layer is."""
    return Block(ATTENTION[cfg.attention](cfg), FEED_FORWARD[cfg.ffn](cfg))


def _attention(cfg: LMConfig) -> Attention:
    keys = cfg.kv_heads or cfg.num_heads
    parts = cfg.dim, keys * cfg.head_dim, keys * cfg.head_dim
    q_norm, k_norm = ((Norm(f"self_attn.{x}_norm", cfg.head_dim, "rms") if cfg.qk_norm else None) for x in "qk")
    return Attention(_norm(cfg, "norm1"), _product("self_attn.in_proj", sum(parts), cfg.dim, cfg.bias_attn, parts),
                     _product("self_attn.out_proj", cfg.dim, cfg.dim, cfg.bias_attn),
                     _heads(cfg, keys, cfg.head_dim, cfg.head_dim), q_norm, k_norm)


def _latent_attention(cfg: LMConfig) -> LatentAttention:
    q_rank, kv_rank, rope_dim = latent_sizes(cfg)
    H, D, dim, bias = cfg.num_heads, cfg.head_dim, cfg.dim, cfg.bias_attn
    up = _product("self_attn.kv_up", H * (2 * D - rope_dim), kv_rank, False)
    return LatentAttention(
        _norm(cfg, "norm1"), _product("self_attn.q_down", q_rank, dim, bias),
        Norm("self_attn.q_norm", q_rank, cfg.norm), _product("self_attn.q_up", H * D, q_rank, bias),
        _product("self_attn.kv_down", kv_rank + rope_dim, dim, bias), Norm("self_attn.kv_norm", kv_rank, cfg.norm),
        up._replace(exact=True), _product("self_attn.out_proj", dim, dim, bias),
        _heads(cfg, 1, kv_rank + rope_dim, rope_dim, values=False), _heads(cfg, H, D, rope_dim), kv_rank, rope_dim)


def latent_sizes(cfg: LMConfig) -> tuple[int, int, int]:
    """``q_rank``, ``kv_rank`` and ``rope_dim``."""
    half = _stepped(cfg.dim / 2)
    return cfg.mla.q_rank or half, cfg.mla.kv_rank or half, cfg.mla.rope_dim or cfg.head_dim // 4 * 2


def _heads(cfg: LMConfig, keys: int, size: int, turned: int, values: bool = True) -> Heads:
    position = "rope" if cfg.positional_embedding == "rope" else "none"
    return Heads(cfg.num_heads, keys, size, turned, cfg.head_dim, position, cfg.max_period, values, cfg.window,
                 cfg.sinks if cfg.window else 0)


def _plain(cfg: LMConfig) -> FeedForward:
    return FeedForward(_norm(cfg, "norm2"), _dense(cfg, "", cfg.hidden_scale * cfg.dim, "gelu"))


def _gated(cfg: LMConfig) -> FeedForward:
    width = _stepped(2 * cfg.hidden_scale * cfg.dim / 3)  # as many weights in three matrices as in two
    return FeedForward(_norm(cfg, "norm2"), _dense(cfg, "", width, "swiglu", parts=2))


def _mixture(cfg: LMConfig) -> Mixture:
    moe = cfg.moe
    width = moe.width or _stepped(cfg.hidden_scale * cfg.dim / (moe.shared + moe.top_k))
    experts = tuple(_dense(cfg, f"experts.{e}.", width, "gelu") for e in range(moe.routed))
    return Mixture(_norm(cfg, "norm2"), _dense(cfg, "", moe.shared * width, "gelu"),
                   Product("router.weight", moe.routed, cfg.dim, exact=True), "router.balance", experts, moe.top_k,
                   moe.bias_speed)


# By what the options are called.
ATTENTION = {"mha": _attention, "gqa": _attention, "mla": _latent_attention}
FEED_FORWARD = {"gelu": _plain, "swiglu": _gated, "moe": _mixture}


def _dense(cfg: LMConfig, where: str, width: int, activation: str, parts: int = 1) -> Dense:
    rows = (width,) * parts
    return Dense(_product(f"{where}linear1", sum(rows), cfg.dim, cfg.bias_ff, rows),
                 _product(f"{where}linear2", cfg.dim, width, cfg.bias_ff), activation)


def _norm(cfg: LMConfig, name: str) -> Norm:
    return Norm(name, cfg.dim, cfg.norm)


def _product(name: str, rows: int, columns: int, bias: bool, parts: tuple[int, ...] = ()) -> Product:
    dot = "_" if name.endswith("in_proj") else "."  # a bare parameter in audiocraft
    return Product(f"{name}{dot}weight", rows, columns, f"{name}{dot}bias" if bias else None, parts)


def _stepped(width: float) -> int:
    return max(1, math.ceil(width / STEP)) * STEP
