"""Which experts a token meets, in torch: of :class:`~audiocraft_ext.model.blocks.Mixture`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from audiocraft_ext.model.blocks import Mixture


def route(mixture: Mixture, weight: torch.Tensor, balance: torch.Tensor,
          x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The experts of each token of ``x [..., dim]`` and how much each counts, both ``[..., top_k]``; in float32."""
    with torch.autocast(x.device.type, enabled=False):
        affinity = F.linear(x.float(), weight.float()).sigmoid()  # [..., E]
    chosen = (affinity.detach() + balance).topk(mixture.top_k, dim=-1).indices
    gates = affinity.gather(-1, chosen)
    return chosen, gates / gates.sum(dim=-1, keepdim=True) if mixture.top_k > 1 else gates


class Router(nn.Linear):
    """The weight that gives the affinities, and the balance.

    Attributes:
        balance: ``[E]``, kept with the weights.
        load: ``[E]``, how often each expert was chosen since the last update of the weights.
    """

    def __init__(self, columns: int, rows: int, bias: bool = False):
        super().__init__(columns, rows, bias)
        self.register_buffer("balance", torch.zeros(rows))
        self.register_buffer("load", torch.zeros(rows), persistent=False)

    def count(self, chosen: torch.Tensor) -> None:
        """Only in training: evaluation moves nothing."""
        if self.training:
            self.load += F.one_hot(chosen, len(self.load)).flatten(0, -2).sum(0)

    @torch.no_grad()
    def rebalance(self, speed: float) -> None:
        """After an update of the weights, with the loads of all processes added up."""
        self.balance += speed * torch.sign(self.load.mean() - self.load)
        self.load.zero_()
