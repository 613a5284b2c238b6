"""Notes on the shared trainer: a batch is learned by heart, a stopped run resumes, and a run becomes a composer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import infer
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.export import bundle as bundles
from audiocraft_ext.model import checkpoint
from audiocraft_ext.notes import demo
from audiocraft_ext.notes.codec import codec_of
from data_prep.midi import cli as prep
from tests.helpers.programs import stages_here
from tests.helpers.runs import run, solver_of

SONGS = Path(__file__).resolve().parents[1] / "data" / "midi"
TINY = ("solver=notes/small", "transformer_lm.dim=64", "transformer_lm.num_layers=2", "transformer_lm.num_heads=2",
        "num_threads=1", "generate.use=false", "logging.log_tensorboard=false", "dataset.segment_frames=64")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    prep.main([str(SONGS), str(path), "--codec", "notes", "--workers", "0"])
    return path


def test_a_batch_is_learned_by_heart(store, tmp_path):
    with solver_of(tmp_path, store, *TINY, "dataset.batch_size=4", "transformer_lm.dropout=0") as solver:
        batch = next(iter(solver.dataloaders["train"]))
        assert solver.spec.delays == (0, 1, 2, 3, 4) and batch.shape == (4, 5, 5 + 64)
        assert (batch[:, :, :5] >= max(codec_of(solver.store.settings["codec"]).sizes)).all()
        model, losses = solver.model.train(), []
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(150):
            loss, each = model.losses(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.15 * losses[0] and len(each) == 5


def test_a_stopped_run_ends_as_one_that_was_not_and_plays(store, tmp_path, capsys):
    recipe = (*TINY, "optim.updates_per_epoch=2", "optim.epochs=2", "schedule.cosine.warmup=1", "dataset.batch_size=4")
    whole = run(tmp_path / "whole", store, *recipe).checkpoint_path()
    with solver_of(tmp_path / "cut", store, *recipe) as solver:
        update = solver.optimizer.step

        def step(*args, **kwargs):
            update(*args, **kwargs)
            if solver.updates_done + 1 == 3:
                os.kill(os.getpid(), signal.SIGINT)

        solver.optimizer.step = step
        with pytest.raises(KeyboardInterrupt):
            solver.run()
    a, b = (checkpoint.load(path)["model"] for path in (whole, run(tmp_path / "cut", store, *recipe).checkpoint_path()))
    assert all(torch.equal(a[name], b[name]) for name in a)

    bundles.main([str(whole), str(tmp_path / "bundle")])
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.spec.kind == "notes" and bundle.context == 5 + 64 and bundle.codec_config["type"] == "notes"
    infer.main([str(tmp_path / "bundle"), "--bars", "2", "--seed", "1", "-o", str(tmp_path / "out")])
    assert len(list((tmp_path / "out").glob("*.mid"))) == 1


def test_samples_of_a_run_are_midi(store, tmp_path):
    with solver_of(tmp_path, store, *TINY, "dataset.batch_size=2") as solver:
        from audiocraft_ext import kinds

        kind, spec = kinds.kind_of(solver.spec), solver.spec
        config = kind.codec_config(solver.store)
        codes = np.concatenate([kind.null_prompt(spec, config), solver.store.read(0, 40)], axis=1)
        assert kind.write_samples(codes[None], spec, config, tmp_path, 0, print) == []
        assert (tmp_path / "clip_0.mid").read_bytes()[:4] == b"MThd"


def test_the_whole_path_in_one_command(tmp_path, monkeypatch, capsys):
    stages_here(monkeypatch, tmp_path / "outputs")
    monkeypatch.setenv("MICRO_STORES", str(tmp_path / "stores"))
    monkeypatch.chdir(tmp_path)
    words = ["--midi", str(SONGS), "--name", "songs", "--out", "out", "-n", "2", *TINY, "optim.epochs=1",
             "optim.updates_per_epoch=2", "dataset.batch_size=2"]
    assert demo.main(words) == 0
    assert "nats a note" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*.mid"))) == len(list((tmp_path / "out").glob("*.png"))) == 2
    assert demo.main(words) == 0
    assert capsys.readouterr().out.count("done before, skipped") == 4
