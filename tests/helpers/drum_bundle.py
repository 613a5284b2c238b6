"""A tiny drummer with random weights that plays about one cell in ten."""

from __future__ import annotations

from pathlib import Path

import torch

from audiocraft_ext.drums import describe
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.lm import LM, LMConfig

GENRES = ("funk", "hiphop", "jazz", "rock")


def tiny_drummer(out: Path, codec=None, kind: str = "drum_grid", prompted: bool = True, context: int = 64) -> Path:
    """Write it as a bundle and return its folder."""
    codec = codec or DrumGrid()
    prompts = describe.prompts(GENRES, codec)
    spec = prompts.extend(codec.spec) if prompted else codec.spec
    cfg = LMConfig(n_q=spec.n_q, card=spec.card, dim=16, num_heads=2, num_layers=1, bias_proj=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LM(cfg, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)
        for linear in model.linears:
            linear.weight.mul_(2)
    for k in range(spec.n_q // 2):
        model.linears[k].bias[0] = 6.0
    config = {"type": kind, **codec.to_dict()} | ({"prompts": prompts.to_dict()} if prompted else {})
    write_bundle(out, Trained(spec, cfg, model.state_dict(), None, context=spec.prompt + context,
                              sampling={"temperature": 1.0, "top_k": 0}, licence="CC0-1.0",
                              card="random weights, for tests", codec_config=config))
    return out
