"""Runs of several real processes, forked from one that has imported everything: a process of its own would take seconds
for that alone."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")


@dataclass
class Ranks:
    """The processes of one run, and what each printed."""

    processes: list
    logs: list[Path]

    def codes(self, timeout: float = 240) -> list[int]:
        """Exit codes, once all have ended by themselves."""
        end = time.monotonic() + timeout
        try:
            for process in self.processes:
                process.join(max(0.0, end - time.monotonic()))
            codes = [process.exitcode for process in self.processes]
            assert None not in codes, f"some hang: {codes}\n{self.text()}"
            return codes
        finally:
            for process in self.processes:
                process.kill()

    def text(self) -> str:
        return "".join(f"--- {log.name}\n{log.read_text()}" for log in self.logs if log.exists())


def start(folder: Path, store: Path, *overrides: str, size: int = 2, hook: str = "", env: Sequence[dict] = (),
          solver: str = "musicgen/debug", launcher: bool = False) -> Ranks:
    """Start ``size`` processes of one run below ``folder``.

    Args:
        hook: ``module:function``, called in each process with its rank and the folder before the run.
        env: variables of each process instead of those of ``dora run -d``.
        launcher: start them from a process in between, which then is the only one in ``processes``.
    """
    import audiocraft_ext.compat  # noqa: F401  it sets what is imported beforehand, too

    SERVER.set_forkserver_preload(["audiocraft_ext.train", "audiocraft_ext.training.solver", __name__])
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = str(free.getsockname()[1])
    env = env or [dict(RANK=str(r), LOCAL_RANK=str(r), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1") for r in
                  range(size)]
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"{time.monotonic_ns()}_{rank}.txt" for rank in range(size)]
    arguments = [f"solver={solver}", f"datasource.store={store}", "logging.log_tensorboard=false", "num_threads=1",
                 *overrides]
    each = [(rank, folder, arguments, hook, {"MASTER_PORT": port, **own}, log)
            for rank, (own, log) in enumerate(zip(env, logs))]
    processes = [SERVER.Process(target=_train, args=args) for args in each]
    if launcher:
        processes = [SERVER.Process(target=_launch, args=(each,))]
    for process in processes:
        process.start()
    return Ranks(processes, logs)


def _launch(each: list[tuple]) -> None:
    for args in each:
        if not os.fork():
            _train(*args)
            os._exit(0)
    os.wait()


def _train(rank: int, folder: Path, arguments: list[str], hook: str, env: dict[str, str], log: Path) -> None:
    """What ``dora run`` does in each process, less Hydra's part in the log."""
    os.environ.update(env)
    out = os.open(log, os.O_CREAT | os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    from audiocraft_ext import train
    from audiocraft_ext.core.errors import run_cli

    if hook:
        module, _, name = hook.partition(":")
        getattr(importlib.import_module(module), name)(rank, folder)
    train.main.dora.dir = folder
    sys.argv = ["dora", *arguments]
    xp = train.main.get_xp(arguments)
    train.main.init_xp(xp)
    with xp.enter():
        run_cli(lambda: train.run(xp.cfg))


def note_windows(rank: int, folder: Path) -> None:
    """A hook: each train batch that an update was made of becomes a line of ``windows.jsonl``: rank, epoch, indices."""
    from audiocraft_ext.training.dataset import StreamDataset
    from audiocraft_ext.training.solver import StreamSolver

    read, tell, last = StreamDataset.batch, StreamSolver._tell_status, []

    def batch(self, epoch, indices):
        if self.split == "train":
            last[:] = [rank, epoch, list(indices)]
        return read(self, epoch, indices)

    def told(self, metrics):
        tell(self, metrics)
        with (folder / "windows.jsonl").open("a") as file:
            file.write(json.dumps(last) + "\n")

    StreamDataset.batch, StreamSolver._tell_status = batch, told


def at_update(n: int, do) -> None:
    """Call ``do`` right after update number ``n``."""
    from audiocraft_ext.training.solver import StreamSolver

    tell = StreamSolver._tell_status

    def told(self, metrics):
        tell(self, metrics)
        if self.updates_done == n:
            do()

    StreamSolver._tell_status = told
