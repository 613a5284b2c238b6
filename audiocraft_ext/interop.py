"""audiocraft's own export format, read and written: ``state_dict.bin`` and ``compression_state_dict.bin``.

Each is a dict saved by torch: ``best_state`` (weights), ``xp.cfg`` (YAML, what ``audiocraft.models.builders`` needs),
``version``, ``exported``. Ours has one key more, ``spec``, which audiocraft passes over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from audiocraft_ext import checkpoint
from audiocraft_ext.codecs import get_codec
from audiocraft_ext.codecs.codec import Codec, build, file_hash
from audiocraft_ext.codecs.encodec import EncodecConfig, from_audiocraft, to_audiocraft
from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LMConfig

LM_FILE, CODEC_FILE = "state_dict.bin", "compression_state_dict.bin"
VERSION = "1.3.0"
PUBLIC = {"facebook/encodec_32khz": "encodec_32khz"}  # audiocraft's name: ours

# Keys of `transformer_lm` that a trained model no longer depends on.
_TRAINING = ("weight_init", "depthwise_init", "zero_bias_init", "dropout", "attention_dropout", "emb_lr",
             "checkpointing", "q_modeling", "two_step_cfg", "lr", "weight_decay")


def lm_config(config: dict[str, Any]) -> LMConfig:
    """The model's sizes from a resolved audiocraft config (``xp.cfg``).

    Raises:
        UserError: it is another kind of model, or has options that ours lacks.
    """
    if config.get("lm_model") != "transformer_lm" or "transformer_lm" not in config:
        raise UserError("expected a language model (lm_model: transformer_lm), got lm_model: "
                        f"{config.get('lm_model')}; a codec is no instrument by itself")
    if config.get("conditioners"):
        names = ", ".join(k for k in config["conditioners"] if k != "args")
        raise UserError(f"this model is conditioned on {names}; only unconditional models (conditioner=none) "
                        "can be exported")
    return LMConfig.from_dict({k: v for k, v in config["transformer_lm"].items() if k not in _TRAINING})


def delays(config: dict[str, Any], n_q: int) -> tuple[int, ...]:
    """The delay of each stream from ``codebooks_pattern``."""
    pattern = config.get("codebooks_pattern") or {}
    modeling = pattern.get("modeling")
    if modeling == "parallel":
        return (0,) * n_q
    options = pattern.get("delay") or {}
    if modeling != "delay" or options.get("flatten_first") or options.get("empty_initial"):
        raise UserError(f"expected codebooks_pattern.modeling delay or parallel without flatten_first and "
                        f"empty_initial, got {modeling} {options}")
    found = options.get("delays")
    return tuple(range(n_q)) if found is None else tuple(int(d) for d in found)


def lm_yaml(cfg: LMConfig, pattern: tuple[int, ...], sample_rate: int, segment_duration: float) -> str:
    """The smallest ``xp.cfg`` that builds this model in audiocraft."""
    sizes = {k: v for k, v in cfg.to_dict().items() if k not in _TRAINING}
    return OmegaConf.to_yaml(OmegaConf.create({
        "solver": "musicgen", "lm_model": "transformer_lm", "sample_rate": sample_rate, "channels": 1,
        "device": "cpu", "dtype": "float32",
        "transformer_lm": {
            **sizes, "norm": "layer_norm", "norm_first": True, "activation": "gelu", "causal": True,
            "positional_embedding": "sin", "dropout": 0.0,
            "custom": True, "memory_efficient": False,  # the same attention, without xformers
        },
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": list(pattern), "flatten_first": 0,
                                                             "empty_initial": 0}},
        "classifier_free_guidance": {"training_dropout": 0.0, "inference_coef": 1.0},
        "attribute_dropout": {"text": {}, "wav": {}},
        "fuser": {"sum": [], "prepend": [], "cross": [], "input_interpolate": []},
        "conditioners": None,
        "dataset": {"segment_duration": segment_duration},
    }))


def codec_yaml(cfg: EncodecConfig) -> str:
    """The ``xp.cfg`` that builds this codec in audiocraft, weight norm folded in."""
    return OmegaConf.to_yaml(OmegaConf.create({
        "solver": "compression", "compression_model": "encodec", "sample_rate": cfg.sample_rate, "channels": 1,
        "device": "cpu",
        "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": cfg.sample_rate, "channels": 1,
                    "causal": False, "renormalize": False},
        "seanet": {
            "dimension": cfg.dimension, "channels": 1, "causal": False, "n_filters": cfg.n_filters,
            "n_residual_layers": cfg.n_residual_layers, "ratios": list(cfg.ratios), "activation": "ELU",
            "activation_params": {"alpha": 1.0}, "norm": "none", "norm_params": {}, "kernel_size": cfg.kernel_size,
            "residual_kernel_size": cfg.residual_kernel_size, "last_kernel_size": cfg.last_kernel_size,
            "dilation_base": cfg.dilation_base, "pad_mode": cfg.pad_mode, "true_skip": True, "compress": cfg.compress,
            "lstm": cfg.lstm, "disable_norm_outer_blocks": 0, "encoder": {},
            "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
        },
        "rvq": {"n_q": cfg.n_q, "bins": cfg.card, "q_dropout": False, "decay": 0.99, "kmeans_init": False,
                "kmeans_iters": 50, "threshold_ema_dead_code": 2},
    }))


def codec_config(config: dict[str, Any], path: Path) -> EncodecConfig:
    """An exported codec's ``xp.cfg`` as ours; what our EnCodec does not do is refused by name."""
    try:
        top, net, rvq = config["encodec"], config["seanet"], config["rvq"]
        fixed = {"encodec.causal": (top["causal"], False), "encodec.channels": (top["channels"], 1),
                 "encodec.renormalize": (top.get("renormalize", False), False),
                 "encodec.autoencoder": (top["autoencoder"], "seanet"), "encodec.quantizer": (top["quantizer"], "rvq"),
                 "seanet.activation": (net.get("activation", "ELU"), "ELU"),
                 "seanet.true_skip": (net.get("true_skip", True), True),
                 "seanet.disable_norm_outer_blocks": (net.get("disable_norm_outer_blocks", 0), 0),
                 "seanet.decoder.final_activation": (net["decoder"].get("final_activation"), None)}
        for key, (found, wanted) in fixed.items():
            if found != wanted:
                raise UserError(f"{path}: {key}={found} is not supported, only {wanted}")
        same = ("n_filters", "ratios", "dimension", "kernel_size", "last_kernel_size", "residual_kernel_size",
                "n_residual_layers", "dilation_base", "compress", "lstm", "pad_mode")
        return EncodecConfig(sample_rate=top["sample_rate"], n_q=rvq["n_q"], card=rvq["bins"],
                             **{k: net[k] for k in same})
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not the config of an EnCodec ({error!r})") from None


def read_codec(path: Path, codec: str | None) -> Codec:
    """The codec of ``compression_state_dict.bin``; ``codec`` (a name or a folder) stands in for a public one."""
    pkg = checkpoint.load(path)
    if "pretrained" in pkg:
        name = str(pkg["pretrained"])
        if codec is None and name not in PUBLIC:
            raise UserError(f"{path} names the codec {name}; known are {', '.join(PUBLIC)}, or give one with --codec")
        return get_codec(codec or PUBLIC[name])
    if "best_state" not in pkg:
        raise UserError(f"{path}: expected a codec exported by audiocraft (best_state), got {sorted(pkg)}")
    cfg = codec_config(checkpoint.config_of(pkg), path)
    state = {k: v.float() for k, v in from_audiocraft(pkg["best_state"]).items()}
    known = (pkg.get("spec") or {}).get("codec") or {}  # written by us: the identity that its codes were made under
    return Codec(known.get("name", "encodec"), build(cfg, state, path), known.get("hash") or file_hash(path))


def write(folder: Path, cfg: LMConfig, state: dict[str, torch.Tensor], codec: Codec, spec: dict,
          segment_duration: float) -> None:
    """Write both files into ``folder``, for ``audiocraft.models.MusicGen.get_pretrained(folder)``.

    ``segment_duration`` is at least 30 s there: ``MusicGen`` refuses to be built with less than its stride of 18 s.

    Raises:
        UserError: the codec is none that audiocraft knows.
    """
    if codec.type != "encodec":
        raise UserError(f"audiocraft's format holds EnCodecs, and the codec {codec.name} is of the type {codec.type}, "
                        "which audiocraft does not know; export a bundle instead")
    xp = lm_yaml(cfg, tuple(spec["delays"]), codec.sample_rate, max(30.0, segment_duration))
    common = {"version": VERSION, "exported": True}
    checkpoint.save({"best_state": state, "xp.cfg": xp, "spec": spec, **common}, folder / LM_FILE)
    ours = {v: k for k, v in PUBLIC.items()}
    if codec.name in ours:
        pkg: dict[str, Any] = {"pretrained": ours[codec.name]}
    else:
        weights = {k: v.float().contiguous() for k, v in codec.model.state_dict().items()}
        pkg = {"best_state": to_audiocraft(weights), "xp.cfg": codec_yaml(codec.model.cfg), "spec": spec}
    checkpoint.save({**pkg, **common}, folder / CODEC_FILE)
