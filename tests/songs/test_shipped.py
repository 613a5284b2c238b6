"""The bundle that ships: its size, whom it owes, and that it plays what it is asked for."""

import json

import numpy as np
import pytest

import infer
from audiocraft_ext.engine.bundle import BUNDLES
from audiocraft_ext.songs.beepbox import files
from audiocraft_ext.songs.play.sketcher import Sketcher

FOLDER = BUNDLES / "songs"
PLACE = 0.4294  # nats a code on the held-out songs, of a table of what comes where (docs/RUNS.md)


@pytest.fixture(scope="module")
def sketcher():
    return Sketcher.load("songs", threads=1)


def test_it_is_small_and_says_whom_it_owes(sketcher):
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000
    info = json.loads((FOLDER / "model.json").read_text("utf-8"))
    assert "CC-BY-4.0" in info["licence"] and "/" not in json.dumps(info["run"])  # no path of anybody's
    owed = (FOLDER / "LICENCES.md").read_text("utf-8")
    assert all(word in owed for word in ("POP909", "Freedoom", "Groove MIDI Dataset", "Permission is hereby",
                                         "Redistribution and use", "Attribution 4.0"))
    sketcher.bundle.verify()


def test_it_learned_something():
    run = json.loads((FOLDER / "model.json").read_text("utf-8"))["run"]
    assert run["last"]["valid"]["ce"] < 0.9 * PLACE


def test_channels_play_what_they_are_for(sketcher):
    """Almost no code of drums for a pitch, and all channels of pitches have notes."""
    sketches = list(sketcher.play(sketcher.recipe(bars=4, channels=3, drums=1, rhythm=4, seed=1), range(8)))
    heard = np.mean([len({channel for channel, _, _ in one.song.notes() if channel < 3}) for one in sketches])
    assert heard > 2.5


def test_the_line_of_the_readme(tmp_path, capsys):
    infer.main(["songs", "-n", "2", "--channels", "3", "--drums", "1", "--rhythm", "4", "--seed", "1", "-o",
                str(tmp_path)])
    made = sorted(tmp_path.glob("*.beepbox.json"))
    for path in made:
        song = files.read(path)[0]
        assert (song.pitched, len(song.channels), song.rhythm, song.bars) == (3, 4, 4, 8)
        beside = path.with_name(path.name.replace(".beepbox.json", ".url.txt"))
        assert files.read(beside)[0] == song
    assert len(made) == len(list(tmp_path.glob("*.mid"))) == len(list(tmp_path.glob("*.png"))) == 2
