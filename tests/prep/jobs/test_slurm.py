"""A store prepared by jobs is the store that one process makes, byte for byte: on this machine and on a real Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from data_prep.audio.cli import main

ROOT = Path(__file__).resolve().parents[3]
COMPARED = ("codes.u16", "manifest.jsonl", "store.json", "report.json", "labels.csv")


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    """Four sounds, a copy of one, and a file that is none."""
    folder = tmp_path_factory.mktemp("src")
    for n in range(4):
        random = np.random.default_rng(n)
        t = np.arange(round(32000 * (1 + 0.2 * n))) / 32000
        wav = 0.3 * np.sin(2 * np.pi * 110 * (n + 1) * t) * np.exp(-4 * (3 * t % 1)) + random.normal(0, 0.02, len(t))
        sf.write(folder / f"sound {n}.wav", wav, 32000)
    (folder / "copy.wav").write_bytes((folder / "sound 2.wav").read_bytes())
    (folder / "no sound.wav").write_text("dear diary")
    return folder


@pytest.fixture(scope="module")
def plain(src, tmp_path_factory):
    return prepared(src, tmp_path_factory.mktemp("plain") / "store", "--workers", "1")


def prepared(src, store, *options):
    main([str(src), str(store), "--codec", "debug", *options])
    return {name: (store / name).read_bytes() for name in COMPARED}


@pytest.mark.processes
def test_jobs_on_this_machine(src, plain, tmp_path, capfd):
    assert prepared(src, tmp_path / "store", "--executor", "local", "--shards", "2") == plain
    assert "encoding: 2 of 2 jobs done" in capfd.readouterr().err


def test_jobs_on_slurm_killed_in_between(src, plain, tmp_path, slurm, capfd):
    store = tmp_path / "store"
    options = ["--executor", "slurm", "--shards", "3", "--slurm", "partition=debug", "--slurm", "cpus=1"]
    first = subprocess.Popen([sys.executable, "-m", "data_prep.audio", src, store, "--codec", "debug", *options],
                             cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(store.glob(".prep/jobs/analyse-*/slurm.json")):  # jobs are on the cluster
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert prepared(src, store, *options) == plain
    assert "encoding: 3 of 3 jobs done" in capfd.readouterr().err
