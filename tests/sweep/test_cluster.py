"""What is made of a cluster's answers, without one (tests/sweep/test_slurm.py has a real one)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.runs import slurm
from audiocraft_ext.sweep import cluster


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Puts a shell script in the place of a program."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def put(name: str, script: str) -> None:
        path: Path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


def states(folder: Path, *jobs: str) -> dict[str, str]:
    watcher = cluster.Watcher(folder)
    return {job: watcher.get_state(job) for job in jobs}


def test_nobody_is_forgotten_while_slurm_is_away(tmp_path, command):
    for name in ("squeue", "sacct"):
        command(name, "echo Unable to contact slurm controller >&2; exit 1")
    assert states(tmp_path, "1") == {"1": "UNKNOWN"} and not cluster.Watcher(tmp_path).is_done("1")


def test_where_there_are_accounts_they_know_more(tmp_path, command):
    command("squeue", "echo '7|SUSPENDED|None'; echo '8_1|PENDING|Priority'")
    command("sacct", "printf '%s\\n' 'JobID|State|NodeList' '5|CANCELLED by 0|n1' '5.batch|CANCELLED|n1' "
                     "'6|BOOT_FAIL|n1' '7|COMPLETED|n1'")
    assert states(tmp_path, "5", "6", "7", "8_1", "9") == {
        "5": "CANCELLED", "6": "NODE_FAIL", "7": "RUNNING", "8_1": "PENDING", "9": "MISSING"}


def test_all_jobs_are_asked_for_at_once(tmp_path, command):
    command("squeue", f"echo x >>{tmp_path}/asked; echo '1|RUNNING|None'; echo '2|RUNNING|None'")
    assert states(tmp_path, "1", "2") == {"1": "RUNNING", "2": "RUNNING"}
    assert (tmp_path / "asked").read_text() == "x\n"


def test_sigterm_of_a_job_that_slurm_is_not_ending_means_that_it_goes_on(command, monkeypatch):
    assert not slurm.goes_on()  # no job at all
    for key, value in {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7",
                       "SLURM_ARRAY_TASK_ID": "2"}.items():
        monkeypatch.setenv(key, value)
    command("squeue", 'case "$*" in *--jobs=7_2*) echo RUNNING ;; esac')
    assert slurm.goes_on()
    command("squeue", "echo COMPLETING")
    assert not slurm.goes_on()


def test_a_job_counts_its_own_processors(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert physical_cores() == 1
