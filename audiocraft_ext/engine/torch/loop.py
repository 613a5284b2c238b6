"""The LM in plain torch: for a model in training, and a whole loop for a GPU.

:class:`TorchStepper` runs an :class:`~audiocraft_ext.model.lm.LM` on the device it is on, one step at a call.
:class:`TorchLoop` has the loop itself on the device: cache, sequence, uniforms and sampling lie there, one step is a
CUDA graph, which the host replays. A step of a small LM is some fifty kernels of a few microseconds each;
launched one by one from Python they would take several times as long as they run.

**One seed, one clip.** On a GPU the product of a matrix with another number of rows is another kernel, which adds up
in another order; in bf16 that soon changes a code. So the loop always has :data:`ROWS` rows there, and those without a
clip run idle: a step reads all weights in any case, and that is most of its time. Then nothing that is computed depends
on how many clips there are, up to ``ROWS``; more have a multiple of ``ROWS`` rows, and are other clips. Bitwise
equality also ends at the device, its libraries and the precision.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gates
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.sampler import SOME
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.sampling import TorchSampler
from audiocraft_ext.engine.torch.static_lm import StaticLM, span_of
from audiocraft_ext.model.blocks import AT_ONCE
from audiocraft_ext.model.lm import LM, Cache
from audiocraft_ext.model.weights import differing, read_safetensors

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PREFILL = 256  # steps of a prompt read at once: attention over them stays in a few tens of MB
CHUNK = 32  # steps between two reads by the host: 0.64 s of sound at 50 Hz, for streaming
ROWS = 10  # of every product on a GPU; as many clips as the engine makes together
CAPTURING = threading.Lock()  # a capture begins by waiting for the device, which ends another one
WARM_UP = 3  # steps done kernel by kernel before their like is captured: libraries make their handles and plans


class TorchStepper:
    """A :class:`~audiocraft_ext.engine.sampler.Stepper` over an :class:`~audiocraft_ext.model.lm.LM` in eval mode."""

    def __init__(self, model: LM):
        self.model = model
        self._cache: Cache | None = None

    def another(self) -> TorchStepper:
        """One with a cache of its own over the same weights."""
        return TorchStepper(self.model)

    def cache_bytes(self, capacity: int) -> int:
        """Memory of one clip's cache."""
        return self.model.cfg.cache_bytes(capacity, self.model.emb[0].weight.element_size())

    def start(self, batch: int, capacity: int) -> None:
        self._cache = Cache(self.model.cfg, batch, capacity, like=self.model.emb[0].weight)

    def step(self, sequence: np.ndarray) -> np.ndarray:
        return self.logits(sequence)[:, -1]  # [B, K, card]

    @torch.inference_mode()
    def logits(self, sequence: np.ndarray) -> np.ndarray:
        """As ``step``, of every step: ``float32 [B, S, K, card]``."""
        assert self._cache is not None, "step before start"
        codes = torch.from_numpy(np.ascontiguousarray(sequence)).to(self._cache.data.device)
        return self.model(codes, self._cache).transpose(1, 2).float().cpu().numpy()


class TorchLoop:
    """The whole loop on one device.

    A :class:`~audiocraft_ext.engine.sampler.LoopStepper`: sampling calls :meth:`run`; scoring and guidance, which need
    logits, call :meth:`step` and :meth:`logits`.

    Args:
        model: an LM, which may be dropped afterwards.
        device, precision: see :func:`load`.
        capture: run steps as CUDA graphs; by default wherever there are any.
        rows: clips run in a multiple of so many; by default ``ROWS`` on a GPU, and on a CPU, where idle rows would
            take their time, just as many as there are.
    """

    def __init__(self, model: LM, device: str | torch.device | None = None, precision: str | None = None,
                 capture: bool | None = None, rows: int | None = None):
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.capture = self.device.type == "cuda" if capture is None else capture
        self.rows = rows or (ROWS if self.device.type == "cuda" else 1)
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        with torch.inference_mode(), self._on_device("the model does not fit; use a GPU with more memory, or the CPU"):
            self.lm = StaticLM(model, self.device, PRECISIONS[self.precision])
        self._start_anew()

    def another(self) -> TorchLoop:
        """One with buffers, graphs and a stream of its own over the same weights."""
        other = copy.copy(self)
        other.lm = copy.copy(self.lm)
        other._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        other._start_anew()
        return other

    def _start_anew(self) -> None:
        self.lm.cache = None
        self._room = (0, 0)  # rows, steps
        self._gates, self._levels, self._some = Gates((), (), 0), [], False
        self._forget_graphs()

    def cache_bytes(self, capacity: int) -> int:
        """Memory of one clip's cache."""
        return self.lm.cfg.cache_bytes(span_of(capacity), self.lm.dtype.itemsize)

    def start(self, batch: int, capacity: int) -> None:
        """Forget what was; make room for ``capacity`` steps of ``batch`` clips."""
        self._begin(batch, capacity)
        self._length = 0

    def step(self, sequence: np.ndarray) -> np.ndarray:
        """The next steps ``[B, K, S]``; returns ``logits float32 [B, K, card]`` of the step that follows the last."""
        at, self._length = self._length, self._length + sequence.shape[-1]
        return self._read(sequence, at, heads=slice(-1, None))[:, -1]

    def logits(self, sequence: np.ndarray) -> np.ndarray:
        """As :meth:`step`, of every step: ``float32 [B, S, K, card]``."""
        at, self._length = self._length, self._length + sequence.shape[-1]
        return self._read(sequence, at, heads=slice(None))

    def run(self, sequence: np.ndarray, uniforms: np.ndarray, first: int, sampling: Sampling,
            gates: Gates | None = None) -> Iterator[int]:
        """Fill in the unknown codes, a chunk of steps at a time.

        Args:
            sequence: ``int64 [B, K, S]``, delayed; below 0 where a code is to be drawn (``UNKNOWN``, ``SOME``), none
                before ``first``. Filled in place.
            uniforms: ``float64 [B, S, K]``.
            first: the first step with an unknown code, 1 or later.

        Yields:
            The number of the last step that is filled, after each chunk.

        Raises:
            UserError: a bad setting, a device without enough memory, or a model whose output is not finite.
        """
        B, K, S = sequence.shape
        assert first >= 1 and uniforms.shape == (B, S, K), f"first {first}, uniforms {list(uniforms.shape)}"
        assert (sequence[..., :first] >= 0).all(), "an unknown code before the first step with one"
        self._begin(B, S)
        many = PREFILL if self.lm.cfg.window is None else AT_ONCE
        for s in range(0, first - 1, many):
            self._read(sequence[..., s : min(s + many, first - 1)], s)
        self._set_what_is_asked(gates, bool((sequence == SOME).any()))
        self._upload(sequence, uniforms, first, sampling)
        for s in range(first, S, CHUNK):
            end = min(s + CHUNK, S)
            sequence[..., s:end] = self._fill(s, end)[:B]
            yield end - 1

    @torch.inference_mode()
    def _begin(self, batch: int, capacity: int) -> None:
        with self._on_device("no room for the cache of clips as long as this; make shorter ones, or use the CPU"):
            batch = -(-batch // self.rows) * self.rows
            if self._room[0] != batch or self._room[1] < capacity:
                self._forget_graphs()  # they know the old buffers
                self._room = (0, 0)
                self.lm.cache = None
                room, K = span_of(capacity), self.lm.cfg.n_q
                self.lm.make_room(batch, room)
                self._sequence = torch.zeros(batch, K, room, dtype=torch.int64, device=self.device)
                self._uniforms = torch.zeros(batch, room, K, dtype=torch.float64, device=self.device)
                self._at = torch.zeros(1, dtype=torch.int64, device=self.device)
                self._broken = torch.zeros((), dtype=torch.bool, device=self.device)
                self._room = batch, room
            self.lm.cache.zero_()  # a masked NaN of the run before would still be a NaN

    @torch.inference_mode()
    def _read(self, sequence: np.ndarray, at: int, heads: slice | None = None) -> np.ndarray | None:
        """Known steps into the cache; the logits of those that ``heads`` picks."""
        assert sequence.min() >= 0, "an unknown code is read"
        clips, end = len(sequence), at + sequence.shape[-1]
        with self._on_device("no room for a step of this model; use a GPU with more memory, or the CPU"):
            codes = self._idle(sequence)
            codes[:clips] = torch.from_numpy(np.ascontiguousarray(sequence)).to(self.device)
            hidden = self.lm.hidden(codes, torch.arange(at, end, device=self.device), self.lm.span(end))
            return None if heads is None else self.lm.logits(hidden[:, heads])[:clips].cpu().numpy()

    def _idle(self, sequence: np.ndarray) -> torch.Tensor:
        """Codes for all rows, as those without a clip have them: nothing here yet, and nothing to draw."""
        return torch.full((self._room[0], *sequence.shape[1:]), self.lm.cfg.card, device=self.device)

    @torch.inference_mode()
    def _upload(self, sequence: np.ndarray, uniforms: np.ndarray, first: int, sampling: Sampling) -> None:
        if sampling != self._sampling:
            self._forget_graphs()
            with self._on_device():
                self._sampler = TorchSampler(sampling, self.lm.cfg.n_q, self.lm.cfg.card, self.device,
                                             self._gates.sources.tolist())
            self._sampling = sampling
        with self._on_device():
            clips, _, steps = sequence.shape
            self._sequence[..., :steps] = self._idle(sequence)
            self._sequence[:clips, :, :steps] = torch.from_numpy(sequence).to(self.device)
            self._uniforms[:clips, :steps] = torch.from_numpy(uniforms).to(self.device)
            self._at.fill_(first - 1)
            self._broken.fill_(False)

    @torch.inference_mode()
    def _fill(self, start: int, end: int) -> np.ndarray:
        """Steps ``start`` to ``end``, and their codes on the host: the only place where it waits."""
        with self._on_device("no room for a step of this model; use a GPU with more memory, or the CPU"):
            for s in range(start, end):
                self._advance(self.lm.span(s))  # step s - 1 is read, as the s-th
            codes, broken = self._sequence[..., start:end].cpu().numpy(), bool(self._broken)
        if broken:
            raise UserError(f"the model's output is not finite in {self.precision}; its weights are damaged, its "
                            "training had diverged, or it needs another precision")
        return codes

    def _advance(self, span: int) -> None:
        """One step of the loop, from its graph where there is one. A graph is captured behind a few steps without."""
        if span in self._graphs:
            self._graphs[span].replay()
            return
        self._loop_step(span)
        self._seen[span] = self._seen.get(span, 0) + 1
        if self.capture and self._seen[span] >= WARM_UP:
            graph = torch.cuda.CUDAGraph()
            with CAPTURING, torch.cuda.graph(graph, pool=self._pool, stream=self._stream,
                                             capture_error_mode="thread_local"):  # others may go on meanwhile
                self._loop_step(span)  # recorded, not run
            self._graphs[span], self._pool = graph, graph.pool()

    def _loop_step(self, span: int) -> None:
        """Read the step at ``_at``, fill the one after it, go there. Its inputs and outputs are the buffers alone."""
        after = self._at + 1
        hidden = self.lm.hidden(self._sequence.index_select(2, self._at), self._at, span)
        logits = self.lm.logits(hidden[:, 0])
        self._broken.logical_or_(logits.amax(dim=-1).isfinite().all().logical_not())  # amax hands a NaN on
        given = self._sequence.index_select(2, after)  # [B, K, 1]
        if self._some:
            zero = torch.zeros_like(logits[..., 1:], dtype=torch.bool)
            logits = logits.masked_fill(torch.cat([given == SOME, zero], dim=-1), -torch.inf)
        drawn = self._sampler.sample(logits, self._uniforms.index_select(1, after)[:, 0])[..., None]  # [B, K, 1]
        self._sequence.index_copy_(2, after, torch.where(given < 0, drawn, given))
        self._close_gates(given, after)
        self._at.copy_(after)

    def _set_what_is_asked(self, gates: Gates | None, some: bool) -> None:
        """The gates, as tensors too, and whether codes are asked for that are not 0. Either has graphs of its own."""
        gates = Gates((), (), 0) if gates is None else gates
        if gates.same(self._gates) and some == self._some:
            return
        self._forget_graphs()
        self._gates, self._some = gates, some
        parts = (gates.stream, gates.gate, gates.rest, gates.lag, gates.opens)
        self._levels = [[torch.from_numpy(part[rows]).to(self.device) for part in parts] for rows in gates.levels]

    def _close_gates(self, given: torch.Tensor, after: torch.Tensor) -> None:
        """As :meth:`audiocraft_ext.core.gates.Gates.close`, at the step ``after``."""
        for stream, gate, rest, lag, opens in self._levels:
            column = self._sequence.index_select(2, after)[..., 0]  # [B, K]
            at = (after - lag).clamp(min=0)  # [gates]
            before = self._sequence.index_select(1, gate)  # [B, gates, S]
            codes = before.gather(2, at[None, :, None].expand(len(before), -1, -1))[..., 0]  # [B, gates]
            shut = opens.expand(len(codes), -1, -1).gather(2, codes[..., None])[..., 0].logical_not()
            shut &= given[..., 0].index_select(1, stream) < 0
            column.index_copy_(1, stream, torch.where(shut, rest, column.index_select(1, stream)))
            self._sequence.index_copy_(2, after, column[..., None])

    def _forget_graphs(self) -> None:
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._seen: dict[int, int] = {}
        self._pool = None
        self._sampling: Sampling | None = None

    @contextmanager
    def _on_device(self, too_much: str = "its memory is full") -> Iterator[None]:
        """On the loop's own stream, where graphs are captured and played; on the CPU there is none."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(self._stream):
                yield
        except torch.cuda.OutOfMemoryError:
            self._room = (0, 0)
            raise UserError(f"{self.device}: {too_much}") from None


def load(bundle: Bundle, device: str | torch.device | None = None, precision: str | None = None) -> TorchLoop:
    """A bundle's LM, ready to run.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; None takes a GPU if there is one.
        precision: ``fp32``, ``bf16`` or ``fp16``, of the weights, the cache and everything between; sampling is always
            done in fp32 and wider. None is fp32 on a CPU, on a GPU bf16, or fp16 where it has no bf16.

    Raises:
        UserError: no such device, a precision that it does not have, or weights that are not the bundle's LM.
    """
    cfg, file = bundle.lm, bundle.file("lm.safetensors")
    device = pick_device(device)  # before a large file is read
    precision = pick_precision(precision, device)
    state = read_safetensors(file)
    spec = bundle.lm_spec
    wrong = differing(lambda: LM(cfg, spec.delays, spec.sizes), state)
    if wrong:
        raise UserError(f"{file}: not the weights that model.json describes, {wrong[0]} tensors differ; {wrong[1]}")
    with torch.device("meta"):
        model = LM(cfg, spec.delays, spec.sizes)
    model.load_state_dict(state, assign=True)
    return TorchLoop(model, device, precision)


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device that is meant; see :func:`load`.

    Raises:
        UserError: there is no such device here, or the loop cannot run on it.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UserError(f"expected the device cpu, cuda or cuda:N, got {device!r}") from None
    if found.type == "mps":
        raise UserError("mps: this loop has never been tried on Apple's GPU, where the codec's quantiser is known to "
                        "give wrong codes; use the onnx backend, or torch with the device cpu")
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"expected the device cpu, cuda or cuda:N, got {str(found)!r}")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(f"{found}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here; use "
                        "the onnx backend, or install a torch with CUDA")
    return found


def pick_precision(precision: str | None, device: torch.device) -> str:
    """The precision that is meant; see :func:`load`.

    Raises:
        UserError: there is no such precision, or the device does not have it.
    """
    if precision is not None and precision not in PRECISIONS:
        raise UserError(f"the torch backend has the precisions {', '.join(PRECISIONS)}, got {precision!r}")
    if device.type != "cuda":
        return precision or "fp32"
    with torch.cuda.device(device):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise UserError(f"{torch.cuda.get_device_name(device)} has no bf16; use fp16 or fp32")
    return precision or ("bf16" if has_bf16 else "fp16")
