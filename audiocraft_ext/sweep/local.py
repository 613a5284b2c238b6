"""A run on this machine, as a job that Dora can ask (what submitit's SlurmJob is to it on a cluster).

``local.json`` in the run's folder is what is known of it: ``state`` in Slurm's words, ``job_id`` (the process that
started it, which names its log), ``process`` (see sweep/process.py), ``queue`` (the folder of sweep/queue.py that it
belongs to), ``slot``, ``tries``, ``began`` and ``ended`` (seconds since 1970) and, of a failure, ``reason``. The keeper
writes it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from audiocraft_ext.files import read_json
from audiocraft_ext.record import read_status
from audiocraft_ext.sweep import process

NOTE, KEEPER = "local.json", "keeper.json"
PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = "PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"
INTERRUPTED = "NODE_FAIL"  # the machine went down, or somebody killed the run and its keeper
UNDER_WAY = (PENDING, RUNNING)


def write_json(path: Path, value: dict) -> None:
    """Whoever reads it meanwhile sees the old or the new."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(value, indent=1), "utf-8")
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def read(folder: Path) -> dict:
    """``local.json`` of the run in ``folder``; empty if it was never one of this machine's queue."""
    return read_json(folder / NOTE)


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
    keeper = read_json(queue / KEEPER)
    return keeper if process.alive(keeper, touched) else None


class LocalJob:
    """Dora's idea of a job: a name, a state, a watcher to ask, and a way to stop it."""

    def __init__(self, folder: Path, job_id: str = "queued", reason: str | None = None):
        """``reason``: it could not even be queued."""
        self.folder, self._job_id, self._reason = folder, job_id, reason

    @property
    def job_id(self) -> str:
        return str(read(self.folder).get("job_id") or self._job_id)

    @property
    def state(self) -> str:
        return FAILED if self._reason else state_of(self.folder) or CANCELLED

    @property
    def reason(self) -> str | None:
        """Why it failed, in a line."""
        return self._reason or read(self.folder).get("reason")

    @property
    def elsewhere(self) -> str | None:
        """The other machine that has it or, while it waits, its queue."""
        note = read(self.folder)
        who = note.get("process") if note.get("state") == RUNNING else keeper_of(Path(note.get("queue") or ""))
        return who["host"] if process.elsewhere(who) else None

    @property
    def watcher(self) -> LocalJob:
        return self

    def get_state(self, job_id: str = "", mode: str = "standard") -> str:
        return self.state

    def is_done(self, job_id: str = "", mode: str = "standard") -> bool:
        return self.state not in UNDER_WAY

    def done(self, force_check: bool = False) -> bool:
        return self.is_done()

    def cancel(self, check: bool = True) -> None:
        """Asks it to stop, with a checkpoint."""
        from audiocraft_ext.sweep.queue import Queue

        Queue.of(self.folder).remove([self.folder.name])
