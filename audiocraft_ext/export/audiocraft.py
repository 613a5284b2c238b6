"""An LM in audiocraft's words: the config of its checkpoints (``xp.cfg``), read and written.

Its export format is two files, ``state_dict.bin`` and ``compression_state_dict.bin``. Each is a dict saved by torch:
``best_state`` (weights), ``xp.cfg`` (YAML, what ``audiocraft.models.builders`` needs), ``version``, ``exported``. Ours
has one key more, ``spec``, which audiocraft passes over.
"""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.attention import rope_rates
from audiocraft_ext.model.config import LAYERS, LMConfig

LM_FILE, CODEC_FILE = "state_dict.bin", "compression_state_dict.bin"
VERSION = "1.3.0"
# Options of LMConfig that audiocraft's model does not have, and the values that it is without them.
LACKS = {"norm": ("layer",), "attention": ("mha", "gqa"), "ffn": ("gelu",), "qk_norm": (False,),
         "positional_embedding": ("sin", "rope"), "window": (None,)}
ROPE = "rope.frequencies"  # what audiocraft keeps of rotary positions, beside the weights

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
    """The smallest ``xp.cfg`` that builds this model in audiocraft.

    Raises:
        UserError: it has options that audiocraft's has not; all of them are named.
    """
    lacking = [f"transformer_lm.{key}={getattr(cfg, key)}" for key, there in LACKS.items()
               if getattr(cfg, key) not in there]
    if lacking:
        raise UserError(f"audiocraft's model has no {', no '.join(lacking)}; export a bundle instead")
    sizes = {k: v for k, v in cfg.to_dict().items() if k not in (*_TRAINING, "attention", "kv_heads", "sinks")}
    return OmegaConf.to_yaml(OmegaConf.create({
        "solver": "musicgen", "lm_model": "transformer_lm", "sample_rate": sample_rate, "channels": 1,
        "device": "cpu", "dtype": "float32",
        "transformer_lm": {
            **sizes, "kv_repeat": cfg.num_heads // (cfg.kv_heads or cfg.num_heads), "norm": "layer_norm",
            "norm_first": True, "activation": "gelu", "causal": True,
            "positional_embedding": cfg.positional_embedding, "dropout": 0.0,
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


def audiocraft_state(cfg: LMConfig, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of an LM as audiocraft's ``LMModel`` has them: it also keeps the rates of rotary positions."""
    if cfg.positional_embedding != "rope":
        return state
    rates = rope_rates(cfg.head_dim, cfg.max_period)
    places = ("transformer", *(f"{LAYERS}.{i}.self_attn" for i in range(cfg.num_layers)))
    return state | {f"{place}.{ROPE}": rates.clone() for place in places}
