"""A training step of the micro scale, ours from a token store beside audiocraft's with EnCodec in the loop.

    python -m benchmarks.train_step [--seconds 5] [--batch 3] [--repeats 5]

Same machine, same run, same LM (random weights), same clips. audiocraft encodes its audio in every step (its EnCodec
at 32 kHz, full size, random weights) and runs its own LMModel; ours reads codes. Both include AdamW.
"""

from __future__ import annotations

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import torch
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider
from audiocraft.modules.transformer import set_efficient_attention_backend
from torch.nn import functional as F

from audiocraft_ext.codecs.encodec import EncodecConfig, EncodecModel
from audiocraft_ext.errors import Parser, run_cli
from audiocraft_ext.lm import LM, LMConfig
from audiocraft_ext.machine import physical_cores
from benchmarks.machine import describe, finish, timed

MICRO = LMConfig(n_q=4, card=2048, dim=2048, num_heads=2, num_layers=2)
DELAYS = (0, 1, 2, 3)


def audiocraft_lm() -> LMModel:
    """audiocraft's model as ``solver=musicgen/musicgen_base_32khz conditioner=none`` builds it."""
    set_efficient_attention_backend("torch")
    fuser = ConditionFuser({"sum": [], "prepend": [], "cross": [], "input_interpolate": []})
    return LMModel(DelayedPatternProvider(4, list(DELAYS)), ConditioningProvider({}), fuser, n_q=4, card=2048, dim=2048,
                   num_heads=2, num_layers=2, hidden_scale=4, norm_first=True, bias_proj=False, bias_ff=False,
                   bias_attn=False, causal=True, memory_efficient=True, weight_init="gaussian",
                   depthwise_init="current", zero_bias_init=True, activation="gelu", dropout=0.0)


def main() -> None:
    parser = Parser(prog="python -m benchmarks.train_step", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(physical_cores())
    frames = round(args.seconds * 50)
    wav = 0.1 * torch.randn(args.batch, 1, frames * 640, device=device)
    codes = torch.randint(0, 2048, (args.batch, 4, frames), device=device)
    codec = EncodecModel(EncodecConfig()).to(device).eval()

    def finish_step(model, optim, loss) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    results = {}

    def report(name: str, step) -> None:
        results[name] = timed(step, args.repeats)
        r = results[name]
        print(f"{name:<44}{r['min']:8.2f}{r['median']:8.2f}{r['max']:8.2f}  s", flush=True)

    print(f"micro, batch {args.batch} x {args.seconds:g} s, {device}\n{'':<44}{'min':>8}{'median':>8}{'max':>8}")

    def audiocraft_steps() -> None:
        theirs = audiocraft_lm().to(device).train()
        optim = torch.optim.AdamW(theirs.parameters(), lr=1e-4)

        def step(encode: bool) -> None:
            with torch.no_grad():
                tokens = codec.encode(wav) if encode else codes
            out = theirs.compute_predictions(tokens, [], {})
            losses = [F.cross_entropy(out.logits[:, k][m], tokens[:, k][m])
                      for k in range(4) for m in [out.mask[:, k]]]
            finish_step(theirs, optim, sum(losses) / 4)

        report("audiocraft, EnCodec in the loop", lambda: step(True))
        report("audiocraft's LM alone, codes given", lambda: step(False))

    audiocraft_steps()
    ours = LM(MICRO, DELAYS).to(device).train()
    adam = torch.optim.AdamW(ours.parameters(), lr=1e-4, fused=True)
    report("ours, from a token store", lambda: finish_step(ours, adam, ours.losses(codes)[0]))
    a = torch.randn(2048, 2048, device=device)
    product = timed(lambda: [a @ a for _ in range(4)], args.repeats)["min"] / 4
    flops = 6 * args.batch * frames * (MICRO.parameter_count() - 4 * 2049 * 2048)
    results["matrix products alone"] = flops / (2 * 2048**3 / product)
    print(f"{'the matrix products alone, at the measured peak':<52}{results['matrix products alone']:8.2f}  s")
    finish("train_step", describe("torch", "audiocraft"), results)


if __name__ == "__main__":
    run_cli(main)
