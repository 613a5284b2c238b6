"""Which process is meant: a number comes again after a while, a number with the time of its start does not."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

OLD_S = 600  # what runs on another machine and has said nothing for so long has probably gone (on this one we look)


def started(pid: int) -> str | None:
    """When the process ``pid`` of this machine was started, in a unit of the system's; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        ps = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True)
        state, _, start = ps.stdout.strip().partition(" ")
        return None if ps.returncode or state.startswith("Z") else start.strip()
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def identity(pid: int | None = None) -> dict:
    """The process ``pid`` (this one), as JSON that :func:`alive` understands on this machine."""
    pid = os.getpid() if pid is None else pid
    return {"pid": pid, "started": started(pid), "host": socket.gethostname()}


def elsewhere(process: dict | None) -> bool:
    """Whether it is one of another machine (or of this one under another name): nobody here can look or signal."""
    return bool(process) and process.get("host") != socket.gethostname()


def alive(process: dict | None, heard: float = 0.0) -> bool:
    """Whether it still runs. One of another machine counts as running while it speaks.

    Args:
        heard: when it was last heard of, in seconds since 1970.
    """
    if not process or process.get("started") is None:
        return False
    if elsewhere(process):
        return time.time() - heard < OLD_S
    return started(process["pid"]) == process["started"]


def send(process: dict | None, number: int) -> None:
    """A signal to it, and to no other that has its number now."""
    if not elsewhere(process) and alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process["pid"], number)
