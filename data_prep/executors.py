"""Where jobs run (data_prep/shards.py): processes of this machine, or jobs of a Slurm cluster; submitit starts both.

What travels to a job goes through submitit's own pickle, written and read by us in the folder of the run: that is its
way, and no file of a user's. Results do not travel that way; they are JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft_ext.errors import UserError
from audiocraft_ext.machine import physical_cores

if TYPE_CHECKING:
    from submitit import Job

ROOT = Path(__file__).resolve().parent.parent
OWN = {"partition": str, "account": str, "time": int, "mem-gb": float, "cpus": int}  # --slurm keys with our names
# sbatch's options that a run depends on.
RESERVED = {"array", "job-name", "output", "error", "input", "open-mode", "wrap", "signal", "nodes", "ntasks",
            "ntasks-per-node", "chdir", "parsable", "wait", "test-only", "export", "mem", "cpus-per-task"}
ENDED = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
         "TIMEOUT"}
GRACE_S = 15.0  # until a result that was written elsewhere is seen through a network disk
SETTLE_S = 10.0
ARRAY = 1000  # jobs in one array; MaxArraySize is 1001 unless a cluster says otherwise


def get(name: str, folder: Path, options: dict) -> Executor:
    """"local" or "slurm", for a run in ``folder``.

    Raises:
        UserError: there is no Slurm here; a folder that sbatch cannot name.
    """
    if name == "local":
        return Local(folder, options)
    if name == "slurm":
        return Slurm(folder, options)
    raise UserError(f"expected --executor local or slurm, got {name!r}")


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
def _starting() -> Iterator[None]:
    """For the start of jobs: they find the project from anywhere, and Ctrl-C is for us alone.

    The signal is blocked, not ignored: what is started inherits that, and ours arrives as soon as this is over.
    """
    from submitit.core.utils import environment_variables

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment_variables(PYTHONPATH=_python_path()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _python_path() -> str:
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
            with _starting():
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


class Slurm(Executor):
    """Jobs of a Slurm cluster, started as arrays.

    squeue is asked what became of them, not sacct: the controller knows for some minutes, and many small clusters keep
    no accounts. All jobs of a run have one name, so that none can be lost.
    """

    poll_s = 1.0
    room = float("inf")

    def __init__(self, folder: Path, options: dict):
        import submitit

        missing = [program for program in ("sbatch", "squeue", "scancel", "srun") if not shutil.which(program)]
        if missing:
            raise UserError(f"--executor slurm: no {missing[0]} on this machine; run this on a login node of the "
                            "cluster, or use --executor local")
        if "%" in str(folder) or not str(folder).isprintable():
            raise UserError(f"{folder}: Slurm cannot write its logs there; expected a folder without % and odd "
                            "characters in its path")
        self.name = "prep-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        self._record = folder / "slurm.json"  # job ids by number, for a run that goes on after this one
        self._ids: dict[int, str] = self._load()
        self._states: dict[str, tuple[str, str]] = {}  # (state, reason) by job id, as squeue said
        self._asked = self._started = self._missed = 0.0
        self._unseen: dict[int, float] = {}  # when a job was found gone, with nothing wrong
        # exec: the job's process is the batch script's own, so that every signal of Slurm's reaches it.
        self._submitit = submitit.SlurmExecutor(folder / "logs" / "slurm", python=f"exec {shlex.quote(sys.executable)}")
        self._submitit.update_parameters(**self._parameters(options))

    def _parameters(self, options: dict) -> dict:
        mem_gb = options.get("mem_gb")
        return {
            "job_name": self.name, "partition": options.get("partition"), "account": options.get("account"),
            "time": options.get("time"), "cpus_per_task": options.get("cpus"),
            "mem": f"{max(1, round(mem_gb * 1024))}M" if mem_gb else None,
            "array_parallelism": options.get("parallel") or ARRAY,
            "additional_parameters": options.get("sbatch") or None,
            "setup": [f"export PYTHONPATH={shlex.quote(_python_path())}"],  # where sbatch hands no environment on
            "use_srun": False,  # one process a job; and from 22.05 on srun takes no --cpus-per-task from its job
        }

    def _load(self) -> dict[int, str]:
        try:
            return {int(n): str(job) for n, job in json.loads(self._record.read_text("utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _alive(self) -> set[str]:
        self._ask(force=True)
        return {job for job, (state, _) in self._states.items() if state not in ENDED | {"COMPLETED", "COMPLETING"}}

    def alive(self) -> bool:
        return bool(self._alive())

    def adopt(self, wanted: list[int]) -> set[int]:
        alive = self._alive()
        adopted = {n for n in wanted if self._ids.get(n) in alive}
        strays = alive - {self._ids[n] for n in adopted}
        if strays:
            subprocess.run(["scancel", *strays], capture_output=True)
        return adopted

    def start(self, calls: dict[int, Callable[..., None]]) -> None:
        numbers = list(calls)
        for at in range(0, len(numbers), ARRAY):
            some = numbers[at : at + ARRAY]
            try:
                with _starting():
                    jobs = self._submitit.submit_array([calls[n] for n in some])
                    self._ids.update({n: job.job_id for n, job in zip(some, jobs)})
                    aside = self._record.with_suffix(".tmp")
                    aside.write_text(json.dumps(self._ids), "utf-8")
                    os.replace(aside, self._record)
            except RuntimeError as error:  # submitit's, with what sbatch said
                said = re.sub(r"sbatch: (error: )?", "", str(error)).strip().replace("\n", "; ")
                raise UserError(f"sbatch: {said}") from None
        self._started = time.monotonic()

    def _ask(self, force: bool = False) -> None:
        """Ask squeue about all jobs at once; seldom when they take long."""
        now = time.monotonic()
        if not force and now - self._asked < min(30.0, max(1.0, (now - self._started) / 20)):
            return
        asked = subprocess.run(["squeue", "--noheader", "--array", "--states=all", f"--name={self.name}",
                                f"--user={os.getuid()}", "--format=%i|%T|%r"], capture_output=True, text=True)
        if asked.returncode:
            if force:
                raise UserError(f"squeue: {asked.stderr.strip()}")
            self._missed = self._missed or now  # the controller is away: nobody is dead for that
            return
        self._missed, self._asked = 0.0, now
        rows = (line.split("|", 2) for line in asked.stdout.splitlines())
        self._states = {row[0].strip(): (row[1], row[2]) for row in rows if len(row) == 3}

    def ended(self, running: set[int]) -> dict[int, str]:
        self._ask()
        ended = {}
        for n in running:
            state, _ = self._states.get(self._ids[n], ("", ""))
            if state in ENDED:
                ended[n] = state
            elif state in {"", "COMPLETED"} and self._asked > self._started:
                if time.monotonic() - self._unseen.setdefault(n, time.monotonic()) > GRACE_S:
                    ended[n] = state or "Slurm no longer knows it"
            else:
                self._unseen.pop(n, None)
        for n in ended:
            self._unseen.pop(n, None)
        return ended

    def queued(self, running: set[int]) -> tuple[int, str]:
        states = [self._states.get(self._ids[n], ("PENDING", "")) for n in running]
        reasons = Counter(reason for state, reason in states if state == "PENDING" and reason not in {"", "None"})
        if self._missed:
            reasons["squeue does not answer"] = len(states) + 1
        return sum(state == "PENDING" for state, _ in states), reasons.most_common(1)[0][0] if reasons else ""

    def cancel(self, running: set[int]) -> str:
        if not running:
            return "no jobs were left on the cluster"
        command = ["scancel", f"--name={self.name}", f"--user={os.getuid()}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return f"scancel failed ({done.stderr.strip()}), cancel them with: {shlex.join(command)}"
        return f"cancelled {len(running)} Slurm jobs"

    def log(self, number: int) -> Path:
        from submitit.core.utils import JobPaths

        return JobPaths(self._submitit.folder, self._ids[number], 0).stderr
