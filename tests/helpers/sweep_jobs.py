"""Jobs for the keeper that are done in a moment: they wait, end and crash as their arguments say."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from audiocraft_ext.sweep.target import Target


class Job(Target):
    """``argv``: ``trace=FILE`` (a line ``threads pid begin end`` each time), ``sleep=SECONDS``, ``exit=CODE``,
    ``die=TIMES`` (by kill -9, so often, then well)."""

    def work(self) -> None:
        told = dict(word.split("=", 1) for word in self.argv)
        trace, begin = Path(told["trace"]), time.time()
        before = trace.read_text().count("\n") if trace.exists() else 0
        time.sleep(float(told.get("sleep", 0)))
        with trace.open("a") as file:
            file.write(f"{os.environ['OMP_NUM_THREADS']} {os.getpid()} {begin} {time.time()}\n")
        if before < int(told.get("die", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        if told.get("say"):
            print(told["say"])
        sys.exit(int(told.get("exit", 0)))
