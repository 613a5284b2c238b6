"""Will it fit? An estimate of the memory that training takes, from the sizes alone, before anything is built."""

from __future__ import annotations

import os
import re
from pathlib import Path

from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LMConfig

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")
OVERHEAD = {"cpu": 0.6 * GIB, "cuda": 0.9 * GIB}  # Python, torch and its libraries; the CUDA context and its pools
MARGIN = 0.9  # of what is free


def training_bytes(cfg: LMConfig, batch_size: int, frames: int, ema: bool, half: bool, device: str) -> int:
    """Peak bytes on the training device for one step with a micro batch of ``batch_size`` clips of ``frames`` codes.

    Weights, gradients and AdamW's two moments are fp32 (16 bytes a parameter), EMA 4 more; on a CPU the copy of the
    best state and the one made while a checkpoint is written count too. A layer keeps about 17 ``dim`` numbers a
    token (norms, q, k, v, attention, hidden layer before and after GELU); a head keeps its logits twice, once as
    they are and once as log-probabilities, and the backward pass needs a third.
    """
    parameters = cfg.parameter_count()
    per_parameter = 16 + 4 * ema + (8 if device == "cpu" else 0) + (2 if half else 0)
    size = 2 if half else 4
    tokens = batch_size * frames
    if cfg.checkpointing == "torch":
        activations = tokens * cfg.dim * size * (cfg.num_layers + 17)
    else:
        activations = tokens * cfg.dim * size * (13 + cfg.hidden_scale) * cfg.num_layers
    if cfg.dropout:
        activations = int(activations * 1.3)
    logits = tokens * cfg.card * (cfg.n_q * (4 + size) + 8)
    return int(parameters * per_parameter + activations + logits + OVERHEAD.get(device, OVERHEAD["cuda"]))


def available_bytes(device: str) -> int:
    """What a new process may still take on ``device``, in bytes."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        with open("/proc/meminfo") as f:
            limits += [int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable")]
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
            # files that were read and are kept in case: they make room
            used = int((CGROUP / "memory.current").read_text()) - int(stat["inactive_file"])
            limits.append(int(limit) - used)
    except OSError:  # not Linux, or no group: what is known is the best guess
        pass
    return min(limits)


def peak_bytes(device: str) -> int:
    """The most that this process has held on ``device`` so far."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)[1])
    except (OSError, TypeError):  # not Linux
        pass
    import resource
    import sys

    # On Linux this would begin with the size of the process that started this one.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def largest_batch(cfg: LMConfig, frames: int, ema: bool, half: bool, device: str, free: int, most: int = 256) -> int:
    """The largest batch that fits into ``free`` bytes, 0 if none does."""
    best = 0
    for size in range(1, most + 1):
        if training_bytes(cfg, size, frames, ema, half, device) > free * MARGIN:
            break
        best = size
    return best


def check_fits(cfg: LMConfig, batch_size: int, accumulate: int, frames: int, ema: bool, half: bool, device: str,
               free: int | None = None) -> str:
    """One line that says what training will take.

    Raises:
        UserError: it will not fit; names the batch size that does.
    """
    free = available_bytes(device) if free is None else free
    micro = -(-batch_size // accumulate)
    need = training_bytes(cfg, micro, frames, ema, half, device)
    line = f"memory: about {need / GIB:.1f} GiB for {micro} x {frames} frames at a time, {free / GIB:.1f} GiB free"
    if need <= free * MARGIN:
        return line
    fits = largest_batch(cfg, frames, ema, half, device, free)
    if fits == 0:
        raise UserError(f"{line}: not even one clip fits; take a smaller model/lm/model_scale, a shorter "
                        "dataset.segment_duration, or transformer_lm.checkpointing=torch")
    raise UserError(f"{line}: it does not fit; dataset.batch_size={fits} does (dataset.batch_size=auto picks it), or "
                    f"keep {batch_size} with optim.accumulate={-(-batch_size // fits)}")
