"""Batches of codes from a token store, each a function of (seed, epoch, index) and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.kinds import View
from audiocraft_ext.store.reader import TokenStore, Track


def window_frames(spec: Spec, seconds: float | None, frames: int | None, name: str) -> int:
    """How long a window or a clip is, in frames: as many as are said, or as are in ``seconds``.

    Args:
        name: of the setting without its end, for the message: it has ``seconds`` as ``NAME_duration`` and ``frames`` as
            ``NAME_frames``.

    Raises:
        UserError: nothing is said, or seconds of codes whose frames are no length of time.
    """
    if frames is not None:
        return int(frames)
    if not spec.timed:
        raise UserError(f"a frame of {spec.kind} is one of its {spec.unit} and no length of time: set {name}_frames "
                        f"instead of {name}_duration")
    if seconds is None:
        raise UserError(f"set {name}_duration, in seconds, or {name}_frames")
    return spec.frames(seconds)


class StreamDataset:
    """Windows of ``frames`` codes from one side of a store.

    Train windows start anywhere in a track; valid windows lie one behind the other and are the same in every epoch.
    A track shorter than a window is filled up with the special id.

    Where a track was cut on downbeats or hits, each window starts with a slice, train and valid, and goes on into those
    that follow; of a slice longer than a window only the beginning is heard, and what the track's end leaves of a
    window is filled up.

    Args:
        view: what windows look like to the model, where the kind of the codes has such a thing
            (:class:`audiocraft_ext.kinds.View`): with a prompt before them, which is not counted in ``frames``, and
            altered on the train side.
        sample_on_duration: choose a track by its length (every frame is as likely) rather than all alike.
        num_samples: windows an epoch; None is one pass through the store.
        drop_controls: how often a train window is shown without its controls, a share from 0 to 1: the model then plays
            freely too.
        share: of the train side's sound, above 0 and up to 1; None is all of it. Whole tracks, in an order that only
            the seed decides: a smaller share is a part of a larger one.
    """

    def __init__(self, store: TokenStore, split: str, frames: int, num_samples: int | None = None, seed: int = 0,
                 sample_on_duration: bool = True, view: View | None = None, share: float | None = None,
                 drop_controls: float = 0.0):
        if store.spec.prompt and view is None:
            raise UserError(f"{store.path}: its codes ({store.spec.kind}) have prompts, which nothing here can make")
        if frames < 1:
            raise UserError(f"dataset.{'segment_duration' if store.spec.timed else 'segment_frames'} is shorter than "
                            f"one frame ({store.spec.length(1, '.3f')})")
        self.store, self.split, self.frames, self.seed, self.view = store, split, frames, seed, view
        self.drop_controls = drop_controls if split == TRAIN and store.spec.controls else 0.0
        self.tracks = store.tracks(split)
        if not self.tracks:
            raise UserError(f"the store has nothing on its {split} side; prepare more files, or a larger --valid-share")
        if share is not None and split == TRAIN:
            self.tracks = _share(self.tracks, share, seed)
        lengths = np.array([t.frames for t in self.tracks], dtype=np.float64)
        weight = lengths if sample_on_duration else np.ones_like(lengths)
        self._cumulative = np.cumsum(weight / weight.sum())
        self._windows = [(t, start) for t in self.tracks for start in _in_a_row(t, frames)]
        self.num_samples = num_samples or len(self._windows)

    def __len__(self) -> int:
        return self.num_samples if self.split == TRAIN else min(self.num_samples, len(self._windows))

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        """``codes [K, P + T]`` (int64) for ``(epoch, index)``."""
        return torch.from_numpy(self.batch(key[0], [key[1]])[0])

    def batch(self, epoch: int, indices: Sequence[int]) -> np.ndarray:
        """The windows of ``indices``, ``codes int64 [B, K, P + T]``, P the spec's prompt frames."""
        spec = self.store.spec
        out = np.empty((len(indices), spec.n_q, spec.prompt + self.frames), np.int64)
        for row, index in zip(out, indices):
            track, offset = self._window(epoch, index)
            if self.view is not None:
                rng = np.random.default_rng([self.seed, epoch, index, 1]) if self.split == TRAIN else None
                codes = self.view.window(track, track.start + offset, self.frames, rng)
                row[:, : codes.shape[1]], row[:, codes.shape[1] :] = codes, spec.special_id
                continue
            start, n = track.start + offset, min(self.frames, track.frames - offset)
            row[:, :n] = self.store.codes[start : start + n].T  # copies, turns and widens in one go
            row[:, n:] = self.store.spec.special_id
            if self.drop_controls and np.random.default_rng([self.seed, epoch, index, 2]).random() < self.drop_controls:
                row[-spec.controls :, :n] = 0
        return out

    def _window(self, epoch: int, index: int) -> tuple[Track, int]:
        """A track, and the frame in it at which the window starts."""
        if self.split != TRAIN:  # spread evenly, so that a few windows already see most of the tracks
            return self._windows[index * len(self._windows) // len(self)]
        rng = np.random.default_rng([self.seed, epoch, index])
        track = self.tracks[min(int(np.searchsorted(self._cumulative, rng.random(), side="right")),
                                len(self.tracks) - 1)]
        if track.slices:
            return track, track.slices[int(rng.integers(len(track.slices)))] - track.start
        return track, int(rng.integers(0, max(0, track.frames - self.frames) + 1))


def _share(tracks: list[Track], share: float, seed: int) -> list[Track]:
    """Tracks one after the other until they are ``share`` of all frames, one at least; in the order of the store."""
    if not 0 < share <= 1:
        raise UserError(f"dataset.train.share={share:g}: expected a part of the train side, above 0 and up to 1")
    order = np.random.default_rng([seed, len(tracks)]).permutation(len(tracks))
    frames = np.cumsum([tracks[i].frames for i in order])
    enough = int(np.searchsorted(frames, share * frames[-1] * (1 - 1e-9))) + 1
    return [tracks[i] for i in sorted(order[:enough])]


def _in_a_row(track: Track, frames: int) -> Iterator[int]:
    """Where windows start that lie one behind the other; half a window or less at the track's end is left out. With
    slices a window starts with the last one that leaves nothing out before it, so it may hear some frames again."""
    last = max(1, track.frames - frames // 2)
    if not track.slices:
        yield from range(0, last, frames)
        return
    starts = np.array(track.slices) - track.start
    at = 0
    while True:
        yield int(starts[at])
        at = max(at + 1, int(np.searchsorted(starts, starts[at] + frames, side="right")) - 1)
        if at >= len(starts) or starts[at] >= last:
            return


class StreamLoader:
    """Batches ``[B, K, T]`` of one epoch; reading codes is so quick that it needs no workers.

    Of several processes each takes its ``batch_size`` rows of every batch, one behind the other, so that together they
    see what one would. Where the last batch of the valid side is short, some have fewer rows or none, and as many
    batches all the same.

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
            yield torch.from_numpy(self.dataset.batch(self.epoch, rows))
