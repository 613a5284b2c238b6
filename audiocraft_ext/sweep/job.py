"""A run on this machine, as a job that Dora can ask (what submitit's SlurmJob is to it on a cluster)."""

from __future__ import annotations

from pathlib import Path

from audiocraft_ext.sweep import process
from audiocraft_ext.sweep.local import CANCELLED, FAILED, RUNNING, UNDER_WAY, keeper_of, read, state_of
from audiocraft_ext.sweep.queue import Queue


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
        Queue.of(self.folder).remove([self.folder.name])
