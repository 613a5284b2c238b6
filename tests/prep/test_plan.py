"""What is decided: copies, splits, tables; and that nothing leaks from train to valid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID, number_of, split_of
from data_prep.audio import plan
from data_prep.audio.analysis.facts import FactsFile, Level, Refused
from data_prep.audio.duplicates import find as duplicates
from data_prep.audio.settings import Settings
from data_prep.shared.groups import Link, grouped
from data_prep.shared.labels import Row
from data_prep.shared.sources import Found
from tests.prep.test_facts import facts

SETTINGS = Settings(valid_share=0.3, silence=0)


class Folder:
    """Files that were heard, without there being any."""

    def __init__(self, path: Path, monkeypatch):
        self.known, self.monkeypatch = FactsFile(path / "facts.sqlite", "x"), monkeypatch
        self.files, self.links = [], []
        monkeypatch.setattr(plan.junk, "flags", lambda facts: [])
        monkeypatch.setattr(plan.junk, "outliers", lambda all: {})

    def add(self, *names: str, **more) -> None:
        for name in names:
            self.known.put(facts(name, sound_sha256=name, **more))
            self.files.append(Found(Path(name), name, 100, 5))

    def link(self, relation: str, *names: str) -> None:
        self.links += [Link(*sorted(pair), relation, 1.0, 2.0) for pair in zip(names, names[1:])]

    def decide(self, settings: Settings = SETTINGS, rows=None, finished=None) -> plan.Plan:
        self.monkeypatch.setattr(duplicates, "find", lambda items: grouped(self.links))
        return plan.decide(self.files, self.known, settings, rows or {}, finished or {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return Folder(tmp_path, monkeypatch)


NAMES = [f"{n:02}.wav" for n in range(20)]


def test_sides_are_a_matter_of_the_name(folder):
    folder.add(*NAMES)
    want = {name: split_of(name, 0.3) for name in NAMES}
    assert {VALID, TRAIN} == set(want.values()) and folder.decide().splits == want


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("keep", ["drop", "keep"])
def test_no_group_is_on_both_sides(folder, seed, keep):
    rng = np.random.default_rng(seed)
    folder.add(*NAMES)
    for _ in range(rng.integers(1, 12)):
        a, b = rng.choice(NAMES, 2, replace=False)
        folder.link(str(rng.choice(["exact", "copy", "overlap"])), a, b)
    decided = folder.decide(Settings(valid_share=0.3, silence=0, duplicates=keep))
    for group in grouped(folder.links):
        assert len({decided.splits[name] for name in group.names if name in decided.splits}) <= 1
        assert set(group.names) & set(decided.splits), "a group was dropped whole"
    assert {*decided.splits, *decided.dropped} == set(NAMES) and not {*decided.splits} & {*decided.dropped}
    assert set(decided.splits.values()) == {TRAIN, VALID}
    assert keep == "drop" or not decided.dropped


def test_of_copies_the_best_is_kept(folder):
    folder.add("a.mp3", lossy=True, rate=48_000)
    folder.add("b.wav", rate=22_050)
    folder.add("c.wav", rate=44_100)
    folder.add("other.wav")
    folder.link("copy", "a.mp3", "b.wav", "c.wav")
    folder.link("exact", "c.wav", "a.mp3")
    decided = folder.decide()
    assert decided.dropped == {"a.mp3": ("c.wav", "exact"), "b.wav": ("c.wav", "copy")}
    assert set(decided.splits) == {"c.wav", "other.wav"}


def test_what_overlaps_is_kept_on_one_side(folder):
    folder.add(*NAMES)
    low, high = min(NAMES, key=number_of), max(NAMES, key=number_of)
    folder.link("overlap", low, high)
    decided = folder.decide()
    assert not decided.dropped and decided.splits[low] == decided.splits[high]
    assert decided.group_of == {low: 1, high: 1}


def test_what_is_in_the_store_stays_and_binds(folder):
    folder.add("a.wav", rate=48_000)
    folder.add("old.mp3", lossy=True)
    folder.add("b.wav", "c.wav")
    folder.link("copy", "a.wav", "old.mp3")
    folder.link("overlap", "b.wav", "old.mp3")
    decided = folder.decide(finished={"old.mp3": {VALID}, "x.wav": {TRAIN}})
    assert decided.dropped == {"a.wav": ("old.mp3", "copy")}
    assert decided.splits["b.wav"] == VALID and "old.mp3" not in decided.splits and decided.splits["c.wav"]


def test_what_shares_material_with_both_sides_is_left_out(folder):
    folder.add("a.wav", "b.wav", "mix.wav")
    folder.link("overlap", "a.wav", "mix.wav", "b.wav")
    decided = folder.decide(finished={"a.wav": {TRAIN}, "b.wav": {VALID}})
    assert decided.left_out == {"mix.wav": "shares material with train and with valid"} and not decided.splits


def test_a_table_has_the_last_word(folder):
    folder.add("a.wav", "b.wav", "c.wav", "d.wav")
    folder.link("overlap", "a.wav", "b.wav")
    for split in (TRAIN, VALID):
        decided = folder.decide(rows={"a.wav": Row(split=split), "d.wav": Row(keep=False)})
        assert decided.splits["a.wav"] == decided.splits["b.wav"] == split
        assert decided.left_out == {"d.wav": "left out by the table"}
        assert {TRAIN, VALID} == set(decided.splits.values())
    with pytest.raises(UserError, match="both splits, but they share material"):
        folder.decide(rows={"a.wav": Row(split=TRAIN), "b.wav": Row(split=VALID)})
    with pytest.raises(UserError, match="is in the store's valid; prepare a new store"):
        folder.decide(rows={"a.wav": Row(split=TRAIN)}, finished={"b.wav": {VALID}})


def test_a_group_that_is_nearly_all_is_train(folder):
    folder.add(*NAMES)
    folder.link("overlap", *NAMES[:18])
    decided = folder.decide(Settings(valid_share=0.99, silence=0))
    assert {decided.splits[name] for name in NAMES[:18]} == {TRAIN} and VALID in decided.splits.values()


def test_one_file_gives_its_end_and_one_group_gives_nothing(folder):
    folder.add("a.wav")
    assert folder.decide().held_out == "a.wav"
    folder.add("b.wav")
    folder.link("overlap", "a.wav", "b.wav")
    decided = folder.decide()
    assert decided.held_out == "" and set(decided.splits.values()) == {TRAIN}


def test_what_is_left_out_and_why(folder):
    folder.add("a.wav")
    folder.add("short.wav", samples=3200, seconds=0.1)
    folder.add("silent.wav", samples=3200, seconds=0.1, level=Level())
    folder.known.put(Refused("bad.wav", 100, 5, "not audio"))
    folder.files += [Found(Path("bad.wav"), "bad.wav", 100, 5), Found(Path("new.wav"), "new.wav", 7, 7)]
    decided = folder.decide()
    assert decided.left_out == {"short.wav": "too short, 0.10 of 1 seconds", "silent.wav": "silent"}
    assert decided.refused == {"bad.wav": "not audio", "new.wav": "was changed meanwhile; run again"}
