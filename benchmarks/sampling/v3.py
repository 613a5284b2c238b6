"""The shape of nano-GPT-v3 in ours (``model_scale=v3``, random weights): ``python -m benchmarks.sampling.v3``.

Its sizes; tokens a second of one clip at steps 128 and 511, in ONNX Runtime; the cache of latents as a share of the one
that heads with keys of their own have; forward and backward of its mixture of experts for 1,024 tokens. Beside each the
same of https://github.com/MQahawish/nano-GPT-v3, rebuilt in benchmarks/sampling/v3_peer.py: as its ``generate`` works,
without a cache, and with its cache driven by hand.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from audiocraft_ext.core.errors import Parser, run_cli
from audiocraft_ext.engine.onnx import OnnxStepper, open_session
from audiocraft_ext.export import quantize
from audiocraft_ext.export.onnx_lm import write_lm
from audiocraft_ext.model.blocks import AT_ONCE
from audiocraft_ext.model.lm import LM, LMConfig
from benchmarks.common.machine import ROOT, describe, finish, numbers, row, timed
from benchmarks.sampling.v3_peer import Peer

VOCABULARY = 909  # tokens of nano-GPT-v3
PLACES = (128, 511)
STEPS = 16  # timed at each place


def size_of(scale: str = "v3") -> LMConfig:
    config = OmegaConf.load(ROOT / f"configs/model/lm/model_scale/{scale}.yaml")
    return LMConfig.from_dict(dict(n_q=1, card=VOCABULARY, **OmegaConf.to_container(config)["transformer_lm"]))


def decoding(lm: LM, precision: str, threads: int, folder: Path) -> dict[int, dict[str, float]]:
    """Tokens a second behind so many steps, by the clock and by CPU time (which a busy machine leaves nearly alone):
    the median of the last :data:`STEPS` up to there."""
    weights, graph = folder / f"{precision}.safetensors", folder / f"{precision}.onnx"
    state = {name: value.contiguous() for name, value in lm.state_dict().items()}
    if precision == "fp32":
        save_file(state, weights, {"format": "pt"})
    else:
        quantize.write(state, lm.cfg, precision, weights)
    write_lm(lm.cfg, weights, graph)
    stepper = OnnxStepper(open_session(graph, threads), lm.cfg, least=2 if precision == "int4" else 1)
    codes, speeds, at = np.random.default_rng(0).integers(0, lm.cfg.card, (1, 1, max(PLACES))), {}, 0
    stepper.start(1, max(PLACES) + 1)
    for place in PLACES:
        for begin in range(at, place - STEPS, AT_ONCE):
            stepper.step(codes[..., begin : min(begin + AT_ONCE, place - STEPS)])
        speeds[place] = _speed(lambda s: stepper.step(codes[..., s : s + 1]), range(place - STEPS, place))
        at = place
    return speeds


def peer_decoding(peer: Peer, card: int, cached: bool) -> dict[int, dict[str, float]]:
    """The same of the peer, fp32 in torch; without a cache the mean of a few steps is enough."""
    codes, speeds = torch.randint(card, (1, max(PLACES))), {}
    for place in PLACES:
        if not cached:
            speeds[place] = _speed(lambda s: peer(codes[:, : s + 1]), range(place - 3, place))
            continue
        cache = [None] * len(peer.layers)
        peer(codes[:, : place - STEPS], cache)
        speeds[place] = _speed(lambda s, cache=cache: peer(codes[:, s : s + 1], cache), range(place - STEPS, place))
    return speeds


def _speed(step: Callable[[int], object], places: range) -> dict[str, float]:
    """Steps a second, by the clock and by CPU."""
    took = []
    for s in places:
        begin = time.perf_counter(), time.process_time()
        step(s)
        took.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    clock, cpu = np.median(took, axis=0)
    return {"clock": 1 / clock, "cpu": 1 / cpu}


def mixture(of: nn.Module, apply: Callable[[torch.Tensor], torch.Tensor], dim: int, tokens: int,
            repeats: int) -> tuple[dict[str, float], float]:
    """Seconds of the mixture of one layer, forward and backward; and of CPU, the mean."""
    x = torch.randn(1, tokens, dim)

    def work() -> None:
        of.zero_grad()
        apply(x.requires_grad_()).square().mean().backward()

    work()
    begin = time.process_time()
    return timed(work, repeats, warm_up=0), (time.process_time() - begin) / repeats


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.v3", description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1024, help="for the mixture of experts (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precisions", default="fp32,int8,int4")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    cfg = size_of()
    lm = LM(cfg, (0,)).eval()
    heads = replace(cfg, attention="mha", mla=None)
    results = {"parameters": cfg.parameter_count(), "active": cfg.active_parameters(),
               "cache": cfg.cache_bytes(512) / heads.cache_bytes(512)}
    print(f"{results['parameters'] / 1e6:.1f} M parameters, a token meets {results['active'] / 1e6:.1f} M; the cache "
          f"is {results['cache']:.3f} of that of heads with keys of their own")
    print(row("tokens a second at step", (f"{place}{unit}" for place in PLACES for unit in ("", " cpu"))))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for precision in args.precisions.split(","):
            speeds = decoding(lm, precision, args.threads, Path(folder))
            results[precision] = speeds
            print(row(precision, (f"{speed:.1f}" for both in speeds.values() for speed in both.values())))
        peer = Peer(cfg).eval()
        for name, cached in (("peer, as it samples", False), ("peer, its cache by hand", True)):
            results[name] = speeds = peer_decoding(peer, cfg.card, cached)
            print(row(name, (f"{speed:.1f}" for both in speeds.values() for speed in both.values())))
    layer, theirs = LM(cfg, (0,)).transformer.layers[0].train(), Peer(cfg).layers[0].mixture
    for name, of, apply in (("mixture", layer, lambda x: layer.block.feed_forward.apply(layer, x, None)),
                            ("peer's mixture", theirs, theirs)):
        seconds, cpu = mixture(of, apply, cfg.dim, args.tokens, args.repeats)
        results[name] = {"s": seconds, "cpu_s": cpu}
        print(row(f"{name}, {args.tokens} tokens, s (min, median, max; cpu)", [*numbers(seconds), f"{cpu:.2f}"], 56))
    finish("v3", describe("torch", "onnxruntime", "numpy", threads=args.threads), results)


if __name__ == "__main__":
    run_cli(main)
