"""What training and export ask of sound: :class:`audiocraft_ext.kinds.Kind`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiocraft_ext.audio import codec as codecs
from audiocraft_ext.audio import metronome
from audiocraft_ext.audio.engine import SoundBundle
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import VALID
from audiocraft_ext.export.sources import UNKNOWN_LICENCE, Trained
from audiocraft_ext.sound.wav import write_wav
from audiocraft_ext.store.reader import TokenStore

if TYPE_CHECKING:
    from audiocraft_ext.audio.codec.codec import Codec

JUDGED = 60  # tracks of the valid split that clips are compared with, at most
NO_PULSE = 10.0
CODEC_LICENCES = {"encodec_32khz": "CC-BY-NC-4.0"}  # Meta's weights; a bundle holds a copy of them


def view(store: TokenStore, options: dict) -> None:
    """Windows as they are in the store."""


def codec_config(store: TokenStore) -> dict | None:
    """The spec names the codec and has its hash; for a model that hears a metronome, the usual beat of the store."""
    beat = metronome.beat_of(store) if metronome.has_metronome(store.spec) else None
    return None if beat is None else {"type": store.spec.codec, "beat_frames": beat}


def load_codec(spec: Spec, codec_config: dict | None, name: str | None = None,
               bundle: Path | None = None) -> Codec | None:
    """The :class:`~audiocraft_ext.audio.codec.codec.Codec`, in torch on the CPU, with the codebooks of the spec.

    Raises:
        UserError: there is none of that name, its hash is not that of the spec, or it cannot have so few codebooks.
    """
    if bundle is not None:
        from audiocraft_ext.audio.codec.codec import load_folder

        return load_folder(SoundBundle(bundle, old=True).path) if codec_config else None
    codec = codecs.get_codec(name or spec.codec)
    if codec.hash != spec.codec_hash:
        raise UserError(f"the model was trained on the codec {spec.codec} with hash {spec.codec_hash}, but "
                        f"{name or spec.codec} has hash {codec.hash}; give the folder of the right one with --codec")
    return codec.first(spec.clip.n_q)


def codec_licence(codec: Codec | None, places: Sequence[str | None]) -> str:
    """What the first of ``places`` that is a codec's folder or a bundle says of it; for a codec of this repository its
    own folder."""
    own = codecs.SHIPPED.get(codec.name) if codec is not None else None
    for folder in filter(None, (*places, own)):
        if (about := Path(folder, "codec.json")).is_file():
            return str(json_or_empty(about).get("licence", UNKNOWN_LICENCE))
        if (about := Path(folder, "model.json")).is_file():
            return str((json_or_empty(about).get("codec") or {}).get("licence", UNKNOWN_LICENCE))
    return UNKNOWN_LICENCE


def bundle_parts(folder: Path, model: Trained, half: bool, licence: str) -> dict | None:
    """The weights and the graphs of the encoder and of both parts of the decoder."""
    if model.codec is None:
        return None
    from audiocraft_ext.audio.codec.layout import to_onnx
    from audiocraft_ext.audio.codec.onnx import write_decoder, write_encoder
    from audiocraft_ext.model.weights import stored, write_safetensors

    cfg, weights = model.codec.model.cfg, folder / "codec.safetensors"
    write_safetensors(stored(to_onnx(model.codec.model.state_dict()), half), weights, {"format": "pt"})
    write_encoder(cfg, weights, folder / "encoder.onnx")
    write_decoder(cfg, weights, folder / "front.onnx", folder / "back.onnx")
    beat = {name: value for name, value in (model.codec_config or {}).items() if name == "beat_frames"}
    return {"type": model.codec.type, "name": model.codec.name, "sample_rate": cfg.sample_rate,
            "config": cfg.to_dict(), "licence": CODEC_LICENCES.get(model.codec.name, licence), **beat}


def export_note(model: Trained) -> str:
    """What the licence of the codec's weights asks for."""
    name = model.codec.name if model.codec is not None else ""
    if name not in CODEC_LICENCES:
        return ""
    return (f"note: it holds the weights of the codec {name}, whose licence is {CODEC_LICENCES[name]}: to be passed on "
            "with that name, and not for commercial use")


def null_prompt(spec: Spec, codec_config: dict | None) -> None:
    """There are no prompts."""


def judge(store: TokenStore) -> Callable[[np.ndarray], dict[str, float]]:
    """The kernel audio distance and the pulse of clips beside the valid split as its codec sounds, and their score: a
    clip without any pulse is worth :data:`NO_PULSE` of distance less."""
    from audiocraft_ext import evaluate

    spec, codec = store.spec, load_codec(store.spec, None)
    tracks = store.tracks(VALID)
    real = [codec.decode(store.read(t.start, t.frames)[: spec.clip.n_q]) for t in tracks[:JUDGED]]
    like = evaluate.reference(real, codec.sample_rate)
    steady = max(0.05, evaluate.scores(real, like, codec.sample_rate)["pulse"])

    def figures(codes: np.ndarray) -> dict[str, float]:
        found = evaluate.scores([codec.decode(clip) for clip in codes], like, codec.sample_rate)
        missing = max(0.0, 1 - found["pulse"] / steady)
        return {"kad": found["kad"], "pulse": found["pulse"], "score": found["kad"] + NO_PULSE * missing}

    return figures


def controls(spec: Spec, codec_config: dict | None, frames: int) -> np.ndarray | None:
    """The metronome at its usual tempo, where there is one."""
    return metronome.codes(spec, frames, metronome.usual_bpm(spec.frame_rate, codec_config))


def write_samples(codes: np.ndarray, spec: Spec, codec_config: dict | None, folder: Path, seed: int,
                  warn: Callable[[str], object]) -> Iterator[tuple[np.ndarray, int]]:
    """A WAV of each clip ``codes [B, K, T]``, where the codec is at hand.

    Yields:
        The sound of each, ``float32 [N]``, and its rate in Hz.
    """
    try:
        codec = codecs.get_codec(spec.codec)
        if codec.hash != spec.codec_hash:
            raise UserError(f"the codec {spec.codec} here is not the one that made the store")
        codec = codec.first(spec.clip.n_q)
    except UserError as error:
        warn(f"Only codes were written to {folder}: {error}")
        return
    for i, clip in enumerate(codes):
        wav = codec.decode(clip)
        write_wav(folder / f"clip_{i}.wav", wav, codec.sample_rate, comment=f"seed {seed}, clip {i}")
        yield wav, codec.sample_rate
