"""A model in training judged by what it plays, now and then: clips are sampled, made sound, and compared with the valid
split. A lower loss need not sound better; the state that is kept is the one that does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from audiocraft_ext import kinds
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.guidance import CONTROLLED, Guide
from audiocraft_ext.engine.sampler import generate, with_controls
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.model.lm import LM
from audiocraft_ext.store.reader import TokenStore

BATCH = 12  # clips sampled together


def sampled(model: LM, spec: Spec, codec_config: dict | None, n: int, frames: int, seed: int,
            sampling: Sampling, guided: bool = False) -> np.ndarray:
    """Clips ``codes int64 [n, K, P + T]`` of a model in training, without controls; clip i of a seed is the clip that
    the engine makes of it from the exported bundle, rounding aside.

    Args:
        guided: by the controls, if there are any; the model has learned to play without them too.
    """
    kind, stepper = kinds.kind_of(spec), TorchStepper(model)
    if spec.controls and guided:
        stepper = Guide(CONTROLLED).around(stepper, spec)
    clips = []
    for first in range(0, n, BATCH):
        indices = range(first, min(n, first + BATCH))
        given = kind.null_prompt(spec, codec_config)
        if spec.controls:
            controls = kind.controls(spec, codec_config, frames)
            given = with_controls(given, controls, len(indices), spec, spec.prompt + frames)
        clips.append(generate(stepper, spec, indices, spec.prompt + frames, seed=seed,
                              sampling=sampling, given=given))
    return np.concatenate(clips)[:, : spec.clip.n_q]


class Judge:
    """What a kind says of clips, and when it is asked.

    Args:
        every: epochs between two looks; None: never.
        clips: how many are sampled.
    """

    def __init__(self, store: TokenStore, every: int | None, clips: int):
        self.store, self.every, self.clips = store, every, clips
        self._figures: Callable[[np.ndarray], dict[str, float]] | None = None

    def due(self, epoch: int, epochs: int) -> bool:
        return bool(self.every) and (epoch % self.every == 0 or epoch == epochs)

    def figures(self, codes: np.ndarray) -> dict[str, float]:
        """Of clips ``codes [B, K, P + T]``: whatever the kind measures, and ``score``, of which less is better.

        Raises:
            UserError: this kind has no measure, or what it takes is not there.
        """
        if self._figures is None:
            self._figures = kinds.kind_of(self.store.spec).judge(self.store)
        return self._figures(codes)


def rank(metrics: dict) -> tuple[float, float]:
    """By what a state is the best: the score of its clips, and where there is none, its loss."""
    score = metrics.get("score", math.inf)
    return (score if math.isfinite(score) else math.inf, metrics["ce"])
