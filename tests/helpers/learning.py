"""What the tests of training have in common, whatever the kind: a tiny model, a batch by heart, a stopped run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from audiocraft_ext.model import checkpoint
from tests.helpers.runs import run, solver_of

TINY = ("transformer_lm.dim=64", "transformer_lm.num_layers=2", "transformer_lm.num_heads=2", "num_threads=1",
        "generate.use=false", "logging.log_tensorboard=false")
SHORT = ("optim.updates_per_epoch=2", "optim.epochs=2", "schedule.cosine.warmup=1", "dataset.batch_size=4")


def by_heart(folder: Path, store: Path, *recipe: str, updates: int) -> SimpleNamespace:
    """Train on one batch alone; its ``spec``, ``batch``, the ``losses`` of the updates and the last one of ``each``
    stream."""
    with solver_of(folder, store, *recipe, "dataset.batch_size=4", "transformer_lm.dropout=0") as solver:
        batch = next(iter(solver.dataloaders["train"]))
        model, losses = solver.model.train(), []
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(updates):
            loss, each = model.losses(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return SimpleNamespace(spec=solver.spec, batch=batch, losses=losses, each=each)


def whole_and_stopped(folder: Path, store: Path, *recipe: str, at: int) -> tuple[Path, Path]:
    """The checkpoints of a run and of one that Ctrl-C stopped after ``at`` updates and that went on; their weights are
    the same."""
    whole = run(folder / "whole", store, *recipe).checkpoint_path()
    with solver_of(folder / "cut", store, *recipe) as solver:
        update = solver.optimizer.step

        def step(*args, **kwargs):
            update(*args, **kwargs)
            if solver.updates_done + 1 == at:
                os.kill(os.getpid(), signal.SIGINT)

        solver.optimizer.step = step
        with pytest.raises(KeyboardInterrupt):
            solver.run()
    cut = run(folder / "cut", store, *recipe).checkpoint_path()
    a, b = (checkpoint.load(path)["model"] for path in (whole, cut))
    assert [name for name, value in a.items() if not torch.equal(value, b[name])] == []
    return whole, cut
