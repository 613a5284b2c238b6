"""What the numbers were taken on, how a time is taken, and where results go: for every benchmark."""

from __future__ import annotations

import json
import mmap
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from audiocraft_ext.core.files import write
from audiocraft_ext.core.machine import physical_cores

ROOT = Path(__file__).resolve().parents[2]
Spread = dict[str, float]  # min, median and max


def describe(*packages: str, threads: int | None = None) -> dict[str, str]:
    """Processor, cores, memory, the threads that were used (by default one per core), versions of ``packages``."""
    return {"processor": _processor(), "cores": str(physical_cores()), "threads": str(threads or physical_cores()),
            "memory": _memory(), "system": platform.platform(terse=True), "python": platform.python_version(),
            **{package: _version(package) for package in packages}}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def spread(values: Iterable[float]) -> Spread:
    """Min, median and max."""
    values = list(values)
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def timed(work: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> Spread:
    """Wall seconds of ``work``, ``repeats`` times after ``warm_up``."""
    for _ in range(warm_up):
        work()
    return in_turn({"": work}, repeats)[""]


def in_turn(works: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, Spread]:
    """Wall seconds of each, one after the other and ``repeats`` times over: a machine that slows down, slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: spread(s) for name, s in seconds.items()}


def read_bandwidth(size: int, threads: int, huge: bool, repeats: int = 15) -> float:
    """Bytes a second at which ``threads`` threads of numpy read ``size`` bytes, the best of three readers.

    Args:
        huge: ask for pages of 2 MB, as numpy does for its own arrays; else refuse them, as a file mapped from the disk
            has none. Ordinary pages cost a look-up every 4 KB. Where the system has no such choice it is passed over.
    """
    import numpy as np

    buffer = mmap.mmap(-1, size, **({"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}))
    advice = getattr(mmap, "MADV_HUGEPAGE" if huge else "MADV_NOHUGEPAGE", None)
    if advice is not None:
        try:
            buffer.madvise(advice)
        except OSError:  # a kernel without them
            pass
    array = np.frombuffer(buffer, np.float32)
    array[:] = 1.0  # a page that was never written is not there
    parts = np.array_split(array, threads)
    readers = (np.max, lambda x: np.dot(x, x), lambda x: np.bitwise_or.reduce(x.view(np.uint32)))
    with ThreadPoolExecutor(threads) as pool:
        best = min(timed(lambda read=read: list(pool.map(read, parts)), repeats)["min"] for read in readers)
    return array.nbytes / best


def row(name: str, values: Iterable[str], width: int = 44) -> str:
    """A line of a table."""
    return f"{name:<{width}}" + "".join(f"{value:>9}" for value in values)


def numbers(s: Spread, scale: float = 1.0, digits: int = 2) -> list[str]:
    """A spread for :func:`row`."""
    return [f"{s[key] * scale:.{digits}f}" for key in ("min", "median", "max")]


def finish(name: str, machine: dict[str, str], results: dict, save: Path | None = None) -> None:
    """The machine, and everything once more as one JSON line.

    Args:
        save: a JSON file of the results of many benchmarks; this one's place in it is written anew.
    """
    print("  ".join(f"{key} {value}" for key, value in machine.items()))
    record = {"benchmark": name, "machine": machine, "results": results}
    print(json.dumps(record))
    if save is not None:
        there = json.loads(save.read_text("utf-8")) if save.is_file() else {}
        there[name] = record | {"date": time.strftime("%Y-%m-%d")}
        save.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in there.items())
        write(save, f"{{\n{lines}\n}}\n")  # a line each
