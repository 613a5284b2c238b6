"""A beat: what the drum model made, and all that it takes to make it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audiocraft_ext.drums.codec.clip import DrumClip


@dataclass(frozen=True, eq=False)
class Beat:
    """One clip.

    Attributes:
        codes: ``int64 [K, T]``, without the prompt.
        clip: the same as notes, with tempo, time signature and bars.
        index: its number among those of the recipe.
        recipe: JSON values from which the drummer makes it again
            (:class:`audiocraft_ext.drums.play.recipe.BeatRecipe`).
        names: pitch to class name, in the codec's order; for tracks and pictures.
        about: more for the sidecar: what was measured, where the bundle was.
    """

    codes: np.ndarray
    clip: DrumClip
    index: int
    recipe: dict[str, Any]
    names: dict[int, str]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of all its bars."""
        meter = self.clip.meter
        return self.clip.bars * meter[0] * 4 / meter[1] * 60 / self.clip.bpm
