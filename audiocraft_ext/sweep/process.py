"""Which process is meant: a number comes again after a while, a number with the time of its start does not."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path


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


def alive(process: dict | None) -> bool:
    """Whether it still runs. A process of another machine counts as running: nobody here can tell."""
    if not process or process.get("started") is None:
        return False
    if process.get("host") != socket.gethostname():
        return True
    return started(process["pid"]) == process["started"]
