"""The best state is the one whose clips sound best, where clips are judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiocraft_ext.audio import kind as audio_kind
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import VALID
from audiocraft_ext.drums import kind as drum_kind
from audiocraft_ext.model import checkpoint
from audiocraft_ext.training.judge import Judge, rank
from audiocraft_ext.training.tracking import Trackers
from tests.helpers.runs import run
from tests.helpers.stores import make_store

RECIPE = ("optim.updates_per_epoch=2", "optim.epochs=4", "generate.use=false", "generate.judge.every=2",
          "generate.judge.clips=3", "generate.lm.gen_duration=0.4")


@pytest.mark.parametrize("scores, best", [((5.0, 7.0), 2), ((5.0, 3.0), 4)])
def test_the_state_that_is_kept_is_the_one_that_sounds_best(tmp_path, monkeypatch, scores, best):
    store = make_store(tmp_path / "store", {"a": 400}, {"v": 120}, loop=20)
    heard, models, left = [], [], list(scores)

    def judge(of):
        def figures(codes: np.ndarray) -> dict[str, float]:
            heard.append(codes.shape)
            return {"kad": 1.0, "pulse": 0.5, "score": left.pop(0)}

        return figures

    monkeypatch.setattr(audio_kind, "judge", judge)
    from audiocraft_ext.training.solver import StreamSolver

    update = StreamSolver.update_best_state_from_stage

    def remembered(self, stage_name=VALID):
        models.append({name: value.clone() for name, value in self.model.state_dict().items()})
        update(self, stage_name)

    monkeypatch.setattr(StreamSolver, "update_best_state_from_stage", remembered)
    told: list[tuple[str, dict]] = []
    monkeypatch.setattr(Trackers, "point", lambda self, stage, step, metrics: told.append((stage, metrics)))
    solver = run(tmp_path / "run", store.path, *RECIPE)
    assert heard == [(3, store.spec.n_q, 20)] * 2
    state = checkpoint.load(solver.checkpoint_path())
    assert [("score" in epoch[VALID]) for epoch in state["history"]] == [False, True, False, True]
    assert [metrics["score"] for stage, metrics in told if stage == "clips"] == list(scores)
    kept = state["best_state"]["model"]
    assert all(torch.equal(kept[name], value) for name, value in models[best - 1].items())


def test_states_are_ranked_by_score_and_without_one_by_loss():
    ranks = [rank({"ce": 3.0, "score": 2.0}), rank({"ce": 4.0, "score": 2.5}), rank({"ce": 2.0}), rank({"ce": 2.5}),
             rank({"ce": 3.0, "score": float("nan")})]
    assert sorted(ranks) == ranks


def test_it_is_off_by_default_and_looks_after_the_last_epoch(tmp_path):
    store = make_store(tmp_path / "store", {"a": 400}, {"v": 120})
    assert not any(Judge(store, None, 4).due(epoch, 9) for epoch in range(1, 10))
    assert [epoch for epoch in range(1, 9) if Judge(store, 3, 4).due(epoch, 8)] == [3, 6, 8]


def test_drums_are_not_judged_by_sound():
    with pytest.raises(UserError, match="leave generate.judge.every empty"):
        drum_kind.judge(None)
