"""A tiny instrument with random weights, the same everywhere, made in well under a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from audiocraft_ext.audio.codec.codec import Codec, load_folder
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel
from audiocraft_ext.audio.codec.spectral import SpectralConfig, SpectralModel
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.lm import LM, LMConfig

LM_SIZE = LMConfig(n_q=4, card=96, dim=64, num_heads=2, num_layers=2)
CODEC_SIZE = EncodecConfig(sample_rate=32_000, n_filters=4, ratios=(8, 5, 4, 4), dimension=16, n_q=4, card=96, lstm=1)
SPECTRAL_SIZE = SpectralConfig(encoder=(12, 16), encoder_blocks=(1, 2), decoder=(24, 16), decoder_blocks=(2, 1), n_q=3,
                               card=128, code_dim=4)


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


def tiny_spectral(folder: Path) -> Codec:
    """A spectral codec, written into ``folder``, with blocks that matter, so that what they cannot see would show, and
    codebooks as wide as the latents."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = SpectralModel(SPECTRAL_SIZE)
        for part in (model.encoder, model.decoder):
            for name, value in part.named_parameters():
                if name.endswith("scale"):
                    value.fill_(1.0)
        nn.init.normal_(model.decoder.head.weight, std=0.5)
        z = model.encoder(0.1 * torch.randn(1, 1, 640 * 400))
        model.quantizer.codebooks.mul_(model.quantizer.inward[0](z.transpose(1, 2)).std())
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "codec.safetensors")
    about = {"name": "mine", "type": "spectral", "config": SPECTRAL_SIZE.to_dict(), "licence": "CC0-1.0"}
    (folder / "codec.json").write_text(json.dumps(about))
    return load_folder(folder)


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
