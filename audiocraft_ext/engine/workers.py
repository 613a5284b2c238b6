"""Batches that are sampled beside each other, each by an engine of its own with one thread.

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
    """Nobody waits for it any more."""


def beside(make: Callable[[Engine, Job, Callable[[], None]], Made], jobs: Iterable[Job], engines: list[Engine],
           tell: Callable[[], object] = lambda: None) -> Iterator[Made]:
    """What ``make`` makes of each job, in their order; one more than there are engines is begun ahead.

    Args:
        make: its last argument is to be called often: it raises :class:`Stopped` once the caller has left.
        tell: called now and then while the caller waits, in its thread.
    """
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)
    stop = Event()

    def heed() -> None:
        if stop.is_set():
            raise Stopped

    def run(job: Job) -> Made:
        engine = free.get()
        try:
            heed()
            return make(engine, job, heed)
        finally:
            free.put(engine)

    with ThreadPoolExecutor(len(engines)) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(run, job))
                if len(waiting) > len(engines):
                    yield _result(waiting.popleft(), tell)
            while waiting:
                yield _result(waiting.popleft(), tell)
        finally:
            stop.set()
            for future in waiting:
                future.cancel()


def _result(future: Future[Made], tell: Callable[[], object]) -> Made:
    while not wait([future], EVERY).done:
        tell()
    return future.result()
