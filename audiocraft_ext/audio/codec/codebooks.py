"""How the codebooks of a spectral codec are learned: k-means at first, then moving averages of what each code stands
for (A. van den Oord et al., arXiv:1711.00937, appendix A), with new places for codes that fell out of use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from audiocraft_ext.audio.codec.spectral import Quantizer

DECAY = 0.99
DEAD_BELOW = 0.02  # uses a step, on average
DROPOUT = 0.3  # of the rows of a batch, which use a random number of codebooks
FEWEST = 2  # codebooks that dropout leaves


class CodebookLearner(nn.Module):
    """The moving averages of ``quantizer``'s codebooks: ``count [K, card]`` and ``total [K, card, code_dim]``."""

    def __init__(self, quantizer: Quantizer):
        super().__init__()
        books = quantizer.codebooks
        self.register_buffer("count", torch.ones(books.shape[:2]))
        self.register_buffer("total", books.clone())

    @torch.no_grad()
    def start(self, quantizer: Quantizer, z: torch.Tensor, seed: int, rounds: int = 8) -> None:
        """Place every level on latents ``z [M, D]`` less what the levels before it explain: it looks at their main
        directions, and its codes are where k-means puts them."""
        generator = torch.Generator().manual_seed(seed)
        for level, book in enumerate(quantizer.codebooks):
            self._project(quantizer, level, z)
            points = quantizer.inward[level](z)
            book.copy_(points[torch.randperm(len(points), generator=generator)[: len(book)].to(z.device)])
            for _ in range(rounds):
                codes = quantizer.nearest(points, level)
                count = torch.bincount(codes, minlength=len(book)).float()
                sums = torch.zeros_like(book).index_add_(0, codes, points)
                book.copy_(torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], book))
            self.count[level] = 1.0
            self.total[level] = book
            z = z - quantizer.outward[level](book[quantizer.nearest(points, level)])

    @staticmethod
    def _project(quantizer: Quantizer, level: int, z: torch.Tensor) -> None:
        """Project on the principal components of ``z [M, D]``, and back: a level then takes away what it coded, where
        a random projection would add noise for thousands of steps."""
        inward, outward, mean = quantizer.inward[level], quantizer.outward[level], z.mean(0)
        _, _, directions = torch.linalg.svd(z - mean, full_matrices=False)
        basis = directions[: inward.out_features]  # [code_dim, D]
        inward.weight.copy_(basis)
        inward.bias.copy_(-basis @ mean)
        outward.weight.copy_(basis.T)
        outward.bias.copy_(mean)

    def forward(self, quantizer: Quantizer, z: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Quantise ``z [B, D, T]``, straight through for gradients, and move the codebooks.

        Returns:
            the quantised ``z``, and how far the latents are from their codes (mean squared).
        """
        levels, rows = len(quantizer.inward), len(z)
        used = torch.full((rows,), levels)
        drop = torch.rand(rows, generator=generator) < DROPOUT
        if levels > FEWEST:
            used[drop] = torch.randint(FEWEST, levels, (int(drop.sum()),), generator=generator)
        used = used.to(z.device)
        out, commit, residual = 0.0, 0.0, z.transpose(1, 2)
        for level in range(levels):
            point = quantizer.inward[level](residual)
            with torch.no_grad():
                codes = quantizer.nearest(point, level)
                chosen = quantizer.codebooks[level][codes]
                self._move(quantizer, level, point.flatten(0, 1), codes.flatten(), generator)
            part = quantizer.outward[level](point + (chosen - point).detach())
            mask = (level < used)[:, None, None].float()
            commit = commit + (F.mse_loss(point, chosen, reduction="none") * mask).mean()
            out = out + part * mask
            residual = residual - part
        return out.transpose(1, 2), commit

    def _move(self, quantizer: Quantizer, level: int, points: torch.Tensor, codes: torch.Tensor,
              generator: torch.Generator) -> None:
        book, count, total = quantizer.codebooks[level], self.count[level], self.total[level]
        count.mul_(DECAY).add_(torch.bincount(codes, minlength=len(book)).float(), alpha=1 - DECAY)
        total.mul_(DECAY).add_(torch.zeros_like(book).index_add_(0, codes, points), alpha=1 - DECAY)
        book.copy_(total / count.clamp(min=1e-4)[:, None])
        dead = (count < DEAD_BELOW).nonzero()[:, 0]
        if len(dead):
            fresh = points[torch.randint(len(points), (len(dead),), generator=generator).to(points.device)]
            book[dead], count[dead], total[dead] = fresh, 10 * DEAD_BELOW, fresh * 10 * DEAD_BELOW
