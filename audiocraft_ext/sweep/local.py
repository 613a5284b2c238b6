"""What is known of a run on this machine: ``local.json`` in its folder, which the keeper writes.

It holds ``state`` in Slurm's words, ``job_id`` (the process that started the run, which names its log), ``process``
(see sweep/process.py), ``queue`` (the folder of sweep/queue.py that it belongs to), ``slot``, ``tries``, ``began`` and
``ended`` (seconds since 1970) and, of a failure, ``reason``.
"""

from __future__ import annotations

import json
from pathlib import Path

from audiocraft_ext.core.files import json_or_empty, write
from audiocraft_ext.runs.record import read_status
from audiocraft_ext.sweep import process

NOTE, KEEPER = "local.json", "keeper.json"
PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"
INTERRUPTED = "NODE_FAIL"  # the machine went down, or somebody killed the run and its keeper
UNDER_WAY = (PENDING, RUNNING)


def write_json(path: Path, value: dict) -> None:
    """Whoever reads it meanwhile sees the old or the new."""
    write(path, json.dumps(value, indent=1), shared=True)


def read(folder: Path) -> dict:
    """``local.json`` of the run in ``folder``; empty if it was never one of this machine's queue."""
    return json_or_empty(folder / NOTE)


def state_of(folder: Path) -> str | None:
    """The state of the run in ``folder``; None if it is none of this machine's. A run that was finished in another way
    (``dora run``) is COMPLETED all the same."""
    note = read(folder)
    state = note.get("state")
    if state in UNDER_WAY and _under_way(folder, note):
        return state
    if read_status(folder).get("state") == "finished":
        return COMPLETED
    return INTERRUPTED if state in UNDER_WAY else state


def _under_way(folder: Path, note: dict) -> bool:
    """Somebody sees to it."""
    if note["state"] == RUNNING and process.alive(note.get("process"), heard(folder, note)):
        return True
    return keeper_of(Path(note.get("queue") or "")) is not None


def heard(folder: Path, note: dict) -> float:
    """When the run in ``folder`` last said something, in seconds since 1970."""
    times = (read_status(folder).get("updated"), note.get("began"))
    return max([float(value) for value in times if isinstance(value, (int, float))], default=0.0)


def keeper_of(queue: Path) -> dict | None:
    """The process that sees to the queue in the folder ``queue``; it touches its file as long as it does."""
    try:
        touched = (queue / KEEPER).stat().st_mtime
    except OSError:
        return None
    keeper = json_or_empty(queue / KEEPER)
    return keeper if process.alive(keeper, touched) else None
