"""Will it fit? An estimate of the memory that training takes, from the sizes alone, before anything is built."""

from __future__ import annotations

import os
import re
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.config import LMConfig
from audiocraft_ext.model.head_loss import SLICE

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")
OVERHEAD = {"cpu": 0.6 * GIB, "cuda": 0.9 * GIB}  # Python, torch and its libraries; the CUDA context and its pools
MARGIN = 0.9  # of what is free


def training_bytes(cfg: LMConfig, batch_size: int, frames: int, ema: bool, half: bool, device: str,
                   optimiser: str = "adamw") -> int:
    """Peak bytes on the training device for one step with a micro batch of ``batch_size`` clips of ``frames`` codes.

    Weights and gradients are fp32 (8 bytes a parameter), the optimiser's moments come on top, EMA is 4 more; on a CPU
    the copy of the best state and the one made while a checkpoint is written count too. Of the layers stay
    :meth:`~audiocraft_ext.model.config.LMConfig.activations`. Of the logits only those of one head and
    one slice exist (:mod:`audiocraft_ext.model.head_loss`), with the gradients of all heads a second time.
    """
    parameters, tokens = cfg.parameter_count(), batch_size * frames
    per_parameter = 8 + _moments(cfg, optimiser) + 4 * ema + (8 if device == "cpu" else 0) + (2 if half else 0)
    size = 2 if half else 4
    activations = tokens * size * cfg.activations(frames)
    if cfg.dropout:
        activations = int(activations * 1.3)
    heads = min(tokens, SLICE) * cfg.card * (8 + size) + 4 * cfg.dim * (tokens + cfg.n_q * cfg.card)
    return int(parameters * per_parameter + activations + heads + OVERHEAD.get(device, OVERHEAD["cuda"]))


def _moments(cfg: LMConfig, optimiser: str) -> float:
    """Bytes a parameter that the optimiser keeps."""
    if optimiser == "adamw8bit":
        return 2 + 8 / 256
    return 8 - (4 * cfg.matrix_weights() / cfg.parameter_count() if optimiser == "muon" else 0)


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


def largest_batch(cfg: LMConfig, frames: int, ema: bool, half: bool, device: str, free: int, most: int = 256,
                  optimiser: str = "adamw") -> int:
    """The largest batch that fits into ``free`` bytes, 0 if none does."""
    best = 0
    for size in range(1, most + 1):
        if training_bytes(cfg, size, frames, ema, half, device, optimiser) > free * MARGIN:
            break
        best = size
    return best


def check_fits(cfg: LMConfig, batch_size: int, accumulate: int, frames: int, ema: bool, half: bool, device: str,
               free: int | None = None, optimiser: str = "adamw", processes: int = 1) -> str:
    """One line that says what training will take; ``batch_size`` is that of each process.

    Raises:
        UserError: it will not fit; names the batch size that does.
    """
    free = available_bytes(device) if free is None else free
    micro = -(-batch_size // accumulate)
    need = training_bytes(cfg, micro, frames, ema, half, device, optimiser)
    line = f"memory: about {need / GIB:.1f} GiB for {micro} x {frames} frames at a time, {free / GIB:.1f} GiB free"
    if need <= free * MARGIN:
        return line
    fits = largest_batch(cfg, frames, ema, half, device, free, optimiser=optimiser)
    if fits == 0:
        raise UserError(f"{line}: not even one clip fits; take a smaller model/lm/model_scale, a shorter "
                        "dataset.segment_duration, or transformer_lm.checkpointing=torch")
    raise UserError(f"{line}: it does not fit; dataset.batch_size={fits * processes} does (dataset.batch_size=auto "
                    f"picks it), or keep {batch_size * processes} with optim.accumulate={-(-batch_size // fits)}")
