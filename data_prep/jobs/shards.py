"""The same work on many shards: jobs on this machine or on a Slurm cluster, each done once, whatever stops in between.

    run("data_prep.audio.remote:analyse_shard", [{"shard": 0}, {"shard": 1}], executor="slurm", folder=store / "shards",
        options={"partition": "debug", "time": 240})

A job is a function by name and plain JSON to call it with. What it returns, plain JSON too, becomes one file
(``folder/job-0.json``), written in one step: a job has its file and is done, or has none and is not. So the next
call after Ctrl-C, ``kill -9`` or a power cut does what is missing, and no more. Jobs that still wait or run on the
cluster are taken up again; a job locks its file, so no two processes ever do the same one at the same time.

Where jobs run is known to data_prep/jobs/executors.py.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import write
from data_prep.jobs.executors import Executor, Local
from data_prep.jobs.slurm import Slurm

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None

RETRIES = 2
LAST_LINES = 3  # of a dead job's log
STOP_S = 8.0  # that a job has to tidy up when it is told to stop


def run(work: str | Callable[..., object], jobs: list[dict], *, executor: str, folder: Path, options: dict,
        what: str = "jobs") -> list[dict]:
    """Call ``work(**job)`` for each job, each in a process of its own.

    Args:
        work: "module:function", or a function at the top level of a module. What it returns must be JSON.
        jobs: plain JSON each. A result is taken from ``folder`` if it was made by the same work from the same job.
        executor: "local" or "slurm".
        folder: for results and logs, of this work alone; on a cluster one that all machines see.
        options: ``retries`` (2) of a job that died; ``parallel`` jobs at a time (local: one a core); what
            :func:`executors.slurm_options` gives.
        what: the word for all this in front of the progress line.

    Returns:
        The results in the order of the jobs.

    Raises:
        UserError: no Slurm; Slurm says no; a job said so (with what it said, and it is not tried again); a job died
            more often than ``retries`` (with the last lines of its log). The other jobs are done before that.
        KeyboardInterrupt: Ctrl-C, after the jobs were told to stop.
    """
    name = name_of(work)
    folder = Path(os.path.abspath(folder))
    folder.mkdir(parents=True, exist_ok=True)
    calls = [Call(name, json.loads(json.dumps(job)), str(folder / f"job-{n}.json")) for n, job in enumerate(jobs)]
    with _locked(folder / "lock", f"{folder}: another process is at work in this folder; wait for it"):
        there = executor_for(executor, folder, options)
        return _Run(calls, there, folder, options.get("retries", RETRIES), what).results()


def executor_for(name: str, folder: Path, options: dict) -> Executor:
    """"local" or "slurm", for a run in ``folder``.

    Raises:
        UserError: there is no Slurm here; a folder that sbatch cannot name.
    """
    if name == "local":
        return Local(folder, options)
    if name == "slurm":
        return Slurm(folder, options)
    raise UserError(f"expected --executor local or slurm, got {name!r}")


def name_of(work: str | Callable[..., object]) -> str:
    """"module:function", by which any process finds a function."""
    if isinstance(work, str):
        module, _, function = work.partition(":")
    else:
        module, function = work.__module__, work.__qualname__
        if module == "__main__":  # python -m package.module
            module = getattr(sys.modules["__main__"].__spec__, "name", "")
    if not module or not function.isidentifier():
        raise ValueError(f"expected module:function or a function at the top level of a module, got {work!r}")
    return f"{module}:{function}"


class Call:
    """One job, as it travels to the process that does it.

    Attributes:
        work: "module:function".
        arguments: what it is called with, JSON.
        path: the file that takes its result.
    """

    def __init__(self, work: str, arguments: dict, path: str):
        self.work, self.arguments, self.path = work, arguments, path
        self._digest = hashlib.sha256(json.dumps([work, arguments], sort_keys=True).encode()).hexdigest()

    def outcome(self) -> dict | None:
        """``{"result": ...}`` or ``{"error": ...}`` if this very job was done, else None."""
        try:
            with open(self.path, encoding="utf-8") as f:
                outcome = json.load(f)
            return outcome if outcome["digest"] == self._digest else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __call__(self, boss: int | None = None, environment: dict[str, str | None] | None = None) -> None:
        """Do it, in the process that a job is.

        Args:
            boss: the process to end with, if there is one.
            environment: variables to set first, or with None to take away.
        """
        for key, value in (environment or {}).items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
        _interrupt_on_sigterm(boss)
        with _locked(Path(self.path + ".lock")):  # waits for one that a killed run has left behind
            if self.outcome() is None:
                module, _, function = self.work.partition(":")
                try:
                    outcome = {"result": getattr(importlib.import_module(module), function)(**self.arguments)}
                except UserError as error:
                    outcome = {"error": str(error)}
                write(Path(self.path), json.dumps({"digest": self._digest, **outcome}), sync=True, shared=True)


@contextmanager
def _locked(path: Path, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock for as long as this process lives; wait for it, or refuse.

    A record lock: worker processes that outlive their job do not inherit it, and it works on NFS.
    """
    with path.open("w") as f:
        if fcntl is not None:
            try:
                fcntl.lockf(f, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
            except (BlockingIOError, PermissionError):
                raise UserError(refusal) from None
            except OSError:
                pass  # a file system without locks
        yield


def _interrupt_on_sigterm(boss: int | None) -> None:
    """Make of SIGTERM, and of the end of process ``boss``, what Ctrl-C is to a command.

    submitit passes over SIGTERM, and its local jobs outlive whoever started them.
    """
    own, stopping = os.getpid(), threading.Event()

    def stop(signum: int, frame: object) -> None:
        if os.getpid() != own:  # a worker process that was forked from here
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif not stopping.is_set():
            stopping.set()
            raise KeyboardInterrupt("told to stop")

    def watch() -> None:
        while not stopping.wait(1):
            if boss is not None and not _lives(boss):
                os.kill(own, signal.SIGTERM)
                break
        time.sleep(STOP_S)
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"  # waited for by nobody
    except FileNotFoundError:  # no /proc
        return True
    except OSError:
        return False


class _Run:
    """Jobs on their way to their results."""

    def __init__(self, calls: list[Call], executor: Executor, folder: Path, retries: int,
                 what: str):
        self.calls, self.executor, self.folder, self.retries, self.what = calls, executor, folder, retries, what
        self.done: dict[int, object] = {}
        self.failed: dict[int, str] = {}
        self.deaths, self._said = Counter[int](), ""
        for n, call in enumerate(calls):
            if "result" in (outcome := call.outcome() or {}):
                self.done[n] = outcome["result"]
            else:
                Path(call.path).unlink(missing_ok=True)
        self.running = executor.adopt([n for n in range(len(calls)) if n not in self.done])
        self.waiting = deque(n for n in range(len(calls)) if n not in self.done and n not in self.running)

    def results(self) -> list:
        try:
            while self.waiting or self.running:
                self._start()
                self._look()
                self._say()
                if self.running:
                    time.sleep(self.executor.poll_s)
        except BaseException as error:
            self._end_line()
            self._take_results()
            cancelled = self.executor.cancel(self.running)
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"{cancelled}; {len(self.done)} of {len(self.calls)} jobs are done and stay, "
                                        "the same command goes on") from None
            raise
        self._end_line()
        self.executor.settle()
        if self.failed:
            raise UserError(self._failure())
        return [self.done[n] for n in range(len(self.calls))]

    def _start(self) -> None:
        room = self.executor.room - len(self.running)
        numbers = [self.waiting.popleft() for _ in range(max(0, min(room, len(self.waiting))))]
        if numbers:
            self.running |= set(numbers)
            self.executor.start({n: self.calls[n] for n in numbers})

    def _look(self) -> None:
        ended = self.executor.ended(self.running)
        self._take_results()  # after it: who ended well has left a file by now
        for n in sorted(self.running & ended.keys()):
            self.running.remove(n)
            self._died(n, ended[n])

    def _take_results(self) -> None:
        there = set(os.listdir(self.folder))  # one question to a network disk, not one for each job
        for n in sorted(self.running):
            outcome = self.calls[n].outcome() if os.path.basename(self.calls[n].path) in there else None
            if outcome is None:
                continue
            self.running.remove(n)
            if "result" in outcome:
                self.done[n] = outcome["result"]
            else:
                self.failed[n] = f"job {n}: {outcome['error']}"

    def _died(self, n: int, why: str) -> None:
        self.deaths[n] += 1
        if self.deaths[n] <= self.retries:
            self.waiting.append(n)
            return
        log = self.executor.log(n)
        end = _last_lines(log) or "nothing; it was killed, for want of memory perhaps"
        self.failed[n] = f"job {n} died {self.deaths[n]} times{why and f' ({why})'}; the last lines of {log}: {end}"

    def _failure(self) -> str:
        first = min(self.failed)
        others = [str(n) for n in sorted(self.failed) if n != first]
        return (f"{len(self.failed)} of {len(self.calls)} jobs failed, what the others made stays; {self.failed[first]}"
                + (f"; and job {', '.join(others[:20])}" if others else ""))

    def _say(self) -> None:
        queued, note = self.executor.queued(self.running)
        parts = [f"{len(self.done)} of {len(self.calls)} jobs done", f"{len(self.running) - queued} running",
                 f"{queued + len(self.waiting)} waiting{note and f' ({note})'}", f"{len(self.failed)} failed"]
        if self.deaths:
            parts.append(f"{sum(self.deaths.values()) - len(self.failed)} tried again")
        line = f"{self.what}: {', '.join(parts)}"
        if line != self._said:
            self._said = line
            print(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True,
                  end="" if sys.stderr.isatty() else "\n")

    def _end_line(self) -> None:
        if self._said and sys.stderr.isatty():
            print(file=sys.stderr)


def _last_lines(log: Path) -> str:
    """The last lines of a log that say something, as one."""
    try:
        with log.open("rb") as f:
            f.seek(max(0, log.stat().st_size - 8192))
            lines = f.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " | ".join([line.strip() for line in lines if line.strip(" ^~") and "submitit" not in line][-LAST_LINES:])
