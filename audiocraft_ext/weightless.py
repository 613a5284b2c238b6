"""What :class:`audiocraft_ext.kinds.Kind` asks, answered for kinds whose codec has no weights and lies in its config:
the modules of such kinds take these functions for their own. And what the options of their views have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import Prompts, prompts_of
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.store.reader import TokenStore

if TYPE_CHECKING:
    from audiocraft_ext.export.sources import Trained

__all__ = ["bundle_parts", "codec_config", "codec_licence", "controls", "export_note", "judge", "null_prompt"]


def codec_config(store: TokenStore) -> dict:
    """The codec, with its name as ``type``, and the prompts."""
    return {**store.settings["codec"], "prompts": store.settings.get("prompts")}


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


def store_prompts(store: TokenStore) -> Prompts | None:
    """Those that the settings of a store say.

    Raises:
        UserError: its codes have prompt frames of which the settings say nothing, or the other way round.
    """
    prompts = prompts_of(store.settings)
    if store.spec.prompt != (prompts.frames if prompts else 0):
        raise UserError(f"{store.path}: has {store.spec.prompt} prompt frames, but none in its settings; prepare it "
                        "anew")
    return prompts


def view_options(options: Mapping, usual: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a view, those that are given in place of the ``usual`` ones; None gives nothing. Where the usual
    value is true or false it is that, else a share.

    Raises:
        UserError: an option that there is not, or a value that it cannot have.
    """
    out = dict(usual)
    for name, value in options.items():
        if name not in usual:
            raise UserError(f"dataset.view: no option is called {name!r}; there are {', '.join(usual)}")
        if value is None:
            continue
        if isinstance(usual[name], bool):
            if not isinstance(value, bool):
                raise UserError(f"dataset.view.{name}: expected true or false, got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise UserError(f"dataset.view.{name}: expected a share from 0 to 1, got {value!r}")
        out[name] = value
    return out
