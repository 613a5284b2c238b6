"""The engine: a bundle to codes; in ONNX Runtime, or in torch where it is asked for.

The loop is in :mod:`audiocraft_ext.engine.sampler`, the LM's step in :mod:`audiocraft_ext.engine.onnx` (on a GPU
:mod:`audiocraft_ext.engine.torch.loop`). What is here puts them together. What codes become is their kind's; of sound
it is :mod:`audiocraft_ext.audio.engine`.

A clip is a function of (bundle, seed, index, settings), bit for bit, whatever is made beside it and with however many
threads. The settings include the precision. Bitwise equality ends at the machine: another processor, version of ONNX
Runtime or backend may add up in another order. (For the backend torch see there: a GPU keeps the law for batches of up
to ten, a CPU in fp32.)
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from audiocraft_ext.core.delay import delay, steps_of, valid_mask
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.engine import sampler
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.onnx import OnnxStepper, open_session
from audiocraft_ext.engine.order import Order
from audiocraft_ext.engine.sampler import PREFILL, UNKNOWN, Progress, Stepper, check_given, with_controls
from audiocraft_ext.engine.sampling import Sampling

MAX_BATCH = 10
CACHE_BYTES = 1 << 30  # for one batch
WEIGHTS_PER_THREAD = 2_000_000  # fewer are read faster than two threads wait for each other
BACKENDS = ("onnx", "torch")


class Engine:
    """A bundle, ready to make codes of any kind. Any number of threads may share it: what a call needs to remember is
    in a stepper that no other call has meanwhile; they have the weights in common. A fork of the process may not.

    Args:
        bundle: the bundle or its path. Its hashes are compared meanwhile; call ``bundle.verify()`` before you keep
            what was made.
        threads: for arithmetic; by default one per core, for the LM only as many as its size gives work to. Their
            number changes no code.
        precision: of the LM's products, one of ``bundle.precisions``; by default the bundle's own choice.
        backend: ``onnx``, or ``torch`` for a GPU.
        device: where ``torch`` computes; by default a GPU if there is one.
        max_batch: clips that are sampled together.
    """

    def __init__(self, bundle: Bundle | str | Path, threads: int | None = None, precision: str | None = None,
                 backend: str = "onnx", device: str | None = None, max_batch: int = MAX_BATCH):
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        self.spec, self.lm_spec = self.bundle.spec, self.bundle.lm_spec
        self.threads = threads or physical_cores()
        self._process = os.getpid()
        self.max_batch = max_batch
        if backend not in BACKENDS:
            raise UserError(f"the backend is one of {', '.join(BACKENDS)}, got {backend}")
        if backend == "torch":
            from audiocraft_ext.engine.torch import loop

            self.bundle.start_check(*self.bundle.lm_files("fp32"))
            self.max_batch = min(max_batch, loop.ROWS)  # what it computes at once, whatever it is asked for
            self.stepper = loop.load(self.bundle, device, precision)
            self.precision, self.overlaps = self.stepper.precision, True
        else:
            if device is not None:
                raise UserError(f"--device {device} is for the backend torch; the backend onnx runs on the CPU")
            self.precision = self.bundle.check_precision(precision)
            self.stepper = self._onnx_stepper(threads)
        self._free: deque[Stepper] = deque([self.stepper])

    @contextmanager
    def own_stepper(self) -> Iterator[Stepper]:
        """A stepper that is nobody else's until the end: one that is free, or another over the same weights.

        Raises:
            UserError: this is a fork of the process that opened the engine.
        """
        self.check_process()
        try:
            stepper = self._free.pop()
        except IndexError:
            stepper = self.stepper.another()
        try:
            yield stepper
        finally:
            self._free.append(stepper)

    def check_process(self) -> None:
        """Raise a :class:`UserError` in a fork: ONNX Runtime's threads are not there, it would wait for them."""
        if os.getpid() != self._process:
            raise UserError(f"{self.bundle.path}: the engine was opened in process {self._process} and this is a fork "
                            f"of it, process {os.getpid()}; open it here, or start processes by 'spawn'")

    def _onnx_stepper(self, threads: int | None) -> OnnxStepper:
        self.bundle.start_check(*self.bundle.lm_files(self.precision))
        useful = max(1, self.bundle.lm.weights_per_step() // WEIGHTS_PER_THREAD)
        spare = 1 if self.threads > 3 else 0  # of two cores none: the steps lose more than the decoder gains
        lm_threads = threads or min(self.threads - spare, useful)
        self.overlaps = lm_threads < self.threads
        graph = self.bundle.file(self.bundle.lm_files(self.precision)[0])
        return OnnxStepper(self._open(graph, lm_threads), self.bundle.lm, least=2 if self.precision == "int4" else 1)

    def _open(self, graph: Path, threads: int) -> ort.InferenceSession:
        try:
            return open_session(graph, threads)
        except UserError:
            self.bundle.verify()  # that a file was altered says more than what ONNX Runtime makes of it
            raise

    def batches(self, indices: Sequence[int], frames: int, rows: int = 1) -> list[list[int]]:
        """``indices`` cut into batches that fit into the memory meant for the cache; ``rows`` of it for each clip."""
        steps = steps_of(min(frames, self.bundle.restart or frames), self.spec.delays)
        size = max(1, min(self.max_batch, CACHE_BYTES // self.stepper.cache_bytes(steps)) // rows)
        return [list(indices[i : i + size]) for i in range(0, len(indices), size)]

    def stream(self, indices: Sequence[int], frames: int, *, seed: int, sampling: Sampling | None = None,
               given: np.ndarray | None = None, progress: Progress | None = None, guide: Guide | None = None,
               window: int | None = None, controls: np.ndarray | None = None,
               order: Order | None = None) -> Iterator[np.ndarray]:
        """Sample one batch and hand out the frames as they come, ``codes int64 [B, K, t]``; as
        :func:`audiocraft_ext.engine.sampler.stream`. By default the bundle's own sampling.

        Args:
            guide: how closely the prompt is followed (classifier-free guidance); None: as the model does by itself.
            window: the context in frames, at most the bundle's, which is the default; a model with a window of its own
                takes no other.
            controls: ``[C, T0]``, of the LM's controls; by default, and behind T0, nothing is known.
            order: what frames are to be in; None: any.
        """
        sampling = (sampling or self.bundle.sampling).clamped(self.spec.card)[0]
        sampling.check(self.spec.n_q)
        if frames < 1:
            raise UserError(f"a clip has at least 1 frame, got {frames}")
        self.check_process()
        if self.lm_spec.controls:
            given = with_controls(given, controls, len(indices), self.lm_spec, frames)
        sampling = sampling.widened(self.lm_spec.n_q)
        return self._stream((guide, order), indices, frames, seed=seed, sampling=sampling, given=given,
                            window=self.bundle.restart and (window or self.bundle.restart), progress=progress)

    def _stream(self, around: Iterable[Guide | Order | None], indices: Sequence[int], frames: int,
                **how) -> Iterator[np.ndarray]:
        with self.own_stepper() as stepper:
            for one in around:
                stepper = stepper if one is None else one.around(stepper, self.lm_spec)
            for piece in sampler.stream(stepper, self.lm_spec, indices, frames, **how):
                yield piece[:, : self.spec.n_q]

    def generate(self, clips: int | Sequence[int], frames: int, *, seed: int, sampling: Sampling | None = None,
                 given: np.ndarray | None = None, progress: Progress | None = None, guide: Guide | None = None,
                 controls: np.ndarray | None = None) -> np.ndarray:
        """Sample clips, in as many batches as it takes.

        Args:
            clips: how many (their indices are 0, 1, ...), or the index of each.
            The others as in :meth:`stream`.

        Returns:
            ``codes int64 [B, K, T]``, every one in ``[0, card)``.
        """
        indices = list(range(clips)) if isinstance(clips, int) else list(clips)
        if not indices:
            raise UserError("expected at least 1 clip, got 0")
        if given is not None:
            given = check_given(given, len(indices), self.spec, frames)
        batches, out = self._alike(self.batches(indices, frames, 1 if guide is None else 2), given, frames), []
        for number, (begin, batch) in enumerate(batches):
            def report(done: int, total: int, number: int = number) -> None:
                if progress is not None:
                    progress(number * total + done, len(batches) * total)

            part = None if given is None else given[begin : begin + len(batch)]
            pieces = self.stream(batch, frames, seed=seed, sampling=sampling, given=part, progress=report, guide=guide,
                                 controls=controls)
            out.append(np.concatenate(list(pieces), axis=-1))
        return np.concatenate(out)

    def _alike(self, batches: list[list[int]], given: np.ndarray | None, frames: int) -> list[tuple[int, list[int]]]:
        """Batches with where they begin, cut so that all clips of one have the same first unknown step."""
        if given is None:
            first = np.zeros(sum(map(len, batches)))
        else:
            rest = ((0, 0), (0, 0), (0, frames - given.shape[-1]))
            first = sampler.first_unknown(np.pad(given, rest, constant_values=UNKNOWN), self.spec.delays)
        out, at = [], 0
        for batch in batches:
            cuts = np.flatnonzero(np.diff(first[at : at + len(batch)])) + 1
            out += [(at + begin, batch[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(batch)])]
            at += len(batch)
        return out

    def score(self, codes: np.ndarray, first: int) -> np.ndarray:
        """How likely the codes are under the model: ``float64 [B]``, the mean log-probability (nats a code) of the
        frames from ``first`` on of ``codes [B, K, T]``, each given all before it. Only the last frames count,
        as many as the model's context holds (all, where the model has a window of its own)."""
        cut = max(0, codes.shape[-1] - (self.bundle.restart or codes.shape[-1]))
        codes, first = np.asarray(codes, np.int64)[..., cut:], max(0, first - cut)
        T, spec = codes.shape[2], self.lm_spec
        if not 0 <= first < T:
            raise UserError(f"expected frames to score, got {T} frames and a first of {first}")
        codes = np.pad(codes, ((0, 0), (0, spec.controls), (0, 0)))
        B = len(codes)
        sequence = delay(codes, spec.delays, spec.special_id)  # [B, K, S]
        counts = valid_mask(T, spec.delays)  # [K, S]
        for k, d in enumerate(spec.delays):
            counts[k, : first + d + 1] = False
        counts[self.spec.n_q :] = False
        targets = np.where(counts, sequence, 0)
        S, sums = sequence.shape[-1], np.zeros(B)
        with self.own_stepper() as stepper:
            stepper.start(B, S)
            for s in range(0, S - 1, PREFILL):
                logits = stepper.logits(sequence[..., s : min(s + PREFILL, S - 1)])
                logits = logits.transpose(0, 2, 1, 3)  # [B, K, s, card]
                span = slice(s + 1, s + 1 + logits.shape[2])
                if counts[:, span].any():
                    sums += (_log_probability(logits, targets[..., span]) * counts[:, span]).sum(axis=(1, 2))
        return sums / counts.sum()


def _log_probability(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of ``targets [...]`` under ``logits [..., card]``."""
    top = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
    return np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - total
