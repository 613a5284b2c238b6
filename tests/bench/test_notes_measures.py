"""What is measured of notes, beside what was counted by hand; and all of it on little."""

import json
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.notes.codec.score import DRUMS, Score, instrument
from benchmarks.common.music import Music, apart, features, runs
from benchmarks.notes import measures
from data_prep.midi import cli as midi
from tests.helpers.notes_bundle import tiny_composer

SONGS = Path(__file__).parents[1] / "data" / "midi"
TUNE = np.array([(i * 240, 240, instrument(0), pitch, 90) for i, pitch in
                 enumerate((60, 62, 64, 65, 67, 69, 71, 72, 74))])


def score(notes) -> Music:
    return measures.music_of(Score(np.asarray(notes), 480, 120.0, (4, 4), 2))


def test_runs_are_the_same_in_another_key_and_of_drums_are_not():
    assert len(runs(score(TUNE))) == 2 and not len(runs(score(TUNE[:7])))
    higher = runs(score(TUNE + [480, 9, 5, 3, -20]))
    np.testing.assert_array_equal(runs(score(TUNE)), higher)
    other = TUNE + (np.arange(9) == 8)[:, None] * [0, 0, 0, 1, 0]
    assert (runs(score(other)) == higher).tolist() == [True, False]
    drums = TUNE * [1, 1, 0, 1, 1] + [0, 0, DRUMS, 0, 0]
    assert not set(runs(score(drums))) & set(runs(score(drums + [0, 0, 0, 1, 0])))
    assert not set(runs(score(drums))) & set(higher)


def test_distances_are_those_that_one_counts():
    one = features(score(TUNE[:4]))
    assert one[0].tolist() == [1, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0] and one[2].tolist() == [0.5] * 4
    assert one[1].tolist() == [1] * 8 + [0] * 24  # sixteenths
    assert set(apart([one], [one]).values()) == {0.0}
    longer = features(score(TUNE[:4] * [1, 2, 1, 1, 1] + [0, 0, 0, 1, 0]))  # a semitone up, twice as long
    found = apart([one], [longer])
    assert found["pitch classes"] == pytest.approx(3 / 4)  # of C# D# F F#, only F is there
    assert found["note length"] == pytest.approx(0.5) and found["polyphony"] == pytest.approx(8 / 32)
    drums = features(score([(0, 0, DRUMS, 36, 90)]))
    assert not drums[0].any() and not len(drums[1]) and not len(drums[2])


def test_all_of_it_on_little(tmp_path, capsys):
    store, saved = tmp_path / "store", tmp_path / "bench.json"
    midi.main([str(SONGS), str(store), "--codec", "notes", "--valid-share", "0.5", "--workers", "0",
               "--duplicates", "off"])
    bundle = tiny_composer(tmp_path / "tiny")
    measures.main(["--files", str(SONGS), "--sample", "1", "--no-prepare", "--bundle", str(bundle), "--store",
                   str(store), "--pieces", "5", "--windows", "4", "--frames", "40", "--save", str(saved)])
    found = json.loads(saved.read_text())["notes"]["results"]
    assert found["ours: notes kept"] == 1.0 and found["files"] == 4
    assert found["model: nats a frame"] == pytest.approx(5 * found["model: nats a code"])
    assert found["model: nats a note"] > found["model: nats a frame"] > found["unigram: nats a frame"]  # random weights
    assert found["bass: notes a bar of a part, built"] > 0
    assert 0 <= found["families asked for that play"] <= 1 and -1 <= found["density: rank correlation"] <= 1
    assert found["copies: of pieces, in the train split"] < 0.05  # random weights copy nothing
    assert found["pitch classes: pieces to held-out rows"] > 0
    assert "notes" in capsys.readouterr().out
    for argv, why in (([], "give --files"), (["--bundle", str(bundle)], "and --store"),
                      (["--files", str(tmp_path / "store")], "no MIDI files in")):
        with pytest.raises(UserError, match=why):
            measures.main(argv)
