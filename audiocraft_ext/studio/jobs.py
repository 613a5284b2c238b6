"""Jobs: our commands, each in a process of its own, known by its folder in the workspace alone.

A job's folder has ``job.json`` (what it is and its command, a list of words), ``status.json`` and ``log``
(:mod:`audiocraft_ext.studio.job` writes them). Whoever opens the workspace finds the jobs that are there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty, write
from audiocraft_ext.runs.pipeline import ROOT
from audiocraft_ext.studio.job import JOB, LOG, STATUS, STOP
from audiocraft_ext.studio.workspace import Workspace
from audiocraft_ext.sweep import process

ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
AT_A_TIME = 4  # more would only wait for each other, and for memory
TAIL = 20_000  # bytes of a log that are shown
SETTLING_S = 10.0  # a job that has said nothing for so long has not started


class Jobs:
    """Those of a workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._children: list[subprocess.Popen] = []

    def start(self, what: str, title: str, command: list[str], limit_s: float | None = None, **about: Any) -> dict:
        """Start a job of the kind ``what``.

        Args:
            command: words for Python, as behind ``python``.
            limit_s: seconds after which it is asked to stop.
            about: JSON values for whoever shows it.

        Raises:
            UserError: too much is under way.
        """
        self._check_room()
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder = self.workspace.jobs / name
        folder.mkdir(parents=True, mode=0o700)
        write(folder / JOB, json.dumps({
            "what": what, "title": title, "command": [sys.executable, *command], "limit_s": limit_s, "about": about,
            "environment": self.workspace.environment() | {"PYTHONUNBUFFERED": "1"}, "created": time.time()}))
        return self._launch(folder)

    def again(self, name: str) -> dict:
        """The same job once more: every command of ours goes on where it was stopped."""
        folder = self._folder(name)
        if self.get(name)["state"] == "running":
            raise UserError("this job is still running")
        self._check_room()
        for file in (STOP, STATUS):
            (folder / file).unlink(missing_ok=True)
        return self._launch(folder)

    def list(self) -> list[dict]:
        """All jobs, the newest first."""
        names = sorted((path.name for path in self.workspace.jobs.glob("*") if ID.fullmatch(path.name)), reverse=True)
        return [self.get(name) for name in names]

    def get(self, name: str) -> dict:
        """What a job is and how it is doing: ``state`` is running, finished, stopped, failed or killed."""
        self._children = [child for child in self._children if child.poll() is None]
        folder = self._folder(name)
        job, status = json_or_empty(folder / JOB), json_or_empty(folder / STATUS)
        state, error = status.get("state"), status.get("error", "")
        if state is None or state == "running":
            there = process.alive(status.get("process")) or process.alive(status.get("child"))
            young = state is None and time.time() - (folder / JOB).stat().st_mtime < SETTLING_S
            state = "running" if there or young else "killed"
            error = "" if state == "running" else "its process was killed; it can go on where it was"
        return {"id": name, "what": job.get("what"), "title": job.get("title"), "about": job.get("about", {}),
                "created": job.get("created"), "state": state, "progress": status.get("progress"),
                "line": status.get("line", ""), "error": error, "began": status.get("began"),
                "ended": status.get("ended")}

    def running(self, what: str | None = None) -> list[dict]:
        return [job for job in self.list() if job["state"] == "running" and what in (None, job["what"])]

    def log(self, name: str) -> str:
        """The end of what it said."""
        try:
            with (self._folder(name) / LOG).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def stop(self, name: str, now: bool = False) -> dict:
        """Ask a job to stop, as Ctrl-C does; ``now`` kills it and what it started."""
        folder = self._folder(name)
        status = json_or_empty(folder / STATUS)
        child = status.get("child")
        (folder / STOP).touch()  # its process looks there
        if now and process.alive(child) and not process.elsewhere(child):
            os.killpg(child["pid"], signal.SIGKILL)
        elif not process.alive(status.get("process")):
            process.send(child, signal.SIGINT)
        return self.get(name)

    def forget(self, name: str) -> None:
        """Remove a job that has ended from the list; what it made stays."""
        if self.get(name)["state"] == "running":
            raise UserError("this job is still running; stop it first")
        shutil.rmtree(self._folder(name))

    def _folder(self, name: str) -> Path:
        folder = self.workspace.jobs / name
        if not ID.fullmatch(name) or not (folder / JOB).is_file():
            raise UserError(f"no job is called {name[:40]!r} here")
        return folder

    def _check_room(self) -> None:
        if len(self.running()) >= AT_A_TIME:
            raise UserError(f"{AT_A_TIME} jobs are under way; wait for one of them, or stop one")

    def _launch(self, folder: Path) -> dict:
        (folder / JOB).touch()
        self._children.append(subprocess.Popen(
            [sys.executable, "-m", "audiocraft_ext.studio.job", str(folder)], cwd=ROOT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.get(folder.name)
