"""The engine: a bundle to codes, and codes to sound (level 1: ONNX Runtime; torch only where it is asked for).

The loop is in :mod:`audiocraft_ext.sampler`, the LM's step in :mod:`audiocraft_ext.engine_onnx` (on a GPU
:mod:`audiocraft_ext.engine_torch`), the decoder in :mod:`audiocraft_ext.decoder`. What is here puts them together.

A clip is a function of (bundle, seed, index, settings), bit for bit, whatever is made beside it and with however many
threads. The settings include the precision. Bitwise equality ends at the machine: another processor, version of ONNX
Runtime or backend may add up in another order. (For the backend torch see there: a GPU keeps the law for batches of up
to ten, a CPU in fp32.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort

from audiocraft_ext import decoder, sampler
from audiocraft_ext.bundle import Bundle
from audiocraft_ext.delay import delay, steps_of, valid_mask
from audiocraft_ext.engine_onnx import OnnxStepper, open_session
from audiocraft_ext.errors import UserError
from audiocraft_ext.guidance import Guide
from audiocraft_ext.machine import physical_cores
from audiocraft_ext.sampler import PREFILL, UNKNOWN, Progress, check_given
from audiocraft_ext.sampling import Sampling

MAX_BATCH = 10
CACHE_BYTES = 1 << 30  # for one batch
WEIGHTS_PER_THREAD = 2_000_000  # fewer are read faster than two threads wait for each other
BACKENDS = ("onnx", "torch")


class Engine:
    """A bundle, ready to play.

    Args:
        bundle: the bundle or its path. Its hashes are compared meanwhile; call ``bundle.verify()`` before you keep
            what was made.
        threads: for arithmetic; by default one per core, for the LM only as many as its size gives work to. Their
            number changes neither codes nor sound.
        precision: of the LM's products, one of ``bundle.precisions``; by default the bundle's own choice.
        backend: ``onnx``, or ``torch`` for a GPU.
        device: where ``torch`` computes; by default a GPU if there is one.
        max_batch: clips that are sampled together.
    """

    def __init__(self, bundle: Bundle | str | Path, threads: int | None = None, precision: str | None = None,
                 backend: str = "onnx", device: str | None = None, max_batch: int = MAX_BATCH):
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        self.spec = self.bundle.spec
        self.threads = threads or physical_cores()
        self.max_batch = max_batch
        self._on_gpu, self._decoder = False, None
        self._sessions: dict[str, Future[ort.InferenceSession]] = {}
        self._pool = ThreadPoolExecutor(self.threads)
        if backend not in BACKENDS:
            raise UserError(f"the backend is one of {', '.join(BACKENDS)}, got {backend}")
        if backend == "torch":
            from audiocraft_ext import engine_torch

            self.bundle.start_check(*self.bundle.lm_files("fp32"))
            self.max_batch = min(max_batch, engine_torch.ROWS)  # what it computes at once, whatever it is asked for
            self.stepper = engine_torch.load(self.bundle, device, precision)
            self.precision, self.overlaps = self.stepper.precision, True
            self._on_gpu = self.stepper.device.type == "cuda" and self.bundle.has_codec
        else:
            if device is not None:
                raise UserError(f"--device {device} is for the backend torch; the backend onnx runs on the CPU")
            self.precision = self.bundle.check_precision(precision)
            if self.bundle.has_codec:  # beside the LM: later it would hold up the sampling
                self._load("back.onnx"), self._load("front.onnx")
            self.stepper = self._onnx_stepper(threads)

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
        steps = steps_of(min(frames, self.bundle.context), self.spec.delays)
        size = max(1, min(self.max_batch, CACHE_BYTES // self.stepper.cache_bytes(steps)) // rows)
        return [list(indices[i : i + size]) for i in range(0, len(indices), size)]

    def stream(self, indices: Sequence[int], frames: int, *, seed: int, sampling: Sampling | None = None,
               given: np.ndarray | None = None, progress: Progress | None = None,
               guide: Guide | None = None, window: int | None = None) -> Iterator[np.ndarray]:
        """Sample one batch and hand out the frames as they come, ``codes int64 [B, K, t]``; as
        :func:`audiocraft_ext.sampler.stream`. By default the bundle's own sampling.

        Args:
            guide: how much more the prompt is heeded than by the model itself.
            window: frames heard at once, at most the bundle's context, which it is by default.
        """
        sampling = (sampling or self.bundle.sampling).clamped(self.spec.card)[0]
        sampling.check(self.spec.n_q)
        if frames < 1:
            raise UserError(f"a clip has at least 1 frame, got {frames}")
        stepper = self.stepper if guide is None else guide.around(self.stepper, self.spec)
        return sampler.stream(stepper, self.spec, indices, frames, seed=seed, sampling=sampling, given=given,
                              window=window or self.bundle.context, progress=progress)

    def generate(self, clips: int | Sequence[int], frames: int, *, seed: int, sampling: Sampling | None = None,
                 given: np.ndarray | None = None, progress: Progress | None = None,
                 guide: Guide | None = None) -> np.ndarray:
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
            pieces = self.stream(batch, frames, seed=seed, sampling=sampling, given=part, progress=report, guide=guide)
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
        """How likely the model holds what is there: ``float64 [B]``, the mean log-probability (nats a code) of the
        frames from ``first`` on of ``codes [B, K, T]``, each knowing what is before it. Only the last frames that the
        model can hear at once count."""
        cut = max(0, codes.shape[-1] - self.bundle.context)
        codes, first = np.asarray(codes, np.int64)[..., cut:], max(0, first - cut)
        B, K, T = codes.shape
        if not 0 <= first < T:
            raise UserError(f"expected frames to score, got {T} frames and a first of {first}")
        sequence = delay(codes, self.spec.delays, self.spec.special_id)  # [B, K, S]
        counts = valid_mask(T, self.spec.delays)  # [K, S]
        for k, d in enumerate(self.spec.delays):
            counts[k, : first + d + 1] = False
        targets = np.where(counts, sequence, 0)
        S, sums = sequence.shape[-1], np.zeros(B)
        self.stepper.start(B, S)
        for s in range(0, S - 1, PREFILL):
            logits = self.stepper.logits(sequence[..., s : min(s + PREFILL, S - 1)])
            logits = logits.transpose(0, 2, 1, 3)  # [B, K, s, card]
            span = slice(s + 1, s + 1 + logits.shape[2])
            if counts[:, span].any():
                sums += (_log_probability(logits, targets[..., span]) * counts[:, span]).sum(axis=(1, 2))
        return sums / counts.sum()

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """``codes [B, K, T]`` to ``wav float32 [B, 1, N]``, N = T * hop length."""
        if self._on_gpu:
            return self._gpu_decoder().decode(codes)
        decoding = self.decoding(len(codes))
        decoding.push(np.asarray(codes, np.int64), last=True)
        return decoding.wav()

    def decoding(self, batch: int) -> Decoding:
        """To decode ``batch`` clips while they are made."""
        return Decoding(self._load("front.onnx"), self._load("back.onnx"), self._pool, batch, 2 * self.threads)

    def play(self, indices: Sequence[int], frames: int, **how) -> tuple[np.ndarray, np.ndarray]:
        """Sample one batch as :meth:`stream` and decode it, meanwhile where cores are free for that.

        Returns:
            ``codes int64 [B, K, T]`` and ``wav float32 [B, 1, N]``.
        """
        if self._on_gpu:
            codes = np.concatenate(list(self.stream(indices, frames, **how)), axis=-1)
            return codes, self.decode(codes)
        decoding, pieces, waiting = self.decoding(len(indices)), [], 0
        for piece in self.stream(indices, frames, **how):
            pieces.append(piece)
            if self.overlaps and len(pieces) - waiting >= decoder.PIECE:
                decoding.push(np.concatenate(pieces[waiting:], axis=-1))
                waiting = len(pieces)
        codes = np.concatenate(pieces, axis=-1)
        decoding.push(np.concatenate([codes[..., :0], *pieces[waiting:]], axis=-1), last=True)
        return codes, decoding.wav()

    def _gpu_decoder(self):
        if self._decoder is None:
            from audiocraft_ext import decoder_torch

            self.bundle.start_check("codec.safetensors")
            self._decoder = decoder_torch.load(self.bundle, self.stepper.device)
        return self._decoder

    def encode(self, wav: np.ndarray) -> np.ndarray:
        """``wav float32 [B, 1, N]`` at the bundle's sample rate to ``codes int64 [B, K, T]``; the last frame is filled
        up with silence.

        Longer than 14 s it is done in pieces of 10 s that hear 2 s to either side: memory would grow by 36 MB a second
        with EnCodec. What the LSTM forgot by then is -86 dB, so a code may differ here and there.
        """
        if wav.ndim != 3 or wav.shape[1] != 1 or wav.shape[2] == 0:
            raise UserError(f"expected mono sound [B, 1, N] with N > 0, got {list(wav.shape)}")
        encoder, hop = self.session("encoder.onnx"), self.bundle.hop_length
        wav = np.pad(wav.astype(np.float32, copy=False), ((0, 0), (0, 0), (0, -wav.shape[2] % hop)))
        return np.concatenate([_encoded(encoder, row[None], hop, round(self.spec.frame_rate)) for row in wav])

    def session(self, name: str) -> ort.InferenceSession:
        """The codec's ``encoder.onnx``, ``front.onnx`` or ``back.onnx``, loaded when it is first needed. One thread
        each: pieces are decoded beside each other instead, so the number of threads changes no bit."""
        return self._load(name).result()

    def _load(self, name: str) -> Future[ort.InferenceSession]:
        if not self.bundle.has_codec:
            raise UserError(f"{self.bundle.path}: this bundle has no audio codec, its codes are {self.spec.kind}")
        if name not in self._sessions:
            self.bundle.start_check(name, "codec.safetensors")
            self._sessions[name] = self._pool.submit(self._open, self.bundle.file(name), 1)
        return self._sessions[name]


def _encoded(encoder: ort.InferenceSession, wav: np.ndarray, hop: int, second: int) -> np.ndarray:
    """``wav [1, 1, N]`` to ``codes [1, K, T]``; ``second`` is one in frames."""
    T, piece, around = wav.shape[2] // hop, 10 * second, 2 * second
    if T <= piece + 2 * around:
        return encoder.run(None, {"wav": wav})[0]
    out = []
    for begin in range(0, T, piece):
        left, right = max(0, begin - around), min(T, begin + piece + around)
        codes = encoder.run(None, {"wav": np.ascontiguousarray(wav[..., left * hop : right * hop])})[0]
        out.append(codes[..., begin - left : begin - left + piece])
    return np.concatenate(out, axis=2)


class Decoding:
    """Clips that are decoded in a pool of threads, their pieces beside each other.

    Args:
        front, back: the sessions, which may still be loading.
        most: how many pieces may wait, so that memory does not grow with the clip.
    """

    def __init__(self, front: Future[ort.InferenceSession], back: Future[ort.InferenceSession],
                 pool: ThreadPoolExecutor, batch: int, most: int):
        self._loading, self._pool, self._most = (front, back), pool, most
        self._front: decoder.Front | None = None
        self._waiting: deque[Future[np.ndarray]] = deque()
        self._wavs: list[list[np.ndarray]] = [[] for _ in range(batch)]
        self._next = 0  # the row that the first of those waiting belongs to

    def push(self, codes: np.ndarray, last: bool = False) -> None:
        """More codes ``[B, K, t]``."""
        front, back = (loading.result() for loading in self._loading)
        self._front = self._front or decoder.Front(front, len(self._wavs))
        for piece in self._front.push(codes, last):
            for row in range(len(self._wavs)):
                self._waiting.append(self._pool.submit(decoder.sound, back, piece, row))
                while len(self._waiting) > self._most:
                    self._take()

    def ready(self) -> np.ndarray:
        """The sound that has been decoded since the last call, ``float32 [B, n]``; waits for what was pushed."""
        while self._waiting:
            self._take()
        out = np.empty((len(self._wavs), sum(map(len, self._wavs[0]))), np.float32)
        for row, wavs in zip(out, self._wavs):
            at = 0
            for wav in wavs:
                row[at : at + len(wav)] = wav
                at += len(wav)
            wavs.clear()
        return out

    def wav(self) -> np.ndarray:
        """All of it, ``float32 [B, 1, N]``."""
        return self.ready()[:, None]

    def _take(self) -> None:
        self._wavs[self._next].append(self._waiting.popleft().result())
        self._next = (self._next + 1) % len(self._wavs)


def _log_probability(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of ``targets [...]`` under ``logits [..., card]``."""
    top = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
    return np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - total
