"""Sampling: against a plain twin and the wanted distribution, row by row the same in any batch, always a legal code."""

import numpy as np
import pytest

from audiocraft_ext.errors import UserError
from audiocraft_ext.sampling import clip_rng, sample


def some_logits(B=3, K=4, card=2048, scale=3.0, seed=0):
    return (np.random.default_rng(seed).standard_normal((B, K, card)) * scale).astype(np.float32)


def plain_probabilities(row, temperature, top_k):
    """One row, in float64, with a full sort."""
    row = row.astype(np.float64)
    if top_k:
        least = np.sort(row)[::-1][min(top_k, len(row)) - 1]
        row = np.where(row >= least, row, -np.inf)
    p = np.exp((row - row.max()) / temperature)
    return p / p.sum()


@pytest.mark.parametrize("card", [1, 5, 64, 65, 400, 2048])
@pytest.mark.parametrize("temperature, top_k", [(1.0, 0), (0.7, 5), (1.5, 250), (1e-3, 0)])
def test_takes_the_code_under_the_uniform(card, temperature, top_k):
    logits = some_logits(5, 4, card)
    u = np.random.default_rng(1).random((5, 4))
    codes = sample(logits, temperature, top_k, u)
    assert codes.shape == (5, 4) and codes.min() >= 0 and codes.max() < card
    for b in range(5):
        for k in range(4):
            p = plain_probabilities(logits[b, k], temperature, top_k)
            end = p.cumsum()
            assert p[codes[b, k]] > 0
            # The point lies in the code's own stretch; float32 sums of 2048 weights are good to about 1e-6.
            assert end[codes[b, k]] - p[codes[b, k]] - 1e-5 <= u[b, k] <= end[codes[b, k]] + 1e-5


def test_draws_the_distribution():
    logits = some_logits(1, 1, 7, scale=1.0)
    n = 40_000
    u = clip_rng(1, 2).random((n, 1))
    counts = np.bincount(sample(np.repeat(logits, n, 0), 0.8, 5, u)[:, 0], minlength=7)
    p = plain_probabilities(logits[0, 0], 0.8, 5)
    assert (counts[p == 0] == 0).all()
    assert np.abs(counts / n - p).max() < 5 * np.sqrt(0.25 / n)  # five standard deviations


def test_a_row_is_the_same_alone_and_in_a_batch():
    logits, u = some_logits(10), np.random.default_rng(2).random((10, 4))
    for temperature, top_k in [(1.0, 250), (1.0, 0), (0.0, 0)]:
        whole = sample(logits, temperature, top_k, u)
        for b in range(10):
            np.testing.assert_array_equal(sample(logits[b : b + 1], temperature, top_k, u[b : b + 1])[0], whole[b])


def test_edges_of_the_uniform():
    logits = some_logits(1, 2, 100)
    logits[..., -30:] = -np.inf  # impossible codes at the end must not be reached by u next to 1
    for u in (0.0, np.nextafter(1.0, 0)):
        for top_k in (0, 3):
            codes = sample(logits, 1.0, top_k, np.full((1, 2), u))
            assert all(plain_probabilities(logits[0, k], 1.0, top_k)[codes[0, k]] > 0 for k in range(2))


def test_greedy_and_top_1_take_the_first_and_only_best():
    logits = some_logits()
    u = np.random.default_rng(0).random((3, 4))
    np.testing.assert_array_equal(sample(logits, 0.0, 250, u), logits.argmax(-1))
    np.testing.assert_array_equal(sample(logits, 1.0, 1, u), logits.argmax(-1))
    logits[..., 3] = logits[..., 70] = 50.0
    assert (sample(logits, 0.0, 0, u) == 3).all()


def test_ties_with_the_last_all_stay():
    logits = np.zeros((1, 1, 10), np.float32)
    logits[..., 0] = 1.0
    drawn = {int(sample(logits, 1.0, 2, np.full((1, 1), u))[0, 0]) for u in np.linspace(0, 0.999, 200)}
    assert drawn == set(range(10))


def test_top_k_beyond_card_is_off():
    logits, u = some_logits(card=50), np.random.default_rng(0).random((3, 4))
    np.testing.assert_array_equal(sample(logits, 1.0, 1000, u), sample(logits, 1.0, 0, u))


@pytest.mark.parametrize("temperature, top_k, what", [(-1.0, 0, "temperature"), (float("nan"), 0, "temperature"),
                                                      (1.0, -1, "top_k")])
def test_refuses_bad_settings(temperature, top_k, what):
    with pytest.raises(UserError, match=what):
        sample(some_logits(), temperature, top_k, np.zeros((3, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_logits_that_are_no_numbers(value):
    logits = some_logits()
    logits[1, 2, 3] = value
    with pytest.raises(UserError, match="not finite"):
        sample(logits, 1.0, 250, np.zeros((3, 4)))


def test_a_clip_has_its_own_numbers():
    a = clip_rng(1, 0).random(8)
    np.testing.assert_array_equal(a, clip_rng(1, 0).random(8))
    assert not np.isin(a, clip_rng(1, 1).random(1000)).any() and not np.isin(a, clip_rng(2, 0).random(1000)).any()
    assert a[0] != clip_rng(0, 1).random()  # the two are not mixed up
    with pytest.raises(UserError, match="seed"):
        clip_rng(-1, 0)
