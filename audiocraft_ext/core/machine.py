"""What this machine has."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

UNLIMITED = 1 << 20


def usable_cores() -> int:
    """Logical cores that this process may use: those it is bound to, as far as its control group gives it their time
    (a container's ``--cpus``). More threads than these wait for each other."""
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        bound = os.cpu_count() or 1
    return max(1, min(bound, _quota()))


def at_most_usable(threads: int, name: str, note: Callable[[str], object]) -> int:
    """``threads``, or as many as there are cores for; ``note`` is told then. ``name`` is how they were asked for."""
    if threads <= (cores := usable_cores()):
        return threads
    note(f"note: {name} {threads} is more than the {cores} core{'s' * (cores > 1)} that this process may use, and "
         f"would be slower; {cores} it is")
    return cores


def _quota() -> int:
    """Cores, rounded up, whose time the control group of this process has; very many where there is no limit."""
    least = UNLIMITED
    groups = [line.split(":", 2)[2] for line in _text("/proc/self/cgroup").splitlines() if line.count(":") >= 2]
    for group in {"/", *groups}:
        parts = [part for part in group.split("/") if part and part != ".."]
        for depth in range(len(parts) + 1):
            inner = "".join(f"/{part}" for part in parts[:depth])
            words = _text(f"/sys/fs/cgroup{inner}/cpu.max").split()  # version 2
            words = words or [_text(f"/sys/fs/cgroup/cpu{inner}/cpu.cfs_{name}_us").strip()
                              for name in ("quota", "period")]  # version 1
            if len(words) == 2 and all(word.isdigit() and int(word) for word in words):  # not "max", "-1" or ""
                least = min(least, -(-int(words[0]) // int(words[1])))
    return least


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def physical_cores() -> int:
    """Cores that this process may use, two threads of one core counted once.

    A second thread on a core shares its arithmetic units: matrix products get no faster by it, often slower. Of a Slurm
    job no more than it asked for: not every cluster binds a process to them; of a container no more than its time is
    worth. On macOS and Windows all cores of the machine count; where nothing can be asked, the logical ones do.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return max(1, _cores_elsewhere() or os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text())
        except OSError:
            cores.add(str(cpu))
    asked = int(os.environ.get("SLURM_CPUS_PER_TASK") or len(cores))
    return max(1, min(len(cores), asked, _quota()))


def _cores_elsewhere() -> int | None:
    """Cores of a machine that is not Linux; None where it does not say."""
    try:
        if sys.platform == "darwin":
            return _macos_cores()
        if sys.platform == "win32":
            return _records(_windows_cores())
    except (OSError, ValueError, AttributeError):  # AttributeError: the library has no such function
        pass
    return None


def _macos_cores() -> int:
    """``sysctl hw.physicalcpu``, without a process of its own."""
    count, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    if ctypes.CDLL(None).sysctlbyname(b"hw.physicalcpu", ctypes.byref(count), ctypes.byref(size), None, 0):
        raise OSError("sysctl hw.physicalcpu failed")
    return count.value


def _windows_cores() -> bytes:
    """What ``GetLogicalProcessorInformationEx`` says of ``RelationProcessorCore``: a record for each core."""
    ask, size = ctypes.windll.kernel32.GetLogicalProcessorInformationEx, ctypes.c_uint32(0)
    ask(0, None, ctypes.byref(size))  # fails, and says how much room it needs
    room = ctypes.create_string_buffer(size.value)
    if not ask(0, room, ctypes.byref(size)):
        raise OSError("GetLogicalProcessorInformationEx failed")
    return room.raw[: size.value]


def _records(data: bytes) -> int:
    """How many records there are, each with its own size in its second ``uint32``.

    Raises:
        ValueError: these are no such records.
    """
    at = count = 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size < 8 or at + size > len(data):
            raise ValueError(f"a record of {size} bytes at {at} of {len(data)}")
        at, count = at + size, count + 1
    return count
