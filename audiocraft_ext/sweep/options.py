"""What ``dora grid`` was asked for beyond Dora's own options (sweep/cli.py sets it; every part may read it)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RETRIES = 1


@dataclass
class Options:
    grid: str = ""  # its name
    local: bool = False  # on this machine, even where Slurm is
    slots: int | None = None  # runs at a time; None: as the queue has it, else by GPUs or cores
    retries: int | None = None  # of a run that crashed; None: as the queue has it, else RETRIES
    html: Path | None = None  # where the page goes
    sort: str | None = None  # a column of the table
    look: bool = False  # only at a folder or a log: nothing is started


OPTIONS = Options()
