"""The studio from its command line, as a person uses it: prepare, train, hear, kill, go on, export, play; two tabs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import soundfile as sf

from audiocraft_ext.runs.record import read_status
from tests.studio.served import Served

pytestmark = [pytest.mark.processes, pytest.mark.early]
PATIENCE_S = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("studio") / "ws"


@pytest.fixture
def served(folder) -> Iterator[Served]:
    folder.mkdir(exist_ok=True)
    with Served(folder) as server:
        yield server


def until(what: Callable[[], object], patience_s: float = PATIENCE_S) -> object:
    end = time.monotonic() + patience_s
    while not (value := what()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.2)
    return value


def ask(tab: httpx2.Client, what: str, **body) -> dict:
    answer = tab.post(f"/api/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def state_of(tab: httpx2.Client, job: dict) -> dict:
    return next(one for one in tab.get("/api/jobs").json() if one["id"] == job["id"])


def ended(tab: httpx2.Client, job: dict, state: str = "finished") -> dict:
    now = until(lambda: (one := state_of(tab, job))["state"] != "running" and one)
    assert now["state"] == state, f"{now}\n{tab.get('/api/log', params={'job': job['id']}).json()['log'][-2000:]}"
    return now


def test_from_sound_to_an_instrument(folder, served):
    tab = served.tab()
    job = ask(tab, "prepare", source="shipped:breaks", store="breaks", codec="debug", valid_share=0.25)
    with pytest.raises(AssertionError, match="being prepared already"):
        ask(served.tab(), "prepare", source="shipped:breaks", store="breaks", codec="debug")
    ended(tab, job)
    (store,) = tab.get("/api/library").json()["stores"]
    assert store["rows"]["train"] > 50 and store["source"] == "shipped:breaks"
    assert "<html" in tab.get(f"/file/{store['report']}").text
    row = tab.get("/api/labels", params={"store": store["id"]}).json()["rows"][0]
    assert sf.info(io.BytesIO(tab.get(f"/file/{row['slice']}").content)).duration > 1

    what = dict(store=store["id"], solver="musicgen/debug", updates=20)
    checked = ask(tab, "check", **what)
    assert checked["memory"].startswith("about ") and checked["parameters"].endswith("M")
    job = ask(tab, "train", **what)
    assert job["about"]["run"] == checked["signature"]
    ended(tab, job)
    run = tab.get("/api/run", params={"run": checked["signature"]}).json()
    assert run["state"] == "done" and run["step"] == run["steps"] == 20
    assert {"ce", "ce_q1", "ce_q4"} <= run["curve"]["train"][-1].keys() and run["curve"]["valid"]
    assert len(run["samples"]) == 4, "it is heard while it trains"
    assert sf.info(io.BytesIO(tab.get(f"/file/{run['samples'][0]['clips'][0]['file']}").content)).frames > 0

    ended(tab, ask(tab, "export", run=checked["signature"], name="tiny"))
    refused = tab.post("/api/export", json={"run": checked["signature"], "name": "tiny"})
    assert "is there already" in refused.json()["error"]
    job = ask(tab, "batch", bundle="bundles/tiny", n=20, seconds=1, seed="1", name="bank")
    ended(tab, job)
    clips = tab.get("/api/clips", params={"folder": "bank"}).json()
    assert len(clips) == 20
    wav = tab.get(f"/file/{clips[0]['files'][0]}", headers={"range": "bytes=0-3"})
    assert wav.status_code == 206 and wav.content == b"RIFF"
    listed = subprocess.run([sys.executable, "-m", "dora", "-P", "audiocraft_ext", "info", "-f", checked["signature"]],
                            cwd=Path(__file__).parents[2], env=os.environ | {"MICRO_OUTPUTS": str(folder / "outputs")},
                            capture_output=True, text=True)
    assert checked["signature"] in listed.stdout + listed.stderr, "a run is Dora's"


def test_a_killed_run_and_a_killed_server(folder, served):
    """The server is killed too, and the next one finds what goes on."""
    tab = served.tab()
    job = ask(tab, "train", store="stores/breaks", solver="musicgen/debug", updates=4000, seed=7)
    run = job["about"]["run"]
    place = folder / "outputs" / "xps" / run

    def step() -> int:
        return tab.get("/api/run", params={"run": run}).json().get("step") or 0

    until(step)
    served.process.kill()
    served.process.wait()
    with Served(folder) as again:
        tab, other = again.tab(), again.tab()
        assert state_of(tab, job)["state"] == state_of(other, job)["state"] == "running"
        until((place / "checkpoint.th").is_file)
        os.kill(read_status(place)["pid"], signal.SIGKILL)
        assert "killed" in ended(tab, job, "killed")["error"]
        assert tab.get("/api/run", params={"run": run}).json()["state"] == "interrupted"
        before = step()
        job = ask(other, "resume", run=run)
        assert "is under way" in tab.post("/api/resume", json={"run": run}).json()["error"]
        until(lambda: tab.get("/api/run", params={"run": run}).json()["state"] == "running" and step() > before)
        ask(tab, "stop-run", run=run)
        ended(other, job, "stopped")
        stopped = tab.get("/api/run", params={"run": run}).json()
        assert stopped["state"] == "stopped" and stopped["checkpoint"], stopped
        ended(tab, ask(tab, "export", run=run, name="killed"))
        assert "bundles/killed" in [one["id"] for one in tab.get("/api/library").json()["bundles"]]


def test_a_batch_is_cancelled_and_goes_on(folder, served):
    tab, other = served.tab(), served.tab()
    job = ask(tab, "batch", bundle="embedded", n=500, seconds=2, seed="1", name="many")

    def made() -> int:
        return len(list((folder / "clips" / "many").glob("*.wav")))

    until(lambda: made() > 2)
    ask(other, "stop", job=job["id"])
    ended(tab, job, "stopped")
    there = made()
    assert 2 < there < 500
    ask(tab, "again", job=job["id"])
    until(lambda: made() > there)
    ask(tab, "stop", job=job["id"], now=True)
    assert until(lambda: state_of(other, job)["state"] != "running")


def test_a_store_without_room_for_its_batch_is_refused_in_words(served):
    answer = served.tab().post("/api/check", json={"store": "stores/breaks", "solver": "musicgen/debug",
                                                   "scale": "small", "batch_size": 1024, "segment_duration": 600})
    assert answer.status_code == 400
    assert "fit" in answer.json()["error"] or "shorter" in answer.json()["error"]


def test_ctrl_c_ends_the_server_and_not_the_jobs(folder, served):
    tab = served.tab()
    job = ask(tab, "batch", bundle="embedded", n=2000, seconds=2, seed="2", name="long")
    until(lambda: state_of(tab, job)["line"])
    served.process.send_signal(signal.SIGINT)
    said = served.process.communicate(timeout=30)
    assert served.process.returncode == 0 and "1 job goes on: 2000 clips of embedded" in said[1]
    with Served(folder) as again:
        ask(again.tab(), "stop", job=job["id"], now=True)
        assert until(lambda: state_of(again.tab(), job)["state"] != "running")
