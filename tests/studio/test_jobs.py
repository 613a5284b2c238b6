"""Jobs are processes known by their files alone: what they say, how they end, and that they outlive the server."""

from __future__ import annotations

import os
import signal
import time

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import read_json
from audiocraft_ext.studio import jobs as module
from audiocraft_ext.studio.job import Terminal
from audiocraft_ext.studio.jobs import Jobs
from audiocraft_ext.sweep import process

WAITS = ("import signal, sys, time\n"
         "def stop(*_): print('saving', flush=True); sys.exit(130)\n"
         "signal.signal(signal.SIGINT, stop)\n"
         "print('ready', flush=True)\n"
         "time.sleep(60)")


@pytest.fixture
def jobs(workspace):
    started = Jobs(workspace)
    yield started
    for job in started.running():
        started.stop(job["id"], now=True)


def until(jobs: Jobs, job: dict, good, patience_s: float = 60) -> dict:
    end = time.monotonic() + patience_s
    while not good(now := jobs.get(job["id"])):
        assert time.monotonic() < end, now
        time.sleep(0.05)
    return now


def ended(jobs: Jobs, job: dict) -> dict:
    return until(jobs, job, lambda now: now["state"] != "running")


def ready(jobs: Jobs, job: dict) -> dict:
    return until(jobs, job, lambda now: now["line"] == "ready")


def test_a_job_from_its_start_to_its_end(jobs):
    bar = ("import time; from tqdm import tqdm\n"
           "for _ in tqdm(range(4), desc='cooking', disable=None): time.sleep(0.3)\n"
           "print('served \\x1b[31mhot\\x1b[0m')")
    job = jobs.start("test", "dinner", ["-c", bar], guests=2)
    half = until(jobs, job, lambda now: now["progress"] in (0.25, 0.5, 0.75))
    assert half["state"] == "running" and half["line"].startswith("cooking, ")
    done = ended(jobs, job)
    assert (done["state"], done["progress"], done["line"], done["error"]) == ("finished", 1.0, "served hot", "")
    assert done["title"] == "dinner" and done["about"] == {"guests": 2}
    assert jobs.log(job["id"]).splitlines()[-1] == "served hot"
    jobs.forget(job["id"])
    assert jobs.list() == []


def test_how_it_failed_is_said(jobs):
    wrong = jobs.start("test", "a", ["-c", "import sys; print('error: no such cake', file=sys.stderr); sys.exit(2)"])
    crash = jobs.start("test", "b", ["-c", "1 / 0"])
    assert (ended(jobs, wrong)["state"], jobs.get(wrong["id"])["error"]) == ("failed", "no such cake")
    assert ended(jobs, crash)["state"] == "failed" and "ZeroDivisionError" in jobs.get(crash["id"])["error"]


def test_stop_is_ctrl_c_and_the_same_goes_on(jobs):
    job = jobs.start("test", "a", ["-c", WAITS])
    ready(jobs, job)
    jobs.stop(job["id"])
    assert ended(jobs, job)["state"] == "stopped" and "saving" in jobs.log(job["id"])
    jobs.again(job["id"])
    ready(jobs, job)
    with pytest.raises(UserError, match="still running"):
        jobs.again(job["id"])
    with pytest.raises(UserError, match="stop it first"):
        jobs.forget(job["id"])
    jobs.stop(job["id"], now=True)
    assert ended(jobs, job)["state"] == "stopped"


def test_a_limit_of_time(jobs):
    job = jobs.start("test", "a", ["-c", WAITS], limit_s=1.5)
    assert ended(jobs, job)["state"] == "stopped" and "saving" in jobs.log(job["id"])


@pytest.mark.parametrize("who", ["child", "process"])
def test_killed(jobs, who):
    """The command, or the process beside it; that leaves the command, which can still be stopped."""
    job = jobs.start("test", "a", ["-c", WAITS])
    ready(jobs, job)
    status = read_json(jobs.workspace.jobs / job["id"] / "status.json")
    os.kill(status[who]["pid"], signal.SIGKILL)
    if who == "process":
        time.sleep(0.3)
        assert jobs.get(job["id"])["state"] == "running" and process.alive(status["child"])
        jobs.stop(job["id"])
    killed = ended(jobs, job)
    assert killed["state"] == "killed"
    until(jobs, job, lambda now: not process.alive(status["child"]))


def test_a_new_server_finds_the_jobs(jobs, workspace):
    job = jobs.start("test", "a", ["-c", WAITS])
    ready(jobs, job)
    other = Jobs(workspace)
    assert [one["id"] for one in other.running("test")] == [job["id"]]
    other.stop(job["id"])
    assert ended(other, job)["state"] == "stopped"


def test_not_too_many_at_a_time(jobs, monkeypatch):
    monkeypatch.setattr(module, "AT_A_TIME", 1)
    jobs.start("test", "a", ["-c", WAITS])
    with pytest.raises(UserError, match="under way"):
        jobs.start("test", "b", ["-c", "0"])


def test_a_job_that_never_started(jobs, monkeypatch):
    monkeypatch.setattr(module.subprocess, "Popen", lambda *_, **__: type("Child", (), {"poll": lambda self: None})())
    job = jobs.start("test", "a", ["-c", "0"])
    assert job["state"] == "running"
    monkeypatch.setattr(module, "SETTLING_S", 0.0)
    assert jobs.get(job["id"])["state"] == "killed"


@pytest.mark.parametrize("name", ["", "..", "../..", "20261130-113257-zzzzzz", "20261130-113257-451909"])
def test_a_job_that_is_none(jobs, name):
    for ask in (jobs.get, jobs.log, jobs.stop, jobs.again, jobs.forget):
        with pytest.raises(UserError, match="no job"):
            ask(name)


def test_what_a_program_draws_is_text(tmp_path):
    terminal = Terminal(tmp_path / "log")
    terminal.feed("analysis:  40%|████      |, 6 files [00:22<00:24]\r".encode())
    assert (terminal.progress, terminal.line) == (0.4, "analysis, 40%, 6 files [00:22<00:24]")
    terminal.feed("training:  50%|█████     | 10/20 [00:01<00:01, ce 3.6][11-30 11:37:01] a line\n".encode())
    assert terminal.progress == 0.5
    terminal.feed(b"half a ")
    terminal.feed(b"line \xff\x1b]0;title\x07\x1b[2J\x07<b>\r\nerror: it is wrong\n")
    terminal.close()
    lines = (tmp_path / "log").read_text("utf-8").splitlines()
    assert lines == ["[11-30 11:37:01] a line", "half a line \ufffd<b>", "error: it is wrong"]
    assert terminal.error == "it is wrong"


def test_a_log_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("audiocraft_ext.studio.job.MOST_LOG", 100)
    terminal = Terminal(tmp_path / "log")
    for _ in range(100):
        terminal.feed(b"0123456789\n")
    terminal.close()
    assert (tmp_path / "log").stat().st_size <= 110 and terminal.line == "0123456789"
