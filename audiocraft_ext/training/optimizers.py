"""The optimiser of a run, from its config."""

from __future__ import annotations

import logging

import torch
from torch import nn

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.lm import LM


def get_optimiser(model: LM, cfg) -> torch.optim.Optimizer:
    """``cfg`` is the config's ``optim``: ``optimizer``, ``lr`` and the options of each optimiser.

    Raises:
        UserError: what the optimiser needs is not installed.
    """
    if cfg.optimizer == "adamw8bit":
        return _adamw8bit(model, cfg)
    if cfg.optimizer == "muon":
        return _muon(model, cfg)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[cfg.optimizer]
    return kind(model.parameters(), lr=cfg.lr, **cfg.adam)


def _adamw8bit(model: nn.Module, cfg) -> torch.optim.Optimizer:
    """AdamW whose two moments have a byte a weight, with a scale for each block of 256 (`8-bit Optimizers via
    Block-wise Quantization <https://arxiv.org/abs/2110.02861>`_). Tensors below 4096 weights stay as they are."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a kernel for 4-bit weights
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(f"optim.optimizer=adamw8bit needs bitsandbytes ({error}): pip install bitsandbytes; "
                        "or take optim.optimizer=adamw") from None
    options = cfg.adam
    return AdamW8bit(model.parameters(), lr=cfg.lr, betas=tuple(options.betas), eps=options.eps,
                     weight_decay=options.weight_decay)


def _muon(model: LM, cfg) -> torch.optim.Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise UserError(f"optim.optimizer=muon needs torch 2.9 or newer, this is {torch.__version__}; upgrade torch, "
                        "or take optim.optimizer=adamw")
    hidden = {model.get_parameter(name): product.parts or (product.rows,)
              for name, product in model.cfg.matrices().items()}
    rest = [p for p in model.parameters() if p not in hidden]
    return MuonAndAdamW(hidden, rest, cfg.muon.lr or cfg.lr, cfg.lr, dict(cfg.adam),
                        {key: value for key, value in cfg.muon.items() if key != "lr" and value is not None})


class MuonAndAdamW(torch.optim.Optimizer):
    """`Muon <https://kellerjordan.github.io/posts/muon/>`_ for the matrices of the layers, AdamW for the rest: one
    optimiser to a schedule, a loss scale and a checkpoint.

    Muon makes the update of a matrix orthogonal. The fused projection of an attention is three matrices in one
    parameter, each of which is to be so by itself: Muon is shown views of them. Its steps have the size of AdamW's
    (``match_rms_adamw``, https://arxiv.org/abs/2502.16982 section 2.2), so that one rate does for both.

    Args:
        hidden: a parameter, and the rows of each matrix that it is made of.
        adam, muon: options of either, without the rate.
    """

    def __init__(self, hidden: dict[nn.Parameter, tuple[int, ...]], rest: list[nn.Parameter], muon_lr: float, lr: float,
                 adam: dict, muon: dict):
        super().__init__([{"params": rest, "lr": lr}, {"params": list(hidden), "lr": muon_lr}], {})
        # A view lies in the memory of its parameter, so what moves the one moves the other.
        self._views = [(p, [nn.Parameter(part) for part in p.detach().split(parts)]) for p, parts in hidden.items()]
        self.adamw = torch.optim.AdamW(rest, lr=lr, **adam)
        self.muon = torch.optim.Muon([view for _, views in self._views for view in views], lr=muon_lr, **muon,
                                     adjust_lr_fn="match_rms_adamw")

    def step(self, closure=None) -> None:
        for p, views in self._views:
            for view, gradient in zip(views, p.grad.split([len(view) for view in views])):
                view.grad = gradient
        for optimiser, group in zip((self.adamw, self.muon), self.param_groups):
            optimiser.param_groups[0]["lr"] = group["lr"]
            optimiser.step()
        self.muon.zero_grad()  # else the gradients stay where they are when those of the parameters are let go

    def state_dict(self) -> dict:
        return super().state_dict() | {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict({"state": {}, "param_groups": state["param_groups"]})
        self.adamw.load_state_dict(state["adamw"])
        self.muon.load_state_dict(state["muon"])
