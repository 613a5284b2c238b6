"""The settings of a run and what they may be: one table, which is checked before anything is built, and which
docs/OPTIONS.md shows.

Choices of words and what depends on the machine are in :mod:`audiocraft_ext.training.checks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig, ListConfig, OmegaConf

from audiocraft_ext.core.errors import UserError

MOST = 2**31 - 1
HOUR = 3600.0


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    Attributes:
        whole: no fractions; ``1e3`` is one.
        above, below: without ``low``, without ``high``.
        word: one that may stand instead of a number.
        empty: nothing may be said at all.
        times: as many of them, in a list; 0 is a number by itself.
    """

    low: float
    high: float = math.inf
    whole: bool = False
    above: bool = False
    below: bool = False
    word: str | None = None
    empty: bool = False
    times: int = 0

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.empty
        if self.times:
            one = Range(self.low, self.high, self.whole, self.above, self.below)
            return isinstance(value, (list, tuple, ListConfig)) and len(value) == self.times and all(
                each in one for each in value)
        if isinstance(value, bool) or not isinstance(value, (int,) if self.whole else (int, float)):
            return self.word is not None and value == self.word
        return (self.low < value if self.above else self.low <= value) and math.isfinite(value) and (
            value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        """In words, such as "a whole number from 1 on, or auto"."""
        what = "a whole number" if self.whole else "a number"
        if self.times:
            what = f"{self.times} numbers, each"
        low = f"above {_number(self.low)}" if self.above else f"from {_number(self.low)}"
        if self.high in (math.inf, MOST):
            span = low if self.above else f"{low} on"
        else:
            span = f"{low} {'and' if self.above else 'to'} {'below ' if self.below else ''}"
            span += f"{'up to ' if self.above and not self.below else ''}{_number(self.high)}"
        words = [f"{what} {span}", *([self.word] if self.word else []), *(["empty"] if self.empty else [])]
        return ", or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"


def _number(value: float) -> str:
    return "2**64 - 1" if value == 2**64 - 1 else f"{value:g}"


def _count(low: int = 1, **more) -> Range:
    return Range(low, MOST, whole=True, **more)


SHARE = Range(0, 1, below=True)  # of what decays or is left out
POSITIVE = Range(0, above=True)
RANGES: dict[str, Range] = {
    "seed": Range(0, 2**64 - 1, whole=True),
    "num_threads": _count(word="auto"),
    "dataset.batch_size": _count(word="auto"),
    "dataset.segment_duration": Range(0, HOUR, above=True, empty=True),
    "dataset.segment_frames": _count(empty=True),
    "dataset.drop_controls": Range(0, 1),
    "dataset.train.num_samples": _count(empty=True),
    "dataset.train.share": Range(0, 1, above=True, empty=True),
    "dataset.valid.num_samples": _count(empty=True),
    "transformer_lm.dim": _count(2),
    "transformer_lm.num_heads": _count(),
    "transformer_lm.num_layers": _count(),
    "transformer_lm.hidden_scale": _count(),
    "transformer_lm.kv_heads": _count(empty=True),
    "transformer_lm.window": _count(empty=True),
    "transformer_lm.sinks": _count(empty=True),
    **{f"transformer_lm.mla.{name}": _count(empty=True) for name in ("q_rank", "kv_rank", "rope_dim")},
    **{f"transformer_lm.moe.{name}": _count(empty=True) for name in ("shared", "routed", "top_k", "width")},
    "transformer_lm.moe.bias_speed": Range(0, empty=True),
    "transformer_lm.n_q": _count(empty=True),
    "transformer_lm.card": _count(empty=True),
    "transformer_lm.dropout": SHARE,
    "optim.epochs": _count(),
    "optim.updates_per_epoch": _count(empty=True),
    "optim.lr": POSITIVE,
    "optim.max_norm": Range(0),
    "optim.accumulate": _count(),
    "optim.adam.betas": Range(0, 1, below=True, times=2),
    "optim.adam.weight_decay": Range(0),
    "optim.adam.eps": POSITIVE,
    "optim.muon.lr": Range(0, above=True, empty=True),
    "optim.muon.weight_decay": Range(0, empty=True),
    "optim.muon.momentum": Range(0, 1, below=True, empty=True),
    "optim.ema.updates": _count(),
    "optim.ema.decay": SHARE,
    "schedule.step.step_size": _count(empty=True),
    "schedule.step.gamma": Range(0, above=True, empty=True),
    "schedule.cosine.warmup": _count(0),
    "schedule.cosine.lr_min_ratio": Range(0, 1),
    "schedule.cosine.cycle_length": POSITIVE,
    "schedule.linear_warmup.warmup": _count(0),
    "schedule.linear_warmup.warmup_init_lr": Range(0),
    "checkpoint.save_minutes": Range(0, empty=True),
    "checkpoint.save_every": _count(empty=True),
    "checkpoint.keep_last": _count(0, empty=True),
    "generate.every": _count(empty=True),
    "generate.num_samples": _count(),
    "generate.judge.every": _count(empty=True),
    "generate.judge.clips": _count(2),
    "generate.lm.gen_duration": Range(0, HOUR, above=True, empty=True),
    "generate.lm.gen_frames": _count(empty=True),
    "generate.lm.temp": Range(0),
    "generate.lm.top_k": _count(0),
    "generate.lm.top_p": Range(0, 1, above=True),
    "evaluate.every": _count(empty=True),
    "logging.log_updates": _count(),
    "slurm.gpus": _count(0),
    "slurm.cpus_per_gpu": _count(),
    "slurm.mem_per_gpu": POSITIVE,
    "slurm.time": _count(),
}
SWITCHES = ("autocast", "compile", "show", "dataset.sample_on_duration", "checkpoint.save_last", "generate.use",
            "evaluate.use", "optim.adam.fused", "optim.ema.use", "logging.log_tensorboard", "logging.tracker_audio",
            "logging.log_wandb", "transformer_lm.bias_proj", "transformer_lm.bias_ff", "transformer_lm.bias_attn")


def check(cfg: DictConfig) -> None:
    """Refuse a setting outside of its range; a key that this config has not is passed over.

    Raises:
        UserError: naming the first key, what it may be, and what it is.
    """
    for key, allowed in RANGES.items():
        if not _is_there(cfg, key):
            continue
        value = OmegaConf.select(cfg, key)
        if value not in allowed:
            raise UserError(f"{key}: expected {allowed}, got {_shown(value)}")
    for key in SWITCHES:
        if _is_there(cfg, key) and not isinstance(value := OmegaConf.select(cfg, key), bool):
            raise UserError(f"{key}: expected true or false, got {_shown(value)}")


def _is_there(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    parent = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(parent, DictConfig) and name in parent and not OmegaConf.is_missing(parent, name)


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value) if isinstance(value, str) else str(value)


def threads(text: str) -> int:
    """What ``OMP_NUM_THREADS`` says.

    Raises:
        UserError: it is no number of threads.
    """
    if not text.strip().isascii() or not text.strip().isdigit() or not 1 <= int(text) <= MOST:
        raise UserError(f"OMP_NUM_THREADS: expected {_count()}, got {text!r}; set it to one number, or num_threads=1")
    return int(text)


def rows() -> Iterator[str]:
    """The table as Markdown, a line a key."""
    yield "| key | what it may be |"
    yield "| --- | --- |"
    for key, allowed in RANGES.items():
        yield f"| `{key}` | {allowed} |"
    yield f"| {', '.join(f'`{key}`' for key in SWITCHES)} | true or false |"


if __name__ == "__main__":
    print("\n".join(rows()))
