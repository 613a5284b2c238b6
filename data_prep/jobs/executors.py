"""Where jobs run (data_prep/jobs/shards.py): in processes of this machine, or on a Slurm cluster
(data_prep/jobs/slurm.py).

submitit starts both. What travels to a job goes through submitit's own pickle, written and read by us in the folder of
the run: that is its way, and no file of a user's. Results do not travel that way; they are JSON.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.machine import physical_cores

if TYPE_CHECKING:
    from submitit import Job

ROOT = Path(__file__).resolve().parents[2]
OWN = {"partition": str, "account": str, "time": int, "mem-gb": float, "cpus": int}  # --slurm keys with our names
# sbatch's options that a run depends on.
RESERVED = {"array", "job-name", "output", "error", "input", "open-mode", "wrap", "signal", "nodes", "ntasks",
            "ntasks-per-node", "chdir", "parsable", "wait", "test-only", "export", "mem", "cpus-per-task"}
SETTLE_S = 10.0


def slurm_options(pairs: list[str]) -> dict:
    """``["partition=debug", "time=240", "mem-gb=8", "cpus=2", "qos=low", "exclusive"]`` as options of a run.

    partition, account, time (minutes), mem-gb and cpus, and whatever else sbatch takes as ``--key=value``.

    Raises:
        UserError: not of that form, or an option of sbatch that a run sets itself.
    """
    options: dict = {"sbatch": {}}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z-]*", key) or (equals and not value) or not value.isprintable():
            raise UserError(f"--slurm: expected key=value (partition=debug, time=240, qos=low, ...), got {pair!r}")
        if key in RESERVED:
            raise UserError(f"--slurm {key}: a run sets this itself; expected {', '.join(OWN)} or another of sbatch's")
        if key not in OWN:
            options["sbatch"][key] = value if equals else True
            continue
        try:
            number = OWN[key](value)
            if number != number or (OWN[key] is not str and not 0 < number < 1e9):
                raise ValueError
        except ValueError:
            unit = {"time": "minutes", "mem-gb": "GB", "cpus": "CPUs"}.get(key, "a name")
            raise UserError(f"--slurm {key}: expected {unit}, got {value!r}") from None
        options[key.replace("-", "_")] = number
    return options


class Executor:
    """What a run needs of a place where jobs run."""

    poll_s: float
    room: int | float

    def adopt(self, wanted: list[int]) -> set[int]:
        """Those of the ``wanted`` jobs that are under way already, from an earlier run."""
        return set()

    def start(self, calls: dict[int, Callable[..., None]]) -> None:
        """Start jobs, by number."""
        raise NotImplementedError

    def ended(self, running: set[int]) -> dict[int, str]:
        """Those of the ``running`` jobs that ended, each with what is known of why (may be empty)."""
        raise NotImplementedError

    def queued(self, running: set[int]) -> tuple[int, str]:
        """How many of them have not begun, and why."""
        return 0, ""

    def settle(self) -> None:
        """Wait a little until nobody writes into the folder any more: a result is there before its job has ended."""
        end = time.monotonic() + SETTLE_S
        while self.alive() and time.monotonic() < end:
            time.sleep(0.05)

    def alive(self) -> bool:
        """Whether there is any job that has not ended."""
        raise NotImplementedError

    def cancel(self, running: set[int]) -> str:
        """Stop them; says what was done."""
        raise NotImplementedError

    def log(self, number: int) -> Path:
        """What a job last wrote to stderr."""
        raise NotImplementedError


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """For the start of jobs: they find the project from anywhere, and Ctrl-C is for us alone.

    The signal is blocked, not ignored: what is started inherits that, and ours arrives as soon as this is over.
    """
    from submitit.core.utils import environment_variables

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment_variables(PYTHONPATH=python_path()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


class Local(Executor):
    """Processes of this machine; they end when this one does."""

    poll_s = 0.1

    def __init__(self, folder: Path, options: dict):
        import submitit

        self.room = options.get("parallel") or physical_cores()
        self._jobs: dict[int, Job] = {}
        self._submitit = submitit.LocalExecutor(folder / "logs" / "local")
        self._submitit.update_parameters(timeout_min=60 * 24 * 365)  # its own default is two minutes
        for old in (folder / "logs" / "local").glob("*.pkl"):  # its jobs are named by process, and numbers come again
            old.unlink()

    def start(self, calls: dict[int, Callable[..., None]]) -> None:
        # submitit hides all GPUs from jobs that asked for none.
        gpus = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}
        for number, call in calls.items():
            with starting():
                self._jobs[number] = self._submitit.submit(call, boss=os.getpid(), environment=gpus)

    def ended(self, running: set[int]) -> dict[int, str]:
        return {n: "" for n in running if self._jobs[n].done()}

    def alive(self) -> bool:
        return not all(job.done() for job in self._jobs.values())

    def cancel(self, running: set[int]) -> str:
        processes = [self._jobs[n]._process for n in running if n in self._jobs]
        end = time.monotonic() + 10
        while alive := [process for process in processes if process.poll() is None]:
            for process in alive:  # submitit's controller hands SIGTERM on, once it has somebody to hand it to
                process.send_signal(signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
            time.sleep(0.1)
        return f"stopped {len(processes)} jobs"

    def log(self, number: int) -> Path:
        return self._jobs[number].paths.stderr
