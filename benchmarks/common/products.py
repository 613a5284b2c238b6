"""The arithmetic of a training step, the rate at which a device can do it, and the time of its matrix products alone.

fp32 on a CPU, bfloat16 on CUDA.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import torch

from audiocraft_ext.model.config import LMConfig

SIDE = {"cpu": 2048, "cuda": 8192}  # of the product that measures the peak


def wait(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], times: int, device: str) -> float:
    """Seconds of ``times`` times ``work``; on a GPU once more before, for what is only done at first."""
    if device == "cuda":
        work()
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return time.perf_counter() - start


def arithmetic(size: LMConfig, batch: int, frames: int) -> float:
    """Floating point operations of an update. Embeddings are looked up; attention is causal, half of a square."""
    weights = size.parameter_count() - size.n_q * (size.card + 1) * size.dim
    return 6.0 * batch * frames * (weights + frames * size.dim * size.num_layers)


def products(size: LMConfig, rows: int, device: str) -> float:
    """Seconds of what an update multiplies with the weights and for their gradients, one shape after the other."""
    shapes = Counter([(p.rows, p.columns) for p in size.matrices().values()] + [(size.card, size.dim)] * size.n_q)
    like, seconds = _like(device), 0.0
    for (n_out, n_in), times in shapes.items():
        x, weight, y = (torch.randn(shape, **like) for shape in ((rows, n_in), (n_out, n_in), (rows, n_out)))
        dx, dweight, product = (torch.empty_like(t).zero_() for t in (x, weight, y))  # a page costs when first touched

        def update(x=x, weight=weight, y=y, dx=dx, dweight=dweight, product=product) -> None:
            torch.mm(x, weight.t(), out=product)
            torch.mm(y, weight, out=dx)
            torch.mm(y.t(), x, out=dweight)

        seconds += timed(update, times, device)
    return seconds


def peak(device: str) -> float:
    """Seconds that an operation takes in one large product."""
    side, like = SIDE[device], _like(device)
    a, out = torch.randn(side, side, **like), torch.randn(side, side, **like)
    return timed(lambda: torch.mm(a, a, out=out), 4, device) / (4 * 2 * side**3)


def _like(device: str) -> dict:
    return {"device": device, "dtype": torch.bfloat16 if device == "cuda" else torch.float32}
