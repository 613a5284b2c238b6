"""audiocraft's manifest of a store's slices: what audiocraft hears of it, what it costs, what stays."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.split import TRAIN, VALID
from data_prep.audio import manifest

FRAMES = 50.0  # a second
RATE = 16_000


def row(source: str, start: float, end: float, split: str = TRAIN, seconds: float = 10.0, **more) -> dict:
    return {"source": source, "split": split, "frames": round((end - start) * FRAMES), "at": [start, end],
            "file_rate": RATE, "seconds": seconds, "amplitude": 0.5, "file_sha256": "a" * 64, **more}


ROWS = [row("b.wav", 1, 3, title="B", bpm=174.0, bar_seconds=1.379, key="Am", licence="CC0-1.0"), row("b.wav", 4, 9),
        row("a.wav", 0, 10, VALID),
        row("b.wav#1", 1, 3, variant={"of": "b.wav", "speed": 1.1}, bpm=191.4),
        row("c \udcff.wav", 0, 1, seconds=2)]
PATHS = {name: Path("/sounds") / name for name in ("a.wav", "b.wav", "c \udcff.wav")}


def read(store: Path, split: str) -> list[dict]:
    with gzip.open(store / "manifest" / split / "data.jsonl.gz") as lines:
        return [json.loads(line) for line in lines]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_a_line_a_slice(tmp_path):
    manifest.write(tmp_path, iter(ROWS), PATHS, FRAMES)
    train, valid = read(tmp_path, TRAIN), read(tmp_path, VALID)
    assert train[0] == {
        "path": "/sounds/b.wav", "duration": 10.0, "sample_rate": RATE, "amplitude": 0.5, "weight": 0.2,
        "info_path": None, "source": "b.wav", "start": 1, "end": 3, "title": "B", "bpm": 174.0, "bar_seconds": 1.379,
        "key": "Am", "licence": "CC0-1.0", "file_sha256": "a" * 64}
    assert [(line["path"], line["source"], line["weight"]) for line in train[1:]] == [
        ("/sounds/b.wav", "b.wav", 0.5), ("/sounds/b.wav", "b.wav#1", 0.2),
        ("/sounds/c \udcff.wav", "c \udcff.wav", 0.5)]
    assert train[2]["variant"] == {"of": "b.wav", "speed": 1.1}
    assert [(line["path"], line["weight"]) for line in valid] == [("/sounds/a.wav", 1.0)]


def test_again_changes_nothing(tmp_path):
    manifest.write(tmp_path, iter(ROWS), PATHS, FRAMES)
    before = contents(tmp_path)
    manifest.write(tmp_path, iter(ROWS), PATHS, FRAMES)
    assert contents(tmp_path) == before and len(before) == 2
    manifest.write(tmp_path / "other", iter(ROWS), PATHS, FRAMES)
    assert [data for data, _ in contents(tmp_path / "other").values()] == [data for data, _ in before.values()]


def test_sources_of_another_folder_keep_their_paths(tmp_path):
    manifest.write(tmp_path, iter(ROWS[:2]), PATHS, FRAMES)
    manifest.write(tmp_path, iter(ROWS), {"a.wav": Path("/elsewhere/a.wav")}, FRAMES)
    assert {line["path"] for line in read(tmp_path, TRAIN)} == {"/sounds/b.wav"}  # nobody ever said where c lies
    assert read(tmp_path, VALID)[0]["path"] == "/elsewhere/a.wav"
    (tmp_path / "manifest" / TRAIN / "data.jsonl.gz").write_bytes(b"damaged")
    manifest.write(tmp_path, iter(ROWS), {}, FRAMES)
    assert read(tmp_path, TRAIN) == [] and read(tmp_path, VALID)[0]["path"] == "/elsewhere/a.wav"


def test_of_a_single_file_whose_end_is_held_out(tmp_path):
    rows = [row("a.wav", 1, 5), row("a.wav", 5, 8), row("a.wav", 8, 10, VALID)]
    manifest.write(tmp_path, rows, PATHS, FRAMES)
    assert [(line["duration"], line["weight"]) for line in read(tmp_path, TRAIN)] == [(8, 0.5), (8, 0.375)]
    assert read(tmp_path, VALID) == []
    for old in rows:  # rows without places, as stores had them
        del old["at"]
    manifest.write(tmp_path, rows, PATHS, FRAMES)
    assert [(line["start"], line["end"], line["duration"]) for line in read(tmp_path, TRAIN)] == [(0, 4, 7), (4, 7, 7)]


def test_with_slice_files(tmp_path):
    rows = [row("a.wav", 1, 5), row("a.wav", 5, 8), row("a.wav", 8, 10, VALID)]
    slices = {0: Path("/slices/0.wav"), 2: Path("/slices/2.wav")}
    manifest.write(tmp_path, rows, PATHS, FRAMES, slices, 32_000)
    lines = read(tmp_path, TRAIN)
    assert [(line["path"], line["duration"], line["sample_rate"], line["weight"]) for line in lines] == [
        ("/slices/0.wav", 4, 32_000, None), ("/sounds/a.wav", 8, RATE, 0.375)]
    (line,) = read(tmp_path, VALID)
    assert (line["path"], line["duration"], line["start"], line["end"]) == ("/slices/2.wav", 2, 8, 10)


def test_audiocraft_hears_each_file_by_what_is_kept_of_it(tmp_path):
    import audiocraft_ext.compat  # noqa: F401 (makes audiocraft importable)

    # isort: split
    from audiocraft.data.audio_dataset import AudioDataset

    paths = {}
    for name, seconds in (("a", 4), ("b", 8)):
        paths[name] = tmp_path / f"{name}.wav"
        sf.write(paths[name], np.full(seconds * RATE, 0.25 if name == "a" else -0.25, np.float32), RATE)
    rows = [row("a", 0, 1, seconds=4.0), row("a", 2, 4, seconds=4.0), row("b", 7, 8, seconds=8.0)]
    manifest.write(tmp_path, rows, paths, FRAMES)
    dataset = AudioDataset.from_meta(tmp_path / "manifest" / TRAIN, segment_duration=0.5, num_samples=200,
                                     sample_rate=RATE, channels=1)
    assert dataset.sampling_probabilities.tolist() == pytest.approx([0.25, 0.5, 0.25])
    loud = [float(dataset[n].mean()) > 0 for n in range(200)]
    assert sum(loud) == pytest.approx(150, abs=25)


def test_many_rows_are_not_held(tmp_path):
    def rows():
        for n in range(20_000):
            yield row(f"{n // 4:05}", n % 4, n % 4 + 1, title="x" * 200)

    class Anywhere(dict):
        def get(self, name, default=None):
            return Path("/sounds") / name

    tracemalloc.start()
    manifest.write(tmp_path, rows(), Anywhere(), FRAMES)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20
    assert sum(1 for _ in gzip.open(tmp_path / "manifest" / TRAIN / "data.jsonl.gz")) == 20_000


def test_what_fails_half_way_leaves_the_old_files(tmp_path):
    manifest.write(tmp_path, ROWS, PATHS, FRAMES)
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError):
        manifest.write(tmp_path, (ROWS[0] if n else 1 / 0 for n in (1, 0)), {"b.wav": Path("/x")}, FRAMES)
    assert contents(tmp_path) == before


def test_rows_of_a_store(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"source": "a"}\n{"source": "b"}\n')
    assert list(manifest.rows_of(tmp_path)) == [{"source": "a"}, {"source": "b"}]
