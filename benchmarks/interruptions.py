"""Killed and out of room at moments of chance: ``python -m benchmarks.interruptions --count 100``.

Each command that works for long is killed (SIGKILL, with all its processes) somewhere between its start and its end, or
gets no more room in a file than a number of bytes of chance (RLIMIT_FSIZE: writing fails as on a full disk). Then the
same command is given again, undisturbed. What lies there in the end has to be what an undisturbed run makes: the same
files, with the same bytes or, of checkpoints, the same weights. Without room a command has to end with one line and
code 2, or not to need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import sha256
from benchmarks.common.machine import ROOT, describe, finish

TRAIN = ("solver=musicgen/debug", "device=cpu", "dataset.batch_size=4", "optim.epochs=3", "optim.updates_per_epoch=10",
         "logging.log_tensorboard=false", "generate.use=false", "checkpoint.save_minutes=1e-3")
OURS = (".codes", ".bin", ".jsonl", ".json", ".wav", ".mid", ".onnx", ".safetensors", ".npy", ".md")


@dataclass(frozen=True)
class Job:
    """A command that writes below a folder.

    Attributes:
        words: of ``python``, for that folder.
        result: what lies there, by name, as digests.
        again: more words for the second time.
        codes: with which it may end where there is no room.
    """

    words: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, str]]
    again: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0, 2)


def files(folder: Path) -> dict[str, str]:
    """Of all files but reports, which tell the time, and hidden ones, which a kill leaves behind."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*"))
            if path.suffix in OURS and path.name not in ("report.json", "version.json") and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)}


def checkpoints(folder: Path) -> dict[str, str]:
    """Of the weights of all runs, and how often each was trained."""
    from audiocraft_ext.model import checkpoint

    found = {}
    for path in sorted(folder.rglob("checkpoint.th")):
        state, digest = checkpoint.load(path), hashlib.sha256()
        for name, value in sorted(state["model"].items()):
            digest.update(name.encode() + value.numpy().tobytes())
        found[path.parent.name] = f"{digest.hexdigest()} {len(state['history'])}"
    return found


def jobs(home: Path) -> dict[str, Job]:
    """The commands; what they read lies in ``home``."""
    store, run = home / "store", home / "run"
    train = ["-m", "dora", "-P", "audiocraft_ext", "run", *TRAIN, f"datasource.store={store}"]
    return {
        "prepare": Job(lambda to: ["-m", "data_prep.audio", str(ROOT / "data_prep" / "breaks" / "bsd2"),
                                   str(to / "store"), "--codec", "debug", "--valid-share", "0.3"], files),
        "midi": Job(lambda to: ["-m", "data_prep.midi", str(ROOT / "data_prep" / "grooves"), str(to / "store")], files),
        "train": Job(lambda to: train, checkpoints),
        "export": Job(lambda to: ["-m", "audiocraft_ext.export", str(run), str(to / "bundle")], files),
        "sample": Job(lambda to: ["infer.py", "-n", "12", "-d", "2", "--seed", "1", "--batch", "2", "-o", str(to)],
                      files),
        "beats": Job(lambda to: ["infer.py", "drums", "-n", "60", "--seed", "1", "-o", str(to)], files),
        "grid": Job(lambda to: ["-m", "audiocraft_ext.sweep.cli", "grid", "debug", "0", "--local"], checkpoints,
                    ("-r",), (0, 1, 2))}  # 1: a run failed, which is tried again if one says so


def setup(home: Path, wanted: list[str]) -> None:
    """The store and the run that training and export need."""
    for name, users in (("prepare", {"train", "export"}), ("train", {"export"})):
        if users & set(wanted):
            code, said = _run(jobs(home)[name].words(home), home)
            if code:
                raise UserError(f"{name} ended with {code}: {said}")
    if "export" in wanted:
        (checkpoint,) = (home / "outputs").rglob("checkpoint.th")
        shutil.copytree(checkpoint.parent, home / "run")


def _run(words: list[str], to: Path, room: int | None = None, kill_after: float | None = None) -> tuple[int, str]:
    """The command in a session of its own: exit code and the last line that it says."""
    def limited() -> None:
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    env = os.environ | {"MICRO_OUTPUTS": str(to / "outputs"), "MICRO_STORES": str(to.parent / "stores"),
                        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
                               preexec_fn=limited)  # noqa: PLW1509
    try:
        said = process.communicate(timeout=kill_after)[1]
    except subprocess.TimeoutExpired:
        _kill(f"MICRO_OUTPUTS={to / 'outputs'}")
        said = process.communicate()[1]
    return process.returncode, (said.strip().splitlines() or [""])[-1]


def _kill(mark: str) -> None:
    """All processes with that in their environment, also those that left their session, as a grid's do; until none is
    left."""
    while found := [entry.parent for entry in Path("/proc").glob("[0-9]*/environ") if _has(entry, mark)]:
        for one in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(one.name), signal.SIGKILL)
        time.sleep(0.02)


def _has(environ: Path, mark: str) -> bool:
    try:
        return mark.encode() in environ.read_bytes().split(b"\0")
    except OSError:
        return False


def disturb(job: Job, count: int, rng: random.Random, scratch: Path) -> dict[str, object]:
    """``count`` kills and as many full disks."""
    whole = scratch / "whole"
    whole.mkdir()
    started = time.perf_counter()
    code, said = _run(job.words(whole), whole)
    seconds, wanted = time.perf_counter() - started, job.result(whole)
    if code or not wanted:
        raise UserError(f"the undisturbed run ended with {code}: {said}")
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    counts, wrong = Counter(), []
    for n in range(2 * count):
        to = scratch / str(n)
        to.mkdir()
        if n % 2:
            room = int(largest * rng.random())
            code, said = _run(job.words(to), to, room=room)
            counts["ran out of room" if code else "had room"] += 1
            if code not in job.codes or "Traceback" in said:
                wrong.append(f"with {room} bytes it ended with {code}: {said[:200]}")
        else:
            at = seconds * rng.random()
            code, said = _run(job.words(to), to, kill_after=at)
            counts["killed" if code == -signal.SIGKILL else "ended before the kill"] += 1
        code, said = _run([*job.words(to), *job.again], to)
        result = job.result(to)
        if code == 2 and result == wanted and "is there" in said:  # an export, which was whole
            counts["was whole already"] += 1
        elif code:
            wrong.append(f"{'no room' if n % 2 else 'kill'} {n}: again it ended with {code}: {said[:200]}")
        elif result != wanted:
            other = sorted(name for name in result.keys() | wanted.keys() if result.get(name) != wanted.get(name))
            wrong.append(f"{'no room' if n % 2 else 'kill'} {n}: another result, {other[:3]}")
        shutil.rmtree(to)
    return {"seconds": round(seconds, 1), **counts, "wrong": len(wrong), "which": wrong[:5]}


def main(argv: list[str] | None = None) -> int:
    names = list(jobs(ROOT))
    parser = Parser(prog="python -m benchmarks.interruptions", description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--count", type=int, default=100, help="kills, and full disks, of each (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if unknown := set(args.jobs) - set(names):
        parser.error(f"expected jobs of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    wanted, found = args.jobs or names, {}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        home.mkdir()
        setup(home, wanted)
        for name in wanted:
            folder = Path(scratch) / name
            folder.mkdir()
            found[name] = disturb(jobs(home)[name], args.count, random.Random(f"{args.seed} {name}"), folder)
            print(f"{name}: {found[name]}", flush=True)
            shutil.rmtree(folder)
    finish("interruptions", describe("numpy", "torch", "onnxruntime"), found)
    return 1 if any(one["wrong"] for one in found.values()) else 0


if __name__ == "__main__":
    run_cli(main)
