"""audiocraft's own export format (:class:`audiocraft_ext.kinds.Format`), and the codec in it.

    state_dict.bin                 the LM; :mod:`audiocraft_ext.export.audiocraft` has its config
    compression_state_dict.bin     the codec: an EnCodec of this module, or the name of a public one
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.codec import Codec, build, file_hash
from audiocraft_ext.audio.codec.encodec import EncodecConfig, from_audiocraft, to_audiocraft
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.export import audiocraft, bundle, sources
from audiocraft_ext.export.audiocraft import CODEC_FILE, LM_FILE, VERSION
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.model.weights import plain_names, stored

PUBLIC = {"facebook/encodec_32khz": "encodec_32khz"}  # audiocraft's name: ours


def read(path: Path, codec: str | None) -> Trained:
    """Both files of a folder; ``codec`` (a name or a folder) stands in for a codec that is not in there.

    Raises:
        UserError: a file is missing or of something else, or the codec is not the model's.
    """
    file = path / LM_FILE
    pkg = checkpoint.load(file)
    config = checkpoint.config_of(pkg)
    cfg = audiocraft.lm_config(config)
    state = sources.clean(pkg.get("best_state") or {}, cfg, file)
    codec_file = path / CODEC_FILE
    if not codec_file.is_file() and codec is None:
        raise UserError(f"{codec_file}: missing; name the model's codec with --codec")
    found = read_codec(codec_file, codec) if codec_file.is_file() else get_codec(codec)
    check_sizes(found.spec, cfg, found.name, file)
    spec = found.spec.with_delays(audiocraft.delays(config, cfg.n_q))
    return Trained(spec, cfg, state, found, sources.context_of(config, spec), run=sources.segment_of(config))


def read_codec_of(config: Mapping[str, Any], codec: str | None, path: Path) -> Codec:
    """The codec that the config of audiocraft's own solver names, or ``codec`` instead.

    Raises:
        UserError: it names none that is known, or one of other sizes.
    """
    name = str(config.get("compression_model_checkpoint", "")).removeprefix("//pretrained/")
    if codec is None and name not in PUBLIC:
        raise UserError(f"{path}: trained on the codec {name or '(not named)'}; give it with --codec")
    found = get_codec(codec or PUBLIC[name])
    check_sizes(found.spec, audiocraft.lm_config(config), found.name, path)
    return found


def write(out: Path, model: Trained, half: bool = False, force: bool = False) -> None:
    """A folder for ``audiocraft.models.MusicGen.get_pretrained(out)``.

    Raises:
        UserError: the codes are not sound, the codec is none that audiocraft knows, or it cannot be written.
    """
    if not isinstance(model.codec, Codec):
        raise UserError(f"audiocraft's format is for sound, and these codes are {model.spec.kind}")
    if model.codec.type != "encodec":
        raise UserError(f"audiocraft's format holds EnCodecs, and the codec {model.codec.name} is of the type "
                        f"{model.codec.type}, which audiocraft does not know; export a bundle instead")
    state, segment = stored(model.state, half), float(model.run.get("segment_duration", 30.0))
    bundle.write_whole(out, force, lambda folder: write_files(folder, model.cfg, state, model.codec,
                                                              model.spec.to_dict(), segment))


def write_files(folder: Path, cfg: LMConfig, state: dict[str, torch.Tensor], codec: Codec, spec: dict,
                segment_duration: float) -> None:
    """Write both files into ``folder``.

    ``segment_duration`` is at least 30 s there: ``MusicGen`` refuses to be built with less than its stride of 18 s.
    """
    xp = audiocraft.lm_yaml(cfg, tuple(spec["delays"]), codec.sample_rate, max(30.0, segment_duration))
    common = {"version": VERSION, "exported": True}
    weights = audiocraft.audiocraft_state(cfg, state)
    checkpoint.save({"best_state": weights, "xp.cfg": xp, "spec": spec, **common}, folder / LM_FILE)
    ours = {v: k for k, v in PUBLIC.items()}
    if codec.name in ours:
        pkg: dict[str, Any] = {"pretrained": ours[codec.name]}
    else:
        weights = {k: v.float().contiguous() for k, v in codec.model.state_dict().items()}
        pkg = {"best_state": to_audiocraft(weights), "xp.cfg": codec_yaml(codec.model.cfg), "spec": spec}
    checkpoint.save({**pkg, **common}, folder / CODEC_FILE)


def check_sizes(spec: Spec, cfg: LMConfig, codec: str, path: Path) -> None:
    """Raise a :class:`UserError` unless the codes are those that the LM takes."""
    if (spec.n_q, spec.card) != (cfg.n_q, cfg.card):
        raise UserError(f"{path} has n_q={cfg.n_q}, card={cfg.card}, but the codec {codec} has n_q={spec.n_q}, "
                        f"card={spec.card}; give the right one with --codec")


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


# What an EnCodec's config may say besides its sizes, and the values that ours has; None: anything, it only trains.
NO_EFFECT = None
OPTIONS: dict[str, dict[str, tuple | None]] = {
    "encodec": {"autoencoder": ("seanet",), "quantizer": ("rvq",), "causal": (False,), "channels": (1,),
                "renormalize": (False,), "renorm": (False, None), "sample_rate": NO_EFFECT},
    "seanet": {"channels": (1,), "causal": (False,), "activation": ("ELU",),
               "activation_params": (None, {}, {"alpha": 1.0}), "norm": ("none", "weight_norm"),
               "norm_params": (None, {}), "true_skip": (True,), "disable_norm_outer_blocks": (0,),
               "encoder": (None, {}), "decoder": NO_EFFECT},
    "seanet.decoder": {"trim_right_ratio": (1.0,), "final_activation": (None,), "final_activation_params": NO_EFFECT},
    "rvq": dict.fromkeys(("n_q", "bins", "q_dropout", "decay", "kmeans_init", "kmeans_iters", "threshold_ema_dead_code",
                          "orthogonal_reg_weight", "orthogonal_reg_active_codes_only", "orthogonal_reg_max_codes",
                          "no_quantization_rate")),
}
SIZES = ("n_filters", "ratios", "dimension", "kernel_size", "last_kernel_size", "residual_kernel_size",
         "n_residual_layers", "dilation_base", "compress", "lstm", "pad_mode")


def codec_config(config: dict[str, Any], path: Path) -> EncodecConfig:
    """An exported codec's ``xp.cfg`` as ours; what our EnCodec does not do is refused by name."""
    try:
        top, net, rvq = config["encodec"], config["seanet"], config["rvq"]
        said = {"encodec": top, "seanet": {k: v for k, v in net.items() if k not in SIZES}, "rvq": rvq,
                "seanet.decoder": net.get("decoder") or {}}
        for part, options in said.items():
            for key, found in options.items():
                allowed = OPTIONS[part].get(key, ())
                if allowed is not NO_EFFECT and found not in allowed:
                    only = f", only {' or '.join(map(str, allowed))}" if allowed else ""
                    raise UserError(f"{path}: {part}.{key}={found} is not supported{only}")
        return EncodecConfig(sample_rate=top["sample_rate"], n_q=rvq["n_q"], card=rvq["bins"],
                             **{k: net[k] for k in SIZES})
    except (KeyError, TypeError, AttributeError) as error:
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
    state = {k: v.float() for k, v in from_audiocraft(plain_names(pkg["best_state"])).items()}
    known = (pkg.get("spec") or {}).get("codec") or {}  # written by us: the identity that its codes were made under
    return Codec(known.get("name", "encodec"), build(cfg, state, path), known.get("hash") or file_hash(path))
