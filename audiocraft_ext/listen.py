"""Clips from a model in training, as files: what the curves do not tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from audiocraft_ext import audio, codecs
from audiocraft_ext.delay import steps_of, undelay
from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LM, Cache
from audiocraft_ext.sampling import clip_rng, sample
from audiocraft_ext.spec import Spec


@torch.no_grad()
def sample_codes(model: LM, spec: Spec, n: int, frames: int, seed: int, temperature: float, top_k: int) -> np.ndarray:
    """``codes [B, K, T]`` of clips 0 to n - 1; clip i draws from ``clip_rng(seed, i)`` as the engine does."""
    weight = model.emb[0].weight
    steps = steps_of(frames, spec.delays)
    cache = Cache(model.cfg, n, steps, like=weight)
    rngs = [clip_rng(seed, i) for i in range(n)]
    sequence = np.full((n, spec.n_q, steps), spec.special_id, dtype=np.int64)
    for s in range(1, steps):
        frame = torch.from_numpy(sequence[:, :, s - 1]).to(weight.device)
        logits = model.step(frame, cache).float().cpu().numpy()
        drawn = sample(logits, temperature, top_k, np.stack([rng.random(spec.n_q) for rng in rngs]))
        for k, d in enumerate(spec.delays):
            if d < s <= d + frames:
                sequence[:, k, s] = drawn[:, k]
    return undelay(sequence, spec.delays)


def write_samples(model: LM, spec: Spec, folder: Path, n: int, frames: int, seed: int, temperature: float, top_k: int,
                  writer, step: int, logger) -> dict:
    """Sample ``n`` clips into ``folder`` (codes, and sound where the codec is at hand) and into TensorBoard."""
    codes = sample_codes(model, spec, n, frames, seed, temperature, top_k)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "codes.npy", codes.astype(np.uint16), allow_pickle=False)
    (folder / "settings.json").write_text(json.dumps(
        {"seed": seed, "temperature": temperature, "top_k": top_k, "updates": step, "spec": spec.to_dict()}, indent=1))
    try:
        codec = codecs.get_codec(spec.codec)
        if codec.hash != spec.codec_hash:
            raise UserError(f"the codec {spec.codec} here is not the one that made the store")
    except UserError as error:
        logger.warning("Only codes were written to %s: %s", folder, error)
        return {"clips": n}
    for i, clip in enumerate(codes):
        wav = codec.decode(clip)
        audio.write_wav(folder / f"clip_{i}.wav", wav, codec.sample_rate, comment=f"seed {seed}, clip {i}")
        if writer is not None:
            writer.add_audio(f"generate/clip_{i}", wav[None], step, codec.sample_rate)
    logger.info("Samples: %s", folder)
    return {"clips": n}
