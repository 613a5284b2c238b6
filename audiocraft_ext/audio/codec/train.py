"""Train a microcodec on any folder of sound: ``python -m audiocraft_ext.codecs.train SRC OUT --minutes 60``.

No discriminator, no balancer, one process: what a CPU can do in an hour. The loss is the distance that judges the
codec (:mod:`audiocraft_ext.audio.codec.distance`) with a little of the waveform itself, which keeps the phase of a
kick. Three stages in one run: the autoencoder alone (its codes are free), k-means of the latents for each codebook in
turn, then everything together with the codebooks as moving averages (van den Oord et al. 2017, appendix A).

Writes OUT/codec.pt every few minutes (continue with the same command) and OUT/codec.safetensors, OUT/codec.json at
the end. The files that ``--valid-share`` holds out are never trained on; the last line is what they measure.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from audiocraft_ext.audio.codec.distance import MelDistance, si_sdr
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel, keep_variance
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import atomic, write
from audiocraft_ext.core.split import TRAIN, VALID, split_of
from audiocraft_ext.model import checkpoint
from audiocraft_ext.sound import files as sound_files

# Codebooks of 256 and not EnCodec's 2048: a language model on minutes of music learns nothing that holds for other
# music from codes of which each occurs ten times (docs/RUNS.md, 2026-11-21).
MICROCODEC = EncodecConfig(n_filters=16, ratios=(5, 4, 4, 8), pad_mode="constant", card=256)
WARM_SHARE = 0.12  # of the run, before there are codes
WAVE_WEIGHT = (20.0, 5.0)  # of the waveform's L1, at the start and at the end: first the phase, then the colour
LINEAR_WEIGHT = (0.01, 0.05)  # of the linear mel term; loud, so it may not lead at the start
EMA_DECAY = 0.99
DEAD_BELOW = 0.02  # a code whose average use a step falls under this is given a new place


class Crops:
    """Random one-second crops with the changes that a sampler would make; a pure function of (seed, step)."""

    def __init__(self, wavs: list[np.ndarray], length: int, seed: int):
        self.wavs, self.length, self.seed = wavs, length, seed
        weight = np.sqrt([len(w) for w in wavs])  # short loops are heard more often than their length asks for
        self.weight = weight / weight.sum()

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        wav = self.wavs[rng.choice(len(self.wavs), p=self.weight)]
        speed = rng.uniform(0.75, 1.35) if rng.random() < 0.5 else 1.0
        need = int(self.length * speed) + 2
        if len(wav) < need:
            wav = np.pad(wav, (0, need - len(wav)))
        start = rng.integers(0, len(wav) - need + 1)
        piece = wav[start : start + need]
        if speed != 1.0:
            piece = np.interp(np.arange(self.length) * speed, np.arange(need), piece)
        gain = 10 ** (rng.uniform(-12, 2) / 20) * (-1 if rng.random() < 0.5 else 1)
        return (piece[: self.length] * gain).astype(np.float32)

    def batch(self, step: int, size: int) -> torch.Tensor:
        """``wav [B, 1, N]`` for a step."""
        rng = np.random.default_rng([self.seed, step])
        rows = []
        for _ in range(size):
            row = self._crop(rng)
            if rng.random() < 0.3:
                row = row + 0.7 * self._crop(rng)
            rows.append(np.clip(row, -1, 1))
        return torch.from_numpy(np.stack(rows))[:, None]  # [B, 1, N]


def load_folder(src: Path, sample_rate: int, valid_share: float) -> dict[str, dict[str, np.ndarray]]:
    """All sound below ``src`` by split and relative name."""
    out: dict[str, dict[str, np.ndarray]] = {TRAIN: {}, VALID: {}}
    for path in tqdm(sound_files.find_audio(src), desc="reading", unit="file"):
        name = path.relative_to(src).as_posix()
        try:
            out[split_of(name, valid_share)][name] = sound_files.read(path, sample_rate)
        except sound_files.BrokenAudio as error:
            print(f"skipped {error}", file=sys.stderr)
    if not out[TRAIN] or not out[VALID]:
        raise UserError(f"{src}: {len(out[TRAIN])} files to train on and {len(out[VALID])} held out; both need some")
    return out


@torch.no_grad()
def quantize_and_learn(model: EncodecModel, averages: list[dict], z: torch.Tensor) -> torch.Tensor:
    """``z [B, D, T]`` to its quantised twin; moves every codebook towards what it coded (exponential average)."""
    residual = z.transpose(1, 2).reshape(-1, z.shape[1])  # [B * T, D]
    total = torch.zeros_like(residual)
    for book, avg in zip(model.quantizer.codebooks, averages):
        codes = book.encode(residual)
        chosen = book.decode(codes)
        card = book.embed.shape[0]
        avg["count"].mul_(EMA_DECAY).add_(torch.bincount(codes, minlength=card).float(), alpha=1 - EMA_DECAY)
        sums = torch.zeros_like(book.embed).index_add_(0, codes, residual)
        avg["sum"].mul_(EMA_DECAY).add_(sums, alpha=1 - EMA_DECAY)
        book.embed.copy_(avg["sum"] / avg["count"].clamp(min=1e-5)[:, None])
        dead = (avg["count"] < DEAD_BELOW).nonzero()[:, 0]
        if len(dead):
            fresh = residual[torch.randint(len(residual), (len(dead),))]
            book.embed[dead] = fresh
            avg["count"][dead] = 5 * DEAD_BELOW
            avg["sum"][dead] = fresh * 5 * DEAD_BELOW
        residual = residual - chosen
        total = total + chosen
    return total.view(z.shape[0], z.shape[2], -1).transpose(1, 2)


@torch.no_grad()
def kmeans_codebooks(model: EncodecModel, latents: torch.Tensor, iterations: int = 12) -> list[dict]:
    """Place each codebook on ``latents [M, D]`` minus what the codebooks before it explain; starts the averages."""
    residual, averages = latents, []
    for book in model.quantizer.codebooks:
        card = book.embed.shape[0]
        book.embed.copy_(residual[torch.randperm(len(residual))[:card]])
        for _ in range(iterations):
            codes = book.encode(residual)
            count = torch.bincount(codes, minlength=card).float()
            sums = torch.zeros_like(book.embed).index_add_(0, codes, residual)
            book.embed.copy_(torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], book.embed))
        share = (count + 0.1) / (count + 0.1).sum()
        averages.append({"count": share * 400, "sum": book.embed * (share * 400)[:, None]})
        residual = residual - book.decode(book.encode(residual))
    return averages


@torch.no_grad()
def evaluate(model: EncodecModel, wavs: dict[str, np.ndarray], max_seconds: float = 30.0) -> dict[str, float]:
    """Distance and SI-SDR over files, each weighted by its length; at most ``max_seconds`` of each file."""
    distance = MelDistance(model.cfg.sample_rate)
    rows, used = [], [set() for _ in range(model.cfg.n_q)]
    for wav in wavs.values():
        frames = min(len(wav), int(max_seconds * model.cfg.sample_rate)) // model.cfg.hop_length
        if frames < 10:
            continue
        x = torch.from_numpy(wav[: frames * model.cfg.hop_length])[None, None]
        codes = model.encode(x)
        y = model.decode(codes)
        log, linear = distance.parts(y[:, 0], x[:, 0])
        rows.append([frames, float(distance(y[:, 0], x[:, 0])), float(log), float(linear), float(si_sdr(y, x))])
        for k, seen in enumerate(used):
            seen.update(codes[0, k].tolist())
    table = np.array(rows)
    mean = (table[:, 1:] * table[:, :1]).sum(0) / table[:, 0].sum()
    return {"distance": mean[0], "log_mel": mean[1], "mel": mean[2], "si_sdr_db": mean[3],
            "minutes": table[:, 0].sum() / model.cfg.frame_rate / 60, "codes_used": min(map(len, used))}


def recipe_of(args: argparse.Namespace, data: dict[str, dict[str, np.ndarray]]) -> dict:
    """Everything that decides what comes out: the options and the files that are trained on."""
    names = "\n".join(f"{name} {len(wav)}" for name, wav in sorted(data[TRAIN].items()))
    options = {k: v for k, v in vars(args).items() if k not in ("src", "out")}
    return options | {"train_files": hashlib.sha256(names.encode()).hexdigest()[:12], "model": MICROCODEC.to_dict()}


def check_recipe(then: dict, now: dict, path: Path) -> None:
    """Refuse to go on under another recipe; names every option that differs."""
    differing = [f"{k} was {then.get(k)}, is {now.get(k)}" for k in sorted(then.keys() | now.keys())
                 if json.dumps(then.get(k)) != json.dumps(now.get(k))]
    if differing:
        raise UserError(f"{path} was made with another recipe: {'; '.join(differing)}; put it back, or name another "
                        "folder")


@contextmanager
def asked_to_stop() -> Iterator[list]:
    """A list that gets an entry on Ctrl-C, to be looked at between two steps; the second time, the process stops."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    handler = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, handler)


def train(args: argparse.Namespace) -> dict[str, float]:
    """The whole run; returns the figures of the held-out files.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; everything so far is in the file that it names.
    """
    with asked_to_stop() as asked:
        return _train(args, asked)


def _train(args: argparse.Namespace, asked: list) -> dict[str, float]:
    from safetensors.torch import save_file

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cfg = MICROCODEC
    data = load_folder(args.src, cfg.sample_rate, args.valid_share)
    length = int(args.segment * cfg.frame_rate) * cfg.hop_length  # whole frames, as the model makes nothing else
    crops = Crops(list(data[TRAIN].values()), length, args.seed)
    model = EncodecModel(cfg)
    keep_variance(model)
    model.to(device)
    distance = MelDistance(cfg.sample_rate).to(device)
    optim = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0)
    done, step, averages, history = 0.0, 0, None, []  # done: share of the run
    state, recipe = args.out / "codec.pt", recipe_of(args, data)

    def save() -> None:
        checkpoint.save({"model": model.state_dict(), "optim": optim.state_dict(), "done": done, "step": step,
                         "averages": averages, "history": history, "recipe": recipe}, state)

    if state.exists():
        pkg = checkpoint.load(state, map_location=device)
        check_recipe(pkg.get("recipe", {}), recipe, state)
        model.load_state_dict(pkg["model"])
        optim.load_state_dict(pkg["optim"])
        done, step, averages, history = pkg["done"], pkg["step"], pkg["averages"], pkg["history"]
    args.out.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=round(args.minutes * 60), initial=round(done * args.minutes * 60), unit="s", desc="codec")
    last, saved, recent = time.monotonic(), time.monotonic(), []
    while done < 1:
        lr = args.lr * min(1, (step + 1) / 200) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optim.param_groups:
            group["lr"] = lr
        wav = crops.batch(step, args.batch_size).to(device)
        if averages is None and done >= WARM_SHARE:
            with torch.no_grad():
                many = [model.encoder(crops.batch(step + i, args.batch_size).to(device)) for i in range(48)]
            averages = kmeans_codebooks(model, torch.cat(many).transpose(1, 2).reshape(-1, cfg.dimension))
        z = model.encoder(wav)
        commit = torch.zeros((), device=device)
        q = z
        if averages is not None:
            quantized = quantize_and_learn(model, averages, z.detach())
            commit = (z - quantized).square().mean()
            q = z + (quantized - z).detach()  # straight through
        out = model.decoder(q)
        log, linear = distance.parts(out[:, 0], wav[:, 0])
        wave = (out - wav).abs().mean()
        wave_weight = WAVE_WEIGHT[0] + (WAVE_WEIGHT[1] - WAVE_WEIGHT[0]) * done
        linear_weight = LINEAR_WEIGHT[0] + (LINEAR_WEIGHT[1] - LINEAR_WEIGHT[0]) * done
        loss = log + linear_weight * linear + wave_weight * wave + args.commit_weight * commit
        if not torch.isfinite(loss):
            raise UserError(f"the loss is {float(loss)} at step {step}; {state} is the last good state")
        optim.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optim.step()
        step += 1
        recent.append([float(log), float(linear), float(wave), float(commit), float(norm)])
        now = time.monotonic()
        done += (now - last) / (args.minutes * 60)
        bar.update(min(now - last, max(0, bar.total - bar.n)))
        last = now
        if step % 50 == 0:
            mean = np.mean(recent, axis=0)
            recent.clear()
            history.append([step, *map(float, mean)])
            words = "step {} log {:.3f} mel {:.1f} wave {:.4f} commit {:.3f} norm {:.1f}"
            bar.set_postfix_str(words.format(step, *mean))
        if now - saved > 180 or done >= 1 or asked:
            save()
            saved = time.monotonic()
        if asked:
            bar.close()
            raise KeyboardInterrupt(f"The state is in {state}. The same command goes on from it.")
    bar.close()
    model.cpu().eval()
    figures = evaluate(model, data[VALID]) | {"steps": step}
    with atomic(args.out / "codec.safetensors") as part:
        save_file(model.state_dict(), part)
    about = {"config": cfg.to_dict(), "recipe": recipe, "held_out": sorted(data[VALID]), "figures": figures}
    write(args.out / "codec.json", json.dumps(about, indent=1))
    return figures


def main() -> None:
    parser = Parser(description="Train a small EnCodec on a folder of sound.")
    parser.add_argument("src", type=Path, help="folder of audio, searched recursively")
    parser.add_argument("out", type=Path, help="folder for the codec; an interrupted run goes on from it")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to train (default: 60)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--segment", type=float, default=1.0, help="seconds a crop (default: 1)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--clip", type=float, default=20.0, help="largest gradient norm")
    parser.add_argument("--commit-weight", type=float, default=0.1)
    parser.add_argument("--valid-share", type=float, default=0.3, help="share of the files held out (default: 0.3)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.src.is_dir():
        raise UserError(f"no such folder: {args.src}")
    for name, value in train(args).items():
        print(f"{name:>12}: {value:.3f}")


if __name__ == "__main__":
    run_cli(main)
