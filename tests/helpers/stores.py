"""Small token stores for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.store.writer import StoreWriter

DEBUG_SPEC = Spec("audio", 4, 64, 50.0, (0, 1, 2, 3), "debug", "0" * 16)


def make_store(path: Path, tracks: dict[str, int], valid: dict[str, int], spec: Spec = DEBUG_SPEC, seed: int = 0,
               loop: int = 0, one_loop: bool = False) -> TokenStore:
    """A store with one segment of random codes a source, ``{name: frames}``; ``loop`` repeats every so many frames,
    with ``one_loop`` the same in every source."""
    rng = np.random.default_rng(seed)
    with StoreWriter(path, spec, {}) as writer:
        for split, sources in ((TRAIN, tracks), (VALID, valid)):
            for name, frames in sources.items():
                if one_loop:
                    rng = np.random.default_rng(seed)
                codes = rng.integers(0, spec.card, (spec.n_q, loop or frames)).astype(np.uint16)
                if loop:
                    codes = np.tile(codes, (1, -(-frames // loop)))[:, :frames]
                writer.add(name, split, codes)
        writer.finish()
    return TokenStore(path)
