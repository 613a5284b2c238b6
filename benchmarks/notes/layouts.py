"""Which layout of notes is learned best in equal time: nats a note on songs that the model never saw.

    python -m benchmarks.notes.layouts stores/songs --seconds 100 --seeds 3

    position   as the codec has it: a line for each bar, and the place in the bar
    places     no lines; the place in the bar, and how many bars began since the last note
    lines      lines, and the time since the last note or line
    delta      no lines; the time since the last note
    flat       what `position` says in one stream, five codes a note and one a line: the layout of text

All say the same (delta: but for where bars begin, and gaps above 16 quarter notes; places: but for gaps of more than
three bars). The same model, with rotary positions as the recipe has them, no augmentation, windows of as many frames
(flat: of as many codes as three quarters of that hold); the processor's seconds are counted. With several seeds: mean
and standard deviation.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from audiocraft_ext.core.errors import Parser, run_cli
from audiocraft_ext.core.gates import Gate
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.codec.multitrack import FIRST, INSTRUMENT, LINE, POSITION, Multitrack
from audiocraft_ext.notes.codec.score import DRUMS
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import row

GAP = 16  # quarter notes, the longest time since the last note
BARS = 3  # the most that begin between two notes


@dataclass(frozen=True)
class Layout:
    """How codes become codes of another layout.

    Attributes:
        of: from ``codes [5, T]`` of whole bars to ``[K, n]``.
        sizes, delays, gates: of its streams.
        frames: of a window, for one of the codec's.
    """

    of: Callable[[np.ndarray], np.ndarray]
    sizes: tuple[int, ...]
    delays: tuple[int, ...]
    gates: tuple[Gate, ...] = ()
    frames: float = 1.0


def layouts(codec: Multitrack) -> dict[str, Layout]:
    """All of them."""
    spec, bar = codec.spec, codec.bar_parts((4, 4))
    most = GAP * codec.division

    def since_last(codes: np.ndarray, lines: bool) -> np.ndarray:
        line = codes[POSITION] == LINE
        at = (np.cumsum(line) - 1) * bar + np.where(line, 0, codes[POSITION] - FIRST)
        keep = np.ones(len(line), bool) if lines else ~line
        out = codes[:, keep].copy()
        gap = np.clip(np.diff(at[keep], prepend=0), 0, most)
        out[POSITION] = np.where(line[keep], 0, 1 + gap) if lines else gap
        return out

    def places(codes: np.ndarray) -> np.ndarray:
        line = codes[POSITION] == LINE
        out = codes[:, ~line].copy()
        began = np.clip(np.diff(np.cumsum(line)[~line], prepend=0), 0, BARS)
        out[POSITION] += began * bar - FIRST
        return out

    offsets = np.cumsum([0, *codec.sizes[:-1]])

    def flat(codes: np.ndarray) -> np.ndarray:
        tokens = codes + offsets[:, None]
        said = np.ones(codes.shape, bool)
        said[1:, codes[POSITION] == LINE] = False
        said[4, codes[INSTRUMENT] == DRUMS] = False
        return tokens.T[said.T][None]

    opens = tuple(range(1, most + 2))
    tuned = Gate(4, INSTRUMENT, 0, tuple(range(1, codec.sizes[1])))
    streams = codec.sizes[1:]
    return {"position": Layout(lambda codes: codes, codec.sizes, spec.delays, spec.gates),
            "places": Layout(places, ((BARS + 1) * bar, *streams), spec.delays, (tuned,)),
            "delta": Layout(lambda codes: since_last(codes, False), (most + 1, *streams), spec.delays, (tuned,)),
            "lines": Layout(lambda codes: since_last(codes, True), (most + 2, *streams), spec.delays,
                            (*(Gate(k, POSITION, 0, opens) for k in (1, 2, 3)), tuned)),
            "flat": Layout(flat, (sum(codec.sizes),), (0,), (), 3.75)}


def songs(store: TokenStore, split: str, layout: Layout) -> list[np.ndarray]:
    """Of each song in 4/4, ``[K, n]``."""
    rows: dict[str, list[dict]] = {}
    for line in store.rows:
        if line["split"] == split and line["time_signature"] == "4/4":
            rows.setdefault(line["source"], []).append(line)
    return [layout.of(np.concatenate([store.read(one["start"], one["frames"]).astype(np.int64) for one in some], 1))
            for some in rows.values()]


def windows(found: list[np.ndarray], frames: int, n: int, rng: np.random.Generator) -> torch.Tensor:
    """``[n, K, frames]`` from anywhere in songs that are long enough."""
    found = [one for one in found if one.shape[1] > frames]
    weight = np.array([one.shape[1] for one in found], float)
    out = []
    for one in rng.choice(len(found), n, p=weight / weight.sum()):
        at = int(rng.integers(found[one].shape[1] - frames))
        out.append(found[one][:, at : at + frames])
    return torch.from_numpy(np.stack(out))


def notes_in(codes: torch.Tensor, name: str, codec: Multitrack) -> int:
    """How many notes windows of a layout have."""
    first = codes[:, 0]
    if name == "flat":
        begin = codec.sizes[0]
        return int(((first >= begin) & (first < begin + codec.sizes[1])).sum())  # one instrument a note
    return first.numel() if name in ("places", "delta") else int((first != 0).sum())


def measure(store: TokenStore, name: str, args: argparse.Namespace, seed: int) -> dict:
    """Train one layout and tell its loss."""
    codec = codec_of(store.settings["codec"])
    layout = layouts(codec)[name]
    frames, rng = round(args.frames * layout.frames), np.random.default_rng(seed)
    train, valid = (songs(store, split, layout) for split in (TRAIN, VALID))
    held = windows(valid, frames, 64, np.random.default_rng(1))
    torch.manual_seed(seed)
    cfg = LMConfig(n_q=len(layout.sizes), card=max(layout.sizes), dim=128, num_heads=4, num_layers=3,
                   positional_embedding="rope")
    model = LM(cfg, layout.delays, layout.sizes, layout.gates)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=0.1)
    began, updates = time.process_time(), 0
    while (spent := time.process_time() - began) < args.seconds:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (updates + 1) / 20) * max(0.05, 1 - spent / args.seconds)
        loss, _ = model.losses(windows(train, frames, args.batch, rng))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        updates += 1
    with torch.no_grad():
        each = torch.stack([model.eval().losses(part)[1] for part in held.split(8)]).mean(0)
    bars = sum(int((one[POSITION] == LINE).sum()) for one in songs(store, VALID, layouts(codec)["position"]))
    return {"layout": name, "seed": seed, "updates": updates, "nats a note": float(each.sum()) * held.shape[0] * frames
            / notes_in(held, name, codec), "streams": [round(float(one), 3) for one in each],
            "steps a bar": sum(one.shape[1] for one in valid) / bars}


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.notes.layouts", description=__doc__.split("\n\n")[0])
    parser.add_argument("store")
    parser.add_argument("--seconds", type=float, default=100.0, help="of the processor, for each (default 100)")
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--layouts", default="position,places,lines,delta,flat")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    store = TokenStore(args.store)
    found: dict[str, list[dict]] = {}
    for seed in range(args.seed, args.seed + args.seeds):
        for name in args.layouts.split(","):
            found.setdefault(name, []).append(measure(store, name, args, seed))
            print(found[name][-1], flush=True)
    print(row("", ("nats/note", "±", "steps/bar", "updates"), 12))
    for name, some in found.items():
        nats = [one["nats a note"] for one in some]
        spread = f"{statistics.stdev(nats):.3f}" if len(nats) > 1 else ""
        print(row(name, (f"{statistics.mean(nats):.3f}", spread, f"{some[0]['steps a bar']:.1f}",
                         f"{statistics.mean(one['updates'] for one in some):.0f}"), 12))


if __name__ == "__main__":
    run_cli(main)
