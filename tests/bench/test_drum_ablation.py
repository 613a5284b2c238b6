"""The ablation of augmentations, on a toy: nats a hit by hand, and rows that are done stay."""

import json
import math

import numpy as np
import pytest
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.model.lm import LM, LMConfig
from benchmarks.drums import ablation
from tests.drums.test_view import write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    def part(seed: int) -> Pattern:
        step = np.flatnonzero(np.random.default_rng(seed).random(128) < 0.4)
        ones = np.ones(len(step))
        return Pattern(step, step % 3, 80 * ones, 0 * ones, 8, 16, 4)

    about = {"style": "x", "time_signature": "4/4"}
    return write_store(tmp_path_factory.mktemp("ablation") / "s", DrumGrid(), {
        "a": [(TRAIN, about, part(0))], "b": [(VALID, about, part(1))]})


def test_nats_a_hit_of_a_model_that_knows_nothing(store):
    spec = store.spec
    model = LM(LMConfig(spec.n_q, spec.card, 16, 2, 1), spec.delays, spec.sizes, spec.gates)
    for linear in model.linears:
        torch.nn.init.zeros_(linear.weight)
    codes = ablation.batches(store, 64, False, 1, "cpu")
    hits = sum(int((batch[:, :12, 1:] > 0).sum()) for batch in codes)
    wanted = (128 * 12 * math.log(33) + hits * math.log(25)) / hits
    assert ablation.nats_a_hit(model, codes) == pytest.approx(wanted, rel=1e-5)


def test_rows_that_are_done_stay(store, tmp_path, monkeypatch, capsys):
    argv = ["x", str(store.path), str(tmp_path / "rows.json"), "--updates", "2", "--every", "1", "--batch", "2",
            "--seeds", "1", "--only", "none", "all but splice"]
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr(ablation, "DIM", 16)
    ablation.main()
    there = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert there.keys() == {"none, 0", "all but splice, 0"}
    assert all(50 < one["silent"] < 200 and one["silent"] <= one["last"] for one in there.values())
    monkeypatch.setattr(ablation, "train", None)
    ablation.main()
    assert "all but splice" in capsys.readouterr().out.splitlines()[-3]
    monkeypatch.setattr("sys.argv", [*argv[:4], "3", *argv[5:]])
    with pytest.raises(UserError, match="name a new file"):
        ablation.main()
    monkeypatch.setattr("sys.argv", [*argv[:-1], "all but x"])
    with pytest.raises(UserError, match="no row is called 'all but x'; there are none, all, all but shift"):
        ablation.main()


def test_each_row_differs_in_one_thing():
    rows = {name: one["augment"] for name, one in ablation.variants().items()}
    assert len(rows) == 2 + 2 * len(ablation.NAMES)
    for name in ablation.NAMES:
        for one, base in ((f"all but {name}", "all"), (f"only {name}", "none")):
            assert {other for other, share in rows[base].items() if share != rows[one][other]} == {name}
