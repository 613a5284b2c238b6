"""What a run says of itself: whole files at any time, the end of a run whichever way it comes, curves without the
updates that were done twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import only_one
from audiocraft_ext.runs.record import CURVE, STATUS, Record, read_curve, read_status


@pytest.mark.parametrize("error, state, said", [
    (None, "finished", None), (KeyboardInterrupt(), "stopped", None), (SystemExit(-1), "stopped", None),
    (UserError("no\n room"), "failed", "no room"), (ZeroDivisionError("by 0"), "failed", "ZeroDivisionError: by 0"),
    (RuntimeError(), "failed", "RuntimeError: RuntimeError")])
def test_the_end_of_a_run_is_in_its_status(tmp_path, error, state, said):
    record = Record(tmp_path)
    try:
        with record.of_run():
            assert read_status(tmp_path)["state"] == "training"
            record.status(step=3, steps=9)
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    status = read_status(tmp_path)
    assert (status["state"], status["error"], status["step"], status["steps"]) == (state, said, 3, 9)
    assert status["pid"] and abs(status["updated"] - time.time()) < 60
    assert [p.name for p in tmp_path.iterdir()] == [STATUS]


def test_an_error_is_forgotten_when_the_run_goes_on(tmp_path):
    with pytest.raises(UserError), Record(tmp_path).of_run():
        raise UserError("full")
    with Record(tmp_path).of_run():
        assert read_status(tmp_path)["error"] is None


def test_a_status_is_written_seldom_unless_it_must_be(tmp_path, monkeypatch):
    record = Record(tmp_path)
    record.status(now=True, step=1)
    record.status(step=2)
    assert read_status(tmp_path)["step"] == 1
    record.status(now=True)
    assert read_status(tmp_path)["step"] == 2


def test_updates_that_were_done_again_count_once(tmp_path):
    record = Record(tmp_path)
    for step in (10, 20, 30):
        record.point("train", step, {"ce": 5 - step / 10})
    record.point("valid", 30, {"ce": 3.0})
    for step in (20, 30, 40):  # after a kill, from a checkpoint at 15
        record.point("train", step, {"ce": 100.0 + step})
    record.point("valid", 30, {"ce": 2.5})
    with (tmp_path / CURVE).open("a") as file:
        file.write('{"stage": "train", "st')
    curve = read_curve(tmp_path)
    assert [(p["step"], p["ce"]) for p in curve["train"]] == [(10, 4.0), (20, 120.0), (30, 130.0), (40, 140.0)]
    assert curve["valid"] == [{"step": 30, "ce": 2.5}]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\xff"])
def test_a_status_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / STATUS).write_bytes(text.encode("latin-1"))
    assert read_status(tmp_path) == {}
    assert read_curve(tmp_path) == {}


def test_a_folder_that_is_full_stops_nobody(tmp_path):
    record = Record(tmp_path / "gone")
    record.status(now=True, step=1)
    record.point("train", 1, {"ce": 1.0})


def test_only_one_process_at_a_time(tmp_path):
    path = tmp_path / "lock"
    code = f"""
import pathlib, sys, time
from audiocraft_ext.core.files import only_one
with only_one(pathlib.Path({str(path)!r}), "the run"):
    print("in", flush=True); time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    with pytest.raises(UserError, match=f"the run is busy: process {other.pid} on .* wait for it"):
        with only_one(path, "the run"):
            pytest.fail("both are in")
    other.kill()
    other.wait()
    with only_one(path, "the run"):
        pass


def test_numbers_of_a_point_stay_numbers(tmp_path):
    Record(tmp_path).point("train", 1, {"ce": 1.25, "lr": 3e-4})
    assert json.loads((tmp_path / CURVE).read_text()) == {"stage": "train", "step": 1, "ce": 1.25, "lr": 3e-4}
