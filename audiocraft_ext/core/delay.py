"""The delay pattern: stream k is shown to the LM ``delays[k]`` steps late, and one step of nothing comes first.

With K = 3, T = 4 and delays 0, 1, 2 (``.`` is the special id, equal to ``card``)::

    codes [K, T]      sequence [K, S], S = T + max(delays) + 1 = 7

      t  0 1 2 3        s  0 1 2 3 4 5 6
    k=0  a b c d      k=0  . a b c d . .
    k=1  e f g h      k=1  . . e f g h .
    k=2  i j k l      k=2  . . . i j k l

So the code of frame t lies at step ``t + delays[k] + 1``, and the LM reads step s to predict step s + 1. The same
grid as audiocraft's ``DelayedPatternProvider`` (https://arxiv.org/abs/2306.05284 section 2.2).
The functions take numpy arrays and torch tensors alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Codes = TypeVar("Codes")  # np.ndarray or torch.Tensor, integers


def steps_of(frames: int, delays: Sequence[int]) -> int:
    """S, the number of sequence steps of ``frames`` frames."""
    return frames + max(delays) + 1


def delay(codes: Codes, delays: Sequence[int], special_id: int) -> Codes:
    """``codes [B, K, T]`` to ``sequence [B, K, S]``, ``special_id`` wherever there is no code."""
    B, K, T = codes.shape
    _check(K, delays)
    shape = (B, K, steps_of(T, delays))
    is_numpy = isinstance(codes, np.ndarray)
    sequence = np.full(shape, special_id, codes.dtype) if is_numpy else codes.new_full(shape, special_id)
    for k, d in enumerate(delays):
        sequence[:, k, d + 1 : d + 1 + T] = codes[:, k]
    return sequence


def undelay(sequence: Codes, delays: Sequence[int]) -> Codes:
    """``sequence [B, K, S]`` back to ``codes [B, K, T]``, ``T = S - max(delays) - 1``."""
    B, K, S = sequence.shape
    _check(K, delays)
    T = S - max(delays) - 1
    if T < 0:
        raise ValueError(f"a sequence with delays {list(delays)} has at least {max(delays) + 1} steps, got {S}")
    rows = [sequence[:, k, d + 1 : d + 1 + T] for k, d in enumerate(delays)]  # K times [B, T]
    if isinstance(sequence, np.ndarray):
        return np.stack(rows, axis=1)
    codes = sequence.new_empty((B, K, T))
    for k, row in enumerate(rows):
        codes[:, k] = row
    return codes


def valid_mask(frames: int, delays: Sequence[int]) -> np.ndarray:
    """``bool [K, S]``: where the sequence of ``frames`` frames holds a code and not the special id."""
    steps = np.arange(steps_of(frames, delays))
    first = np.asarray(delays)[:, None] + 1
    return (steps >= first) & (steps < first + frames)


def _check(n_q: int, delays: Sequence[int]) -> None:
    if len(delays) != n_q or min(delays) < 0:
        raise ValueError(f"expected {n_q} delays of 0 or more, one per stream, got {list(delays)}")
