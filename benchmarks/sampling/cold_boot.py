"""From a cold process to WAVs on the disk: ours beside audiocraft and transformers, all with the same weights.

    python -m benchmarks.sampling.cold_boot [--repeats 5] [--clips 1,10] [--seconds 10] [--long 60,600] [--save
    docs/bench.json]

The micro scale (dim 2048, 2 heads, 2 layers, 4 x 2048 codes) with an EnCodec of full size, random weights, written
once for everyone into a temporary folder (``benchmarks/common/peers.py``). Each run is a process of its own, taken in
turn, timed by this one from its start to its exit; it counts if the WAVs are there. Everything is in the file cache: a
first short run of each, which is not counted, sees to that and shows who cannot run at all. Memory is a process's own
peak.

Time to first sound: until the first second of samples has come out of ``infer.py --stream - --raw``. The peers hand out
a clip when it is whole. The embedded bundle is there beside them; no peer has a model of its size. The long clips are
made once each, with int8: what is to be seen is that the memory does not grow.

This process imports nothing large: a child's peak begins with the size of the process that it was forked from.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.audio.engine import CODEC_FILES, SoundBundle
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.engine.bundle import find_bundle
from benchmarks.common.machine import ROOT, describe, finish, numbers, row, spread
from benchmarks.common.peers import AUDIOCRAFT, BUNDLE, TRANSFORMERS

PRECISIONS = ("fp32", "int8", "int4")
LONG = "ours, int8"  # what plays the long clips
EMBEDDED = "embedded bundle"
WAV_BYTES = 2  # a sample, at least
# What we set out to reach on two cores: clips -> share of audiocraft's time, megabytes.
SHARE_TARGETS, MEMORY_TARGETS = {1: 1 / 8, 10: 1 / 6}, {1: 450, 10: 900}
FIRST_SOUND_TARGET_S, EMBEDDED_TARGET_S = 1.2, 1.0


@dataclass(frozen=True)
class Way:
    """One way to sound at ``rate`` Hz: ``command(clips, seconds, out)`` is what a person would type after ``python``,
    and where that ``streams`` it takes ``--stream``."""

    name: str
    command: Callable[[int, float, Path], list]
    rate: int
    streams: bool = False


class Failed(Exception):
    """A run that made no sound; the text is the last it said."""


def ways(folder: Path) -> list[Way]:
    """All that can play the instrument in ``folder``, and the embedded one."""
    rate = SoundBundle(folder / BUNDLE).sample_rate

    def peer(name: str) -> Way:
        return Way(name, lambda n, d, o: ["-m", "benchmarks.common.peers", name, folder, "-n", n, "-d", d, "-o", o],
                   rate)

    def ours(name: str, rate: int, *more) -> Way:
        return Way(name, lambda n, d, o: ["infer.py", *more, "-n", n, "-d", d, "-o", o, "--seed", 1], rate, True)

    return [peer(AUDIOCRAFT), peer(TRANSFORMERS),
            *(ours(f"ours, {p}", rate, folder / BUNDLE, "--precision", p) for p in PRECISIONS),
            ours(EMBEDDED, SoundBundle(find_bundle()).sample_rate)]


def start(arguments: list, **options) -> subprocess.Popen:
    """A Python process in the repository, with as many threads as there are cores unless it says otherwise."""
    threads = str(physical_cores())
    env = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, env=env, **options)


def ended(process: subprocess.Popen, log: Path) -> float:
    """Wait for ``process``; returns its peak memory in bytes.

    Raises:
        Failed: its exit code is not 0.
    """
    _, status, usage = os.wait4(process.pid, 0)  # RUSAGE_CHILDREN would be the largest child there ever was
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        raise Failed(lines[-1][:300] if lines else f"exit code {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def to_disk(way: Way, clips: int, seconds: float) -> tuple[float, float]:
    """One cold run; returns its wall seconds and peak memory in bytes.

    Raises:
        Failed: no success, or the clips are not all there.
    """
    with tempfile.TemporaryDirectory() as temporary:
        out, log = Path(temporary) / "out", Path(temporary) / "said"
        out.mkdir()
        with log.open("wb") as f:
            begin = time.perf_counter()
            process = start(way.command(clips, seconds, out), stdout=subprocess.DEVNULL, stderr=f)
            memory = ended(process, log)
            wall = time.perf_counter() - begin
        wavs = [p for p in out.glob("*.wav") if p.stat().st_size >= int(seconds * way.rate) * WAV_BYTES]
        if len(wavs) != clips:
            raise Failed(f"{len(wavs)} clips of {seconds:g} s on the disk, expected {clips}")
    return wall, memory


def first_sound(way: Way, seconds: float) -> float:
    """Wall seconds from the start of a process to the first second of samples in our hands (all, where it is less).

    Raises:
        Failed: it ended before that, or without success.
    """
    wanted = round(min(1.0, seconds) * way.rate) * WAV_BYTES
    with tempfile.TemporaryDirectory() as temporary:
        log, command = Path(temporary) / "said", way.command(1, seconds, Path(temporary))
        with log.open("wb") as f:
            begin = time.perf_counter()
            process = start([*command, "--stream", "-", "--raw"], stdout=subprocess.PIPE, stderr=f)
            got, wall = 0, None
            while data := os.read(process.stdout.fileno(), 1 << 16):
                got += len(data)
                if wall is None and got >= wanted:
                    wall = time.perf_counter() - begin
            process.stdout.close()
            ended(process, log)
        if wall is None:
            raise Failed(f"{got} bytes of sound came, expected {wanted} and more")
    return wall


def measure(there: list[Way], clips: list[int], seconds: float, repeats: int, long: list[float]) -> dict:
    """Everything, in turn; see the text at the top.

    Args:
        clips: how many at once; each is measured ``repeats`` times.
        seconds: length of each.
        long: seconds of the long clips.
    """
    failed: dict[str, str] = {}
    runs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    streams: dict[str, list[float]] = {}

    def attempt(what: str, work: Callable, *arguments):
        """The result of ``work``, or None, and why is written down."""
        print(what, file=sys.stderr, flush=True)
        try:
            return work(*arguments)
        except Failed as why:
            failed[what.partition(": ")[2]] = str(why)
            return None

    alive = [way for way in there
             if attempt(f"does it run: {way.name}", to_disk, way, 1, min(seconds, 0.5)) is not None]
    for number in range(1, repeats + 1):
        for way in alive:
            for n in clips:
                run = attempt(f"round {number} of {repeats}: {way.name}, {n} x {seconds:g} s", to_disk, way, n, seconds)
                if run is not None:
                    runs.setdefault(way.name, {}).setdefault(str(n), []).append(run)
            if way.streams:
                wall = attempt(f"round {number} of {repeats}: {way.name}, streaming", first_sound, way, seconds)
                if wall is not None:
                    streams.setdefault(way.name, []).append(wall)
    player = next((way for way in alive if way.name == LONG), None)
    alone = {f"{s:g}": attempt(f"a long clip: {LONG}, {s:g} s", to_disk, player, 1, s) for s in long if player}
    return {
        "seconds": seconds, "repeats": repeats, "failed": failed,
        "first_sound_s": {name: spread(s) for name, s in streams.items()},
        "runs": {name: {n: {"wall_s": spread(w for w, _ in r), "memory_mb": spread(m / 1e6 for _, m in r)}
                        for n, r in by_clips.items()} for name, by_clips in runs.items()},
        "long": {s: {"wall_s": run[0], "memory_mb": run[1] / 1e6} for s, run in alone.items() if run is not None},
    }


def sizes(folder: Path) -> dict[str, float]:
    """Megabytes on the disk of what each reads; of ours, a bundle has the fp32 files beside those of int8 or int4."""
    def of(path: Path, *names: str) -> float:
        files = [path / name for name in names] if names else path.rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file()) / 1e6

    bundle = SoundBundle(folder / BUNDLE)
    rest = ("model.json", *CODEC_FILES)
    return {AUDIOCRAFT: of(folder / AUDIOCRAFT), TRANSFORMERS: of(folder / TRANSFORMERS),
            **{f"ours, {p}": of(bundle.path, *bundle.lm_files(p), *rest) for p in PRECISIONS if p in bundle.precisions},
            EMBEDDED: of(find_bundle())}


def report(results: dict) -> None:
    """The table."""
    runs, seconds = results["runs"], results["seconds"]
    for n in dict.fromkeys(n for by_clips in runs.values() for n in by_clips):
        base = runs.get(AUDIOCRAFT, {}).get(n, {}).get("wall_s", {}).get("median")
        print("\n" + row(f"cold process to {n} x {seconds:g} s on disk, s",
                         ("min", "median", "max", "faster", "peak MB")))
        for name, by_clips in runs.items():
            if n in by_clips:
                wall = by_clips[n]["wall_s"]
                times = f"{base / wall['median']:.1f}x" if base and name not in (AUDIOCRAFT, EMBEDDED) else ""
                print(row(name, [*numbers(wall), times, f"{by_clips[n]['memory_mb']['median']:.0f}"]))
        if base and int(n) in SHARE_TARGETS:
            print(row("target", ["", f"{base * SHARE_TARGETS[int(n)]:.2f}", "", f"{1 / SHARE_TARGETS[int(n)]:.1f}x",
                                 str(MEMORY_TARGETS[int(n)])]))
        if n == "1":
            print(row(f"target, {EMBEDDED}", ["", f"{EMBEDDED_TARGET_S:.2f}"]))
    print("\n" + row("cold process to the first second of sound, s", ("min", "median", "max")))
    for name, s in results["first_sound_s"].items():
        print(row(name, numbers(s)))
    print(row("target", ["", f"{FIRST_SOUND_TARGET_S:.2f}"]))
    print("\n" + row(f"a long clip, {LONG}", ("s", "peak MB")))
    for length, run in results["long"].items():
        print(row(f"{length} s", [f"{run['wall_s']:.1f}", f"{run['memory_mb']:.0f}"]))
    print("\n" + row("files that it reads", ["MB"]))
    for name, size in results["sizes_mb"].items():
        print(row(name, [f"{size:.1f}"]))
    for name, why in results["failed"].items():
        print(f"{name}: could not run ({why})")


def _numbers(option: str, text: str, kind: type) -> list:
    try:
        found = [kind(n) for n in text.split(",")]
    except ValueError:
        found = []
    if not found or not min(found) > 0:
        raise UserError(f"{option} is a list of numbers above 0 with commas between them, got {text!r}")
    return found


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.cold_boot", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clips", default="1,10", help="how many at once, a list (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each (default %(default)s)")
    parser.add_argument("--long", default="60,600", help="seconds of the clips whose memory is looked at, a list")
    parser.add_argument("--without", default="", metavar="NAMES", help=f"leave out {AUDIOCRAFT},{TRANSFORMERS}")
    parser.add_argument("--quick", action="store_true", help="a toy instrument, 1 repeat: does it run?")
    parser.add_argument("--save", type=Path, metavar="FILE", help="JSON file that takes the results")
    args = parser.parse_args(argv)
    clips, long = _numbers("--clips", args.clips, int), _numbers("--long", args.long, float)
    left_out = [name for name in args.without.split(",") if name]
    if args.repeats < 1 or not args.seconds > 0:
        raise UserError(f"--repeats is 1 or more and --seconds above 0, got {args.repeats} and {args.seconds:g}")
    if not set(left_out) <= {AUDIOCRAFT, TRANSFORMERS}:
        raise UserError(f"--without can leave out {AUDIOCRAFT},{TRANSFORMERS}, got {args.without}")
    if args.quick:
        args.repeats, clips, long, args.seconds = 1, clips[:1], [2.0], min(args.seconds, 1.2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log = folder / "said"
        with log.open("wb") as f:  # in a process of its own: torch would stay in this one
            process = start(["-m", "benchmarks.common.peers", "make", folder, *(["--tiny"] if args.quick else [])],
                            stdout=subprocess.DEVNULL, stderr=f)
            try:
                ended(process, log)
            except Failed as why:
                raise UserError(f"the instrument could not be made: {why}") from None
        there = [way for way in ways(folder) if way.name not in left_out]
        results = measure(there, clips, args.seconds, args.repeats, long) | {"sizes_mb": sizes(folder)}
    report(results)
    packages = ("torch", "audiocraft", "transformers", "onnxruntime", "numpy")
    finish("cold_boot", describe(*packages), results, args.save)


if __name__ == "__main__":
    run_cli(main)
