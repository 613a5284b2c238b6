"""Batches of codes from a token store, each a function of (seed, epoch, index) and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from audiocraft_ext.errors import UserError
from audiocraft_ext.split import TRAIN
from audiocraft_ext.store import TokenStore


class StreamDataset:
    """Windows of ``frames`` codes from one side of a store.

    Train windows start anywhere in a track; valid windows lie one behind the other and are the same in every epoch.
    A track shorter than a window is filled up with the special id.

    Args:
        sample_on_duration: choose a track by its length (every frame is as likely) rather than all alike.
        num_samples: windows an epoch; None is one pass through the store.
    """

    def __init__(self, store: TokenStore, split: str, frames: int, num_samples: int | None = None, seed: int = 0,
                 sample_on_duration: bool = True):
        if frames < 1:
            raise UserError(f"dataset.segment_duration is shorter than one frame ({1 / store.spec.frame_rate:.3f} s)")
        self.store, self.split, self.frames, self.seed = store, split, frames, seed
        self.tracks = store.tracks(split)
        if not self.tracks:
            raise UserError(f"the store has nothing on its {split} side; prepare more files, or a larger --valid-share")
        lengths = np.array([t.frames for t in self.tracks], dtype=np.float64)
        weight = lengths if sample_on_duration else np.ones_like(lengths)
        self._cumulative = np.cumsum(weight / weight.sum())
        self._windows = [(t, start) for t in self.tracks for start in range(0, max(1, t.frames - frames // 2), frames)]
        self.num_samples = num_samples or len(self._windows)

    def __len__(self) -> int:
        return self.num_samples if self.split == TRAIN else min(self.num_samples, len(self._windows))

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        """``codes [K, T]`` (int64) for ``(epoch, index)``."""
        epoch, index = key
        if self.split == TRAIN:
            rng = np.random.default_rng([self.seed, epoch, index])
            track = self.tracks[min(int(np.searchsorted(self._cumulative, rng.random(), side="right")),
                                    len(self.tracks) - 1)]
            offset = int(rng.integers(0, max(0, track.frames - self.frames) + 1))
        else:  # spread evenly, so that a few windows already see most of the tracks
            track, offset = self._windows[index * len(self._windows) // len(self)]
        codes = self.store.read(track.start + offset, min(self.frames, track.frames - offset)).astype(np.int64)
        out = np.full((codes.shape[0], self.frames), self.store.spec.special_id, dtype=np.int64)
        out[:, : codes.shape[1]] = codes
        return torch.from_numpy(out)


class StreamLoader:
    """Batches ``[B, K, T]`` of one epoch; reading codes is so quick that it needs no workers.

    Attributes:
        epoch, first: the next iteration is of this epoch and starts with this batch (a resumed run is inside one).
    """

    sampler = None  # audiocraft's loop asks a loader for its sampler; ours is the index itself

    def __init__(self, dataset: StreamDataset, batch_size: int, batches: int | None = None, rank: int = 0,
                 world_size: int = 1):
        self.dataset, self.batch_size, self.rank, self.world_size = dataset, batch_size, rank, world_size
        per_step = batch_size * world_size
        self.batches = batches or -(-len(dataset) // per_step)
        self.epoch, self.first = 1, 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[torch.Tensor]:
        for step in range(self.first, self.batches):
            start = (step * self.world_size + self.rank) * self.batch_size
            rows = range(start, start + self.batch_size)
            if self.dataset.split != TRAIN:
                rows = range(start, min(start + self.batch_size, len(self.dataset)))
            if len(rows):
                yield torch.stack([self.dataset[self.epoch, i] for i in rows])
