"""The memory estimate: in the right place, and an error that helps."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.training import memory

ROOT = Path(__file__).parents[2]
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


@pytest.mark.processes
@pytest.mark.parametrize("checkpointing, half, optimiser", [
    ("none", False, "adamw"), ("torch", False, "adamw"), ("none", True, "muon"),
])
def test_the_estimate_is_near_what_a_step_takes(checkpointing, half, optimiser):
    """Peak memory of a real process (two updates, 8 clips of 250 codes) lies within the estimate and not far under
    it."""
    script = f"""
import torch
from omegaconf import OmegaConf
from audiocraft_ext.training import memory
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.training.optimizers import get_optimiser
from audiocraft_ext.training.update import Updater
torch.set_num_threads(2)
cfg = LMConfig(4, 2048, 384, 6, 6, checkpointing="{checkpointing}")
model = LM(cfg, (0, 1, 2, 3)).train()
optim = OmegaConf.load("configs/solver/default.yaml").optim
optim.update(dict(lr=1e-3, optimizer="{optimiser}"))
update = Updater(model, get_optimiser(model, optim), torch.autocast("cpu", torch.bfloat16, enabled={half}))
for _ in range(2):
    update(torch.randint(0, 2048, (8, 4, 250)))
print(memory.peak_bytes("cpu"), memory.training_bytes(cfg, 8, 250, False, {half}, "cpu", "{optimiser}"))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    peak, estimate = map(int, run.stdout.split())
    assert 0.6 * estimate < peak < 1.1 * estimate


def test_each_lever_takes_less():
    base = memory.training_bytes(TINY, 8, 500, True, False, "cuda")
    checkpointed = LMConfig(**{**TINY.to_dict(), "checkpointing": "torch"})
    for less in (memory.training_bytes(checkpointed, 8, 500, True, False, "cuda"),
                 memory.training_bytes(TINY, 8, 500, False, False, "cuda"),
                 memory.training_bytes(TINY, 8, 500, True, True, "cuda"),
                 memory.training_bytes(TINY, 8, 500, True, False, "cuda", "muon"),
                 memory.training_bytes(TINY, 8, 500, True, False, "cuda", "adamw8bit")):
        assert less < base
