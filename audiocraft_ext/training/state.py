"""Parts of a run's state that upstream does not keep, or keeps otherwise."""

from __future__ import annotations

import random

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import numpy as np
import torch
from audiocraft.optim.ema import ModuleDictEMA


class RandomState:
    """Every random generator of the process, as one state of plain numbers and tensors.

    Of several processes that of the first is kept, which serves one that goes on alone. Among themselves they need none
    (:func:`audiocraft_ext.training.distributed.seed_update`): with the same number of processes a run goes on to the
    bit. With another number the sums have another order, and dropout other numbers.
    """

    def state_dict(self) -> dict:
        name, keys, position, has_gauss, gauss = np.random.get_state()
        state = {"torch": torch.get_rng_state(), "python": list(random.getstate()[1]),
                 "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss]}
        if torch.cuda.is_available():
            state["cuda"] = [torch.cuda.get_rng_state()]  # of this process's own GPU
        return state

    def load_state_dict(self, state: dict) -> None:
        torch.set_rng_state(state["torch"])
        random.setstate((3, tuple(state["python"]), None))
        name, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"][0])


class CountedEMA(ModuleDictEMA):
    """Moves with the number of updates since the start. Upstream's loop counts from where the process started, so a
    run that was resumed inside an epoch would move its averages at other updates."""

    def __init__(self, *args, every: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.every = every

    def state_dict(self) -> dict:
        """Upstream's is a defaultdict, which a checkpoint that is read safely may not hold."""
        return {"state": {name: dict(tensors) for name, tensors in self.state.items()}, "count": self.count}

    def step(self) -> None:
        """What upstream's loop calls: nothing."""

    def update(self, updates: int) -> None:
        if updates % self.every == 0:
            super().step()
