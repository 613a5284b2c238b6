"""What a run says of itself while it trains: ``status.json`` and ``curve.jsonl`` in its folder.

Dora's ``history.json`` has a line an epoch, which is too seldom for somebody who waits. Both files are small, plain and
read by others while they are written (the table of a grid, ``dora info``'s reader, a script).

``status.json`` is one object: ``state`` (one of :data:`STATES`), ``step`` and ``steps``, ``epoch`` and ``epochs``,
the last ``metrics`` of training, ``valid`` (the last validation loss) and ``best`` (the lowest), ``left_s``,
``samples`` (a folder in the run's), ``error`` (one line), ``updated`` (seconds since 1970), ``pid``, ``host``.
``curve.jsonl`` has a line for each point: ``{"stage": "train", "step": 120, "ce": 4.1, ...}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty, write

STATUS, CURVE = "status.json", "curve.jsonl"
STATES = ("training", "finished", "stopped", "failed")
EVERY_S = 1.0  # a status is written no more often


class Record:
    """The writer; one process of a run has it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._status: dict = {}
        self._written = 0.0

    def status(self, now: bool = False, **fields) -> None:
        """Change fields of the status; ``now`` writes it even if the last time was a moment ago.

        What cannot be written is left: the checkpoint will say that the disk is full.
        """
        self._status |= fields
        if not now and time.monotonic() - self._written < EVERY_S:
            return
        self._written = time.monotonic()
        text = json.dumps(self._status | {"updated": time.time(), "pid": os.getpid(), "host": socket.gethostname()})
        with contextlib.suppress(OSError):
            write(self.folder / STATUS, text)

    def point(self, stage: str, step: int, metrics: dict[str, float]) -> None:
        """One point of the curves, after ``step`` updates."""
        line = json.dumps({"stage": stage, "step": step, **metrics}) + "\n"
        with contextlib.suppress(OSError), (self.folder / CURVE).open("a", encoding="utf-8") as file:
            file.write(line)

    @contextlib.contextmanager
    def of_run(self) -> Iterator[None]:
        """Says in the status how the run ended, whichever way it does (``kill -9`` aside)."""
        self.status(now=True, state="training", error=None)
        try:
            yield
        except KeyboardInterrupt:
            self.status(now=True, state="stopped")
            raise
        except SystemExit:  # a cluster takes the run back into its queue
            self.status(now=True, state="stopped")
            raise
        except BaseException as error:
            line = " ".join(str(error).split()) or type(error).__name__
            self.status(now=True, state="failed", error=line if isinstance(error, UserError)
                        else f"{type(error).__name__}: {line}")
            raise
        self.status(now=True, state="finished", left_s=0)


def read_status(folder: Path) -> dict:
    """What ``status.json`` says; empty where there is none (yet)."""
    return json_or_empty(folder / STATUS)


def read_curve(folder: Path) -> dict[str, list[dict]]:
    """The points of each stage, in the order of their steps. Where a run went on from a checkpoint, what it had said of
    the updates after it is replaced by what it says then."""
    stages: dict[str, list[dict]] = {}
    try:
        lines = (folder / CURVE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    for line in lines:
        try:
            point = json.loads(line)
            stage, step = str(point.pop("stage")), int(point["step"])
        except (ValueError, KeyError, TypeError, AttributeError):  # a line that a kill cut off
            continue
        points = stages.setdefault(stage, [])
        while points and points[-1]["step"] >= step:
            points.pop()
        points.append(point)
    return stages
