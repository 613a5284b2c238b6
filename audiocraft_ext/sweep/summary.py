"""What became of a run, from its folder: one row of the table, one line of the page."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audiocraft_ext.runs.record import read_curve, read_status
from audiocraft_ext.sweep import local, process

RUNNING, WAITING, DONE, FAILED = "running", "waiting", "done", "failed"
STOPPED, INTERRUPTED, NEW = "stopped", "interrupted", "new"
KINDS = {DONE: (DONE,), RUNNING: (RUNNING,), WAITING: (WAITING,), FAILED: (FAILED, "timeout", "out of memory"),
         STOPPED: (STOPPED, INTERRUPTED, "cancelled"), NEW: (NEW,)}  # for the line below the table
ENDS = {"CANCELLED": "cancelled", "TIMEOUT": "timeout", "OUT_OF_MEMORY": "out of memory", "FAILED": FAILED,
        "NODE_FAIL": INTERRUPTED, "MISSING": "cancelled", "COMPLETED": DONE}
GOING = ("RUNNING", "COMPLETING")
AHEAD = ("PENDING", "READY", "UNKNOWN", "REQUEUED", "PREEMPTED")


@dataclass(frozen=True)
class Row:
    """One run. What is not known (yet) is None.

    Attributes:
        index: its number in the grid, which ``dora grid NAME --tail INDEX`` takes.
        settings: in what it differs from the other runs, key to value as text.
        state: one of the words above.
        train: loss, the last point of the curve; ``valid``: the last validation's; ``best``: the lowest.
        judged: what was measured of its last clips (``generate.judge``), by name.
        left_s: seconds that it will take; only of a run that is running. took_s: of training so far.
        samples: folder of the last sounds.
        tries: how often it was started; None where nobody counts.
    """

    index: int
    sig: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    state: str = NEW
    job: str | None = None
    log: Path | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    train: float | None = None
    valid: float | None = None
    best: float | None = None
    judged: Mapping[str, float] = field(default_factory=dict)
    tokens_s: float | None = None
    left_s: float | None = None
    took_s: float | None = None
    samples: Path | None = None
    error: str | None = None
    tries: int | None = None

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.settings.items()) or self.sig


def summary(folder: Path, index: int = 0, settings: Mapping[str, str] | None = None, job_state: str | None = None,
            job: str | None = None, log: Path | None = None, epochs: int | None = None) -> Row:
    """The row of the run in ``folder`` (which need not be there yet).

    Args:
        job_state: what the queue says, in Slurm's words; None asks the queue of this machine, if it was ever in it.
        epochs: look at the first so many only.
    """
    status, curve = read_status(folder), read_curve(folder)
    valid = [_number(point.get("ce")) for point in curve.get("valid", [])][:epochs]
    valid = [ce for ce in valid if ce is not None]
    train = curve.get("train", [])
    if epochs and len(curve.get("valid", [])) >= epochs:
        train = [point for point in train if point["step"] <= curve["valid"][epochs - 1]["step"]]
    metrics = status.get("metrics") if isinstance(status.get("metrics"), dict) else {}
    note = local.read(folder)
    state = _state(status, job_state or local.state_of(folder))
    error = (status.get("error") or note.get("reason")) if state not in (DONE, RUNNING, WAITING) else None
    return Row(index=index, sig=folder.name, folder=folder, settings=settings or {}, state=state, job=job, log=log,
               epoch=_whole(status.get("epoch")), epochs=_whole(status.get("epochs")),
               step=_whole(status.get("step")), steps=_whole(status.get("steps")),
               train=_number(train[-1].get("ce")) if train else _number(metrics.get("ce")),
               valid=valid[-1] if valid else _number(status.get("valid")),
               best=min(valid) if valid else _number(status.get("best")), judged=_judged(curve.get("clips", [])),
               tokens_s=_number(metrics.get("tokens_s")),
               left_s=_number(status.get("left_s")) if state == RUNNING else None, took_s=_took(folder),
               samples=_samples(folder, status.get("samples")), error=plain(str(error)) if error else None,
               tries=_whole(note.get("tries")))


def _judged(points: Sequence[dict]) -> dict[str, float]:
    last = points[-1] if points else {}
    return {name: value for name, value in last.items() if name != "step" and _number(value) is not None}


def _state(status: dict, job_state: str | None) -> str:
    """The queue knows whether a run is on, the run how it ended."""
    job_state = (job_state or "").split(" ")[0].rstrip("+")
    state = status.get("state")
    if state == "finished":
        return DONE
    if job_state in GOING:
        return RUNNING
    if state == "training" and _alive(status):
        return RUNNING
    if job_state in AHEAD:
        return WAITING
    if state == "failed" or job_state == "FAILED":
        return FAILED
    if job_state in ENDS and not (state and job_state == "COMPLETED"):
        return ENDS[job_state]
    return {"training": INTERRUPTED, "stopped": STOPPED}.get(str(state), NEW)


def _alive(status: dict) -> bool:
    """Whether the process that wrote a status is there; of another machine's only its silence is known."""
    updated = _number(status.get("updated")) or 0.0
    pid = _whole(status.get("pid"))
    if status.get("host") != socket.gethostname() or not pid:
        return time.time() - updated < process.OLD_S
    started = process.started(pid)
    return started is not None and _born(started) <= updated + 1  # else the number is another's by now


def _born(ticks: str) -> float:
    """When a process began, in seconds since 1970, from what Linux says; elsewhere 0."""
    try:
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - uptime + int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _samples(folder: Path, path: object) -> Path | None:
    """The sounds that were made last: what the status says, else the newest folder there is."""
    if isinstance(path, str) and (folder / path).is_dir():
        return folder / path
    there = [path for path in (folder / "samples").glob("*") if path.is_dir()]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def _took(folder: Path) -> float | None:
    """Seconds of training, from Dora's history."""
    try:
        history = json.loads((folder / "history.json").read_text("utf-8"))
        return math.fsum(stage.get("duration", 0.0) for epoch in history for stage in epoch.values()) or None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def left_of_all(rows: Sequence[Row]) -> float | None:
    """Seconds until the last run has ended, if as many run at a time as now; a run that waits takes as long as the
    others do on average. None: nothing runs, or nothing is known yet."""
    running = [row for row in rows if row.state == RUNNING]
    known = [row.left_s for row in running if row.left_s is not None]
    if not known:
        return None
    whole = [row.took_s for row in rows if row.state == DONE and row.took_s]
    whole += [row.left_s / (1 - row.step / row.steps) for row in running
              if row.left_s and row.step is not None and row.steps and row.step < row.steps]
    waiting = sum(row.state == WAITING for row in rows)
    if waiting and not whole:
        return None
    ahead = waiting * sum(whole) / len(whole) if waiting else 0.0
    return max(max(known), (sum(known) + ahead) / len(running))


def differences(runs: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    """Of the settings of each run (full key to value), those in which the runs differ, under short names.

    A key is named by its last word (``optim.lr`` is ``lr``), or where that would name two keys, by all of it.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run))
    keys = [key for key in keys if len({_text(run.get(key)) for run in runs}) > 1]
    names = [_last(key) for key in keys]
    names = [name if names.count(name) == 1 else key for key, name in zip(keys, names)]
    return [{name: _text(run.get(key)) for key, name in zip(keys, names)} for run in runs]


def _last(key: str) -> str:
    return key.replace("/", ".").rsplit(".", 1)[-1]


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:g}" if isinstance(value, float) else plain(str(value))


def plain(text: str) -> str:
    """One line that does nothing to a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def overrides(folder: Path) -> dict[str, object]:
    """The settings a run was started with, from Dora's note in its folder; empty where there is none."""
    try:
        argv = json.loads((folder / ".argv.json").read_text("utf-8"))
        return {key: _value(value) for key, value in (str(word).split("=", 1) for word in argv)}
    except (OSError, ValueError, TypeError):
        return {}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def common(runs: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """The settings that all runs have alike, full key to text."""
    runs = list(runs)
    return {key: _text(value) for key, value in runs[0].items()
            if all(_text(run.get(key)) == _text(value) for run in runs)} if runs else {}
