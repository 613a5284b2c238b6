"""Prompts and controls that are followed more closely than by the model itself: classifier-free guidance.

Each clip has an unconditional twin: the same codes behind a null prompt, with unknown controls. What prompt and
controls change in the logits is multiplied by ``weight`` (J. Ho, T. Salimans, "Classifier-Free Diffusion Guidance",
https://arxiv.org/abs/2207.12598; for tokens: MusicGen, https://arxiv.org/abs/2306.05284 section 3). The model must
have seen null prompts and unknown controls in training. A batch has twice as many rows: it is a stepper around a
stepper.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from numbers import Real

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampler import Stepper

CONTROLLED = 1.8  # the weight of a clip whose controls are known, where nobody says (docs/SOUND.md)
MOST = 20.0


def check_weight(weight: float) -> float:
    """The weight of a guide that a person asked for.

    Raises:
        UserError: not a number from 0 to :data:`MOST`.
    """
    if not isinstance(weight, Real) or isinstance(weight, bool) or not 0 <= weight <= MOST:
        raise UserError(f"guidance: 0 to {MOST:g}, 1 is the model by itself, got {weight}")
    return float(weight)


@dataclass(frozen=True, eq=False)
class Guide:
    """How closely a prompt and controls are followed.

    Attributes:
        weight: 1 is the model by itself; above 1, what the twin is not told counts for more.
        null_prompt: codes ``[K, P]`` of the unconditional twin: it leaves out some or all of the prompt. None: it has
            the clip's own.
    """

    weight: float
    null_prompt: np.ndarray | None = None

    def around(self, stepper: Stepper, spec: Spec) -> GuidedStepper:
        return GuidedStepper(stepper, self, spec)


class GuidedStepper:
    """A :class:`~audiocraft_ext.engine.sampler.Stepper` of clips with their twins, which the stepper inside takes as
    twice as many clips."""

    def __init__(self, stepper: Stepper, guide: Guide, spec: Spec):
        self.stepper, self.weight = stepper, np.float32(guide.weight)
        null = np.zeros((spec.n_q, 0), np.int64) if guide.null_prompt is None else guide.null_prompt
        steps = np.array(spec.delays)[:, None] + 1 + np.arange(null.shape[1])  # [K, P], where the prompt lies
        self._null = [(k, int(steps[k, p]), int(code)) for (k, p), code in np.ndenumerate(null)]
        self._last = int(steps.max(initial=0))
        self._first_control, self._special = spec.n_q - spec.controls, spec.special_id

    def another(self) -> GuidedStepper:
        """One with a state of its own over the same weights."""
        other = copy.copy(self)
        other.stepper = self.stepper.another()
        return other

    def start(self, batch: int, capacity: int) -> None:
        self._length = 0
        self.stepper.start(2 * batch, capacity)

    def cache_bytes(self, capacity: int) -> int:
        """Memory of the caches of one clip and its twin."""
        return 2 * self.stepper.cache_bytes(capacity)

    def step(self, sequence: np.ndarray) -> np.ndarray:
        return self._guided(self.stepper.step(self._with_twins(sequence)))

    def logits(self, sequence: np.ndarray) -> np.ndarray:
        """As :meth:`step`, of every step: ``float32 [B, S, K, card]``."""
        return self._guided(self.stepper.logits(self._with_twins(sequence)))

    def _with_twins(self, sequence: np.ndarray) -> np.ndarray:
        """The next steps ``[B, K, S]`` of the clips, and behind them those of their twins, ``[2 * B, K, S]``."""
        S, twin = sequence.shape[-1], sequence.copy()
        if self._length <= self._last:
            for k, step, code in self._null:
                if self._length <= step < self._length + S:
                    twin[:, k, step - self._length] = code
        controls = twin[:, self._first_control :]
        controls[controls != self._special] = 0
        self._length += S
        return np.concatenate([sequence, twin])

    def _guided(self, logits: np.ndarray) -> np.ndarray:
        """Logits of clips and twins ``[2 * B, ...]`` to those of the clips ``[B, ...]``."""
        conditional, unconditional = np.split(logits, 2)
        possible = np.isfinite(unconditional)
        change = conditional - np.where(possible, unconditional, 0)
        return np.where(possible, unconditional + self.weight * change, -np.inf)
