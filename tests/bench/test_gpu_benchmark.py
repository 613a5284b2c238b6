"""The GPU benchmark, on the CPU and small: what it measures is right, its times are of no interest."""

import json

import numpy as np
import pytest

import audiocraft_ext.compat  # noqa: F401  isort: skip
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchLoop
from audiocraft_ext.model.lm import LM
from benchmarks.sampling import gpu


@pytest.mark.peers
def test_prints_a_table_and_one_line_of_json(capsys):
    gpu.main(["--device", "cpu", "--scale", "debug", "--seconds", "0.1", "--batch", "2", "--repeats", "2"])
    *table, last = capsys.readouterr().out.splitlines()
    results = json.loads(last)["results"]
    assert results["times"] > 0 and results["step"] > results["floor"] > 0 and results["precision"] == "fp32"
    assert any(line.startswith("audiocraft, LMModel.generate") for line in table)


def test_says_what_it_needs():
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="needs a GPU with CUDA"):
            gpu.main([])
    with pytest.raises(UserError, match="--scale is one of .*debug, micro"):
        gpu.main(["--device", "cpu", "--scale", "huge"])


@pytest.mark.peers
def test_both_make_the_same_clips(monkeypatch):
    """Greedily, from the same weights: they do the same work."""
    monkeypatch.setattr(gpu, "Sampling", lambda: Sampling(temperature=0))
    torch.manual_seed(0)
    model = LM(gpu.size_of("debug"), gpu.DELAYS).eval().requires_grad_(False)
    theirs = gpu.audiocraft_lm(model, torch.device("cpu"))
    codes = theirs.generate(num_samples=2, max_gen_len=20, use_sampling=False)
    np.testing.assert_array_equal(gpu.sampled(TorchLoop(model, "cpu"), 2, 20), codes.numpy())


def test_the_floor_is_what_is_read():
    """micro, ten clips: 100 M weights in the layers, 17 M in the heads, and 2 x 2 x 2048 numbers a step and clip."""
    cfg = gpu.size_of("micro")
    weights = 2 * 12 * 2048**2 + 4 * 2048**2 + (2 * 2 + 1) * 2 * 2048  # and the norms
    assert gpu.floor(cfg, 10, 500, 2) == 2 * (weights + 10 * 250 * 2 * 2 * 2048)
