"""Train a spectral codec on any sound: ``python -m audiocraft_ext.codecs.train DATA... -o OUT``.

Two stages in one run. First encoder, codebooks and decoder together, on a distance of log-mel spectra: for a short
while without codes, then with them. Then the decoder alone against discriminators, with the encoder and the codebooks
as they are: codes and token stores stay valid while the sound gets better.

OUT/state.pt is written every few minutes and on Ctrl-C; the same command goes on from there, to the same result as if
it had never stopped. OUT/codec.safetensors and OUT/codec.json are the codec, written with it. Files that are held out
(``--valid``, or a share of the rest) are never trained on; what each stage gained is measured on them:

    log-mel     mean difference of log10 power mel spectra at -18 dB RMS (:mod:`audiocraft_ext.audio.codec.distance`).
                The first stage makes it small; the second gives a little of it back for texture.
    texture     how much log-mel spectra vary from one time and band to the next, as a share of the original's: 1 is
                right, less is smeared and sounds metallic.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from audiocraft_ext.audio.codec import sound_pool
from audiocraft_ext.audio.codec.distance import MelDistance, si_sdr
from audiocraft_ext.audio.codec.spectral import SpectralConfig, SpectralModel
from audiocraft_ext.audio.codec.spectral_trainer import Trainer
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import atomic, write
from audiocraft_ext.core.split import VALID, split_of
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.weights import write_safetensors
from audiocraft_ext.sound import files as sound_files

JUDGED = 10.0  # seconds of each held-out file
STAGES = ("before training", "first stage", "second stage")
CHANGEABLE = ("steps", "adversarial_steps", "adversarial", "features", "decoder_lr", "adversarial_batch")


@torch.no_grad()
def evaluate(cfg: SpectralConfig, weights: dict[str, torch.Tensor], sounds: list[np.ndarray]) -> dict[str, float]:
    """Of held-out sound at -18 dB RMS, the means over the files: the log-mel distance, the texture, SI-SDR in dB, and
    the entropy of each codebook in bits."""
    model, distance = SpectralModel(cfg), MelDistance(cfg.sample_rate)
    model.load_state_dict(weights)
    rows, seen = [], []
    for wav in sounds:
        x = torch.from_numpy(wav[: len(wav) // cfg.hop_length * cfg.hop_length])[None, None]
        codes = model.encode(x)
        y = model.decode(codes)
        pair = y[:, 0], x[:, 0]
        rows.append([float(distance(*pair)), float(distance.texture(*pair)), float(si_sdr(*pair))])
        seen.append(codes[0])
    share = torch.stack([torch.bincount(k, minlength=cfg.card) for k in torch.cat(seen, 1)]).double()
    share = share / share.sum(1, keepdim=True)
    bits = -(share * (share + 1e-12).log2()).sum(1)
    log_mel, texture, sdr = map(float, np.mean(rows, axis=0))
    return {"log_mel": log_mel, "texture": texture, "si_sdr_db": sdr, "bits": [round(float(b), 2) for b in bits]}


def in_words(figures: dict) -> str:
    return (f"log-mel {figures['log_mel']:.3f}, texture {figures['texture']:.2f}, "
            f"bits of the codebooks {' '.join(f'{b:.1f}' for b in figures['bits'])}")


def held_out(groups: list[list[Path]], cfg: SpectralConfig) -> list[np.ndarray]:
    """The first seconds of each file, but for what is shorter than half a second."""
    wavs = []
    for path in (path for files in groups for path in files):
        wav = sound_pool.levelled(sound_files.read(path, cfg.sample_rate))
        start = max(0, min(len(wav) - int(JUDGED * cfg.sample_rate), 5 * cfg.sample_rate))
        wavs.append(wav[start: start + int(JUDGED * cfg.sample_rate)])
    return [wav for wav in wavs if len(wav) > cfg.sample_rate / 2]


def split(args: argparse.Namespace) -> tuple[list[list[Path]], list[list[Path]]]:
    """The files to train on, by source, and those that are held out."""
    groups = sound_pool.find(args.data)
    if args.valid:
        return groups, sound_pool.find(args.valid)
    held = [[p for p in files if split_of(p.name, args.valid_share) == VALID] for files in groups]
    train = [[p for p in files if split_of(p.name, args.valid_share) != VALID] for files in groups]
    if not any(held) or not all(train):
        raise UserError(f"{sum(map(len, held))} files are held out of {sum(map(len, groups))}, and every source needs "
                        "some of both; name folders of held-out sound with --valid")
    return train, held


def write_codec(out: Path, cfg: SpectralConfig, weights: dict[str, torch.Tensor], about: dict) -> None:
    """``codec.safetensors`` in half precision, and ``codec.json`` with ``about`` in it."""
    with atomic(out / "codec.safetensors") as part:
        write_safetensors({name: value.half().contiguous() for name, value in weights.items()}, part)
    about = {"name": "spectral", "type": "spectral", "config": cfg.to_dict(), **about}
    write(out / "codec.json", json.dumps(about, indent=1))


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


def train(args: argparse.Namespace, cfg: SpectralConfig) -> dict:
    """The whole run, from wherever it stopped; returns what was measured on held-out sound, by name.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; everything so far is in the file that it names.
    """
    torch.set_flush_denormal(True)
    groups, held = split(args)
    recipe = {k: v for k, v in vars(args).items() if k not in ("data", "valid", "out", "save_minutes", "licence")} | {
        "model": cfg.to_dict(), "files": sum(map(len, groups))}
    crops = sound_pool.Crops(sound_pool.prepare(groups, args.out, cfg.sample_rate), args.weights or [1.0] * len(groups),
                             int(args.segment * cfg.frame_rate) * cfg.hop_length, args.seed)
    wavs, trainer, path = held_out(held, cfg), Trainer(args, cfg, crops), args.out / "state.pt"
    if path.exists():
        state = checkpoint.load(path, map_location=trainer.device)
        check_recipe(state["recipe"], recipe, path, state["step"])
        trainer.load(state)
        del state

    def judge(name: str) -> None:
        trainer.gains[name] = evaluate(cfg, trainer.weights(), wavs) | {"steps": trainer.step}
        tqdm.write(f"{name}: {in_words(trainer.gains[name])}")

    def save() -> None:
        checkpoint.save(trainer.state() | {"recipe": recipe}, path)
        licence = {"licence": args.licence} if args.licence else {}
        write_codec(args.out, cfg, trainer.weights(), licence | {"figures": trainer.gains, "recipe": recipe})

    if trainer.step == 0:
        judge(STAGES[0])
    with asked_to_stop() as asked:
        _run(trainer, args, judge, save, asked)
    save()
    if asked:
        raise KeyboardInterrupt(f"The state is in {path}. The same command goes on from it.")
    return trainer.gains


def _run(trainer: Trainer, args: argparse.Namespace, judge, save, asked: list) -> None:
    """Steps until the end, or until somebody asks to stop; judges and saves now and then."""
    total, saved, recent = args.steps + args.adversarial_steps, time.monotonic(), []
    with tqdm(total=total, initial=trainer.step, unit="step", desc=_stage(trainer), dynamic_ncols=True,
              mininterval=0.5 if sys.stderr.isatty() else 30) as bar:
        while trainer.step < total and not asked:
            recent.append(trainer.advance())
            bar.update()
            if trainer.step in (args.steps, total):
                judge(STAGES[1] if trainer.step == args.steps else STAGES[2])
                bar.set_description(_stage(trainer))
            elif trainer.step % args.judge_every == 0:
                judge(f"step {trainer.step}")
            if trainer.step % 50 == 0:
                mean = {k: np.mean([r[k] for r in recent]) for k in recent[0] if k in recent[-1]}
                bar.set_postfix_str(" ".join(f"{k} {v:.3f}" for k, v in mean.items()), refresh=False)
                recent.clear()
            if time.monotonic() - saved > 60 * args.save_minutes or trainer.step == args.steps:
                save()
                saved = time.monotonic()


def _stage(trainer: Trainer) -> str:
    return "stage 2 of 2" if trainer.adversarial else "stage 1 of 2"


def check_recipe(then: dict, now: dict, path: Path, step: int) -> None:
    """Refuse to go on under another recipe; names every option that differs. The lengths of the stages that are not
    over and the weights of the second may change."""
    fixed = {"steps"} if step > then.get("steps", 0) else set()
    differing = [f"{k} was {then.get(k)}, is {now.get(k)}" for k in sorted(then.keys() | now.keys())
                 if (k in fixed or k not in CHANGEABLE) and json.dumps(then.get(k)) != json.dumps(now.get(k))]
    if differing:
        raise UserError(f"{path} was made with another recipe: {'; '.join(differing)}; put it back, or name another "
                        "folder")


def main() -> None:
    parser = Parser(description="Train a spectral codec on sound.")
    parser.add_argument("data", type=Path, nargs="+", help="folders of sound, searched recursively")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the codec's folder; a stopped run goes on there")
    parser.add_argument("--weights", type=float, nargs="+", help="how often each folder is drawn (default: equally)")
    parser.add_argument("--valid", type=Path, nargs="+", help="folders of held-out sound (default: a share of DATA)")
    parser.add_argument("--valid-share", type=float, default=0.1, help="of the files, without --valid (default: 0.1)")
    parser.add_argument("--steps", type=int, default=12_000, help="of the first stage (default: 12000)")
    parser.add_argument("--adversarial-steps", type=int, default=5_000, help="of the second (default: 5000)")
    parser.add_argument("--batch", type=int, default=8, help="crops a step (default: 8)")
    parser.add_argument("--adversarial-batch", type=int, default=6, help="the same in the second stage (default: 6)")
    parser.add_argument("--segment", type=float, default=0.64, help="seconds a crop (default: 0.64)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decoder-lr", type=float, default=3e-4, help="in the second stage")
    parser.add_argument("--judge-lr", type=float, default=5e-4, help="of the discriminators")
    parser.add_argument("--adversarial", type=float, default=0.05, help="weight of fooling the discriminators")
    parser.add_argument("--features", type=float, default=0.3, help="weight of matching their features")
    parser.add_argument("--n-q", type=int, default=6, help="codebooks (default: 6)")
    parser.add_argument("--card", type=int, default=256, help="codes in each (default: 256)")
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True,
                        help="the networks' arithmetic: half the time where the processor has it (default: on)")
    parser.add_argument("--judge-every", type=int, default=1000, help="steps between looks at held-out sound")
    parser.add_argument("--save-minutes", type=float, default=4.0)
    parser.add_argument("--licence", help="of the weights, kept in codec.json")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.weights and len(args.weights) != len(args.data):
        raise UserError(f"{len(args.weights)} weights for {len(args.data)} folders; give one for each")
    gains = train(args, SpectralConfig(n_q=args.n_q, card=args.card))
    for name in STAGES:
        if name in gains:
            print(f"{name:>16}: {in_words(gains[name])}")


if __name__ == "__main__":
    run_cli(main)
