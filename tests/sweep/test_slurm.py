"""Dora's grids on a real Slurm: what is done to a run there, and that it ends as if nothing had been done.

Runs of one recipe are told apart by their label, so one run in this process is what all of them are compared with.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from audiocraft_ext.model import checkpoint
from audiocraft_ext.runs.record import read_status
from audiocraft_ext.sweep import cli, cluster
from audiocraft_ext.train import main
from tests.helpers.runs import run, solver_of
from tests.helpers.stores import make_store
from tests.training.test_training import assert_same_run

pytestmark = pytest.mark.early
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240
RECIPE = ("transformer_lm.dropout=0.1", "optim.updates_per_epoch=150", "optim.ema.updates=3", "optim.epochs=2",
          "schedule.lr_scheduler=cosine", "schedule.cosine.warmup=2")
SIGNALLED, CANCELLED, LIMIT, MOVED, TWO = LABELS = ("signalled", "cancelled", "limit", "moved", "two")
GRID = """
from contextlib import nullcontext

from dora import Explorer

@Explorer
def explorer(launcher):
    launcher.slurm_(gpus=0, cpus_per_gpu=1, mem_per_gpu=0.5, time=20)
    launcher.bind_({base!r})
    with {how}:
        for label in {labels!r}:
            launcher.slurm(gpus=2 * (label == "two"))(label=label)
"""


def wait(until: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


def ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def dora(*argv: str) -> tuple[int, str]:
    """The command, in this process: its exit code, and what it said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", ["dora", *argv])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return end.value.code or 0, said.getvalue()


class Sweep:
    """A folder of runs, and Slurm."""

    def __init__(self, folder: Path):
        self.folder, self.outputs = folder, folder / "outputs"
        self.store = make_store(folder / "store", {"a": 400, "b": 200}, {"v": 120}, loop=20).path
        self.base = ["solver=musicgen/debug", f"datasource.store={self.store}", "logging.log_tensorboard=false",
                     *RECIPE]
        package = folder / "slurm_grids"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "hit.py").write_text(GRID.format(base=self.base, labels=LABELS, how="nullcontext()"))
        (package / "unwanted.py").write_text(
            GRID.format(base=self.base, labels=("one", "another"), how="launcher.job_array()"))

    @cache  # noqa: B019
    def run(self, label: str) -> Path:
        """The folder of a run."""
        return self.outputs / "xps" / main.get_xp([*self.base, f"label={label}"]).sig

    def job(self, label: str) -> str:
        return json.loads((self.run(label) / "job.json").read_text())["job_id"]

    def state(self, label: str) -> str:
        """As Dora is told."""
        return cluster.Watcher(self.outputs / "by_id").get_state(self.job(label))

    def trains(self, label: str) -> bool:
        status = read_status(self.run(label))
        return status.get("state") == "training" and status.get("step", 0) > 5

    def stopped(self, label: str) -> int:
        """Waits until it has; the updates in its checkpoint."""
        wait(lambda: (state := read_status(self.run(label)).get("state")) and state != "training", f"{label} stops")
        status = read_status(self.run(label))
        assert status["state"] == "stopped", f"{status}\n{self.log(label)[-2000:]}"
        state = checkpoint.load(self.run(label) / "checkpoint.th")
        return len(state["history"]) * 150 + state["progress"]["step"]

    def over(self, *labels: str) -> None:
        for label in labels:
            wait(lambda: self.state(label) not in ("PENDING", "RUNNING"), f"{label} is over")  # noqa: B023

    def log(self, label: str) -> str:
        path = self.run(label) / "latest" / f"{self.job(label)}_0_log.out"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def sweep(slurm, tmp_path_factory) -> Iterator[Sweep]:
    with pytest.MonkeyPatch.context() as patch:
        made = Sweep(tmp_path_factory.mktemp("sweep"))
        patch.setattr(main.dora, "dir", made.outputs)
        patch.setattr(main.dora, "grid_package", "slurm_grids")
        patch.syspath_prepend(made.folder)
        for key, value in {"MICRO_OUTPUTS": made.outputs, "PYTHONPATH": ROOT, "DORA_PACKAGE": cli.PACKAGE}.items():
            patch.setenv(key, str(value))
        for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            patch.delenv(key, raising=False)
        yield made
        subprocess.run(["scancel", f"--user={os.getuid()}"])


@pytest.fixture(scope="module")
def shipped(sweep) -> Iterator[subprocess.Popen]:
    """``dora grid debug`` as somebody types it; it goes on while other tests do."""
    folders = {f"MICRO_{name.upper()}": str(sweep.folder / "shipped" / name) for name in ("outputs", "stores")}
    command = [sys.executable, "-m", "audiocraft_ext.sweep.cli", "grid", "debug", "--interval", "0.02"]
    with (sweep.folder / "shipped.log").open("w") as log:
        yield subprocess.Popen(command, env={**os.environ, **folders}, cwd=sweep.folder, stdout=log, stderr=log)


@pytest.fixture(scope="module")
def hit(sweep, shipped) -> dict[str, int]:
    """What is done to runs of a grid while they train; the updates after which each was stopped."""
    steps = {MOVED: begin_here(sweep)}
    code, said = dora("grid", "hit", "--no_monitoring")
    assert code == 0, said

    waiting = {SIGNALLED: tell, CANCELLED: cancel, LIMIT: shorten}
    while waiting:
        wait(lambda: any(sweep.trains(label) for label in waiting), f"one of {list(waiting)} trains")
        for label in [label for label in waiting if sweep.trains(label)]:
            waiting.pop(label)(sweep, label)
            if label != LIMIT:
                steps[label] = sweep.stopped(label)
    steps[LIMIT] = sweep.stopped(LIMIT)
    ask("scontrol", "update", f"JobId={sweep.job(LIMIT)}", "TimeLimit=20")  # else it would soon be told again
    return steps


def tell(sweep: Sweep, label: str) -> None:
    ask("scancel", "--signal=USR2", sweep.job(label))


def cancel(sweep: Sweep, label: str) -> None:
    ask("scancel", sweep.job(label))


def shorten(sweep: Sweep, label: str) -> None:
    """A minute or two are left. Until Slurm looks at its clock, which it does twice a minute, and wakes the run to tell
    it, the run is frozen: it might end."""
    os.kill(read_status(sweep.run(label))["pid"], signal.SIGSTOP)
    minutes = int(ask("squeue", "--noheader", f"--jobs={sweep.job(label)}", "--format=%M").split(":")[0])
    ask("scontrol", "update", f"JobId={sweep.job(label)}", f"TimeLimit={minutes + 2}")


def begin_here(sweep: Sweep) -> int:
    """A run of the grid, begun on this machine and interrupted."""
    with solver_of(sweep.outputs, sweep.store, *RECIPE, f"label={MOVED}") as solver:
        update = solver.optimizer.step

        def step(*args, **kwargs):
            update(*args, **kwargs)
            if solver.updates_done == 70:
                os.kill(os.getpid(), signal.SIGINT)

        solver.optimizer.step = step
        with pytest.raises(KeyboardInterrupt, match="checkpoint.th"):
            solver.run()
        assert solver.folder == sweep.run(MOVED)
        return solver.updates_done


@pytest.fixture(scope="module")
def whole(sweep, hit) -> dict:
    """A run that nobody touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main.dora, "dir", main.dora.dir)  # it is changed and put back
        return checkpoint.load(run(sweep.folder / "whole", sweep.store, *RECIPE).checkpoint_path())


def test_each_was_stopped_on_its_way_and_left_a_checkpoint(hit):
    assert set(hit) == {SIGNALLED, CANCELLED, LIMIT, MOVED} and all(0 < steps < 300 for steps in hit.values())


def test_what_was_cancelled_is_tried_again_when_somebody_asks(sweep, hit):
    """The others are in the queue already, by themselves."""
    jobs = {label: sweep.job(label) for label in LABELS}
    sweep.over(CANCELLED)
    assert sweep.state(CANCELLED) == "CANCELLED"
    assert dora("grid", "hit", "--no_monitoring")[0] == 0
    assert {label: sweep.job(label) for label in LABELS} == jobs
    assert dora("grid", "hit", "--no_monitoring", "-r")[0] == 0
    assert [label for label in LABELS if sweep.job(label) != jobs[label]] == [CANCELLED]


def test_they_end_as_a_run_that_nobody_touched(sweep, hit, whole):
    sweep.over(SIGNALLED, CANCELLED, LIMIT, MOVED)
    for label in (SIGNALLED, CANCELLED, LIMIT, MOVED):
        assert sweep.state(label) == "COMPLETED" and read_status(sweep.run(label))["state"] == "finished"
        assert_same_run(checkpoint.load(sweep.run(label) / "checkpoint.th"), whole)
    for label, times in {SIGNALLED: 1, LIMIT: 1, CANCELLED: 0, MOVED: 0}.items():
        assert f"Restarts={times} " in ask("scontrol", "show", "job", sweep.job(label))
        assert ("Requeued job" in sweep.log(label)) == bool(times)


def test_a_run_of_two_processes(sweep, hit):
    sweep.over(TWO)
    assert sweep.state(TWO) == "COMPLETED" and "global_rank=0(2)" in sweep.log(TWO)
    assert len(checkpoint.load(sweep.run(TWO) / "checkpoint.th")["history"]) == 2


def test_info_of_a_run(sweep, hit):
    argv = [*sweep.base, f"label={SIGNALLED}"]
    code, said = dora("info", *argv, "--metrics")
    assert code == 0 and "Metrics[2]" in said
    assert f"sid={sweep.job(SIGNALLED)}" in said and str(sweep.run(SIGNALLED)) in said
    code, said = dora("info", "--job_id", sweep.job(SIGNALLED), "--log")
    assert code == 0 and sweep.run(SIGNALLED).name in said and "Train Summary | Epoch 2" in said


def test_a_grid_is_cancelled(sweep):
    """One whose runs are one array of jobs; a run of it had notice while it was starting, which costs it nothing."""
    assert dora("grid", "unwanted", "--no_monitoring")[0] == 0
    one, another = sweep.job("one"), sweep.job("another")
    assert one.endswith("_0") and another.endswith("_1")
    assert {sweep.state("one"), sweep.state("another")} <= {"PENDING", "RUNNING"}
    wait(lambda: "SubmitItTarget starting" in sweep.log("one"), "a run starts")
    ask("scancel", "--signal=USR2", one)
    wait(lambda: "Restarts=1 " in ask("scontrol", "show", "job", one), "it is back in the queue")
    assert "Restarts=0 " in ask("scontrol", "show", "job", another)

    code, said = dora("grid", "unwanted", "--cancel")
    assert code == 0 and said.count("Canceling job") == 2
    sweep.over("one", "another")
    assert sweep.state("one") == sweep.state("another") == "CANCELLED"


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if {"submitit", "orphans"} & {*path.parts} and not path.is_dir()}


def test_what_sbatch_refuses_is_one_line_and_leaves_nothing(sweep):
    dora("grid", "unwanted", "--no_monitoring", "--cancel")
    before, jobs = files(sweep.outputs), [sweep.job(label) for label in ("one", "another")]
    code, said = dora("grid", "unwanted", "--no_monitoring", "-r", "-p", "nosuch")
    assert code == 2 and [line for line in said.splitlines() if "sbatch" in line] == [
        "error: sbatch: invalid partition specified: nosuch; Batch job submission failed: Invalid partition name "
        "specified; the partitions here are: debug; `dora grid NAME --local` runs on this machine"]
    assert "Traceback" not in said
    code, said = dora("grid", "unwanted", "--no_monitoring", "-r", "--constraint", "fast")
    assert code == 2 and "error: sbatch: Batch job submission failed: Invalid feature specification; `" in said
    assert files(sweep.outputs) == before
    assert [sweep.job(label) for label in ("one", "another")] == jobs


def test_what_slurm_has_forgotten_the_run_knows(sweep, tmp_path):
    """Its number is another job's by now, or none's."""
    for job, state in {"900001": "finished", "900002": "stopped"}.items():
        (tmp_path / job).mkdir()
        (tmp_path / job / "status.json").write_text(json.dumps({"state": state}))
    watcher = cluster.Watcher(tmp_path)
    states = {job: watcher.get_state(job) for job in ("900001", "900002", "900003")}
    assert states == {"900001": "COMPLETED", "900002": "MISSING", "900003": "MISSING"}


def test_the_grid_that_ships(sweep, shipped):
    """All of its runs finish; the command waited for them."""
    assert shipped.wait(PATIENCE_S) == 0, (sweep.folder / "shipped.log").read_text()
    said = (sweep.folder / "shipped.log").read_text()
    assert "4 done" in said
    runs = list((sweep.folder / "shipped" / "outputs" / "xps").iterdir())
    assert len(runs) == 4 and all(read_status(folder)["state"] == "finished" for folder in runs)
