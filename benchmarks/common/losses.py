"""What a trained model loses on the side of a store that it never saw, as its training measured it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from audiocraft_ext import kinds
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import VALID
from audiocraft_ext.export import sources
from audiocraft_ext.model.lm import LM
from audiocraft_ext.runs.demo import nats_each
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.training.dataset import StreamDataset

ROWS = 8  # at once


def held_out(source: Path | str, store: TokenStore, windows: int, frames: int | None = None) -> np.ndarray:
    """Cross entropy ``[K]`` in nats a code over so many windows, spread over the valid split.

    Args:
        source: a bundle, or whatever else :func:`audiocraft_ext.export.sources.read` reads.
        frames: of a window; None: those of the model's context.
    """
    model = sources.read(source)
    lm = LM(model.cfg, model.spec.delays, model.spec.sizes, model.spec.gates).eval()
    lm.load_state_dict(model.state)
    view = kinds.kind_of(store.spec).view(store, {})
    data = StreamDataset(store, VALID, frames or model.context - model.spec.prompt, num_samples=windows, view=view)
    sums, counts = np.zeros(store.spec.n_q), np.zeros(store.spec.n_q)
    with torch.no_grad():
        for first in range(0, len(data), ROWS):
            codes = torch.from_numpy(data.batch(1, range(first, min(first + ROWS, len(data)))))
            count = lm.targets(codes).double().numpy()
            sums, counts = sums + lm.losses(codes)[1].double().numpy() * count, counts + count
    return sums / counts


def per_note(found: Mapping[str, np.ndarray], store: TokenStore, count: Callable[[np.ndarray, Spec], int]
             ) -> dict[str, float]:
    """Losses ``[K]`` in nats a code, by name, as nats a code, a frame and a note; ``count`` counts those."""
    n_q, each = store.spec.clip.n_q, nats_each(store, count)
    results: dict[str, float] = {}
    for name, by_stream in found.items():
        code = float(by_stream[:n_q].mean())
        results |= {f"{name}: nats a code": code, f"{name}: nats a frame": n_q * code,
                    f"{name}: nats a note": each * code}
    return results
