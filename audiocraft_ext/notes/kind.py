"""What training and export ask of notes: :class:`audiocraft_ext.kinds.Kind`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.notes import midi
from audiocraft_ext.notes.codec import codec_of, prompts_of
from audiocraft_ext.notes.describe import facts_of
from audiocraft_ext.notes.view import NotesView
from audiocraft_ext.store.reader import TokenStore

if TYPE_CHECKING:
    from audiocraft_ext.export.sources import Trained


def view(store: TokenStore, options: dict) -> NotesView:
    """See :data:`audiocraft_ext.notes.view.OPTIONS`."""
    return NotesView(store, options)


def codec_config(store: TokenStore) -> dict:
    """The codec, with its name as ``type``, and the prompts."""
    return {**store.settings["codec"], "prompts": store.settings.get("prompts")}


def load_codec(spec: Spec, codec_config: dict | None, name: str | None = None, bundle: Path | None = None):
    """A :class:`~audiocraft_ext.notes.codec.multitrack.Multitrack`, which is all in its config; None without one."""
    return codec_of(codec_config) if codec_config else None


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


def write_samples(codes: np.ndarray, spec: Spec, codec_config: dict, folder: Path, seed: int = 0,
                  warn: Callable[[str], object] = lambda text: None) -> list[tuple[np.ndarray, int]]:
    """``clip_{i}.mid`` of clips ``codes [B, K, P + T]``; there is no sound of it without a SoundFont."""
    codec, prompts = codec_of(codec_config), prompts_of(codec_config)
    for i, clip in enumerate(np.asarray(codes)):
        words = prompts.decode(clip[:, : spec.prompt]) if prompts else {}
        midi.write(Path(folder) / f"clip_{i}.mid", codec.decode(clip[:, spec.prompt :], *facts_of(words)))
    return []
