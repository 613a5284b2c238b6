"""Clips for the page, the same as the engine's own; batches' commands; bundles that are not what they were."""

from __future__ import annotations

import base64
import json
import shutil

import numpy as np
import pytest

from audiocraft_ext import kinds
from audiocraft_ext.studio import make
from audiocraft_ext.studio.jobs import Jobs
from tests.helpers.drum_bundle import tiny_drummer
from tests.helpers.notes_bundle import tiny_composer
from tests.helpers.songs import tiny_sketcher
from tests.helpers.tiny import tiny_bundle
from tests.studio.conftest import refused


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    top = tmp_path_factory.mktemp("bundles")
    return {"sound": tiny_bundle(top / "sound"), "beats": tiny_drummer(top / "beats"),
            "pieces": tiny_composer(top / "pieces"), "bleeps": tiny_sketcher(top / "bleeps")}


@pytest.fixture
def stocked(client, workspace, bundles):
    for name, path in bundles.items():
        shutil.copytree(path, workspace.root / "bundles" / name)
    return client


def lines_of(response) -> list[dict]:
    return [json.loads(line) for line in response.text.splitlines()]


def asked(workspace, name: str, index: int = 0, **what) -> tuple[kinds.Player, object, dict]:
    player = kinds.player(workspace.root / "bundles" / name, threads=1)
    recipe = player.recipe(**what)
    return player, recipe, {"recipe": recipe.to_dict(), "index": index}


def test_a_clip_is_the_engines(stocked, workspace):
    player, recipe, body = asked(workspace, "sound", 2, seconds=1, seed=2**64 - 1)
    *progress, clip, done = lines_of(stocked.post("/api/clip", json=body))
    (expected,) = player.play(recipe, [2])
    assert done == {"done": True} and all(set(line) == {"progress"} for line in progress)
    assert np.array_equal(clip["codes"], expected.codes)
    wav = np.frombuffer(base64.b64decode(clip["wav"]), "<f4")
    assert np.array_equal(wav, np.asarray(expected.wav, "f4"))


def test_a_beat_is_the_engines(stocked, workspace):
    player, recipe, body = asked(workspace, "beats", bars=2, seed=5)
    clip = lines_of(stocked.post("/api/clip", json=body))[-2]
    (expected,) = player.play(recipe, [0])
    assert np.array_equal(clip["codes"], expected.codes) and clip["wav"] is None


@pytest.mark.parametrize("name, what", [("pieces", {"parts": "drums,bass"}), ("bleeps", {"channels": 2})])
def test_a_piece_and_a_song_are_the_engines_and_kept_as_files(stocked, workspace, name, what):
    player, recipe, body = asked(workspace, name, 1, bars=2, seed=5, **what)
    *progress, clip, done = lines_of(stocked.post("/api/clip", json=body))
    (expected,) = player.play(recipe, [1])
    assert done == {"done": True} and progress and np.array_equal(clip["codes"], expected.codes)
    files = stocked.post("/api/keep", json=body).json()["files"]
    theirs = player.save(expected, workspace.root / "python")
    assert files == [f"clips/kept/{path.name}" for path in theirs]
    assert all((workspace.root / file).read_bytes() == path.read_bytes() for file, path in zip(files, theirs))
    (listed,) = stocked.get("/api/clips", params={"folder": "kept"}).json()
    assert set(listed["files"]) == {file for file in files if not file.endswith(".txt")} and listed["index"] == 1
    assert stocked.get("/api/folders").json()[0]["clips"] == 1
    assert stocked.post("/api/drop", json={"file": files[-1]}).json() == {"files": len(files)}
    assert not list((workspace.root / "clips" / "kept").iterdir())


def test_a_sound_to_begin_with_is_encoded_as_the_engine_does(stocked, workspace):
    player, _, _ = asked(workspace, "sound", seconds=1)
    wav = np.random.default_rng(1).normal(0, 0.1, player.bundle.sample_rate).astype("<f4")
    said = stocked.post("/api/encode", params={"name": "sound"}, content=wav.tobytes()).json()
    assert np.array_equal(said["codes"], player.engine.encode(wav[None, None])[0])
    for name, data in (("sound", b""), ("sound", b"\xff" * 8), ("none", wav.tobytes()), ("beats", wav.tobytes())):
        refused(stocked.post("/api/encode", params={"name": name}, content=data))


def test_clips_that_cannot_be(stocked, workspace):
    _, recipe, body = asked(workspace, "sound", seconds=1, seed=1)
    wrong = [({"bundle_hash": "0" * 16}, "not here any more"), ({"samples": 10**9}, "600 s"), ({"seed": -1}, "seed"),
             ({"more": 1}, "not the recipe"), ({"weird": "through:model=/etc"}, "absolute"),
             ({"precision": "int4"}, "int4")]
    for change, words in wrong:
        (line,) = lines_of(stocked.post("/api/clip", json={"recipe": recipe.to_dict() | change, "index": 0}))
        assert words in line["error"], line
    for body in ({}, {"recipe": "x"}, {"recipe": {}, "index": -1}, {"recipe": {}, "index": "1"}):
        assert "error" in lines_of(stocked.post("/api/clip", json=body))[-1]


@pytest.mark.parametrize("how", ["altered", "truncated"])
def test_a_bundle_with_a_wrong_hash(stocked, workspace, how):
    _, _, body = asked(workspace, "sound", seconds=1, seed=1)
    weights = workspace.root / "bundles" / "sound" / "lm.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data if how == "altered" else data[:-1])
    said = lines_of(stocked.post("/api/clip", json=body))[-1]
    listed = {one["id"]: one for one in stocked.get("/api/library").json()["bundles"]}["bundles/sound"]
    if how == "altered":
        assert "altered, expected sha256" in said["error"]
    else:
        assert "truncated" in listed["problem"] and "not here any more" in said["error"]
    refused(stocked.post("/api/keep", json=body))
    assert not list(workspace.root.glob("clips/kept/*"))


def test_what_the_page_keeps_is_a_file(stocked, workspace):
    player, recipe, body = asked(workspace, "sound", seconds=1, seed=1)
    wav, about = stocked.post("/api/keep", json=body).json()["files"]
    assert stocked.get(f"/file/{wav}").content[:4] == b"RIFF"
    again = player.RECIPE.from_dict(stocked.get(f"/file/{about}").json()["recipe"])
    assert again == recipe
    (clip,) = stocked.get("/api/clips", params={"folder": "kept"}).json()
    assert clip["files"] == [wav, about]
    assert stocked.post("/api/drop", json={"file": wav}).json() == {"files": 2}
    assert stocked.get("/api/clips", params={"folder": "kept"}).json() == []
    refused(stocked.get("/api/clips", params={"folder": "none"}), "no clips")


def test_only_clips_are_dropped(stocked, workspace):
    (workspace.root / "clips" / "a").mkdir(parents=True)
    (workspace.root / "clips" / "a" / "b.th").write_text("x")
    for file in ("bundles/sound/model.json", "clips/a/b.th", "clips/a", "clips/a/b/c.wav"):
        refused(stocked.post("/api/drop", json={"file": file}), "expected a clip")


@pytest.fixture
def command(workspace, monkeypatch):
    """What a batch would run, without running it."""
    def started(given: dict) -> list[str]:
        taken = {}
        monkeypatch.setattr(Jobs, "start", lambda self, what, title, command, **about: taken.update(c=command) or {})
        make.batch(workspace, Jobs(workspace), given)
        return taken["c"]

    return started


def test_a_batch_is_a_command_of_infer(command, workspace, stocked):
    words = command({"bundle": "embedded", "n": 300, "seed": str(2**64 - 1), "bpm": 165, "bars": 2, "seconds": 10,
                     "loop": True, "temperature": 1.1, "min_p": 0.02, "lufs": -14, "name": "bank", "precision": "fp32",
                     "weird": "mutate:share=5%,books=1-3; through:model=drums"})
    assert words[0] == "infer.py" and words[2:4] == ["-n", "300"]
    assert words[4:8] == ["-o", str(workspace.root / "clips" / "bank"), "--seed", str(2**64 - 1)]
    assert words[8:] == ["--bpm", "165", "--temperature", "1.1", "--min-p", "0.02", "--bars", "2", "--precision",
                         "fp32", "--loop", "--lufs=-14", "--weird=mutate:share=5%,books=1-3; through:model=drums"]
    drums = command({"bundle": "drums", "genre": "funk", "bars": 4, "loop": True})
    assert drums[-5:] == ["--bars", "4", "--genre", "funk", "--wav"] and "--loop" not in drums
    notes = command({"bundle": "notes", "parts": "drums, bass", "density": "high", "bars": 4})
    assert notes[-7:] == ["--bars", "4", "--density", "high", "--parts", "drums,bass", "--wav"]
    song = command({"bundle": "bundles/bleeps", "channels": "2", "drums": "0", "rhythm": "8", "key": "F#", "bpm": 150})
    assert song[8:] == ["--bpm", "150", "--channels", "2", "--drums", "0", "--rhythm", "8", "--key", "F#",
                        "--wav"]
    own = command({"bundle": "bundles/sound", "weird": "through:model=bundles/sound"})
    assert own[1] == str(workspace.root / "bundles" / "sound") and own[-1].endswith(str(own[1]))


@pytest.mark.parametrize("given", [
    {"n": 0}, {"n": 10**9}, {"n": 1.5}, {"n": "3"}, {"n": True}, {"seed": "-1"}, {"seed": str(2**64)}, {"seed": "x"},
    {"seed": "1" * 5000}, {"bpm": 5}, {"bpm": float("1e9")}, {"precision": "fp8"}, {"precision": "--list"},
    {"seconds": 10**6}, {"name": "-rf"}, {"name": "a/b"}, {"name": "x" * 65}, {"name": 5}, {"weird": ["x"]},
    {"temperature": "1; rm"}, {"prompt": "none.wav"}, {"weird": "blend:with=none.wav"}])
def test_a_batch_that_cannot_be(client, workspace, given):
    refused(client.post("/api/batch", json={"bundle": "embedded"} | given))
    assert not (workspace.root / ".studio").exists()


def test_a_word_that_the_drummer_does_not_know(client):
    refused(client.post("/api/batch", json={"bundle": "drums", "genre": "--help"}), "genre: expected one of")
    given = {"bundle": "notes", "parts": "bass,--help"}
    refused(client.post("/api/batch", json=given), "parts: expected one of drums,")
