"""What is measured of songs, beside what was counted by hand; and all of it on little."""

import json
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.songs.beepbox.song import flat, song_of_bars
from audiocraft_ext.songs.to_midi import HITS
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.losses import held_out
from benchmarks.common.music import features
from benchmarks.songs import measures
from data_prep.midi import cli as midi
from tests.helpers.songs import tiny_sketcher

SONGS = Path(__file__).parents[1] / "data" / "midi"
BEATS = 4


def song(bar, drums=(), bars=4):
    """Four bars of notes ``(part, pitch)`` of half a beat, and of hits."""
    lanes = [tuple(flat(part, part + 12, (pitch,)) for part, pitch in some) for some in (bar, drums)]
    return song_of_bars([[lane] * bars for lane in lanes], 1, beats=BEATS, rhythm=4)


def test_onsets_and_bars_that_repeat():
    tune = song([(0, 20), (36, 24), (60, 30)], [(24, 0)])
    assert np.flatnonzero(measures.onsets([tune])).tolist() == [0, 12]
    assert measures.onsets([tune])[[0, 12]].tolist() == [0.5, 0.5]
    assert measures.per_beat(tune) == 1.0
    assert measures.repeats([tune], BEATS) == 1.0 and measures.repeats([tune], BEATS - 1) == 0.0
    assert np.isnan(measures.repeats([], BEATS))


def test_a_song_as_music():
    found = measures.music_of(song([(0, 0), (48, 7)], [(0, 0)]))
    pitches, sounding, long = features(found)
    assert pitches.tolist() == [4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]  # of C and G, not of the drums
    assert sounding.tolist() == [1, 1, 0, 0, 0, 0, 0, 0] * 8 and set(long.tolist()) == {0.5}
    assert found.drums == {2} and HITS[0] in found.notes[found.notes[:, 2] == 2, 3]


def test_all_of_it_on_little(tmp_path):
    store, saved = tmp_path / "store", tmp_path / "bench.json"
    midi.main([str(SONGS), str(store), "--codec", "song", "--valid-share", "0.5", "--workers", "0",
               "--duplicates", "off"])
    bundle = tiny_sketcher(tmp_path / "tiny")
    measures.main([str(bundle), "--store", str(store), "--sketches", "7", "--windows", "4", "--save", str(saved)])
    found = json.loads(saved.read_text())["songs"]["results"]
    assert found["place: nats a code"] <= found["unigram: nats a code"] < found["model: nats a code"]  # random weights
    assert found["model: nats a frame"] == pytest.approx(4 * found["model: nats a code"])
    assert found["channels of pitches asked for that play"] == 1.0
    assert found["copies: of sketches, in the train split"] < 0.05


def test_a_place_of_which_nothing_is_known_costs_what_frequencies_do(tmp_path, monkeypatch):
    midi.main([str(SONGS), str(tmp_path / "s"), "--codec", "song", "--valid-share", "0.5", "--workers", "0",
               "--duplicates", "off"])
    store = TokenStore(tmp_path / "s")
    monkeypatch.setattr(measures, "TRUST", 1e9)
    np.testing.assert_allclose(measures.place_loss(store), baseline.unigram_loss(store)[:4], rtol=1e-4)
    assert held_out(tiny_sketcher(tmp_path / "tiny"), store, 2).shape == (6,)
