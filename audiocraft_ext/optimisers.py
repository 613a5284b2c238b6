"""The optimiser of a run, from its config."""

from __future__ import annotations

import torch
from audiocraft.solvers import builders
from torch import nn


def get_optimiser(model: nn.Module, cfg) -> torch.optim.Optimizer:
    """``cfg`` is the config's ``optim``: ``optimizer``, ``lr`` and the options of each optimiser."""
    return builders.get_optimizer(builders.get_optim_parameter_groups(model), cfg)
