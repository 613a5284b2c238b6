"""What a client asks for becomes a command of Dora's; recipes are those of configs/."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import BUNDLES, Bundle
from audiocraft_ext.studio import train
from audiocraft_ext.studio.jobs import Jobs
from tests.studio.conftest import refused


@pytest.fixture
def store(workspace, monkeypatch):
    """A store of the embedded bundle's codes; only what is asked of it here."""
    folder = workspace.root / "stores" / "mine"
    folder.mkdir(parents=True)
    (folder / "store.json").write_text("{}")
    spec = Bundle(BUNDLES / "embedded").lm_spec
    monkeypatch.setattr(train, "TokenStore", lambda path: SimpleNamespace(spec=spec, path=path, hash="0123456789"))
    return folder


def test_recipes_are_those_that_there_are(workspace):
    (workspace.root / "sweeps").mkdir()
    (workspace.root / "sweeps" / "lr.html").write_text("x")
    known = train.recipes(workspace)
    pages = {one["name"]: one["page"] for one in known["grids"]}
    assert pages["lr"] == "sweeps/lr.html" and pages["debug"] is None
    for kind, usual in known["usual"].items():
        assert usual in [one["name"] for one in known["solvers"][kind]]
    everything = [*sum(known["solvers"].values(), []), *known["scales"], *known["grids"]]
    assert all(one["about"] for one in everything) and not any("/default" in one["name"] for one in everything)


def test_a_run_is_a_command(workspace, store):
    words = train.overrides(workspace, {"store": "stores/mine", "start": "embedded", "updates": 200, "batch_size": 4,
                                        "lr": 1e-3, "scale": "nano", "seed": 3})
    assert words == ["solver=musicgen/demo_32khz", "model/lm/model_scale=nano", "continue_from=embedded",
                     "transformer_lm.positional_embedding=rope", "optim.epochs=8", "optim.updates_per_epoch=25",
                     "generate.every=1", "schedule.cosine.warmup=20", "dataset.batch_size=4", "seed=3",
                     "optim.lr=0.001", f"datasource.store='{store}'",
                     "label='01234567'"]
    plain = train.overrides(workspace, {"store": "stores/mine", "solver": "musicgen/micro_32khz"})
    assert plain[:2] == ["solver=musicgen/micro_32khz", "generate.every=8"]


@pytest.mark.parametrize("updates", [1, 4, 5, 7, 19, 20, 49, 50, 99, 1000, 12_345, 10**6])
def test_updates_are_about_as_many_as_were_asked_for(updates):
    length = dict(word.split("=") for word in train._length(updates))
    epochs, each = int(length["optim.epochs"]), int(length["optim.updates_per_epoch"])
    assert abs(epochs * each - updates) <= max(2, 0.1 * updates) and epochs <= 40
    assert int(length["schedule.cosine.warmup"]) < epochs * each and 1 <= int(length["generate.every"]) <= epochs


@pytest.mark.parametrize("given", [
    {"solver": "drums/small"}, {"solver": "../x"}, {"scale": "huge"}, {"start": "drums"}, {"start": "none"},
    {"updates": 0}, {"updates": 1.5}, {"updates": "20"}, {"batch_size": 0}, {"lr": 0}, {"lr": "1e-3 hydra.run.dir=x"}])
def test_a_run_that_cannot_be(workspace, store, given):
    with pytest.raises(UserError):
        train.overrides(workspace, {"store": "stores/mine"} | given)


def test_a_run_of_somebody_else(client, workspace):
    """What is in a run's folder was not written by the client, but it need not be a run."""
    folder = workspace.root / "outputs" / "xps" / "0123abcd"
    folder.mkdir(parents=True)
    refused(client.post("/api/resume", json={"run": "0123abcd"}), "no note")
    (folder / ".argv.json").write_text('["--help"]')
    refused(client.post("/api/resume", json={"run": "0123abcd"}), "no note")
    refused(client.post("/api/stop-run", json={"run": "0123abcd"}), "not running")
    refused(client.post("/api/export", json={"run": "ffffffff", "name": "a"}), "no run")
    refused(client.post("/api/sweep", json={"grid": "../lr"}), "grid: expected one of")
    refused(client.post("/api/sweep", json={}), "choose a grid")


def test_a_run_goes_on_as_it_began(workspace, monkeypatch):
    folder = workspace.root / "outputs" / "xps" / "0123abcd"
    folder.mkdir(parents=True)
    (folder / ".argv.json").write_text('["solver=debug", "label=\'a b\'"]')
    taken = []
    monkeypatch.setattr(Jobs, "start", lambda self, *words, **about: taken.append((words, about)) or {})
    train.resume(workspace, Jobs(workspace), {"run": "0123abcd", "minutes": 2})
    ((what, _, command), about), = taken
    assert what == "train" and command[-2:] == ["solver=debug", "label='a b'"] and about["limit_s"] == 120
    assert about["run"] == "0123abcd" and shlex.join(command).startswith("-m dora -P audiocraft_ext run")


def test_the_server_is_light():
    """What trains and samples is imported when it is needed: the server starts at once and stays small."""
    code = "import json, sys, audiocraft_ext.studio.server; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "audiocraft", "hydra", "onnxruntime", "matplotlib", "scipy", "librosa", "soundfile"}
    assert not heavy & set(json.loads(done.stdout))
