"""The bundle that ships: its size, whom it owes, and that it plays what it is asked for."""

import json

import numpy as np
import pytest

from audiocraft_ext.engine.bundle import BUNDLES
from audiocraft_ext.notes.midi import families_of
from audiocraft_ext.notes.play.composer import Composer

FOLDER = BUNDLES / "notes"
UNIGRAM = 18.0  # nats a note


@pytest.fixture(scope="module")
def composer():
    return Composer.load("notes", threads=1)


def test_it_is_small_and_says_whom_it_owes(composer):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000
    info = json.loads((FOLDER / "model.json").read_text("utf-8"))
    assert "CC-BY-4.0" in info["licence"] and "/" not in json.dumps(info["run"])  # no path of anybody's
    owed = (FOLDER / "LICENCES.md").read_text("utf-8")
    assert all(word in owed for word in ("POP909", "Freedoom", "Groove MIDI Dataset", "Google", "Permission is hereby",
                                         "Redistribution and use", "1905.06118"))
    composer.bundle.verify()


def test_it_learned_something():
    run = json.loads((FOLDER / "model.json").read_text("utf-8"))["run"]
    assert 5 * run["last"]["valid"]["ce"] < UNIGRAM / 2


def test_a_piece_is_built_of_the_parts_that_it_is_asked_for(composer):
    pieces = composer.play(composer.recipe(bars=4, bpm=120, seed=1, parts=["drums", "bass", "piano"]), range(4))
    for piece in pieces:
        assert set(families_of(piece.score.notes[:, 2])) == {"drums", "bass", "piano"}
        bass, keys = (piece.score.notes[np.isin(piece.score.notes[:, 2], range(low, high))]
                      for low, high in ((33, 41), (1, 9)))
        assert np.median(bass[:, 3]) < np.median(keys[:, 3])


def test_density_steers(composer):
    """It leans: single pieces differ by more than the word does, so it takes some."""
    count = [np.mean([len(piece.score) for piece in composer.play(
        composer.recipe(bars=4, seed=3, density=word, having=["piano"]), range(24))])
        for word in ("very-low", "very-high")]
    assert count[1] > 1.15 * count[0]
