"""Jobs on a Slurm cluster (data_prep/jobs/executors.py).

squeue is asked what became of them, not sacct as by submitit: the controller knows for some minutes, and many a small
cluster keeps no accounts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import write
from data_prep.jobs.executors import Executor, python_path, starting

ENDED = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
         "TIMEOUT"}
GRACE_S = 15.0  # until a result that was written elsewhere is seen through a network disk
ARRAY = 1000  # jobs in one array; MaxArraySize is 1001 unless a cluster says otherwise


class Slurm(Executor):
    """Jobs of a Slurm cluster, started as arrays. All of a run have one name, so that none can be lost."""

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
            "setup": [f"export PYTHONPATH={shlex.quote(python_path())}"],  # where sbatch hands no environment on
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
                with starting():
                    jobs = self._submitit.submit_array([calls[n] for n in some])
                    self._ids.update({n: job.job_id for n, job in zip(some, jobs)})
                    write(self._record, json.dumps(self._ids))
            except RuntimeError as error:  # submitit's, with what sbatch said
                message = re.sub(r"sbatch: (error: )?", "", str(error)).strip().replace("\n", "; ")
                raise UserError(f"sbatch: {message}") from None
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
