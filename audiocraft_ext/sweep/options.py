"""What ``dora grid`` was asked for beyond Dora's own options (sweep/cli.py sets it; every part may read it)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Options:
    grid: str = ""  # its name
    local: bool = False  # on this machine, even where Slurm is
    slots: int | None = None  # runs at a time; None: one for each GPU, else one for each core
    retries: int = 1  # of a run that crashed
    html: Path | None = None  # where the page goes
    sort: str | None = None  # a column of the table
    look: bool = False  # only at a folder or a log: nothing is started


OPTIONS = Options()
