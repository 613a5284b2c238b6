"""The process that sees to a grid's runs on this machine: ``python -m audiocraft_ext.sweep.keeper QUEUE``.

``dora grid`` starts it apart from the terminal. It starts a run whenever a slot is free (by submitit's local executor),
tries what crashed again, stops what is no longer wanted, and ends when nothing is left to do. All it knows is in files,
and the runs are processes by themselves: if it is killed they go on, and the next keeper takes them over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from submitit import LocalExecutor
from submitit.core.utils import environment_variables

from audiocraft_ext.core.files import json_or_empty
from audiocraft_ext.runs.record import read_status
from audiocraft_ext.sweep import local, process
from audiocraft_ext.sweep.local import CANCELLED, COMPLETED, FAILED, INTERRUPTED, KEEPER, PENDING, RUNNING, UNDER_WAY
from audiocraft_ext.sweep.queue import Queue
from audiocraft_ext.sweep.slots import GPUS
from audiocraft_ext.sweep.target import Target, note_of

POLL_S = 0.2
AGAIN_S = 1.0  # between two signals to a run that is to stop and may not have been ready for the first
PATIENCE_S = 600.0  # for a step and a checkpoint
YEAR_MIN = 60 * 24 * 365
WRONG, STOPPED = 2, 130  # exit codes: a setting that only a person can mend; Ctrl-C and the like


@dataclass
class Run:
    """One run of the queue. ``asked``: when it was first told to stop."""

    sig: str
    folder: Path
    jobs: Path
    argv: list[str]
    cwd: str
    environ: dict[str, str]
    by_id: Path
    since: float
    state: str = PENDING
    job_id: str = ""
    process: dict | None = None
    slot: int = -1
    tries: int = 0
    reason: str | None = None
    began: float | None = None
    ended: float | None = None
    child: subprocess.Popen | None = None
    asked: float | None = None
    pressed: float = 0.0
    heard: bool = False

    @classmethod
    def of(cls, sig: str, entry: dict) -> Run:
        """A run as the queue has it, in the state that its folder tells."""
        paths = {key: Path(entry[key]) for key in ("folder", "jobs", "by_id")}
        run = cls(sig, **entry | paths)
        note = local.read(run.folder)
        for key in ("state", "job_id", "process", "slot", "tries", "reason", "began", "ended"):
            setattr(run, key, note.get(key, getattr(run, key)))
        return run

    @property
    def target(self) -> dict:
        """What the training process says of itself (it may outlive the one that started it)."""
        return json_or_empty(note_of(self.jobs, self.job_id))

    def alive(self) -> bool:
        if self.child is not None:
            self.child.poll()  # else it stays a zombie
        heard = local.heard(self.folder, {"began": self.began})
        return process.alive(self.process, heard) or process.alive(self.target, heard)

    def busy(self) -> bool:
        """Somebody else trains it: ``dora run`` in another terminal."""
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            with (self.folder / "lock").open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
        return False

    def press(self) -> None:
        """Ctrl-C, until it has come through. A run that is training stops after its step; a second time would stop it
        at once, and before it trains, a signal may be lost among imports."""
        now = time.monotonic()
        self.asked = self.asked or now
        if now - self.pressed < AGAIN_S or (self.heard and now - self.asked < PATIENCE_S):
            return
        self.pressed = now
        target = self.target
        if process.alive(target) and not process.elsewhere(target):
            number = signal.SIGINT if now - self.asked < PATIENCE_S else signal.SIGKILL
            self.heard = self.reports("training")
            process.send(target, number)
        else:
            process.send(self.process, signal.SIGTERM)  # handed on

    def reports(self, state: str) -> bool:
        """Whether its process reports this state; what an earlier process reported does not count."""
        status = read_status(self.folder)
        return status.get("state") == state and status.get("pid") == self.target.get("pid")

    def why(self) -> str:
        """One line about how it failed."""
        if self.reports("failed"):
            return str(read_status(self.folder).get("error"))
        log, last = self.jobs / f"{self.job_id}_0_log.out", ""
        with contextlib.suppress(OSError):
            lines = log.read_text("utf-8", "replace").splitlines()
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if "code" in self.target:
            return last.removeprefix("error: ")[:300] or f"exit code {self.target['code']}; nothing in {log}"
        return f"ended without a word (killed? out of memory?); the last line of {log}: {last[:200]}"


class Keeper:
    """Sees to one :class:`~audiocraft_ext.sweep.queue.Queue`."""

    def __init__(self, folder: Path):
        self.queue = Queue(folder)
        self.runs: dict[str, Run] = {}
        self._seen, self._touched = 0, time.monotonic()

    def run(self) -> None:
        """To the end; at once if there is another keeper."""
        with self.queue.locked():
            other = self.queue.keeper()
            if other and other != process.identity():
                return
            if not other:
                local.write_json(self.queue.folder / KEEPER, process.identity())
        self.say(f"process {os.getpid()} keeps the queue")
        while not self._over():
            self.touch()
            self.refresh()
            self.look()
            self.fill()
            time.sleep(POLL_S)

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the log may be on a full disk
            print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)

    def touch(self) -> None:
        """Other machines cannot look at this process; they see by the age of its file that it is there."""
        if time.monotonic() - self._touched > process.OLD_S / 10:
            self._touched = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.queue.folder / KEEPER)

    def note(self, run: Run, state: str, **fields) -> None:
        """A new state; one that cannot be written (a full disk) is known here all the same."""
        run.state = state
        for key, value in fields.items():
            setattr(run, key, value)
        self.say(f"{run.sig} {state}{': ' + run.reason if run.reason else ''}")
        with contextlib.suppress(OSError):
            local.write_json(run.folder / local.NOTE, {
                "state": state, "job_id": run.job_id, "process": run.process, "queue": str(self.queue.folder),
                "slot": run.slot, "tries": run.tries, "reason": run.reason, "began": run.began, "ended": run.ended})

    def _over(self) -> bool:
        """Nothing is left; nobody can add to the queue between the look and the end."""
        if not self._seen or any(run.state in UNDER_WAY for run in self.runs.values()):
            return False
        with contextlib.suppress(OSError), self.queue.locked():  # where even that fails, it is over all the same
            if self.queue.version != self._seen:
                return False
            (self.queue.folder / KEEPER).unlink(missing_ok=True)
        self.say("nothing left to do")
        return True

    def refresh(self) -> None:
        """What is new in the queue, and what is no longer wanted."""
        try:
            version = self.queue.version
        except OSError:  # gone, or a network disk that is away: what it knows it sees to
            return
        if version == self._seen:
            return
        self._seen, queue = version, self.queue.read()
        self.slots, self.retries, self.main = queue["slots"], queue["retries"], queue["main"]
        for sig, entry in queue["runs"].items():
            known = self.runs.get(sig)
            if known is None or (known.since != entry["since"] and not (known.state == RUNNING and known.alive())):
                self.runs[sig] = Run.of(sig, entry)
        for sig in queue["stop"]:
            if sig in self.runs:
                self.runs[sig].asked = self.runs[sig].asked or time.monotonic()

    def look(self) -> None:
        """At those that run, and at those that are to stop."""
        for run in self.runs.values():
            if run.state == RUNNING and not run.alive():
                self.ended(run)
            elif run.state == RUNNING and run.asked:
                run.press()
            elif run.state == PENDING and run.asked:
                self.note(run, CANCELLED)

    def ended(self, run: Run) -> None:
        """How it did, and what now."""
        run.ended, code = time.time(), run.target.get("code")
        if code == 0 or run.reports("finished"):
            self.note(run, COMPLETED, reason=None)
        elif run.asked:
            self.note(run, CANCELLED, reason=None)
        elif code == STOPPED:  # also what a machine does that is shut down
            self.note(run, INTERRUPTED, reason="somebody stopped it")
        elif code == WRONG or run.tries > self.retries:
            self.note(run, FAILED, reason=run.why())
        else:
            self.note(run, PENDING, reason=f"crashed, will be tried again: {run.why()}")

    def fill(self) -> None:
        """Start what waits, as long as there are free slots."""
        for run in self.runs.values():
            used = {other.slot for other in self.runs.values() if other.state == RUNNING}
            free = [slot for slot in range(len(self.slots)) if slot not in used]
            if len(used) >= len(self.slots) or not free:
                return
            if run.state == PENDING and not run.asked and not run.busy():
                self.start(run, free[0])

    def start(self, run: Run, slot: int) -> None:
        run.slot, run.tries, run.heard, run.began, run.ended = slot, run.tries + 1, False, time.time(), None
        environ = run.environ | self.slots[slot]
        gpu = {GPUS: environ[GPUS]}  # submitit hides all GPUs but those that it gives itself, by number
        try:
            executor = LocalExecutor(run.jobs)
            executor.update_parameters(timeout_min=YEAR_MIN, stderr_to_stdout=True)
            os.chdir(run.cwd)
            with environment_variables(**environ):
                job = executor.submit(Target(self.main, run.argv, gpu))
        except Exception as error:  # a full disk, a folder that is gone: this run's trouble alone
            self.note(run, FAILED, reason=f"could not be started: {error}")
            return
        with contextlib.suppress(OSError):
            note_of(run.jobs, job.job_id).unlink(missing_ok=True)  # numbers of processes come again
            _link(run.by_id / job.job_id, run.folder)
        run.child = job._process
        self.note(run, RUNNING, job_id=job.job_id, process=process.identity(run.child.pid), reason=None)


def _link(link: Path, folder: Path) -> None:
    """For ``dora info -j``; what Slurm calls by the same number keeps it."""
    if link.is_symlink() and json_or_empty(link.resolve() / "job.json").get("job_id") == link.name:
        return
    new = link.with_name(f".{link.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(folder.resolve())
    os.replace(new, link)  # a link, not a file


def main() -> None:
    """``keeper.py QUEUE``"""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # started from a script's background it would be ignored,
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # here and in the runs
    Keeper(Path(sys.argv[1]).resolve()).run()


if __name__ == "__main__":
    main()
