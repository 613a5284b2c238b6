"""Clips from a model in training, as files: what the curves do not tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from audiocraft_ext import kinds
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.model.lm import LM
from audiocraft_ext.training.judge import sampled


def write_samples(model: LM, spec: Spec, codec_config: dict | None, folder: Path, n: int, frames: int, seed: int,
                  sampling: Sampling, trackers, step: int, logger, guided: bool = False) -> dict:
    """Sample ``n`` clips into ``folder`` (codes, and files where the codec is at hand) and to ``trackers``.

    Args:
        codec_config: see :class:`audiocraft_ext.kinds.Kind`.
        guided: see :func:`~audiocraft_ext.training.judge.sampled`.
    """
    kind = kinds.kind_of(spec)
    codes, spec = sampled(model, spec, codec_config, n, frames, seed, sampling, guided), spec.clip
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", codes.astype(np.uint16), allow_pickle=False)
    (folder / "settings.json").write_text(json.dumps(
        {"seed": seed, **sampling.to_dict(), "updates": step, "spec": spec.to_dict()}, indent=1))
    sounds = kind.write_samples(codes, spec, codec_config, folder, seed, logger.warning)
    for i, (wav, rate) in enumerate(sounds):
        trackers.sound(f"clip_{i}", step, wav, rate)
    logger.info("Samples: %s", folder)
    return {"clips": n}
