"""What :class:`audiocraft_ext.kinds.Kind` asks, answered for kinds whose codec has no weights and lies in its config:
the modules of such kinds take these functions for their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.store.reader import TokenStore

if TYPE_CHECKING:
    from audiocraft_ext.export.sources import Trained

__all__ = ["bundle_parts", "codec_licence", "controls", "export_note", "judge", "null_prompt"]


def codec_licence(codec, places: Sequence[str | None]) -> str:
    """It has no weights."""
    return ""


def bundle_parts(folder: Path, model: Trained, half: bool, licence: str) -> dict | None:
    """No files."""
    return model.codec_config


def export_note(model: Trained) -> str:
    """Nothing to say."""
    return ""


def null_prompt(spec: Spec, codec_config: dict) -> np.ndarray | None:
    """Codes ``[K, P]``; None for a model without prompts."""
    prompts = prompts_of(codec_config)
    return None if prompts is None else prompts.codes({})


def judge(store: TokenStore) -> None:
    """Raises a :class:`UserError`: the loss decides which state is the best."""
    raise UserError("clips of this kind are not judged by how they sound; leave generate.judge.every empty")


def controls(spec: Spec, codec_config: dict | None, frames: int) -> None:
    """There are none."""
