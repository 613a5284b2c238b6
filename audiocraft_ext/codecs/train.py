"""Train a spectral codec on any sound: ``python -m audiocraft_ext.codecs.train DATA... -o OUT``.

Two stages in one run. First encoder, codebooks and decoder together, on a distance of log-mel spectra: for a short
while without codes, then with them. Then the decoder alone against discriminators, with the encoder and the codebooks
as they are: codes and token stores stay valid while the sound gets better.

OUT/state.pt is written every few minutes and continues with the same command, to the same result as if it had never
stopped. OUT/codec.safetensors and OUT/codec.json are the codec, written with it. Files that are held out (``--valid``,
or a share of the rest) are never trained on; what each stage gained is measured on them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from audiocraft_ext import audio, checkpoint
from audiocraft_ext.codecs import sound_pool
from audiocraft_ext.codecs.codebooks import CodebookLearner
from audiocraft_ext.codecs.distance import MelDistance, si_sdr
from audiocraft_ext.codecs.spectral import SpectralConfig, SpectralModel
from audiocraft_ext.codecs.spectral_losses import Discriminators, MelLoss
from audiocraft_ext.errors import Parser, UserError, run_cli
from audiocraft_ext.split import VALID, split_of

FREE_SHARE = 0.06  # of the first stage, before there are codes
WAVE_SHARE = 0.2  # of it, in which the waveform counts too, less and less: it finds the phase
WAVE_WEIGHT, COMMIT_WEIGHT = 0.5, 0.1
BETAS, DECAY = (0.8, 0.99), 1e-3
AVERAGE = 0.999  # of the decoder's weights in the second stage
RAMP = 300  # steps in which the discriminators' say grows to its weight
JUDGED = 10.0  # seconds of each held-out file
CHANGEABLE = ("steps", "adversarial_steps", "adversarial", "features", "decoder_lr", "adversarial_batch")


class Trainer:
    """All that a run consists of; :meth:`state` and :meth:`load` are the whole of it.

    Attributes:
        step: steps done, of both stages.
        gains: figures of the held-out files at the ends of the stages, by name.
    """

    def __init__(self, args: argparse.Namespace, cfg: SpectralConfig, crops: sound_pool.Crops):
        torch.manual_seed(args.seed)
        self.args, self.cfg, self.crops = args, cfg, crops
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = SpectralModel(cfg).to(self.device)
        self.learner = CodebookLearner(self.model.quantizer).to(self.device)
        self.judges = Discriminators(cfg.sample_rate).to(self.device)
        self.average = {k: v.clone() for k, v in self.model.decoder.state_dict().items()}
        self.mel = MelLoss(cfg.sample_rate).to(self.device)
        self.optim = torch.optim.AdamW(self.model.parameters(), args.lr, BETAS, weight_decay=DECAY, fused=True)
        self.decoder_optim = torch.optim.AdamW(self.model.decoder.parameters(), args.decoder_lr, BETAS,
                                               weight_decay=DECAY, fused=True)
        self.judge_optim = torch.optim.AdamW(self.judges.parameters(), args.judge_lr, BETAS, weight_decay=DECAY,
                                             fused=True)
        self.step, self.gains = 0, {}

    def _parts(self, step: int) -> dict:
        """What has changed since the beginning, after so many steps."""
        parts = {"model": self.model, "learner": self.learner}
        if step <= self.args.steps:
            return parts | {"optim": self.optim}
        return parts | {"judges": self.judges, "decoder_optim": self.decoder_optim, "judge_optim": self.judge_optim}

    def state(self) -> dict:
        return {name: part.state_dict() for name, part in self._parts(self.step).items()} | {
            "average": self.average, "step": self.step, "gains": self.gains}

    def load(self, state: dict) -> None:
        for name, part in self._parts(state["step"]).items():
            part.load_state_dict(state[name])
        self.average, self.step, self.gains = state["average"], state["step"], state["gains"]

    @property
    def adversarial(self) -> bool:
        """Whether the second stage has begun."""
        return self.step >= self.args.steps

    def advance(self) -> dict[str, float]:
        """One step of the stage that is on; what the losses were."""
        if self.adversarial and not self.args.adversarial_steps:
            raise ValueError("no steps are left")
        losses = self._second() if self.adversarial else self._first()
        self.step += 1
        return losses

    def _batch(self, step: int, size: int) -> torch.Tensor:
        return self.crops.batch(step, size)[:, None].to(self.device)  # [B, 1, N]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.args.bfloat16)

    def _first(self) -> dict[str, float]:
        done, args = self.step / self.args.steps, self.args
        _set_lr(self.optim, args.lr * min(1, (self.step + 1) / 100) * _cosine(done, 0.02))
        wav = self._batch(self.step, args.batch)
        if self.step == round(FREE_SHARE * args.steps):
            self._place_codebooks()
        with self._autocast():
            z = self.model.encoder(wav)
        z, commit = z.float(), torch.zeros((), device=self.device)
        if self.step >= round(FREE_SHARE * args.steps):
            z, commit = self.learner(self.model.quantizer, z, _generator(args.seed, self.step))
        with self._autocast():
            out = self.model.decoder(z)
        mel = self.mel(out[:, 0], wav[:, 0], self.step)
        wave = WAVE_WEIGHT * max(0.0, 1 - done / WAVE_SHARE)
        loss = mel + COMMIT_WEIGHT * commit + (wave * (out - wav).abs().mean() if wave else 0)
        self._update(self.optim, loss, self.model)
        return {"mel": float(mel.detach()), "commit": float(commit.detach())}

    @torch.no_grad()
    def _place_codebooks(self) -> None:
        many = [self.model.encoder(self._batch(self.step + i, self.args.batch)).transpose(1, 2).flatten(0, 1)
                for i in range(32)]
        self.learner.start(self.model.quantizer, torch.cat(many), self.args.seed)

    def _second(self) -> dict[str, float]:
        args, n = self.args, self.step - self.args.steps
        if n == 0:
            self.average = {k: v.clone() for k, v in self.model.decoder.state_dict().items()}
        rate = _cosine(n / args.adversarial_steps, 0.05)
        _set_lr(self.decoder_optim, args.decoder_lr * min(1, (n + 1) / 50) * rate)
        _set_lr(self.judge_optim, args.judge_lr * rate)
        wav = self._batch(self.step, args.adversarial_batch)
        with torch.no_grad(), self._autocast():
            z = self.model.encoder(wav).float()
        with torch.no_grad():
            z = self.model.quantizer.decode(self.model.quantizer.encode(z))
        with self._autocast():
            out = self.model.decoder(z)
            made = out.detach().requires_grad_()
            judged, fooled, matched = self.judges(wav[:, 0], made[:, 0], self.step)
        # One pass through the discriminators serves both sides: the decoder's gradient is taken off the same graph.
        ramp = min(1.0, n / RAMP)
        said, = torch.autograd.grad(ramp * (args.adversarial * fooled + args.features * matched), made,
                                    retain_graph=True)
        self._update(self.judge_optim, judged, self.judges)
        mel = self.mel(out[:, 0], wav[:, 0], self.step)
        self._update(self.decoder_optim, mel + (out * said).sum(), self.model.decoder)
        with torch.no_grad():
            for name, value in self.model.decoder.state_dict().items():
                self.average[name].lerp_(value, 1 - min(AVERAGE, (n + 1) / (n + 10)))
        return {"mel": float(mel.detach()), "judge": float(judged.detach()), "fool": float(fooled.detach()),
                "match": float(matched.detach())}

    def _update(self, optim: torch.optim.Optimizer, loss: torch.Tensor, model: torch.nn.Module) -> None:
        if not torch.isfinite(loss):
            raise UserError(f"the loss is {float(loss)} at step {self.step}; the last state that was saved is good, "
                            "try a lower --lr or --decoder-lr")
        optim.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()

    def weights(self) -> dict[str, torch.Tensor]:
        """The codec's, as it would be used now: in the second stage with the averaged decoder."""
        state = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        if self.step > self.args.steps:
            state |= {f"decoder.{name}": value.cpu() for name, value in self.average.items()}
        return state


def _set_lr(optim: torch.optim.Optimizer, lr: float) -> None:
    for group in optim.param_groups:
        group["lr"] = lr


def _cosine(done: float, last: float) -> float:
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed << 32) + step)


@torch.no_grad()
def evaluate(cfg: SpectralConfig, weights: dict[str, torch.Tensor], wavs: list[np.ndarray]) -> dict[str, float]:
    """Of held-out sound at -18 dB RMS: the log-mel distance, SI-SDR in dB, and the entropy of each codebook in bits,
    the mean over the files."""
    model, distance = SpectralModel(cfg), MelDistance(cfg.sample_rate)
    model.load_state_dict(weights)
    rows, seen = [], []
    for wav in wavs:
        x = torch.from_numpy(wav[: len(wav) // cfg.hop_length * cfg.hop_length])[None, None]
        codes = model.encode(x)
        y = model.decode(codes)
        rows.append([float(distance.parts(y[:, 0], x[:, 0])[0]), float(si_sdr(y, x))])
        seen.append(codes[0])
    share = torch.stack([torch.bincount(k, minlength=cfg.card) for k in torch.cat(seen, 1)]).double()
    share = share / share.sum(1, keepdim=True)
    bits = -(share * (share + 1e-12).log2()).sum(1)
    log_mel, sdr = np.mean(rows, axis=0)
    return {"log_mel": float(log_mel), "si_sdr_db": float(sdr), "bits": [round(float(b), 2) for b in bits]}


def held_out(groups: list[list[Path]], cfg: SpectralConfig) -> list[np.ndarray]:
    """The first seconds of each file, but for what is shorter than half a second."""
    wavs = []
    for path in (path for files in groups for path in files):
        wav = sound_pool.levelled(audio.read(path, cfg.sample_rate))
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


def write(out: Path, cfg: SpectralConfig, weights: dict[str, torch.Tensor], figures: dict, recipe: dict) -> None:
    """``codec.safetensors`` in half precision, and ``codec.json``."""
    from safetensors.torch import save_file

    part = out / "codec.safetensors.part"
    save_file({name: value.half().contiguous() for name, value in weights.items()}, part)
    part.replace(out / "codec.safetensors")
    part = out / "codec.json.part"
    part.write_text(json.dumps({"name": "spectral", "type": "spectral", "config": cfg.to_dict(), "figures": figures,
                                "recipe": recipe}, indent=1), "utf-8")
    part.replace(out / "codec.json")


def train(args: argparse.Namespace, cfg: SpectralConfig) -> dict:
    """The whole run, from wherever it stopped; returns what the stages gained."""
    torch.set_flush_denormal(True)
    files, held = split(args)
    recipe = {k: v for k, v in vars(args).items() if k not in ("data", "valid", "out", "save_minutes")} | {
        "model": cfg.to_dict(), "files": sum(map(len, files))}
    crops = sound_pool.Crops(sound_pool.prepare(files, args.out, cfg.sample_rate), args.weights or [1.0] * len(files),
                             int(args.segment * cfg.frame_rate) * cfg.hop_length, args.seed)
    wavs, trainer, path = held_out(held, cfg), Trainer(args, cfg, crops), args.out / "state.pt"
    if path.exists():
        state = checkpoint.load(path, map_location=trainer.device)
        check_recipe(state["recipe"], recipe, path)
        trainer.load(state)
        del state

    def judged(name: str) -> dict:
        figures = trainer.gains[name] = evaluate(cfg, trainer.weights(), wavs) | {"steps": trainer.step}
        tqdm.write(f"{name}: log-mel distance {figures['log_mel']:.3f}, SI-SDR {figures['si_sdr_db']:.1f} dB, bits of "
                   f"the codebooks {figures['bits']}")
        return figures

    def save(last: bool = False) -> None:
        checkpoint.save(trainer.state() | {"recipe": recipe}, path)
        write(args.out, cfg, trainer.weights(), trainer.gains, recipe)

    total, saved, recent = args.steps + args.adversarial_steps, time.monotonic(), []
    slow = not sys.stderr.isatty()
    bar = tqdm(total=total, initial=trainer.step, unit="step", desc=_stage(trainer), mininterval=30 if slow else 0.5)
    if trainer.step == 0:
        judged("before training")
    while trainer.step < total:
        recent.append(trainer.advance())
        bar.update()
        if trainer.step in (args.steps, total):
            judged("first stage" if trainer.step == args.steps else "second stage")
            bar.set_description(_stage(trainer))
            save()
        elif trainer.step % args.judge_every == 0:
            judged(f"step {trainer.step}")
        if trainer.step % 50 == 0:
            mean = {k: np.mean([r[k] for r in recent]) for k in recent[0] if k in recent[-1]}
            bar.set_postfix_str(" ".join(f"{k} {v:.3f}" for k, v in mean.items()), refresh=False)
            recent.clear()
        if time.monotonic() - saved > 60 * args.save_minutes:
            save()
            saved = time.monotonic()
    bar.close()
    save()
    return trainer.gains


def _stage(trainer: Trainer) -> str:
    return "stage 2 of 2" if trainer.adversarial else "stage 1 of 2"


def check_recipe(then: dict, now: dict, path: Path) -> None:
    """Refuse to go on under another recipe; names every option that differs. Lengths and the weights of the second
    stage may change."""
    differing = [f"{k} was {then.get(k)}, is {now.get(k)}" for k in sorted(then.keys() | now.keys())
                 if k not in CHANGEABLE and json.dumps(then.get(k)) != json.dumps(now.get(k))]
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
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.weights and len(args.weights) != len(args.data):
        raise UserError(f"{len(args.weights)} weights for {len(args.data)} folders; give one for each")
    gains = train(args, SpectralConfig(n_q=args.n_q, card=args.card))
    for name in ("before training", "first stage", "second stage"):
        if name in gains:
            print(f"{name:>16}: log-mel distance {gains[name]['log_mel']:.3f}")


if __name__ == "__main__":
    run_cli(main)
