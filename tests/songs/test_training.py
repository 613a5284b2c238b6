"""Songs on the shared trainer: a batch is learned by heart, a stopped run resumes, and a run becomes a sketcher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import infer
from audiocraft_ext import kinds
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.export import bundle as bundles
from audiocraft_ext.notes import demo as notes_demo
from audiocraft_ext.songs import demo
from audiocraft_ext.songs.beepbox import files
from data_prep.midi import cli as prep
from tests.helpers.learning import SHORT, TINY, by_heart, whole_and_stopped
from tests.helpers.programs import stages_here
from tests.helpers.runs import solver_of

SONGS = Path(__file__).resolve().parents[1] / "data" / "midi"
BEEPBOX = ("solver=songs/small", *TINY, "dataset.segment_frames=64")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    prep.main([str(SONGS), str(path), "--codec", "song", "--workers", "0", "--channels", "3"])
    return path


def test_a_batch_is_learned_by_heart(store, tmp_path):
    found = by_heart(tmp_path, store, *BEEPBOX, updates=120)
    assert found.spec.delays == (0, 1, 2, 3, 0, 0) and found.batch.shape == (4, 6, 2 + 64)
    assert found.losses[-1] < 0.15 * found.losses[0] and len(found.each) == 6


def test_a_stopped_run_ends_as_one_that_was_not_and_becomes_a_sketcher(store, tmp_path, capsys):
    whole, _ = whole_and_stopped(tmp_path, store, *BEEPBOX, *SHORT, at=3)
    bundles.main([str(whole), str(tmp_path / "bundle")])
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.spec.kind == "song" and bundle.context == 2 + 64 and bundle.codec_config["type"] == "song"
    infer.main([str(tmp_path / "bundle"), "--bars", "2", "--seed", "1", "-o", str(tmp_path / "out")])
    (song,) = (tmp_path / "out").glob("*.beepbox.json")
    assert files.read(song)[0].bars == 2


def test_samples_of_a_run_are_songs(store, tmp_path):
    with solver_of(tmp_path, store, *BEEPBOX, "dataset.batch_size=2") as solver:
        kind, spec = kinds.kind_of(solver.spec), solver.spec
        config = kind.codec_config(solver.store)
        codes = np.concatenate([kind.null_prompt(spec, config), solver.store.read(0, 40)[:4]], axis=1)
        assert kind.write_samples(codes[None], spec, config, tmp_path, 0, print) == []
        assert (tmp_path / "clip_0.mid").read_bytes()[:4] == b"MThd"
        assert files.read(tmp_path / "clip_0.json")[0].pitched == 3


def test_the_demos_of_the_same_files_keep_apart():
    places = {demo.DEMO.parse([]).name, notes_demo.DEMO.parse([]).name}
    assert places == {"songs", "beepbox"} and demo.DEMO.parse(["--name", "mine"]).name == "mine"


def test_the_whole_path_in_one_command(tmp_path, monkeypatch, capsys):
    stages_here(monkeypatch, tmp_path / "outputs")
    monkeypatch.setenv("MICRO_STORES", str(tmp_path / "stores"))
    monkeypatch.chdir(tmp_path)
    words = ["--midi", str(SONGS), "--name", "songs", "--out", "out", "-n", "2", *BEEPBOX, "optim.epochs=1",
             "optim.updates_per_epoch=2", "dataset.batch_size=2"]
    assert demo.main(words) == 0
    said = capsys.readouterr().out
    assert "nats a note" in said and "\nas a URL" in said
    for end in ("beepbox.json", "url.txt", "mid", "png"):
        assert len(list((tmp_path / "out").glob(f"*.{end}"))) == 2
    assert demo.main(words) == 0
    assert capsys.readouterr().out.count("done before, skipped") == 4
