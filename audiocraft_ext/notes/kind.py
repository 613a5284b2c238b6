"""What training and export ask of notes: :class:`audiocraft_ext.kinds.Kind`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.notes import midi
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.describe import facts_of
from audiocraft_ext.notes.view import NotesView
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.weightless import *  # noqa: F403  its functions are this module's


def view(store: TokenStore, options: dict) -> NotesView:
    """See :data:`audiocraft_ext.notes.view.OPTIONS`."""
    return NotesView(store, options)


def load_codec(spec: Spec, codec_config: dict | None, name: str | None = None, bundle: Path | None = None):
    """A :class:`~audiocraft_ext.notes.codec.multitrack.Multitrack`, which is all in its config; None without one."""
    return codec_of(codec_config) if codec_config else None


def write_samples(codes: np.ndarray, spec: Spec, codec_config: dict, folder: Path, seed: int = 0,
                  warn: Callable[[str], object] = lambda text: None) -> list[tuple[np.ndarray, int]]:
    """``clip_{i}.mid`` of clips ``codes [B, K, P + T]``; there is no sound of it without a SoundFont."""
    codec, prompts = codec_of(codec_config), prompts_of(codec_config)
    for i, clip in enumerate(np.asarray(codes)):
        words = prompts.decode(clip[:, : spec.prompt]) if prompts else {}
        midi.write(Path(folder) / f"clip_{i}.mid", codec.decode(clip[:, spec.prompt :], *facts_of(words)))
    return []
