"""What training and export ask of drums: :class:`audiocraft_ext.kinds.Kind`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums import midi
from audiocraft_ext.drums.codec import GRID, codec_of
from audiocraft_ext.drums.describe import METERS, meter_of
from audiocraft_ext.drums.view import DrumView
from audiocraft_ext.midi.tempos import bpm_of
from audiocraft_ext.sound.wav import write_wav
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.weightless import *  # noqa: F403  its functions are this module's

RATE, BPM, METER = 44_100, 120.0, (4, 4)  # of clips; tempo and metre where a clip's prompt lacks them


def view(store: TokenStore, options: dict) -> DrumView:
    """See :data:`audiocraft_ext.drums.view.OPTIONS`."""
    return DrumView(store, options)


def codec_config(store: TokenStore) -> dict:
    """The codec, with its name as ``type``, and the prompts."""
    return {"type": GRID, **store.settings["codec"], "prompts": store.settings.get("prompts")}


def load_codec(spec: Spec, codec_config: dict | None, name: str | None = None, bundle: Path | None = None):
    """A :class:`DrumGrid` or a :class:`DrumHits`, which are all in their config; None without one."""
    return codec_of(codec_config) if codec_config else None


def write_samples(codes: np.ndarray, spec: Spec, codec_config: dict, folder: Path, seed: int = 0,
                  warn: Callable[[str], object] = lambda text: None) -> list[tuple[np.ndarray, int]]:
    """``clip_{i}.mid`` and ``clip_{i}.wav`` of clips ``codes [B, K, P + T]``, the sound by the kit that ships.

    Returns:
        The sound of each, ``float32 [N]``, and its rate in Hz.
    """
    from audiocraft_ext.drums.play.render import play, player

    codec, prompts, sounds = codec_of(codec_config), prompts_of(codec_config), []
    for i, clip in enumerate(np.asarray(codes)):
        words = prompts.decode(clip[:, : spec.prompt]) if prompts else {}
        meter = meter_of(words["meter"]) if words.get("meter") in METERS else METER
        bpm = bpm_of(words["tempo"]) if "tempo" in words else BPM
        notes = codec.decode(clip[:, spec.prompt :], bpm, meter)
        midi.write(Path(folder) / f"clip_{i}.mid", notes)
        sound = play(notes, player(), RATE).wav
        write_wav(Path(folder) / f"clip_{i}.wav", sound, RATE)
        sounds.append((sound, RATE))
    return sounds
