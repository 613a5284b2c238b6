"""What int8 and int4 cost a trained model: ``python -m benchmarks.sampling.precision MODEL STORE [--split valid]``.

MODEL is a bundle or whatever else ``audiocraft_ext.export`` reads; STORE is a token store of the same codec. The
graph of each precision, the one that plays, reads the same windows of codes, each as long as the training's segment,
and says how likely every code is after those before it (teacher forcing). The cross entropy is the mean over all codes,
in nats; *greedy* is the share of codes where the likeliest one is the same as in fp32.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audiocraft_ext.core.delay import delay, valid_mask
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.export import sources
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import describe, finish, row

PRECISIONS = ("fp32", "int8", "int4")
TARGETS = {"int8": 0.5, "int4": 3.0}  # per cent of cross entropy that may be lost
SHORTEST = 50  # frames; what a track leaves after its last whole window counts if it is not shorter


def windows(store: TokenStore, split: str, frames: int, most: int | None = None) -> list[tuple[int, int]]:
    """``(start, frames)`` of windows side by side in each track; of too many, ``most`` evenly over all."""
    found = [(start, min(frames, track.start + track.frames - start)) for track in store.tracks(split)
             for start in range(track.start, track.start + track.frames, frames)]
    found = [(start, length) for start, length in found if length >= min(SHORTEST, frames)]
    if not found:
        raise UserError(f"{store.path}: its split {split!r} has no {min(SHORTEST, frames)} frames in a row")
    if most is None or most >= len(found):
        return found
    return [found[i * len(found) // most] for i in range(most)]


def judged(engine: Engine, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One window, ``codes [K, T]``: the surprise of each code in nats ``float64 [K, T]``, and the likeliest code
    ``int64 [K, T]`` in its place, given all that is before."""
    spec, K = engine.spec, codes.shape[0]
    sequence = delay(codes[None].astype(np.int64), spec.delays, spec.special_id)  # [1, K, S]
    engine.stepper.start(1, sequence.shape[-1])
    logits = engine.stepper.logits(sequence)[0, :-1].transpose(1, 0, 2).astype(np.float64)  # [K, S - 1, card]
    there = valid_mask(codes.shape[1], spec.delays)[:, 1:]  # [K, S - 1]
    targets = np.where(there, sequence[0, :, 1:], 0)
    top = logits.max(axis=-1)
    total = np.log(np.exp(logits - top[..., None]).sum(axis=-1)) + top
    surprise = total - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return surprise[there].reshape(K, -1), logits.argmax(axis=-1)[there].reshape(K, -1)


def compare(engines: dict[str, Engine], pieces: Iterator[np.ndarray], codebooks: int) -> dict[str, dict]:
    """Cross entropy (all, and by codebook) and greedy agreement of each engine over windows ``codes [K, T]``."""
    sums = {name: np.zeros(codebooks) for name in engines}
    same, count = dict.fromkeys(engines, 0), 0
    for codes in pieces:
        count += codes.shape[1]
        reference = None
        for name, engine in engines.items():  # fp32 first
            surprise, likeliest = judged(engine, codes)
            reference = likeliest if reference is None else reference
            sums[name] += surprise.sum(axis=1)
            same[name] += int((likeliest == reference).sum())
    base = sums["fp32"].mean() / count
    return {name: {"cross_entropy": float(s.mean() / count), "by_codebook": (s / count).tolist(),
                   "percent": float(100 * (s.mean() / count / base - 1)), "greedy": same[name] / count / codebooks}
            for name, s in sums.items()}


def engines_of(model: sources.Trained, folder: Path) -> tuple[dict[str, Engine], dict[str, str]]:
    """An engine for each precision, exported anew into ``folder``, and why those that are not there are not."""
    engines, failed = {}, {}
    for precision in PRECISIONS:
        try:
            write_bundle(folder / precision, model, precisions=(precision,))
            engines[precision] = Engine(folder / precision, precision=precision)
        except UserError as why:
            failed[precision] = str(why)
    if "fp32" not in engines:
        raise UserError(failed["fp32"])
    return engines, failed


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.precision", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="a bundle, a checkpoint, a run or audiocraft's export")
    parser.add_argument("store", type=Path, help="token store of the same codec")
    parser.add_argument("--split", default="valid", help="default %(default)s")
    parser.add_argument("--frames", type=int, help="length of a window (default: the LM's context)")
    parser.add_argument("--windows", type=int, help="at most so many, evenly over the split (default: all)")
    parser.add_argument("--codec", help="name or folder of the codec, where the model's own name for it does not lead")
    parser.add_argument("--quick", action="store_true", help="two windows: does it run?")
    parser.add_argument("--save", type=Path, metavar="FILE", help="JSON file that takes the results")
    args = parser.parse_args(argv)
    for name in ("frames", "windows"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"--{name} is 1 or more, got {value}")
    store, model = TokenStore(args.store), sources.read(args.model, args.codec)
    model.spec.check_same_stream(store.spec, f"the model {args.model}", f"the store {args.store}")
    with tempfile.TemporaryDirectory() as temporary:
        engines, failed = engines_of(model, Path(temporary))
        frames = args.frames or engines["fp32"].bundle.context
        spans = windows(store, args.split, frames, 2 if args.quick else args.windows)

        def pieces() -> Iterator[np.ndarray]:
            for i, (start, length) in enumerate(spans):
                print(f"window {i + 1} of {len(spans)}", file=sys.stderr, flush=True)
                yield store.read(start, length)

        results = compare(engines, pieces(), store.spec.n_q)
    total = sum(length for _, length in spans)
    print(f"{len(spans)} windows of up to {frames / store.spec.frame_rate:g} s, {total * store.spec.n_q} codes, "
          f"split {args.split}, {model.cfg.parameter_count() / 1e6:.1f} M parameters")
    print(row("cross entropy, nats a code", ("", "of fp32", "allowed", "greedy",
                                             *(f"book {k}" for k in range(store.spec.n_q))), 28))
    for name, r in results.items():
        allowed = f"{TARGETS[name]:+.1f} %" if name in TARGETS else ""
        print(row(name, [f"{r['cross_entropy']:.4f}", f"{r['percent']:+.3f} %", allowed, f"{100 * r['greedy']:.1f} %",
                         *(f"{ce:.4f}" for ce in r["by_codebook"])], 28))
    for name, why in failed.items():
        print(f"{name}: could not run ({why})")
    finish("precision", describe("onnxruntime", "numpy"),
           {"windows": len(spans), "frames": frames, "codes": total * store.spec.n_q, "split": args.split,
            "parameters": model.cfg.parameter_count(), "precisions": results, "failed": failed}, args.save)


if __name__ == "__main__":
    run_cli(main)
