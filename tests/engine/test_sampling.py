"""Sampling: against a plain twin and the wanted distribution, row by row the same in any batch, always a legal code."""

import json

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.sampling import Sampling, clip_rng, sample

PLAIN = Sampling(top_k=0)


def some_logits(B=3, K=4, card=2048, scale=3.0, seed=0):
    return (np.random.default_rng(seed).standard_normal((B, K, card)) * scale).astype(np.float32)


def plain_probabilities(row, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """One row, in float64, one code at a time."""
    p = np.exp((row.astype(np.float64) - row.max()) / temperature)
    falling = sorted(range(len(row)), key=lambda code: -row[code])
    if top_k:
        least = row[falling[min(top_k, len(row)) - 1]]
        p = np.array([p[code] if row[code] >= least else 0.0 for code in range(len(row))])
    if top_p < 1:
        whole, mass = p.sum(), 0.0
        for code in falling:
            least, mass = row[code], mass + p[code] / whole
            if mass >= top_p:
                break
        p = np.array([p[code] if row[code] >= least else 0.0 for code in range(len(row))])
    p = np.array([x if x >= min_p * p.max() else 0.0 for x in p])
    return p / p.sum()


def exact_shares(row, sampling, n=20_000):
    """How often each code is drawn, by every n-th uniform there is instead of random ones: right to 1 / n per code."""
    grid = (np.arange(n) + 0.5) / n
    codes = sample(np.repeat(row[None, None], n, 0), sampling, grid[:, None])[:, 0]
    assert (np.diff(codes) >= 0).all()  # in the order of the codes, so the same uniform is nearly the same code
    return np.bincount(codes, minlength=len(row)) / n


@pytest.mark.parametrize("card", [1, 5, 64, 65, 400, 2048])
@pytest.mark.parametrize("settings", [
    dict(top_k=0), dict(temperature=0.7, top_k=5), dict(temperature=1.5), dict(temperature=1e-3, top_k=0),
    dict(top_k=0, top_p=0.9), dict(top_p=0.5), dict(top_k=100, top_p=0.999, temperature=3.0), dict(min_p=0.05),
    dict(top_k=0, min_p=0.3, temperature=2.0), dict(temperature=2.0, top_k=50, top_p=0.7, min_p=0.02)], ids=str)
def test_takes_the_code_under_the_uniform(card, settings):
    logits = some_logits(5, 4, card)
    u = np.random.default_rng(1).random((5, 4))
    codes = sample(logits, Sampling(**settings), u)
    assert codes.shape == (5, 4) and codes.min() >= 0 and codes.max() < card
    for b in range(5):
        for k in range(4):
            p = plain_probabilities(logits[b, k], **{"top_k": 250} | settings)
            end = p.cumsum()
            assert p[codes[b, k]] > 0
            # The point lies in the code's own stretch; float32 sums of 2048 weights are good to about 1e-6.
            assert end[codes[b, k]] - p[codes[b, k]] - 1e-5 <= u[b, k] <= end[codes[b, k]] + 1e-5


@pytest.mark.parametrize("settings, expected", [
    (dict(top_k=0), [0.4, 0.3, 0.2, 0.1]),
    (dict(top_k=2), [4 / 7, 3 / 7, 0, 0]),
    (dict(top_k=0, top_p=0.69), [4 / 7, 3 / 7, 0, 0]),
    (dict(top_k=0, top_p=0.71), [4 / 9, 3 / 9, 2 / 9, 0]),  # the code that crosses top_p stays
    (dict(top_k=0, top_p=1e-9), [1, 0, 0, 0]),
    (dict(top_k=0, min_p=0.49), [4 / 9, 3 / 9, 2 / 9, 0]),  # 0.2 is half of 0.4
    (dict(top_k=0, min_p=0.51), [4 / 7, 3 / 7, 0, 0]),
    (dict(top_k=3, top_p=0.5), [4 / 7, 3 / 7, 0, 0]),  # 0.4 is 0.44 of what top_k left
    (dict(top_k=3, top_p=0.44), [1, 0, 0, 0]),  # ... and not 0.44 of the whole
    (dict(top_k=0, temperature=0.5, top_p=0.5), [1, 0, 0, 0]),  # tempered: 16, 9, 4, 1 of 30
    (dict(top_k=0, temperature=0.5, min_p=0.3), [16 / 25, 9 / 25, 0, 0]),
    (dict(top_k=0, temperature=0.5), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
    (dict(temperature=0), [1, 0, 0, 0]),
], ids=str)
def test_known_distributions(settings, expected):
    row = np.log([0.4, 0.3, 0.2, 0.1]).astype(np.float32)
    for order in (slice(None), slice(None, None, -1), [2, 0, 3, 1]):
        shares = exact_shares(row[order], Sampling(**settings))
        assert np.abs(shares - np.array(expected)[order]).max() <= 1e-4


@pytest.mark.parametrize("settings", [dict(temperature=0.8, top_k=5), dict(top_p=0.6), dict(min_p=0.2),
                                      dict(temperature=1.7, top_k=40, top_p=0.8, min_p=0.1)], ids=str)
def test_draws_the_distribution(settings):
    row = some_logits(1, 1, 70, scale=2.0, seed=5)[0, 0]
    expected = plain_probabilities(row, **{"top_k": 250} | settings)
    assert 1 < (expected > 0).sum() < 70
    assert np.abs(exact_shares(row, Sampling(**settings)) - expected).max() <= 1.1e-4


MIXED = Sampling(temperature=(1.0, 0.0, 1.3, 0.5), top_k=(250, 0, 3, 1000), top_p=(1.0, 0.5, 0.9, 0.3),
                 min_p=(0.1, 0.0, 0.0, 0.01))


@pytest.mark.parametrize("sampling", [
    MIXED, Sampling(temperature=(1.0, 0.9, 0.0, 0.0)), Sampling(top_k=(0, 1, 2048, 20)), Sampling(top_p=(1, 1, 1, 0.5)),
    Sampling(top_k=0, top_p=(0.9, 0.8, 1.0, 0.1)), Sampling(min_p=(0, 0.5, 0, 0.1)),
    Sampling(top_k=(10, 20, 30, 40), top_p=(0.5, 0.6, 0.7, 1.0))], ids=str)
def test_settings_per_codebook_are_as_each_codebook_alone(sampling):
    logits, u = some_logits(6), np.random.default_rng(3).random((6, 4))
    codes = sample(logits, sampling, u)
    for k in range(4):
        one = Sampling(**{n: v[k] if isinstance(v, tuple) else v for n, v in vars(sampling).items()})
        np.testing.assert_array_equal(sample(logits[:, k : k + 1], one, u[:, k : k + 1])[:, 0], codes[:, k])


@pytest.mark.parametrize("sampling", [Sampling(), PLAIN, Sampling(temperature=0), Sampling(top_p=0.8), MIXED,
                                      Sampling(top_k=0, top_p=0.9), Sampling(temperature=0.8, min_p=0.1)], ids=str)
@pytest.mark.parametrize("card", [7, 96, 2048])
def test_a_row_is_the_same_alone_and_in_a_batch(sampling, card):
    logits, u = some_logits(10, card=card), np.random.default_rng(2).random((10, 4))
    whole = sample(logits, sampling, u)
    for b in range(10):
        np.testing.assert_array_equal(sample(logits[b : b + 1], sampling, u[b : b + 1])[0], whole[b])


def test_edges_of_the_uniform():
    logits = some_logits(1, 2, 100)
    logits[..., -30:] = -np.inf  # impossible codes at the end must not be reached by u next to 1
    for u in (0.0, np.nextafter(1.0, 0)):
        for settings in (dict(top_k=0), dict(top_k=3), dict(top_k=90, top_p=0.9999999), dict(top_k=3, top_p=0.5)):
            codes = sample(logits, Sampling(**settings), np.full((1, 2), u))
            assert all(plain_probabilities(logits[0, k], **settings)[codes[0, k]] > 0 for k in range(2))


def test_greedy_and_top_1_take_the_first_and_only_best():
    logits = some_logits()
    u = np.random.default_rng(0).random((3, 4))
    for settings in (dict(temperature=0), dict(top_k=1), dict(top_p=1e-6), dict(min_p=0.9999), dict(temperature=1e-50)):
        np.testing.assert_array_equal(sample(logits, Sampling(**settings), u), logits.argmax(-1))
    logits[..., 3] = logits[..., 70] = 50.0
    assert (sample(logits, Sampling(temperature=0, top_k=0), u) == 3).all()


@pytest.mark.parametrize("settings, kept", [
    (dict(top_k=2), range(10)), (dict(top_k=1), [0]), (dict(top_k=2, top_p=0.3), range(10)),
    (dict(top_k=0, top_p=0.3), range(10)), (dict(top_p=0.2, top_k=2), [0]), (dict(top_k=0, min_p=0.36), range(10)),
    (dict(top_k=0, min_p=0.37), [0])], ids=str)
def test_codes_that_tie_with_the_last_all_stay(settings, kept):
    logits = np.zeros((1, 1, 10), np.float32)
    logits[..., 0] = 1.0  # 0.23 of the probability, the others 0.085 each, 0.368 times as much
    assert set(np.flatnonzero(exact_shares(logits[0, 0], Sampling(**settings), 500))) == set(kept)


def test_codes_that_have_top_p_to_the_last_bit_are_enough():
    row = np.array([0, -1], np.float32)
    total = float(np.exp(row).sum())
    assert 1 / total * total == 1
    assert (exact_shares(row, Sampling(top_p=1 / total), 500) == [1, 0]).all()


def test_top_k_beyond_card_is_off_and_can_be_reported():
    logits, u = some_logits(card=50), np.random.default_rng(0).random((3, 4))
    np.testing.assert_array_equal(sample(logits, Sampling(top_k=1000), u), sample(logits, PLAIN, u))
    assert Sampling(top_k=50).clamped(50) == (Sampling(top_k=50), None)
    kept, note = Sampling(top_k=1000, top_p=0.5).clamped(50)
    assert kept == Sampling(top_k=50, top_p=0.5) and "top_k 1000 is more than the 50 codes" in note
    kept, note = Sampling(top_k=(0, 60, 10, 50)).clamped(50)
    assert kept == Sampling(top_k=(0, 50, 10, 50)) and "top_k 60" in note


@pytest.mark.parametrize("settings, what", [
    (dict(temperature=-1.0), "temperature is 0"), (dict(temperature=float("nan")), "temperature"),
    (dict(temperature=float("inf")), "temperature"), (dict(top_k=-1), "top_k"), (dict(top_k=2.5), "top_k"),
    (dict(top_k=float("inf")), "top_k"), (dict(top_k=float("nan")), "top_k"),
    (dict(top_p=0), "top_p"), (dict(top_p=1.1), "top_p"), (dict(top_p=float("nan")), "top_p"),
    (dict(min_p=-0.1), "min_p"), (dict(min_p=1), "min_p"), (dict(min_p=float("nan")), "min_p"),
    (dict(temperature=(1, 1, -1, 1)), "got -1.0 for codebook 2"), (dict(top_k=(1, 2, 3)), "got 3: 1, 2, 3"),
    (dict(top_p=()), r"4 \(one per codebook\), got 0"), (dict(temperature="hot"), "got 'hot'"),
    (dict(min_p=None), "number"), (dict(top_k=True), "number"), (dict(top_p=(0.5, [1], 1, 1)), "number")], ids=str)
def test_refuses_bad_settings(settings, what):
    with pytest.raises(UserError, match=what):
        Sampling(**settings).check(4)
    with pytest.raises(UserError, match=what):
        sample(some_logits(), Sampling(**settings), np.zeros((3, 4)))


def test_settings_in_a_sidecar():
    for sampling in (Sampling(), Sampling(0.5, 0, 0.25, 0.125), MIXED):
        there = sampling.to_dict()
        assert Sampling.from_dict(json.loads(json.dumps(there))) == sampling
    assert Sampling().to_dict() == {"temperature": 1.0, "top_k": 250, "top_p": 1.0, "min_p": 0.0}
    assert Sampling.from_dict({"temperature": 0.9, "top_k": 50.0}) == Sampling(0.9, 50)  # as older bundles have it
    assert Sampling(top_k=np.array([1, 2])).to_dict()["top_k"] == [1, 2]
    assert type(Sampling(top_k=np.int64(5)).top_k) is int
    with pytest.raises(UserError, match="top_q"):
        Sampling.from_dict({"top_q": 1})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0), MIXED, Sampling(top_p=0.5)], ids=str)
def test_refuses_logits_that_are_no_numbers(value, sampling):
    logits = some_logits()
    logits[1, 2, 3] = value
    with pytest.raises(UserError, match="not finite"):
        sample(logits, sampling, np.zeros((3, 4)))


def test_a_clip_has_its_own_numbers():
    a = clip_rng(1, 0).random(8)
    np.testing.assert_array_equal(a, clip_rng(1, 0).random(8))
    assert not np.isin(a, clip_rng(1, 1).random(1000)).any() and not np.isin(a, clip_rng(2, 0).random(1000)).any()
    assert a[0] != clip_rng(0, 1).random()  # the two are not mixed up
    with pytest.raises(UserError, match="seed"):
        clip_rng(-1, 0)
