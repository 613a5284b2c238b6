"""A trained model in memory, read from any of the forms in which one lies on a disk.

    outputs/xps/1a2b3c4d                a run's folder, or just its signature 1a2b3c4d
    checkpoint.th                       one of its checkpoints
    folder with state_dict.bin          audiocraft's export format
    folder with model.json              a bundle
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from audiocraft_ext import checkpoint, interop
from audiocraft_ext.bundle import Bundle
from audiocraft_ext.codecs import get_codec
from audiocraft_ext.codecs.codec import Codec, load_folder, read_safetensors
from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LM, LMConfig
from audiocraft_ext.sampling import Sampling
from audiocraft_ext.spec import Spec
from audiocraft_ext.weights import differing

UNKNOWN_LICENCE = "not stated"


@dataclass
class Trained:
    """Everything that a bundle is made of.

    Attributes:
        spec: what the codes mean, with the LM's own delays.
        cfg, state: the LM; fp32 weights under audiocraft's names.
        codec: None where the codes are not sound.
        meaning: what makes files of the codes then (:meth:`audiocraft_ext.ends.End.meaning`).
        context: how many frames the LM hears at once, those of a training segment.
        sampling: :meth:`audiocraft_ext.sampling.Sampling.to_dict`.
        run: free-form record of the training.
    """

    spec: Spec
    cfg: LMConfig
    state: dict[str, torch.Tensor]
    codec: Codec | None
    context: int
    sampling: dict[str, Any] = field(default_factory=lambda: Sampling().to_dict())
    run: dict[str, Any] = field(default_factory=dict)
    licence: str = UNKNOWN_LICENCE
    card: str = ""
    meaning: dict[str, Any] | None = None


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
    if (path / interop.LM_FILE).is_file():
        return _read_exported(path, codec)
    return _read_checkpoint(path, codec)


def read_weights(source: str | Path, cfg: LMConfig, runs: Path) -> tuple[dict[str, torch.Tensor], Spec | None]:
    """The best weights of a run, to start another from, and what its codes mean (None: audiocraft's own solver).

    Args:
        source: a run's folder, its signature below the folder ``runs``, or a checkpoint.
        cfg: what is to be started.

    Raises:
        UserError: there is no such run, or its model is of another size.
    """
    path = locate(source, runs)
    if path.is_dir():
        raise UserError(f"{path}: expected a run's folder, its signature or a checkpoint, found an exported model")
    pkg = checkpoint.load(path)
    spec = Spec.from_dict(pkg["identity"]["spec"]) if "identity" in pkg else None
    return _clean(_weights_of(pkg, path), cfg, path), spec


def locate(source: str | Path, runs: Path | None = None) -> Path:
    """The file or folder that ``source`` stands for; ``runs`` is where signatures lie, by default MICRO_OUTPUTS/xps."""
    path = Path(source)
    runs = runs or Path(os.environ.get("MICRO_OUTPUTS", "outputs")) / "xps"
    if not path.exists() and re.fullmatch(r"[0-9a-f]{8}", str(source)):
        path = runs / str(source)
        if not path.exists():
            raise UserError(f"no run {source} in {runs}; name its folder, or set MICRO_OUTPUTS")
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; expected a checkpoint, a run's folder or signature, "
                        "a folder in audiocraft's export format, or a bundle")
    if path.is_dir() and (path / "checkpoint.th").is_file():
        return path / "checkpoint.th"
    if path.is_dir() and not (path / "model.json").is_file() and not (path / interop.LM_FILE).is_file():
        raise UserError(f"{path}: expected checkpoint.th (a run), {interop.LM_FILE} (audiocraft's export) or "
                        "model.json (a bundle) in it, found none of them")
    return path


def _read_bundle(path: Path) -> Trained:
    bundle = Bundle(path, old=True)
    bundle.verify()
    cfg = bundle.lm
    state = read_safetensors(bundle.file("lm.safetensors"))
    info = bundle.info
    check_weights(cfg, state, path)
    return Trained(bundle.spec, cfg, state, load_folder(path) if bundle.has_codec else None, bundle.context,
                   info["sampling"], info.get("run", {}), info.get("licence", UNKNOWN_LICENCE), info.get("card", ""),
                   None if bundle.has_codec else info["codec"])


def _read_exported(path: Path, codec_name: str | None) -> Trained:
    file = path / interop.LM_FILE
    pkg = checkpoint.load(file)
    config = checkpoint.config_of(pkg)
    cfg = interop.lm_config(config)
    state = _clean(pkg.get("best_state") or {}, cfg, file)
    codec_file = path / interop.CODEC_FILE
    if not codec_file.is_file() and codec_name is None:
        raise UserError(f"{codec_file}: missing; name the model's codec with --codec")
    codec = interop.read_codec(codec_file, codec_name) if codec_file.is_file() else get_codec(codec_name)
    spec = _spec_of(codec, cfg, interop.delays(config, cfg.n_q), file)
    return Trained(spec, cfg, state, codec, _context(config, spec), run=_segment(config))


def _read_checkpoint(path: Path, codec_name: str | None) -> Trained:
    pkg = checkpoint.load(path)
    config = checkpoint.config_of(pkg)
    cfg = interop.lm_config(config)
    state = _clean(_weights_of(pkg, path), cfg, path)
    pattern = interop.delays(config, cfg.n_q)
    run = {"signature": str(pkg.get("xp.sig", "")), "epochs": len(pkg.get("history") or []), **_segment(config)}
    if pkg.get("history"):
        run["last"] = pkg["history"][-1]
    if "identity" not in pkg:  # audiocraft's own solver: the codec is in its config
        name = str(config.get("compression_model_checkpoint", "")).removeprefix("//pretrained/")
        if codec_name is None and name not in interop.PUBLIC:
            raise UserError(f"{path}: trained on the codec {name or '(not named)'}; give it with --codec")
        codec = get_codec(codec_name or interop.PUBLIC[name])
        spec = _spec_of(codec, cfg, pattern, path)
        return Trained(spec, cfg, state, codec, _context(config, spec), run=run)
    spec = Spec.from_dict(pkg["identity"]["spec"]).with_delays(pattern)
    run |= {"store_hash": pkg["identity"]["store_hash"], "config_hash": pkg["identity"]["config_hash"]}
    codec = None
    if spec.kind == "audio":
        codec = get_codec(codec_name or spec.codec)
        if codec.hash != spec.codec_hash:
            raise UserError(f"{path} was trained on the codec {spec.codec} with hash {spec.codec_hash}, but "
                            f"{codec_name or spec.codec} has hash {codec.hash}; give the folder of the right one "
                            "with --codec")
    return Trained(spec, cfg, state, codec, _context(config, spec), run=run, meaning=pkg.get("meaning"))


def _segment(config: dict) -> dict[str, float]:
    """How long a window of training was: ``segment_frames`` where the run says it, else ``segment_duration``."""
    said = config.get("dataset") or {}
    if said.get("segment_frames") is not None:
        return {"segment_frames": int(said["segment_frames"])}
    return {"segment_duration": float(said.get("segment_duration") or 30.0)}


def _context(config: dict, spec: Spec) -> int:
    segment = _segment(config)
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


def _clean(state: dict[str, torch.Tensor], cfg: LMConfig, path: Path) -> dict[str, torch.Tensor]:
    """fp32, contiguous, and exactly the weights of ``LM(cfg)``."""
    state = {name.replace(".self_attn.mha.", ".self_attn."): value.float().contiguous()
             for name, value in state.items() if not name.endswith(f".{interop.ROPE}")}
    check_weights(cfg, state, path)
    return state


def check_weights(cfg: LMConfig, state: dict[str, torch.Tensor], path: Path) -> None:
    """Raise a :class:`UserError` unless names and shapes are those of ``LM(cfg)``."""
    wrong = differing(lambda: LM(cfg, (0,) * cfg.n_q), state)
    if wrong:
        raise UserError(f"{path}: not the weights of an unconditional MusicGen of this size, {wrong[0]} differ; "
                        f"{wrong[1]}")


def _spec_of(codec: Codec, cfg: LMConfig, pattern: tuple[int, ...], path: Path) -> Spec:
    spec = codec.spec
    if (spec.n_q, spec.card) != (cfg.n_q, cfg.card):
        raise UserError(f"{path} has n_q={cfg.n_q}, card={cfg.card}, but the codec {codec.name} has n_q={spec.n_q}, "
                        f"card={spec.card}; give the right one with --codec")
    return spec.with_delays(pattern)
