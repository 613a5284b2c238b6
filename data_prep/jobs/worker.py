"""The inside of a worker process of data_prep/jobs/sandbox.py: its loop, its limits, and its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler

from audiocraft_ext.core.errors import UserError


@dataclass(frozen=True)
class Failure:
    """What a task got instead of a result: why, and whether that may be gone the next time."""

    reason: str
    passing: bool = False


def failure(error: BaseException, memory: int) -> Failure:
    """What an exception is to the one who gave the task; ``memory`` is the limit, 0 for none."""
    if isinstance(error, UserError):
        return Failure(str(error))
    if isinstance(error, MemoryError):
        return Failure(f"needed more than {memory / 1e9:.1f} GB" if memory else "needed more than there is", True)
    if isinstance(error, OSError) and error.strerror:
        return Failure(error.strerror, True)
    return Failure(f"{type(error).__name__}: {error}", True)


def serve(pipe: Connection, work: Callable, setup: Callable | None, setup_args: tuple, memory: int) -> None:
    """Work off what comes through ``pipe`` until it closes: the bytes of a task in, (kind, value, whether it was the
    last) out. The first word is "ready", or "unfit" where ``setup`` failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    _silence_output()
    try:
        if setup:
            setup(*setup_args)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        pipe.send(("unfit", UserError(str(error)) if isinstance(error, UserError) else RuntimeError(text), True))
        return
    born = _held() + memory
    pipe.send(("ready", None, False))
    last = False
    while not last:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            _limit(_held() + memory)
            result = work(ForkingPickler.loads(data))
        except BaseException as error:
            result, last = failure(error, memory), isinstance(error, MemoryError)
        _limit(None)
        last = last or _held() > born  # what it does not give back would be missing for its next tasks
        try:
            answer = ForkingPickler.dumps(("result", result, last))
        except Exception as error:
            answer = ForkingPickler.dumps(("result", failure(error, memory), last))
        pipe.send_bytes(answer)


def _end_with_parent() -> None:
    """When the parent is gone, however it went, so is this process, even in a decoder that never returns."""
    parent = multiprocessing.parent_process().sentinel
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(parent, fcntl.F_SETOWN, os.getpid())  # SIGIO, which ends a process that does not ask for it,
        fcntl.fcntl(parent, fcntl.F_SETFL, fcntl.fcntl(parent, fcntl.F_GETFL) | os.O_ASYNC)  # when the pipe closes
        if connection.wait([parent], 0):
            os._exit(1)
    else:
        threading.Thread(target=lambda: (connection.wait([parent]), os._exit(1)), daemon=True).start()


def _silence_output() -> None:
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _held() -> int:
    """Bytes that count for the memory limit."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/status", "rb") as status:
            return int(status.read().split(b"VmData:")[1].split()[0]) * 1024
    return 0


def _limit(size: int | None) -> None:
    """Let this process hold so many bytes; None is no limit."""
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        size = hard if size is None else size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
