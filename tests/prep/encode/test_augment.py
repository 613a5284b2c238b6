"""Variants: decided by seed, number and name; what they sound like; and that blocks change nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from data_prep.audio.augment import BANDS, EXAMPLE, Augment, apply, seconds_factor, variant

RATE = 32_000
ALL = Augment.parse(EXAMPLE)
NAMES = [f"beats/{i}.wav" for i in range(300)]


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, n).astype(np.float32)


def sine(hz: float, n: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz / RATE * np.arange(n))).astype(np.float32)


def whole(values: dict, wav: np.ndarray) -> np.ndarray:
    return np.concatenate(list(apply(values, [wav], RATE)))


def response_db(values: dict, hz: float) -> float:
    """How much louder a sine comes out, measured."""
    return 20 * np.log10(np.std(whole(values, sine(hz))[RATE // 2 :]) / np.std(sine(hz)[RATE // 2 :]))


def test_what_is_asked_for():
    assert ALL == Augment(varispeed=6, gain=3, eq=3, shift=20, polarity=True, channel=True)
    assert Augment.parse(" varispeed = 2.5 ") == Augment(varispeed=2.5)


@pytest.mark.parametrize("text, told", [
    ("", "something like varispeed=6"), ("reverb=3", "'reverb=3'"), ("gain", "'gain'"), ("polarity=1", "'polarity=1'"),
    ("varispeed=0", "above 0 and up to 50"), ("varispeed=51", "'51'"), ("gain=-3", "'-3'"), ("eq=nan", "'nan'"),
    ("eq=loud", "'loud'"), ("gain=3,gain=4", "twice"), ("gain=3,", "got ''"), ("gain=inf", "up to 24")])
def test_nonsense_is_refused(text, told):
    with pytest.raises(UserError, match=told):
        Augment.parse(text)


def test_a_variant_is_decided_by_seed_number_and_name():
    """Fixed values: the variants of a store that is gone on with are the ones that it has."""
    one = variant(ALL, 0, 1, "x.wav", channels=2)
    assert one == variant(ALL, 0, 1, "x.wav", channels=2) == json.loads(json.dumps(one))
    assert [one[key] for key in ("number", "speed", "gain_db", "polarity", "mix")] == [1, 1.051787, -1.215, -1, "mid"]
    assert one["eq"][1] == {"kind": "bell", "hz": 775.3, "db": 2.66, "q": 0.56}
    others = [variant(ALL, 1, 1, "x.wav"), variant(ALL, 0, 2, "x.wav"), variant(ALL, 0, 1, "y.wav")]
    assert len({v["speed"] for v in [one, *others]}) == 4
    assert variant(ALL, 0, 1, "na\udcffme.wav")["speed"] != 1  # a name need not be Unicode


def test_aspects_do_not_depend_on_each_other():
    one, bare = variant(ALL, 0, 1, "x.wav", channels=2), variant(Augment(varispeed=6), 0, 1, "x.wav", channels=2)
    assert bare == {"number": 1, "speed": one["speed"]}
    assert variant(Augment(), 3, 1, "x.wav") == {"number": 1}


def test_all_that_is_possible_happens_and_no_more():
    made = [variant(ALL, 0, 1, name, channels=2) for name in NAMES]
    speeds = np.array([v["speed"] for v in made])
    assert 1 / 1.06 <= speeds.min() < 0.95 and 1.05 < speeds.max() <= 1.06 and abs(np.log(speeds).mean()) < 0.005
    gains = np.array([v["gain_db"] for v in made])
    assert -3 <= gains.min() < -2.8 and -0.2 < gains.max() <= 0
    assert 100 < sum(v["polarity"] == -1 for v in made) < 200
    assert {mix: 60 < sum(v["mix"] == mix for v in made) for mix in ("mid", "channel 1", "channel 2")} == {
        "mid": True, "channel 1": True, "channel 2": True}
    assert {len(v["eq"]) for v in made} == {2, 3}
    for kind, low, high in BANDS:
        bands = [band for v in made for band in v["eq"] if band["kind"] == kind]
        assert 200 < len(bands) < 300
        assert all(low <= band["hz"] <= high and abs(band["db"]) <= 3 and 0.5 <= band["q"] <= 1.5 for band in bands)
        assert min(band["db"] for band in bands) < -2.5 and max(band["db"] for band in bands) > 2.5


def test_a_channel_is_chosen_where_there_is_a_choice():
    assert all("mix" not in variant(ALL, 0, 1, name) for name in NAMES[:20])
    cancelling = {variant(ALL, 0, 1, name, channels=2, mix="channel 1")["mix"] for name in NAMES[:50]}
    assert cancelling == {"channel 1", "channel 2"}


@pytest.mark.parametrize("values", [
    {"speed": 1.0373}, {"speed": 0.95}, {"gain_db": -2.0, "polarity": -1},
    {"eq": variant(ALL, 0, 1, "x.wav")["eq"]}, variant(ALL, 0, 2, "x.wav")])
def test_the_size_of_the_blocks_changes_nothing(values):
    wav, rng = noise(50_003), np.random.default_rng(1)
    expected = whole(values, wav)
    assert expected.dtype == np.float32
    for cuts in ([1, 2, 3, 700], np.sort(rng.integers(0, len(wav), 40)), range(0, len(wav), 4096)):
        blocks = list(apply(values, np.split(wav, cuts), RATE))
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_it_streams():
    """Sound comes out long before the last block was asked for, and little of it waits."""
    taken = 0

    def blocks():
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield noise(RATE)

    out, given = apply(variant(ALL, 0, 1, "x.wav"), blocks(), RATE), 0
    for block in out:
        given += len(block)
        assert taken * RATE - given * 1.051787 < 2 * RATE
    assert taken == 100


@pytest.mark.parametrize("speed", [0.9, 1.0595])
def test_varispeed_moves_tempo_and_pitch_together(speed):
    wav = whole({"speed": speed}, sine(1000, 4 * RATE))
    assert abs(len(wav) - 4 * RATE * seconds_factor({"speed": speed})) <= 1
    assert np.fft.rfft(wav * np.hanning(len(wav))).__abs__().argmax() * RATE / len(wav) == pytest.approx(
        1000 * speed, abs=0.5)
    inside = wav[2000:-2000]
    expected = 0.5 * np.sin(2 * np.pi * 1000 * speed / RATE * np.arange(len(wav)))[2000:-2000]
    assert np.abs(inside - expected).max() < 1e-3  # it begins where the original begins
    assert seconds_factor({"number": 1}) == 1


def test_gain_and_polarity():
    wav = noise(1000)
    np.testing.assert_array_equal(whole({"number": 1, "polarity": 1}, wav), wav)
    np.testing.assert_array_equal(whole({"polarity": -1}, wav), -wav)
    np.testing.assert_allclose(whole({"gain_db": -6.0206, "polarity": -1}, wav), -wav / 2, atol=1e-6)


@pytest.mark.parametrize("kind, at, level", [
    ("low shelf", 200, {30: 1.0, 200: 0.5, 4000: 0.0}), ("high shelf", 4000, {15_000: 1.0, 4000: 0.5, 100: 0.0}),
    ("bell", 1000, {1000: 1.0, 40: 0.0, 14_000: 0.0})])
@pytest.mark.parametrize("db", [-3.0, 3.0])
def test_a_band_does_what_it_says(kind, at, level, db):
    """Measured with sines; boosts are taken down so that the loudest frequency is where it was."""
    values = {"eq": [{"kind": kind, "hz": at, "db": db, "q": 0.707}]}
    for hz, share in level.items():
        assert response_db(values, hz) == pytest.approx(db * share - max(db, 0), abs=0.15)


def test_nothing_leaves_full_scale():
    square = np.where(np.arange(RATE) // 37 % 2, 1, -1).astype(np.float32)  # swings over wherever it is filtered
    for number in range(1, 6):
        wav = whole(variant(ALL, 0, number, "x.wav"), square)
        assert np.abs(wav).max() <= 1 and np.isfinite(wav).all()
    assert np.abs(whole({"speed": 1.03}, square)).max() == 1


@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_short_sound_stays_a_sound(n):
    assert len(whole({"speed": 1.06}, noise(n))) >= 1
    assert list(apply({"speed": 1.06}, [], RATE)) == []
