"""What each lever of a training run gains and costs: time of an update, peak memory, loss after so many updates.

    python -m benchmarks.training.levers STORE [--device cuda] [--scale micro] [--batch 3] [--seconds 10] [--quick]

A process a row, so that each has a peak of its own, and `--rounds` rounds over all rows, so that a machine that slows
down slows all of them. The first update is told by itself: it is where things are compiled. All rows see the same
batches from the same start, of the train side of the store; the loss is the mean of the last quarter of the updates.
"float32" is the base; "logits kept" is its loss as it would be without audiocraft_ext/model/head_loss.py.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.model import lm
from audiocraft_ext.model.lm import IGNORE, LM, LMConfig
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.training import memory
from audiocraft_ext.training.dataset import StreamDataset
from audiocraft_ext.training.loss_scale import LossScaler
from audiocraft_ext.training.optimizers import get_optimiser
from audiocraft_ext.training.update import Updater
from benchmarks.common.machine import describe, finish, row

SCALES = Path(__file__).parents[2] / "configs/model/lm/model_scale"
SOLVER = Path(__file__).parents[2] / "configs/solver/default.yaml"
ROWS: dict[str, dict] = {
    "float32": {},
    "logits kept": {"plain": True},
    "bfloat16": {"half": "bfloat16"},
    "float16, scaled loss": {"half": "float16"},
    "checkpointing=torch": {"checkpointing": "torch"},
    "accumulate=BATCH": {"accumulate": True},
    "adamw8bit": {"optimizer": "adamw8bit"},
    "muon": {"optimizer": "muon"},
    "compile": {"compile": True},
    "bfloat16, compile": {"half": "bfloat16", "compile": True},
    "least memory": {"half": "bfloat16", "checkpointing": "torch", "accumulate": True, "optimizer": "adamw8bit"},
}
QUICK = ("float32", "logits kept", "bfloat16", "checkpointing=torch")


def missing(options: dict, device: str) -> str:
    """Why a row cannot be measured here; empty if it can."""
    if options.get("optimizer") == "adamw8bit" and find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed"
    if options.get("optimizer") == "muon" and not hasattr(torch.optim, "Muon"):
        return f"torch {torch.__version__} has none"
    if options.get("half") == "float16" and device == "cpu":
        return "hundreds of times slower on a CPU"
    return ""


def plain_losses(h, labels, targets, sizes, weights, biases):
    """The loss as torch has it: all logits are kept until the backward pass."""
    each = [F.cross_entropy(F.linear(h, w[:size], b if b is None else b[:size]).float(), wanted, ignore_index=IGNORE,
                            reduction="sum")
            for w, b, wanted, size in zip(weights, biases or [None] * len(sizes), labels, sizes)]
    each = torch.stack(each) / targets
    return each.mean(), each.detach()


def measure(args, options: dict) -> dict:
    """One row, in this process."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")  # as in training
    store = TokenStore(Path(args.store))
    spec, device = store.spec, torch.device(args.device)
    size = OmegaConf.to_container(OmegaConf.load(SCALES / f"{args.scale}.yaml"))["transformer_lm"]
    cfg = LMConfig(n_q=spec.n_q, card=spec.card, checkpointing=options.get("checkpointing", "none"), **size)
    model = LM(cfg, spec.delays, spec.sizes, spec.gates).to(device).train()
    if options.get("plain"):
        lm.stream_losses = plain_losses
    if options.get("compile"):
        model.compile_layers()
    optim = OmegaConf.load(SOLVER).optim
    optim.update({"lr": args.lr, "optimizer": options.get("optimizer", "adamw")})
    half = options.get("half")
    updater = Updater(model, get_optimiser(model, optim),
                      torch.autocast(device.type, getattr(torch, half)) if half else nullcontext(),
                      args.batch if options.get("accumulate") else 1, optim.max_norm,
                      LossScaler(args.device, enabled=half == "float16"))
    data = StreamDataset(store, TRAIN, round(args.seconds * spec.frame_rate))
    times, losses = [], []
    for update in range(args.updates + 1):
        batch = torch.from_numpy(data.batch(1, range(update * args.batch, (update + 1) * args.batch))).to(device)
        start = time.perf_counter()
        losses.append(float(updater(batch).ce))  # waits for the device
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {"first": times[0], "update": statistics.median(times[1:]), "peak": memory.peak_bytes(args.device),
            "loss": statistics.mean(losses[-max(1, args.updates // 4) :]), "skipped": updater.scaler.skipped}


def in_a_process(name: str, argv: list[str]) -> dict:
    """The row ``name``, or what went wrong (out of memory is an answer too)."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.training.levers", *argv, "--row", name],
                          capture_output=True, text=True, cwd=SCALES.parents[3])
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.training.levers", description=__doc__.split("\n\n")[0])
    parser.add_argument("store", help="a token store")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--scale", default="micro", help="of configs/model/lm/model_scale")
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--quick", action="store_true", help="four rows, four updates, one round")
    parser.add_argument("--row", choices=ROWS, help="this one only, in this process, as JSON")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"this needs a GPU with CUDA, and torch {torch.__version__} sees none; take --device cpu")
    if not (SCALES / f"{args.scale}.yaml").is_file():
        raise UserError(f"--scale is one of {', '.join(sorted(p.stem for p in SCALES.glob('*.yaml')))}, "
                        f"got {args.scale!r}")
    if args.quick:
        args.updates, args.rounds = 4, 1
    if args.row:
        print(json.dumps(measure(args, ROWS[args.row])))
        return
    rows = {name: ROWS[name] for name in (QUICK if args.quick else ROWS)}
    found: dict[str, list[dict]] = {name: [] for name in rows if not missing(rows[name], args.device)}
    for _ in range(args.rounds):
        for name in found:
            found[name].append(in_a_process(name, argv))
    print(f"{args.scale}, {args.batch} x {args.seconds:g} s, {args.updates} updates, {args.device}")
    print(row("", ("s/update", "x base", "GiB", "x base", "first s", "loss"), 24))
    results = {name: _best_of(runs) for name, runs in found.items()}
    for name in rows:
        print(_line(name, results.get(name), results["float32"], missing(rows[name], args.device)))
    finish("levers", describe("torch", "bitsandbytes", threads=args.threads) | {"device": args.device},
           results | {"scale": args.scale, "batch": args.batch, "seconds": args.seconds, "updates": args.updates})


def _best_of(runs: list[dict]) -> dict:
    """The quickest of the rounds and the largest peak; what failed in any has failed."""
    failed = [run["failed"] for run in runs if "failed" in run]
    if failed:
        return {"failed": failed[0]}
    return {key: choose(run[key] for run in runs)
            for key, choose in (("first", min), ("update", min), ("peak", max), ("loss", min), ("skipped", max))}


def _line(name: str, result: dict | None, base: dict, why: str) -> str:
    if result is None or "failed" in result:
        return f"{name:<24}  {why or result['failed']}"
    times, peaks = (f"{result[key] / base[key]:.2f}" if key in base else "-" for key in ("update", "peak"))
    return row(name, (f"{result['update']:.3f}", times, f"{result['peak'] / memory.GIB:.2f}", peaks,
                      f"{result['first']:.1f}", f"{result['loss']:.3f}"), 24)


if __name__ == "__main__":
    run_cli(main)
