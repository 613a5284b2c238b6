"""The next codes from logits, on the device that has them: :func:`~audiocraft_ext.engine.sampling.sample` in torch.

For the same logits and uniforms the codes are those of the numpy one, but where a uniform falls on the border of two
codes to within rounding. Everything is made of operations that a CUDA graph can hold: shapes depend on the settings
alone, nothing is read back, and no number is copied to the device on the way (``torch.where`` with a Python number
would do that, ``masked_fill`` does not).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from audiocraft_ext.engine.sampling import Sampling, planned


class TorchSampler:
    """Settings as tensors on a device, and drawing with them.

    Args:
        gates: streams of which it is first whether, then what; see :func:`~audiocraft_ext.engine.sampling.sample`.

    Raises:
        UserError: a bad setting.
    """

    def __init__(self, sampling: Sampling, n_q: int, card: int, device: torch.device, gates: Sequence[int] = ()):
        def there(array: np.ndarray | None) -> torch.Tensor | None:
            return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

        plan = planned(sampling, n_q, card)
        self.plan, self.card = plan, card
        self.greedy, self.temperature, self.min_p = there(plan.greedy), there(plan.temperature), there(plan.min_p)
        self.off, self.top_p = there(plan.off), there(plan.top_p)
        self.all_p = None if plan.top_p is None else there(plan.top_p == 1)  # [K, 1]
        top_k = [k if 0 < k < card else card for k in sampling.rows("top_k", n_q)]
        self.least = there(np.array(top_k, np.int64)[:, None] - 1)  # [K, 1], place of the last code of top_k
        gated = len(gates) > 0 and not plan.plain
        self.gates = torch.isin(torch.arange(n_q), torch.tensor(gates))[:, None].to(device) if gated else None  # [K, 1]
        self.first = (torch.arange(card) == 0).to(device)  # [card]

    def sample(self, logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """``logits float32 [B, K, card]``, ``uniforms float64 [B, K]`` to ``codes int64 [B, K]``.

        Logits that are not finite give some code and no error; who calls this looks at them now and then.
        """
        if self.gates is not None:
            return self._gated(logits, uniforms)
        likeliest = logits.argmax(dim=-1)  # of equals the first, as in numpy
        if self.plan.greedy is not None and self.plan.greedy.all():
            return likeliest
        drawn = _draw(self._weights(logits), uniforms)
        return drawn if self.greedy is None else torch.where(self.greedy, likeliest, drawn)

    def _gated(self, logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """As :meth:`sample`, whether before what for the streams that are gates."""
        zero = self.gates & self.first  # [K, card]
        inner = logits.masked_fill(zero, -torch.inf)
        nothing, something = logits[..., :1].double(), inner.double().logsumexp(dim=-1, keepdim=True)  # [B, K, 1]
        rests = self.gates & (nothing >= something)
        likeliest = inner.argmax(dim=-1).masked_fill(rests[..., 0], 0)
        if self.plan.greedy is not None and self.plan.greedy.all():
            return likeliest
        weights, higher = self._weights(inner), torch.maximum(nothing, something)
        none, some = (self._tempered(part - higher) for part in (nothing, something))
        kinds = weights * (some / weights.sum(dim=-1, keepdim=True, dtype=torch.float64)).to(weights.dtype)
        kinds = torch.where(zero, none.to(weights.dtype), kinds)
        drawn = _draw(torch.where(self.gates, kinds, weights), uniforms)
        return drawn if self.greedy is None else torch.where(self.greedy, likeliest, drawn)

    def _weights(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities up to a factor, ``[B, K, card]``, 0 for what a filter took out."""
        top = logits.amax(dim=-1, keepdim=True)
        weights = self._tempered(logits - top)
        if self.plan.partition is None and self.top_p is None:
            falling = None
        else:
            falling = logits.topk(self.plan.widest, dim=-1).values  # [B, K, widest], sorted
        if self.plan.partition is not None:
            least = falling.gather(-1, self.least.expand(len(logits), -1, -1))  # [B, K, 1]
            if self.off is not None:
                least = least.masked_fill(self.off[:, None], -torch.inf)
            weights = weights * (logits >= least)
        if self.top_p is not None:
            mass = self._tempered(falling - top).cumsum(dim=-1, dtype=torch.float64)
            enough = self.top_p * weights.sum(dim=-1, keepdim=True)  # float64
            last = (mass < enough).sum(dim=-1, keepdim=True).clamp(max=falling.shape[-1] - 1)
            weights = weights * (logits >= falling.gather(-1, last).masked_fill(self.all_p, -torch.inf))
        if self.min_p is not None:
            weights = weights * (weights >= self.min_p)
        return weights

    def _tempered(self, z: torch.Tensor) -> torch.Tensor:
        return (z if self.temperature is None else z / self.temperature).exp()


def _draw(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The code under each uniform: the first of those with a weight whose running sum exceeds the point.

    A GPU sums up in parallel, where the running sum may change in its last bit from one code to a next without weight.
    """
    cumulated = weights.cumsum(dim=-1, dtype=torch.float64).masked_fill(weights == 0, -torch.inf)
    total = cumulated.amax(dim=-1, keepdim=True)
    point = torch.minimum(uniforms[..., None] * total, total.nextafter(torch.zeros_like(total)))
    return (cumulated > point).to(torch.uint8).argmax(dim=-1)
