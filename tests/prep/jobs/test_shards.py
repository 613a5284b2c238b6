"""Jobs run where they should, once each, whatever dies in between: processes of this machine, and a real Slurm's."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiocraft_ext.core.errors import UserError
from data_prep.jobs import executors, shards
from data_prep.jobs.slurm import Slurm

pytestmark = pytest.mark.early
HERE = "tests.prep.jobs.test_shards"
ROOT = Path(__file__).resolve().parents[3]


# --- what the jobs do: `notes` is a folder in which each call leaves a file, so that calls can be counted


def square(notes, x):
    Path(notes, f"{x}.{os.getpid()}").touch()
    return {"x": x, "square": x * x, "where": os.getcwd()}


def slow_square(notes, x):
    time.sleep(0.5)
    return square(notes, x)


def dies_once(notes, x, of):
    first = len(list(Path(notes).glob(f"{x}.*"))) == 0
    square(notes, x)
    if x == of and first:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def hangs_once(notes, x, of):
    first = len(list(Path(notes).glob(f"{x}.*"))) == 0
    square(notes, x)
    if x in of and first:
        time.sleep(300)
    return x


def crashes(notes, x, of):
    square(notes, x)
    if x == of:
        print("about to crash", file=sys.stderr)
        raise RuntimeError("the tape has run out")
    return x


def refuses(notes, x):
    square(notes, x)
    raise UserError("expected a tape, got a record")


def sleeps(seconds):
    time.sleep(seconds)
    return seconds


def sees(variable):
    return os.environ.get(variable)


def not_json():
    return {1, 2}


# --- helpers


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def jobs_of(notes, n=3, **more):
    return [{"notes": str(notes), "x": x, **more} for x in range(n)]


def calls(notes, x):
    return len(list(notes.glob(f"{x}.*")))


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def start(tmp_path, executor, work, jobs):
    """A run in a process (and a process group) of its own."""
    code = ("import json, sys; from pathlib import Path; from audiocraft_ext.core.errors import run_cli;"
            "from data_prep.jobs import shards; work, jobs, executor, folder = sys.argv[1:];"
            "run_cli(lambda: print(json.dumps(shards.run(work, json.loads(jobs), executor=executor,"
            " folder=Path(folder), options={'parallel': 4}))))")
    return subprocess.Popen([sys.executable, "-c", code, f"{HERE}:{work}", json.dumps(jobs), executor,
                             str(tmp_path / "run")], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)


def run(tmp_path, work, jobs, executor="local", **options):
    return shards.run(work, jobs, executor=executor, folder=tmp_path / "run", options={"parallel": 4, **options})


def gone(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def squeue(*options):
    return subprocess.run(["squeue", "--noheader", *options], capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.cluster)])
def executor(request):
    if request.param == "slurm":
        request.getfixturevalue("slurm")
    return request.param


# --- both


def test_results_come_in_the_order_of_the_jobs_and_are_made_once(tmp_path, notes, executor, monkeypatch, capsys):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    first = run(tmp_path, square, jobs_of(notes), executor)
    assert first == [{"x": x, "square": x * x, "where": str(elsewhere)} for x in range(3)]
    assert "jobs: 3 of 3 jobs done, 0 running, 0 waiting, 0 failed" in capsys.readouterr().err
    assert run(tmp_path, square, jobs_of(notes), executor) == first
    assert [calls(notes, x) for x in range(3)] == [1, 1, 1]


def test_a_job_that_dies_is_tried_again(tmp_path, notes, executor, capsys):
    assert run(tmp_path, dies_once, jobs_of(notes, of=1), executor) == [0, 1, 2]
    assert [calls(notes, x) for x in range(3)] == [1, 2, 1]
    assert "1 tried again" in capsys.readouterr().err


def test_a_job_that_always_dies_is_named_with_its_log_and_the_others_are_done(tmp_path, notes, executor):
    with pytest.raises(UserError, match=r"1 of 3 jobs failed.*job 1 died 2 times.*_log\.err: .*the tape has run out"):
        run(tmp_path, crashes, jobs_of(notes, of=1), executor, retries=1)
    assert [calls(notes, x) for x in range(3)] == [1, 2, 1]
    assert sorted(path.name for path in (tmp_path / "run").glob("job-*.json")) == ["job-0.json", "job-2.json"]


def test_ctrl_c_stops_the_jobs_and_the_next_run_goes_on(tmp_path, notes, executor):
    jobs = jobs_of(notes, 3, of=[1, 2])
    process = start(tmp_path, executor, "hangs_once", jobs)
    until(lambda: (tmp_path / "run" / "job-0.json").exists() and calls(notes, 1) and calls(notes, 2))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that run in it
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "1 of 3 jobs are done and stay" in said and "Traceback" not in said
    assert ("cancelled 2 Slurm jobs" if executor == "slurm" else "stopped 2 jobs") in said
    hanging = [int(path.suffix[1:]) for x in (1, 2) for path in notes.glob(f"{x}.*")]
    until(lambda: all(gone(process) for process in hanging))
    assert run(tmp_path, hangs_once, jobs, executor) == [0, 1, 2]
    assert [calls(notes, x) for x in range(3)] == [1, 2, 2]


def test_what_a_job_refuses_is_not_tried_again(tmp_path, notes, executor):
    with pytest.raises(UserError, match="job 0: expected a tape, got a record$"):
        run(tmp_path, refuses, jobs_of(notes, 1), executor)
    with pytest.raises(UserError, match="job 0: expected a tape, got a record$"):  # but the next run asks it again
        run(tmp_path, refuses, jobs_of(notes, 1), executor)
    assert calls(notes, 0) == 2


# --- local


def test_kill_9_takes_the_jobs_along_and_the_next_run_goes_on(tmp_path, notes):
    jobs = jobs_of(notes, 3, of=[1])
    process = start(tmp_path, "local", "hangs_once", jobs)
    until(lambda: (tmp_path / "run" / "job-0.json").exists() and calls(notes, 1))
    process.kill()
    process.wait()
    assert run(tmp_path, hangs_once, jobs) == [0, 1, 2]  # waits for the lock of the job that was left behind
    assert [calls(notes, x) for x in (0, 1)] == [1, 2]
    assert all(gone(int(path.suffix[1:])) for path in notes.iterdir() if path.name.startswith("1."))


def test_two_processes_never_do_the_same_job(tmp_path, notes):
    call = shards.Call(f"{HERE}:slow_square", {"notes": str(notes), "x": 1}, str(tmp_path / "job-0.json"))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=call) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert calls(notes, 1) == 1 and call.outcome()["result"]["square"] == 1


def test_no_more_jobs_at_a_time_than_wanted(tmp_path, notes, monkeypatch):
    original, most = executors.Local.ended, []
    monkeypatch.setattr(executors.Local, "ended",
                        lambda self, running: most.append(len(running)) or original(self, running))
    run(tmp_path, square, jobs_of(notes, 3), parallel=2)
    assert max(most) == 2


def test_another_run_in_the_same_folder_is_refused(tmp_path, notes):
    process = start(tmp_path, "local", "hangs_once", jobs_of(notes, 1, of=[0]))
    until(lambda: calls(notes, 0))
    with pytest.raises(UserError, match="another process is at work"):
        run(tmp_path, hangs_once, jobs_of(notes, 1, of=[0]))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_results_of_other_work_or_other_jobs_do_not_count(tmp_path, notes):
    run(tmp_path, square, jobs_of(notes, 1))
    assert run(tmp_path, dies_once, jobs_of(notes, 1, of=9)) == [0]
    assert run(tmp_path, dies_once, jobs_of(notes, 1, of=8)) == [0]
    (tmp_path / "run" / "job-0.json").write_text("{")
    assert run(tmp_path, dies_once, jobs_of(notes, 1, of=8)) == [0]
    assert calls(notes, 0) == 4


def test_text_from_a_file_name_comes_back_as_it_went(tmp_path, notes):
    odd = os.fsdecode(b"\xff\xe9 \xe2\x82\xac\n")
    assert run(tmp_path, shards.json.dumps, [{"obj": odd}])[0] == json.dumps(odd)


@pytest.mark.parametrize("devices", ["0", None])
def test_jobs_see_the_same_gpus(tmp_path, monkeypatch, devices):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert run(tmp_path, sees, [{"variable": "CUDA_VISIBLE_DEVICES"}]) == [devices]


def test_a_result_that_is_no_json_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="not JSON serializable"):
        run(tmp_path, not_json, [{}], retries=0)
    assert list((tmp_path / "run").glob("job-0.json*")) == [tmp_path / "run" / "job-0.json.lock"]


def test_functions_have_a_name():
    assert shards.name_of(square) == shards.name_of(f"{HERE}:square") == f"{HERE}:square"
    for bad in (lambda: 0, "no_module", ":f", "m:"):
        with pytest.raises(ValueError, match="top level"):
            shards.name_of(bad)


# --- Slurm


def test_without_slurm_that_is_reported(tmp_path, notes, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch on this machine.*--executor local"):
        run(tmp_path, square, jobs_of(notes), "slurm")


def test_slurm_options():
    pairs = ["partition=debug", "time=240", "mem-gb=1.5", "cpus=2", "qos=low", "exclusive"]
    assert executors.slurm_options(pairs) == {"partition": "debug", "time": 240, "mem_gb": 1.5, "cpus": 2,
                                              "sbatch": {"qos": "low", "exclusive": True}}
    assert executors.slurm_options(["mem_gb=2"]) == {"mem_gb": 2.0, "sbatch": {}}
    for bad in ("=x", "qos=", "q s=1", "qos=a\nb", "--qos=a", "array=0-9", "time=soon", "time=0", "mem-gb=nan",
                "cpus=1.5", "job_name=x"):
        with pytest.raises(UserError, match=r"^--slurm"):
            executors.slurm_options([bad])


def test_what_sbatch_refuses_is_one_line(tmp_path, notes, slurm, capfd):
    with pytest.raises(UserError, match="^sbatch: invalid partition specified: nowhere; [^\n]*$"):
        run(tmp_path, square, jobs_of(notes), "slurm", partition="nowhere")
    assert "sbatch" not in capfd.readouterr().err


def test_slurm_options_reach_the_job(tmp_path, slurm):
    options = executors.slurm_options(["partition=debug", "cpus=3", "time=7", "comment=two words"])
    assert run(tmp_path, sees, [{"variable": "SLURM_CPUS_PER_TASK"}], "slurm", **options) == ["3"]
    assert squeue("--states=all", f"--name={name(tmp_path)}", "--format=%l|%k") == "7:00|two words\n"


def name(tmp_path):
    return Slurm(tmp_path / "run", {}).name


def test_a_cancelled_job_is_submitted_again_and_one_that_slurm_starts_again_is_not(tmp_path, notes, slurm):
    """The second as after the loss of its node."""
    process = start(tmp_path, "slurm", "hangs_once", jobs_of(notes, of=[1, 2]))
    until(lambda: calls(notes, 1) and calls(notes, 2))
    ids = json.loads((tmp_path / "run" / "slurm.json").read_text())
    subprocess.run(["scancel", ids["1"]], check=True)
    subprocess.run(["scontrol", "requeue", ids["2"]], check=True)
    out, said = process.communicate(timeout=60)
    assert json.loads(out) == [0, 1, 2] and "1 tried again" in said and "BeginTime" in said
    assert [calls(notes, x) for x in range(3)] == [1, 2, 2]
    after = json.loads((tmp_path / "run" / "slurm.json").read_text())
    assert [after[x] == ids[x] for x in "012"] == [True, False, True]


def test_jobs_left_on_the_cluster_by_kill_9_are_taken_up(tmp_path, notes, slurm):
    jobs = [{"seconds": 3.0 + x} for x in range(2)]
    process = start(tmp_path, "slurm", "sleeps", jobs)
    until(lambda: (tmp_path / "run" / "slurm.json").exists())
    process.kill()
    process.wait()
    before = (tmp_path / "run" / "slurm.json").read_text()
    assert run(tmp_path, sleeps, jobs, "slurm") == [3.0, 4.0]
    assert (tmp_path / "run" / "slurm.json").read_text() == before  # nothing was submitted again
    assert len(squeue("--array", "--states=all", f"--name={name(tmp_path)}").splitlines()) == 2


def test_jobs_on_the_cluster_that_nobody_knows_are_cancelled(tmp_path, notes, slurm):
    (tmp_path / "run").mkdir()
    stray = subprocess.run(["sbatch", "--parsable", f"--job-name={name(tmp_path)}", f"--output={tmp_path}/o",
                            "--wrap=sleep 300"], capture_output=True, text=True, check=True).stdout.strip()
    run(tmp_path, square, jobs_of(notes, 1), "slurm")
    until(lambda: re.match("CANCELLED|COMPLETING", squeue("--states=all", f"--jobs={stray}", "--format=%T")))
