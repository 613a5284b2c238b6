"""A bundle goes to a stand-in of the Hub and comes back, by jobs; what cannot be is said before one is started."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from audiocraft_ext.core.files import read_json
from audiocraft_ext.engine.bundle import Bundle
from tests.helpers.hub import READER, WRITER, StandIn, stand_in
from tests.helpers.tiny import tiny_bundle
from tests.studio.conftest import refused

REPO = "ann/breaks"
PUSHED = {"bundle": "bundles/mine", "repo": REPO}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "mine")


@pytest.fixture
def hub(monkeypatch, tmp_path) -> StandIn:
    """An empty Hub, which jobs ask with the writer's token."""
    for name, value in {"HF_HUB_OFFLINE": "0", "HF_TOKEN": WRITER, "NO_PROXY": "127.0.0.1,localhost",
                        "HF_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    with stand_in() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def stocked(client, workspace, bundle):
    shutil.copytree(bundle, workspace.root / "bundles" / "mine")
    (workspace.root / "clips" / "kept").mkdir(parents=True)
    (workspace.root / "clips" / "kept" / "a.wav").write_bytes(b"a sound")
    return client


def ended(client, response) -> dict:
    """The job that an answer began, when it has come to its end."""
    assert response.status_code == 200, response.text
    until = time.monotonic() + 120
    while (job := next(one for one in client.get("/api/jobs").json() if one["id"] == response.json()["id"])):
        if job["state"] != "running":
            return job
        assert time.monotonic() < until, job
        time.sleep(0.1)


def log_of(client, job: dict) -> str:
    return client.get("/api/log", params={"job": job["id"]}).json()["log"]


def test_what_would_be_sent_is_what_is_sent_and_comes_back(stocked, workspace, hub):
    asked = PUSHED | {"samples": ["clips/kept/a.wav"], "private": True}
    shown = stocked.post("/api/contents", json=asked).json()
    assert hub.asked == [] and shown["url"] == f"{hub.url}/{REPO}"
    assert shown["card"].startswith("---\nlibrary_name: micro-musicgen") and "sample.wav" in shown["card"]
    pushed = ended(stocked, stocked.post("/api/push", json=asked))
    assert (pushed["state"], pushed["error"]) == ("finished", "") and pushed["about"]["url"] == shown["url"]
    there = hub.repos[REPO].commits[hub.repos[REPO].main]
    sizes = {name: len(data) for name, data in there.items() if not name.startswith(".")}
    assert {one["name"]: one["bytes"] for one in shown["files"]} == sizes
    assert there["README.md"].decode() == shown["card"] and there["sample.wav"] == b"a sound"
    assert hub.repos[REPO].private and "get it: python -m audiocraft_ext.hub pull" in log_of(stocked, pushed)

    pulled = ended(stocked, stocked.post("/api/pull", json={"address": f"{REPO}@{hub.repos[REPO].main}"}))
    assert (pulled["state"], pulled["about"]) == ("finished", {"bundle": "bundles/breaks"})
    Bundle(workspace.root / "bundles" / "breaks").verify()
    assert read_json(workspace.root / "bundles" / "breaks" / "hub.json")["commit"] == hub.repos[REPO].main
    assert "bundles/breaks" in [one["id"] for one in stocked.get("/api/library").json()["bundles"]]
    for folder, _, files in os.walk(workspace.root / ".studio"):
        assert not any(WRITER.encode() in (Path(folder) / file).read_bytes() for file in files)
    refused(stocked.post("/api/pull", json={"address": REPO}), "bundles/breaks is there already")


def test_no_network_and_no_token_are_said_and_the_same_goes_on(stocked, workspace, hub, monkeypatch):
    with monkeypatch.context() as patch, socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        away = ended(stocked, stocked.post("/api/push", json=PUSHED))
    assert away["state"] == "failed" and "cannot be reached" in away["error"]
    with monkeypatch.context() as patch:
        patch.setenv("HF_TOKEN", READER)
        other = ended(stocked, stocked.post("/api/push", json=PUSHED))
        assert other["state"] == "failed" and "this token may not write there" in other["error"]
        patch.delenv("HF_TOKEN")
        alone = ended(stocked, stocked.post("/api/push", json=PUSHED))
    assert alone["state"] == "failed" and "set HF_TOKEN to a token that may write" in alone["error"]
    assert REPO not in hub.repos
    assert ended(stocked, stocked.post("/api/again", json={"job": away["id"]}))["state"] == "finished"
    assert REPO in hub.repos
    assert ended(stocked, stocked.post("/api/pull", json={"address": "ann/none"}))["error"].startswith(
        "ann/none: there is no such repository")
    assert not (workspace.root / "bundles" / "none").exists()


REPOS = ["", "breaks", "--private", "-o/x", "ann/--private x", "ann/../x", "../x", "ann/a..b", "/etc/passwd", "ann/x y",
         "ann/x\0y", 3, None, ["ann/x"]]


@pytest.mark.parametrize("repo", REPOS)
def test_no_option_and_no_path_is_a_repository(stocked, workspace, hub, repo):
    for what, body in (("contents", PUSHED | {"repo": repo}), ("push", PUSHED | {"repo": repo}),
                       ("pull", {"address": repo})):
        refused(stocked.post(f"/api/{what}", json=body), "expected")
    assert not (workspace.root / ".studio").exists() and hub.asked == []


@pytest.mark.parametrize("what, body, words", [
    ("push", {"repo": f"{REPO}@main"}, "has none yet"), ("push", {"bundle": "../mine"}, "no '..'"),
    ("push", {"bundle": "--dry-run"}, "no such bundle"), ("push", {"bundle": "/etc"}, "absolute"),
    ("push", {"samples": ["../secret.wav"]}, "no '..'"), ("push", {"samples": ["clips/kept/none.wav"]}, "no such file"),
    ("push", {"samples": ["bundles/mine/model.json"]}, "expected a file that ends in"),
    ("push", {"samples": "clips/kept/a.wav"}, "a list"), ("push", {"samples": ["clips/kept/a.wav"] * 9}, "at most 8"),
    ("pull", {"address": f"{REPO}@../x"}, "expected owner/name"), ("pull", {"address": f"{REPO}@a b"}, "expected"),
    ("pull", {"address": REPO, "name": "../x"}, "a name has letters"),
    ("pull", {"address": REPO, "name": "-o"}, "a name has letters"),
    ("pull", {"address": f"ann/{'x' * 80}"}, "64 at most"), ("pull", {"address": REPO, "name": "mine"}, "is there")])
def test_what_cannot_be(stocked, workspace, hub, what, body, words):
    given = (PUSHED | body) if what == "push" else body
    refused(stocked.post(f"/api/{what}", json=given), words)
    if what == "push":
        refused(stocked.post("/api/contents", json=given), words)
    assert not (workspace.root / ".studio").exists() and hub.asked == []


def test_what_no_bundle_has_is_not_sent(stocked, workspace, hub):
    (workspace.root / "bundles" / "mine" / "lm.pt").write_bytes(b"x")
    for what in ("contents", "push"):
        refused(stocked.post(f"/api/{what}", json=PUSHED), "holds lm.pt")
    assert hub.asked == []
