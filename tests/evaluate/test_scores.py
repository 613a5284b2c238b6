"""Distance from music and steadiness of the beat, on sound that was made so."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from audiocraft_ext import evaluate
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.evaluate import pulse as pulse_module
from audiocraft_ext.evaluate.embed import Windows, embed
from audiocraft_ext.evaluate.kad import Kernel, jackknife
from audiocraft_ext.evaluate.mel import filters, spectrogram
from audiocraft_ext.evaluate.pulse import describe, pulse, summary
from audiocraft_ext.evaluate.sounds import LUFS, RATE, Clip, Sound, cut, noise, said_bpm
from audiocraft_ext.sound.level import loudness
from data_prep.audio.beats.grid import Beats
from tests.evaluate.synthetic import beat, scattered, white


def windows(x: np.ndarray) -> Windows:
    return Windows(x, np.arange(len(x)), np.arange(len(x)))


def test_halves_of_one_set_are_near_and_noise_is_far():
    like = [beat(5, 110 + 5 * i, i) for i in range(5)]
    music = evaluate.reference(like, RATE)
    same = evaluate.scores([beat(5, 112 + 5 * i, 10 + i) for i in range(5)], music, RATE)
    far = evaluate.scores([white(5, i) for i in range(4)], music, RATE)
    assert abs(same["kad"]) < 6 and far["kad"] > 40
    assert same["pulse"] > 0.5 and far["pulse"] < 0.2
    assert same["clips"] == 5 and 0 < far["kad_error"] < 10


def test_scores_take_sounds_or_a_reference_at_any_rate():
    like, made = [beat(4, 120, i) for i in range(2)], [beat(4, 130, 7)]
    assert evaluate.scores(made, like, RATE) == evaluate.scores(made, evaluate.reference(like, RATE), RATE)
    slower = [wav[::2] for wav in made]
    assert abs(evaluate.scores(slower, evaluate.reference(like, RATE), RATE // 2)["pulse"] - pulse(made[0]).pulse) < 0.2


def test_silence_has_no_score_and_is_no_reference():
    music = evaluate.reference([beat(6)], RATE)
    found = evaluate.scores([np.zeros(4 * RATE)], music, RATE)
    assert found["clips"] == 0 and math.isnan(found["kad"]) and math.isnan(found["pulse"])
    with pytest.raises(UserError, match="5 s or more"):
        evaluate.reference([np.zeros(4 * RATE)], RATE)


def test_kernel_distance_does_not_depend_on_the_size_of_a_set():
    """Its mean over draws is the same for small sets and large ones; a biased estimate would fall with the size."""
    rng = np.random.default_rng(0)
    kernel = Kernel(windows(rng.standard_normal((300, 8))))
    for shift, slack in ((0.0, 0.7), (1.0, 2.5)):
        small, large = (np.mean([kernel.kad(windows(rng.standard_normal((n, 8)) + shift))[0] for _ in range(100)])
                        for n in (10, 60))
        assert abs(small - large) < slack and (abs(large) < 0.7 if shift == 0 else 20 < large < 40)


def test_windows_of_one_clip_are_not_compared():
    """Each clip is one window twice: with these pairs the set would look narrower, hence farther, than it is."""
    rng = np.random.default_rng(0)
    kernel, x = Kernel(windows(rng.standard_normal((200, 8)))), rng.standard_normal((10, 8))
    twice = Windows(np.repeat(x, 2, 0), np.repeat(np.arange(10), 2), np.repeat(np.arange(10), 2))
    assert kernel.kad(twice)[0] == pytest.approx(kernel.kad(windows(x))[0])


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).standard_normal(12)
    assert jackknife(lambda keep: x[keep].mean(), np.arange(12)) == pytest.approx(x.std(ddof=1) / np.sqrt(12))
    assert math.isnan(jackknife(lambda keep: x[keep].mean(), np.arange(12) % 2))


@pytest.mark.parametrize("bpm", [70, 96.5, 120, 174])
def test_tempo_of_a_beat(bpm):
    found = pulse(beat(10, bpm))
    assert found.pulse > 0.5 and found.bars > 0.5
    assert min(abs(found.bpm / bpm * times - 1) for times in (0.5, 1, 2)) < 0.02


def test_a_beat_is_told_from_scattered_hits():
    steady, loose = describe(Clip(0, "", 0, beat(10))), describe(Clip(0, "", 0, scattered(10)))
    assert steady["pulse"] > 2 * loose["pulse"] and steady["in_step"] > 2 * loose["in_step"]
    assert steady["onsets"] == pytest.approx(2, abs=0.3)
    assert describe(Clip(0, "", 0, white(10)))["flatness"] > 5 * steady["flatness"]


@pytest.mark.parametrize("bpm, late, found",
                         [(160, 0.0, 1), (160, 0.02, 1), (160, 0.375, 0), (162, 0.0, 1), (80, 0.0, 0)])
def test_bars_are_found_where_they_begin(bpm, late, found, monkeypatch):
    """The tracker's bars of a clip that begins at 10 s of a sound whose bars last 1.5 s."""
    downbeats = np.round((np.arange(6) * 1.5 + 0.5 + late) * RATE).astype(np.int64)
    monkeypatch.setattr(pulse_module.BeatListener, "result",
                        lambda self, **how: Beats(bpm, 0.4, 4, downbeats, downbeats))
    clip = Clip(0, "", 10.0, beat(10), 160.0)
    assert describe(clip)["found"] == found
    rows = [describe(clip), describe(Clip(1, "", 0, beat(10)))]
    assert math.isnan(rows[1]["found"]) and summary(rows)["found"] == found


def test_a_tempo_is_read_where_the_json_says_that_bars_begin(tmp_path):
    for name, about, told in (("break", {"bpm": 158.1, "bars": 16}, 158.1), ("clip", {"recipe": {"bpm": 166.7}}, 166.7),
                              ("prompted", {"recipe": {"bpm": 166.7, "prompt": "codes"}}, None),
                              ("list", [1], None), ("odd", {"recipe": {"bpm": "fast"}}, None), ("none", None, None)):
        if about is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(about))
        assert said_bpm(tmp_path / f"{name}.wav") == told


def test_clips_are_cut_drawn_and_levelled():
    clips = cut([Sound("a", beat(23)), Sound("quiet", 0.01 * beat(2)), Sound("silent", np.zeros(RATE, np.float32)),
                 Sound("b", beat(15))])
    assert [(c.track, c.name, c.start) for c in clips] == [(0, "a", 0), (0, "a", 10), (1, "quiet", 0), (3, "b", 0),
                                                           (3, "b", 10)]
    assert all(abs(loudness(clip.wav, RATE) - LUFS) < 0.01 for clip in clips)
    drawn = cut([Sound("a", beat(200))], 5)
    assert len(drawn) == 5 and [c.start for c in drawn] == [c.start for c in cut([Sound("a", beat(200))], 5)]


@pytest.mark.peers
def test_mel_bands_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    wanted = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=96)
    assert np.allclose(filters(16_000, 512, 96).T, wanted, atol=1e-6)
    wav = white(1)[:16_000]
    power = librosa.feature.melspectrogram(y=wav, sr=16_000, n_fft=512, hop_length=256, n_mels=96)
    assert np.allclose(spectrogram(wav, 16_000, 512, 256, 96), power.T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("model", ["msd", "mtt"])
def test_embedding_has_a_window_each_one_and_a_half_seconds(model):
    found = embed([Clip(0, "", 0, beat(6)), Clip(1, "", 0, beat(2)), Clip(4, "", 0, white(4))], model)
    assert found.x.shape == (4, 200) and np.isfinite(found.x).all()
    assert found.clip.tolist() == [0, 0, 0, 2] and found.track.tolist() == [0, 0, 0, 4]


def test_noise_falls_by_three_decibels_an_octave():
    power = np.abs(np.fft.rfft(noise(1)[0].wav)) ** 2
    octaves = [power[n: 2 * n].mean() for n in (5_000, 10_000, 20_000, 40_000)]
    assert np.allclose(np.diff(10 * np.log10(octaves)), -3, atol=0.3)
