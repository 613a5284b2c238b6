"""How a run is asked to stop, and how all of its processes hear of it at the same update."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from audiocraft_ext.runs import slurm
from audiocraft_ext.training import distributed

REQUEUE = signal.SIGUSR2  # submitit's choice
STOPS = (REQUEUE, signal.SIGTERM, signal.SIGINT)  # of several the first counts
ECHO_S = 5  # Ctrl-C reaches all processes of a terminal, and torchrun passes it on to them once more


class Interrupted(KeyboardInterrupt):
    """Somebody asked the run to stop; raised where the state is whole."""


class Stopping:
    """Ctrl-C, `kill`, and what a cluster sends some time before it takes the machine away, where submitit waits for it
    (by itself it would interrupt the run anywhere in an update).

    Args:
        last_words: for somebody who does not wait for the end of the step.

    Attributes:
        asked: the signal that counts, None as long as the run shall go on.
    """

    def __init__(self, last_words: Callable[[], str]):
        self.last_words = last_words
        self.asked: int | None = None
        self._when = 0.0
        self._handlers: dict = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        numbers = [number for number in STOPS if number != REQUEUE or callable(signal.getsignal(REQUEUE))]
        self._handlers = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield
        except RuntimeError:
            distributed.verdict()  # while a launcher that saw the same cannot end this process without a word
            raise
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame) -> None:
        echo = ECHO_S if distributed.size() > 1 else 0
        if self.asked and number == signal.SIGINT and time.monotonic() > self._when + echo:  # the second time: now
            raise KeyboardInterrupt(self.last_words())
        self._when = time.monotonic()
        if self.asked != REQUEUE:  # what follows it is only the cluster's way of ending the job
            self.asked = number
        if distributed.rank() == 0:
            _say(f"{signal.Signals(number).name}: stopping after this step; Ctrl-C to stop at once.")

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """``numbers`` (on the CPU, exact as float64) added up over all processes. What each was asked travels along: if
        any should stop, all do, here.

        Raises:
            Interrupted: all of them were to stop; nothing was added up.
        """
        if self.asked is None and distributed.launcher_gone():
            self.asked = signal.SIGTERM
        mine = torch.tensor([self.asked == number for number in STOPS], dtype=torch.float64)
        together = distributed.total(torch.cat([numbers.flatten().double(), mine]))
        asked = together[-len(STOPS) :].tolist()
        if any(asked):
            self.asked, self._when = next(number for number, n in zip(STOPS, asked) if n), time.monotonic()
            raise Interrupted
        return together[: -len(STOPS)].view_as(numbers).to(numbers.dtype)

    def hand_back(self) -> None:
        """End this process where a cluster starts the same command again."""
        requeued = self.asked == signal.SIGTERM and REQUEUE in self._handlers and slurm.goes_on()
        if self.asked == REQUEUE or requeued:
            self._handlers[REQUEUE](REQUEUE, None)  # ends the first process
            sys.exit()


def _say(line: str) -> None:
    """To the terminal, past Python's own files: a handler may come in the middle of a write to one, as a bar or a line
    of the log is, and whoever writes to it then gets a RuntimeError."""
    with suppress(OSError):
        os.write(2, f"\n{line}\n".encode())
