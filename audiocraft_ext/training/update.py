"""One update of the weights from one batch: forward and backward in parts, gradients of all processes, the step."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from audiocraft_ext.model.lm import LM
from audiocraft_ext.training.distributed import total_gradients
from audiocraft_ext.training.loss_scale import LossScaler


class NotFinite(ArithmeticError):
    """The loss or the gradient is no number; the weights were left alone."""

    def __init__(self, ce: float, norm: float):
        super().__init__(f"the loss is {ce} (gradient norm {norm})")


@dataclass
class Outcome:
    """Of the whole batch of all processes: the loss, the loss of each of the K streams, the norm of the gradient before
    clipping. Of an update that was ``skipped`` the norm is 0 and the losses may be no numbers."""

    ce: float
    each: list[float]
    norm: float
    skipped: bool = False


class Updater:
    """Takes a batch ``codes [B, K, T]`` on the model's device.

    Args:
        autocast: the context in which the model computes.
        accumulate: parts that a batch is cut into: the same result, a fraction of the memory.
        max_norm: of the gradient; 0 is no limit.
        scaler: of the loss, for float16; by default there is none.
    """

    def __init__(self, model: LM, optimiser: torch.optim.Optimizer, autocast: AbstractContextManager,
                 accumulate: int = 1, max_norm: float = 0.0, scaler: LossScaler | None = None):
        self.model, self.optimiser, self.autocast = model, optimiser, autocast
        self.accumulate, self.max_norm = accumulate, max_norm
        self.scaler = scaler or LossScaler("cpu", enabled=False)

    def __call__(self, batch: torch.Tensor, targets: torch.Tensor | None = None) -> Outcome:
        """``batch`` is this process's share; ``targets [K]`` are the :meth:`LM.targets` of all shares together, by
        default those of the batch.

        Raises:
            NotFinite: before the weights have taken it in. With a scale an update is skipped instead, but for so many
                in a row that no scale will help (:data:`audiocraft_ext.training.loss_scale.MOST_SKIPPED`).
        """
        parts = batch.chunk(min(self.accumulate, len(batch)))
        targets = self.model.targets(batch) if targets is None else targets
        ce, each = torch.zeros((), device=batch.device), torch.zeros(batch.shape[1], device=batch.device)
        for part in parts:
            with self.autocast:
                loss, stream_losses = self.model.losses(part, targets)
            self.scaler.scale(loss).backward()
            ce += loss.detach()
            each += stream_losses
        total_gradients(self.model.parameters(), ce, each, *(router.load for router in self.model.routers))
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm or float("inf"))
        ce, norm, *each = torch.stack([ce, norm, *each]).tolist()  # the one wait for the device in an update
        finite = math.isfinite(ce) and math.isfinite(norm)
        if finite:
            self.scaler.step(self.optimiser)
        self.model.rebalance(finite)
        if not self.scaler.finish(finite):
            raise NotFinite(ce, norm)
        self.optimiser.zero_grad(set_to_none=True)
        return Outcome(ce, each, norm if finite else 0.0, skipped=not finite)
