"""A tiny composer with random weights, whose every fifth frame or so begins a bar."""

from __future__ import annotations

from pathlib import Path

import torch

from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.notes import describe
from audiocraft_ext.notes.codec.multitrack import FIRST, LINE, Multitrack


def tiny_composer(out: Path, context: int = 96) -> Path:
    """Write it as a bundle and return its folder."""
    codec = Multitrack()
    prompts = describe.prompts(codec)
    spec = prompts.extend(codec.spec)
    cfg = LMConfig(n_q=spec.n_q, card=spec.card, dim=16, num_heads=2, num_layers=1, bias_proj=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LM(cfg, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)
        for linear in model.linears:
            linear.weight.mul_(2)
    model.linears[0].bias[LINE] = 4.0
    model.linears[0].bias[FIRST + 96 :] = -6.0
    config = {"type": "notes", **codec.to_dict(), "prompts": prompts.to_dict()}
    write_bundle(out, Trained(spec, cfg, model.state_dict(), None, context=spec.prompt + context,
                              sampling={"temperature": 1.0, "top_k": 0}, licence="CC0-1.0",
                              card="random weights, for tests", codec_config=config))
    return out
