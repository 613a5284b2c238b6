"""What this machine has."""

from __future__ import annotations

import os
from pathlib import Path


def physical_cores() -> int:
    """Cores that this process may use, two threads of one core counted once.

    A second thread on a core shares its arithmetic units: matrix products get no faster by it, often slower. Of a Slurm
    job no more than it asked for: not every cluster binds a process to them.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return max(1, os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text())
        except OSError:
            cores.add(str(cpu))
    asked = int(os.environ.get("SLURM_CPUS_PER_TASK") or len(cores))
    return max(1, min(len(cores), asked))
