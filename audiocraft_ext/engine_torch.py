"""The LM in plain torch, for the engine's loop: what samples while a model trains, on whatever device it trains on."""

from __future__ import annotations

import numpy as np
import torch

from audiocraft_ext.lm import LM, Cache


class TorchStepper:
    """A :class:`~audiocraft_ext.engine.Stepper` over an :class:`~audiocraft_ext.lm.LM` in eval mode."""

    def __init__(self, model: LM):
        self.model = model
        self._cache: Cache | None = None

    def start(self, batch: int, capacity: int) -> None:
        self._cache = Cache(self.model.cfg, batch, capacity, like=self.model.emb[0].weight)

    @torch.inference_mode()
    def step(self, sequence: np.ndarray) -> np.ndarray:
        assert self._cache is not None, "step before start"
        codes = torch.from_numpy(np.ascontiguousarray(sequence)).to(self._cache.data.device)
        return self.model(codes, self._cache)[:, :, -1].float().cpu().numpy()  # [B, K, card]
