"""Trackers: what they are told, what they are never told, and that none of them stops a training."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from dora import get_xp
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.runs.record import Record, read_curve
from audiocraft_ext.training import tracking
from tests.helpers import runs
from tests.helpers.stores import make_store

ROOT = Path(__file__).parents[2]


def config(**logging_options):
    """The root config with what a store and a solver would add."""
    cfg = OmegaConf.load(ROOT / "configs/config.yaml")
    more = {"optim": {"lr": 1e-3, "adam": {"betas": [0.9, 0.95]}}, "datasource": {"store": "/data/mine/stores/secret"},
            "continue_from": "/data/mine/other.th"}
    return OmegaConf.merge({k: v for k, v in cfg.items() if k != "defaults"}, more, {"logging": logging_options})


class FakeRun:
    def __init__(self):
        self.logged: list[tuple[dict, int]] = []
        self.finished = 0

    def log(self, data, step=None):
        self.logged.append((data, step))

    def finish(self):
        self.finished += 1


class Fake(types.ModuleType):
    """wandb or trackio, as far as we call them; ``inits`` has what each run was started with."""

    def __init__(self, name: str):
        super().__init__(name)
        self.inits, self.runs, self.settings = [], [], {}
        self.Settings = lambda **options: options
        self.Audio = lambda data, sample_rate=None: ("audio", data, sample_rate)

    def setup(self, settings=None):
        self.settings = settings

    def init(self, **options):
        self.inits.append(options)
        self.runs.append(FakeRun())
        return self.runs[-1]


@pytest.fixture
def fakes(monkeypatch):
    """Both libraries, by name."""
    both = {name: Fake(name) for name in tracking.LIBRARIES}
    for name, module in both.items():
        monkeypatch.setitem(sys.modules, name, module)
    return both


def tell(trackers: tracking.Trackers) -> None:
    trackers.point("train", 3, {"ce": 4.5, "tokens_s": 100.0})
    trackers.point("valid", 3, {"ce": 4.25})
    trackers.sound("clip_0", 3, np.linspace(-2, 1, 100, dtype=np.float32), 8000)
    trackers.close()


def started(fakes, folder: Path, **options):
    folder.mkdir(parents=True, exist_ok=True)
    return tracking.get_trackers(config(**options), Record(folder), None)


def test_there_is_no_tracker_by_default(fakes, tmp_path):
    tell(started(fakes, tmp_path / "abcd1234"))
    assert not fakes["wandb"].inits and not fakes["trackio"].inits
    assert read_curve(tmp_path / "abcd1234")["valid"] == [{"step": 3, "ce": 4.25}]


@pytest.mark.parametrize("name, key", [("wandb", "id"), ("trackio", "name")])
def test_a_run_is_followed_under_its_signature(fakes, tmp_path, name, key):
    for _ in range(2):  # it goes on, so it is the same one there
        tell(started(fakes, tmp_path / "abcd1234", tracker=name))
    assert [init[key] for init in fakes[name].inits] == ["abcd1234"] * 2
    assert {init["resume"] for init in fakes[name].inits} == {"allow"}
    assert fakes[name].inits[0]["project"] == "micro-musicgen"
    run = fakes[name].runs[0]
    assert run.logged == [({"train/ce": 4.5, "train/tokens_s": 100.0}, 3), ({"valid/ce": 4.25}, 3)]
    assert run.finished == 1


@pytest.mark.parametrize("name", tracking.LIBRARIES)
def test_what_the_config_tells(fakes, tmp_path, name):
    """Flat, once, and no path: not of the data, not of the outputs, not of another run."""
    started(fakes, tmp_path / "abcd1234", tracker=name)
    told = fakes[name].inits[0]["config"]
    assert told["optim.lr"] == 1e-3 and told["optim.adam.betas"] == [0.9, 0.95] and told["seed"] == 2036
    assert "label" in told and not any(isinstance(value, dict) for value in told.values())
    words = json.dumps(told)
    assert "/data/mine" not in words and "outputs" not in words and "store" not in words


def test_names_of_the_users_own(fakes, tmp_path):
    folder = tmp_path / "abcd1234"
    folder.mkdir()
    for name in tracking.LIBRARIES:
        cfg = OmegaConf.merge(config(tracker=name), {"wandb": {"project": "p", "name": "n", "group": "g"}})
        tracking.get_trackers(cfg, Record(folder), None)
        assert (fakes[name].inits[0]["project"], fakes[name].inits[0]["group"]) == ("p", "g")
    assert (fakes["wandb"].inits[0]["id"], fakes["wandb"].inits[0]["name"]) == ("abcd1234", "n")
    assert fakes["trackio"].inits[0]["name"] == "n-abcd1234"  # two runs of one name would be one run there


@pytest.mark.parametrize("name", tracking.LIBRARIES)
@pytest.mark.parametrize("key", ["logging.tracker_audio", "wandb.with_media_logging"])
def test_sound_is_sent_when_it_is_asked_for(fakes, tmp_path, name, key):
    cfg = config(tracker=name)
    OmegaConf.update(cfg, key, True)
    tell(tracking.get_trackers(cfg, Record(tmp_path), None))
    (kind, data, rate), = [data["generate/clip_0"] for data, _ in fakes[name].runs[0].logged if len(data) == 1
                           and "generate/clip_0" in data]
    assert kind == "audio" and rate == 8000 and data.dtype == np.int16 and data.shape == (100, 1)
    assert (data[0, 0], data[-1, 0]) == (-32767, 32767)


def test_audiocrafts_way_to_say_wandb(fakes, tmp_path):
    started(fakes, tmp_path, log_wandb=True)
    assert len(fakes["wandb"].inits) == 1
    with pytest.raises(UserError, match="log_wandb=true .* logging.tracker=trackio"):
        started(fakes, tmp_path, log_wandb=True, tracker="trackio")


def test_other_processes_of_a_run_tell_nobody(fakes):
    assert tracking.get_trackers(config(tracker="wandb"), None, None).trackers == []
    assert not fakes["wandb"].inits


def test_an_unknown_tracker_is_refused(fakes, tmp_path):
    with pytest.raises(UserError, match="logging.tracker is trackio or wandb, or empty, got mlflow"):
        started(fakes, tmp_path, tracker="mlflow")


def test_one_that_is_not_installed_is_reported(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="needs the package wandb.* pip install wandb"):
        tracking.get_trackers(config(tracker="wandb"), Record(tmp_path), None)
    monkeypatch.delitem(sys.modules, "wandb")
    (tmp_path / "wandb").mkdir()  # what it leaves in the folder that it ran in
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="needs the package wandb"):
        tracking.get_trackers(config(tracker="wandb"), Record(tmp_path), None)
    sys.modules.pop("wandb", None)


@pytest.mark.parametrize("where", ["init", "log", "finish", "Audio"])
def test_one_that_fails_is_reported_once_and_the_run_goes_on(fakes, tmp_path, monkeypatch, caplog, where):
    def fails(*args, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(FakeRun if where in ("log", "finish") else fakes["wandb"], where, fails)
    with caplog.at_level(logging.WARNING):
        tell(started(fakes, tmp_path, tracker="wandb", tracker_audio=True))
    said = [record.message for record in caplog.records if "logging.tracker" in record.message]
    assert said == ["logging.tracker=wandb does not work, the run goes on without it: no route to host"]
    assert read_curve(tmp_path)["train"]  # the other trackers hear all


def test_a_training_is_followed_from_its_solver(fakes, tmp_path, monkeypatch):
    """Twice the same command: the second goes on. audiocraft's own wandb logger, which asks the network, stays out."""
    get_solver = runs.get_solver
    monkeypatch.setattr(runs, "get_solver", lambda cfg: get_solver(cfg, Record(get_xp().folder)))
    store = make_store(tmp_path / "store", {"a": 300}, {"v": 120}).path
    options = ("logging.log_wandb=true", "generate.use=false")
    solver = runs.run(tmp_path / "runs", store, *options)
    init, run = fakes["wandb"].inits[0], fakes["wandb"].runs[0]
    assert init["id"] == solver.xp.sig and init["dir"] == str(solver.folder)
    assert init["config"] == solver.identity["config"] | {"label": None}
    solver.trackers.close()
    assert [step for data, step in run.logged if "valid/ce" in data] == [2, 4] and run.finished == 1
    assert any("train/ce" in data for data, _ in run.logged)
    runs.run(tmp_path / "runs", store, *options)
    assert fakes["wandb"].inits[1]["id"] == init["id"]


def real(name: str, folder: Path, **environment: str) -> None:
    """The library itself, in a process of its own: it keeps threads and asks things of the environment at import."""
    code = f"""if True:
        from pathlib import Path
        from audiocraft_ext.runs.record import Record
        from tests.training import test_tracking as t
        record, cfg = Record(Path({str(folder)!r})), t.config(tracker={name!r}, tracker_audio=True)
        for _ in range(2):
            t.tell(t.tracking.get_trackers(cfg, record, None))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and "does not work" not in done.stderr, done.stderr


def test_wandb_itself(tmp_path):
    pytest.importorskip("wandb")
    folder = tmp_path / "abcd1234"
    folder.mkdir()
    real("wandb", folder, WANDB_MODE="offline")
    written = list(folder.glob("wandb/offline-run-*-abcd1234/run-abcd1234.wandb"))
    assert len(written) >= 1 and list(folder.glob("wandb/*/files/media/audio/generate/clip_0*.wav"))
    data = written[0].read_bytes()
    assert b"optim.lr" in data and b"valid/ce" in data
    assert not any(word in data for word in (b"/data/mine", str(ROOT).encode(), sys.executable.encode()))


def test_trackio_itself(tmp_path):
    pytest.importorskip("trackio")
    folder = tmp_path / "abcd1234"
    folder.mkdir()
    real("trackio", folder, TRACKIO_DIR=str(tmp_path / "trackio"))
    with sqlite3.connect(tmp_path / "trackio/micro-musicgen.db") as base:
        rows = base.execute("select run_name, run_id, step, metrics from metrics").fetchall()
    assert {row[0] for row in rows} == {"abcd1234"} and len({row[1] for row in rows}) == 1
    assert any(json.loads(row[3]).get("valid/ce") == 4.25 and row[2] == 3 for row in rows)
