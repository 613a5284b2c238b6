"""Train a beat net: ``python -m data_prep.audio.beats.train GROOVE ONESHOTS [--examples 4000] [--steps 6000]
[--breaks 0.55 --start FILE] [-o FILE]``.

GROOVE is the Groove MIDI Dataset, of which the official train split is used, ONESHOTS a folder of single hits. The hits
of the kit that ships are not among those that it is trained on, nor are a tenth of the performances, so that what
benchmarks/prep/beats.py says of either holds for others too. Needs torch; one core, a few hundred megabytes.

Two ship: beat_net.npz had about 6,200 steps on 5,300 examples, in four rounds (--start); break_net.npz went on from it
with 500 steps on 600 and 1,226 on 3,100 examples, of which 55% were breaks of data_prep.breaks (--breaks). Groove is by
Google LLC, CC BY 4.0; the hits are CC0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import atomic
from audiocraft_ext.core.split import VALID, split_of
from audiocraft_ext.midi.kit import DEFAULT, Kit
from data_prep.audio.beats import net as beat_net
from data_prep.audio.beats.net import BANDS, DILATIONS, RANGE, STEPS, TAPS, WEIGHTS, Bands
from data_prep.audio.beats.renders import RATE, Take, accompany, hits_of, machine_take, random_kit, read_groove

SECONDS = 24.0  # of an example
CHANNELS, FRONT = 24, 32
HELD_OUT = 0.1  # of the performances, never trained on
BREAK_BARS = 20  # of the break that an example is cut from
SHORTER = 0.5  # share of the examples of which less is heard; 0.2 in the rounds before there were breaks
SHIPPED = frozenset(  # the kit's hits, audiocraft_ext/kits/cc0/README.md
    "drum_bass_soft drum_bass_hard drum_snare_soft drum_snare_hard sn_dub elec_tick perc_snap drum_cymbal_closed "
    "drum_cymbal_pedal drum_cymbal_open drum_tom_lo_hard drum_tom_mid_hard drum_tom_hi_hard drum_cymbal_hard "
    "drum_splash_hard drum_cymbal_soft elec_triangle drum_cowbell".split())


class TemporalNet(nn.Module):
    """``[B, T, 2 * BANDS]`` to logits ``[B, T, 3]``, as data_prep/audio/beats/net.py has it in numpy."""

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(2 * BANDS, FRONT, 3, padding=1)
        self.narrow = nn.Conv1d(FRONT, CHANNELS, 1)
        self.wide = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, TAPS, dilation=d, padding=d * (TAPS // 2))
                                  for d in DILATIONS)
        self.mix = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in DILATIONS)
        self.out = nn.Conv1d(CHANNELS, 3, 1)
        for mix in self.mix:
            nn.init.zeros_(mix.weight)  # each layer begins as nothing
        self.dropout = nn.Dropout1d(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.narrow(F.relu(self.front(x.mT)))
        for wide, mix in zip(self.wide, self.mix):
            h = h + mix(self.dropout(F.relu(wide(h))))
        return self.out(F.relu(h)).mT

    def export(self) -> dict[str, np.ndarray]:
        """By the names and in the layout of :class:`data_prep.audio.beats.net.Net`, in 16 bits."""
        out = {}
        for name, value in self.state_dict().items():
            if value.ndim == 3:  # [D, C, taps] -> [taps, C, D]
                value = value.permute(2, 1, 0)
                value = value[0] if value.shape[0] == 1 else value
            out[name] = value.numpy().astype(np.float16)
        return out

    @classmethod
    def restore(cls, path: Path) -> TemporalNet:
        """From what was exported."""
        model = cls()
        with np.load(path, allow_pickle=False) as file:
            state = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
        model.load_state_dict({name: (value if value.ndim == 1 else value.T[..., None] if value.ndim == 2 else
                                      value.permute(2, 1, 0)) for name, value in state.items()})
        return model


def without_a_beat(take: Take) -> Take:
    """The last beat of each bar left out: there are few waltzes in Groove."""
    bar, beat = take.beats_per_bar * 60 / take.bpm, 60 / take.bpm
    start, n = take.beats[0], take.beats_per_bar - 1
    inside = (take.notes[:, 0] - start) % bar
    notes = take.notes[inside < n * beat].copy()
    notes[:, 0] -= np.floor((notes[:, 0] - start) / bar) * beat
    return Take(take.name, take.kind, take.bpm, n, notes, start + np.arange(len(take.beats)) * beat)


def repeated(rng: np.random.Generator, take: Take) -> Take:
    """A bar or a few, over and over: a loop."""
    bar = take.beats_per_bar * 60 / take.bpm
    bars = int(rng.choice([1, 2, 4]))
    first = take.beats[0] + bar * rng.integers(max(1, int(take.seconds / bar) - bars))
    notes = take.part(first - 0.02, first + bars * bar - 0.02).notes
    times = int(SECONDS / bar / bars) + 1
    notes = np.concatenate([notes + [i * bars * bar - 0.02, 0, 0] for i in range(times)]) if len(notes) else notes
    notes[:, 0] = np.maximum(notes[:, 0], 0)
    beats = np.arange(times * bars * take.beats_per_bar) * 60 / take.bpm
    return Take(take.name, take.kind, take.bpm, take.beats_per_bar, notes, beats)


def draw(rng: np.random.Generator, takes: list[Take], weights: np.ndarray) -> Take | None:
    """Something to play for SECONDS; None is no beat."""
    u = rng.random()
    if u < 0.06:
        return None
    if u < 0.36:
        take = machine_take(rng, 2 * SECONDS + 8)
    else:
        take = takes[rng.choice(len(takes), p=weights)].faster(rng.uniform(0.8, 1.4))
    if take.beats_per_bar == 4 and rng.random() < 0.05:
        take = without_a_beat(take)
    if rng.random() < 0.2:
        return repeated(rng, take)
    begin = rng.uniform(0, max(0.0, take.seconds - SECONDS)) if rng.random() < 0.8 else 0.0
    return take.part(begin, begin + SECONDS)


def break_maker(groove: Path, hits: dict[str, list[Path]]) -> Callable:
    """What makes the break of a seed, of the performances that are trained on."""
    from data_prep.breaks import render  # which plays its performances with renders.py of this folder

    paths = render.read_sources(groove, None, DEFAULT).performances
    sources = render.Sources(tuple(p for p in paths if split_of(p.stem, HELD_OUT) != VALID), hits, Kit.load())
    return lambda seed: render.make(sources, seed, 0, BREAK_BARS)


def chopped(rng: np.random.Generator, make: Callable) -> tuple[np.ndarray, Take]:
    """SECONDS of a break that data_prep.breaks made, from anywhere in it, and its beats."""
    made = make(int(rng.integers(2**31)))
    begin = rng.uniform(0, len(made.wav) / RATE - SECONDS)
    beats = np.arange(4 * made.bars) * len(made.wav) / RATE / (4 * made.bars)
    wav = made.wav[round(begin * RATE):][: round(SECONDS * RATE)]
    return wav, Take(made.take, "break", made.bpm, 4, np.zeros((0, 3)), beats - begin)


def play(rng: np.random.Generator, take: Take | None, hits: dict, seconds: float = SECONDS) -> np.ndarray:
    """A take with a kit, a band and a room of its own, ``float32 [N]``."""
    if take is None:
        time = np.sort(rng.uniform(0, seconds, rng.integers(0, 30)))
        notes = np.stack([time, rng.integers(35, 59, len(time)), rng.uniform(30, 127, len(time))], axis=1)
        around = Take("none", "none", rng.uniform(20, 60), 4, notes, np.array([rng.uniform(0, 2)]))
        wav = accompany(rng, around, hits, seconds) * (rng.random() < 0.3)
        return _room(rng, wav + random_kit(rng, hits).render(notes, seconds, RATE))
    drums = random_kit(rng, hits).render(take.notes, seconds, RATE)
    wav = drums + (accompany(rng, take, hits, seconds) if rng.random() < 0.6 else 0)
    return _room(rng, wav)


def _room(rng: np.random.Generator, wav: np.ndarray) -> np.ndarray:
    from scipy.signal import fftconvolve

    if rng.random() < 0.2:
        t = np.arange(int(0.4 * RATE)) / RATE
        tail = rng.normal(size=len(t)).astype(np.float32) * np.exp(-t * rng.uniform(10, 40)) * rng.uniform(0.01, 0.06)
        wav = wav + fftconvolve(wav, tail)[: len(wav)]
    if rng.random() < 0.3:
        wav = np.tanh(wav * rng.uniform(1, 6))
    return (wav + rng.normal(size=len(wav)) * 10 ** rng.uniform(-5, -2)).astype(np.float32)


def target(take: Take | None, steps: int) -> np.ndarray:
    """How much of each step is a beat and a downbeat, ``[steps, 2]``: triangles as wide as three steps."""
    out = np.zeros((steps, 2), np.float32)
    if take is not None:
        for i, beat in enumerate(take.beats * STEPS - 0.25):  # a step is seen at its two frames, half a step apart
            for step in range(max(0, int(beat) - 1), min(steps, int(beat) + 3)):
                out[step, int(i % take.beats_per_bar == 0)] += max(0.0, 1 - abs(step - beat) / 1.5)
    return out


def examples(groove: Path, oneshots: Path, count: int, seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Bands in dB, ``float16 [count, frames, BANDS]``, and their targets; ``share`` of them chopped breaks."""
    rng, hits = np.random.default_rng(seed), hits_of(oneshots, SHIPPED)
    takes = [t for t in read_groove(groove, "train") if split_of(t.name, HELD_OUT) != VALID and t.kind == "beat"]
    weights = np.array([min(120.0, t.seconds) * (6 if t.beats_per_bar == 3 else 1) for t in takes])
    make = break_maker(groove, hits)
    frames = int(SECONDS * beat_net.FRAMES)
    bands, targets = np.zeros((count, frames, BANDS), np.float16), np.zeros((count, frames // 2, 2), np.float16)
    started = time.monotonic()
    for i in range(count):
        if share and rng.random() < share:
            wav, take = chopped(rng, make)
        else:
            take = draw(rng, takes, weights / weights.sum())
            wav = play(rng, take, hits)
        listener = Bands(RATE)
        bands[i] = np.concatenate([listener.push(wav), listener.finish()])[:frames]
        targets[i] = target(take, frames // 2)
        if i % 500 == 499:
            print(f"{i + 1} examples, {time.monotonic() - started:.0f} s", flush=True)
    return bands, targets


def batch_of(rng: np.random.Generator, bands: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """What the net sees and should answer, ``[B, T, 2 * BANDS]`` and ``[B, T, 3]``: some sounds shorter, all with an
    equaliser of their own."""
    B, level, y = len(bands), np.zeros(bands.shape, np.float32), targets.astype(np.float32)
    for i, band in enumerate(bands.astype(np.float32)):
        end = len(band) if rng.random() > SHORTER else int(rng.uniform(2, SECONDS) * STEPS) * 2
        level[i, :end] = beat_net.levels(band[:end])
        y[i, end // 2:] = 0
    tilt = np.cumsum(rng.normal(size=(B, 1, BANDS)) * 2.5, axis=2)  # dB from band to band
    shift = tilt - tilt.mean(2, keepdims=True) + rng.normal(size=(B, 1, 1)) * 3
    level += np.where(level > 0, shift / RANGE, 0)
    y = np.concatenate([np.maximum(1 - y.sum(2, keepdims=True), 0), y], axis=2)
    return torch.from_numpy(np.maximum(level, 0).reshape(B, -1, 2 * BANDS)), torch.from_numpy(y)


def train(model: TemporalNet, bands: np.ndarray, targets: np.ndarray, steps: int, seed: int = 0, batch: int = 16,
          lr: float = 3e-3) -> TemporalNet:
    """AdamW, its rate rising over a thirtieth of the steps and then falling to nothing."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-3)
    losses: list[float] = []
    for step in range(steps):
        done = step / steps
        optimizer.param_groups[0]["lr"] = lr * min(1.0, done * 30 + 0.02, 1.2 * (1 - done))
        rows = rng.integers(len(bands), size=batch)
        x, y = batch_of(rng, bands[rows], targets[rows])
        loss = -(y * F.log_softmax(model(x), dim=2)).sum(2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 200 == 199:
            print(f"step {step + 1} of {steps}, loss {np.mean(losses[-200:]):.4f}", flush=True)
    return model.eval()


def main() -> None:
    parser = Parser(prog="python -m data_prep.audio.beats.train", description=__doc__.split("\n\n")[0])
    parser.add_argument("groove", type=Path)
    parser.add_argument("oneshots", type=Path)
    parser.add_argument("--examples", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=6000, help="of 16 examples each")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--breaks", type=float, default=0.0, help="share of the examples that are chopped breaks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    if not 0 <= args.breaks <= 1:
        raise UserError(f"expected --breaks from 0 to 1, got {args.breaks:g}")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # else the net's early weights take the processor's slow path
    model = TemporalNet.restore(args.start) if args.start else TemporalNet()
    made = examples(args.groove, args.oneshots, args.examples, args.seed, args.breaks)
    train(model, *made, args.steps, args.seed)
    with atomic(args.out) as part, part.open("wb") as file:
        np.savez_compressed(file, **model.export())
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    run_cli(main)
