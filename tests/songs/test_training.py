"""Songs on the shared trainer: a batch is learned by heart, and a run becomes a sketcher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import infer
from audiocraft_ext import kinds
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.export import bundle as bundles
from audiocraft_ext.songs.beepbox import files
from data_prep.midi import cli as prep
from tests.helpers.runs import run, solver_of

SONGS = Path(__file__).resolve().parents[1] / "data" / "midi"
TINY = ("solver=songs/small", "transformer_lm.dim=64", "transformer_lm.num_layers=2", "transformer_lm.num_heads=2",
        "num_threads=1", "generate.use=false", "logging.log_tensorboard=false", "dataset.segment_frames=64")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    prep.main([str(SONGS), str(path), "--codec", "song", "--workers", "0", "--channels", "3"])
    return path


def test_a_batch_is_learned_by_heart(store, tmp_path):
    with solver_of(tmp_path, store, *TINY, "dataset.batch_size=4", "transformer_lm.dropout=0") as solver:
        batch = next(iter(solver.dataloaders["train"]))
        assert solver.spec.delays == (0, 1, 2, 3) and batch.shape == (4, 4, 2 + 64)
        model, losses = solver.model.train(), []
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(120):
            loss, each = model.losses(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.15 * losses[0] and len(each) == 4


def test_a_run_becomes_a_sketcher(store, tmp_path, capsys):
    solver = run(tmp_path / "run", store, *TINY, "optim.updates_per_epoch=2", "optim.epochs=2",
                 "schedule.cosine.warmup=1", "dataset.batch_size=4")
    bundles.main([str(solver.checkpoint_path()), str(tmp_path / "bundle")])
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.spec.kind == "song" and bundle.context == 2 + 64 and bundle.codec_config["type"] == "song"
    infer.main([str(tmp_path / "bundle"), "--bars", "2", "--seed", "1", "-o", str(tmp_path / "out")])
    (song,) = (tmp_path / "out").glob("*.beepbox.json")
    assert files.read(song)[0].bars == 2


def test_samples_of_a_run_are_songs(store, tmp_path):
    with solver_of(tmp_path, store, *TINY, "dataset.batch_size=2") as solver:
        kind, spec = kinds.kind_of(solver.spec), solver.spec
        config = kind.codec_config(solver.store)
        codes = np.concatenate([kind.null_prompt(spec, config), solver.store.read(0, 40)], axis=1)
        assert kind.write_samples(codes[None], spec, config, tmp_path, 0, print) == []
        assert (tmp_path / "clip_0.mid").read_bytes()[:4] == b"MThd"
        assert files.read(tmp_path / "clip_0.json")[0].pitched == 3
