"""float16 has gradients vanish below 6e-8 and overflow above 65504: the loss is scaled up, the gradients back down."""

from __future__ import annotations

import torch

# In a row, and the run ends. Each halves the scale, which begins at 2**16: where so many do not help, what overflows is
# the model itself.
MOST_SKIPPED = 20


class LossScaler(torch.amp.GradScaler):
    """torch's, which counts the updates that were skipped because something overflowed.

    Attributes:
        skipped, in_a_row: updates since the start of the run, and since the last that was not skipped.
    """

    def __init__(self, device: str, enabled: bool):
        super().__init__(device, enabled=enabled)
        self.skipped = self.in_a_row = 0
        self.instead = ", or autocast_dtype=bfloat16" if enabled else ""  # what else to try where it does not help

    def finish(self, finite: bool) -> bool:
        """After an update: a new scale. False if too many in a row were not ``finite``, or one without a scale."""
        self.update()
        self.in_a_row = 0 if finite else self.in_a_row + 1
        self.skipped += not finite
        return finite or (self.is_enabled() and self.in_a_row < MOST_SKIPPED)

    def state_dict(self) -> dict:
        return super().state_dict() | {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict) -> None:
        """A run may begin without a scale, on a device that has no use for it, and go on with one."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]
        if "scale" in state:
            super().load_state_dict(state)
