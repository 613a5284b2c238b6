"""Music through the whole preparation: planted copies, cuts, tables, variants, slices, reports."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio.cli import main

BREAKS = Path(__file__).parents[2] / "data_prep" / "breaks" / "cc0"
RATE = 32_000
LOOPS = ["arovane_beat_c", "loop_breakbeat", "arovane_beat_e", "loop_compus", "loop_perc1", "loop_safari"]


def prep(src: Path, store: Path, *more) -> TokenStore:
    main([str(src), str(store), "--codec", "debug", "--workers", "0", *map(str, more)])
    return TokenStore(store) if "--dry-run" not in more else None


def loop(name: str) -> tuple[np.ndarray, int]:
    wav, rate = sf.read(BREAKS / f"{name}.flac", dtype="float32", always_2d=True)
    return wav, rate


COPIES = {
    "as ogg": lambda w, r: (w, r, "ogg"),
    "as mp3": lambda w, r: (w, r, "mp3"),
    "6 dB quieter": lambda w, r: (0.5 * w, r, "flac"),
    "200 ms later": lambda w, r: (np.pad(w, ((r // 5, 0), (0, 0))), r, "flac"),
    "1% higher": lambda w, r: (soxr.resample(w, r * 1.01, r), r, "flac"),
    "1% lower": lambda w, r: (soxr.resample(w, r / 1.01, r), r, "flac"),
}


def test_planted_copies_are_found_and_nothing_leaks(tmp_path, capsys):
    """Six loops, six copies of each: one of each seven is kept, and none has two on different splits."""
    src = tmp_path / "src"
    src.mkdir()
    for i, name in enumerate(LOOPS):
        shutil.copy(BREAKS / f"{name}.flac", src / f"{name}.flac")
        for j, (kind, change) in enumerate(COPIES.items()):
            wav, rate, ending = change(*loop(name))
            sf.write(src / f"{(i * 7 + j * 5) % 97:02} {kind} {name}.{ending}", wav, rate)  # names that sort anyhow
    store = prep(src, tmp_path / "store", "--tempo", "off", "--valid-share", 0.5)
    kept = {row["source"]: row["split"] for row in store.rows}
    by_loop = {name: {source: split for source, split in kept.items() if name in source} for name in LOOPS}
    found = len(LOOPS) * (1 + len(COPIES)) - len(kept)
    leaks = sum(len(set(splits.values())) > 1 for splits in by_loop.values())
    print(f"copies found and left out: {found} of {len(LOOPS) * len(COPIES)}, leaks: {leaks}")
    assert leaks == 0 and found == len(LOOPS) * len(COPIES)
    assert set(kept.values()) == {TRAIN, VALID}
    assert all(not source.endswith((".ogg", ".mp3")) for source in kept)  # the better one is kept
    kept_all = prep(src, tmp_path / "all", "--tempo", "off", "--valid-share", 0.5, "--duplicates", "keep")
    splits = {row["source"]: row["split"] for row in kept_all.rows}
    assert len(splits) == len(LOOPS) * (1 + len(COPIES))
    assert all(len({split for source, split in splits.items() if name in source}) == 1 for name in LOOPS)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Three loops, of one and two bars, cut on bars, each slice as a file, with a variant of each."""
    tmp = tmp_path_factory.mktemp("cut")
    src = tmp / "src"
    src.mkdir()
    for name in LOOPS[:3]:
        shutil.copy(BREAKS / f"{name}.flac", src / f"{name}.flac")
    (src / "LICENSE").write_text("CC0 1.0 Universal")
    (src / "arovane_beat_c.json").write_text(json.dumps({"title": "C", "key": "Am"}))
    store = prep(src, tmp / "store", "--cut", "bars:1", "--slices", tmp / "slices", "--variants", 1, "--augment",
                 "varispeed=6,gain=3,polarity,eq=3")
    return tmp, store


def test_rows_say_what_is_known(cut):
    _, store = cut
    for row in store.rows:
        assert row["cut"] in ("bars", "whole") and 0 <= row["at"][0] < row["at"][1] <= row["seconds"] + 0.1
        if row["cut"] == "bars":
            assert row["bpm"] > 0 and row["bar_seconds"] > 0 and row["bars"] == 1
            assert "variant" in row or row["frames"] == pytest.approx(row["bar_seconds"] * 50, abs=1.01)
    row = next(row for row in store.rows if row["source"] == "arovane_beat_c.flac")
    assert row["title"] == "C" and row["key"] == "Am" and row["licence"] == "CC0-1.0"


def test_a_slice_is_what_was_encoded(cut):
    tmp, store = cut
    codec, seen = get_codec("debug"), 0
    for row in store.rows:
        wav, rate = sf.read(tmp / "slices" / row["source"] / f"{row['segment']:04}.flac", dtype="float32")
        codes = codec.encode(wav)
        assert rate == RATE and codes.shape[1] == row["frames"]
        assert (codes == store.read(row["start"], row["frames"])).mean() > 0.97  # 24 bits are not 32
        seen += 1
    assert seen == len(store.rows) > 3


def test_variants_are_marked_and_stay_on_their_side(cut):
    _, store = cut
    splits = {row["source"]: row["split"] for row in store.rows}
    variants = [row for row in store.rows if "variant" in row]
    assert {row["variant"]["of"] for row in variants} == {name for name, split in splits.items()
                                                          if split == TRAIN and "#" not in name}
    for row in variants:
        assert row["split"] == splits[row["variant"]["of"]] == TRAIN and row["source"] == row["variant"]["of"] + "#1"
        twin = next(r for r in store.rows if r["source"] == row["variant"]["of"] and r["segment"] == row["segment"])
        speed = row["variant"]["speed"]
        assert row["frames"] == pytest.approx(twin["frames"] / speed, abs=1.01)
        assert row.get("bpm") == (pytest.approx(twin["bpm"] * speed, abs=0.01) if "bpm" in twin else None)


def test_a_table_is_given_back(cut, tmp_path):
    tmp, store = cut
    with (tmp / "store" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(store.rows) and {row["split"] for row in rows} == {TRAIN, VALID}
    for row in rows:
        row["keep"] = "no" if row["file"] == "loop_breakbeat.flac" else ""
        row["split"] = {TRAIN: VALID, VALID: TRAIN}[row["split"]]
        row["title"] = "mine" if row["file"] == "arovane_beat_c.flac" else row["title"]
    with (tmp_path / "mine.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    new = prep(tmp / "src", tmp_path / "store", "--cut", "bars:1", "--csv", tmp_path / "mine.csv")
    old_splits = {row["source"]: row["split"] for row in store.rows}
    assert {row["source"] for row in new.rows} == {"arovane_beat_c.flac", "arovane_beat_e.flac"}
    assert all(row["split"] != old_splits[row["source"]] for row in new.rows)
    assert {row.get("title") for row in new.rows if row["source"] == "arovane_beat_c.flac"} == {"mine"}


def test_a_dry_run_encodes_nothing_and_binds_nobody(tmp_path, capsys):
    src = tmp_path / "src"
    src.mkdir()
    shutil.copy(BREAKS / f"{LOOPS[0]}.flac", src)
    prep(src, tmp_path / "store", "--dry-run", "--tempo", "off")
    assert not (tmp_path / "store" / "store.json").exists()
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert report["sources"][0]["name"] == f"{LOOPS[0]}.flac" and report["store_hash"] is None
    assert prep(src, tmp_path / "store", "--cut", "fixed:2", "--tempo", "off").settings["cut"] == "fixed:2"


def test_opposite_channels_offset_and_silence(tmp_path, capsys):
    """A loop whose channels cancel, with an offset and silence around and inside: heard, levelled, cut."""
    src = tmp_path / "src"
    src.mkdir()
    wav = soxr.resample(loop(LOOPS[0])[0][:, 0], 44_100, RATE)[: 3 * RATE] * 0.1
    gap = np.zeros(3 * RATE, np.float32)
    sound = np.concatenate([gap, wav, gap, wav[::-1], gap]) + 0.02
    sf.write(src / "a.wav", np.stack([sound, -sound], 1), RATE, subtype="FLOAT")
    store = prep(src, tmp_path / "store", "--tempo", "off", "--slices", tmp_path / "slices")
    rows = [row for row in store.rows if row["split"] == TRAIN]
    assert len({row["at"][0] for row in store.rows}) >= 2 and rows[0]["at"][0] == pytest.approx(3, abs=0.5)
    kept = sum(row["at"][1] - row["at"][0] for row in store.rows)
    assert 5.5 < kept < 7.5
    heard, _ = sf.read(tmp_path / "slices" / "a.wav" / "0000.flac")
    assert np.abs(heard).max() > 0.3 and abs(heard.mean()) < 0.01  # louder than 0.1, and without the offset
    report = json.loads((tmp_path / "store" / "report.json").read_text())
    assert any("cancel" in flag for flag in report["sources"][0]["flags"])


def test_one_shots(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    shutil.copy(BREAKS / "loop_breakbeat.flac", src)
    store = prep(src, tmp_path / "store", "--cut", "onsets", "--tempo", "off", "--valid-share", 0.2)
    assert len(store.rows) > 4 and {row["cut"] for row in store.rows} == {"onsets"}
    assert all(0.05 <= row["at"][1] - row["at"][0] <= 8 for row in store.rows)
    assert len(store.tracks(TRAIN)) + len(store.tracks(VALID)) == len(store.rows)  # none goes on in the next
