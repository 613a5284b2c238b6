"""A trained model in memory, read from any of the forms in which one lies on a disk.

    outputs/xps/1a2b3c4d                a run's folder, or just its signature 1a2b3c4d
    checkpoint.th                       one of its checkpoints
    folder with state_dict.bin          audiocraft's export format
    folder with model.json              a bundle
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.bundle import BUNDLES, Bundle, list_bundles
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import audiocraft
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.model.weights import differing, plain_names, read_safetensors

UNKNOWN_LICENCE = "not stated"
READING = ("positional_embedding", "max_period", "num_heads")  # the same weights are another model with another


@dataclass
class Trained:
    """Everything that a bundle is made of.

    Attributes:
        spec: of the codes, with the LM's own delays.
        cfg, state: the LM; fp32 weights under audiocraft's names.
        codec: as its kind loads it (:meth:`audiocraft_ext.kinds.Kind.load_codec`); None where there is none.
        codec_config: what a bundle says of it (:meth:`audiocraft_ext.kinds.Kind.codec_config`).
        context: how many frames the LM hears at once, those of a training segment.
        sampling: :meth:`audiocraft_ext.engine.sampling.Sampling.to_dict`.
        run: free-form record of the training.
    """

    spec: Spec
    cfg: LMConfig
    state: dict[str, torch.Tensor]
    codec: Any
    context: int
    sampling: dict[str, Any] = field(default_factory=lambda: Sampling().to_dict())
    run: dict[str, Any] = field(default_factory=dict)
    licence: str = UNKNOWN_LICENCE
    card: str = ""
    codec_config: dict[str, Any] | None = None


def read(source: str | Path, codec: str | None = None) -> Trained:
    """Read a model.

    Args:
        source: see the module's text.
        codec: name or folder of the codec, where it is not to be found by the name that the model has for it.

    Raises:
        UserError: there is nothing of the kind, it does not fit together, or it is a model that ours cannot be.
    """
    path = locate(source)
    if (path / "model.json").is_file():
        return _read_bundle(path)
    if (path / audiocraft.LM_FILE).is_file():
        return kinds.format_of("audiocraft").read(path, codec)
    return _read_checkpoint(path, codec)


def read_weights(source: str | Path, cfg: LMConfig, runs: Path) -> tuple[dict[str, torch.Tensor], Spec | None]:
    """The best weights of a run, to start another from, and what its codes mean (None: audiocraft's own solver).

    Args:
        source: a run's folder, its signature below the folder ``runs``, a checkpoint, or a bundle's folder or name.
        cfg: what is to be started.

    Raises:
        UserError: there is no such run, or its model is of another size or reads its weights in another way.
    """
    path = locate(source, runs)
    if (path / "model.json").is_file():
        bundle = Bundle(path, old=True)
        bundle.verify()
        state = clean(read_safetensors(bundle.file("lm.safetensors")), cfg, path)
        _check_same_reading(bundle.lm, cfg, path)
        return state, bundle.lm_spec
    if path.is_dir():
        raise UserError(f"{path}: expected a run's folder, its signature, a checkpoint or a bundle, found audiocraft's "
                        "export; make a bundle of it with 'python -m audiocraft_ext.export'")
    pkg = checkpoint.load(path)
    spec = Spec.from_dict(pkg["identity"]["spec"]) if "identity" in pkg else None
    state = clean(_weights_of(pkg, path), cfg, path)
    _check_same_reading(audiocraft.lm_config(checkpoint.config_of(pkg)), cfg, path)
    return state, spec


def _check_same_reading(there: LMConfig, cfg: LMConfig, path: Path) -> None:
    """Raise a :class:`UserError` unless weights mean the same to both: the shapes do not tell."""
    for key in READING:
        was, now = getattr(there, key), getattr(cfg, key)
        if was != now:
            raise UserError(f"{path}: was trained with transformer_lm.{key}={was}, and this run has {now}; "
                            f"set transformer_lm.{key}={was}")


def locate(source: str | Path, runs: Path | None = None) -> Path:
    """The file or folder that ``source`` stands for; ``runs`` is where signatures lie, by default MICRO_OUTPUTS/xps."""
    path = Path(source)
    runs = runs or Path(os.environ.get("MICRO_OUTPUTS", "outputs")) / "xps"
    if not path.exists() and re.fullmatch(r"[0-9a-f]{8}", str(source)):
        path = runs / str(source)
        if not path.exists():
            raise UserError(f"no run {source} in {runs}; name its folder, or set MICRO_OUTPUTS")
    if not path.exists() and str(source) in list_bundles():
        path = BUNDLES / str(source)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; expected a checkpoint, a run's folder or signature, "
                        "a folder in audiocraft's export format, or a bundle")
    if path.is_dir() and (path / "checkpoint.th").is_file():
        return path / "checkpoint.th"
    if path.is_dir() and not (path / "model.json").is_file() and not (path / audiocraft.LM_FILE).is_file():
        raise UserError(f"{path}: expected checkpoint.th (a run), {audiocraft.LM_FILE} (audiocraft's export) or "
                        "model.json (a bundle) in it, found none of them")
    return path


def _read_bundle(path: Path) -> Trained:
    bundle = Bundle(path, old=True)
    bundle.verify()
    cfg = bundle.lm
    state = read_safetensors(bundle.file("lm.safetensors"))
    info = bundle.info
    check_weights(cfg, state, path)
    codec = kinds.kind_of(bundle.spec).load_codec(bundle.lm_spec, bundle.codec_config, bundle=path)
    return Trained(bundle.lm_spec, cfg, state, codec, bundle.context, info["sampling"], info.get("run", {}),
                   info.get("licence", UNKNOWN_LICENCE), info.get("card", ""), bundle.codec_config)


def _read_checkpoint(path: Path, codec_name: str | None) -> Trained:
    pkg = checkpoint.load(path)
    config = checkpoint.config_of(pkg)
    cfg = audiocraft.lm_config(config)
    state = clean(_weights_of(pkg, path), cfg, path)
    pattern = audiocraft.delays(config, cfg.n_q)
    run = {"signature": str(pkg.get("xp.sig", "")), "epochs": len(pkg.get("history") or []), **segment_of(config)}
    if pkg.get("history"):
        run["last"] = pkg["history"][-1]
    if "identity" not in pkg:  # audiocraft's own solver: the codec is in its config
        codec = kinds.format_of("audiocraft").read_codec_of(config, codec_name, path)
        spec = codec.spec.with_delays(pattern)
        return Trained(spec, cfg, state, codec, context_of(config, spec), sampling_of(config), run)
    spec = Spec.from_dict(pkg["identity"]["spec"]).with_delays(pattern)
    run |= {"store_hash": pkg["identity"]["store_hash"], "config_hash": pkg["identity"]["config_hash"]}
    codec_config = pkg.get("meaning")  # its name in checkpoints
    codec = kinds.kind_of(spec).load_codec(spec, codec_config, codec_name)
    return Trained(spec, cfg, state, codec, context_of(config, spec), sampling_of(config), run,
                   codec_config=codec_config)


def sampling_of(config: dict) -> dict[str, Any]:
    """The sampling that a run listened to its clips with."""
    lm, usual = (config.get("generate") or {}).get("lm") or {}, Sampling()
    found = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p"}
    return replace(usual, **{ours: lm[name] for ours, name in found.items() if lm.get(name) is not None}).to_dict()


def segment_of(config: dict) -> dict[str, float]:
    """How long a window of training was, as a bundle's ``run`` has it: ``segment_frames`` where the run says it, else
    ``segment_duration`` in seconds."""
    dataset = config.get("dataset") or {}
    if dataset.get("segment_frames") is not None:
        return {"segment_frames": int(dataset["segment_frames"])}
    return {"segment_duration": float(dataset.get("segment_duration") or 30.0)}


def context_of(config: dict, spec: Spec) -> int:
    """Frames of a training segment, with the prompt."""
    segment = segment_of(config)
    return spec.prompt + (segment.get("segment_frames") or spec.frames(segment["segment_duration"]))


def _weights_of(pkg: dict, path: Path) -> dict[str, torch.Tensor]:
    """The best state (which training takes from the moving average), else the average, else the weights as they are.

    Before the first validation there is no best state yet: what a checkpoint holds under that name then are the
    weights that the run began with. (What has no history at all is an export of audiocraft's, and as it should be.)
    """
    for key in ("fsdp_best_state", "best_state"):
        if pkg.get(key) and pkg.get("history", True):
            return pkg[key]["model"]
    if pkg.get("ema"):
        return pkg["ema"]["state"]["model"]
    if pkg.get("model"):
        return pkg["model"]
    raise UserError(f"{path}: expected the weights of a model (best_state, ema or model), got {sorted(map(str, pkg))}")


def clean(state: dict[str, torch.Tensor], cfg: LMConfig, path: Path) -> dict[str, torch.Tensor]:
    """fp32, contiguous, and exactly the weights of ``LM(cfg)``."""
    state = {name.replace(".self_attn.mha.", ".self_attn."): value.float().contiguous()
             for name, value in plain_names(state).items() if not name.endswith(f".{audiocraft.ROPE}")}
    check_weights(cfg, state, path)
    return state


def check_weights(cfg: LMConfig, state: dict[str, torch.Tensor], path: Path) -> None:
    """Raise a :class:`UserError` unless names and shapes are those of ``LM(cfg)``."""
    wrong = differing(lambda: LM(cfg, (0,) * cfg.n_q), state)
    if wrong:
        raise UserError(f"{path}: not the weights of an unconditional MusicGen of this size, {wrong[0]} differ; "
                        f"{wrong[1]}")
