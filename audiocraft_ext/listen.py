"""Clips from a model in training, as files: what the curves do not tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audiocraft_ext import codecs, ends
from audiocraft_ext.engine_torch import TorchStepper
from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LM
from audiocraft_ext.sampler import generate
from audiocraft_ext.sampling import Sampling
from audiocraft_ext.spec import Spec
from audiocraft_ext.wav import write_wav


def write_samples(model: LM, spec: Spec, meaning: dict | None, folder: Path, n: int, frames: int, seed: int,
                  temperature: float, top_k: int, trackers, step: int, logger) -> dict:
    """Sample ``n`` clips into ``folder`` (codes, and files where the codec is at hand) and to ``trackers``.

    Clip i of a seed is the clip that the engine makes of it from the exported bundle, rounding aside.

    Args:
        meaning: of codes that are not sound; see :class:`audiocraft_ext.ends.End`.
    """
    end = ends.training(spec.kind)
    given = None if end is None else end.silent_prompt(spec, meaning)
    codes = generate(TorchStepper(model), spec, range(n), spec.prompt + frames, seed=seed,
                     sampling=Sampling(temperature, top_k), given=given)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", codes.astype(np.uint16), allow_pickle=False)
    (folder / "settings.json").write_text(json.dumps(
        {"seed": seed, "temperature": temperature, "top_k": top_k, "updates": step, "spec": spec.to_dict()}, indent=1))
    if end is not None:
        sounds = end.write_clips(codes, spec, meaning, folder)
    else:
        sounds = _write_sounds(codes, spec, folder, seed, logger)
    for i, (wav, rate) in enumerate(sounds):
        trackers.sound(f"clip_{i}", step, wav, rate)
    logger.info("Samples: %s", folder)
    return {"clips": n}


def _write_sounds(codes: np.ndarray, spec: Spec, folder: Path, seed: int, logger) -> Iterator[tuple[np.ndarray, int]]:
    """A WAV of each clip ``codes [B, K, T]``; its sound and rate."""
    try:
        codec = codecs.get_codec(spec.codec)
        if codec.hash != spec.codec_hash:
            raise UserError(f"the codec {spec.codec} here is not the one that made the store")
    except UserError as error:
        logger.warning("Only codes were written to %s: %s", folder, error)
        return
    for i, clip in enumerate(codes):
        wav = codec.decode(clip)
        write_wav(folder / f"clip_{i}.wav", wav, codec.sample_rate, comment=f"seed {seed}, clip {i}")
        yield wav, codec.sample_rate
