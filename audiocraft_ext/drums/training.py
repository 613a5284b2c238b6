"""What the shared trainer asks of drums: :class:`audiocraft_ext.ends.End`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiocraft_ext import midi_drums
from audiocraft_ext.drums.codec import GRID, codec_of, prompts_of
from audiocraft_ext.drums.describe import METERS, bpm_of, meter_of
from audiocraft_ext.drums.view import DrumView
from audiocraft_ext.spec import Spec
from audiocraft_ext.store import TokenStore
from audiocraft_ext.wav import write_wav

RATE, BPM, METER = 44_100, 120.0, (4, 4)  # of clips; tempo and metre where a clip's prompt says nothing of them


def view(store: TokenStore, options: dict) -> DrumView:
    """See :data:`audiocraft_ext.drums.view.OPTIONS`."""
    return DrumView(store, options)


def meaning(settings: dict) -> dict:
    """The codec, with its name as ``type``, and what can be asked for."""
    return {"type": GRID, **settings["codec"], "prompts": settings.get("prompts")}


def silent_prompt(spec: Spec, meaning: dict) -> np.ndarray | None:
    """Codes ``[K, P]``; None for a model without prompts."""
    prompts = prompts_of(meaning)
    return None if prompts is None else prompts.codes({})


def write_clips(codes: np.ndarray, spec: Spec, meaning: dict, folder: Path) -> list[tuple[np.ndarray, int]]:
    """``clip_{i}.mid`` and ``clip_{i}.wav`` of clips ``codes [B, K, P + T]``, the sound by the kit that ships.

    Returns:
        The sound of each, ``float32 [N]``, and its rate.
    """
    from audiocraft_ext.drums.render import play, player

    codec, prompts, sounds = codec_of(meaning), prompts_of(meaning), []
    for i, clip in enumerate(np.asarray(codes)):
        said = prompts.said(clip[:, : spec.prompt]) if prompts else {}
        meter = meter_of(said["meter"]) if said.get("meter") in METERS else METER
        bpm = bpm_of(said["tempo"]) if "tempo" in said else BPM
        notes = codec.decode(clip[:, spec.prompt :], bpm, meter)
        midi_drums.write(Path(folder) / f"clip_{i}.mid", notes)
        sound = play(notes, player(), RATE).wav
        write_wav(Path(folder) / f"clip_{i}.wav", sound, RATE)
        sounds.append((sound, RATE))
    return sounds
