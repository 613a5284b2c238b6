"""One store over several runs, while files change, break, move and come back: what is in it binds, nothing leaks."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio.cli import main

RATE = 32_000


def tune(seed: int, seconds: float = 8) -> np.ndarray:
    """Notes and hits of its own, that no other seed has."""
    rng, wav = np.random.default_rng(seed), np.zeros(int(seconds * RATE), np.float32)
    t = np.arange(RATE // 4) / RATE
    for at in range(0, len(wav) - len(t), RATE // 5):
        note = np.sin(2 * np.pi * rng.uniform(80, 3000) * t) + rng.uniform(0, 1) * rng.standard_normal(len(t))
        wav[at : at + len(t)] += (0.2 * note * np.exp(-t * rng.uniform(5, 40))).astype(np.float32)
    return wav


def prep(src: Path, store: Path, *more) -> TokenStore:
    main([str(src), str(store), "--codec", "debug", "--workers", "0", "--tempo", "off", *map(str, more)])
    return TokenStore(store)


def splits(store: TokenStore) -> dict[str, str]:
    return {row["source"]: row["split"] for row in store.rows}


@pytest.fixture
def made(tmp_path):
    """Four tunes in a store, and the name of one that is held out."""
    src = tmp_path / "src"
    src.mkdir()
    for n in range(4):
        sf.write(src / f"{n}.wav", tune(n), RATE)
    store = prep(src, tmp_path / "store", "--valid-share", 0.3)
    (valid, *_) = [name for name, split in splits(store).items() if split == VALID]
    return src, tmp_path / "store", valid


def again(made, *more) -> TokenStore:
    return prep(made[0], made[1], "--valid-share", 0.3, *more)


def test_different_files_that_cancel_are_no_copies(tmp_path, capsys):
    src = tmp_path / "src"
    src.mkdir()
    for n in range(2):
        wav = tune(n)
        sf.write(src / f"{n}.wav", np.stack([wav, -wav], 1), RATE)
    assert len(splits(prep(src, tmp_path / "store"))) == 2
    sf.write(src / "same.flac", sf.read(src / "1.wav", dtype="int16")[0], RATE)
    capsys.readouterr()
    assert len(splits(prep(src, tmp_path / "store"))) == 2
    assert "skipped same.flac: exact copy of 1.wav" in capsys.readouterr().err


def test_a_changed_file_under_another_name_is_a_new_one(made):
    src, store, valid = made
    old = (src / valid).read_bytes()
    sf.write(src / valid, tune(99), RATE)
    with pytest.raises(UserError, match="give the file another name"):
        again(made)
    (src / valid).rename(src / "new.wav")
    (src / "old copy.wav").write_bytes(old)
    where = splits(again(made))
    assert "new.wav" in where and "old copy.wav" not in where and where[valid] == VALID


def test_a_file_that_breaks_after_it_was_encoded_still_binds_its_copies(made):
    src, store, valid = made
    wav, _ = sf.read(src / valid)
    (src / valid).write_bytes((src / valid).read_bytes()[:1000])
    sf.write(src / "copy.flac", 0.5 * wav, RATE)
    before = splits(TokenStore(store))
    assert splits(again(made)) == before
    report = json.loads((store / "report.json").read_text())
    assert all(report["totals"][split]["files"] == list(before.values()).count(split) for split in (TRAIN, VALID))


def test_without_what_was_analysed_a_moved_file_is_known_by_its_bytes(made, capsys):
    src, store, valid = made
    shutil.rmtree(store / ".prep")
    (src / valid).rename(src / "moved.wav")
    before = splits(TokenStore(store))
    capsys.readouterr()
    assert splits(again(made)) == before
    out, err = capsys.readouterr()
    assert f"skipped moved.wav: exact copy of {valid}" in err and "of 1 sources of the store nothing is known" in out


def test_what_an_older_version_analysed_is_analysed_again(made):
    src, store, valid = made
    with sqlite3.connect(store / ".prep" / "facts.sqlite") as db:
        for table in ("facts", "encoded"):
            db.execute(f"UPDATE {table} SET how = '0 x', plain = '{{}}'")
    os.remove(src / valid)
    sf.write(src / "new.wav", tune(7), RATE)
    assert set(splits(again(made))) == {"0.wav", "1.wav", "2.wav", "3.wav", "new.wav"}


def test_one_slice_is_train_and_the_report_says_that_nothing_is_held_out(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    wav = np.random.default_rng(0).standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / 2000)
    sf.write(src / "snare.wav", 0.2 * wav, RATE)
    store = prep(src, tmp_path / "store", "--cut", "onsets")
    assert [row["split"] for row in store.rows] == [TRAIN]
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert report["totals"]["valid"]["slices"] == 0 and "nothing could be held out" in report["notes"][0]


def test_the_report_counts_what_is_in_the_store(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    sf.write(src / "a.wav", tune(0), RATE)
    prep(src, tmp_path / "store")
    for _ in range(2):
        store = prep(src, tmp_path / "store")
        totals = json.loads((tmp_path / "store" / "report.json").read_text())["totals"]
        for split in (TRAIN, VALID):
            rows = [row for row in store.rows if row["split"] == split]
            assert totals[split]["slices"] == len(rows)
            assert totals[split]["seconds"] == pytest.approx(sum(row["frames"] for row in rows) / 50, abs=0.1)
        sf.write(src / "b.wav", tune(1), RATE)
