"""The next codes from logits, and where their randomness comes from.

Everything is done row by row: what a row gives depends on that row's logits and uniform alone, bit for bit, whatever
else is in the batch.
"""

from __future__ import annotations

import numpy as np

from audiocraft_ext.errors import UserError

_BLOCK = 64  # the search for a code goes over sums of blocks first: a running sum over all of card costs more


def clip_rng(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one clip, a function of ``seed`` and the clip's ``index`` (each 0 to 2**64 - 1).

    Clip 7 of a batch of ten, of ten batches of one, or made alone, draws the same numbers. Philox is a counter under
    a key, so neighbouring seeds and indices share nothing.
    """
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**64:
            raise UserError(f"expected a {name} from 0 to 2**64 - 1, got {value}")
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


def check_settings(temperature: float, top_k: int) -> None:
    """Raise a :class:`UserError` for what :func:`sample` would not take."""
    if not (np.isfinite(temperature) and temperature >= 0):
        raise UserError(f"temperature is 0 (always the likeliest code) or more, got {temperature}")
    if top_k < 0:
        raise UserError(f"top_k is 0 (off) or a number of codes to choose among, got {top_k}")


def sample(logits: np.ndarray, temperature: float, top_k: int, uniforms: np.ndarray) -> np.ndarray:
    """Draw one code per stream.

    Args:
        logits: ``float32 [B, K, card]``.
        temperature: above 1 wilder, below 1 tamer; 0 takes the likeliest code (the first of equals).
        top_k: only codes at least as likely as the ``top_k``-th likeliest are drawn; codes that tie with it all stay,
            as in audiocraft, so there can be more of them. 0 is off; beyond ``card`` means all of ``card``.
        uniforms: ``float64 [B, K]`` in [0, 1): the point of the cumulated distribution that is taken.

    Returns:
        ``codes int64 [B, K]``, every one in ``[0, card)``.

    Raises:
        UserError: a bad setting, or logits that hold a NaN or +inf.
    """
    check_settings(temperature, top_k)
    B, K, card = logits.shape
    top = logits.max(axis=-1, keepdims=True)  # [B, K, 1]; a NaN in the row comes through
    if not np.isfinite(top).all():
        raise UserError("the model's output is not finite; its weights are damaged or its training had diverged")
    if temperature == 0:
        return logits.argmax(axis=-1)

    z = logits - top  # [B, K, card], 0 at the likeliest
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp(z / np.float32(max(temperature, 1e-30)))
    if 0 < top_k < card:
        least = np.partition(logits, card - top_k, axis=-1)[..., card - top_k, None]  # [B, K, 1]
        weights *= logits >= least
    if card % _BLOCK:
        weights = np.pad(weights, ((0, 0), (0, 0), (0, -card % _BLOCK)))

    rows = weights.reshape(B * K, -1, _BLOCK)
    cumulated = rows.sum(axis=-1).cumsum(axis=-1).astype(np.float64)  # [B * K, blocks]
    total = cumulated[:, -1]
    point = np.minimum(uniforms.reshape(-1) * total, np.nextafter(total, 0))  # below total, so that a block is found
    block = (cumulated <= point[:, None]).sum(axis=-1)
    each = np.arange(B * K)
    point -= np.where(block > 0, cumulated[each, block - 1], 0.0)
    inside = rows[each, block]  # [B * K, _BLOCK], its sum is above 0
    within = (inside.cumsum(axis=-1) <= point[:, None]).sum(axis=-1)
    # The block's two sums may differ in the last bit and put the point behind its end: then its last possible code.
    last = _BLOCK - 1 - (inside[:, ::-1] > 0).argmax(axis=-1)
    return (block * _BLOCK + np.minimum(within, last)).reshape(B, K)
