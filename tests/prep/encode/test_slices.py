"""The slices of a store as files: each says which row it is, and what is not ours is left alone."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio import slices
from data_prep.audio.cli import main

RATE = 32_000


@pytest.fixture
def src(tmp_path) -> Path:
    (tmp_path / "src").mkdir()
    for seed, name in enumerate(("a.wav", "b.wav")):
        sf.write(tmp_path / "src" / name, np.random.default_rng(seed).normal(0, 0.05, 5 * RATE), RATE)
    return tmp_path / "src"


def prep(src: Path, store: Path, *more) -> TokenStore:
    main([str(src), str(store), "--codec", "debug", "--workers", "0", "--tempo", "off", *map(str, more)])
    return TokenStore(store)


def check(src: Path, store: TokenStore, folder: Path) -> None:
    """The FLACs that the manifest points to are the rows."""
    lines = {}
    for split in ("train", "valid"):
        with gzip.open(store.path / "manifest" / split / "data.jsonl.gz", "rt") as file:
            lines |= {line["path"]: line for line in map(json.loads, file)}
    assert set(lines) == {str(folder / row["source"] / f"{row['segment']:04}.flac") for row in store.rows}
    for row in store.rows:
        path = folder / row["source"] / f"{row['segment']:04}.flac"
        begin, end = (round(at * RATE) for at in row["at"])
        wav, sound = sf.read(path)[0], sf.read(src / row["source"].partition("#")[0])[0]
        sound = (sound - sound.mean()) * 10 ** (row["gain_db"] / 20)
        assert len(wav) == end - begin
        assert "variant" in row or np.abs(wav - sound[begin:end]).max() < 1e-4


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_another_store_in_the_same_folder(tmp_path, src):
    """Longer slices, another level: none of the first store's is taken for the second's, none too many stays."""
    folder = tmp_path / "slices"
    one = prep(src, tmp_path / "one", "--cut", "fixed:1", "--slices", folder)
    check(src, one, folder)
    mine = folder / "a.wav" / "0099.flac"
    sf.write(mine, np.zeros(100), RATE)
    (folder / "a.wav" / "0098.flac").write_text("no FLAC")
    two = prep(src, tmp_path / "two", "--cut", "fixed:2", "--level", "off", "--slices", folder)
    check(src, two, folder)
    left = {path.relative_to(folder).as_posix() for path in stamps(folder)}
    assert left == {f"{name}.wav/000{n}.flac" for name in "ab" for n in range(3)} | {"a.wav/0099.flac",
                                                                                     "a.wav/0098.flac"}
    before = stamps(folder)
    prep(src, tmp_path / "two", "--cut", "fixed:2", "--level", "off", "--slices", folder)
    assert stamps(folder) == before  # what is right is not written again
    three = prep(src, tmp_path / "three", "--cut", "fixed:2", "--slices", folder)  # the same spans, another level
    check(src, three, folder)


def test_a_file_that_is_not_ours(tmp_path, src):
    folder = tmp_path / "slices"
    path = folder / "b.wav" / "0001.flac"
    path.parent.mkdir(parents=True)
    sf.write(path, np.zeros(100), RATE)
    before = stamps(folder)
    with pytest.raises(UserError, match="b.wav/0001.flac: was not written as a slice"):
        prep(src, tmp_path / "store", "--cut", "fixed:1", "--slices", folder)
    assert stamps(folder) == before
    path.unlink()
    check(src, prep(src, tmp_path / "store", "--cut", "fixed:1", "--slices", folder), folder)


def test_sources_of_an_earlier_run(tmp_path, src):
    """The plan does not name them; their splits are the store's."""
    prep(src, tmp_path / "store", "--cut", "fixed:1", "--variants", 1, "--augment", "gain=3")
    store = prep(src, tmp_path / "store", "--cut", "fixed:1", "--variants", 1, "--augment", "gain=3", "--slices",
                 tmp_path / "slices")
    assert any("variant" in row for row in store.rows)
    check(src, store, tmp_path / "slices")


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk_leaves_nothing_half_written(tmp_path, src, monkeypatch):
    import resource

    prep(src, tmp_path / "store", "--cut", "fixed:1")
    work = slices.cut
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(task):
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            work(task)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(slices, "cut", full)
    with pytest.raises(UserError, match="cannot be cut into slices: .*0000.flac cannot be written"):
        prep(src, tmp_path / "store", "--cut", "fixed:1", "--slices", tmp_path / "slices")
    assert stamps(tmp_path / "slices") == {}
