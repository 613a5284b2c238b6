"""Runs on this machine: a queue over slots, kept by a process of its own; real processes, killed where it hurts."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from dora import Explorer
from dora import grid as dora_grid
from dora.conf import SubmitRules

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty
from audiocraft_ext.model import checkpoint
from audiocraft_ext.runs.record import read_status
from audiocraft_ext.sweep import keeper, local, process, shepherd
from audiocraft_ext.sweep.job import LocalJob
from audiocraft_ext.sweep.options import OPTIONS
from audiocraft_ext.sweep.queue import Queue
from audiocraft_ext.sweep.slots import describe, slots, visible_gpus
from audiocraft_ext.train import main
from tests.helpers.programs import fork
from tests.helpers.runs import run
from tests.helpers.stores import make_store
from tests.helpers.sweep_jobs import Job

pytestmark = pytest.mark.early
RECIPE = ("transformer_lm.dropout=0.1", "optim.updates_per_epoch=40", "optim.epochs=2", "generate.use=false",
          "checkpoint.save_minutes=1e-9")  # a checkpoint before every update: a kill loses nothing that was said
PATIENCE_S = 240
ROOT = Path(__file__).resolve().parents[2]


def wait(until: Callable[[], object], what: str) -> None:
    """Poll; machines that run tests are slow at times."""
    end = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


# The keeper by itself, with jobs that are done in a moment.


def entry(folder: Path, *argv: str, jobs: Path | None = None) -> dict:
    return {"folder": str(folder), "jobs": str(jobs or folder / "submitit"), "by_id": str(folder.parent / "by_id"),
            "argv": [f"trace={folder}.trace", *argv], "cwd": str(folder.parent), "environ": {}, "since": 1.0}


def keep(folder: Path, runs: dict[str, dict], stop=(), retries: int = 1, places: int = 2) -> None:
    """What ``dora grid`` does, with a keeper in this process, to the end."""
    (folder / "by_id").mkdir(exist_ok=True)
    queue = Queue(folder / "queue")
    queue.folder.mkdir(exist_ok=True)
    for one in runs.values():
        with contextlib.suppress(OSError):
            Path(one["folder"]).mkdir(exist_ok=True)
            local.write_json(Path(one["folder"]) / local.NOTE, {"state": "PENDING", "queue": str(queue.folder)})
    local.write_json(queue.folder / "queue.json", {"main": "", "slots": slots(places, [], 2), "retries": retries,
                                                   "runs": runs, "stop": list(stop)})
    keeper.Keeper(queue.folder).run()


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A queue of every sort of run, after its keeper has ended."""
    folder = tmp_path_factory.mktemp("kept")
    runs = {name: entry(folder / name, *argv) for name, argv in {
        "long": ["sleep=2"], "wrong": ["exit=2", "say=error: optim.lr is wrong"], "crash": ["die=9"],
        "once": ["die=1"], "stopped": ["exit=130"], "other": ["sleep=0.5"], "unwanted": []}.items()}
    runs["blocked"] = entry(folder / "blocked", jobs=folder / "file" / "jobs")  # as on a disk that takes no more
    runs["gone"] = entry(folder / "file" / "gone")  # not even its state can be written
    (folder / "file").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper, "Target", Job)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(folder)
        keep(folder, runs, stop=["unwanted"])
    return folder


def test_no_more_runs_at_a_time_than_slots(kept):
    lines = [line.split() for trace in kept.glob("*.trace") for line in trace.read_text().splitlines()]
    spans = [(float(begin), float(end)) for _, _, begin, end in lines]
    assert len(spans) == 8  # long, wrong, crash twice, once twice, stopped, other
    most = max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)
    assert most <= 2
    assert {line[0] for line in lines} == {"1"}  # two cores among two


@pytest.mark.parametrize("name, state, tries, reason", [
    ("long", "COMPLETED", 1, None),
    ("other", "COMPLETED", 1, None),
    ("once", "COMPLETED", 2, None),
    ("wrong", "FAILED", 1, "optim.lr is wrong"),
    ("crash", "FAILED", 2, "ended without a word (killed? out of memory?); "),
    ("stopped", "NODE_FAIL", 1, "somebody stopped it"),
    ("blocked", "FAILED", 1, "could not be started: "),
    ("unwanted", "CANCELLED", 0, None),
])
def test_how_each_ends(kept, name, state, tries, reason):
    job, note = LocalJob(kept / name), local.read(kept / name)
    assert job.get_state(job.job_id) == state and job.is_done() and note["tries"] == tries
    assert (job.reason or "").startswith(reason or "") and bool(job.reason) == bool(reason)


def test_the_queue_goes_on_past_a_run_whose_folder_takes_nothing(kept):
    log = (kept / "queue" / "log").read_text() if (kept / "queue" / "log").exists() else ""
    assert "gone" not in {path.name for path in kept.iterdir()} and not log
    assert not (kept / "queue" / "keeper.json").exists()


def test_a_job_is_found_by_its_number(kept):
    number = local.read(kept / "long")["job_id"]
    assert (kept / "by_id" / number).resolve() == kept / "long"
    assert (kept / "long" / "submitit" / f"{number}_0_log.out").exists()


def test_interrupted_runs_are_not_taken_for_running_ones(tmp_path):
    """A number that came again does not count, and what somebody finished elsewhere is done."""
    queue = tmp_path / "queue"
    queue.mkdir()
    me = process.identity()
    local.write_json(tmp_path / local.NOTE, {"state": "RUNNING", "process": me | {"started": "1"}, "queue": str(queue)})
    assert local.state_of(tmp_path) == "NODE_FAIL"
    local.write_json(queue / "keeper.json", me)
    assert local.state_of(tmp_path) == "RUNNING"
    (queue / "keeper.json").unlink()
    (tmp_path / "status.json").write_text('{"state": "finished"}')
    assert local.state_of(tmp_path) == "COMPLETED"
    (tmp_path / local.NOTE).unlink()
    assert local.state_of(tmp_path) == "COMPLETED"
    (tmp_path / "status.json").unlink()
    assert local.state_of(tmp_path) is None


def test_another_machine_is_heard_and_never_signalled(tmp_path, monkeypatch):
    """Also this machine, under the name that it had before."""
    queue, other = tmp_path / "queue", process.identity() | {"host": "other"}
    queue.mkdir()
    local.write_json(tmp_path / local.NOTE, {"state": "RUNNING", "process": other, "queue": str(queue), "job_id": "7"})
    assert local.state_of(tmp_path) == "NODE_FAIL"
    local.write_json(tmp_path / "status.json", {"state": "training", "updated": time.time()})
    assert local.state_of(tmp_path) == "RUNNING" and LocalJob(tmp_path).elsewhere == "other"
    local.write_json(tmp_path / "status.json", {"state": "training", "updated": time.time() - 2 * process.OLD_S})
    assert local.state_of(tmp_path) == "NODE_FAIL"
    local.write_json(queue / "keeper.json", other)
    assert local.state_of(tmp_path) == "RUNNING"
    with pytest.raises(UserError, match="is kept on other"):
        Queue(queue).add({}, "", [], 1)
    os.utime(queue / "keeper.json", (0, 0))
    assert local.state_of(tmp_path) == "NODE_FAIL" and Queue(queue).keeper() is None

    monkeypatch.setattr(process.os, "kill", lambda *signal: killed.append(signal))
    killed = []
    one = keeper.Run.of("sig", entry(tmp_path) | {"since": 1.0})
    one.began = time.time()
    assert one.alive()
    one.press()
    assert not killed
    process.send(process.identity() | {"started": "1"}, 2)
    assert not killed
    one.process, one.pressed = process.identity(), -9.0
    one.press()
    assert killed == [(os.getpid(), signal.SIGTERM)]


def test_a_stop_has_an_end(tmp_path, monkeypatch):
    local.write_json(tmp_path / local.NOTE, {"state": "RUNNING", "process": process.identity(), "queue": "/none"})
    monkeypatch.setattr(shepherd, "LIMIT_S", 0.2)
    with pytest.raises(UserError, match=f"not stopped after .*: {tmp_path}; see /none/log"):
        shepherd.stop([LocalJob(tmp_path)], (said := []).append)
    assert said == ["Stopping 1 run; what trains writes a checkpoint first"]
    monkeypatch.setattr(shepherd.time, "sleep", lambda s: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="they stop by themselves"):
        shepherd.stop([LocalJob(tmp_path)], said.append)


def test_a_keeper_that_is_killed_leaves_its_runs_to_the_next(tmp_path, monkeypatch):
    """A run goes on without it and is not begun again, and what was waiting has its turn."""
    monkeypatch.setattr(keeper, "Target", Job)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    runs = {"one": entry(tmp_path / "one", "sleep=4"), "two": entry(tmp_path / "two")}
    first = fork(tmp_path, lambda: keep(tmp_path, runs, places=1))
    wait(lambda: list(tmp_path.glob("one/submitit/*_process.json")), "the first run begins")
    first.send(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    (note,) = tmp_path.glob("one/submitit/*_process.json")
    run = json.loads(note.read_text())
    assert process.alive(run) and local.read(tmp_path / "two")["state"] == "PENDING"
    keeper.Keeper(tmp_path / "queue").run()
    assert [LocalJob(tmp_path / name).state for name in ("one", "two")] == ["COMPLETED"] * 2
    assert [local.read(tmp_path / name)["tries"] for name in ("one", "two")] == [1, 1]
    (line,) = (tmp_path / "one.trace").read_text().splitlines()
    assert int(line.split()[1]) == run["pid"]


def test_a_full_disk_leaves_the_keeper_alive(tmp_path, monkeypatch):
    """The log is on it, too."""
    monkeypatch.setattr(keeper, "Target", Job)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        keep(tmp_path, {"one": entry(tmp_path / "one")})
        with contextlib.suppress(OSError):
            full.close()
    assert LocalJob(tmp_path / "one").state == "COMPLETED"


def test_a_keeper_that_was_killed_is_followed_by_another(store, outputs, monkeypatch):
    """Also when nothing is new; where all is done there is none."""
    started = []
    monkeypatch.setattr(Queue, "_start_keeper", lambda self: started.append(self.folder.name))
    go(store, monitor=False)
    for argv in argvs(store):
        run = outputs / "xps" / main.get_xp(argv).sig
        local.write_json(run / local.NOTE, local.read(run) | {"state": "RUNNING", "process": process.identity()})
    started.clear()
    go(store, monitor=False)
    assert started == ["two"]
    for argv in argvs(store):
        run = outputs / "xps" / main.get_xp(argv).sig
        local.write_json(run / local.NOTE, local.read(run) | {"state": "COMPLETED"})
    go(store, monitor=False)
    assert started == ["two"]


def test_slots(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-ab")
    assert visible_gpus(2) == ["5", "GPU-ab"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus(2) == ["0", "1"] and visible_gpus(0) == []
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(3, ["0", "1"], 8)] == ["0", "1", "0"]
    assert slots(None, [], 8) == [{"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}] * 8
    assert {slot["OMP_NUM_THREADS"] for slot in slots(3, [], 8)} == {"2"}
    assert describe(slots(3, [], 8)) == "3 runs at a time on the CPU, 2 threads each"
    assert describe(slots(None, ["0", "1"], 8)) == "2 runs at a time on GPU 0, 1"


# Dora's command with real runs.


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store", {"a": 400, "b": 200}, {"v": 120}, loop=20).path


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where this test's runs are kept; none outlives it."""
    folder = tmp_path / "outputs"
    monkeypatch.setattr(main.dora, "dir", folder)
    monkeypatch.setenv("MICRO_OUTPUTS", str(folder))
    monkeypatch.chdir(tmp_path)
    for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(OPTIONS, "local", True)
    monkeypatch.setattr(OPTIONS, "slots", 2)
    yield folder
    for note in folder.glob("local/*/keeper.json"):
        kill(json.loads(note.read_text()))
    for note in folder.glob("xps/*/submitit/*_process.json"):
        kill(json.loads(note.read_text()))


def kill(who: dict) -> None:
    if process.alive(who) and who["pid"] != os.getpid():
        os.kill(who["pid"], signal.SIGKILL)


def argvs(store: Path) -> list[list[str]]:
    """Of the two runs of the grid below."""
    base = ["solver=musicgen/debug", f"datasource.store={store}", "logging.log_tensorboard=false", *RECIPE]
    return [[*base, f"optim.lr={lr}"] for lr in ("0.001", "0.002")]


def go(store: Path, retry: bool = False, runs=None, **options) -> list:
    """``dora grid two``, with the exit code left aside."""
    @Explorer
    def explorer(launcher):
        for argv in argvs(store) if runs is None else runs:
            launcher.bind(argv)()

    args = dora_grid.RunGridArgs(silent=True, **options)
    return dora_grid.run_grid(main, explorer, "two", SubmitRules(retry=retry), None, args)


class Terminal:
    """``dora`` with arguments in a terminal of its own; a fork of this process, which has imported everything."""

    def __init__(self, *argv: str):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            code = 1
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
                sys.argv = ["dora", *argv]
                from audiocraft_ext.sweep import cli

                cli.main()
            except SystemExit as end:
                code = end.code or 0
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                os._exit(code)
        self.text = ""

    def read(self, until: str) -> str:
        def seen() -> bool:
            if select.select([self.fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
            return until in self.text

        wait(seen, f"{until!r} in {self.text[-2000:]!r}")
        return self.text

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """The exit code; reads on, else the command would wait for us."""
        def over() -> bool:
            if select.select([self.fd], [], [], 0)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
            pid, self.status = os.waitpid(self.pid, os.WNOHANG)
            return bool(pid)

        wait(over, "the end of dora")
        return os.waitstatus_to_exitcode(self.status)


def trainer(folder: Path) -> dict:
    """The process that trains the run, once it does."""
    def training() -> bool:
        note = local.read(folder)
        self = json_or_empty(folder / "submitit" / f"{note.get('job_id')}_process.json")
        status = read_status(folder)
        return bool(self) and status.get("pid") == self["pid"] and status.get("step", 0) > 2

    wait(training, f"{folder} trains")
    return json_or_empty(folder / "submitit" / f"{local.read(folder)['job_id']}_process.json")


@pytest.fixture
def grids(tmp_path, store, monkeypatch):
    """A package with the grid ``two``."""
    package = tmp_path / "some_grids"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "two.py").write_text("from dora import Explorer\n\n\n@Explorer\ndef explorer(launcher):\n"
                                    f"    for argv in {argvs(store)!r}:\n        launcher.bind(argv)()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main.dora, "grid_package", "some_grids")


@pytest.mark.processes
def test_a_grid_whose_runs_keeper_and_terminals_are_killed_ends_as_if_nothing_had_been(store, outputs, grids, capsys):
    """Ctrl-C and no; the terminal closes; kill -9 of a run and of the keeper; Ctrl-C and yes; and to the end."""
    first = Terminal("grid", "two", "--local", "--slots", "2")
    a, b = (outputs / "xps" / main.get_xp(argv).sig for argv in argvs(store))
    first_a, first_b = trainer(a), trainer(b)
    os.kill(first_b["pid"], signal.SIGSTOP)  # it waits for what happens to the other
    first.type("\x03")
    first.read("Stop the 2 runs too? [y/N] ")
    first.type("n\n")
    assert first.end() == 130 and "`dora grid two` comes back" in first.text
    assert process.alive(first_a) and process.alive(first_b)

    second = Terminal("grid", "two", "--local", "--slots", "2")
    second.read("2 running")
    os.close(second.fd)
    os.waitpid(second.pid, 0)
    assert process.alive(first_b)

    os.kill(first_a["pid"], signal.SIGKILL)
    wait(lambda: local.read(a)["tries"] == 2, "it is tried again")
    again = json.loads((outputs / "local" / "two" / "keeper.json").read_text())
    os.kill(again["pid"], signal.SIGKILL)
    second_a = trainer(a)
    os.kill(second_a["pid"], signal.SIGSTOP)
    assert second_a["pid"] != first_a["pid"] and LocalJob(a).state == LocalJob(b).state == "RUNNING"

    third = Terminal("grid", "two", "--local", "--slots", "2")
    third.read("2 running")
    third.type("\x03")
    third.read("Stop the 2 runs too? [y/N] ")
    third.type("y\n")
    third.read("Stopping 2 runs")
    for who in (second_a, first_b):
        os.kill(who["pid"], signal.SIGCONT)
    assert third.end() == 130 and "`dora grid two -r` goes on" in third.text
    assert not process.alive(second_a) and not process.alive(first_b)
    assert LocalJob(a).state == LocalJob(b).state == "CANCELLED"
    assert all(read_status(folder)["state"] == "stopped" for folder in (a, b))

    assert [sheep.state() for sheep in go(store, monitor=False)] == ["CANCELLED"] * 2  # Dora's rule: not by itself
    assert [sheep.state() for sheep in go(store, retry=True)] == ["COMPLETED"] * 2
    for folder, argv in zip((a, b), argvs(store)):
        whole = run(outputs.parent / "whole", store, *argv[2:])
        left, right = (checkpoint.load(path) for path in (folder / "checkpoint.th", whole.checkpoint_path()))
        assert len(left["history"]) == 2 and left["model"].keys() == right["model"].keys()
        assert [key for key in left["model"] if not torch.equal(left["model"][key], right["model"][key])] == []

    main.dora.dir = outputs
    jobs = [local.read(folder)["job_id"] for folder in (a, b)]
    assert [sheep.state() for sheep in go(store)] == ["COMPLETED"] * 2
    assert [local.read(folder)["job_id"] for folder in (a, b)] == jobs  # what is finished is skipped
    show_info(a, jobs[0], store, capsys)


def show_info(folder: Path, job: str, store: Path, capsys) -> None:
    """``dora info``, by settings and by number, and the log."""
    from dora.info import info_action

    ask = dict(from_sig=None, job_id=None, cancel=False, log=False, tail=False, metrics=False, argv=[])
    capsys.readouterr()
    info_action(SimpleNamespace(**ask | {"argv": argvs(store)[0], "metrics": True}), main)
    said = capsys.readouterr().err
    assert f"state=COMPLETED, sid={job}" in said and "Metrics[2]" in said
    info_action(SimpleNamespace(**ask | {"job_id": job, "log": True}), main)
    said = capsys.readouterr()
    assert folder.name in said.err and "Train Summary | Epoch 2" in said.out


def test_two_runs_of_one_signature_are_refused(store, outputs):
    one = [*argvs(store)[0], "generate.every=3"]
    with pytest.raises(UserError, match=r"one and the same \(\w{8}\): .* and .*generate.every=3; .*label=NAME"):
        go(store, runs=[argvs(store)[0], one])
    assert not list(outputs.glob("xps/*"))


def test_data_that_is_not_there_is_refused_before_anything_is_scheduled(store, outputs):
    other = [*argvs(store)[1], "datasource.store=stores/none"]
    with pytest.raises(UserError, match="no such token store: .*stores/none; make one with"):
        go(store, runs=[argvs(store)[0], other])
    assert not list(outputs.glob("xps/*")) and not list(outputs.glob("local/*"))


@pytest.mark.parametrize("setting, words", [
    ("transformer_lm.num_heads=5", "transformer_lm.dim=64 must be even and a multiple of num_heads=5"),
    ("dataset.batch_size=2.5", "dataset.batch_size: expected a whole number from 1 on, or auto, got 2.5"),
    ("optim.lr=nan", "optim.lr: expected a number above 0, got nan"),
    ("seed=-1", "seed: expected a whole number from 0 to .*, got -1"),
    ("optim.adam.betas=[0.9]", r"optim.adam.betas: expected 2 numbers, .*, got \[0.9\]"),
    ("optim.max_norm=-1", "optim.max_norm: expected a number from 0 on, got -1"),
    ("generate.use=maybe", "generate.use: expected true or false, got 'maybe'"),
    ("optim.optimizer=sgd", "optim.optimizer is adamw or .*, got sgd"),
    ("device=tpu", "device is auto or cpu or cuda here, got tpu"),
])
def test_settings_that_do_not_fit_are_refused_before_anything_is_scheduled(setting, words, store, outputs):
    with pytest.raises(UserError, match=rf"the run \w{{8}} \(.*{re.escape(setting)}\): {words}") as refused:
        go(store, runs=[argvs(store)[0], [*argvs(store)[1], setting]])
    assert "\n" not in str(refused.value)
    assert not list(outputs.glob("xps/*")) and not list(outputs.glob("local/*"))


def test_a_folder_that_hydra_would_misread_is_refused(store, outputs, monkeypatch):
    monkeypatch.setattr(main.dora, "dir", outputs / "o ${t}")
    with pytest.raises(UserError, match="set MICRO_OUTPUTS to another folder"):
        go(store)


def test_what_is_no_longer_in_the_grid_is_taken_out_of_the_queue(store, outputs, monkeypatch):
    """Without a keeper, a job stays where it is: what it would do is in the queue's file."""
    monkeypatch.setattr(Queue, "_start_keeper", lambda self: local.write_json(self.folder / "keeper.json",
                                                                              process.identity()))
    monkeypatch.setattr(shepherd, "stop", lambda jobs, log: [job.cancel() for job in jobs])
    first, second = (main.get_xp(argv).sig for argv in argvs(store))
    assert [sheep.state() for sheep in go(store, monitor=False)] == ["PENDING"] * 2
    queue = Queue(outputs / "local" / "two")
    assert list(queue.read()["runs"]) == [first, second] and queue.read()["stop"] == []
    go(store, monitor=False, runs=argvs(store)[1:])
    assert queue.read()["stop"] == [first]
    go(store, monitor=False, cancel=True)
    assert set(queue.read()["stop"]) == {first, second}


def test_coming_back_changes_what_is_asked_for_and_nothing_else(store, outputs, monkeypatch):
    monkeypatch.setattr(Queue, "_start_keeper", lambda self: local.write_json(self.folder / "keeper.json",
                                                                              process.identity()))
    queue = Queue(outputs / "local" / "two")

    def seen(slots: int | None, retries: int | None, runs: list) -> tuple[int, int, int]:
        monkeypatch.setattr(OPTIONS, "slots", slots)
        monkeypatch.setattr(OPTIONS, "retries", retries)
        go(store, monitor=False, runs=runs)
        return len(queue.read()["slots"]), queue.read()["retries"], len(queue.read()["runs"])

    assert seen(3, 5, argvs(store)[:1]) == (3, 5, 1)
    since = queue.read()["runs"]
    assert seen(None, None, argvs(store)) == (3, 5, 2)
    assert seen(1, None, argvs(store)) == (1, 5, 2)
    assert seen(None, 0, argvs(store)) == (1, 0, 2)
    assert since.items() <= queue.read()["runs"].items()


def test_a_run_queued_twice_at_once_is_queued_once(tmp_path, monkeypatch):
    """The second terminal looked before the first had written."""
    monkeypatch.setattr(Queue, "_start_keeper", lambda self: local.write_json(self.folder / "keeper.json",
                                                                              process.identity()))
    queue, run, other = Queue(tmp_path / "queue"), tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    queue.add({"run": entry(run)}, "", [], 1)
    first = queue.read()["runs"]["run"]
    local.write_json(run / local.NOTE, local.read(run) | {"state": "RUNNING", "process": process.identity()})
    queue.add({"run": entry(run), "other": entry(other)}, "", [], 1)
    assert queue.read()["runs"]["run"] == first and local.read(run)["state"] == "RUNNING"
    assert local.state_of(other) == "PENDING"

    keeping = keeper.Keeper(queue.folder)
    keeping.refresh()
    known = keeping.runs["run"]
    queue_file = queue.read()
    queue_file["runs"]["run"]["since"] += 1
    local.write_json(queue.folder / "queue.json", queue_file)
    keeping.refresh()
    assert keeping.runs["run"] is known


def test_a_run_goes_from_one_place_to_the_other(store, outputs, monkeypatch):
    """What is done here is done under Slurm, what runs is left alone, anything else is no job there."""
    monkeypatch.setattr(OPTIONS, "local", False)
    monkeypatch.setattr(shepherd, "is_local", lambda: False)
    herder = shepherd.Shepherd(main, (said := []).append)
    sheep = herder.get_sheep_from_argv(argvs(store)[0])
    folder = main.init_xp(sheep.xp).folder
    rules, slurm = SubmitRules(), main.get_slurm_config()

    def scheduled(state: str) -> bool:
        local.write_json(folder / local.NOTE, {"state": state, "process": process.identity(), "job_id": "7"})
        herder._to_submit.clear()
        herder.maybe_submit_lazy(herder.get_sheep_from_argv(argvs(store)[0]), slurm, rules)
        return bool(herder._to_submit)

    assert not scheduled("COMPLETED") and not said
    assert not scheduled("RUNNING") and "is running on this machine (job 7): left alone" in said[0]
    assert scheduled("FAILED") and scheduled("CANCELLED")
    herder.local = True
    assert not scheduled("FAILED") and not scheduled("COMPLETED")  # here, Dora's rule: -r
    local.write_json(folder / local.NOTE, {"state": "RUNNING", "process": {"pid": 1, "started": "no", "host": ""}})


def test_what_cannot_be_queued_fails_alone(store, outputs):
    """A run folder on a place that takes nothing."""
    first, second = (outputs / "xps" / main.get_xp(argv).sig for argv in argvs(store))
    first.parent.mkdir(parents=True)
    first.symlink_to("/proc/self")
    sheeps = go(store, monitor=False, runs=argvs(store))
    assert [sheep.state() for sheep in sheeps] == ["FAILED", "PENDING"]
    go(store, monitor=False, cancel=True)
    assert LocalJob(second).state == "CANCELLED"
