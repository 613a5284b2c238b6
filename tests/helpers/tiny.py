"""A tiny instrument with random weights, the same everywhere, made in well under a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from audiocraft_ext.audio.codec.codec import Codec
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.lm import LM, LMConfig

LM_SIZE = LMConfig(n_q=4, card=96, dim=64, num_heads=2, num_layers=2)
CODEC_SIZE = EncodecConfig(sample_rate=32_000, n_filters=4, ratios=(8, 5, 4, 4), dimension=16, n_q=4, card=96, lstm=1)


def tiny_lm(cfg: LMConfig = LM_SIZE, delays: tuple[int, ...] = (0, 1, 2, 3), seed: int = 0) -> LM:
    """Random weights, the norms' too (they start as ones and zeros, which would hide a mistake)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LM(cfg, delays).eval().requires_grad_(False)
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.add_(0.1 * torch.randn_like(weight))
    return model


def tiny_codec(cfg: EncodecConfig = CODEC_SIZE, seed: int = 0) -> Codec:
    """Random weights that keep the variance, so that different sounds get different codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EncodecModel(cfg)
        for module in model.modules():
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                nn.init.normal_(module.weight, 0.0, (module.in_channels * module.kernel_size[0]) ** -0.5)
    return Codec("tiny", model, "0123456789abcdef")


def tiny_trained(lm: LM | None = None, codec: Codec | None = None) -> Trained:
    lm, codec = lm or tiny_lm(), codec or tiny_codec()
    return Trained(codec.spec.with_delays(lm.delays), lm.cfg, lm.state_dict(), codec, context=1500,
                   sampling={"temperature": 1.0, "top_k": 50}, licence="CC0-1.0", card="random weights, for tests")


def tiny_bundle(out: Path, half: bool = False, lm: LM | None = None, codec: Codec | None = None,
                precisions: Sequence[str] = (), context: int = 1500) -> Path:
    """Write the tiny instrument as a bundle and return its folder."""
    model = tiny_trained(lm, codec)
    model.context = context
    write_bundle(out, model, half=half, precisions=precisions)
    return out
