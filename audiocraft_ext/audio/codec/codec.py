"""A codec as the rest of the package sees it: numpy audio to numpy codes and back, files of any length.

    codec.json + codec.safetensors     what audiocraft_ext.codecs.train writes
    model.json + codec.safetensors     a bundle

Long audio is worked through piece by piece in a few hundred MB. The pieces overlap by what the convolutions can see
and the LSTM is handed on, so the result is that of one pass over the whole (up to rounding), seams included.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from audiocraft_ext.audio.codec.encodec import LSTM, EncodecConfig, EncodecModel, keep_variance
from audiocraft_ext.audio.codec.layout import from_onnx
from audiocraft_ext.audio.codec.spectral import SpectralConfig, SpectralModel
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import read_json, sha256
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.model.weights import differing, read_safetensors

PIECE = 250  # frames at a time, 5 s at 50 Hz: the process then stays under 0.8 GB with the full encodec_32khz
# By what ``type`` a codec's files say that it is; those of before there were types are EnCodecs.
KINDS = {"encodec": (EncodecConfig, EncodecModel), "spectral": (SpectralConfig, SpectralModel)}
DEBUG = EncodecConfig(n_filters=4, dimension=16, card=64, lstm=0)


class Codec:
    """A model with a name.

    Attributes:
        name: which codec it is, for people.
        hash: which weights it has, of a spectral codec those that make codes; with ``name`` its identity in a
            :class:`~audiocraft_ext.core.spec.Spec`.
        model: the :class:`~audiocraft_ext.audio.codec.encodec.EncodecModel` or
            :class:`~audiocraft_ext.audio.codec.spectral.SpectralModel`, in eval mode.
    """

    def __init__(self, name: str, model: EncodecModel | SpectralModel, digest: str):
        self.name, self.hash, self.model = name, digest, model.eval().requires_grad_(False)

    @property
    def sample_rate(self) -> int:
        return self.model.cfg.sample_rate

    @property
    def spec(self) -> Spec:
        """Of its codes, with MusicGen's delays ``0 .. K - 1``."""
        cfg = self.model.cfg
        return Spec("audio", cfg.n_q, cfg.card, cfg.frame_rate, tuple(range(cfg.n_q)), self.name, self.hash)

    @property
    def type(self) -> str:
        """What a bundle says that it is: a key of ``KINDS``."""
        return next(kind for kind, (config, _) in KINDS.items() if isinstance(self.model.cfg, config))

    def first(self, n_q: int) -> Codec:
        """The codec that its first ``n_q`` codebooks are.

        Raises:
            UserError: it has fewer, or was not trained so that they are one.
        """
        if n_q == self.model.cfg.n_q:
            return self
        if not isinstance(self.model, SpectralModel):
            raise UserError(f"the codec {self.name} is used with all its {self.model.cfg.n_q} codebooks, not with "
                            f"{n_q}; a codec of the type spectral can be used with fewer")
        if not 1 <= n_q <= self.model.cfg.n_q:
            raise UserError(f"the codec {self.name} has {self.model.cfg.n_q} codebooks; expected 1 to "
                            f"{self.model.cfg.n_q}, got {n_q}")
        return Codec(self.name, self.model.first(n_q), self.hash)

    def to(self, device: str | torch.device) -> Codec:
        self.model.to(device)
        return self

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def encode(self, wav: np.ndarray, progress: Callable[[float], object] | None = None) -> np.ndarray:
        """``float32 [N]`` (mono, -1 to 1, N > 0) to codes ``uint16 [K, ceil(N / hop)]``.

        The last frame of audio that is no whole number of frames is filled up by the model's own padding, as in
        audiocraft and transformers. ``progress(seconds)``, if given, is called after every piece.
        """
        wav = np.asarray(wav, np.float32)
        if wav.ndim != 1 or len(wav) == 0:
            raise ValueError(f"expected mono audio [N] with N > 0, got {list(wav.shape)}")
        codes = []
        x = torch.from_numpy(wav)[None, None]  # [1, 1, N]
        for z in stream(self.model.encoder.layers, x, self.model.cfg.hop_length, 1, self._device):
            codes.append(self.model.quantizer.encode(z)[0].to(torch.int32).cpu().numpy().astype(np.uint16))
            if progress is not None:
                progress(z.shape[-1] / self.model.cfg.frame_rate)
        return np.concatenate(codes, axis=1)  # [K, T]

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes ``[K, T]`` in ``[0, card)`` with T > 0 to ``float32 [T * hop]``."""
        cfg, codes = self.model.cfg, np.asarray(codes)
        if codes.ndim != 2 or codes.shape[0] != cfg.n_q or codes.shape[1] == 0:
            raise ValueError(f"expected codes [{cfg.n_q}, T] with T > 0, got {list(codes.shape)}")
        if codes.min() < 0 or codes.max() >= cfg.card:
            raise ValueError(f"expected codes from 0 to {cfg.card - 1}, got {codes.min()} to {codes.max()}")
        z = self.model.quantizer.decode(torch.from_numpy(codes.astype(np.int64))[None].to(self._device))  # [1, D, T]
        pieces = stream(self.model.decoder.layers, z, 1, cfg.hop_length, self._device)
        return np.concatenate([y[0, 0].cpu().numpy() for y in pieces])


def stream(layers: nn.ModuleList, x: torch.Tensor, hop_in: int, hop_out: int, device: torch.device,
           piece: int = PIECE) -> Iterator[torch.Tensor]:
    """Run an encoder's or a decoder's layers over ``x [1, C, N]``, ``piece`` frames at a time.

    Three parts: the layers before the LSTM and those after it see a few frames of what lies around a piece, the LSTM
    gets the state that the piece before it ended with.

        frames      a-p     a ............ b   b+q  b+q+p      p, q: what the parts before and after can see
        before      [----------------------------------)
        LSTM                [--------------)---)               the state is kept at b
        after          [-------------------)---)               q outputs of the last piece lead in
        yielded             [--------------)

    Args:
        hop_in: input steps a frame.
        hop_out: output steps a frame.

    Yields:
        The output of each piece, ``[1, C', (b - a) * hop_out]``.
    """
    at = next((i for i, layer in enumerate(layers) if isinstance(layer, LSTM)), None)
    before, lstm, after = (layers, None, []) if at is None else (layers[:at], layers[at], layers[at + 1 :])
    mid = hop_out if lstm is None else 1  # steps a frame between the parts
    p, q = math.ceil(_sight(before, 1 / hop_in)), math.ceil(_sight(after, 1.0))
    total = math.ceil(x.shape[-1] / hop_in)
    state, lead = None, None
    for a in range(0, total, piece):
        b, left = min(a + piece, total), max(0, a - p)
        y = x[..., left * hop_in : (b + q + p) * hop_in].to(device)
        for layer in before:
            y = layer(y)
        y = y[..., (a - left) * mid : (min(b + q, total) - left) * mid]
        if lstm is not None:
            y, state = _carry(lstm, y, state, b - a)
        skip = 0 if lead is None else lead.shape[-1]
        y = y if lead is None else torch.cat([lead, y], -1)
        end = skip + (b - a) * mid
        lead = y[..., max(0, end - q) : end]
        for layer in after:
            y = layer(y)
        yield y[..., skip * hop_out // mid : end * hop_out // mid]


def _carry(layer: LSTM, x: torch.Tensor, state: tuple | None, keep: int) -> tuple[torch.Tensor, tuple]:
    """The LSTM with its skip over ``[1, C, T]``; the state returned is the one after ``keep`` steps."""
    x = x.permute(2, 0, 1)  # [T, 1, C]
    y, state = layer.lstm(x[:keep], state)
    if len(x) > keep:
        y = torch.cat([y, layer.lstm(x[keep:], state)[0]])
    return (y + x).permute(1, 2, 0), state  # [1, C, T]


def _sight(layers: Sequence[nn.Module], step: float) -> float:
    """How far to either side the layers can see at most, in frames; ``step`` is the length of an input step."""
    if any(hasattr(layer, "reach") for layer in layers):  # says it itself, in code frames
        return sum(layer.reach for layer in layers)
    sight = 0.0
    for module in (m for layer in layers for m in layer.modules()):
        if isinstance(module, nn.Conv1d):
            sight += (module.kernel_size[0] - 1) * module.dilation[0] * step
            step *= module.stride[0]
        elif isinstance(module, nn.ConvTranspose1d):
            sight += math.ceil(module.kernel_size[0] / module.stride[0]) * step
            step /= module.stride[0]
    return sight


def debug_codec() -> Codec:
    """A tiny codec with random weights, the same ones everywhere, quick enough for tests and debug runs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = EncodecModel(DEBUG)
        keep_variance(model)
        for k, book in enumerate(model.quantizer.codebooks):  # near the latents, so that many codes get used
            book.embed.mul_(0.4 * 0.8**k)
    content = b"".join(t.numpy().tobytes() for t in model.state_dict().values())
    return Codec("debug", model, hashlib.sha256(content).hexdigest()[:16])


def load_folder(folder: Path) -> Codec:
    """Read a trained codec's folder or a bundle's codec."""
    if (folder / "codec.json").is_file():
        about = read_json(folder / "codec.json")
        name, digest = about.get("name", "microcodec"), about.get("hash")
        config, kind = about.get("config"), about.get("type", "encodec")
    elif (folder / "model.json").is_file():
        about = read_json(folder / "model.json")
        if not about.get("codec"):
            raise UserError(f"{folder}: this bundle has no audio codec")
        try:  # the bundle may hold the weights in fewer bits: the codec is still the one that made the codes
            config, made_by = about["codec"]["config"], about["spec"]["codec"]
            kind = about["codec"].get("type", "encodec")
            name, digest = made_by["name"], made_by["hash"]
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / 'model.json'}: not a bundle's model.json, no {error}") from None
    else:
        raise UserError(f"{folder}: expected a codec's folder with codec.json and codec.safetensors, or a bundle")
    cfg = read_config(config, kind, folder)
    weights = folder / "codec.safetensors"
    state = from_onnx(read_safetensors(weights))  # as it lies in a bundle
    if digest is None:
        digest = codes_hash(state) if kind == "spectral" else file_hash(weights)
    return Codec(name, build(cfg, state, weights), digest)


def read_config(config: dict, kind: str, folder: Path) -> EncodecConfig | SpectralConfig:
    """What a ``codec.json`` or ``model.json`` says of the shape of a codec of type ``kind``."""
    if kind not in KINDS:
        raise UserError(f"{folder}: a codec of the type {kind!r}; this version knows {', '.join(KINDS)}")
    try:
        return KINDS[kind][0](**config)
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder}: not the configuration of a codec ({error})") from None


def build(cfg: EncodecConfig | SpectralConfig, state: dict[str, torch.Tensor],
          path: Path) -> EncodecModel | SpectralModel:
    """The model with its weights; every name and shape must fit."""
    model_of = dict(KINDS.values())[type(cfg)]
    wrong = differing(lambda: model_of(cfg), state)
    if wrong:
        raise UserError(f"{path}: the weights do not fit the configuration beside them, {wrong[0]} tensors "
                        f"differ; {wrong[1]}")
    with torch.device("meta"):
        model = model_of(cfg)
    model.load_state_dict(state, assign=True)
    return model


def codes_hash(state: dict[str, torch.Tensor]) -> str:
    """The identity of a codec whose decoder may get better later: of the weights that make the codes alone, as fp16."""
    digest = hashlib.sha256()
    for name in sorted(name for name in state if not name.startswith("decoder.")):
        digest.update(name.encode() + state[name].half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    """The first 16 hex digits of a file's sha256: a codec's identity."""
    return sha256(path)[:16]
