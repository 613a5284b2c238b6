"""What of a config can be checked before anything is built: choices that upstream would pass over or fail on later."""

from __future__ import annotations

import torch
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.model.config import LMConfig

CHOICES: dict[str, tuple] = {
    "conditioners": (None,),
    "device": ("auto", "cpu", "cuda"),
    "execute_only": (None, "valid", "evaluate", "generate"),
    "optim.optimizer": ("adamw", "adam", "adamw8bit", "muon"),
    "autocast_dtype": ("bfloat16", "float16"), "autocast_cpu": (None, False, True, "auto"),
    "fsdp.use": (False,), "profiler.enabled": (False,),
    "benchmark_no_load": (False,), "deadlock.use": (False,),
}


def check_config(cfg) -> None:
    """Raise a :class:`UserError` for a value that upstream would pass over or fail on later, here."""
    check_choices(cfg)
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch finds no CUDA device; set device=cpu, or install a torch with CUDA")


def check_choices(cfg) -> None:
    """The same for what is the same on every machine."""
    schedules = (None, *(name for name in cfg.schedule if name != "lr_scheduler"))
    for key, known in {**CHOICES, "schedule.lr_scheduler": schedules}.items():
        value = OmegaConf.select(cfg, key)
        if value not in known:
            words = " or ".join("empty" if choice is None else str(choice) for choice in known)
            raise UserError(f"{key} is {words} here, got {value}")
    for key, value in (cfg.schedule[cfg.schedule.lr_scheduler] if cfg.schedule.lr_scheduler else {}).items():
        if value is None:
            raise UserError(f"schedule.lr_scheduler={cfg.schedule.lr_scheduler} needs a number for "
                            f"schedule.{cfg.schedule.lr_scheduler}.{key}")


def can_autocast(cfg) -> bool:
    """Whether the device computes in ``autocast_dtype`` faster than in float32; on a CPU that is the user's to say."""
    if cfg.device == "cpu":
        return fast_bfloat16() if cfg.autocast_cpu == "auto" else bool(cfg.autocast_cpu)
    return cfg.autocast_dtype == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)


def fast_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16; False too where torch (before 2.10) cannot tell."""
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def delays_of(cfg) -> tuple[int, ...]:
    """The delays of the config's codebook pattern, one a stream."""
    pattern = cfg.codebooks_pattern.modeling
    if pattern == "parallel":
        return (0,) * cfg.transformer_lm.n_q
    if pattern != "delay":
        raise UserError(f"codebooks_pattern.modeling is 'delay' or 'parallel', got {pattern!r}")
    return tuple(cfg.codebooks_pattern.delay.delays)


def check_window(lm: LMConfig, spec: Spec, frames: int) -> None:
    """Raise a :class:`UserError` unless a clip of ``frames`` shows the model its whole window, and its sinks hold all
    of the prompt: what leaves the window is forgotten."""
    if lm.window is None:
        return
    if lm.window > spec.prompt + frames:
        raise UserError(f"transformer_lm.window={lm.window} frames is longer than a clip in training, {frames}: the "
                        f"model would never see all of it; set transformer_lm.window={max(1, frames // 2)} or a longer "
                        "dataset.segment_duration")
    needed = 1 + spec.prompt + max(spec.delays)
    if spec.prompt and lm.sinks < needed:
        raise UserError(f"the prompt of these codes has {spec.prompt} frames and would leave the window; set "
                        f"transformer_lm.sinks={needed} to keep it in sight")
