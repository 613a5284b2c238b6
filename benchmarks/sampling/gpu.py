"""Sampling on a GPU: our loop as CUDA graphs beside audiocraft's LMModel, and the least time the memory allows.

    python -m benchmarks.sampling.gpu [--scale micro] [--batch 10] [--seconds 10] [--precision bf16] [--repeats 5]

Same weights (random), same settings (temperature 1, top_k 250), in turn, in one process; codes only, no codec.
audiocraft runs under fp16 autocast, as its MusicGen does on a GPU. The first batch of ours has the sending of the
weights and the capture of the graphs in it, that of audiocraft nothing but what CUDA does at first.

The floor is what one step must read: every weight once, and the past of every clip once, at the bandwidth that summing
up a large buffer reaches on the same device.
"""

from __future__ import annotations

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider
from audiocraft.modules.transformer import set_efficient_attention_backend
from omegaconf import OmegaConf

from audiocraft_ext.core.delay import delay, undelay
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.engine.sampling import Sampling, clip_rng
from audiocraft_ext.engine.torch.loop import TorchLoop, pick_device, pick_precision
from audiocraft_ext.model.lm import LM, LMConfig
from benchmarks.common.machine import describe, finish

SCALES = Path(__file__).parents[2] / "configs/model/lm/model_scale"
DELAYS, CARD, FRAME_RATE = (0, 1, 2, 3), 2048, 50
LARGE = {"cuda": 2**30, "cpu": 2**26}  # bytes of the buffer that is summed up: well beyond any cache


def size_of(scale: str) -> LMConfig:
    """The LM that ``transformer_lm`` of that scale describes, for codes of EnCodec at 32 kHz."""
    path = SCALES / f"{scale}.yaml"
    if not path.is_file():
        raise UserError(f"--scale is one of {', '.join(sorted(p.stem for p in SCALES.glob('*.yaml')))}, got {scale!r}")
    return LMConfig(n_q=len(DELAYS), card=CARD, **OmegaConf.to_container(OmegaConf.load(path))["transformer_lm"])


def audiocraft_lm(model: LM, device: torch.device) -> LMModel:
    """audiocraft's unconditional model with the weights of ours."""
    cfg = model.cfg
    set_efficient_attention_backend("torch")
    fuser = ConditionFuser({"sum": [], "prepend": [], "cross": [], "input_interpolate": []})
    theirs = LMModel(DelayedPatternProvider(cfg.n_q, list(DELAYS)), ConditioningProvider({}), fuser, n_q=cfg.n_q,
                     card=cfg.card, dim=cfg.dim, num_heads=cfg.num_heads, num_layers=cfg.num_layers, hidden_scale=4,
                     norm_first=True, bias_proj=False, bias_ff=False, bias_attn=False, causal=True,
                     memory_efficient=True, activation="gelu", dropout=0.0)
    theirs.load_state_dict(model.state_dict())
    return theirs.to(device).eval()


def sampled(loop: TorchLoop, batch: int, frames: int) -> np.ndarray:
    """What the engine does around the loop, and the loop."""
    cfg = loop.lm.cfg
    sequence = delay(np.full((batch, cfg.n_q, frames), -1), DELAYS, cfg.card)
    uniforms = np.stack([clip_rng(1, i).random((sequence.shape[-1], cfg.n_q)) for i in range(batch)])
    for _ in loop.run(sequence, uniforms, 1, Sampling()):
        pass
    return undelay(sequence, DELAYS)


def in_turn(works: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Seconds of each, one after the other ``repeats`` times; the device has finished when a clock is read."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            wait(device)
            start = time.perf_counter()
            work()
            wait(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: {"min": min(s), "median": statistics.median(s), "max": max(s)} for name, s in seconds.items()}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bandwidth(device: torch.device) -> float:
    """Bytes a second that the device reads, from the median of several sums over a large buffer."""
    buffer = torch.ones(LARGE[device.type] // 4, device=device)
    buffer.sum()
    return LARGE[device.type] / in_turn({"sum": buffer.sum}, 9, device)["sum"]["median"]


def floor(cfg: LMConfig, batch: int, frames: int, itemsize: int) -> float:
    """Bytes that one step must read, over the steps of a clip."""
    weights = cfg.parameter_count() - cfg.n_q * (cfg.card + 1) * cfg.dim  # of the embeddings it reads a few rows
    return weights * itemsize + batch * cfg.cache_bytes(frames, itemsize) / 2


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scale", default="micro")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", help="of ours; by default bf16, or fp16 where the GPU has no bf16")
    parser.add_argument("--device", default="cuda", help="cpu shows that the benchmark works, and nothing else")
    args = parser.parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"this needs a GPU with CUDA, and torch {torch.__version__} sees none; to see it work: "
                        "--device cpu --scale nano --seconds 1")
    device = pick_device(args.device)
    precision, cfg = pick_precision(args.precision, device), size_of(args.scale)
    frames, steps = round(args.seconds * FRAME_RATE), round(args.seconds * FRAME_RATE) + max(DELAYS)

    torch.manual_seed(0)
    model = LM(cfg, DELAYS).eval().requires_grad_(False)
    theirs = audiocraft_lm(model, device)
    speed = bandwidth(device)  # also makes the device's context, which is nobody's share

    def audiocraft() -> None:
        half = torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()
        with torch.no_grad(), half:
            theirs.generate(num_samples=args.batch, max_gen_len=frames)

    held: list[TorchLoop] = []

    def cold() -> None:
        held[:] = [TorchLoop(model, device, precision)]
        sampled(held[0], args.batch, frames)

    ours, peer = f"ours, {precision}", "audiocraft, LMModel.generate"
    first = in_turn({f"{ours}, first batch": cold, f"{peer}, first batch": audiocraft}, 1, device)
    warm = {ours: lambda: sampled(held[0], args.batch, frames), peer: audiocraft}
    results = first | in_turn(warm, args.repeats, device)
    print(f"{args.scale}, {args.batch} x {args.seconds:g} s, {device_name(device)}")
    print(f"{'':<44}{'min':>9}{'median':>9}{'max':>9}")
    for name, r in results.items():
        print(f"{name:<44}{r['min']:9.3f}{r['median']:9.3f}{r['max']:9.3f}  s")
    step, least = results[ours]["median"] / steps, floor(cfg, args.batch, frames, held[0].lm.dtype.itemsize) / speed
    times = results[peer]["median"] / results[ours]["median"]
    print(f"audiocraft takes {times:.1f} times as long")
    print(f"a step of ours takes {step * 1e6:.0f} us, {step / least:.1f} times the floor of {least * 1e6:.0f} us "
          f"(memory read at {speed / 1e9:.0f} GB/s)")
    finish("gpu", describe("torch", "audiocraft") | {"device": device_name(device)},
           results | {"scale": args.scale, "batch": args.batch, "seconds": args.seconds, "precision": precision,
                      "times": times, "step": step, "floor": least, "bandwidth": speed})


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    run_cli(main)
