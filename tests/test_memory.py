"""The memory estimate: in the right place, and an error that helps."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from audiocraft_ext import memory
from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LMConfig

TINY = LMConfig(4, 2048, 384, 6, 6)


def test_a_batch_that_does_not_fit_names_one_that_does():
    free = 2 * memory.GIB
    with pytest.raises(UserError, match=r"dataset.batch_size=\d+ does .* optim.accumulate=") as error:
        memory.check_fits(TINY, 200, 1, 500, True, False, "cpu", free=free)
    size = int(re.search(r"batch_size=(\d+) does", str(error.value))[1])
    memory.check_fits(TINY, size, 1, 500, True, False, "cpu", free=free)
    with pytest.raises(UserError):
        memory.check_fits(TINY, size + 1, 1, 500, True, False, "cpu", free=free)


def test_accumulation_makes_it_fit():
    size = memory.largest_batch(TINY, 500, True, False, "cpu", 2 * memory.GIB)
    memory.check_fits(TINY, 4 * size, 4, 500, True, False, "cpu", free=2 * memory.GIB)


def test_nothing_fits():
    with pytest.raises(UserError, match="not even one clip fits"):
        memory.check_fits(TINY, 1, 1, 500, True, False, "cpu", free=memory.GIB // 4)


def test_files_that_the_system_keeps_in_memory_count_as_free(tmp_path, monkeypatch):
    """A container of 1 GiB that holds 900 MiB, 700 of them files that were read once."""
    for name, text in {"memory.max": 2**30, "memory.current": 900 * 2**20,
                       "memory.stat": f"anon 200\ninactive_file {700 * 2**20}\nactive_file 5"}.items():
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_bytes("cpu") == 824 * 2**20


def test_the_estimate_is_near_what_a_step_takes():
    """Peak memory of a real process (three AdamW steps, 8 clips of 250 codes) lies within the estimate and not far
    under it."""
    script = """
import torch
from audiocraft_ext import memory
from audiocraft_ext.lm import LM, LMConfig
torch.set_num_threads(2)
cfg = LMConfig(4, 2048, 384, 6, 6)
model = LM(cfg, (0, 1, 2, 3))
optim = torch.optim.AdamW(model.parameters(), fused=True)
for _ in range(3):
    model.losses(torch.randint(0, 2048, (8, 4, 250)))[0].backward()
    optim.step()
    optim.zero_grad()
print(memory.peak_bytes("cpu"), memory.training_bytes(cfg, 8, 250, False, False, "cpu"))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    peak, estimate = map(int, run.stdout.split())
    assert 0.6 * estimate < peak < 1.1 * estimate
