"""``./train.sh --audio DIR`` on the debug recipe: from a folder of sound to WAVs, a picture and numbers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for i in range(3):
        hit = rng.normal(size=4000) * np.exp(-np.arange(4000) / 500) * 0.3
        sf.write(out / f"loop{i}.wav", np.tile(np.pad(hit, (0, 4000)), 16), 16000)
    return out


def train_sh(folder: Path, here: Path) -> subprocess.CompletedProcess:
    env = {**os.environ, "MICRO_STORES": str(here / "stores"), "MICRO_OUTPUTS": str(here / "outputs")}
    command = [ROOT / "train.sh", "--audio", folder, "--name", "loops", "--codec", "debug", "--out", here / "out", "-n",
               "2", "solver=musicgen/debug", "generate.use=false", "logging.log_tensorboard=false"]
    return subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=400)


def test_a_folder_becomes_an_instrument_and_a_second_time_nothing_is_done_again(folder, tmp_path):
    first = train_sh(folder, tmp_path)
    assert first.returncode == 0, first.stderr[-2000:]
    clips = sorted((tmp_path / "out").glob("*.wav"))
    assert [sf.info(c).duration for c in clips] == [10.0, 10.0]
    assert json.loads(sf.SoundFile(clips[0]).comment)["seed"] == 1
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")
    for words in ("loss before training", "validation loss, best", "unigram loss", "real-time factor"):
        assert words in first.stdout
    assert all(str(clip) in first.stdout for clip in clips)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != "picture.png"}

    second = train_sh(folder, tmp_path)
    assert second.returncode == 0 and second.stdout.count("done before, skipped") == 4
    assert {p: p.stat().st_mtime_ns for p in written} == written


def test_a_folder_that_is_not_there_is_said(tmp_path):
    done = train_sh(tmp_path / "none", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no such folder" in done.stderr
