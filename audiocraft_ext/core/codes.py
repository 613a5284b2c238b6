"""Codes ``[K, T]`` that come from outside, checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def in_range(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """``codes [K, T]`` as int64, stream k from 0 to below ``sizes[k]``.

    Raises:
        ValueError: another shape or type, or codes that are not in range.
    """
    codes, sizes = np.asarray(codes), np.array(sizes)
    if codes.ndim != 2 or len(codes) != len(sizes) or codes.dtype.kind not in "iu":
        raise ValueError(f"expected integer codes [{len(sizes)}, T], got {codes.dtype} {list(codes.shape)}")
    codes = codes.astype(np.int64)
    wrong = ((codes < 0) | (codes >= sizes[:, None])).any(axis=1)
    if wrong.any():
        stream = int(wrong.argmax())
        raise ValueError(f"codes are out of range: those of stream {stream} go from 0 to {sizes[stream] - 1}, "
                         f"got {codes[stream].min()} to {codes[stream].max()}")
    return codes
