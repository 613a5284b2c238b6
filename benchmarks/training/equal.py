"""A small LM trained for so many seconds of the processor: what rows of a table share that are to be compared.

The machine may be busy with other work, so the clock says nothing; updates say nothing either where a row's cost more.
What validates and samples is not counted. Warm-up and the fall of the learning rate go by the same seconds.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from omegaconf import OmegaConf
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from audiocraft_ext import kinds
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.train import main
from audiocraft_ext.training.checks import can_autocast, check_window
from audiocraft_ext.training.dataset import StreamDataset, StreamLoader, window_frames
from audiocraft_ext.training.optimizers import get_optimiser
from audiocraft_ext.training.update import Updater

WARM_UP = 0.05  # of the seconds
LOOKS = (0.2, 0.4, 0.6, 0.8, 1.0)  # validations, by the share of the seconds that is over
SOUP = (0.8, 0.85, 0.9, 0.95, 1.0)  # states that are averaged in the end


@dataclass(frozen=True)
class Extra:
    """What a row does that no config says.

    Attributes:
        mask: share of the codes that the model is shown as "nothing here"; it predicts them all the same.
        first: how much more the loss of the first stream counts than that of the last; the others lie between, and
            their mean is 1.
    """

    mask: float = 0.0
    first: float = 1.0


class Masked(LM):
    """A model that while it trains is shown a ``share`` of the codes as "nothing here"; not of a prompt, nor of what is
    given."""

    share, given = 0.0, (0, 0)  # the frames of the prompt, the streams of controls

    def hidden(self, sequence: torch.Tensor, cache=None) -> torch.Tensor:
        if self.training and self.share:
            hit = torch.rand(sequence.shape) < self.share
            hit[..., : self.given[0] + 1] = False
            hit[:, sequence.shape[1] - self.given[1] :] = False
            sequence = sequence.masked_fill(hit, self.special_id)
        return super().hidden(sequence, cache)


@dataclass
class Trained:
    """What became of a training. Losses are nats a code, the mean over the streams that have a choice.

    Attributes:
        losses: on the valid split after each of :data:`LOOKS`.
        ema, soup: of the weights averaged as the config says (None where it does not), and of the last few states.
        streams: the last loss of each stream.
        best: the state with the least of the losses.
        train: the mean loss of the last tenth of the updates, with dropout and whatever else there is.
    """

    model: LM
    updates: int
    train: float
    ema: float | None
    soup: float
    losses: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    def figures(self) -> dict:
        """As JSON."""
        return {"best": min(self.losses), "last": self.losses[-1], "ema": self.ema, "soup": self.soup,
                "train": self.train, "updates": self.updates, "losses": self.losses, "streams": self.streams}


class Ground:
    """A store, and a recipe of ``configs/solver`` with changes to it.

    Args:
        overrides: as a run takes them: ``solver=drums/quick optim.lr=1e-3``.
    """

    def __init__(self, store: TokenStore, overrides: list[str]):
        self.store, self.spec = store, store.spec
        self.choice = [size > 1 for size in self.spec.sizes or (self.spec.card,) * self.spec.n_q]
        self.cfg = cfg = main.get_xp([*overrides, f"datasource.store={store.path}"]).cfg
        self.frames = window_frames(self.spec, cfg.dataset.get("segment_duration"),
                                    cfg.dataset.get("segment_frames"), "dataset.segment")
        lm = OmegaConf.to_container(cfg.transformer_lm, resolve=True)
        self.lm = LMConfig.from_dict(lm | {"n_q": self.spec.n_q, "card": self.spec.card})
        check_window(self.lm, self.spec, self.frames)
        cfg.device = "cpu"
        self.view = kinds.kind_of(self.spec).view(store, OmegaConf.to_container(cfg.dataset.view, resolve=True))

    def dataset(self, split: str, seed: int) -> StreamDataset:
        """Without end on the train side."""
        cfg = self.cfg.dataset
        train = split == TRAIN
        return StreamDataset(self.store, split, self.frames, 2**31 if train else cfg.valid.num_samples, seed,
                             cfg.sample_on_duration, self.view, cfg.train.share, cfg.get("drop_controls", 0.0))

    def autocast(self):
        """In which the model computes."""
        half = self.cfg.autocast and can_autocast(self.cfg)
        return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()

    def held_out(self) -> list[torch.Tensor]:
        """Batches of the valid split."""
        return list(StreamLoader(self.dataset(VALID, 0), self.cfg.dataset.batch_size))

    def train(self, held: list[torch.Tensor], seconds: float, seed: int, extra: Extra = Extra(),
              data: StreamDataset | None = None) -> Trained:
        """A model; ``data`` are its windows, by default those of the store's train split."""
        torch.manual_seed(seed)
        cfg, spec = self.cfg, self.spec
        model = Masked(self.lm, spec.delays, spec.sizes, spec.gates).train()
        model.share, model.given = extra.mask, (spec.prompt, spec.controls)
        weights = _stream_weights(self.choice, extra.first)
        optimiser = get_optimiser(model, cfg.optim)
        update = Updater(model, optimiser, self.autocast(), cfg.optim.accumulate, cfg.optim.max_norm)
        average = AveragedModel(model, avg_fn=get_ema_avg_fn(cfg.optim.ema.decay)) if cfg.optim.ema.use else None
        soup, rates = AveragedModel(model), [group["lr"] for group in optimiser.param_groups]
        data = data or self.dataset(TRAIN, seed)
        clock, losses, went, streams, best = _Clock(seconds), [], [], [], {}
        looks, keeps = list(LOOKS), list(SOUP)
        while looks:
            for group, rate in zip(optimiser.param_groups, rates):
                group["lr"] = rate * _factor(clock.share, cfg.schedule)
            n = cfg.dataset.batch_size
            batch = torch.from_numpy(data.batch(1, range(len(went) * n, (len(went) + 1) * n)))
            went.append(update(batch, model.targets(batch) / weights).ce)
            if average is not None and len(went) % cfg.optim.ema.updates == 0:
                average.update_parameters(model)
            clock.look()
            if keeps and clock.share >= keeps[0]:
                keeps = [share for share in keeps if share > clock.share]
                soup.update_parameters(model)
            if clock.share >= looks[0]:
                looks = [share for share in looks if share > clock.share]
                streams = self.losses(model, held)
                losses.append(self.mean(streams))
                if losses[-1] == min(losses):
                    best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            clock.go_on()
        tenth = went[-max(1, len(went) // 10) :]
        return Trained(model, len(went), float(np.mean(tenth)),
                       self.mean(self.losses(average.module, held)) if average is not None else None,
                       self.mean(self.losses(soup.module, held)), losses, streams, best)

    @torch.no_grad()
    def losses(self, model: LM, held: list[torch.Tensor]) -> list[float]:
        """Of each stream, nats a code."""
        model.eval()
        total = torch.zeros(self.spec.n_q)
        with self.autocast():
            for codes in held:
                total += model.losses(codes)[1] * model.targets(codes)
        model.train()
        return (total / sum(model.targets(codes) for codes in held)).tolist()

    def mean(self, streams: list[float]) -> float:
        """Over the streams that have a choice."""
        return float(np.mean([loss for loss, choice in zip(streams, self.choice) if choice]))


class _Clock:
    """Seconds of the processor, without those between :meth:`look` and :meth:`go_on`."""

    def __init__(self, seconds: float):
        self._seconds, self._spent, self._began = seconds, 0.0, time.process_time()

    @property
    def share(self) -> float:
        """Of the seconds that is over."""
        return self._spent / self._seconds

    def look(self) -> None:
        self._spent += time.process_time() - self._began

    def go_on(self) -> None:
        self._began = time.process_time()


def _factor(share: float, schedule) -> float:
    """Of the learning rate, after a share of the seconds: as the config's schedule, by seconds."""
    warm = min(1.0, (share + 1e-3) / WARM_UP)
    if schedule.lr_scheduler is None:
        return warm
    low = schedule.cosine.lr_min_ratio
    return warm * (low + (1 - low) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, share))))


def _stream_weights(choice: list[bool], first: float) -> torch.Tensor:
    """``[K]``: how much the loss of each stream counts, of those that have a choice."""
    choice, weights = torch.tensor(choice), torch.ones(len(choice))
    each = torch.logspace(0, -1, int(choice.sum()), base=first)
    weights[choice] = each / each.mean()
    return weights
