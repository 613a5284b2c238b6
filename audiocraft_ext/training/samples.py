"""Clips from a model in training, as files: what the curves do not tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from audiocraft_ext import kinds
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampler import generate, with_controls
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.model.lm import LM


def write_samples(model: LM, spec: Spec, codec_config: dict | None, folder: Path, n: int, frames: int, seed: int,
                  temperature: float, top_k: int, trackers, step: int, logger) -> dict:
    """Sample ``n`` clips into ``folder`` (codes, and files where the codec is at hand) and to ``trackers``.

    Clip i of a seed is the clip that the engine makes of it from the exported bundle, rounding aside.

    Args:
        codec_config: see :class:`audiocraft_ext.kinds.Kind`.
    """
    kind = kinds.kind_of(spec)
    given = kind.null_prompt(spec, codec_config)
    if spec.controls:
        given = with_controls(given, kind.controls(spec, frames), n, spec, spec.prompt + frames)
    codes = generate(TorchStepper(model), spec, range(n), spec.prompt + frames, seed=seed,
                     sampling=Sampling(temperature, top_k), given=given)
    codes, spec = codes[:, : spec.clip.n_q], spec.clip
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", codes.astype(np.uint16), allow_pickle=False)
    (folder / "settings.json").write_text(json.dumps(
        {"seed": seed, "temperature": temperature, "top_k": top_k, "updates": step, "spec": spec.to_dict()}, indent=1))
    sounds = kind.write_samples(codes, spec, codec_config, folder, seed, logger.warning)
    for i, (wav, rate) in enumerate(sounds):
        trackers.sound(f"clip_{i}", step, wav, rate)
    logger.info("Samples: %s", folder)
    return {"clips": n}
