"""Cross entropy of all heads, with gradients, without ever holding their logits.

The logits are the largest thing in training a small model: tokens x K x card, kept until the backward pass, as they are
and as log-probabilities. But the gradient of a cross entropy is known as soon as the logits are (softmax less one), so
it is carried on to the hidden state and to the heads' weights at once, slice by slice. No product more is computed. The
idea is that of Liger Kernel's fused linear cross entropy (https://arxiv.org/abs/2410.10989, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

IGNORE = -100  # a target that counts for nothing
SLICE = 4096  # tokens whose logits of one head exist at a time


def stream_losses(h: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, sizes: Sequence[int],
                  weights: Sequence[torch.Tensor],
                  biases: Sequence[torch.Tensor] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of the heads ``weights[k] [card, dim]`` over the hidden states ``h [N, dim]``.

    Args:
        labels: ``[K, N]``, IGNORE for what is no target.
        targets: ``[K]``, what the sum of each stream is divided by, 1 or more.
        sizes: codes that each stream can take, the first rows of its head.
        biases: ``[card]`` each, or None.

    Returns:
        The mean over the streams that have a choice, whose size is above 1 (a scalar to differentiate), and the loss
        of each stream ``[K]`` in nats (detached).
    """
    return _HeadLoss.apply(torch.is_grad_enabled(), tuple(sizes), labels, targets, h, *weights, *(biases or ()))


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, learn: bool, sizes: tuple[int, ...], labels, targets, h, *heads):
        """What ``1 / targets`` and the mean over K would make tiny is multiplied by ``scale`` here and divided by it in
        the backward pass, after any loss scale came in: in float16 it would be rounded to nothing."""
        streams = max(1, sum(size > 1 for size in sizes))
        ctx.scale = h.shape[0] * streams
        ctx.grads = None if not learn else [torch.zeros_like(t, dtype=torch.float32) for t in (h, *heads)]
        kind, each = h.device.type, h.new_zeros(len(sizes), dtype=torch.float32)
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h.dtype
        h = h.to(dtype)
        with torch.autocast(kind, enabled=False):
            for k, size in enumerate(sizes):
                head = [tensor[:size].to(dtype) for tensor in heads[k :: len(sizes)]]  # the weight, the bias if any
                grads = [grad[:size] for grad in ctx.grads[1 + k :: len(sizes)]] if learn else None
                for at in range(0, len(h), SLICE):
                    rows = slice(at, at + SLICE)
                    each[k] += _slice(h[rows], labels[k, rows], h.shape[0] / targets[k],
                                      [ctx.grads[0][rows], *grads] if learn else None, *head)
        each /= targets
        ctx.mark_non_differentiable(each)
        return each.sum() / streams, each

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        grads, ctx.grads = ctx.grads, None
        factor = gradient / ctx.scale
        return None, None, None, None, *(grad.mul_(factor) for grad in grads)


def _slice(h: torch.Tensor, labels: torch.Tensor, factor: torch.Tensor, grads: list[torch.Tensor] | None,
           weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The summed loss of ``h [n, dim]`` under one head; its gradients times ``factor`` are added to ``grads``
    (of h, of the weight, of the bias if there is one)."""
    known = labels != IGNORE
    index = labels.clamp(min=0)[:, None]
    logs = torch.log_softmax(F.linear(h, weight, bias), dim=-1, dtype=torch.float32)  # [n, size]
    loss = -(logs.gather(1, index)[:, 0] * known).sum()
    if grads is not None:
        p = logs.exp_()
        p.scatter_add_(1, index, p.new_full((1, 1), -1.0).expand(len(p), 1))
        p.mul_(known[:, None])
        if bias is not None:
            grads[2].add_(p.sum(0) * factor)
        if h.dtype == torch.float32:
            p.mul_(factor)
            grads[0].addmm_(p, weight)
            grads[1].addmm_(p.t(), h)
        else:  # few targets make a large factor: in float16 a product that has it in would overflow at any loss scale
            p = p.to(h.dtype)
            grads[0].add_((p @ weight).float().mul_(factor))
            grads[1].add_((p.t() @ h).float().mul_(factor))
    return loss
