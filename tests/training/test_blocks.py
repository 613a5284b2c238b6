"""A run with other blocks than MusicGen's: trained, stopped, gone on with, exported, played."""

import pytest
import torch

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampler import generate
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.export import sources
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.model.lm import LM
from tests.helpers.runs import solver_of
from tests.helpers.stores import make_store
from tests.training.test_levers import equal, stopped_and_whole

BLOCKS = ("transformer_lm.norm=rms", "transformer_lm.positional_embedding=rope", "transformer_lm.window=20",
          "transformer_lm.attention=mla", "transformer_lm.mla.kv_rank=32", "transformer_lm.ffn=moe",
          "transformer_lm.moe.routed=3", "transformer_lm.moe.top_k=1", "optim.optimizer=muon", "device=cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    spec = get_codec("debug").spec
    return make_store(tmp_path_factory.mktemp("data") / "store", {"a": 400}, {"v": 60}, spec=spec, loop=20).path


def test_a_run_goes_on_exactly_and_becomes_an_instrument(store, tmp_path):
    again, whole = stopped_and_whole(store, tmp_path, *BLOCKS)
    for part in ("model", "best_state", "optimizer"):
        assert equal(again[part], whole[part]), part
    balance = whole["model"]["transformer.layers.0.router.balance"]
    assert balance.abs().sum() > 0 and "transformer.layers.0.router.load" not in whole["model"]
    trained = sources.read(next((tmp_path / "whole" / "xps").iterdir()))
    assert (trained.cfg.window, trained.cfg.mla.kv_rank, trained.cfg.moe.routed) == (20, 32, 3)
    write_bundle(tmp_path / "b", trained)
    lm = LM(trained.cfg, trained.spec.delays).eval()
    lm.load_state_dict(trained.state)
    how = dict(seed=1, sampling=Sampling(1.0))
    codes = Engine(tmp_path / "b").generate(2, 150, **how)  # longer than it was trained on
    with torch.inference_mode():
        assert (generate(TorchStepper(lm), trained.spec, range(2), 150, **how) == codes).all()


def test_a_window_that_training_never_fills_is_refused(store, tmp_path):
    with pytest.raises(UserError, match="transformer_lm.window=5000 frames is longer than a clip in training"):
        with solver_of(tmp_path, store, *BLOCKS, "transformer_lm.window=5000"):
            pass
