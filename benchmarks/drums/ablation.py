"""What each augmentation of drums is worth: ``python -m benchmarks.drums.ablation stores/groove rows.json``.

A small LM is trained as often as there are rows, on the same number of windows each time: with no augmentation, with
all (the view's defaults), with all but one, with one alone. A row is the least validation loss on its way, in nats a
hit, unconditional (the null prompt) and conditional on all fields; the mean over several seeds. Rows that are done are
in the JSON: the same command resumes, and prints what is there.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import write
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.drums.view import OPTIONS, DrumView
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.training.dataset import StreamDataset, StreamLoader
from benchmarks.common.machine import describe, finish, row

NAMES = tuple(OPTIONS["augment"])
DIM, LAYERS, HEADS, DROPOUT = 128, 3, 4, 0.1
LR, WARM_UP, DECAY, CLIP = 2e-3, 50, 0.1, 1.0
NULL, CONDITIONAL = "silent", "told"  # the prompts of validation, by their keys in the JSON


def variants() -> dict[str, dict]:
    """The view's options of each row. ``shorter`` is left out everywhere: it is no augmentation of what is played."""
    none = dict.fromkeys(NAMES, 0.0)
    shares = {"none": none, "all": OPTIONS["augment"]}
    shares |= {f"all but {name}": OPTIONS["augment"] | {name: 0.0} for name in NAMES}
    shares |= {f"only {name}": none | {name: OPTIONS["augment"][name]} for name in NAMES}
    return {name: {"augment": share, "shorter": 0.0} for name, share in shares.items()}


def batches(store: TokenStore, frames: int, say: bool, size: int, device: str) -> list[torch.Tensor]:
    """All of the valid split."""
    data = StreamDataset(store, VALID, frames, view=DrumView(store, {"say": say}))
    return [codes.to(device) for codes in StreamLoader(data, size)]


@torch.no_grad()
def nats_a_hit(model: LM, codes: list[torch.Tensor]) -> float:
    """Of batches ``[B, K, P + T]``. A hit opens the gates of its other streams."""
    nats, hits, gates = 0.0, 0, {g.gate for g in model.gates}
    model.eval()
    for batch in codes:
        nats += float((model.losses(batch)[1] * model.targets(batch)).sum())
        hits += sum(int(((batch[:, k] > 0) & (batch[:, k] < model.sizes[k])).sum()) for k in gates)
    model.train()
    return nats / hits


def train(store: TokenStore, options: dict, valid: dict[str, list[torch.Tensor]], args, seed: int) -> dict:
    """A row: the least loss on its way, its update, and how the loss went."""
    torch.manual_seed(seed)
    spec = store.spec
    config = LMConfig(spec.n_q, spec.card, DIM, HEADS, LAYERS, dropout=DROPOUT)
    model = LM(config, spec.delays, spec.sizes, spec.gates).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), LR, betas=(0.9, 0.98), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / WARM_UP, 0.5 + 0.5 * np.cos(np.pi * min(1, step / args.updates))))
    data = StreamDataset(store, TRAIN, args.frames, args.updates * args.batch, seed, view=DrumView(store, options))
    went, begin = [], time.perf_counter()
    for step, codes in enumerate(StreamLoader(data, args.batch, args.updates), start=1):
        loss, _ = model.losses(codes.to(args.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % args.every == 0 or step == args.updates:
            went.append((step, *(nats_a_hit(model, valid[how]) for how in (NULL, CONDITIONAL))))
    best = {how: min((line[i], line[0]) for line in went) for i, how in ((1, NULL), (2, CONDITIONAL))}
    return {**{how: nats for how, (nats, _) in best.items()}, "update": best[NULL][1], "last": went[-1][1],
            "went": went, "seconds": time.perf_counter() - begin}


def table(done: dict[str, dict], names: list[str]) -> dict[str, dict]:
    """Means over the seeds, and how much lower than without augmentation, or higher than with all."""
    out = {}
    for name in names:
        rows = [value for key, value in done.items() if key.rsplit(", ", 1)[0] == name]
        if rows:
            out[name] = {key: float(np.mean([one[key] for one in rows]))
                         for key in (NULL, CONDITIONAL, "last", "update")}
            out[name]["seeds"] = len(rows)
    for name, one in out.items():
        less = name.startswith("all but")
        base = out.get("all" if less else "none") if name != "none" else None
        one["worth"] = None if base is None else (one[NULL] - base[NULL]) * (1 if less else -1)
    return out


def main() -> None:
    parser = Parser(prog="python -m benchmarks.drums.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("rows", type=Path, help="JSON of the rows that are done; made, or resumed")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--every", type=int, default=200, help="updates between validations (default: 200)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=64, help="of a window (default: 64, four bars on 16 steps)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows")
    parser.add_argument("--device", default="cpu", help="cpu (one thread) or cuda (default: cpu)")
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    names = args.only or list(variants())
    if unknown := [name for name in names if name not in variants()]:
        raise UserError(f"no row is called {unknown[0]!r}; there are {', '.join(variants())}")
    torch.set_num_threads(1)
    store = TokenStore(args.store)
    how = {"store": store.hash, "updates": args.updates, "every": args.every, "batch": args.batch,
           "frames": args.frames, "augment": OPTIONS["augment"]}
    there = json.loads(args.rows.read_text("utf-8")) if args.rows.is_file() else {"how": how, "rows": {}}
    if there["how"] != how:
        raise UserError(f"{args.rows}: its rows were trained with {there['how']}, not with {how}; name a new file")
    done = there["rows"]
    valid = {how: batches(store, args.frames, how == CONDITIONAL, args.batch, args.device)
             for how in (NULL, CONDITIONAL)}
    for key, seed in [(name, seed) for seed in range(args.seeds) for name in names]:
        if f"{key}, {seed}" in done:
            continue
        done[f"{key}, {seed}"] = one = train(store, variants()[key], valid, args, seed)
        print(f"{key}, seed {seed}: {one[NULL]:.4f} nats a hit, conditional {one[CONDITIONAL]:.4f}, "
              f"at update {one['update']}, last {one['last']:.4f}, {one['seconds']:.0f} s", flush=True)
        write(args.rows, json.dumps(there))
    results = table(done, list(variants()))
    print(row("nats a hit", ("null", "conditional", "last", "update", "seeds", "worth"), 24))
    for name, one in results.items():
        worth = "" if one["worth"] is None else f"{one['worth']:+.4f}"
        print(row(name, (f"{one[NULL]:.4f}", f"{one[CONDITIONAL]:.4f}", f"{one['last']:.4f}",
                         f"{one['update']:.0f}", str(one["seeds"]), worth), 24))
    machine = describe("torch", "numpy", threads=1) | {"device": args.device}
    finish("drums_ablation", machine, {"how": how, "rows": results}, args.save)


if __name__ == "__main__":
    run_cli(main)
