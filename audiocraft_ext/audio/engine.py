"""The engine of sound: codes to sound and back, beside the sampling where cores are free, in ONNX Runtime.

    encoder.onnx  front.onnx  back.onnx    a bundle's graphs of the codec, a few KB each
    codec.safetensors                      its weights, once; the graphs point into them

The decoder is in :mod:`audiocraft_ext.audio.codec.decoder`, on a GPU in
:mod:`audiocraft_ext.audio.codec.torch_decoder`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from audiocraft_ext.audio.codec import decoder
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.onnx import OnnxStepper

CODEC_TYPES = ("encodec", "spectral")  # ``type`` of the codec in model.json; none: it is the first
CODEC_FILES = ("encoder.onnx", "front.onnx", "back.onnx", "codec.safetensors")


class SoundBundle(Bundle):
    """A bundle with a codec of sound in it.

    Attributes:
        sample_rate: in Hz.

    Raises:
        UserError: as :class:`Bundle`, or there is no such codec in it.
    """

    def __init__(self, path: str | Path, old: bool = False):
        super().__init__(path, old)
        codec = self.codec_config
        if codec is None or self.spec.kind != "audio":
            raise UserError(f"{self.path}: this bundle has no audio codec, its codes are {self.spec.kind}; "
                            "Engine.generate samples them")
        if (found := codec.get("type", CODEC_TYPES[0])) not in CODEC_TYPES:
            raise UserError(f"{self.path}: expected a codec of the type {' or '.join(CODEC_TYPES)}, got {found!r}; was "
                            "it made by a newer version?")
        try:
            self.sample_rate = int(codec["sample_rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path}/model.json: not a bundle's model.json ({error!r}); export it again") from None
        self.check_listed(("codec.safetensors",) if old else CODEC_FILES)

    @property
    def hop_length(self) -> int:
        """Samples of sound for a frame of codes."""
        return round(self.sample_rate / self.spec.frame_rate)


class SoundEngine(Engine):
    """A bundle, ready to make sound: a function of the codes alone, with however many threads.

    Args:
        bundle: the bundle or its path.
        how: as for :class:`~audiocraft_ext.engine.engine.Engine`.
    """

    bundle: SoundBundle

    def __init__(self, bundle: SoundBundle | str | Path, *args: Any, **how: Any):
        self._lock = threading.RLock()  # around what is loaded when it is first needed
        self._sessions: dict[str, Future[ort.InferenceSession]] = {}
        super().__init__(bundle if isinstance(bundle, SoundBundle) else SoundBundle(bundle), *args, **how)

    def _onnx_stepper(self, threads: int | None) -> OnnxStepper:
        """The codec's graphs load beside the LM: later they would hold up the sampling."""
        self._load("back.onnx"), self._load("front.onnx")
        return super()._onnx_stepper(threads)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads)

    @property
    def _gpu_decoder(self):
        """Where the LM is sampled on a GPU; else None."""
        with self._lock:
            return self._found_gpu_decoder

    @cached_property
    def _found_gpu_decoder(self):
        device = getattr(self.stepper, "device", None)
        if device is None or device.type != "cuda":
            return None
        from audiocraft_ext.audio.codec import torch_decoder

        self.bundle.start_check("codec.safetensors")
        return torch_decoder.load(self.bundle, device)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """``codes [B, K, T]`` to ``wav float32 [B, 1, N]``, N = T * hop length."""
        if self._gpu_decoder is not None:
            return self._gpu_decoder.decode(codes)
        decoding = self.decoding(len(codes))
        decoding.push(np.asarray(codes, np.int64), last=True)
        return decoding.wav()

    def decoding(self, batch: int) -> Decoding:
        """To decode ``batch`` clips while they are made."""
        self.check_process()
        return Decoding(self._load("front.onnx"), self._load("back.onnx"), self._pool, batch, 2 * self.threads)

    def play(self, indices: Sequence[int], frames: int, **how) -> tuple[np.ndarray, np.ndarray]:
        """Sample one batch as :meth:`stream` and decode it, meanwhile where cores are free for that.

        Returns:
            ``codes int64 [B, K, T]`` and ``wav float32 [B, 1, N]``.
        """
        if self._gpu_decoder is not None:
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

    def encode(self, wav: np.ndarray) -> np.ndarray:
        """``wav float32 [B, 1, N]`` at the bundle's sample rate to ``codes int64 [B, K, T]``; the last frame is filled
        up with silence.

        Sound of more than 14 s is encoded in pieces of 10 s with 2 s of context on either side: with EnCodec memory
        would grow by 36 MB a second. What the LSTM has lost by then is at -86 dB, so a few codes may differ.
        """
        if wav.ndim != 3 or wav.shape[1] != 1 or wav.shape[2] == 0:
            raise UserError(f"expected mono sound [B, 1, N] with N > 0, got {list(wav.shape)}")
        encoder, hop = self.session("encoder.onnx"), self.bundle.hop_length
        wav = np.pad(wav.astype(np.float32, copy=False), ((0, 0), (0, 0), (0, -wav.shape[2] % hop)))
        return np.concatenate([_encoded(encoder, row[None], hop, round(self.spec.frame_rate)) for row in wav])

    def session(self, name: str) -> ort.InferenceSession:
        """The codec's ``encoder.onnx``, ``front.onnx`` or ``back.onnx``, loaded when it is first needed. One thread
        each: pieces are decoded beside each other instead, so the number of threads changes no bit."""
        self.check_process()
        return self._load(name).result()

    def _load(self, name: str) -> Future[ort.InferenceSession]:
        with self._lock:
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
