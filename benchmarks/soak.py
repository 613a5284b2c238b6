"""An hour of all sorts at once: ``python -m benchmarks.soak --minutes 60``.

Threads that share one instrument and one drummer, and processes with their own, ask for clips, beats, chains of weird
tools and prompts, some of them damaged files, in an order of chance; some are given up half-way. Each result is
compared with its solo twin, which one thread made before. Memory, open files and threads of every process are counted
once a minute: they may not grow after the first third.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from benchmarks.common.machine import ROOT, describe, finish
from benchmarks.prep.mutations import DAMAGE

CHAINS = ("mutate:share=5%", "stutter:at=200ms,len=100ms,times=3", "reverse; mutate:share=10%", "reroll:keep=0")
DAMAGED = 8  # prompts that are damaged files
GIVEN_UP = 0.15  # share of the clips that are not waited for
GROWTH = {"memory": 1.1, "files": 1.0, "threads": 1.0}  # of the medians, from the second third to the last


class Asked:
    """What is asked for, by number: each has one answer, a digest or an error's words."""

    def __init__(self, folder: Path):
        from audiocraft_ext import Instrument
        from audiocraft_ext.drums.play.drummer import Drummer

        self.instrument = Instrument.load("embedded", threads=1)
        self.drummer = Drummer.load("drums", threads=1)
        self.prompts = sorted(folder.iterdir())
        self.jobs: list[Callable[[], str]] = [
            *(self._clip(seed=seed) for seed in range(4)),
            *(self._clip(seed=seed, weird=chain) for seed, chain in enumerate(CHAINS)),
            *(self._clip(seed=1, prompt=path, prompt_seconds=0.5) for path in self.prompts),
            *(self._beat(seed) for seed in range(6))]

    def _clip(self, **what) -> Callable[[], str]:
        def make(stop: bool = False) -> str:
            try:
                (clip,) = self.instrument.play(self.instrument.recipe(1.5, **what), [0], _give_up if stop else _go_on)
                return hashlib.sha256(clip.codes.tobytes() + clip.wav.tobytes()).hexdigest()
            except UserError as error:
                return f"refused: {error}"
            except _GivenUp:
                return ""
        return make

    def _beat(self, seed: int) -> Callable[[], str]:
        def make(stop: bool = False) -> str:
            try:
                (beat,) = self.drummer.play(self.drummer.recipe(bars=2, seed=seed), [0], _give_up if stop else _go_on)
                return hashlib.sha256(beat.codes.tobytes()).hexdigest()
            except _GivenUp:
                return ""
        return make


class _GivenUp(Exception):
    """Whoever asked has gone."""


def _give_up(done: float) -> None:
    """Called while it is sampled."""
    if done > 0.3:
        raise _GivenUp


def _go_on(done: float) -> None:
    pass


def prompts(folder: Path, seed: int) -> None:
    """A good sound and damaged ones."""
    rng = random.Random(seed)
    good = sorted((ROOT / "data_prep" / "breaks").rglob("*.flac"))[0].read_bytes()
    folder.mkdir()
    (folder / "good.flac").write_bytes(good)
    for n in range(DAMAGED):
        (folder / f"{n}.flac").write_bytes(DAMAGE[n % len(DAMAGE)](bytearray(good), rng))


def usage() -> dict[str, int]:
    """Of this process: resident kB, open files, threads."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"memory": int(status["VmRSS"].split()[0]), "files": len(os.listdir("/proc/self/fd")),
            "threads": int(status["Threads"])}


def work(folder: Path, twins: list[str], threads: int, seconds: float, every: float, seed: int,
         send: Callable[[dict], object]) -> None:
    """``threads`` that share what they ask, until the time is over; ``send`` gets the counts and what was used."""
    asked, until, counts, wrong = Asked(folder), time.monotonic() + seconds, Counter(), []

    def ask(rng: random.Random) -> None:
        while time.monotonic() < until:
            number = rng.randrange(len(twins))
            stop = rng.random() < GIVEN_UP
            try:
                got = asked.jobs[number](stop)
            except Exception as error:  # noqa: BLE001  (that is what is looked for)
                got = f"{type(error).__name__}: {error}"
            counts["given up" if got == "" else "made"] += 1
            if got not in ("", twins[number]):
                wrong.append(f"{number}: expected {twins[number][:60]}, got {got[:100]}")

    used = []
    running = [threading.Thread(target=ask, args=(random.Random(f"{seed} {n}"),), daemon=True) for n in range(threads)]
    for one in running:
        one.start()
    while any(one.is_alive() for one in running):
        time.sleep(min(every, max(0.0, until - time.monotonic()) + 0.1))
        if time.monotonic() < until:
            used.append(usage())
    send({"counts": dict(counts), "wrong": wrong, "used": used})


def growth(used: list[dict[str, int]]) -> dict[str, float]:
    """By how much the median of the last third is more than that of the second."""
    third = len(used) // 3
    if not third:
        return {}
    return {name: statistics.median(one[name] for one in used[2 * third :])
            / statistics.median(one[name] for one in used[third : 2 * third]) for name in GROWTH}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=4, help="that share one instrument (default: 4)")
    parser.add_argument("--processes", type=int, default=3, help="besides, each with its own (default: 3)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    seconds, context = 60 * args.minutes, multiprocessing.get_context("spawn")
    every = max(1.0, min(60.0, seconds / 30))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "prompts"
        prompts(folder, args.seed)
        twins = [job() for job in Asked(folder).jobs]
        print(f"{len(twins)} things to ask for, {sum(t.startswith('refused') for t in twins)} of them to be refused")
        queue = context.Queue()
        others = [context.Process(target=work, args=(folder, twins, 1, seconds, every, args.seed + 1 + n, queue.put))
                  for n in range(args.processes)]
        for one in others:
            one.start()
        results: list[dict] = []
        work(folder, twins, args.threads, seconds, every, args.seed, results.append)
        for one in others:
            with contextlib.suppress(Exception):
                results.append(queue.get(timeout=120))
            one.join(60)
    made = sum((Counter(one["counts"]) for one in results), Counter())
    wrong = [line for one in results for line in one["wrong"]]
    grown = [growth(one["used"]) for one in results]
    leaks = [one for one in grown if any(one.get(name, 1) > most for name, most in GROWTH.items())]
    found = {"minutes": args.minutes, **made, "wrong": len(wrong), "processes that ended": len(results),
             "growth": [{name: round(value, 3) for name, value in one.items()} for one in grown],
             "last": [one["used"][-1] for one in results if one["used"]]}
    print(*wrong[:10], found, sep="\n")
    finish("soak", describe("numpy", "onnxruntime"), found)
    return 1 if wrong or leaks or len(results) < 1 + args.processes else 0


if __name__ == "__main__":
    run_cli(main)
