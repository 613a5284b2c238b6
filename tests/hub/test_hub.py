"""Bundles to a stand-in of the Hub and back: what comes is what went, and what goes wrong is said in words."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from huggingface_hub import constants

from audiocraft_ext import hub as hub_commands
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.hub import card, cli, pull, push
from audiocraft_ext.hub.service import Address
from tests.helpers.hub import READER, WRITER, stand_in
from tests.helpers.programs import ROOT, fork, run_here
from tests.helpers.tiny import tiny_bundle, tiny_lm

QUIET = {"say": lambda line: None}
REPO = "ann/breaks"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2", "ignore:Not enough free disk space")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    """Two tiny instruments that differ."""
    folder = tmp_path_factory.mktemp("bundles")
    first, second = tiny_bundle(folder / "first"), tiny_bundle(folder / "second", lm=tiny_lm(seed=1))
    (first / "LICENCES.md").write_text("# What it was trained on\n\nNoise.\n")
    (first / ".DS_Store").write_bytes(b"left by a file manager")
    return first, second


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty Hub, which the writer asks; each test in a folder of its own."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with stand_in() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def refused(*arguments, **options) -> str:
    with pytest.raises(UserError) as error:
        (pull if "push" not in options else push)(*arguments, **QUIET)
    assert "\n" not in str(error.value)
    return str(error.value)


def leaves_nothing() -> bool:
    return not list(Path.cwd().iterdir())


def test_what_comes_is_what_went(bundles, hub):
    sent = push(bundles[0], REPO, **QUIET)
    assert sent == (REPO, hub.repos[REPO].main, f"{hub.url}/{REPO}", True)
    assert not hub.repos[REPO].private
    got = pull(REPO, **QUIET)
    assert got == (Path.cwd() / "breaks", REPO, sent.commit, True)
    here = files_of(got.folder)
    record = {"repo": REPO, "revision": "main", "commit": sent.commit, "from": hub.url}
    assert json.loads(here.pop("hub.json")) == record
    assert card.MARK in here.pop("README.md").decode()
    assert here == files_of(bundles[0])
    Bundle(got.folder).verify()
    assert [path.name for path in Path.cwd().iterdir()] == ["breaks"]  # and nothing beside it


def test_the_token_goes_to_the_hub_alone_and_nothing_tells_who_asks(bundles, hub):
    push(bundles[0], REPO, **QUIET)
    pull(REPO, **QUIET)
    assert not any(WRITER in line for line in hub.asked)
    assert any("/cdn/" in line for line in hub.asked)
    for asked, headers in zip(hub.asked, hub.headers):
        assert not ("/cdn/" in asked and "authorization" in headers)  # another host
        assert not any(WRITER in value for name, value in headers.items() if name != "authorization"), asked
        if "/lfs/" not in asked or "batch" in asked:  # bytes go with the name of the HTTP library
            known = {part.split("/")[0].strip() for part in headers["user-agent"].split(";")}
            assert known == {"unknown", "hf_hub", "python"}, asked
    assert not any("agent-harnesses" in line or "telemetry" in line for line in hub.asked)


def test_a_revision_is_pinned(bundles, hub):
    first, second = (push(bundle, REPO, **QUIET).commit for bundle in bundles)
    assert first != second
    pull(f"{REPO}@{first}", "old", **QUIET)
    pull(f"{hub.url}/{REPO}/", "new", **QUIET)  # as a browser shows it
    assert [Bundle(name).hash for name in ("old", "new")] == [Bundle(bundle).hash for bundle in bundles]
    assert json.loads(Path("old/hub.json").read_text())["commit"] == first
    assert "LICENCES.md" not in hub.repos[REPO].commits[second]  # of the first one, and gone with it


def test_what_is_there_is_kept(bundles, hub):
    first, second = (push(bundle, REPO, **QUIET).commit for bundle in bundles)
    pull(f"{REPO}@{first}", "mine", **QUIET)
    assert not pull(f"{REPO}@{first}", "mine", **QUIET).fresh
    before = files_of(Path("mine"))
    assert "is there and is another bundle" in refused(REPO, "mine")
    Path("song").mkdir()
    Path("song/a.wav").write_bytes(b"x")
    assert "song: is there and holds something else" in refused(REPO, "song")
    Path("note").write_text("x")
    assert "note: is there" in refused(REPO, "note")
    Path("empty").mkdir()
    assert pull(REPO, "empty", **QUIET).fresh
    assert files_of(Path("mine")) == before and len(list(Path.cwd().iterdir())) == 4
    Path("mine/lm.safetensors").write_bytes(b"?" * len(before["lm.safetensors"]))
    assert "altered" in refused(f"{REPO}@{first}", "mine")


def test_a_second_push_of_the_same_changes_nothing(bundles, hub):
    first = push(bundles[0], REPO, **QUIET)
    assert push(bundles[0], REPO, **QUIET) == first._replace(fresh=False)
    assert len(hub.repos[REPO].commits) == 2  # the repository's own and ours


def test_samples_and_a_private_place(bundles, hub, tmp_path):
    sounds = [tmp_path / "A.WAV", tmp_path / "b.wav", tmp_path / "beat.midi"]
    for path in sounds:
        path.write_bytes(path.name.encode())
    push(bundles[1], REPO, samples=sounds, private=True, **QUIET)
    files = hub.repos[REPO].commits[hub.repos[REPO].main]
    assert hub.repos[REPO].private
    assert [files[name] for name in ("sample.wav", "sample2.wav", "sample.mid")] == [b"A.WAV", b"b.wav", b"beat.midi"]
    text = files["README.md"].decode()
    assert f'src="{hub.url}/{REPO}/resolve/main/sample2.wav"' in text and "[sample.mid](sample.mid)" in text
    assert Path(pull(REPO, **QUIET).folder / "sample2.wav").read_bytes() == b"b.wav"


def test_the_card_is_of_the_bundle(bundles, hub):
    text = card.write(Bundle(ROOT / "audiocraft_ext/bundles/embedded"), Address(REPO),
                      ["LICENCES.md"])
    head = text.split("---\n")[1].splitlines()
    assert head[:2] == ["library_name: micro-musicgen", "license: cc0-1.0"] and "- audio" in head
    for words in ("# breaks", "Drum breaks at 158", "6 streams of 256 codes, 50 frames a second", "5.6 M parameters",
                  "validation loss 2.680", "`ce9e03acfc3db598`", "[LICENCES.md](LICENCES.md)", "top_k 250",
                  f"audiocraft_ext.hub pull {REPO}", "infer.py breaks"):
        assert words in text, words


def test_a_card_of_your_own_goes_in_its_place(bundles, hub, tmp_path):
    mine = shutil.copytree(bundles[0], tmp_path / "mine")
    (mine / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    push(mine, REPO, **QUIET)
    assert hub.repos[REPO].commits[hub.repos[REPO].main]["README.md"].endswith(b"# Mine\n")
    (mine / "README.md").write_text("no head\n")
    assert "Invalid metadata in README.md" in refused(mine, REPO, push=True)


@pytest.mark.parametrize("text, name", [
    ("CC0-1.0; trained on CC0 sound", "cc0-1.0"), ("CC BY 4.0", "cc-by-4.0"), ("CC BY-NC 4.0 (Meta)", "cc-by-nc-4.0"),
    ("MIT licence", "mit"), ("mine, ask me", None), ("not stated", None), ("", None), (None, None)])
def test_licences_have_the_names_that_the_hub_knows(text, name):
    assert card.licence_of(text) == name


def test_two_licences_are_neither(bundles):
    bundle = Bundle(bundles[0])
    bundle.codec_config["licence"] = "CC BY-NC 4.0, of Meta <b>"
    text = card.write(bundle, Address(REPO), [])
    assert "license: other" in text and "license: cc0" not in text and "CC BY-NC 4.0, of Meta &lt;b>" in text


# What is wrong with the files.


def test_altered_bytes_are_not_kept(bundles, hub):
    push(bundles[0], REPO, **QUIET)
    whole = files_of(bundles[0])
    for name in ("lm.safetensors", "LICENCES.md"):
        hub.altered = {name: whole[name][:-1] + b"?"}
        assert f"{name}" in (said := refused(REPO)) and "nothing was kept" in said
        assert leaves_nothing()
    hub.altered = {}
    assert pull(REPO, **QUIET).fresh


def test_a_repository_that_is_not_what_it_lists(bundles, hub):
    push(bundles[0], REPO, **QUIET)
    hub.edit(REPO, lm__safetensors=b"short")
    assert "lm.safetensors was altered, expected" in refused(REPO)
    hub.edit(REPO, lm__safetensors=None)
    assert "lm.safetensors is missing" in refused(REPO)
    assert not any("resolve" in line and "codec.safetensors" in line for line in hub.asked)  # not a megabyte for that
    hub.edit(REPO, model__json=b'{"format": "micro-musicgen bundle"}')
    assert "does not list its files" in refused(REPO)
    hub.edit(REPO, model__json=b"{}")
    assert "is not one of a micro-musicgen bundle" in refused(REPO)
    hub.edit(REPO, model__json=b"\x80\x04K")
    assert "not JSON" in refused(REPO)
    hub.edit(REPO, model__json=None)
    assert "has no model.json" in refused(REPO)
    assert leaves_nothing()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "lm.pt", "lm.pkl", "state.th", "a/lm.safetensors", "run.py",
                                  "other.wav", "a\\lm.onnx", "a\n.onnx"])
def test_a_pickle_or_any_other_file_is_refused_there(bundles, hub, name):
    push(bundles[0], REPO, **QUIET)
    hub.edit(REPO, **{name: b"x"})
    before = dict(hub.repos[REPO].commits)
    said = refused(REPO)
    assert (name if name.isprintable() else ascii(name)) in said and "nothing of it was fetched" in said
    assert leaves_nothing()
    assert "which no bundle has" in refused(bundles[1], REPO, push=True) and hub.repos[REPO].commits == before
    assert not any("/resolve/" in line for line in hub.asked)


def test_a_pickle_or_any_other_file_is_refused_here(bundles, hub, tmp_path):
    mine = shutil.copytree(bundles[0], tmp_path / "mine")
    for name in ("lm.pt", "checkpoint.th", "samples/a.json"):
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_bytes(b"x")
        assert f"holds {name.split('/')[0]}" in refused(mine, REPO, push=True)
        shutil.rmtree(mine / "samples", ignore_errors=True)
        (mine / name).unlink(missing_ok=True)
    (mine / "lm.safetensors").write_bytes(b"?" * (mine / "lm.safetensors").stat().st_size)
    assert "altered" in refused(mine, REPO, push=True)
    assert "model.json" in refused(tmp_path / "here", REPO, push=True)
    assert hub.asked == []


def test_another_model_is_not_written_over(bundles, hub):
    push(bundles[0], REPO, **QUIET)
    hub.repos[REPO].add({"config.json": b"{}", "model.safetensors": b"x"})
    assert "it is another model" in refused(bundles[0], REPO, push=True)


# What is wrong with the way there.


def test_no_network(bundles, hub, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        for said in (refused(REPO), refused(bundles[0], REPO, push=True)):
            assert "cannot be reached" in said and "is there a network?" in said
    assert leaves_nothing()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(REPO)


def test_without_the_library(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "'pip install huggingface_hub'" in refused(REPO)


def test_no_token_and_the_wrong_one(bundles, hub, monkeypatch):
    push(bundles[0], REPO, private=True, **QUIET)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert "private and your token may not see it" in refused(REPO)
    assert "may not write" in refused(bundles[0], "ann/new", push=True)
    monkeypatch.setenv("HF_TOKEN", "hf_revoked")
    assert "does not take this token" in (said := refused(REPO)) and "hf_revoked" not in said
    assert "does not take this token" in refused(bundles[0], REPO, push=True)
    monkeypatch.delenv("HF_TOKEN")
    assert "private and you gave no token" in refused(REPO)
    asked = len(hub.asked)
    assert "set HF_TOKEN" in refused(bundles[0], REPO, push=True) and len(hub.asked) == asked
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub.repos["bob/his"] = hub.repos[REPO]
    hub.repos[REPO].private = False
    assert "bob must be you or an organisation of yours" in refused(bundles[1], "bob/his", push=True)


def test_no_such_repository_or_revision(bundles, hub):
    assert "ann/none: there is no such repository" in refused("ann/none")
    push(bundles[0], REPO, **QUIET)
    assert f"{REPO} has no revision v2" in refused(f"{REPO}@v2")
    for wrong in ("breaks", "ann/breaks/x", "ann/../x", "ann/breaks@", "", "ann/br eaks", "ann/breaks@a b",
                  "ann/a..b", "ann/breaks@../x"):
        assert "expected owner/name" in refused(wrong)
    assert "a push makes a new version" in refused(bundles[0], f"{REPO}@v2", push=True)
    assert leaves_nothing()


@pytest.mark.parametrize("status, headers, body, words", [
    (429, {"RateLimit": '"api";r=0;t=77'}, b"", "no more requests for now; try again in 77 s"),
    (429, {"Retry-After": "5"}, b"", "try again in 5 s"), (503, {}, b"", "trouble of its own, status 503"),
    (403, {}, b'{"error": "blocked"}', "may not be read with this token (blocked)"),
    (403, {"X-Error-Code": "GatedRepo"}, b"", "its owner decides who may read it"),
    (200, {"Content-Type": "text/html"}, b"<html>hotel WiFi", "did not answer as a Hub does"),
    (200, {}, b"[]", "did not answer as a Hub does"), (200, {}, b'{"id": "ann/x", "siblings": []}', "has no commit"),
    (418, {}, b"", "refused, status 418")])
def test_answers_in_words(hub, status, headers, body, words):
    hub.answers["GET /api/models"] = (status, headers, body)
    assert words in refused(REPO)


def test_a_full_disk(bundles, hub, monkeypatch):
    push(bundles[0], REPO, **QUIET)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
        assert "free some space" in refused(REPO)
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "x")
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        assert "the disk is full: x" in refused(REPO)
    assert pull(REPO, **QUIET).fresh


# As commands.


def test_a_killed_pull_goes_on(bundles, hub, tmp_path):
    push(bundles[0], REPO, **QUIET)
    hub.held = {"lm.safetensors"}
    program = fork(tmp_path, lambda: cli.main(["pull", REPO]))
    assert hub.holding.wait(60)
    program.send(signal.SIGKILL)
    assert program.end() == -9 and not Path("breaks").exists()
    kept = {path.name for path in Path(".breaks.part").iterdir()}
    assert "codec.safetensors" in kept and "lm.safetensors" not in kept
    hub.held, before = set(), len(hub.asked)
    hub.go.set()
    pull(REPO, **QUIET)
    got = {line.split("/")[2] if "/cdn/" in line else line.split("/")[-1] for line in hub.asked[before:]
           if line.startswith("GET") and "/api/" not in line}
    assert got == {"lm.safetensors"}  # it was the last of them
    Bundle("breaks").verify()
    assert [path.name for path in Path.cwd().iterdir()] == ["breaks"]


def test_two_pulls_at_once(bundles, hub, tmp_path):
    push(bundles[0], REPO, **QUIET)
    hub.held = {"lm.safetensors"}
    program = fork(tmp_path, lambda: cli.main(["pull", REPO]))
    assert hub.holding.wait(60)
    assert "is busy" in refused(REPO)
    program.send(signal.SIGKILL)
    program.end()


def test_the_commands(bundles, hub, monkeypatch):
    code, out, err = run_here("-m", "audiocraft_ext.hub", "push", bundles[0], REPO, "--dry-run")
    assert (code, err) == (0, "") and "lm.safetensors" in out and "license: cc0-1.0" in out and hub.asked == []
    code, out, err = run_here("-m", "audiocraft_ext.hub", "push", bundles[0], REPO)
    assert code == 0 and f"pull {REPO}@{hub.repos[REPO].main}" in out and WRITER not in out + err
    code, out, err = run_here("-m", "audiocraft_ext.hub", "pull", REPO, "-o", "mine")
    assert code == 0 and "python infer.py mine" in out
    for words in (["pull", "ann/none"], ["pull", REPO, "--what"], ["push", "none", REPO], ["push", bundles[0], "x"],
                  ["push", bundles[0], REPO, "--sample", "a.txt"], ["push", bundles[0], REPO, "--sample", "a.wav"], []):
        code, out, err = run_here("-m", "audiocraft_ext.hub", *words)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1, (words, err)
    assert set(hub_commands.__all__) <= set(dir(hub_commands))


def test_nothing_is_left_in_the_home_folder(bundles, hub, tmp_path):
    push(bundles[0], REPO, **QUIET)
    (tmp_path / "home").mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    environ |= {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "audiocraft_ext.hub", "pull", REPO], env=environ, capture_output=True,
                          text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "home").iterdir()) == [] and Path("breaks/model.json").is_file()
