"""The two long stages, analysis and encoding, each file in a worker that may fail: here, or in shards elsewhere.

A stage resumes where it was stopped: what was analysed is in the facts file, what was encoded in the store (of a
shard). Nothing here knows what a file holds: the functions that analyse and encode can be any.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tqdm import tqdm

from audiocraft_ext.store.writer import StoreWriter
from data_prep.audio.analysis.analyse import Task, analyse
from data_prep.audio.analysis.facts import Facts, FactsFile, Refused
from data_prep.audio.entries import Entry
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure

BAR = "{desc}: {percentage:3.0f}%|{bar}|{postfix} [{elapsed}<{remaining}]"
AHEAD = 64  # results that may wait for a slow one before them
FLUSH, MUCH = 0.5, 3000  # seconds between two, and the frames that do not wait for that


@dataclass(frozen=True)
class Limits:
    """What one file may take: a number of seconds and so many more for each MB of it, and bytes of memory.

    An hour of sound is 14 MB at the least (MP3 at 32 kbit/s), and is analysed in well under a minute.
    """

    workers: int = 1
    seconds: float = 60.0
    seconds_per_mb: float = 10.0
    memory: int = 2 << 30

    def of(self, size: int) -> float:
        """Seconds for a file of ``size`` bytes."""
        return self.seconds + self.seconds_per_mb * size / 1e6


class Progress:
    """A bar over bytes or seconds, with the hours of sound a minute."""

    def __init__(self, what: str, total: float):
        self._bar = tqdm(total=max(total, 1e-9), desc=what, bar_format=BAR, disable=None, dynamic_ncols=True)
        self._start, self.files, self.hours = time.monotonic(), 0, 0.0

    def add(self, amount: float, seconds: float) -> None:
        """Another file of ``seconds`` of sound is done."""
        self.files += 1
        self.hours += seconds / 3600
        self._bar.set_postfix_str(f"{self.files} files, {self.hours:.2f} h of sound, {self.speed:.2f} h/min", False)
        self._bar.update(amount)

    @property
    def speed(self) -> float:
        """Hours of sound a minute."""
        return self.hours * 60 / max(time.monotonic() - self._start, 1e-9)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def analyse_all(tasks: list[Task], known: FactsFile, limits: Limits,
                work: Callable[[Task], Facts] = analyse) -> None:
    """Analyse every file that is not known yet, and keep what was found."""
    todo = [task for task in tasks if not known.knows(task.name, task.size, task.mtime_ns)]
    if not todo:
        return
    try:
        with Progress("analysis", sum(task.size for task in todo)) as progress:
            for task, result in sandbox.run(work, todo, workers=limits.workers, memory=limits.memory,
                                            seconds=lambda task: limits.of(task.size), ahead=AHEAD):
                known.put(result if isinstance(result, Facts) else refused(task, result))
                progress.add(task.size, result.seconds if isinstance(result, Facts) else 0.0)
    finally:
        known.flush()


def refused(task: Task, failure: Failure) -> Refused:
    """The same as a line about the file, without its path, which everybody knows."""
    return Refused(task.name, task.size, task.mtime_ns, failure.reason.replace(f"{task.path}: ", ""),
                   failure.passing)


def encode(entries: Iterable[Entry], seconds: float, writer: StoreWriter, limits: Limits, rate: int,
           work: Callable[[Entry], list], setup: Callable, setup_args: tuple) -> Iterator[tuple[Entry, Failure]]:
    """Encode every entry that is not in the store yet, and add it, in order.

    Args:
        seconds: of sound that is still to be encoded, for the bar.
        rate: Hz of the entries' positions.

    Yields:
        An entry that could not be encoded, with the reason.
    """
    entries = (entry for entry in entries if not writer.done(entry.name))
    first = next(entries, None)
    if first is None:
        return
    with Progress("encoding", seconds) as progress, Batch(writer) as batch:
        for entry, result in sandbox.run(work, itertools.chain([first], entries), workers=limits.workers,
                                         memory=limits.memory, ordered=True, setup=setup, setup_args=setup_args,
                                         seconds=lambda entry: limits.seconds + 4 * entry.samples / rate, ahead=AHEAD):
            if isinstance(result, Failure):
                yield entry, result
            else:
                batch.add(entry.name, result)
            progress.add(entry.samples / rate, entry.samples / rate)


class Batch:
    """Sources on their way into a store, a few at a time: each time is a wait for the disk."""

    def __init__(self, writer: StoreWriter):
        self._writer, self._waiting, self._frames, self._last = writer, [], 0, -math.inf

    def add(self, source: str, rows: list) -> None:
        self._waiting.append((source, rows))
        self._frames += sum(codes.shape[1] for _, codes, _ in rows)
        if self._frames > MUCH or time.monotonic() - self._last > FLUSH:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._frames = self._waiting, [], 0
        if waiting:
            self._writer.add_sources(waiting)
        self._last = time.monotonic()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
