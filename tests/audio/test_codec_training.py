"""Training a codec: it stops and goes on, and only as what it was."""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio.codec import train
from audiocraft_ext.audio.codec.encodec import EncodecConfig
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import VALID, split_of
from audiocraft_ext.model import checkpoint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "MICROCODEC", EncodecConfig(n_filters=2, ratios=(5, 4, 4, 8), dimension=8, n_q=2,
                                                           card=4, pad_mode="constant"))
    rng = np.random.default_rng(0)
    names = [f"{i}.wav" for i in range(40)]
    held = [n for n in names if split_of(n, 0.3) == VALID]
    (tmp_path / "src").mkdir()
    for name in held[:1] + [n for n in names if n not in held][:2]:
        sf.write(tmp_path / "src" / name, rng.normal(size=32000) * 0.1, 32000)
    return tmp_path


def command(monkeypatch, folder, *options):
    monkeypatch.setattr(sys, "argv", ["train", str(folder / "src"), str(folder / "out"), "--minutes", "0.1",
                                      "--batch-size", "1", "--segment", "0.25", *options])
    train.main()


def test_it_stops_goes_on_and_refuses_another_recipe(folder, monkeypatch):
    batch = train.Crops.batch

    def interrupted(self, step, size):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(self, step, size)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="codec.pt.*goes on from it"):
        patch.setattr(train.Crops, "batch", interrupted)
        command(monkeypatch, folder)
    state = checkpoint.load(folder / "out" / "codec.pt")
    assert state["step"] >= 3 and state["done"] < 1 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(UserError, match="codec.pt was made with another recipe: lr was 0.001, is 0.002; put it back"):
        command(monkeypatch, folder, "--lr", "2e-3")
    command(monkeypatch, folder)
    assert json.loads((folder / "out" / "codec.json").read_text())["figures"]["steps"] > state["step"]
    assert {p.name for p in (folder / "out").iterdir()} == {"codec.pt", "codec.json", "codec.safetensors"}


def test_a_damaged_state_is_said(folder, monkeypatch):
    (folder / "out").mkdir()
    (folder / "out" / "codec.pt").write_bytes(b"PK" + b"\0" * 100)
    with pytest.raises(UserError, match="codec.pt: not a readable checkpoint"):
        command(monkeypatch, folder)
