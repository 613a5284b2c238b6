"""A Python command that is killed with all that it has started, or gets no more room: for benchmarks."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.common.machine import ROOT

FORK = multiprocessing.get_context("fork")


def run(words: Sequence[str], env: Mapping[str, str], said: Path, *, mark: str, room: int | None = None,
        limit: float | None = None, warm: Sequence[str] = ()) -> int:
    """``python *words`` in a session of its own; nothing of it is left when this returns.

    Args:
        env: more variables of its environment.
        said: where its stderr goes.
        mark: the variable of ``env`` that tells its processes from all others, also those that left its session.
        room: bytes that a file may have; a write beyond fails as on a full disk.
        limit: seconds until it is killed.
        warm: modules that are imported first, in this process; the command, ``-m`` and a module, is a fork of it.

    Returns:
        The exit code; -9 if it was killed.
    """
    for name in warm:
        importlib.import_module(name)
    with _written_to(said) as err:
        if warm:
            process = FORK.Process(target=_here, args=(list(words), dict(env), err, room))
            process.start()
            process.join(limit)
        else:
            process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=os.environ | env, stderr=err,
                                       stdout=subprocess.DEVNULL, start_new_session=True,
                                       preexec_fn=lambda: _limit(room))  # noqa: PLW1509
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(limit)
        _kill(process.pid, f"{mark}={env[mark]}".encode())
    if warm:
        process.join()
        return process.exitcode
    return process.wait()


@contextlib.contextmanager
def _written_to(path: Path) -> Iterator[int]:
    """A pipe into that file, which no limit of who writes into the pipe concerns."""
    with path.open("wb") as file, subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file,
                                                   start_new_session=True) as reader:
        yield reader.stdin.fileno()


def _limit(room: int | None) -> None:
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def _here(words: list[str], env: dict[str, str], err: int, room: int | None) -> None:
    os.setsid()
    _limit(room)
    for number, to in ((0, os.open(os.devnull, os.O_RDONLY)), (1, os.open(os.devnull, os.O_WRONLY)), (2, err)):
        os.dup2(to, number)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, closefd=False)
                                         for number, mode in enumerate(("r", "w", "w")))
    os.environ.update(env)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, name, *sys.argv[1:] = words
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _kill(session: int, mark: bytes) -> None:
    """All processes of that session and those with that in their environment, until none is left."""
    while found := [entry for entry in Path("/proc").glob("[0-9]*") if _meant(entry, session, mark)]:
        for one in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(one.name), signal.SIGKILL)
        time.sleep(0.02)


def _meant(entry: Path, session: int, mark: bytes) -> bool:
    try:
        stat = (entry / "stat").read_bytes()
        fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
        return fields[0] not in (b"Z", b"X") and (int(fields[3]) == session
                                                  or mark in (entry / "environ").read_bytes().split(b"\0"))
    except OSError:
        return False
