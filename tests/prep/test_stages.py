"""Hearing with workers that crash, hang and swell: each costs one file, and the next run knows."""

from __future__ import annotations

import os
import signal
import time

import pytest

from audiocraft_ext.sound.files import BrokenAudio
from data_prep.audio import stages
from data_prep.audio.analysis.analyse import Task
from data_prep.audio.analysis.facts import Facts, FactsFile, Refused
from data_prep.audio.stages import Limits
from tests.prep.test_facts import facts

LIMITS = Limits(workers=2, seconds=3, seconds_per_mb=0, memory=300 << 20)


def ear(task: Task) -> Facts:
    """A decoder that does what the name of its file says."""
    if "crash" in task.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in task.name:
        time.sleep(1000)
    if "swell" in task.name:
        bytearray(1 << 40)
    if "odd" in task.name:
        raise ValueError(f"{task.path}: cannot reshape 0 elements")
    if "broken" in task.name:
        raise BrokenAudio(f"{task.path}: truncated")
    return facts(task.name, size=task.size, mtime_ns=task.mtime_ns)


def task(name: str) -> Task:
    return Task(f"/music/{name}", name, 100, 5, 32_000)


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    path = tmp_path_factory.mktemp("heard") / "facts.sqlite"
    names = [f"{n}.wav" for n in range(8)] + ["crash.wav", "hang.wav", "swell.wav", "odd.wav", "broken.wav"]
    with FactsFile(path, "x") as known:
        stages.analyse_all([task(name) for name in names], known, LIMITS, ear)
    return path


@pytest.mark.parametrize("name, reason", [("crash.wav", "crashed (signal 11)"), ("hang.wav", "took longer than 3 s"),
                                          ("swell.wav", "needed more than"), ("odd.wav", "cannot reshape 0 elements"),
                                          ("broken.wav", "truncated")])
def test_each_costs_one_file_and_is_remembered(heard, name, reason):
    with FactsFile(heard, "x") as known:
        why = known.get(name, 100, 5)
        assert isinstance(why, Refused) and reason in why.reason and "/music" not in why.reason
        assert all(isinstance(known.get(f"{n}.wav", 100, 5), Facts) for n in range(8))


def test_only_what_may_pass_is_tried_again(heard):
    with FactsFile(heard, "x") as known:
        known.forget_passing()
        assert [name for name in ("crash.wav", "hang.wav", "odd.wav", "broken.wav")
                if known.knows(name, 100, 5)] == ["broken.wav"]
