"""Several processes train as one: the same windows, the same updates, the same end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from audiocraft_ext.model import checkpoint
from audiocraft_ext.runs.record import read_status
from data_prep.midi import cli as midi
from tests.helpers.ranks import Ranks, at_update, note_windows, start
from tests.helpers.runs import run, solver_of
from tests.helpers.stores import make_store

pytestmark = pytest.mark.early
ROOT = Path(__file__).resolve().parents[2]
# Rows of very different length, parts, an average that moves every third update, and a validation whose last batch has
# a single window: the second process has none then.
PLAIN = ("dataset.batch_size=4", "optim.accumulate=2", "optim.updates_per_epoch=5", "optim.epochs=4",
         "optim.ema.updates=3", "schedule.lr_scheduler=cosine", "schedule.cosine.warmup=2",
         "dataset.sample_on_duration=false", "dataset.valid.num_samples=5", "generate.use=false")
DROPOUT = (*PLAIN, "transformer_lm.dropout=0.1")
LONG = (*PLAIN, "optim.updates_per_epoch=100000")
CLOSE = 1e-5  # sums in another order; measured: 2e-7


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store", {"a": 400, "b": 9, "c": 23, "d": 200},
                      {"v": 300, "w": 33}, loop=20).path


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> dict:
    """One process, never stopped."""
    return state_of(run(tmp_path_factory.mktemp("whole"), store, *PLAIN).folder.parent.parent)


def state_of(folder: Path) -> dict:
    (path,) = folder.glob("xps/*/checkpoint.th")
    return checkpoint.load(path)


def apart(a: dict, b: dict) -> float:
    """The largest difference of weights, their averages, the best ones, and of what the histories tell."""
    assert a["model"].keys() == b["model"].keys() and len(a["history"]) == len(b["history"])
    pairs = [(a[part], b[part]) for part in ("model",)]
    pairs += [(a["ema"]["state"]["model"], b["ema"]["state"]["model"]), (a["best_state"]["model"],
                                                                       b["best_state"]["model"])]
    worst = max(float((x[key] - y[key]).abs().max()) for x, y in pairs for key in x)
    told = [(x[stage], y[stage]) for x, y in zip(a["history"], b["history"]) for stage in ("train", "valid")]
    return max([worst, *(abs(x[key] / y[key] - 1) for x, y in told for key in x
                         if key.startswith("ce") or key == "grad_norm")])


def windows(*folders: Path) -> Counter:
    """How often each (epoch, index) was read."""
    lines = [json.loads(line) for folder in folders for line in (folder / "windows.jsonl").read_text().splitlines()]
    return Counter((epoch, index) for _, epoch, indices in lines for index in indices)


ONCE = Counter((epoch, index) for epoch in range(1, 5) for index in range(5 * 4))


def note(rank: int, folder: Path) -> None:
    note_windows(rank, folder)


def stop_second(rank: int, folder: Path) -> None:
    """Somebody sends a signal to the second process alone."""
    note_windows(rank, folder)
    if rank == 1:
        at_update(7, lambda: os.kill(os.getpid(), signal.SIGTERM))


HERE = __name__


def test_two_processes_make_the_run_of_one(store, whole, tmp_path):
    ranks = start(tmp_path, store, *PLAIN, hook=f"{HERE}:note")
    assert ranks.codes() == [0, 0], ranks.text()
    assert apart(state_of(tmp_path), whole) < CLOSE
    assert windows(tmp_path) == ONCE


@pytest.fixture(scope="module")
def stopped(store, tmp_path_factory) -> Path:
    """Two processes, stopped inside an epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    ranks = start(folder, store, *PLAIN, hook=f"{HERE}:stop_second")
    assert ranks.codes() == [130, 130], ranks.text()
    (run_folder,) = folder.glob("xps/*")
    assert read_status(run_folder)["state"] == "stopped"
    assert "The same command goes on from it" in ranks.logs[0].read_text()
    state = state_of(folder)
    assert (len(state["history"]), state["progress"]["step"]) == (1, 2)
    assert windows(folder) == Counter(key for key in ONCE if key < (2, 8))
    return folder


@pytest.mark.processes
def test_two_processes_stop_and_one_goes_on(store, whole, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    ranks = start(tmp_path / "run", store, *PLAIN, size=1, hook=f"{HERE}:note")
    assert ranks.codes() == [0], ranks.text()
    assert apart(state_of(tmp_path / "run"), whole) < CLOSE
    assert windows(tmp_path / "run") == ONCE


@pytest.mark.processes
def test_one_process_stops_and_two_go_on(store, whole, tmp_path):
    with solver_of(tmp_path, store, *PLAIN) as solver:
        tell = solver._tell_status

        def told(metrics):
            tell(metrics)
            if solver.updates_done == 8:
                os.kill(os.getpid(), signal.SIGTERM)

        solver._tell_status = told
        with pytest.raises(KeyboardInterrupt):
            solver.run()
    ranks = start(tmp_path, store, *PLAIN, hook=f"{HERE}:note")
    assert ranks.codes() == [0, 0], ranks.text()
    assert apart(state_of(tmp_path), whole) < CLOSE
    assert windows(tmp_path) == Counter(key for key in ONCE if key >= (2, 12))


@pytest.mark.processes
def test_as_many_processes_go_on_to_the_bit(store, tmp_path):
    """With dropout, whose numbers are no state."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ranks = start(whole, store, *DROPOUT)
    assert start(cut, store, *DROPOUT, hook=f"{HERE}:stop_second").codes() == [130, 130]
    assert start(cut, store, *DROPOUT).codes() == ranks.codes() == [0, 0]
    assert apart(state_of(cut), state_of(whole)) == 0


def test_dropout_differs_between_the_processes(store, tmp_path):
    """Else two rows that are alike would lose the same units."""
    from audiocraft_ext.training import distributed

    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        for rank, update in ((0, 1), (1, 1), (0, 2), (0, 1)):
            patch.setattr(distributed, "size", lambda: 2)
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            distributed.seed_update(7, update)
            drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 3 and drawn[0] == drawn[3]


@pytest.fixture(scope="module")
def drums(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("drums") / "store"
    midi.main([str(ROOT / "tests/data/groove"), str(path), "--workers", "0", "--valid-share", "0.3", "--codec",
               "drum_hits"])
    return path


@pytest.mark.processes
def test_drums_with_gates_and_prompts(drums, tmp_path):
    recipe = ("transformer_lm.dim=64", "transformer_lm.num_layers=2", "transformer_lm.num_heads=2",
              "transformer_lm.dropout=0", "dataset.batch_size=6", "optim.accumulate=2", "optim.updates_per_epoch=10",
              "optim.epochs=2", "schedule.cosine.warmup=2", "generate.use=false", "optim.optimizer=adamw")
    two = start(tmp_path / "two", drums, *recipe, solver="drums/small")
    one = start(tmp_path / "one", drums, *recipe, solver="drums/small", size=1)
    assert two.codes() + one.codes() == [0, 0, 0], two.text() + one.text()
    assert apart(state_of(tmp_path / "two"), state_of(tmp_path / "one")) < CLOSE


def sleepy(rank: int, folder: Path) -> None:
    """The first process samples for an hour."""
    from audiocraft_ext.training.solver import StreamSolver

    def generate(self):
        if rank == 0:
            (folder / "asleep").touch()
            time.sleep(3600)
        return {}

    StreamSolver.generate = generate


def slow_word(rank: int, folder: Path) -> None:
    """A busy machine: the thread comes late."""
    from audiocraft_ext.training.watch import Watch

    end = Watch._end
    Watch._end = lambda self, line: (time.sleep(0.5), end(self, line))


def training(folder: Path) -> bool:
    return any(read_status(run).get("step", 0) > 20 for run in folder.glob("xps/*"))


@pytest.mark.processes
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("asleep", [False, True])
def test_a_killed_process_ends_the_others_with_a_reason(store, tmp_path, victim, asleep):
    """In the middle of an update, and while all wait for the first."""
    if asleep:
        ranks = start(tmp_path, store, *PLAIN, "generate.use=true", "generate.every=1", hook=f"{HERE}:sleepy")
    else:
        ranks = start(tmp_path, store, *LONG, "checkpoint.save_minutes=1e-9", hook=f"{HERE}:slow_word")
    wait_until(lambda: (tmp_path / "asleep").exists() if asleep else training(tmp_path), ranks)
    time.sleep(0.5)
    ranks.processes[victim].kill()
    time.sleep(0.1)
    ranks.processes[1 - victim].terminate()  # as Dora's launcher does
    codes = ranks.codes(timeout=20)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1
    said = ranks.logs[1 - victim].read_text()
    assert f"process {victim} is gone" in said and "Traceback" not in said
    assert ("No checkpoint was written yet" if asleep else "checkpoint.th; the same command goes on") in said
    (run_folder,) = tmp_path.glob("xps/*")
    status = read_status(run_folder)
    assert status["state"] == "failed" and f"process {victim} is gone" in status["error"]


def wait_until(done, ranks: Ranks | None = None, timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < end, ranks and ranks.text()
        time.sleep(0.05)


@pytest.mark.processes
def test_when_the_launcher_is_killed_its_processes_stop_by_themselves(store, tmp_path):
    ranks = start(tmp_path, store, *LONG, launcher=True)
    wait_until(lambda: training(tmp_path), ranks)
    (launcher,) = ranks.processes
    workers = children(launcher.pid)
    assert len(workers) == 2
    launcher.kill()
    wait_until(lambda: not any(map(alive, workers)), ranks)
    (run_folder,) = tmp_path.glob("xps/*")
    assert read_status(run_folder)["state"] == "stopped" and state_of(tmp_path)["progress"]["step"] > 20


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def stop_asleep(rank: int, folder: Path) -> None:
    """Ctrl-C, which reaches all, and is passed on by a launcher, while the first process samples."""
    from audiocraft_ext.training.solver import StreamSolver

    write = StreamSolver.generate

    def generate(self):
        if rank == 0:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return write(self)

    StreamSolver.generate = generate


@pytest.mark.processes
def test_ctrl_c_while_the_first_samples(store, tmp_path):
    ranks = start(tmp_path, store, *PLAIN, "generate.use=true", "generate.every=1", hook=f"{HERE}:stop_asleep")
    assert ranks.codes() == [130, 130], ranks.text()
    assert state_of(tmp_path)["progress"]["step"] == 5 and not list(tmp_path.glob("xps/*/samples/*/*.wav"))


def full_disk(rank: int, folder: Path) -> None:
    from audiocraft_ext.core.errors import UserError

    def save(state, path):
        raise UserError(f"{path}: no space left")

    checkpoint.save = save


@pytest.mark.processes
def test_an_error_of_one_process_is_everybodys_end(store, tmp_path):
    ranks = start(tmp_path, store, *PLAIN, hook=f"{HERE}:full_disk")
    assert ranks.codes() == [2, 1], ranks.text()
    assert "error: " in ranks.logs[0].read_text() and "no space left" in ranks.logs[0].read_text()
    assert "process 0 ended" in ranks.logs[1].read_text() and "no space left" in ranks.logs[1].read_text()
    (run_folder,) = tmp_path.glob("xps/*")
    assert "process 0" not in read_status(run_folder)["error"]


def requeued(rank: int, folder: Path) -> None:
    """submitit's handler: the first process asks for the run to be started again, and ends."""
    def handler(number, frame):
        (folder / f"requeued_{rank}").touch()
        if rank == 0:
            time.sleep(1)
            sys.exit(-1)

    signal.signal(signal.SIGUSR2, handler)
    if rank == 1:
        at_update(7, lambda: os.kill(os.getpid(), signal.SIGUSR2))


@pytest.mark.processes
def test_tasks_of_a_cluster_are_requeued_together(store, whole, tmp_path):
    def task(rank: int) -> dict:
        return dict(SUBMITIT_EXECUTOR="slurm", SLURM_JOB_ID="7", SLURM_NTASKS="2", SLURM_JOB_NUM_NODES="1",
                    SLURM_NODEID="0", SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank),
                    SLURM_JOB_NODELIST="localhost", RANK=str(rank))  # the last is Dora's doing

    ranks = start(tmp_path, store, *PLAIN, env=[task(0), task(1)], hook=f"{HERE}:requeued")
    assert ranks.codes() == [255, 0], ranks.text()
    assert (tmp_path / "requeued_0").exists() and state_of(tmp_path)["progress"]["step"] == 2
    assert start(tmp_path, store, *PLAIN, env=[task(0), task(1)]).codes() == [0, 0]
    assert apart(state_of(tmp_path), whole) < CLOSE


def little_memory(rank: int, folder: Path) -> None:
    from audiocraft_ext.training import memory

    note_windows(rank, folder)
    memory.available_bytes = lambda device: (32 if rank else 2) * memory.GIB
    memory.largest_batch = lambda *args, free, **kwargs: int(free / memory.GIB) * 3


@pytest.mark.processes
def test_a_batch_that_is_chosen_is_one_for_all(store, tmp_path):
    recipe = (*PLAIN, "dataset.batch_size=auto", "optim.epochs=1")
    ranks = start(tmp_path, store, *recipe, hook=f"{HERE}:little_memory")
    assert ranks.codes() == [0, 0], ranks.text()
    (chosen,) = tmp_path.glob("xps/*/auto_batch_size")
    assert chosen.read_text() == "6"  # two share the 2 GiB that the first one sees: 3 clips each
    assert windows(tmp_path) == Counter((1, index) for index in range(5 * 6))
    assert checkpoint.config_of(state_of(tmp_path))["dataset"]["batch_size"] == 6


@pytest.mark.processes
def test_a_batch_that_cannot_be_divided_is_refused(store, tmp_path):
    ranks = start(tmp_path, store, *PLAIN, "dataset.batch_size=5")
    assert ranks.codes() == [2, 2]  # both say it, and neither the other's
    assert "dataset.batch_size=5 must be a multiple of the 2 processes" in ranks.logs[0].read_text()


@pytest.mark.processes
def test_a_port_that_is_taken_is_refused(store, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                     MASTER_PORT=str(taken.getsockname()[1]))
        ranks = start(tmp_path, store, *PLAIN, env=[first])
        assert ranks.codes() == [2]
    last = ranks.logs[0].read_text().splitlines()[-1]
    assert last.startswith("error: the 2 processes cannot meet at 127.0.0.1:") and "set MASTER_PORT" in last


@pytest.mark.processes
def test_folders_that_not_all_see_are_found_out(store, stopped, tmp_path):
    """The checkpoint is on one machine's disk only."""
    shutil.copytree(stopped, tmp_path / "run")
    ranks = start(tmp_path / "run", store, *PLAIN, hook=f"{HERE}:blind")
    assert ranks.codes() == [2, 2]
    assert "start from different states (updates 0 to 7)" in ranks.logs[0].read_text()


def blind(rank: int, folder: Path) -> None:
    from audiocraft_ext.training.solver import StreamSolver

    if rank == 1:
        StreamSolver.checkpoint_path = lambda self, **kwargs: self.folder / "elsewhere.th"


@pytest.mark.processes
def test_both_launchers(store, tmp_path):
    """`dora run -d`, of which a process is killed; torchrun goes on, and is stopped by Ctrl-C."""
    argv = ["run", "solver=musicgen/debug", f"datasource.store={store}", "logging.log_tensorboard=false", *LONG,
            "checkpoint.save_minutes=1e-9"]
    module = ["-m", "dora", "-P", "audiocraft_ext"]
    env = {**os.environ, "MICRO_OUTPUTS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    dora = [sys.executable, *module, "run", "-d", "--ddp_workers", "2", *argv[1:]]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *module, *argv]

    def updates() -> int:
        return state_of(tmp_path)["progress"]["step"] if list(tmp_path.glob("xps/*/checkpoint.th")) else 0

    def launch(command: list[str], log: str):
        before = updates()
        with (tmp_path / log).open("w") as out:
            process = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=ROOT, start_new_session=True)
        end = time.monotonic() + 200
        while updates() <= before:
            assert time.monotonic() < end and process.poll() is None, (tmp_path / log).read_text()
            time.sleep(0.1)
        workers = children(process.pid)
        assert len(workers) == 2
        return process, workers

    process, workers = launch(dora, "killed")
    os.kill(workers[1], signal.SIGKILL)
    assert process.wait(60) == 1
    wait_until(lambda: not any(map(alive, workers)))
    assert "process 1 is gone" in (tmp_path / "killed").read_text()

    process, workers = launch(torchrun, "ctrl-c")
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    wait_until(lambda: not any(map(alive, workers)))
    (run_folder,) = tmp_path.glob("xps/*")
    assert read_status(run_folder)["state"] == "stopped"
    assert "The same command goes on from it" in (tmp_path / "ctrl-c").read_text()
