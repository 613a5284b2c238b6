"""Batches that are sampled beside each other, each by an engine of its own with one thread.

A small model gives two threads too little to do in one step; two engines keep two cores busy. A beat is the same
either way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from audiocraft_ext.engine import Engine

Job, Made = TypeVar("Job"), TypeVar("Made")


def beside(make: Callable[[Engine, Job], Made], jobs: Iterable[Job], engines: list[Engine]) -> Iterator[Made]:
    """What ``make`` makes of each job, in their order; one more than there are engines is begun ahead."""
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)

    def run(job: Job) -> Made:
        engine = free.get()
        try:
            return make(engine, job)
        finally:
            free.put(engine)

    with ThreadPoolExecutor(len(engines)) as pool:
        waiting = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(run, job))
                if len(waiting) > len(engines):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
