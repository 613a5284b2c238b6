"""A run that is slow says so once a minute at least, and within its first."""

import logging
import time

import pytest

from audiocraft_ext.training import progress
from audiocraft_ext.training.progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        time = staticmethod(time.time)

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.mark.parametrize("seconds", [0.5, 7, 29, 30, 31, 59])
def test_there_is_a_line_a_minute(seconds, clock, caplog):
    bar = TrainingProgress(logging.getLogger("slow"), range(400), updates=10, total=400)
    told = [0.0]
    with caplog.at_level(logging.INFO):
        for _ in bar:
            told += [clock.now] * len(caplog.records)
            caplog.clear()
            clock.now += seconds
            bar.update(ce=1.0)
    gaps = [later - before for before, later in zip(told, told[1:])]
    assert max(gaps) <= 60 and told[1] <= 60


def test_of_a_long_update_there_is_a_line_meanwhile(clock, caplog):
    bar = TrainingProgress(logging.getLogger("slow"), range(4), updates=1, total=4)
    with caplog.at_level(logging.INFO):
        for n, _ in enumerate(bar):
            for _ in range(30):
                clock.now += 5
                bar.say_that_it_lives()
            bar.update(ce=1.0)
            assert len([r for r in caplog.records if "is under way for" in r.message]) >= 2 * (n + 1)


def test_nothing_watches_a_loop_that_is_over(clock, monkeypatch):
    bar = TrainingProgress(logging.getLogger("slow"), range(3), total=3)
    assert list(bar) == [0, 1, 2] and bar._over.is_set()
