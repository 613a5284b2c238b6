"""What the numbers were taken on, for every benchmark's output."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from audiocraft_ext.machine import physical_cores


def describe(*packages: str) -> dict[str, str]:
    """Processor, cores and the versions of ``packages``."""
    model = platform.processor() or platform.machine()
    try:
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return {"processor": model, "cores": str(physical_cores()), "python": platform.python_version(),
            **{package: version(package) for package in packages}}


def timed(work: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> dict[str, float]:
    """Wall seconds of ``work``: min, median and max of ``repeats`` after ``warm_up``."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds)}


def finish(name: str, machine: dict[str, str], results: dict) -> None:
    """The machine, and everything once more as one JSON line."""
    print("  ".join(f"{key} {value}" for key, value in machine.items()))
    print(json.dumps({"benchmark": name, "machine": machine, "results": results}))
