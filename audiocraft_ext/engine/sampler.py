"""The sampling loop: from a model that takes steps of codes and gives the logits of the next to whole clips.

A clip is a function of (model, seed, index, settings): each has its own random numbers (:func:`clip_rng`), and no row
of a batch touches another, so how many are made together changes nothing, bit for bit.

**Given codes.** What is known beforehand is given, :data:`UNKNOWN` marks what is to be sampled, :data:`SOME` the same
but not 0. A prompt is a prefix of known codes, a frozen codebook is a known row, an infill is a hole. What a gate of
the spec closes is not sampled but rests.

**Windows.** A model's context is ``window`` frames, and it knows no positions after them. A longer clip continues in a
new window whose first half is the second half of the one before, read again from position 0 (MusicGen's way to long
clips, https://arxiv.org/abs/2306.05284 appendix A). So memory and time per step do not grow with the clip, and a longer
clip begins as a shorter one does (but for the shorter one's last frames, as many as the deepest delay, whose later
codes were chosen in sight of its end). Where a spec has prompt frames, each window begins with them.
A model that has a window of its own (``transformer_lm.window``) needs none of this: a clip of any length is one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from audiocraft_ext.core.delay import delay, steps_of, undelay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gates
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampling import Sampling, clip_rng, sample
from audiocraft_ext.model.blocks import AT_ONCE

UNKNOWN = -1  # a code not made yet; no embedding has such a row, so a leak is an error and not a sound
SOME = -2  # the same, and it will not be 0
PREFILL = AT_ONCE  # steps of a prompt read at once: enough for full speed, and its logits stay small

Progress = Callable[[int, int], object]  # (steps done, steps in all)


class Stepper(Protocol):
    """What runs the LM. Calls come in the order of the sequence, after one ``start``. :func:`stream` calls ``start``
    and ``step``; :class:`~audiocraft_ext.engine.engine.Engine` calls the others too."""

    def another(self) -> Stepper:
        """One with a state of its own over the same weights, for another thread."""

    def cache_bytes(self, capacity: int) -> int:
        """Memory that the cache of one clip of ``capacity`` steps takes."""

    def start(self, batch: int, capacity: int) -> None:
        """Forget what was; make room for ``capacity`` steps of ``batch`` clips."""

    def step(self, sequence: np.ndarray) -> np.ndarray:
        """The next steps ``[B, K, S]`` of the delayed sequence; returns ``logits float32 [B, K, card]`` of the step
        that follows the last of them, valid until the next call; -inf is what a stream cannot take."""

    def logits(self, sequence: np.ndarray) -> np.ndarray:
        """As :meth:`step`, but all of them: ``float32 [B, S, K, card]``, row s of the step after s."""


class LoopStepper(Stepper, Protocol):
    """A stepper with a loop of its own, which is used in place of :func:`_fill`'s."""

    def run(self, sequence: np.ndarray, uniforms: np.ndarray, first: int, sampling: Sampling,
            gates: Gates) -> Iterator[int]:
        """Fill the whole ``sequence`` in place; arguments and yields as :func:`_fill`."""


def prefill(stepper: Stepper, sequence: np.ndarray) -> np.ndarray:
    """Read all that is known, ``[B, K, S]``; returns the logits of the step after it."""
    for s in range(0, sequence.shape[-1], PREFILL):
        logits = stepper.step(sequence[..., s : s + PREFILL])
    return logits


def _fill(stepper: Stepper, sequence: np.ndarray, uniforms: np.ndarray, first: int,
          sampling: Sampling, gates: Gates) -> Iterator[int]:
    """Fill in the unknown codes of ``sequence [B, K, S]`` in place, from step ``first`` on; yields the number of the
    last step that is filled.

    Args:
        uniforms: ``float64 [B, S, K]``.
    """
    run = getattr(stepper, "run", None)
    if run is not None:
        yield from run(sequence, uniforms, first, sampling, gates)
        return
    logits = prefill(stepper, sequence[..., :first])
    for s in range(first, sequence.shape[-1]):
        column = sequence[..., s]  # [B, K]
        unknown = column < 0
        if unknown.any():
            some = column == SOME
            if some.any():
                logits = logits.copy()
                logits[..., 0][some] = -np.inf
            np.copyto(column, sample(logits, sampling, uniforms[:, s], gates.sources), where=unknown)
            if len(gates):
                gates.close(sequence, s, unknown)
        yield s
        if s + 1 < sequence.shape[-1]:
            logits = stepper.step(sequence[..., s : s + 1])


def windows(first: int, steps: int, window: int, prompt: int = 0) -> Iterator[tuple[int, int, int]]:
    """Spans of the sequence to decode, ``(origin, begin, end)``: with the steps from ``origin`` on as all that is
    known, the steps from ``begin`` to ``end`` follow. ``window`` is in steps, and ``prompt`` of them are not the clip.

    A function of the step alone: where a span begins depends on neither the clip's length nor the prompt's.
    """
    hop = max(1, (window - prompt) // 2)
    begin = first
    while begin < steps:
        number = max(0, -(-(begin + 1 - window) // hop))
        origin = number * hop
        end = min(steps, origin + window)
        yield origin, begin, end
        begin = end


def _local(sequence: np.ndarray, origin: int, end: int, spec: Spec) -> np.ndarray:
    """A copy of the steps from ``origin`` to ``end`` in which no frame before ``origin`` is to be seen but the prompt,
    which takes the place of as many."""
    local = sequence[..., origin:end].copy()
    for k, d in enumerate(spec.delays):
        local[:, k, : d + 1] = spec.special_id
        if origin:
            local[:, k, d + 1 : d + 1 + spec.prompt] = sequence[:, k, d + 1 : d + 1 + spec.prompt]
    return local


def stream(stepper: Stepper, spec: Spec, indices: Sequence[int], frames: int, *, seed: int, sampling: Sampling,
           given: np.ndarray | None = None, window: int | None = None,
           progress: Progress | None = None) -> Iterator[np.ndarray]:
    """Sample one batch and hand out each frame when all of its codes are known.

    Args:
        indices: the number of each clip; with ``seed`` it decides its random numbers.
        frames: T, the length of the result with what is given and the prompt's frames.
        given: codes ``[K, T0]`` or ``[B, K, T0]``, T0 <= T, :data:`UNKNOWN` or :data:`SOME` where one is to be sampled.
            The prompt's frames are to be given.
        window: the model's context in frames; None is without a limit.
        progress: called after each step.

    Yields:
        ``codes int64 [B, K, t]``, every one in ``[0, card)``; all together are T frames.
    """
    B, K = len(indices), spec.n_q
    sampling.check(K)
    codes = np.full((B, K, frames), UNKNOWN, np.int64)
    if given is not None:
        given = check_given(given, B, spec, frames)
        codes[..., : given.shape[-1]] = given
    S, deepest = steps_of(frames, spec.delays), max(spec.delays)
    if (codes[..., : spec.prompt] < 0).any():
        raise UserError(f"the first {spec.prompt} frames of a clip of this kind are its prompt, which is to be given")
    sequence, gates = delay(codes, spec.delays, spec.special_id), Gates(spec.gates, spec.delays, spec.card)
    uniforms = np.stack([clip_rng(seed, index).random((S, K)) for index in indices])  # [B, S, K]
    first, *others = set(first_unknown(codes, spec.delays).tolist())
    if others:  # what is known is read in another order of additions than what is sampled
        raise UserError("the clips of one batch have their first unknown code at different steps; make those together "
                        "that have it at one, as Engine.generate does")
    size = S if window is None else min(S, steps_of(window, spec.delays))
    if window is not None and size <= 2 * (deepest + 1) < S:
        raise UserError(f"a window of {window} frames is too short for delays up to {deepest}")
    done = max(0, first - 1 - deepest)  # frames that were handed out
    if done:
        yield undelay(sequence[..., : done + deepest + 1], spec.delays)
    for origin, begin, end in windows(first, S, size, spec.prompt):
        local = _local(sequence, origin, end, spec)
        stepper.start(B, size)
        for s in _fill(stepper, local, uniforms[:, origin:end], begin - origin, sampling, gates):
            sequence[..., begin : origin + s + 1] = local[..., begin - origin : s + 1]
            begin = origin + s + 1
            if progress is not None:
                progress(begin - first, S - first)
            if begin - 1 - deepest > done:
                yield undelay(sequence[..., done : begin], spec.delays)
                done = begin - 1 - deepest
    if done < frames:
        yield undelay(sequence[..., done:], spec.delays)


def generate(stepper: Stepper, spec: Spec, indices: Sequence[int], frames: int, **how) -> np.ndarray:
    """All of :func:`stream` at once: ``codes int64 [B, K, T]``."""
    codes = np.concatenate(list(stream(stepper, spec, indices, frames, **how)), axis=-1)
    assert codes.min() >= 0 and codes.max() < spec.card, f"codes from {codes.min()} to {codes.max()}"
    return codes


def first_unknown(codes: np.ndarray, delays: Sequence[int]) -> np.ndarray:
    """The step of the delayed sequence that shows the first unknown code of each of ``codes [B, K, T]``, the number of
    all steps where there is none: ``int64 [B]``."""
    unknown = codes < 0
    steps = unknown.argmax(axis=-1) + np.asarray(delays) + 1  # [B, K]
    return np.where(unknown.any(axis=-1), steps, steps_of(codes.shape[-1], delays)).min(axis=-1)


def with_controls(given: np.ndarray | None, controls: np.ndarray | None, batch: int, spec: Spec,
                  frames: int) -> np.ndarray:
    """``int64 [B, K, T]`` for :func:`stream`: what is given of a clip, and the controls of the spec.

    Args:
        given: as for :func:`stream`, of the streams of ``spec.clip``.
        controls: ``[C, T0]``, T0 <= T; where there are none, nothing is known.
    """
    out = np.full((batch, spec.n_q, frames), UNKNOWN, np.int64)
    out[:, spec.n_q - spec.controls :] = 0
    if given is not None:
        given = check_given(given, batch, spec.clip, frames)
        out[:, : given.shape[1], : given.shape[2]] = given
    if controls is not None:
        out[:, spec.n_q - spec.controls :, : controls.shape[1]] = controls
    return out


def check_given(given: np.ndarray, batch: int, spec: Spec, frames: int) -> np.ndarray:
    """``given`` as ``int64 [B, K, T0]``.

    Raises:
        UserError: another shape, longer than the clip, or codes that are none.
    """
    given = np.asarray(given)
    if given.ndim == 2:
        given = np.repeat(given[None], batch, axis=0)
    if given.ndim != 3 or given.shape[:2] != (batch, spec.n_q):
        raise UserError(f"expected given codes [{spec.n_q}, T] or [{batch}, {spec.n_q}, T], got {list(given.shape)}")
    if given.shape[-1] > frames:
        raise UserError(f"the prompt ({spec.length(given.shape[-1])}) is longer than the clip "
                        f"({spec.length(frames)}); ask for a longer clip or use less of the prompt")
    given = given.astype(np.int64)
    if given.size and (given.min() < SOME or given.max() >= spec.card):
        raise UserError(f"given codes lie from 0 to {spec.card - 1}, or are {UNKNOWN} or {SOME} where one is to be "
                        f"sampled, got {given.min()} to {given.max()}")
    return given
