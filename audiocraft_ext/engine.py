"""The engine: a bundle to codes, step by step, and codes to sound (level 1: ONNX Runtime, no torch).

:func:`generate` is the whole of sampling, over a :class:`Stepper`: anything that takes some steps of codes and gives
the logits of the next. :class:`OnnxStepper` is one, a model on a GPU can be another.

A clip is a function of (bundle, seed, index, settings): each has its own random numbers (:func:`clip_rng`), and no
row of a batch touches another, so how many are made together changes nothing, bit for bit. Bitwise equality ends at
the machine: another processor, ONNX Runtime or number of threads may add up in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort

from audiocraft_ext.bundle import Bundle
from audiocraft_ext.delay import delay, steps_of, undelay
from audiocraft_ext.errors import UserError
from audiocraft_ext.machine import physical_cores
from audiocraft_ext.sampling import check_settings, clip_rng, sample
from audiocraft_ext.spec import Spec

UNKNOWN = -1  # a code not made yet; no embedding has such a row, so a leak is an error and not a sound
PREFILL = 64  # steps of a prompt read at once: enough for full speed, and its logits stay small
MAX_BATCH = 10
CACHE_BYTES = 1 << 30  # for one batch
WEIGHTS_PER_THREAD = 2_000_000  # fewer are read faster than two threads wait for each other

Progress = Callable[[int, int], object]  # (steps done, steps in all)


class Stepper(Protocol):
    """What runs the LM. Calls come in the order of the sequence, after one ``start``."""

    def start(self, batch: int, capacity: int) -> None:
        """Forget what was; make room for ``capacity`` steps of ``batch`` clips."""

    def step(self, sequence: np.ndarray) -> np.ndarray:
        """The next steps ``[B, K, S]`` of the delayed sequence; returns ``logits float32 [B, K, card]`` of the step
        that follows the last of them, valid until the next call."""


def prefill(stepper: Stepper, sequence: np.ndarray) -> np.ndarray:
    """Read all that is known, ``[B, K, S]``; returns the logits of the step after it."""
    for s in range(0, sequence.shape[-1], PREFILL):
        logits = stepper.step(sequence[..., s : s + PREFILL])
    return logits


def decode_one(logits: np.ndarray, frame: np.ndarray, uniforms: np.ndarray, temperature: float, top_k: int) -> None:
    """Fill in the unknown codes of one step, ``frame [B, K]``, in place."""
    np.copyto(frame, sample(logits, temperature, top_k, uniforms), where=frame == UNKNOWN)


def decode_steps(stepper: Stepper, sequence: np.ndarray, first: int, uniforms: np.ndarray, temperature: float,
                 top_k: int) -> Iterator[int]:
    """Fill ``sequence [B, K, S]`` in place from step ``first`` on; yields each step's number when it is filled.

    Args:
        uniforms: ``float64 [B, S, K]``.
    """
    logits = prefill(stepper, sequence[..., :first])
    for s in range(first, sequence.shape[-1]):
        decode_one(logits, sequence[..., s], uniforms[:, s], temperature, top_k)
        yield s
        if s + 1 < sequence.shape[-1]:
            logits = stepper.step(sequence[..., s : s + 1])


def generate(stepper: Stepper, spec: Spec, indices: Sequence[int], frames: int, *, seed: int, temperature: float,
             top_k: int, prompt: np.ndarray | None = None, progress: Progress | None = None) -> np.ndarray:
    """Sample one batch.

    Args:
        indices: the number of each clip; with ``seed`` it decides its random numbers.
        frames: T, the length of the result with the prompt.
        prompt: codes ``[K, T0]`` or ``[B, K, T0]``, T0 < T, that the clips begin with.
        progress: called after each step.

    Returns:
        ``codes int64 [B, K, T]``, every one in ``[0, card)``.
    """
    B, K, special = len(indices), spec.n_q, spec.special_id
    prompt = np.zeros((B, K, 0), np.int64) if prompt is None else _checked_prompt(prompt, B, spec, frames)
    T0, S = prompt.shape[-1], steps_of(frames, spec.delays)
    codes = np.full((B, K, frames), UNKNOWN, np.int64)
    codes[..., :T0] = prompt
    sequence = delay(codes, spec.delays, special)  # [B, K, S]
    uniforms = np.stack([clip_rng(seed, index).random((S, K)) for index in indices])  # [B, S, K]
    first = T0 + 1  # the first step that shows a frame after the prompt: no delay is below 0
    stepper.start(B, S)
    for s in decode_steps(stepper, sequence, first, uniforms, temperature, top_k):
        if progress is not None:
            progress(s + 1 - first, S - first)
    codes = undelay(sequence, spec.delays)
    assert codes.min() >= 0 and codes.max() < spec.card, f"codes from {codes.min()} to {codes.max()}"
    return codes


def _checked_prompt(prompt: np.ndarray, batch: int, spec: Spec, frames: int) -> np.ndarray:
    prompt = np.asarray(prompt)
    if prompt.ndim == 2:
        prompt = np.repeat(prompt[None], batch, axis=0)
    if prompt.ndim != 3 or prompt.shape[:2] != (batch, spec.n_q):
        raise UserError(f"expected prompt codes [{spec.n_q}, T] or [{batch}, {spec.n_q}, T], got {list(prompt.shape)}")
    if prompt.shape[-1] >= frames:
        raise UserError(f"the prompt ({prompt.shape[-1] / spec.frame_rate:.2f} s) must be shorter than the clip "
                        f"({frames / spec.frame_rate:.2f} s); ask for a longer clip or use less of the prompt")
    if prompt.size and (prompt.min() < 0 or prompt.max() >= spec.card):
        raise UserError(f"prompt codes lie from 0 to {spec.card - 1}, got {prompt.min()} to {prompt.max()}")
    return prompt.astype(np.int64)


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes; which one depends on where it finds the fault
        raise UserError(f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0][:200]})") from None


class OnnxStepper:
    """The LM in ONNX Runtime. Every buffer is made once for a batch; the cache is written in place."""

    def __init__(self, session: ort.InferenceSession, lm: dict):
        self.session = session
        self.n_q, self.card, self.layers, self.heads = lm["n_q"], lm["card"], lm["num_layers"], lm["num_heads"]
        self.head_dim = lm["dim"] // lm["num_heads"]
        self._binding: ort.IOBinding | None = None
        self._buffers: dict[str, tuple[np.ndarray, ort.OrtValue]] = {}

    def cache_bytes(self, capacity: int) -> int:
        """Memory of one clip's cache."""
        return 2 * 4 * self.layers * self.heads * self.head_dim * capacity

    def start(self, batch: int, capacity: int) -> None:
        self.length = 0
        shape = (batch, self.heads, capacity, self.head_dim)
        if self._binding is not None and self._buffers["past_key.0"][0].shape == shape:
            return  # what lies behind `length` is never read
        self._buffers.clear()
        self._binding = self.session.io_binding()
        for layer in range(self.layers):
            for kind in ("key", "value"):
                value = self._new(f"past_{kind}.{layer}", shape, np.float32)
                self._binding.bind_ortvalue_input(f"past_{kind}.{layer}", value)
                self._binding.bind_ortvalue_output(f"present_{kind}.{layer}", value)
        for name, size in (("seqlens_k", batch), ("total_sequence_length", 1)):
            self._binding.bind_ortvalue_input(name, self._new(name, (size,), np.int32))

    def step(self, sequence: np.ndarray) -> np.ndarray:
        B, K, S = sequence.shape
        assert self._binding is not None, "step before start"
        if "codes" not in self._buffers or self._buffers["codes"][0].shape != (B, K, S):
            self._binding.bind_ortvalue_input("codes", self._new("codes", (B, K, S), np.int64))
            self._binding.bind_ortvalue_input("positions", self._new("positions", (S,), np.int64))
            self._binding.bind_ortvalue_output("logits", self._new("logits", (B, S, K, self.card), np.float32))
        self._array("codes")[:] = sequence
        self._array("positions")[:] = np.arange(self.length, self.length + S)
        self.length += S
        self._array("seqlens_k")[:] = self.length - 1
        self._array("total_sequence_length")[:] = self.length
        self.session.run_with_iobinding(self._binding)
        return self._array("logits")[:, -1]  # [B, K, card]

    def _new(self, name: str, shape: tuple, dtype: type) -> ort.OrtValue:
        """A buffer that numpy writes and ONNX Runtime reads, or the other way round, without a copy."""
        array = np.zeros(shape, dtype)
        self._buffers[name] = array, ort.OrtValue.ortvalue_from_numpy(array)
        return self._buffers[name][1]

    def _array(self, name: str) -> np.ndarray:
        return self._buffers[name][0]


class Engine:
    """A bundle, ready to play.

    Args:
        bundle: the bundle or its path. Its hashes are compared meanwhile; call ``bundle.verify()`` before you keep
            what was made.
        threads: for arithmetic; by default one per core, for the LM only as many as its size gives work to. Their
            number changes no code; in the decoded sound it can change the last bit of a float.
    """

    def __init__(self, bundle: Bundle | str | Path, threads: int | None = None):
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        self.bundle.start_check()
        self.spec = self.bundle.spec
        self.threads = threads or physical_cores()
        lm = self.bundle.lm
        # Read in one step: four projections of dim x dim and two of dim x hidden a layer, and the heads.
        weights = lm["num_layers"] * (4 + 2 * lm["hidden_scale"]) * lm["dim"] ** 2 + lm["n_q"] * lm["card"] * lm["dim"]
        useful = min(self.threads, max(1, weights // WEIGHTS_PER_THREAD))
        self.stepper = OnnxStepper(open_session(self.bundle.file("lm.onnx"), threads or useful), lm)
        self._codec: dict[str, ort.InferenceSession] = {}

    def batches(self, indices: Sequence[int], frames: int) -> list[list[int]]:
        """``indices`` cut into batches that fit into the memory meant for the cache."""
        fits = CACHE_BYTES // self.stepper.cache_bytes(steps_of(frames, self.spec.delays))
        size = max(1, min(MAX_BATCH, fits))
        return [list(indices[i : i + size]) for i in range(0, len(indices), size)]

    def generate(self, clips: int | Sequence[int], frames: int, *, seed: int, temperature: float | None = None,
                 top_k: int | None = None, prompt: np.ndarray | None = None,
                 progress: Progress | None = None) -> np.ndarray:
        """Sample clips, in as many batches as it takes.

        Args:
            clips: how many (their indices are 0, 1, ...), or the index of each.
            temperature, top_k: see :func:`~audiocraft_ext.sampling.sample`; the bundle's own by default.
            The others as in :func:`generate`.

        Returns:
            ``codes int64 [B, K, T]``, every one in ``[0, card)``.
        """
        indices = list(range(clips)) if isinstance(clips, int) else list(clips)
        temperature = self.bundle.sampling["temperature"] if temperature is None else temperature
        top_k = self.bundle.sampling["top_k"] if top_k is None else top_k
        if not indices:
            raise UserError("expected at least 1 clip, got 0")
        check_settings(temperature, top_k)
        self.bundle.frames(frames / self.spec.frame_rate)
        if prompt is not None:
            prompt = _checked_prompt(prompt, len(indices), self.spec, frames)
        out, at = [], 0
        batches = self.batches(indices, frames)
        for number, batch in enumerate(batches):
            def report(done: int, total: int, number: int = number) -> None:
                if progress is not None:
                    progress(number * total + done, len(batches) * total)

            part = None if prompt is None else prompt[at : at + len(batch)]
            out.append(generate(self.stepper, self.spec, batch, frames, seed=seed, temperature=temperature,
                                top_k=top_k, prompt=part, progress=report))
            at += len(batch)
        return np.concatenate(out)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """``codes [B, K, T]`` to ``wav float32 [B, 1, N]``, N = T * hop length; clip by clip."""
        decoder = self._session("decoder.onnx")
        codes = np.ascontiguousarray(codes, np.int64)
        return np.concatenate([decoder.run(None, {"codes": row[None]})[0] for row in codes])

    def encode(self, wav: np.ndarray) -> np.ndarray:
        """``wav float32 [B, 1, N]`` at the bundle's sample rate to ``codes int64 [B, K, T]``; the last frame is filled
        up with silence."""
        if wav.ndim != 3 or wav.shape[1] != 1 or wav.shape[2] == 0:
            raise UserError(f"expected mono sound [B, 1, N] with N > 0, got {list(wav.shape)}")
        encoder, hop = self._session("encoder.onnx"), round(self.bundle.sample_rate / self.spec.frame_rate)
        wav = np.pad(wav.astype(np.float32, copy=False), ((0, 0), (0, 0), (0, -wav.shape[2] % hop)))
        return np.concatenate([encoder.run(None, {"wav": row[None]})[0] for row in wav])

    def _session(self, name: str) -> ort.InferenceSession:
        if not self.bundle.has_codec:
            raise UserError(f"{self.bundle.path}: this bundle has no audio codec, its codes are {self.spec.kind}")
        if name not in self._codec:
            self._codec[name] = open_session(self.bundle.file(name), self.threads)
        return self._codec[name]
