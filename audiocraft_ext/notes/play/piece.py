"""A piece: what a model of notes made, and all that it takes to make it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audiocraft_ext.notes.codec.score import Score


@dataclass(frozen=True, eq=False)
class Piece:
    """One clip.

    Attributes:
        codes: ``int64 [5, T]``, without the prompt.
        score: the same as notes, with tempo, time signature and bars.
        index: its number among those of the recipe.
        recipe: JSON values from which the composer makes it again
            (:class:`audiocraft_ext.notes.play.recipe.PieceRecipe`).
        about: more for the sidecar: what was measured, where the bundle was.
    """

    codes: np.ndarray
    score: Score
    index: int
    recipe: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
