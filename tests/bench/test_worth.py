"""Tables of what blocks, regularisers and views are worth, on toys; and the peer of `benchmarks.sampling.v3`."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.store.writer import StoreWriter
from benchmarks.sampling.v3 import size_of
from benchmarks.sampling.v3_peer import Peer
from benchmarks.training import equal, views, worth
from benchmarks.training.equal import Extra, Ground, Masked
from tests.helpers import stores

RECIPE = ["solver=musicgen/debug", "dataset.segment_duration=0.4", "transformer_lm.dim=32",
          "transformer_lm.num_heads=2"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.make_store(tmp_path_factory.mktemp("worth") / "store", {"a": 200, "b": 200}, {"c": 60}, loop=5,
                             one_loop=True)


@pytest.mark.parametrize("name", sorted(worth.ROWS))
def test_every_row_is_a_model(store, name):
    ground = worth.ground(store, RECIPE, worth.row_of(name).overrides)
    assert torch.isfinite(Masked(ground.lm, store.spec.delays, store.spec.sizes).losses(ground.held_out()[0])[0])


def test_rows_are_put_together_by_name():
    both = worth.row_of("mask 0.1 + decay 1 + first x4")
    assert both == worth.Row(worth.ROWS["decay 1"].overrides, Extra(mask=0.1, first=4.0))
    with pytest.raises(UserError, match="'no such'; there are base, rope"):
        worth.row_of("rope + no such")


def test_a_loop_is_learned_and_the_averages_are_of_what_was_learned(store):
    ground = Ground(store, [*RECIPE, "optim.lr=1e-2"])
    trained = ground.train(ground.held_out(), 2.0, 0, Extra(mask=0.05))
    figures = trained.figures()
    assert figures["best"] < 0.7 * np.log(64) and len(figures["losses"]) == len(equal.LOOKS)
    assert figures["soup"] < 0.7 * np.log(64) and figures["ema"] < np.log(64)
    trained.model.load_state_dict(trained.best)
    assert ground.mean(ground.losses(trained.model, ground.held_out())) == pytest.approx(figures["best"])


def test_what_validates_is_not_counted(store, monkeypatch):
    ground, usual = Ground(store, RECIPE), Ground.losses

    def slow(self, model, held):
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        return usual(self, model, held)

    counts = []
    for losses in (usual, slow):
        monkeypatch.setattr(Ground, "losses", losses)
        counts.append(ground.train(ground.held_out(), 0.8, 0).updates)
    assert counts[1] > 0.4 * counts[0]  # 1.5 s more would leave none


def test_masks_are_seen_in_training_alone_and_spare_prompts_and_controls():
    cfg = LMConfig(3, 8, 8, 2, 1)
    torch.manual_seed(0)
    model, seen = Masked(cfg, (0, 0, 0), (8, 8, 1)), []
    model.emb[0].register_forward_hook(lambda _, given, out: seen.append(given[0]))
    model.emb[2].register_forward_hook(lambda _, given, out: seen.append(given[0]))
    model.share, model.given = 0.9, (2, 1)
    codes = torch.ones(2, 3, 20, dtype=torch.int64)
    model.eval().hidden(codes)
    assert (seen[0] == 1).all() and (seen[1] == 1).all()
    model.train().hidden(codes)
    assert (seen[2][:, :3] == 1).all() and (seen[2][:, 3:] == 8).float().mean() > 0.7 and (seen[3] == 1).all()


def test_weights_of_streams_have_a_mean_of_one():
    weights = equal._stream_weights([True, True, True, False], 4.0)
    assert weights[0] == pytest.approx(4 * weights[2]) and weights[:3].mean() == pytest.approx(1.0)
    assert equal._stream_weights([True, True, False], 1.0).tolist() == [1, 1, 1]


def test_the_rate_follows_the_seconds():
    schedule = SimpleNamespace(lr_scheduler="cosine", cosine=SimpleNamespace(lr_min_ratio=0.1))
    assert equal._factor(0.0, schedule) < 0.05 and equal._factor(0.06, schedule) > 0.95
    assert equal._factor(1.0, schedule) == pytest.approx(0.1)
    assert equal._factor(1.0, SimpleNamespace(lr_scheduler=None)) == 1.0


def test_gains_are_over_the_base_with_the_same_seed():
    done = {"base, 0": {"best": 3.0}, "base, 1": {"best": 2.0}, "rope, 0": {"best": 2.5}, "rope, 1": {"best": 1.4}}
    assert worth.gains(done, "rope") == pytest.approx([0.5, 0.6])
    assert worth.with_spread([0.5, 0.6], "+") == "+0.550 ± 0.071"
    assert worth.clear([0.5, 0.6]) and not worth.clear([0.5, -0.6]) and not worth.clear([0.5])


def test_the_command_resumes_and_refuses_another_recipe(store, tmp_path, monkeypatch, capsys):
    rows = tmp_path / "rows.json"

    def run(*more):
        monkeypatch.setattr("sys.argv", ["worth", str(store.path), str(rows), "--seconds", "0.2", "--seeds", "2",
                                         "--only", "base", "rope", "--recipe", *RECIPE, *more])
        worth.main()
        return capsys.readouterr().out

    first = run()
    assert first.count("\nrope, ") + first.count("rope, 0") >= 2 and "| rope |" in first
    done = json.loads(rows.read_text())["rows"]
    assert len(done) == 4
    assert "base, 0" not in run().split("\n|")[0] and json.loads(rows.read_text())["rows"] == done
    with pytest.raises(UserError, match="name a new file"):
        run("optim.lr=1")


@pytest.fixture
def varied(tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "varied", stores.DEBUG_SPEC, {}) as writer:
        for name in ("a", "b", "c"):
            for number in range(3):
                more = {"variant": {"of": name, "number": number}} if number else {}
                writer.add(f"{name}#{number}" if number else name, TRAIN,
                           rng.integers(0, 64, (4, 3000)).astype(np.uint16), about=more)
        writer.add("v", VALID, rng.integers(0, 64, (4, 200)).astype(np.uint16))
        writer.finish()
    return tmp_path / "varied"


def test_a_part_of_a_store_is_so_many_minutes_in_so_many_views(varied):
    def names(minutes, number):
        return [track.source for track in views.Part(varied, minutes, number).tracks(TRAIN)]

    assert names(1, 1) == ["a"] and names(2, 2) == ["a", "a#1", "b", "b#1"] and len(names(3, 3)) == 9
    assert [track.source for track in views.Part(varied, 1, 1).tracks(VALID)] == ["v"]
    with pytest.raises(UserError, match="has 3 views of a sound, not 4; prepare one with --variants 3"):
        views.Part(varied, 1, 4)
    with pytest.raises(UserError, match="75% of the minutes"):
        views.Part(varied, 4, 1)


def test_views_are_trained_and_told(varied, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["views", str(varied), str(tmp_path / "rows.json"), "--minutes", "1", "--views",
                                     "1", "3", "--seconds", "0.2", "--recipe", *RECIPE])
    views.main()
    out = capsys.readouterr().out
    assert "| 1 | 1 | " in out and "| 1 | 3 | " in out


def test_the_peer_of_v3_has_its_size_and_its_cache_changes_nothing():
    cfg = size_of()
    with torch.device("meta"):
        peer = Peer(cfg)
    assert 64.0e6 < sum(p.numel() for p in peer.parameters()) < 64.6e6
    sizes = {"mla": {"q_rank": 24, "kv_rank": 16, "rope_dim": 12},
             "moe": {"shared": 2, "routed": 2, "top_k": 1, "width": 32}}
    small = Peer(LMConfig.from_dict(cfg.to_dict() | {"dim": 48, "num_heads": 2} | sizes)).eval()
    codes, cache = torch.randint(cfg.card, (1, 20)), [None] * 3
    with torch.no_grad():
        small(codes[:, :10], cache)
        for s in range(10, 20):
            cached, whole = small(codes[:, s : s + 1], cache), small(codes[:, : s + 1])
            torch.testing.assert_close(cached, whole, atol=1e-5, rtol=1e-4)
