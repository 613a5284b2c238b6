"""What a run has to know of Slurm: whether its job goes back into the queue."""

from __future__ import annotations

import subprocess


def output_of(command: list[str]) -> str | None:
    """What a command printed; None if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def goes_on() -> bool:
    """Whether this process is of a Slurm job that Slurm itself is not ending.

    Who got SIGTERM and is not being ended was told that somebody else is to have the machine soon (preemption with a
    grace time). If it just ended, its job would have failed; so it has to go back into the queue.
    """
    import submitit  # not for whoever only looks at runs

    try:
        job = submitit.JobEnvironment()
    except RuntimeError:
        return False
    if job.cluster != "slurm":
        return False
    state = output_of(["squeue", "--noheader", f"--jobs={job.job_id}", "--format=%T"])
    return (state or "").strip() == "RUNNING"
