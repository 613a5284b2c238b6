"""What training and export ask of songs: :class:`audiocraft_ext.kinds.Kind`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiocraft_ext.core.files import write
from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.songs import places, to_midi
from audiocraft_ext.songs.beepbox import as_json
from audiocraft_ext.songs.codec.voices import Facts, codec_of
from audiocraft_ext.songs.describe import describe, facts_of
from audiocraft_ext.songs.view import SongView
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.weightless import bundle_parts, codec_config, codec_licence, export_note, judge

__all__ = ["bundle_parts", "codec_config", "codec_licence", "controls", "export_note", "judge", "load_codec",
           "null_prompt", "view", "write_samples"]


def view(store: TokenStore, options: dict) -> SongView:
    """See :data:`audiocraft_ext.songs.view.OPTIONS`."""
    return SongView(store, options)


def load_codec(spec: Spec, codec_config: dict | None, name: str | None = None, bundle: Path | None = None):
    """A :class:`~audiocraft_ext.songs.codec.voices.Voices`; None without a config."""
    return codec_of(codec_config) if codec_config else None


def null_prompt(spec: Spec, codec_config: dict) -> np.ndarray | None:
    """Codes ``[K, P]`` that say the usual channels and bar, and no tempo; None for a model without prompts."""
    prompts = prompts_of(codec_config)
    return None if prompts is None else prompts.codes(describe(Facts()))


def controls(spec: Spec, codec_config: dict | None, frames: int) -> np.ndarray | None:
    """Where the frames of the usual channels and bar lie, ``[2, P + frames]``; None where a model is not told."""
    return places.controls(spec, Facts(), frames) if spec.controls else None


def write_samples(codes: np.ndarray, spec: Spec, codec_config: dict, folder: Path, seed: int = 0,
                  warn: Callable[[str], object] = lambda text: None) -> list[tuple[np.ndarray, int]]:
    """``clip_{i}.json``, BeepBox's, and ``clip_{i}.mid`` of clips ``codes [B, K, P + T]``; there is no sound of it but
    BeepBox's own."""
    codec, prompts = codec_of(codec_config), prompts_of(codec_config)
    for i, clip in enumerate(np.asarray(codes)):
        words = prompts.decode(clip[:, : spec.prompt]) if prompts else {}
        song = codec.decode(clip[:, spec.prompt :], facts_of(words))
        write(Path(folder) / f"clip_{i}.json", as_json.to_text(song))
        to_midi.write(Path(folder) / f"clip_{i}.mid", song)
    return []
