"""Work that crashes, hangs, swells, lies or is killed costs its own task and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from benchmarks.prep import mutations
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure, run

pytestmark = pytest.mark.early
ROOT = Path(__file__).parents[3]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_DATA")
GIVEN = None


class Unreadable:
    """Cannot be sent."""

    def __reduce__(self):
        raise TypeError("not to be pickled")


def work(task):
    """Does what it is told."""
    word, *more = task if isinstance(task, tuple) else (task,)
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "exit":
        os._exit(3)
    elif word == "leave":
        sys.exit(4)
    elif word == "sleep":
        time.sleep(more[0])
    elif word == "hang":
        hang(*more)
    elif word == "swell":
        return int(np.ones(more[0], np.uint8)[::4096].sum())
    elif word == "refuse":
        raise UserError("x.wav: too short")
    elif word == "raise":
        raise more[0]
    elif word == "unreadable":
        return Unreadable()
    elif word == "big":
        return np.zeros(more[0], np.uint8)
    elif word == "env":
        return os.environ.get("OMP_NUM_THREADS"), os.getpid()
    elif word == "blocked":
        return int(Path("/proc/self/status").read_text().split("SigBlk:")[1].split()[0], 16)
    elif word == "chatter":
        os.write(1, b"on stdout")
        os.write(2, b"on stderr")
    elif word == "given":
        return GIVEN
    return task


def hang(mark: str = "") -> None:
    """In native code, with the interpreter's lock held."""
    import ctypes

    if mark:
        Path(mark, str(os.getpid())).touch()
    ctypes.PyDLL(None).sleep(60)


def give(what):
    global GIVEN
    if isinstance(what, Exception):
        raise what
    if what == "crash":
        os._exit(5)
    GIVEN = what


def go(tasks, workers: int = 2, seconds: float = 20, memory: int = 2**28, **more) -> list:
    return list(run(work, tasks, workers=workers, seconds=lambda task: seconds, memory=memory, **more))


def test_each_task_gets_its_own_fate():
    """Crashes of all kinds among many good tasks, at two workers: nobody else's fate changes."""
    bad = {"crash": "its decoder crashed (signal 11)", "exit": "exit code 3", "kill": "killed (signal 9)",
           "refuse": "x.wav: too short", "unreadable": "TypeError: not to be pickled", "leave": "SystemExit: 4",
           ("raise", ValueError("no such thing")): "ValueError: no such thing",
           ("raise", OSError(5, "Input/output error")): "Input/output error"}
    tasks = [task for n, word in enumerate(bad) for task in (f"good {n}", word, f"fine {n}")]
    results = go(tasks)
    assert sorted(map(repr, tasks)) == sorted(repr(task) for task, _ in results)
    for task, result in results:
        key = next((word for word in bad if repr(word) == repr(task)), None)
        if key is None:
            assert result == task
        else:
            assert isinstance(result, Failure) and bad[key] in result.reason
            assert result.passing == (task != "refuse")


def test_a_hang_is_ended_and_waiting_does_not_count():
    tasks = [("hang",), *[("sleep", 0.3)] * 8]  # eight after one another take longer than the limit
    started = time.monotonic()
    results = dict(enumerate(result for _, result in go(tasks, seconds=1, ordered=True)))
    assert results[0] == Failure("took longer than 1 s", passing=True)
    assert all(results[n] == ("sleep", 0.3) for n in range(1, 9))
    assert time.monotonic() - started < 8


def test_each_task_has_its_own_time():
    limits = {("sleep", 0.5): 0.1, ("sleep", 0.4): 20}
    results = dict(run(work, limits, workers=1, seconds=limits.get, memory=2**28))
    assert results == {("sleep", 0.5): Failure("took longer than 0.1 s", True), ("sleep", 0.4): ("sleep", 0.4)}


@LINUX
def test_memory_is_limited_and_comes_back():
    """Over the limit fails, under it works as often as one likes, and what a worker keeps is not held against it."""
    tasks = [("swell", 2**29), *[("swell", 2**27)] * 6, ("swell", 2**29), ("swell", 2**20)]
    results = [result for _, result in go(tasks, ordered=True, workers=1)]
    failed = Failure("needed more than 0.3 GB", passing=True)
    assert results == [failed, *[2**27 // 4096] * 6, failed, 2**20 // 4096]


@LINUX
def test_the_limit_is_for_the_work_not_for_sending_its_result():
    assert len(go([("big", 3 * 2**23)], memory=2**25, workers=1)[0][1]) == 3 * 2**23


@LINUX
def test_after_want_of_memory_a_new_worker_goes_on():
    (_, (_, before)), _, (_, (_, after)) = go(["env", ("swell", 2**29), "env"], ordered=True, workers=1)
    assert before != after


KEPT = []


def keep(task):
    KEPT.append(np.ones(2**26, np.uint8))
    return len(KEPT)


@LINUX
def test_a_worker_that_leaks_is_replaced_before_it_hurts():
    results = [result for _, result in run(keep, range(9), workers=1, seconds=lambda t: 20, memory=2**28, ordered=True)]
    assert all(isinstance(result, int) for result in results) and max(results) < 7


def test_the_order_of_tasks_on_request():
    tasks = [("sleep", 0.01 * (n * 7 % 5)) for n in range(20)]
    assert [task for task, _ in go(tasks, ordered=True)] == tasks
    assert sorted(task for task, _ in go(tasks)) == sorted(tasks)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_tasks_are_taken_as_they_are_needed(ordered, workers):
    taken = []
    tasks = ((taken.append(n), ("sleep", 0.1 if n == 0 else 0))[1] for n in range(50))
    for given, _ in enumerate(run(work, tasks, workers=workers, seconds=lambda t: 20, memory=2**28, ordered=ordered,
                                  ahead=5)):
        assert len(taken) <= given + 1 + 5
    assert len(taken) == 50


def test_workers_go_on_while_the_caller_is_busy():
    results = run(work, [("sleep", 0.1)] * 6, workers=1, seconds=lambda t: 20, memory=2**28, ahead=6)
    next(results)
    time.sleep(0.9)
    started = time.monotonic()
    assert len(list(results)) == 5 and time.monotonic() - started < 0.3


def test_large_results_and_none_at_all():
    assert go([]) == []
    assert [len(result) for _, result in go([("big", 2**24)] * 3)] == [2**24] * 3


@pytest.mark.parametrize("workers", [0, 1])
def test_setup(workers):
    assert go(["given"], workers=workers, setup=give, setup_args=("a gift",)) == [("given", "a gift")]
    with pytest.raises(UserError, match="no codec 'x'"):
        go(["given"], workers=workers, setup=give, setup_args=(UserError("no codec 'x'"),))


def test_workers_that_never_start():
    with pytest.raises(RuntimeError, match=r"workers do not start: .*exit code 5"):
        go(["given"], setup=give, setup_args=("crash",))


def test_in_this_process():
    """The same answers without workers, where there are any."""
    tasks = ["good", "refuse", ("raise", ValueError("no")), ("raise", MemoryError())]
    refused, broken = Failure("x.wav: too short"), Failure("ValueError: no", True)
    assert [result for _, result in go(tasks, workers=0)] == [
        "good", refused, broken, Failure("needed more than there is", True)]
    assert go(["env"], workers=0)[0][1][1] == os.getpid()


def test_workers_have_one_thread_and_keep_quiet(capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    results = dict(go(["env", "chatter"]))
    assert results["env"][0] == "1" and results["env"][1] != os.getpid() and os.environ["OMP_NUM_THREADS"] == "7"
    assert capfd.readouterr() == ("", "")


def test_an_early_end_leaves_nobody_behind(tmp_path):
    results = run(work, ["good", ("hang", str(tmp_path)), ("hang", str(tmp_path))], workers=2, seconds=lambda t: 20,
                  memory=2**28)
    assert next(results)[1] == "good"
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    results.close()
    assert not any(alive(int(mark.name)) for mark in tmp_path.iterdir())


def test_a_task_that_no_worker_took_is_given_to_the_next(monkeypatch):
    """One that died between two looks at it."""
    real, refused = sandbox._Worker.give, []

    def give_once(worker, *task):
        if not refused:
            refused.append(task)
            return False
        return real(worker, *task)

    monkeypatch.setattr(sandbox._Worker, "give", give_once)
    assert go(["a", "b", "c"], ordered=True) == [("a", "a"), ("b", "b"), ("c", "c")] and refused


@LINUX
def test_workers_are_deaf_to_ctrl_c_from_their_first_moment():
    """Blocked before they started, not only ignored once they run."""
    (_, mask), = go(["blocked"])
    assert mask & 1 << signal.SIGINT - 1


@POSIX
def test_kills_from_outside_cost_one_task_each(tmp_path):
    """Idle workers too, and both at once."""
    tasks, kills = [("sleep", 0.02)] * 60, 0
    results = run(who, tasks, workers=2, seconds=lambda t: 20, memory=2**28, ahead=2)
    got = []
    for _, result in results:
        got.append(result)
        if len(got) % 10 == 5 and isinstance(result, int):
            time.sleep(0.05)  # now it is idle
            os.kill(result, signal.SIGKILL)
            kills += 1
    assert len(got) == 60 and kills >= 3
    lost = [result for result in got if isinstance(result, Failure)]
    assert len(lost) <= kills and all("signal 9" in failure.reason and failure.passing for failure in lost)


def who(task) -> int:
    time.sleep(task[1])
    return os.getpid()


def test_damaged_files_stop_nothing(tmp_path):
    """What benchmarks/prep/mutations.py does with 500: none hangs, none is a surprise, and the good ones are read."""
    good, bad = mutations.make(tmp_path, 60, seed=1)
    assert len(bad) == 60 and len({path.read_bytes() for path in bad}) > 45
    results = mutations.through_reader(good + bad, 2)
    assert {mutations.outcome(results[path]) for path in good} == {"read"}
    outcomes = [mutations.outcome(results[path]) for path in bad]
    assert set(outcomes) <= {"read", "refused", "too large"} and outcomes.count("refused") > 20


PARENT = """
import sys
from data_prep.jobs.sandbox import run
from tests.prep.jobs.test_sandbox import work
for _ in run(work, [("hang", sys.argv[1])] * 2, workers=2, seconds=lambda task: 100, memory=2**28):
    pass
"""


@POSIX
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_outlives_the_parent(tmp_path, how):
    """Ctrl-C (which all processes of a terminal get), or a parent that is killed, with both workers stuck."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    (os.killpg if how == signal.SIGINT else os.kill)(parent.pid, how)
    _, err = parent.communicate(timeout=5)
    assert err.count("Traceback") == (how == signal.SIGINT), err  # the parent's own
    wait_for(lambda: not any(alive(int(mark.name)) for mark in tmp_path.iterdir()), 3)


def wait_for(what, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
