"""What a run on this machine gets: a GPU, or a share of the cores."""

from __future__ import annotations

import os

GPUS = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"  # torch and numpy read it; so does train.resolve


def visible_gpus(count: int) -> list[str]:
    """The ``count`` GPUs that torch sees, by the names that ``CUDA_VISIBLE_DEVICES`` has for them."""
    named = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    return (named or [str(index) for index in range(count)])[:count]


def slots(wanted: int | None, gpus: list[str], cores: int) -> list[dict[str, str]]:
    """The environment of each slot.

    Args:
        wanted: their number; None: one for each GPU, or without any, one for each core. More slots than GPUs share
            them.
    """
    count = wanted or len(gpus) or cores
    threads = str(max(1, cores // count))
    return [{GPUS: gpus[slot % len(gpus)] if gpus else "", THREADS: threads} for slot in range(count)]


def describe(slots: list[dict[str, str]]) -> str:
    """For one line to a person."""
    many = f"{len(slots)} run{'s' * (len(slots) > 1)} at a time"
    gpus = sorted({slot[GPUS] for slot in slots})
    if gpus != [""]:
        return f"{many} on GPU {', '.join(gpus)}"
    threads = int(slots[0][THREADS])
    return f"{many} on the CPU, {threads} thread{'s' * (threads > 1)} each"
