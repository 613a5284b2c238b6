"""The table of labels: shown, corrected, and given back to the preparation."""

from __future__ import annotations

import json

import pytest

from audiocraft_ext.studio import data, library
from audiocraft_ext.studio.jobs import Jobs
from data_prep.shared.labels import read_csv, write_csv
from tests.studio.conftest import refused

ROWS = [dict(source=name, split="train", at=[start, start + 2.0], bpm=170.0, confidence=0.9)
        for name in ("a.wav", "b, c.wav", "=d.wav") for start in (0.0, 2.0)]


@pytest.fixture
def store(workspace):
    folder = workspace.root / "stores" / "mine"
    folder.mkdir(parents=True)
    settings = {"cut": "bars:4", "valid_share": 0.25, "metronome": True, "lock_tempo": 50.0, "variants": 2,
                "augment": "gain=3"}
    (folder / "store.json").write_text(json.dumps({
        "format": "micro-musicgen token store", "version": 1, "spec": {"kind": "audio", "codec": {"name": "debug"}},
        "settings": settings}))
    write_csv(folder / "labels.csv", ROWS)
    return folder


def correct(client, **changes):
    return client.post("/api/labels", json={"store": "stores/mine", "changes": changes})


def test_a_table_and_its_slices(client, workspace, store):
    (workspace.root / "slices" / "mine" / "a.wav").mkdir(parents=True)
    (workspace.root / "slices" / "mine" / "a.wav" / "0001.flac").write_bytes(b"f")
    rows = client.get("/api/labels", params={"store": "stores/mine"}).json()["rows"]
    assert [row["slice"] for row in rows[:2]] == [None, "slices/mine/a.wav/0001.flac"]
    assert rows[0]["slice_bpm"] == "170" and rows[2]["file"] == "b, c.wav"


def test_corrections_reach_the_preparation(client, store):
    before = (store / "labels.csv").read_bytes()
    said = correct(client, **{"a.wav": {"bpm": "174", "split": "valid"}, "b, c.wav": {"keep": "no"}}).json()
    assert said == {"changed": 4}
    rows = read_csv(store / "labels.csv")
    assert (rows["a.wav"].bpm, rows["a.wav"].split, rows["a.wav"].keep) == (174, "valid", None)
    assert rows["b, c.wav"].keep is False and rows["=d.wav"].split == "train"
    undone = {"a.wav": {"bpm": "", "split": "train"}, "b, c.wav": {"keep": ""}}
    assert correct(client, **undone).json() == {"changed": 4}
    assert (store / "labels.csv").read_bytes() == before


@pytest.mark.parametrize("changes", [
    {"none.wav": {"bpm": "174"}}, {"a.wav": {"bpm": "fast"}}, {"a.wav": {"bpm": "5"}}, {"a.wav": {"bpm": "nan"}},
    {"a.wav": {"split": "test"}}, {"a.wav": {"keep": "perhaps"}}, {"a.wav": {"file": "b.wav"}}, {"a.wav": "no"},
    {"a.wav": {"licence": "mine"}}])
def test_what_is_no_correction_changes_nothing(client, store, changes):
    before = (store / "labels.csv").read_bytes()
    refused(correct(client, **changes))
    assert (store / "labels.csv").read_bytes() == before and not list(store.glob(".*"))


def test_a_table_that_is_none(client, store):
    (store / "labels.csv").unlink()
    refused(correct(client), "no table")
    for text in ('file,bpm\n"', "a,b\n1,2\n", "file,bpm\n1\n", ""):
        (store / "labels.csv").write_text(text)
        refused(client.get("/api/labels", params={"store": "stores/mine"}), "labels.csv")


def test_preparing_again_takes_table_and_analysis(workspace, store, monkeypatch):
    taken = []
    monkeypatch.setattr(Jobs, "start", lambda self, what, title, command, **about: taken.append(command) or {})
    (store / ".prep").mkdir()
    (store / ".prep" / "facts.sqlite").write_bytes(b"facts")
    data.prepare(workspace, Jobs(workspace), {"source": "shipped:breaks", "store": "mine-2", "of": "stores/mine"})
    new = workspace.root / "stores" / "mine-2"
    assert (new / ".prep" / "facts.sqlite").read_bytes() == b"facts"
    assert taken == [["-m", "data_prep.audio", str(library.SHIPPED["breaks"]), str(new), "--cut", "bars:4",
                      "--codec", "debug", "--valid-share", "0.25", "--metronome", "--lock-tempo", "--slices",
                      str(workspace.root / "slices" / "mine-2"), "--variants", "2", "--augment=gain=3", "--csv",
                      str(store / "labels.csv")]]


@pytest.mark.parametrize("given", [
    {"source": "shipped:none"}, {"kind": "video"}, {"codec": "--help"}, {"codec": "drum_grid"}, {"cut": "bars:4"},
    {"cut_size": 0}, {"valid_share": 2}, {"store": ""}, {"store": "a b"}, {"of": "stores/none"}, {"source": "stores"}])
def test_a_preparation_that_cannot_be(client, workspace, given):
    refused(client.post("/api/prepare", json={"source": "shipped:breaks", "store": "new"} | given))
    assert not (workspace.root / ".studio").exists() and not (workspace.root / "stores").exists()
