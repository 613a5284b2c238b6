"""Drums on the shared trainer: both codecs learn a batch by heart, a stopped run resumes, and the whole path in one
command. And what makes it one trainer: the shared parts know nothing of drums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums import demo
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.model import checkpoint
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.train import main
from data_prep.midi import cli as midi
from tests.helpers.learning import SHORT, TINY, by_heart, whole_and_stopped
from tests.helpers.programs import stages_here
from tests.helpers.runs import run, solver_of

pytestmark = pytest.mark.early
ROOT = Path(__file__).resolve().parents[2]
GROOVE = ROOT / "tests" / "data" / "groove"
DELAYS = {"drum_grid": (0,) * 24, "drum_hits": (0, 1, 2, 3)}


@pytest.fixture(scope="module", params=DELAYS)
def store(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    midi.main([str(GROOVE), str(path), "--workers", "0", "--valid-share", "0.3", "--codec", request.param])
    return path


def drums(store: Path) -> tuple[str, ...]:
    return ("solver=drums/small", *TINY)


def test_a_batch_is_learned_by_heart(store, tmp_path):
    found = by_heart(tmp_path, store, *drums(store), "dataset.view.altered=0", updates=180)
    assert found.spec.delays == DELAYS[found.spec.codec]
    assert (found.batch[:, :, : found.spec.prompt] >= max(found.spec.sizes)).all()
    assert found.losses[-1] < 0.1 * found.losses[0]


def test_a_stopped_run_ends_as_one_that_was_not(store, tmp_path):
    whole, cut = map(checkpoint.load, whole_and_stopped(tmp_path, store, *drums(store), *SHORT,
                                                        "optim.updates_per_epoch=3", at=4))
    assert [h["valid"]["ce"] for h in whole["history"]] == [h["valid"]["ce"] for h in cut["history"]]
    assert codec_of(cut["meaning"]).hash == TokenStore(store).spec.codec_hash


def test_a_wrong_option_of_the_view_is_one_line(store, tmp_path):
    with pytest.raises(ValueError, match="no option is called 'drip'; there are drop"):
        with solver_of(tmp_path, store, *drums(store), "+dataset.view.drip=1"):
            pass


def test_a_list_of_settings_stays_one(capsys):
    with pytest.raises(SystemExit) as stop:
        main.get_xp(["solver=drums/small", "dataset.view.augment=false"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "augment" in err and "set the keys in it" in err and err.count("\n") == 1


WORDS = ("--midi", str(GROOVE), "--name", "mine (2)", "--out", "out", "-n", "3", *TINY, "solver=drums/small",
         "optim.epochs=1", "optim.updates_per_epoch=4", "schedule.cosine.warmup=1")


def is_a_drummer(out: Path) -> None:
    for ending in ("mid", "wav"):
        assert len(list(out.glob(f"*.{ending}"))) == 3
    assert (out / "rolls.png").read_bytes().startswith(b"\x89PNG")
    bundle = Bundle(out / "mine (2)")
    assert bundle.codec_config["type"] == "drum_grid" and bundle.context == 65


def test_a_folder_of_midi_becomes_a_drummer_and_only_what_is_missing_is_made_again(tmp_path, monkeypatch, capsys):
    """All stages in this process."""
    stages_here(monkeypatch, tmp_path / "outputs")
    monkeypatch.setenv("MICRO_STORES", str(tmp_path / "stores"))
    monkeypatch.chdir(tmp_path)
    assert demo.main(list(WORDS)) == 0
    assert "nats a hit" in capsys.readouterr().out
    out = tmp_path / "out"
    is_a_drummer(out)
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.suffix in (".mid", ".wav", ".onnx")}
    assert demo.main(list(WORDS)) == 0
    assert capsys.readouterr().out.count("done before, skipped") == 4
    assert {p: p.stat().st_mtime_ns for p in times} == times
    with pytest.raises(UserError, match="no such folder"):
        demo.main(["--midi", str(tmp_path / "nothing")])


@pytest.mark.processes
def test_a_drummer_as_a_person_types_it(tmp_path):
    python = str(Path(sys.executable).parent)
    done = subprocess.run([str(ROOT / "train.sh"), *WORDS], cwd=tmp_path, capture_output=True, text=True, timeout=400,
                          env={**os.environ, "MICRO_STORES": "stores", "MICRO_OUTPUTS": "outputs",
                               "PATH": f"{python}:{os.environ['PATH']}"})
    assert done.returncode == 0 and "nats a hit" in done.stdout, done.stderr[-2000:]
    is_a_drummer(tmp_path / "out")


def test_samples_while_training_are_files_one_can_play(store, tmp_path):
    recipe = ("generate.use=true", "generate.num_samples=2", "optim.epochs=1", "optim.updates_per_epoch=1",
              "schedule.cosine.warmup=0", "dataset.batch_size=2")
    solver = run(tmp_path, store, *(o for o in drums(store) if o != "generate.use=false"), *recipe)
    folder = solver.folder / "samples" / "epoch_1"
    assert len(list(folder.glob("*.mid"))) == len(list(folder.glob("*.wav"))) == 2
    codes = np.load(folder / "codes.npy")
    assert codes.shape[:2] == (2, solver.spec.n_q)
    assert json.loads((folder / "settings.json").read_text())["spec"]["prompt"] == solver.spec.prompt


def test_the_config_names_every_option_of_the_view():
    from omegaconf import OmegaConf

    from audiocraft_ext.drums.view import OPTIONS

    view = OmegaConf.load(ROOT / "configs/solver/drums/default.yaml").dataset.view
    assert view.keys() == OPTIONS.keys() and view.augment.keys() == OPTIONS["augment"].keys()
