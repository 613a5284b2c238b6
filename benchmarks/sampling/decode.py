"""A step of the LM, warm, beside its peers and beside the least that the machine's memory allows; and the codec.

    python -m benchmarks.sampling.decode [--repeats 5] [--seconds 10] [--save docs/bench.json]

**Steps.** The micro scale with random weights, the same for all, in one process, in turn. What is timed is a whole clip
of codes, sampling with it (temperature 1, top_k 250), divided by its steps: audiocraft's ``LMModel.generate``, our own
loop over plain torch with a cache allocated once, and over the ONNX graphs in each precision.

**The floor** is reading every weight that a step needs, and the past of every clip, once at the bandwidth at which
numpy reads memory here, in the same run: from a buffer as large as the int8 weights, and from a large one; from
ordinary pages and from huge ones. The fastest of them counts.

**Scaling.** Step time along a clip of 5 minutes, with the bundle's window (what ``infer.py`` does) and without; and
against the number of clips in a batch.

**The codec.** Codes to sound: ours in pieces, beside transformers' and audiocraft's EnCodec as a whole.
"""

from __future__ import annotations

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from audiocraft.models import loaders

from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.core.delay import steps_of
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.engine import sampler
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.export import sources
from audiocraft_ext.model.lm import LM
from benchmarks.common.machine import Spread, describe, finish, in_turn, numbers, read_bandwidth, row
from benchmarks.common.peers import AUDIOCRAFT, BUNDLE, TOP_K, TRANSFORMERS, import_transformers, make

PRECISIONS = ("fp32", "int8", "int4")
BATCHES, CODEC_BATCHES = (1, 4, 10), (1, 4)
MANY = (1, 2, 4, 8, 10, 16, 32, 64)
FLOOR_TARGET, SHARE_TARGET = 1.5, 1 / 7  # int8: times the floor at batch 1, share of audiocraft's time at batch 10
SETTINGS = Sampling(temperature=1.0, top_k=TOP_K)
LARGE = 1 << 30  # bytes of the large buffer


def samplers(folder: Path, engines: dict[str, SoundEngine]) -> dict[str, Callable[[int, int], object]]:
    """``sample(clips, frames)`` of each peer and of ours."""
    theirs = loaders.load_lm_model(folder / AUDIOCRAFT, device="cpu").eval()
    model = sources.read(folder / BUNDLE)
    plain = LM(model.cfg, model.spec.delays).eval().requires_grad_(False)
    plain.load_state_dict(model.state, assign=True)

    @torch.inference_mode()
    def audiocraft(clips: int, frames: int):
        return theirs.generate(num_samples=clips, max_gen_len=frames, use_sampling=True, temp=1.0, top_k=TOP_K)

    def ours(stepper) -> Callable[[int, int], object]:
        return lambda clips, frames: sampler.generate(stepper, model.spec, range(clips), frames, seed=1,
                                                      sampling=SETTINGS)

    return {AUDIOCRAFT: audiocraft, "our loop, plain torch": ours(TorchStepper(plain)),
            **{f"ours, {p}": ours(engine.stepper) for p, engine in engines.items()}}


def step_times(ways: dict[str, Callable], frames: int, steps: int, batches: tuple[int, ...], repeats: int) -> dict:
    """``{batch: {way: seconds a step}}``."""
    results = {}
    for batch in batches:
        for way in ways.values():
            way(batch, min(frames, 16))  # warm
        print(f"steps of {batch} clips ...", file=sys.stderr, flush=True)
        works = {name: (lambda way=way, batch=batch: way(batch, frames)) for name, way in ways.items()}
        results[str(batch)] = {name: {key: value / steps for key, value in s.items()}
                               for name, s in in_turn(works, repeats).items()}
    return results


def weight_bytes(engine: SoundEngine) -> int:
    """What a step reads of the weights: all that the graph points to but the embeddings, of which it takes a row."""
    bundle = engine.bundle
    model = onnx.load(bundle.file(bundle.lm_files(engine.precision)[0]), load_external_data=False).graph
    rows = {node.input[0] for node in model.node if node.op_type == "Gather"}
    return sum(int(entry.value) for tensor in model.initializer if tensor.name not in rows
               for entry in tensor.external_data if entry.key == "length")


def bandwidths(small: int, threads: int, large: int = LARGE) -> dict[str, float]:
    """Bytes a second by how the memory lies."""
    return {f"{name}, {size / 1e6:.0f} MB": read_bandwidth(size, threads, huge)
            for size in (small, large) for name, huge in (("ordinary pages", False), ("huge pages", True))}


def along(engine: SoundEngine, seconds: float, window: int | None) -> list[tuple[float, float]]:
    """``(seconds into the clip, median step in seconds)`` for each whole second of one clip of this length."""
    frames, stamps = round(seconds * engine.spec.frame_rate), [time.perf_counter()]
    sampler.generate(engine.stepper, engine.spec, [0], frames, seed=1, sampling=SETTINGS, window=window,
                     progress=lambda done, total: stamps.append(time.perf_counter()))
    step, rate = np.diff(stamps), round(engine.spec.frame_rate)
    begins = range(0, max(1, len(step) - rate + 1), rate)
    return [(at / rate, round(float(np.median(step[at : at + rate])), 7)) for at in begins]


def against_batch(engine: SoundEngine, seconds: float, batches: tuple[int, ...]) -> dict[str, float]:
    """Seconds a step by the number of clips, one run each."""
    frames = round(seconds * engine.spec.frame_rate)
    results = {}
    for batch in batches:
        start = time.perf_counter()
        sampler.generate(engine.stepper, engine.spec, range(batch), frames, seed=1, sampling=SETTINGS)
        results[str(batch)] = (time.perf_counter() - start) / (steps_of(frames, engine.spec.delays) - 1)
    return results


def codec_times(folder: Path, engine: SoundEngine, seconds: float, batches: tuple[int, ...], repeats: int) -> dict:
    """``{clips: {way: seconds}}`` for codes to sound."""
    transformers = import_transformers()
    theirs = loaders.load_compression_model(folder / AUDIOCRAFT, device="cpu").eval()
    also = transformers.EncodecModel.from_pretrained(folder / TRANSFORMERS / "codec").eval()
    spec, frames, results = engine.spec, round(seconds * engine.spec.frame_rate), {}
    for batch in batches:
        print(f"the codec, {batch} clips ...", file=sys.stderr, flush=True)
        codes = np.random.default_rng(0).integers(0, spec.card, (batch, spec.n_q, frames))
        tensor = torch.from_numpy(codes)
        works = {AUDIOCRAFT: lambda x=tensor: theirs.decode(x, None),
                 TRANSFORMERS: lambda x=tensor: also.decode(x[None], [None]), "ours": lambda x=codes: engine.decode(x)}
        with torch.inference_mode():
            in_turn(works, 1)  # warm
            results[str(batch)] = in_turn(works, repeats)
    return results


def report(results: dict) -> None:
    """The tables."""
    seconds, steps = results["seconds"], results["step_s"]
    for batch, ways in steps.items():
        print("\n" + row(f"a step of {batch} clip{'s' * (batch != '1')}, ms",
                         ("min", "median", "max", "faster", "floor", "x floor")))
        for name, s in ways.items():
            floor = results["floor_s"].get(name, {}).get(batch)
            times = f"{ways[AUDIOCRAFT]['median'] / s['median']:.1f}x"
            least = ["", ""] if floor is None else [f"{floor * 1e3:.2f}", f"{s['median'] / floor:.2f}"]
            print(row(name, [*numbers(s, 1e3), times, *least]))
    print(row("targets, int8", [f"{FLOOR_TARGET:g} x the floor of 1 clip, {1 / SHARE_TARGET:.0f}x audiocraft with 10"]))
    print("\n" + row("memory read, GB/s", []))
    for name, speed in results["bandwidth"].items():
        print(row(name, [f"{speed / 1e9:.1f}"]))
    print("\n" + row("int8, a step by place in the clip, ms", ["window", "whole"]))
    window, whole = (dict(results["along_s"][key]) for key in ("window", "whole"))
    places = [p for p in (0.0, 9.0, 29.0, 59.0, 119.0, 299.0) if p in window] or list(window)[:3]
    for place in places:
        print(row(f"second {place + 1:.0f}", [f"{window[place] * 1e3:.2f}", f"{whole[place] * 1e3:.2f}"]))
    print("\n" + row("int8, a step by clips in the batch, ms", ["step", "a clip"]))
    for batch, s in results["batch_s"].items():
        print(row(batch, [f"{s * 1e3:.2f}", f"{s / int(batch) * 1e3:.2f}"]))
    for batch, ways in results["codec_s"].items():
        print("\n" + row(f"codec: {batch} x {seconds:g} s of codes to sound, s", ("min", "median", "max", "faster")))
        for name, s in ways.items():
            print(row(name, [*numbers(s), f"{ways[AUDIOCRAFT]['median'] / s['median']:.1f}x"]))


def floors(engines: dict[str, SoundEngine], frames: int, batches: tuple[int, ...], speed: float) -> dict:
    """``{way: {batch: seconds}}``: weights once, and the past of each clip, half of it full on average."""
    out = {}
    for precision, engine in engines.items():
        weights = weight_bytes(engine)
        past = engine.stepper.cache_bytes(steps_of(frames, engine.spec.delays)) / 2
        out[f"ours, {precision}"] = {str(batch): (weights + batch * past) / speed for batch in batches}
    return out


def measure(folder: Path, seconds: float, repeats: int, long_s: float, quick: bool) -> dict:
    """Everything; see the text at the top.

    Args:
        seconds: length of the clips, but for the one of ``long_s``.
        quick: fewer batches, a smaller buffer, a shorter window.
    """
    threads = physical_cores()
    torch.set_num_threads(threads)
    engines = {p: SoundEngine(folder / BUNDLE, precision=p) for p in PRECISIONS}
    spec, int8 = engines["int8"].spec, engines["int8"]
    frames = round(seconds * spec.frame_rate)
    batches, many = ((1, 2), (1, 3)) if quick else (BATCHES, MANY)
    small = weight_bytes(int8)
    speeds = bandwidths(max(small, 1 << 20), threads, 1 << 24 if quick else LARGE)
    ways = samplers(folder, engines)
    results: dict[str, float | dict[str, dict[str, Spread]] | dict | list] = {
        "seconds": seconds, "repeats": repeats, "threads": threads,
        "step_s": step_times(ways, frames, steps_of(frames, spec.delays) - 1, batches, repeats),
        "weights_read_mb": {p: weight_bytes(e) / 1e6 for p, e in engines.items()},
        "bandwidth": speeds, "floor_s": floors(engines, frames, batches, max(speeds.values())),
    }
    window = math.ceil(long_s * spec.frame_rate / 3) if quick else int8.bundle.context
    print(f"a clip of {long_s:g} s, twice ...", file=sys.stderr, flush=True)
    results["along_s"] = {"window": along(int8, long_s, window), "whole": along(int8, long_s, None)}
    results["window_s"] = window / spec.frame_rate
    print("batches ...", file=sys.stderr, flush=True)
    results["batch_s"] = against_batch(int8, seconds, many)
    results["codec_s"] = codec_times(folder, int8, seconds, CODEC_BATCHES[:1] if quick else CODEC_BATCHES, repeats)
    return results


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.decode", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default %(default)s)")
    parser.add_argument("--long", type=float, default=300.0, metavar="SECONDS", help="the clip along which steps are "
                        "timed (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a toy instrument, 1 repeat: does it run?")
    parser.add_argument("--save", type=Path, metavar="FILE", help="JSON file that takes the results")
    args = parser.parse_args(argv)
    if args.repeats < 1 or not args.seconds > 0 or not args.long > 0:
        raise UserError(f"--repeats is 1 or more, --seconds and --long are above 0, got {args.repeats}, "
                        f"{args.seconds:g} and {args.long:g}")
    if args.quick:
        args.repeats, args.seconds, args.long = 1, min(args.seconds, 0.5), 1.5
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary), args.quick)
        results = measure(Path(temporary), args.seconds, args.repeats, args.long, args.quick)
    report(results)
    packages = ("torch", "audiocraft", "transformers", "onnxruntime", "numpy")
    finish("decode", describe(*packages), results, args.save)


if __name__ == "__main__":
    run_cli(main)
