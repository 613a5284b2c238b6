"""Sound to codes for a store: any length in constant memory, in one process or in many.

:func:`ready` looks at the codec once and says how it is opened, a :class:`CodecRef`; each worker process opens an
:class:`Encoder` by it. On a CPU that is ONNX Runtime on one thread, without torch: graphs and weights lie in a folder
that ``ready`` wrote, named by what is in it. Elsewhere it is torch, where short slices of a source that are of one
length go through the codec side by side.

What comes out depends on the source alone, not on how it is handed over: pieces begin at fixed frames, see what their
convolutions can see to either side, and pass on the LSTM's state (as in ``audiocraft_ext.audio.codec.codec.stream``).
The two runtimes round differently, so in rare places one code is another; a store's settings name the one that made it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from audiocraft_ext.core.errors import UserError
from data_prep.audio import graphs
from data_prep.audio.graphs import CODE, FEATURES, WEIGHTS

if TYPE_CHECKING:
    from audiocraft_ext.audio.codec.codec import Codec

PIECE = {"onnxruntime": 100, "torch": 250, "cuda": 1500}  # frames at a time
BATCH = 16  # slices side by side on a GPU


@dataclass(frozen=True)
class CodecRef:
    """How a worker process opens the codec.

    Attributes:
        runtime: "onnxruntime" or "torch", for the store's settings.
        device: torch's name of it.
        hop, n_q: samples a frame, codes a frame.
        folder: of the graphs (onnxruntime).
        codec, path: for ``codecs.get_codec`` (torch).
    """

    runtime: str
    device: str
    hop: int
    n_q: int
    folder: Path | None = None
    codec: str = ""
    path: Path | None = None


def runtime_for(device: str) -> str:
    """What encodes on a device, by torch's name: whichever is quicker there."""
    return "onnxruntime" if device == "cpu" else "torch"


def ready(codec: Codec, cache: Path, device: str = "cpu", name: str = "", path: Path | None = None,
          runtime: str | None = None) -> CodecRef:
    """How to open ``codec`` on ``device``. Needs torch, so it is the parent's part.

    Args:
        cache: where a folder with the graphs is made, if it is not there already.
        name, path: what ``get_codec`` was given for this codec.
        runtime: another than the quicker one.

    Raises:
        OSError: the folder cannot be written.
    """
    runtime, cfg = runtime or runtime_for(device), codec.model.cfg
    folder = graphs.written(codec, cache) if runtime == "onnxruntime" else None
    return CodecRef(runtime, device, cfg.hop_length, cfg.n_q, folder, name or codec.name, path)


class Encoder:
    """A codec that is open. Cheap to make on a CPU; one for each worker process.

    Args:
        threads: of ONNX Runtime; processes side by side do more than threads.

    Raises:
        UserError: its files are not there.
    """

    def __init__(self, ref: CodecRef, threads: int = 1):
        self.ref = ref
        self._net: _Net = _Onnx(ref, threads) if ref.runtime == "onnxruntime" else _Torch(ref)
        on_gpu = ref.runtime == "torch" and ref.device != "cpu"
        self._piece = PIECE["cuda" if on_gpu else ref.runtime]

    def encode(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """One sound, mono ``float32 [n]`` in -1 to 1 in blocks of any size, to codes ``uint16 [K, ceil(N / hop)]``.

        Raises:
            ValueError: there is no sample in it.
        """
        stream = _Stream(self._net, self.ref.hop, self._piece)
        codes = [piece for block in blocks for piece in stream.push(np.asarray(block, np.float32)[None])]
        codes += stream.finish()
        return np.concatenate(codes, axis=2)[0].astype(np.uint16)

    def encode_each(self, sounds: Iterable[tuple[int, Iterable[np.ndarray]]]) -> Iterator[np.ndarray]:
        """Sounds of one source, each by itself, to codes ``uint16 [K, T]``, in order.

        In torch those no longer than one piece are gathered, up to BATCH pieces of samples in all, and go through
        :meth:`encode_many`; so what lies side by side depends on the source alone, and memory stays constant.

        Args:
            sounds: about how many samples, and blocks as for :meth:`encode`; each is read before the next is asked for.

        Raises:
            ValueError: there is no sample in one.
        """
        short = 0 if self.ref.runtime == "onnxruntime" else self._piece * self.ref.hop
        gathered: list[np.ndarray] = []
        for samples, blocks in sounds:
            if samples > short:
                yield from self.encode_many(gathered)
                gathered = []
                yield self.encode(blocks)
                continue
            gathered.append(np.concatenate([np.zeros(0, np.float32), *blocks]))
            if sum(map(len, gathered)) >= BATCH * short:
                yield from self.encode_many(gathered)
                gathered = []
        yield from self.encode_many(gathered)

    def encode_many(self, slices: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Each slice ``float32 [N]`` by itself to codes ``uint16 [K, T]``; in torch those of one length together."""
        if self.ref.runtime == "onnxruntime":
            return [self.encode([wav]) for wav in slices]
        out: list[np.ndarray] = [np.zeros(0, np.uint16)] * len(slices)
        lengths: dict[int, list[int]] = {}
        for i, wav in enumerate(slices):
            lengths.setdefault(len(wav), []).append(i)
        for same in lengths.values():
            for at in range(0, len(same), BATCH):
                rows = same[at : at + BATCH]
                stream = _Stream(self._net, self.ref.hop, self._piece)
                codes = [*stream.push(np.stack([slices[i] for i in rows]).astype(np.float32)), *stream.finish()]
                for i, row in zip(rows, np.concatenate(codes, axis=2)):
                    out[i] = row.astype(np.uint16)
        return out


class _Net(Protocol):
    """A codec's encoder in two parts, cut behind its LSTM.

    ``features`` and ``code`` see no more than ``features_reach`` and ``code_reach`` frames to either side, the LSTM's
    past aside.
    """

    features_reach: int
    code_reach: int

    def features(self, wav: np.ndarray, left: int, right: int, state: object) -> tuple[object, object]:
        """``wav [B, n]`` to features ``[B, C, F]`` without the first ``left`` and last ``right`` frames, and the state
        after them; ``state`` None is the start."""

    def join(self, a: object, b: object) -> object:
        """Features one behind the other."""

    def code(self, features: object) -> np.ndarray:
        """Features ``[B, C, F]`` to codes ``[B, K, F]``."""


class _Stream:
    """Sounds of one length ``[B, N]`` on their way through a codec, in pieces that begin at multiples of ``piece``.

        sound       a-p     a ............ b     b+p     p: what the part before the LSTM can see
        features    [------------------------------)     the LSTM reads a to b, its state goes on
        code            a-2q ..... b-q     b             q: what the part after it can see
                           [---------------)
    """

    def __init__(self, net: _Net, hop: int, piece: int):
        self._net, self._hop, self._piece = net, hop, piece
        self._wav: list[np.ndarray] = []  # from frame _wav_at on
        self._known = 0  # samples
        self._wav_at = self._featured = self._coded = 0  # frames
        self._features, self._features_at, self._state = None, 0, None

    def push(self, wav: np.ndarray) -> Iterator[np.ndarray]:
        """More sound ``[B, n]``; yields codes ``[B, K, t]`` that are certain by now."""
        for at in range(0, wav.shape[1], self._piece * self._hop):  # what is kept is copied, so let it be little
            yield from self._push(wav[:, at : at + self._piece * self._hop])

    def _push(self, wav: np.ndarray) -> Iterator[np.ndarray]:
        self._wav.append(wav)
        self._known += wav.shape[1]
        while self._known >= ((end := self._featured + self._piece) + self._net.features_reach) * self._hop:
            self._read_features(end, end + self._net.features_reach)
            if (until := end - self._net.code_reach) > self._coded:
                yield self._code(until, end)

    def finish(self) -> Iterator[np.ndarray]:
        """No more will come: the codes that are left."""
        if not self._known:
            raise ValueError("there is no sound to encode")
        total = math.ceil(self._known / self._hop)
        if total > self._featured:
            self._read_features(total, total)
        if total > self._coded:
            yield self._code(total, total)

    def _read_features(self, end: int, sees: int) -> None:
        """Features from where the last piece ended to frame ``end``, with the sound up to frame ``sees``."""
        wav = self._wav[0] if len(self._wav) == 1 else np.concatenate(self._wav, axis=1)
        piece = wav[:, : (sees - self._wav_at) * self._hop]
        new, self._state = self._net.features(piece, self._featured - self._wav_at, sees - end, self._state)
        self._features = new if self._features is None else self._net.join(self._features, new)
        before = max(0, end - self._net.features_reach)
        self._wav, self._wav_at, self._featured = [wav[:, (before - self._wav_at) * self._hop :].copy()], before, end

    def _code(self, until: int, end: int) -> np.ndarray:
        """Codes up to frame ``until``; features are known up to ``end``."""
        codes = self._net.code(self._features)[:, :, self._coded - self._features_at : until - self._features_at]
        before = max(0, until - self._net.code_reach)
        self._features = self._features[:, :, before - self._features_at :]
        self._features_at, self._coded = before, until
        return codes


class _Onnx:
    """The two graphs of :func:`audiocraft_ext.audio.codec.onnx.write_streaming_encoder`, one sound at a time."""

    def __init__(self, ref: CodecRef, threads: int):
        import onnxruntime as ort

        for name in (FEATURES, CODE, WEIGHTS):
            if not (ref.folder / name).is_file():
                raise UserError(f"{ref.folder / name}: is gone; start again, and it is written anew")
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._features_session, self._code = (ort.InferenceSession(str(ref.folder / name), options,
                                                       providers=["CPUExecutionProvider"]) for name in (FEATURES, CODE))
        about = self._features_session.get_modelmeta().custom_metadata_map
        self.features_reach, self.code_reach = int(about["hear"]), int(about["code"])
        self._state = next((i.shape for i in self._features_session.get_inputs() if i.name == "state"), None)

    def features(self, wav, left, right, state):
        feed = {"wav": np.ascontiguousarray(wav[:, None]), "cut": np.array([left, right])}
        if self._state is None:
            return self._features_session.run(["features"], feed)[0], None
        feed["state"] = np.zeros(self._state, np.float32) if state is None else state
        return tuple(self._features_session.run(["features", "state_after"], feed))

    def join(self, a, b):
        return np.concatenate([a, b], axis=2)

    def code(self, features):
        return self._code.run(["codes"], {"features": np.ascontiguousarray(features)})[0]


class _Torch:
    """The codec's own modules, many sounds side by side."""

    def __init__(self, ref: CodecRef):
        import torch

        from audiocraft_ext.audio.codec import get_codec
        from audiocraft_ext.audio.codec.encodec import back_of, reach_of

        torch.backends.cudnn.allow_tf32 = False  # its rounding picks other codes
        self._torch = torch
        self._model = get_codec(ref.codec, ref.path).first(ref.n_q).to(ref.device).model
        self._device, layers = ref.device, list(self._model.encoder.layers)
        at = back_of(layers)
        self._before, self._lstm, self._after = (layers[: at - 1], layers[at - 1], layers[at:]) if at else (
            layers, None, [])
        self.features_reach = math.ceil(reach_of(self._before, ref.hop))
        self.code_reach = math.ceil(reach_of(self._after))

    def features(self, wav, left, right, state):
        with self._torch.inference_mode():
            x = self._torch.from_numpy(np.ascontiguousarray(wav[:, None])).to(self._device)
            for layer in self._before:
                x = layer(x)
            x = x[..., left : x.shape[-1] - right]
            if self._lstm is None:
                return x, None
            x = x.permute(2, 0, 1)  # [T, B, C]
            y, state = self._lstm.lstm(x, state)
            return (y + x).permute(1, 2, 0), state

    def join(self, a, b):
        return self._torch.cat([a, b], -1)

    def code(self, features):
        with self._torch.inference_mode():
            for layer in self._after:
                features = layer(features)
            return self._model.quantizer.encode(features).to(self._torch.int32).cpu().numpy()
