"""Training speed: our solver from a token store beside audiocraft's own, in turn, in one run.

    python -m benchmarks.training.train [--device cpu|cuda] [--quick] [--scales debug,nano,micro] [--batches 1,3]
                               [--seconds 5] [--save FILE]

Whole updates, in each solver's own loop: its loader, forward and backward pass, clipping, AdamW, schedule, averaged
weights, metrics, log. Ours reads codes from a store. audiocraft's (``MusicGenSolver`` of its package, as it is) encodes
audio with a full-size EnCodec (random weights) in every update, and once more reads codes from its own token cache.

They take turns of a few updates, of which the first is not counted; a turn gives the mean of the others. Same sizes,
batch, clips, schedule, clipping, optimiser (AdamW; fused for both, which audiocraft's default is not) and precision
(fp32 on a CPU, and ours in bfloat16 as well; bfloat16 autocast on CUDA, where audiocraft's default is float16). What
differs: ours also writes TensorBoard's file, its curve and its status; audiocraft's loader has worker processes, its
cache worker threads.

"of peak": the arithmetic of forward and backward pass (6 for each weight and frame, and attention's products) in a
second, over what one large product reaches. "x floor": the time over that which the products with the weights need by
themselves, in the shapes that they have. A token is one code of one of the four streams. On CUDA the largest batch that
our solver takes is looked for and measured too.
"""

from __future__ import annotations

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import contextlib
import gc
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from audiocraft.solvers.base import StandardSolver

from audiocraft_ext.audio.codec.encodec import EncodecConfig
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.runs.record import Record
from audiocraft_ext.train import get_solver, init_seed_and_system, resolve
from audiocraft_ext.train import main as dora_main
from audiocraft_ext.training.solver import StreamSolver
from benchmarks.common import audiocraft_solver
from benchmarks.common.machine import describe, finish, numbers, row, spread
from benchmarks.common.products import arithmetic, peak, products, wait
from benchmarks.sampling.gpu import size_of

OURS, CACHED, ENCODING = "ours, token store", "audiocraft, its token cache", "audiocraft, EnCodec in the loop"
OURS_HALF = "ours, autocast_cpu=true"  # only where the processor multiplies bfloat16
FLOOR, PEAK = "the matrix products alone", "peak"
CODEC = EncodecConfig()
MOST = 512  # clips; where the search for the largest batch ends
TARGET_SCALE = "micro"
CPU_TIMES, CPU_FLOOR, CUDA_TIMES, CUDA_BATCH, CUDA_PEAK = 2.0, 1.3, 5.0, 3, 0.4


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    device: str
    scales: tuple[str, ...]
    batches: tuple[int, ...]
    seconds: float  # of a clip
    turns: int
    updates: int  # in a turn, at least 2; the averaged weights move with the last of them

    @property
    def frames(self) -> int:
        return round(self.seconds * CODEC.frame_rate)

    @property
    def workers(self) -> int:
        """Of audiocraft's loaders; its default is 10."""
        return min(10, os.cpu_count() or 1) if self.device == "cuda" else 1


def our_solver(folder: Path, scale: str, batch: int, plan: Plan, *more: str) -> StreamSolver:
    """As ``dora run solver=musicgen/micro_32khz`` makes it, in a run of its own below ``folder``."""
    dora_main.dora.dir = folder
    xp = dora_main.get_xp([
        "solver=musicgen/micro_32khz", f"model/lm/model_scale={scale}", f"device={plan.device}",
        f"datasource.store={folder / audiocraft_solver.STORE}", f"dataset.batch_size={batch}",
        f"dataset.segment_duration={plan.seconds}", "optim.epochs=1000", f"optim.updates_per_epoch={plan.updates}",
        f"optim.ema.updates={plan.updates}", "checkpoint.save_minutes=0", *more])
    dora_main.init_xp(xp)
    with xp.enter(stack=True):
        resolve(xp.cfg)
        init_seed_and_system(xp.cfg)
        return get_solver(xp.cfg, Record(xp.folder))


def turn(solver: StandardSolver, plan: Plan) -> float:
    """An epoch of training in the solver's own loop; seconds an update. An update lasts from when its batch is asked
    for to when the next one is."""
    stamps: list[float] = []

    def stamp() -> None:
        wait(plan.device)
        stamps.append(time.perf_counter())

    def stamped(loader) -> Iterator:
        stamp()
        for batch in loader:
            yield batch
            stamp()

    theirs = solver.log_progress
    solver.log_progress = lambda stage, loader, **options: theirs(stage, stamped(loader), **options)
    try:
        solver.run_stage("train", solver.train)
    finally:
        del solver.log_progress
    solver.commit(save_checkpoints=False)
    if isinstance(solver, StreamSolver):
        solver.progress |= {"step": 0, "unknown": 0, "sums": {}}  # as at the end of its epochs
    return (stamps[plan.updates] - stamps[1]) / (plan.updates - 1)


def their_ways(folder: Path, ours: StreamSolver, batch: int, plan: Plan) -> dict[str, Callable[[], float]]:
    """Turns of one of audiocraft's solvers, from its cache and from audio."""
    theirs = audiocraft_solver.build(folder, audiocraft_solver.config(folder, ours.lm_config, ours.cfg, plan.workers))
    cache = folder / f"cache_{batch}"
    if not cache.exists():
        audiocraft_solver.write_cache(theirs, cache, plan.updates)

    def turn_from(cache: Path | None) -> float:
        audiocraft_solver.use_cache(theirs, cache)
        return turn(theirs, plan)

    return {CACHED: partial(turn_from, cache), ENCODING: partial(turn_from, None)}


def measure(folder: Path, scale: str, batch: int, plan: Plan, alone: bool = False) -> dict:
    """One block of the table: seconds an update of each way, min, median and max over the turns; None did not fit.

    Args:
        alone: without audiocraft.
    """
    ours = our_solver(folder, scale, batch, plan)
    size = ours.lm_config
    ways: dict[str, Callable[[], float]] = {PEAK: partial(peak, plan.device), OURS: partial(turn, ours, plan),
                                            FLOOR: partial(products, size, batch * plan.frames, plan.device)}
    if plan.device == "cpu" and multiplies_bfloat16():
        ways[OURS_HALF] = partial(turn, our_solver(folder, scale, batch, plan, "autocast_cpu=true"), plan)
    seconds: dict[str, list[float] | None] = {name: [] for name in (PEAK, FLOOR, OURS)}
    if not alone:
        try:
            ways |= their_ways(folder, ours, batch, plan)
        except torch.cuda.OutOfMemoryError:
            seconds |= {CACHED: None, ENCODING: None}
            clean()
    for _ in range(plan.turns):
        for name, way in ways.items():
            taken = seconds.setdefault(name, [])
            if taken is not None:
                try:
                    taken.append(way())
                except torch.cuda.OutOfMemoryError:
                    seconds[name] = None
                    clean()
    rate = 1 / min(seconds.pop(PEAK))
    return {"parameters": size.parameter_count(), "batch": batch, "seconds": plan.seconds, "peak_flops": rate,
            "tokens": batch * plan.frames * size.n_q, "at_peak_s": arithmetic(size, batch, plan.frames) / rate,
            "update_s": {name: s and spread(s) for name, s in seconds.items()}}


def largest(folder: Path, scale: str, plan: Plan) -> int:
    """The largest batch, to an eighth, that our solver takes and this device holds; 0 if not even one clip."""
    short = replace(plan, updates=2)

    def fits(batch: int) -> bool:
        try:
            turn(our_solver(folder, scale, batch, short), short)
            return True
        except (UserError, torch.cuda.OutOfMemoryError):  # it refuses what it thinks too large
            return False
        finally:
            clean()

    low, high = 0, 1
    while high <= MOST and fits(high):
        low, high = high, 2 * high
    while high <= MOST and high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def multiplies_bfloat16() -> bool:
    """Whether this processor does, where Linux says so."""
    try:
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
    except OSError:
        return False


def clean() -> None:
    """Models refer to themselves, so they go when somebody looks."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def ratios(block: dict) -> dict[str, float]:
    """From the medians: ours over each of audiocraft's, over the floor, and the share of the peak."""
    median = {name: s["median"] for name, s in block["update_s"].items() if s}
    ours = median.get(OURS)
    if ours is None:
        return {}
    found = {key: median[name] / ours for key, name in (("encoding", ENCODING), ("cached", CACHED)) if name in median}
    return found | {"peak": block["at_peak_s"] / ours, "floor": ours / median[FLOOR]}


def report(scale: str, block: dict, plan: Plan) -> None:
    print(f"\n{scale}, {block['parameters'] / 1e6:.1f} M parameters, {block['batch']} x {block['seconds']:g} s: "
          f"{block['tokens']} tokens an update")
    print(row("", ("tokens/s", "min ms", "median", "max", "of peak", "x floor"), 34))
    for name in (FLOOR, OURS, OURS_HALF, CACHED, ENCODING):
        s = block["update_s"].get(name)
        if s:
            print(row(name, (f"{block['tokens'] / s['median']:.0f}", *numbers(s, 1000, 1),
                             f"{100 * block['at_peak_s'] / s['median']:.1f} %",
                             f"{s['median'] / block['update_s'][FLOOR]['median']:.2f}"), 34))
        elif name in block["update_s"]:
            print(row(name, ("does not fit",), 34))
    found = ratios(block)
    for key, name in (("encoding", "with EnCodec in the loop"), ("cached", "from its token cache")):
        if key in found:
            print(f"ours is {found[key]:.2f}x audiocraft {name}")
    for line in targets(scale, block, found, plan):
        print(line)


def targets(scale: str, block: dict, found: dict[str, float], plan: Plan) -> Iterator[str]:
    """What was aimed at, and whether it was reached."""
    cpu, most, times = plan.device == "cpu", block.get("largest"), "x audiocraft with EnCodec in the loop"
    for key, sign, bound, words, meant in (
            ("encoding", 1, CPU_TIMES, times, cpu), ("floor", -1, CPU_FLOOR, "x the time of the matrix products", cpu),
            ("encoding", 1, CUDA_TIMES, times, not cpu and not most and block["batch"] == CUDA_BATCH),
            ("peak", 1, CUDA_PEAK, " of the bf16 peak at the largest batch", not cpu and most)):
        if meant and scale == TARGET_SCALE and key in found:
            yield (f"target: {'at least' if sign > 0 else 'at most'} {bound:g}{words}; {found[key]:.2f}, "
                   f"{'reached' if sign * (found[key] - bound) >= 0 else 'missed'}")


def run(plan: Plan, folder: Path) -> dict:
    """All blocks, printed as they come."""
    results: dict = {"device": plan.device, "precision": "bf16" if plan.device == "cuda" else "fp32", "scales": {}}
    quietly(audiocraft_solver.write_data, folder, CODEC, 2 * plan.seconds)
    for scale in plan.scales:
        blocks = results["scales"][scale] = []

        def add(block: dict, scale: str = scale, blocks: list = blocks) -> None:
            blocks.append(block | {"ratios": ratios(block)})
            report(scale, block, plan)
            clean()

        for batch in plan.batches:
            try:
                add(quietly(measure, folder, scale, batch, plan))
            except (UserError, torch.cuda.OutOfMemoryError) as error:
                print(f"\n{scale}, {batch} x {plan.seconds:g} s: {str(error).splitlines()[0]}")
        if plan.device == "cuda" and (most := quietly(largest, folder, scale, plan)):
            add(quietly(measure, folder, scale, most, plan, alone=True) | {"largest": True})
    return results


def quietly(work: Callable, *args, **options):
    """Without progress bars and warnings, which would lie between the lines of the table."""
    with contextlib.redirect_stderr(io.StringIO()):
        return work(*args, **options)


def plan_of(args) -> Plan:
    cuda = args.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU with CUDA, which torch does not find here")
    if args.quick:
        plan = Plan(args.device, (), (2,), 5.0 if cuda else 1.0, turns=2, updates=4 if cuda else 2)
    else:
        plan = Plan(args.device, (), (3, 16) if cuda else (1, 3), 30.0 if cuda else 5.0, 3, 10 if cuda else 3)
    scales = tuple(args.scales.split(","))
    for scale in scales:
        size_of(scale)
    batches = tuple(int(b) if b.isdigit() else 0 for b in args.batches.split(",")) if args.batches else plan.batches
    if min(batches) < 1:
        raise UserError(f"--batches is a list of numbers above 0 such as 1,3, got {args.batches!r}")
    seconds = args.seconds or plan.seconds
    if not 0.2 <= seconds <= 120:
        raise UserError(f"--seconds is from 0.2 to 120, got {seconds:g}")
    return replace(plan, scales=scales, batches=batches, seconds=seconds)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.training.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="short clips, one batch size, two turns")
    parser.add_argument("--scales", default="debug,nano,micro")
    parser.add_argument("--batches", help="clips, such as 1,3")
    parser.add_argument("--seconds", type=float, help="of a clip")
    parser.add_argument("--save", type=Path, metavar="FILE", help="JSON file that takes the results")
    args = parser.parse_args(argv)
    plan = plan_of(args)
    with tempfile.TemporaryDirectory() as temporary:
        results = run(plan, Path(temporary))
    machine = describe("torch", "audiocraft", threads=torch.get_num_threads())
    if plan.device == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    finish("train", machine, results, args.save)


if __name__ == "__main__":
    run_cli(main)
