"""Programs without a cold start, which costs seconds where torch comes along: in this process, or in a fork of it."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import infer
from audiocraft_ext.core.errors import run_cli

ROOT = Path(infer.__file__).parent
FORK = multiprocessing.get_context("fork")


def run_here(*words: object) -> tuple[int, str, str]:
    """``python *words``, a script of ours or ``-m`` and a module, in this process: exit code, stdout, stderr."""
    words, out, err = [str(word) for word in words], io.StringIO(), io.StringIO()
    run = runpy.run_module if words[0] == "-m" else runpy.run_path
    words = words[1:] if words[0] == "-m" else [str(ROOT / words[0]), *words[1:]]
    with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
          warnings.catch_warnings()):
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's: it was imported before
        patch.setattr(sys, "argv", words)
        try:
            run(words[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


@dataclass
class Program:
    """One that is to be killed or interrupted; what it prints is in two files."""

    process: multiprocessing.Process | subprocess.Popen
    out: Path
    err: Path

    def alive(self) -> bool:
        return self.code is None

    @property
    def code(self) -> int | None:
        """The exit code, -9 after SIGKILL; None as long as it runs."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self, timeout: float = 120) -> int:
        """Its exit code, in the end; one that hangs is killed and fails the test."""
        last = time.monotonic() + timeout
        while self.alive() and time.monotonic() < last:
            time.sleep(0.005)
        if hangs := self.alive():
            self.process.kill()
        assert not hangs, f"still running after {timeout} s:\n{self.err.read_text()}"
        return self.code


def start(folder: Path, *words: object) -> Program:
    """``python *words``, cold; its two files lie in ``folder``."""
    out, err = (folder / f"{name}.txt" for name in ("stdout", "stderr"))
    with out.open("w") as out_file, err.open("w") as err_file:
        return Program(subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, stdout=out_file, stderr=err_file),
                       out, err)


def fork(folder: Path, main: Callable[[], object]) -> Program:
    """A command's ``main`` in a fork of this process, which has imported everything. It must not train: autograd
    refuses to work in a fork; nor start a fork server, for this process may have one."""
    out, err = (folder / f"{name}.txt" for name in ("stdout", "stderr"))
    process = FORK.Process(target=_run, args=(main, out, err))
    process.start()
    return Program(process, out, err)


def _run(main: Callable[[], object], out: Path, err: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    run_cli(main)


def stages_here(patch: pytest.MonkeyPatch, outputs: Path) -> None:
    """The stages of a demo run in this process, the preparation without workers and beats; runs are kept in
    ``outputs``."""
    from audiocraft_ext import train
    from audiocraft_ext.runs import pipeline

    def stage(command: list[str]) -> int:
        if command[:2] == ["-m", "dora"]:
            return train_here(command[command.index("run") + 1 :])
        if command[1] == "data_prep.audio":
            command = [*command, "--workers", "0", "--tempo", "off"]
        elif command[1] == "data_prep.midi":
            command = [*command, "--workers", "0"]
        code, out, err = run_here(*command)
        print(out + err)
        return code

    def train_here(overrides: list[str]) -> int:
        log = logging.getLogger()
        before = log.level, log.handlers[:]
        xp = train.main.get_xp(overrides)
        train.main.init_xp(xp)
        try:
            with xp.enter(stack=True):
                train.run(xp.cfg)
        finally:
            log.level, log.handlers[:] = before
        return 0

    patch.setattr(train.main.dora, "dir", outputs)
    patch.setattr(pipeline, "run_to_its_end", stage)
    patch.setattr(pipeline, "run_folder", lambda overrides: train.main.get_xp(overrides).folder)
