"""A sketch: what a model of songs made, and all that it takes to make it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audiocraft_ext.songs.beepbox.song import Song


@dataclass(frozen=True, eq=False)
class Sketch:
    """One clip.

    Attributes:
        codes: ``int64 [4, T]``, without the prompt.
        song: the same as BeepBox has it.
        index: its number among those of the recipe.
        recipe: JSON values from which the sketcher makes it again
            (:class:`audiocraft_ext.songs.play.recipe.SongRecipe`).
        about: more for the sidecar: where the bundle was.
    """

    codes: np.ndarray
    song: Song
    index: int
    recipe: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
