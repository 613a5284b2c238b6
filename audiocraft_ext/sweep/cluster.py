"""Dora's jobs on a Slurm cluster: what a plain one needs beyond Dora and submitit.

Both were written for one cluster, with accounts, a partition of its own and terminals. Here the controller is asked
what became of a job (squeue), then the accounts where there are any (sacct), then the run itself; nothing that is empty
reaches sbatch, and what sbatch refuses is one line.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import submitit
from dora import shep
from dora.conf import SlurmConfig
from dora.xp import is_xp
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmInfoWatcher

from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.runs.record import read_status
from audiocraft_ext.runs.slurm import output_of

ASK_S = 30  # between two questions to the cluster; submitit waits for 600
NOTICE_S = 90  # before the time limit a run is told to write its checkpoint; a quarter of the time where that is short
# Slurm has more words for states than Dora and submitit know. One that they do not know would be taken for an end, or
# for one that cannot be tried again.
WORDS = {
    **dict.fromkeys("CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT".split(), "PENDING"),
    **dict.fromkeys("COMPLETING RESIZING SIGNALING STAGE_OUT STOPPED SUSPENDED".split(), "RUNNING"),
    "BOOT_FAIL": "NODE_FAIL", "DEADLINE": "TIMEOUT", "LAUNCH_FAILED": "FAILED", "PREEMPTED": "CANCELLED",
    "RECONFIG_FAIL": "FAILED", "REVOKED": "MISSING",
}
# From 22.05 on srun does not take this from its job, and a run would get one core.
SETUP = 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"'
# Python takes a second until it listens; a notice that comes before kills it (128 + SIGUSR2).
TEARDOWN = """code=$?
job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
[ $code -ne 140 ] || scontrol requeue "$job"
exit $code"""


class Target(shep._SubmitItTarget):
    """What a job runs: Dora's, which also survives a notice that comes while the run is starting."""

    def checkpoint(self, main_pickled: bytes, argv, requeue: bool = True, local_code: bool = False):
        self.requeue = requeue
        if requeue and not is_xp():  # nothing to save yet
            return DelayedSubmission(self, main_pickled, argv, requeue, local_code)
        return super().checkpoint(main_pickled, argv, requeue, local_code)


class Watcher(SlurmInfoWatcher):
    """What became of jobs.

    Args:
        folders: where a link named as a job leads to the folder of its run.
    """

    def __init__(self, folders: Path):
        super().__init__(delay_s=ASK_S)
        self.folders = folders

    def register_job(self, job_id: str) -> None:
        """Submitit asks again for every job; the last answer was about all."""
        asked = self._last_status_check
        super().register_job(job_id)
        if job_id in self._info_dict:
            self._last_status_check = asked

    def update(self) -> None:
        wanted = self._registered - self._finished
        if not wanted:
            return
        self._last_status_check = time.time()
        self._num_calls += 1
        queued = _ask_squeue()
        known = queued or {}
        if wanted - known.keys():
            known = self._ask_sacct() | known
        if queued is not None:  # who does not answer has not forgotten
            known |= {job: {"State": self._as_the_run_says(job)} for job in wanted - known.keys()}
        self._info_dict |= {job: info | {"State": _word(info["State"])} for job, info in known.items()}
        self._finished |= {job for job in wanted if self.is_done(job, mode="cache")}

    def _ask_sacct(self) -> dict[str, dict[str, str]]:
        """Nothing where there are no accounts, and of jobs that are too new."""
        output = output_of(self._make_command())
        infos = {} if output is None else self.read_info(output)
        return {job: info for job, info in infos.items() if info.get("State")}

    def _as_the_run_says(self, job: str) -> str:
        """Dora knows MISSING, as something to be tried again."""
        return "COMPLETED" if read_status(self.folders / job).get("state") == "finished" else "MISSING"


def _word(state: str) -> str:
    state = state.split()[0].rstrip("+")  # CANCELLED by 1000
    return WORDS.get(state, state)


def _ask_squeue() -> dict[str, dict[str, str]] | None:
    """All jobs of the user that the controller knows; it forgets them some minutes after their end. None: no answer.
    Where there is no Slurm at all there are no jobs."""
    if not shutil.which("squeue"):
        return {}
    output = output_of(["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
                        "--format=%i|%T|%r"])
    if output is None:
        return None
    rows = (line.strip().split("|", 2) for line in output.splitlines())
    return {row[0]: {"JobID": row[0], "State": row[1], "Reason": row[2]} for row in rows if len(row) == 3}


class ClusterShepherd(shep.Shepherd):
    """Dora's shepherd of Slurm jobs, on any Slurm."""

    def __init__(self, main, log=shep.no_log):
        super().__init__(main, log)
        submitit.SlurmJob.watcher = Watcher(self._by_id)
        shep._SubmitItTarget = Target  # what Dora's `_submit` makes

    def _check_orphans(self) -> None:
        """Dora's asks who is at the terminal. Cancels what a command submitted that died before it noted the job."""
        for tag in self._orphans.iterdir():
            command = ["squeue", "--noheader", f"--user={os.getuid()}", f"--name={tag.name}", "--format=%A"]
            output = output_of(command) if shutil.which("squeue") else ""
            if output is None:
                continue  # Slurm is away: another time
            if jobs := sorted(set(output.split())):
                print(f"Cancelling {', '.join(jobs)}: submitted as {tag.name} by a command that died", file=sys.stderr)
                subprocess.run(["scancel", *jobs], check=True)
            tag.unlink(missing_ok=True)

    def _get_submitit_executor(self, name: str, folder: Path, slurm_config: SlurmConfig) -> submitit.SlurmExecutor:
        """Dora's, less what is empty: sbatch looks for the partition ''."""
        given = replace(slurm_config, **{key: None for key, value in vars(slurm_config).items() if value == ""})
        try:
            executor = super()._get_submitit_executor(name, folder, given)
        except ValueError as error:
            raise UserError(str(error)) from None
        more = {"setup": [SETUP, *given.setup], "teardown": [TEARDOWN],
                "signal_delay_s": min(NOTICE_S, given.time * 60 // 4)}
        if given.mem_per_gpu:  # Dora's is no whole number where this is none
            per_node = max(1, min(given.gpus, 8))
            more["mem"] = f"{round(given.mem_per_gpu * per_node * 1024)}MB"
        executor.update_parameters(**more)
        submit = executor._internal_process_submissions

        def submitted(delayed):
            jobs = submit(delayed)
            for job in jobs:  # a number that was another job's, of another cluster or before it counted anew
                (self._by_id / job.job_id).unlink(missing_ok=True)
            return jobs

        executor._internal_process_submissions = submitted
        return executor

    def _submit(self, job_array) -> None:
        run_cli(lambda: self._submit_all_or_none(job_array), leave=False)

    def _submit_all_or_none(self, job_array) -> None:
        """Dora's; of what sbatch refuses nothing stays but the empty folder of the run.

        Raises:
            UserError: with sbatch's words.
        """
        def files() -> set[Path]:
            folders = [self._arrays, *(sheep.xp._xp_submitit for sheep in job_array.sheeps)]
            return {path for folder in folders for path in folder.rglob("*") if path.is_file()}

        before = files()
        try:
            with redirect_stderr(io.StringIO()):  # submitit prints what it raises
                super()._submit(job_array)
        except (FailedJobError, FailedSubmissionError) as error:
            for path in files() - before:
                path.unlink()
            raise UserError(_refused(str(error))) from None


def _refused(words: str) -> str:
    words = "; ".join(dict.fromkeys(re.sub(r"sbatch: (error: )?", "", words).strip().splitlines()))
    if "partition" in words:
        there = (output_of(["sinfo", "--noheader", "--format=%R"]) or "").split()
        words += f"; the partitions here are: {', '.join(there) or 'unknown'}"
    return f"sbatch: {words}; `dora grid NAME --local` runs on this machine"
