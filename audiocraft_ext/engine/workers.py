"""A pool of workers: batches that are sampled in parallel, each by an engine of its own with one thread.

A small model gives two threads too little to do in one step; two engines keep two cores busy. A beat is the same
either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

from audiocraft_ext.engine.engine import Engine

Job, Made = TypeVar("Job"), TypeVar("Made")
EVERY = 0.1  # seconds between two looks at how far they are


class Stopped(Exception):
    """The caller no longer wants the results."""


def in_parallel(make: Callable[[Engine, Job, Callable[[], None]], Made], jobs: Iterable[Job], engines: list[Engine],
                report: Callable[[], object] = lambda: None) -> Iterator[Made]:
    """Yield ``make`` of each job, in order of the jobs; one more job than there are engines is queued.

    Args:
        make: from an engine, a job and ``check_stop``, which it calls often: that raises :class:`Stopped` once the
            caller has left.
        report: called now and then while the caller waits, in its thread.
    """
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)
    stop = Event()

    def check_stop() -> None:
        if stop.is_set():
            raise Stopped

    def run(job: Job) -> Made:
        engine = free.get()
        try:
            check_stop()
            return make(engine, job, check_stop)
        finally:
            free.put(engine)

    with ThreadPoolExecutor(len(engines)) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(run, job))
                if len(waiting) > len(engines):
                    yield _result(waiting.popleft(), report)
            while waiting:
                yield _result(waiting.popleft(), report)
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


def _result(future: Future[Made], report: Callable[[], object]) -> Made:
    while not wait([future], EVERY).done:
        report()
    return future.result()
