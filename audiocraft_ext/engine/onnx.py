"""The LM's step in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.config import LMConfig


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # What is only needed while weights are packed goes back to the system, instead of into a pool.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes; which one depends on where it finds the fault
        raise UserError(f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0][:200]})") from None


FEW = 4  # steps


class OnnxStepper:
    """A :class:`~audiocraft_ext.engine.sampler.Stepper`. Every buffer is made once for a batch; the cache is written in
    place.

    Many steps at once are read clip by clip (ONNX Runtime's attention takes only one clip then), so what is known of a
    clip goes into its cache in the same bits whatever is beside it. A few are read one by one, as they are sampled.

    Args:
        lm: the sizes.
        least: rows of every single step; where there are fewer clips, idle ones beside them. On AVX2 ``MatMulNBits``
            adds up a single row in another order than rows among others.
    """

    def __init__(self, session: ort.InferenceSession, lm: LMConfig, least: int = 1):
        self.session, self._least = session, least
        self.lm = lm
        self._shape: list[int] = []
        self._cache: list[np.ndarray] = []  # of each layer keys and values, or both in one: [B, heads, capacity, size]
        self._calls: dict[int | None, _Call] = {}  # of one clip, or of all (None)

    def another(self) -> OnnxStepper:
        """One with a state of its own over the same session, which threads may share."""
        return OnnxStepper(self.session, self.lm, self._least)

    def cache_bytes(self, capacity: int) -> int:
        """Memory of one clip's cache."""
        return self.lm.cache_bytes(capacity)

    def start(self, batch: int, capacity: int) -> None:
        self.length = 0
        self._batch = batch
        layers, parts, *shape = self.lm.cache_shape(max(batch, self._least), capacity)
        if self._shape == shape:
            return  # what lies behind `length` is never read
        self._calls.clear()
        self._cache.clear()  # before the new one is made
        self._shape, self._cache = shape, [np.zeros(shape, np.float32) for _ in range(parts * layers)]

    def step(self, sequence: np.ndarray) -> np.ndarray:
        return self.logits(sequence)[:, -1]  # [B, K, card]

    def logits(self, sequence: np.ndarray) -> np.ndarray:
        """As :meth:`step`, but all of them: ``logits float32 [B, S, K, card]``, row s of the step after s."""
        B, _, S = sequence.shape
        assert self._shape and self._batch == B, "step before start"
        if 1 < S <= FEW:
            return np.concatenate([self.logits(sequence[..., s : s + 1]).copy() for s in range(S)], axis=1)
        if S == 1:
            idle = np.repeat(sequence[:1], self._shape[0] - B, axis=0)
            out = self._call(None)(np.concatenate([sequence, idle]) if len(idle) else sequence, self.length)[:B]
        else:
            out = np.concatenate([self._call(row)(sequence[row : row + 1], self.length) for row in range(B)])
        self.length += S
        return out

    def _call(self, row: int | None) -> _Call:
        if row not in self._calls:
            rows = slice(None) if row is None else slice(row, row + 1)
            self._calls[row] = _Call(self, [part[rows] for part in self._cache])
        return self._calls[row]


class _Call:
    """The session bound to some clips' cache and to buffers that numpy and ONNX Runtime share."""

    def __init__(self, stepper: OnnxStepper, cache: list[np.ndarray]):
        self._sizes = stepper.lm.n_q, stepper.lm.card
        self._session, self._binding = stepper.session, stepper.session.io_binding()
        self._buffers: dict[str, tuple[np.ndarray, ort.OrtValue]] = {}
        parts = len(cache) // stepper.lm.num_layers
        for name in (x.name for x in (*self._session.get_inputs(), *self._session.get_outputs())):
            when, _, which = name.partition("_")
            if when in ("past", "present"):
                kind, layer = which.split(".")
                value = self._share(name, cache[parts * int(layer) + (kind == "value") * (parts - 1)])
                bind = self._binding.bind_ortvalue_input if when == "past" else self._binding.bind_ortvalue_output
                bind(name, value)
        self._input("seqlens_k", (len(cache[0]),), np.int32)
        self._input("total_sequence_length", (1,), np.int32)

    def __call__(self, sequence: np.ndarray, length: int) -> np.ndarray:
        """``sequence [B, K, S]`` after ``length`` steps; returns ``logits [B, S, K, card]``, until the next call."""
        B, _, S = sequence.shape
        if "codes" not in self._buffers or self._buffers["codes"][0].shape != sequence.shape:
            self._input("codes", sequence.shape, np.int64)
            self._input("positions", (S,), np.int64)
            logits = self._share("logits", np.zeros((B, S, *self._sizes), np.float32))
            self._binding.bind_ortvalue_output("logits", logits)
        self._array("codes")[:] = sequence
        self._array("positions")[:] = np.arange(length, length + S)
        self._array("seqlens_k")[:] = length + S - 1
        self._array("total_sequence_length")[:] = length + S
        self._session.run_with_iobinding(self._binding)
        return self._array("logits")

    def _input(self, name: str, shape: tuple, dtype: type) -> None:
        self._binding.bind_ortvalue_input(name, self._share(name, np.zeros(shape, dtype)))

    def _share(self, name: str, array: np.ndarray) -> ort.OrtValue:
        """A buffer that numpy writes and ONNX Runtime reads, or the other way round, without a copy."""
        self._buffers[name] = array, ort.OrtValue.ortvalue_from_numpy(array)
        return self._buffers[name][1]

    def _array(self, name: str) -> np.ndarray:
        return self._buffers[name][0]
