"""Do weights fit a model? Told from names and shapes alone, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def differing(make: Callable[[], nn.Module], state: dict[str, torch.Tensor]) -> tuple[int, str] | None:
    """Compare ``state`` with the tensors of the model that ``make`` makes (on no device).

    Returns:
        None if every name and shape is as it should be; else how many are not, and the first of them in words.
    """
    with torch.device("meta"):
        want = {name: list(t.shape) for name, t in make().state_dict().items()}
    have = {name: list(t.shape) for name, t in state.items()}
    names = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
    if not names:
        return None
    first = names[0]
    return len(names), f"{first}: expected {want.get(first, 'none')}, got {have.get(first, 'none')}"
