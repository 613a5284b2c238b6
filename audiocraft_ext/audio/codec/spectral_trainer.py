"""The two stages of a spectral codec's training, step by step: :class:`Trainer` is all that a run consists of."""

from __future__ import annotations

import argparse
import math

import torch

from audiocraft_ext.audio.codec.codebooks import DROPOUT, FEWEST, CodebookLearner
from audiocraft_ext.audio.codec.sound_pool import Crops
from audiocraft_ext.audio.codec.spectral import SpectralConfig, SpectralModel
from audiocraft_ext.audio.codec.spectral_losses import Discriminators, MelLoss
from audiocraft_ext.core.errors import UserError

FREE_SHARE = 0.06  # of the first stage, before there are codes
WAVE_SHARE = 0.2  # of it, in which the waveform counts too, less and less: it finds the phase
WAVE_WEIGHT = 0.5
COMMIT_WEIGHT = 0.01  # with 0.1 the encoder snaps onto the first codebooks and leaves the others nothing to code
BETAS, DECAY = (0.8, 0.99), 1e-3
AVERAGE = 0.999  # of the decoder's weights in the second stage
RAMP = 300  # steps in which the discriminators' say grows to its weight


class Trainer:
    """All that a run consists of; :meth:`state` and :meth:`load` are the whole of it.

    Attributes:
        step: steps done, of both stages.
        gains: figures of the held-out files at the ends of the stages, by name.
    """

    def __init__(self, args: argparse.Namespace, cfg: SpectralConfig, crops: Crops):
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
        n_q = self._codebooks_of(self.step)
        with torch.no_grad():
            z = self.model.quantizer.decode(self.model.quantizer.encode(z, n_q))
        with self._autocast():
            out = self.model.decoder(z)
            made = out.detach().requires_grad_()
            judged, fooled, matched = self.judges(wav[:, 0], made[:, 0], self.step)
        # One pass through the discriminators serves both sides: the decoder's gradient is taken off the same graph.
        ramp = min(1.0, n / RAMP)
        gradient, = torch.autograd.grad(ramp * (args.adversarial * fooled + args.features * matched), made,
                                        retain_graph=True)
        self._update(self.judge_optim, judged, self.judges)
        mel = self.mel(out[:, 0], wav[:, 0], self.step)
        self._update(self.decoder_optim, mel + (out * gradient).sum(), self.model.decoder)
        with torch.no_grad():
            for name, value in self.model.decoder.state_dict().items():
                self.average[name].lerp_(value, 1 - min(AVERAGE, (n + 1) / (n + 10)))
        return {"mel": float(mel.detach()), "judge": float(judged.detach()), "fool": float(fooled.detach()),
                "match": float(matched.detach())}

    def _codebooks_of(self, step: int) -> int:
        """How many the decoder is given: now and then fewer than all, as in the first stage."""
        draw, fewer = torch.rand(2, generator=_generator(self.args.seed, step)).tolist()
        n_q = self.cfg.n_q
        return FEWEST + int(fewer * (n_q - FEWEST)) if draw < DROPOUT / 2 and n_q > FEWEST else n_q

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
