"""The runs that a grid wants done on this machine: a file that ``dora grid`` writes and its keeper reads.

``outputs/local/GRID`` (Dora has ``outputs/grids/GRID`` for itself) holds ``queue.json``, ``keeper.json`` (the process
that sees to it, as long as there is one) and ``log``, where the keeper writes what it does. Whoever changes one of the
first two holds ``lock``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty
from audiocraft_ext.sweep import local, process
from audiocraft_ext.sweep.local import KEEPER, UNDER_WAY, keeper_of, read, state_of, write_json

ROOT = Path(__file__).resolve().parents[2]
FILE, LOCK, LOG = "queue.json", "lock", "log"


class Queue:
    """One grid's. ``runs`` are by signature: ``folder``, ``argv``, ``cwd``, ``environ`` and ``since``, which tells a
    run that was queued anew from what it was before."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def of(cls, run: Path) -> Queue:
        """The queue that the run in the folder ``run`` belongs to."""
        return cls(Path(read(run)["queue"]))

    def read(self) -> dict:
        return {"main": "", "slots": [], "retries": 0, "runs": {}, "stop": []} | json_or_empty(self.folder / FILE)

    @property
    def version(self) -> int:
        """Another number when the file is another."""
        return (self.folder / FILE).stat().st_mtime_ns

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; the others wait. No lock where files have none (Windows, some network disks)."""
        with (self.folder / LOCK).open("a") as file:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def keeper(self) -> dict | None:
        """The process that sees to the queue; it may be one of another machine."""
        return keeper_of(self.folder)

    def add(self, runs: dict[str, dict], main: str, slots: list[dict[str, str]], retries: int) -> None:
        """Put ``runs`` (folder, argv, cwd, environ of each) behind those that are there, and see to it that there is a
        keeper. One that is under way, queued from another terminal meanwhile, stays as it is.

        Raises:
            UserError: another machine keeps the queue.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        keeper = self.keeper()
        if process.elsewhere(keeper):
            raise UserError(f"the queue {self.folder} is kept on {keeper['host']} (process {keeper['pid']}): go on "
                            f"there, or if that machine is gone for good remove {self.folder / KEEPER}")
        with self.locked():
            before = self.read()
            there = {sig: run for sig, run in before["runs"].items() if state_of(Path(run["folder"])) in UNDER_WAY}
            new = {sig: run | {"since": time.time()} for sig, run in runs.items() if sig not in there}
            for run in new.values():
                note, old = Path(run["folder"]) / local.NOTE, read(Path(run["folder"])).get("job_id", "")
                write_json(note, {"state": local.PENDING, "job_id": old, "queue": str(self.folder), "tries": 0})
            if there or new:
                write_json(self.folder / FILE, {"main": main, "slots": slots, "retries": retries, "runs": there | new,
                                                "stop": [sig for sig in before["stop"] if sig in there]})
                self._start_keeper()

    def remove(self, signatures: Iterable[str]) -> None:
        """The keeper stops them, with a checkpoint each; does not wait for it."""
        if not (self.folder / FILE).exists():
            return
        with self.locked():
            queue = self.read()
            queue["stop"] = sorted({*queue["stop"], *signatures})
            write_json(self.folder / FILE, queue)
            self._start_keeper()

    def going(self) -> dict | None:
        """What is in the file, if runs of it are under way."""
        queue = self.read()
        folders = (Path(run["folder"]) for run in queue["runs"].values())
        return queue if any(state_of(folder) in UNDER_WAY for folder in folders) else None

    def start_keeper(self) -> None:
        """If there is none and runs are under way: they outlived it."""
        if not self.keeper() and self.going():
            with self.locked():
                self._start_keeper()

    def _start_keeper(self) -> None:
        """A process of its own: it outlives the terminal."""
        if self.keeper():
            return
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with self.log.open("ab") as log:
            made = subprocess.Popen([sys.executable, "-m", "audiocraft_ext.sweep.keeper", str(self.folder)],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                    env=os.environ | {"PYTHONPATH": path})
        write_json(self.folder / KEEPER, process.identity(made.pid))
