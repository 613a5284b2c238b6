"""Killed and out of room at moments of chance: ``python -m benchmarks.interruptions --count 100``.

Each command that works for long is killed (SIGKILL, with all its processes) somewhere between its start and its end, or
gets no more room in a file than a number of bytes of chance (RLIMIT_FSIZE: writing fails as on a full disk). Then the
same command is given again, undisturbed. What lies there in the end has to be what an undisturbed run makes: the same
files, with the same bytes or, of checkpoints, the same weights. Without room a command has to end with one line and
code 2, or not to need it.

What imports torch is a fork of this process, which has imported it: so the moments are moments of work, and a run takes
a second where it took eight. What a command starts, as a grid its keeper and its runs, starts cold.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import sha256
from benchmarks.common import commands
from benchmarks.common.machine import ROOT, describe, finish

TRAIN = ("solver=musicgen/debug", "device=cpu", "dataset.batch_size=4", "optim.epochs=3", "optim.updates_per_epoch=8",
         "logging.log_tensorboard=false", "generate.use=false", "checkpoint.save_minutes=1e-3")
TORCH = ("audiocraft_ext.compat", "audiocraft.solvers", "audiocraft_ext.training.solver", "dora.__main__", "submitit",
         "audiocraft_ext.export.bundle", "onnx")  # not train.py, which asks where runs go as it is imported
HANGS = 20  # times as long as the undisturbed run, or two minutes
OURS = (".codes", ".bin", ".jsonl", ".json", ".wav", ".mid", ".onnx", ".safetensors", ".npy", ".md")


@dataclass(frozen=True)
class Job:
    """A command that writes below a folder.

    Attributes:
        words: of ``python``, for that folder.
        result: what lies there, by name, as digests.
        again: more words for the second time.
        codes: with which it may end where there is no room.
        warm: what is imported before.
    """

    words: Callable[[Path], list[str]]
    result: Callable[[Path], dict[str, str]]
    again: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0, 2)
    warm: tuple[str, ...] = ()


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
    train = ["-m", "dora", "-P", "audiocraft_ext", "run", *TRAIN, f"datasource.store={_store(home)}"]
    return {
        "prepare": Job(lambda to: ["-m", "data_prep.audio", str(ROOT / "data_prep" / "breaks" / "bsd2"),
                                   str(_store(to)), "--codec", "debug", "--valid-share", "0.3"], files),
        "midi": Job(lambda to: ["-m", "data_prep.midi", str(ROOT / "data_prep" / "grooves"), str(to / "store")], files),
        "train": Job(lambda to: train, checkpoints, warm=TORCH),
        "export": Job(lambda to: ["-m", "audiocraft_ext.export", str(home / "run"), str(to / "bundle")], files,
                      warm=TORCH),
        "sample": Job(lambda to: ["infer.py", "-n", "8", "-d", "0.5", "--seed", "1", "--batch", "2", "-o", str(to)],
                      files),
        "beats": Job(lambda to: ["infer.py", "drums", "-n", "60", "--seed", "1", "-o", str(to)], files),
        "grid": Job(lambda to: ["-m", "audiocraft_ext.sweep.cli", "grid", "debug", "0", "--local", "--slots", "2"],
                    checkpoints, ("-r",), (0, 1, 2), TORCH)}  # 1: a run failed, which is tried again if one says so


def _store(folder: Path) -> Path:
    """Where the grid looks for it, too."""
    return folder / "stores" / "debug"


def setup(home: Path, wanted: list[str]) -> None:
    """The store and the run that training, export and the grid need."""
    for name, users in (("prepare", {"train", "export", "grid"}), ("train", {"export"})):
        if users & set(wanted):
            code, said = _run(jobs(home)[name], home, home)
            if code:
                raise UserError(f"{name} ended with {code}: {said}")
    if "export" in wanted:
        (checkpoint,) = (home / "outputs").rglob("checkpoint.th")
        shutil.copytree(checkpoint.parent, home / "run")


def _run(job: Job, to: Path, home: Path, again: bool = False, room: int | None = None,
         limit: float | None = None) -> tuple[int, str]:
    """The job's command: exit code and the last line that it says."""
    env = {"MICRO_OUTPUTS": str(to / "outputs"), "MICRO_STORES": str(home / "stores"), "OMP_NUM_THREADS": "1",
           "PYTHONPATH": str(ROOT)}
    said = to.with_name(f"{to.name}.said")
    code = commands.run([*job.words(to), *(job.again if again else ())], env, said, mark="MICRO_OUTPUTS", room=room,
                        limit=limit, warm=job.warm)
    return code, (said.read_text(errors="replace").strip().splitlines() or [""])[-1]


def disturb(job: Job, count: int, rng: random.Random, scratch: Path, home: Path) -> dict[str, object]:
    """``count`` kills that hit and as many full disks, in turn.

    Args:
        scratch: where the job writes.
        home: where what it reads lies, see :func:`jobs`.
    """
    whole = scratch / "whole"
    whole.mkdir()
    started = time.perf_counter()
    code, said = _run(job, whole, home)
    seconds, wanted = time.perf_counter() - started, job.result(whole)
    if code or not wanted:
        raise UserError(f"the undisturbed run ended with {code}: {said}")
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    counts, wrong = Counter(), []
    while counts["killed"] < count and counts["ended before the kill"] < count:
        for room in (None, int(largest * rng.random())):
            to = scratch / str(sum(counts.values()))
            to.mkdir()
            at = None if room is not None else seconds * rng.random()
            what = f"no room after {room} bytes" if at is None else f"killed after {at:.2f} s of {seconds:.2f}"
            code, said = _run(job, to, home, room=room, limit=at)
            if at is None:
                counts["ran out of room" if code else "had room"] += 1
                if code not in job.codes or "Traceback" in said:
                    wrong.append(f"{what}: ended with {code}: {said[:200]}")
            else:
                counts["killed" if code == -signal.SIGKILL else "ended before the kill"] += 1
            started = time.perf_counter()
            wrong += [f"{what}: {fault}" for fault in _again(job, to, home, wanted, max(120, HANGS * seconds))]
            if at is None and code:  # it began anew, or nearly: the machine may be busier or quieter than before
                seconds = time.perf_counter() - started
            shutil.rmtree(to)
        print(dict(counts), wrong[-1:], flush=True)
    return {"seconds": round(seconds, 1), **counts, "wrong": len(wrong), "which": wrong[:5]}


def _again(job: Job, to: Path, home: Path, wanted: dict[str, str], limit: float) -> list[str]:
    """The same command, undisturbed: what is wrong with what it makes."""
    code, said = _run(job, to, home, again=True, limit=limit)
    result = job.result(to)
    if code == 2 and result == wanted and "is there" in said:  # an export, which was whole
        return []
    if code:
        return [f"again it ended with {code}: {said[:200]}"]
    other = sorted(name for name in result.keys() | wanted.keys() if result.get(name) != wanted.get(name))
    return [f"another result, {other[:3]}"] if other else []


def main(argv: list[str] | None = None) -> int:
    names = list(jobs(ROOT))
    parser = Parser(prog="python -m benchmarks.interruptions", description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--count", type=int, default=100,
                        help="kills that hit, and about as many full disks, of each (default: 100)")
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
            found[name] = disturb(jobs(home)[name], args.count, random.Random(f"{args.seed} {name}"), folder,
                                  home)
            print(f"{name}: {found[name]}", flush=True)
            shutil.rmtree(folder)
    finish("interruptions", describe("numpy", "torch", "onnxruntime"), found)
    return 1 if any(one["wrong"] for one in found.values()) else 0


if __name__ == "__main__":
    run_cli(main)
