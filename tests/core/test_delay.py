"""The delay grid: against a plain twin, there and back, and its edges."""

import numpy as np
import pytest

from audiocraft_ext.core.delay import delay, steps_of, undelay, valid_mask

SPECIAL = 9


def plain_delay(codes, delays, special):
    """Cell by cell: step s of stream k shows frame s - 1 - delays[k], if there is one."""
    B, K, T = codes.shape
    S = T + max(delays) + 1
    out = np.empty((B, K, S), codes.dtype)
    for b in range(B):
        for k in range(K):
            for s in range(S):
                t = s - 1 - delays[k]
                out[b, k, s] = codes[b, k, t] if 0 <= t < T else special
    return out


def cases():
    rng = np.random.default_rng(0)
    for _ in range(60):
        B, K, T = rng.integers(1, 4), rng.integers(1, 6), rng.integers(0, 9)
        delays = [0, *rng.integers(0, 6, K - 1)]
        rng.shuffle(delays)
        yield rng.integers(0, SPECIAL, (B, K, T)).astype(np.uint16), [int(d) for d in delays]


def test_equals_the_plain_twin_and_comes_back():
    for codes, delays in cases():
        sequence = delay(codes, delays, SPECIAL)
        assert sequence.dtype == codes.dtype
        np.testing.assert_array_equal(sequence, plain_delay(codes, delays, SPECIAL))
        np.testing.assert_array_equal(undelay(sequence, delays), codes)
        mask = valid_mask(codes.shape[-1], delays)
        assert mask.shape == sequence.shape[1:]
        np.testing.assert_array_equal((sequence != SPECIAL).all(axis=0), mask)


def test_the_grid_of_the_docstring():
    codes = np.arange(12).reshape(1, 3, 4)
    expected = [[99, 0, 1, 2, 3, 99, 99],
                [99, 99, 4, 5, 6, 7, 99],
                [99, 99, 99, 8, 9, 10, 11]]
    np.testing.assert_array_equal(delay(codes, [0, 1, 2], 99)[0], expected)
    assert steps_of(4, [0, 1, 2]) == 7


def test_torch_gives_the_same():
    torch = pytest.importorskip("torch")
    for codes, delays in cases():
        codes = codes.astype(np.int64)
        sequence = delay(torch.from_numpy(codes), delays, SPECIAL)
        np.testing.assert_array_equal(sequence.numpy(), delay(codes, delays, SPECIAL))
        np.testing.assert_array_equal(undelay(sequence, delays).numpy(), codes)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="expected 2 delays"):
        delay(np.zeros((1, 2, 3), np.int64), [0, 1, 2], SPECIAL)
    with pytest.raises(ValueError, match="at least 4 steps, got 3"):
        undelay(np.zeros((1, 2, 3), np.int64), [0, 3])
