"""A spectral codec as ONNX graphs that share one safetensors file, in the form that
:mod:`audiocraft_ext.audio.codec.onnx` describes: what runs an EnCodec's graphs runs these.

    encoder.onnx: wav float32 [1, 1, N] -> codes int64 [1, K, T]
    front.onnx: codes int64 [B, K, T] -> features float32 [B, D, T], a table look-up, and no neighbours needed
    back.onnx: features float32 [1, D, F] -> wav float32 [1, 1, N], N = F * hop length

    features.onnx: wav float32 [1, 1, N], cut int64 [2] -> features float32 [1, D, F]; code.onnx: features -> codes

The spectra are products with sines and cosines, which the graphs make when they are loaded: a frame's even and odd
halves first, so that each product has a quarter of the size.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import TensorProto

from audiocraft_ext.audio.codec.spectral import COMPRESSION, FLOOR, LOUDEST, Decoder, Encoder, SpectralConfig
from audiocraft_ext.export.onnx_graph import Graph

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
PIECE = 96  # frames that a player decodes at a time: what it must see to either side is a third of that


def write_encoder(cfg: SpectralConfig, weights: Path, out: Path) -> None:
    """The graph from sound to codes; ``weights`` has the names of ``SpectralModel``."""
    g = Graph("encoder", weights)
    _quantise(g, _latents(g, g.input("wav", FLOAT, [1, 1, "N"]), cfg), cfg)
    g.save(out)


def write_streaming_encoder(cfg: SpectralConfig, weights: Path, features_out: Path, code_out: Path) -> None:
    """The encoder in two graphs, for sound of any length piece by piece."""
    g = Graph("features", weights)
    x = _latents(g, g.input("wav", FLOAT, [1, 1, "N"]), cfg)  # [T, D]
    left, right = g.op("Split", g.input("cut", INT64, [2]), outputs=2, axis=0, num_outputs=2)
    x = g.op("Slice", x, left, g.op("Sub", g.op("Shape", x, start=0, end=1), right), _ints(g, 0))
    g.output(_channels_first(g, x), "features", FLOAT, [1, cfg.encoder[1], "F"])
    g.metadata = {"hear": str(math.ceil(Encoder(cfg).reach)), "code": "0"}
    g.save(features_out)

    g = Graph("code", weights)
    _quantise(g, _channels_last(g, g.input("features", FLOAT, [1, cfg.encoder[1], "F"])), cfg)
    g.save(code_out)


def write_decoder(cfg: SpectralConfig, weights: Path, front_out: Path, back_out: Path) -> None:
    """The graphs from codes to sound."""
    g = Graph("front", weights)
    codes = g.input("codes", INT64, ["B", cfg.n_q, "T"])
    streams = g.op("Split", codes, outputs=cfg.n_q, axis=1, num_outputs=cfg.n_q) if cfg.n_q > 1 else [codes]
    rows = []
    for k, stream in enumerate(streams):
        table = _linear(g, _book(g, k), f"quantizer.outward.{k}")  # [card, D], made once
        rows.append(g.op("Gather", table, g.op("Squeeze", stream, _ints(g, 1))))  # [B, T, D]
    z = g.op("Sum", *rows) if cfg.n_q > 1 else rows[0]
    g.output(g.op("Transpose", z, perm=[0, 2, 1]), "features", FLOAT, ["B", cfg.encoder[1], "T"])
    g.metadata = {"front": "0", "reach": str(math.ceil(Decoder(cfg).reach)), "piece": str(PIECE)}
    g.save(front_out)

    g = Graph("back", weights)
    x = _channels_last(g, g.input("features", FLOAT, [1, cfg.encoder[1], "F"]))
    x = _linear(g, x, "decoder.enter")
    for i in range(cfg.decoder_blocks[0]):
        x = _block(g, x, f"decoder.coarse.{i}")
    x = g.op("ConvTranspose", _channels_first(g, x), g.weight("decoder.up.weight"), g.weight("decoder.up.bias"),
             strides=[2], pads=[1, 1])
    x = _channels_last(g, x)
    for i in range(cfg.decoder_blocks[1]):
        x = _block(g, x, f"decoder.fine.{i}")
    wav = _synthesis(g, _linear(g, _norm(g, x, "decoder.norm"), "decoder.head"), cfg)
    g.output(wav, "wav", FLOAT, [1, 1, "N"])
    g.save(back_out)


def _ints(g: Graph, *values: int) -> str:
    return g.constant(np.array(values, np.int64))


def _number(g: Graph, value: float) -> str:
    return g.constant(np.float32(value))


def _channels_first(g: Graph, x: str) -> str:
    """``[T, D]`` to ``[1, D, T]``."""
    return g.op("Unsqueeze", g.op("Transpose", x, perm=[1, 0]), _ints(g, 0))


def _channels_last(g: Graph, x: str) -> str:
    """``[1, D, T]`` to ``[T, D]``."""
    return g.op("Transpose", g.op("Squeeze", x, _ints(g, 0)), perm=[1, 0])


def _linear(g: Graph, x: str, name: str) -> str:
    return g.op("Gemm", x, g.weight(f"{name}.weight"), g.weight(f"{name}.bias"), transB=1)


def _norm(g: Graph, x: str, name: str) -> str:
    return g.op("LayerNormalization", x, g.weight(f"{name}.weight"), g.weight(f"{name}.bias"), axis=-1, epsilon=1e-5)


def _block(g: Graph, x: str, name: str) -> str:
    """A :class:`~audiocraft_ext.audio.codec.spectral.Block` of ``x [T, D]``."""
    dim, _, kernel = g.shape(f"{name}.mix.weight")
    y = g.op("Conv", _channels_first(g, x), g.weight(f"{name}.mix.weight"), g.weight(f"{name}.mix.bias"), group=dim,
             pads=[kernel // 2] * 2)
    y = _linear(g, _norm(g, _channels_last(g, y), f"{name}.norm"), f"{name}.widen")
    y = _linear(g, g.op("Gelu", y), f"{name}.narrow")
    return g.op("Add", x, g.op("Mul", y, g.weight(f"{name}.scale")))


def _book(g: Graph, level: int) -> str:
    """A codebook ``[card, code_dim]``."""
    return g.op("Gather", g.weight("quantizer.codebooks"), g.constant(np.array(level, np.int64)))


def _quantise(g: Graph, z: str, cfg: SpectralConfig) -> None:
    """Latents ``[T, D]`` to the output ``codes``."""
    levels = []
    for k in range(cfg.n_q):
        book, point = _book(g, k), _linear(g, z, f"quantizer.inward.{k}")
        norms = g.op("Neg", g.op("ReduceSum", g.op("Mul", book, book), _ints(g, 1), keepdims=0))
        nearest = g.op("ArgMax", g.op("Gemm", point, book, norms, alpha=2.0, transB=1), axis=1, keepdims=0)  # [T]
        z = g.op("Sub", z, _linear(g, g.op("Gather", book, nearest), f"quantizer.outward.{k}"))
        levels.append(g.op("Unsqueeze", nearest, _ints(g, 0, 1)))  # [1, 1, T]
    codes = g.op("Concat", *levels, axis=1) if cfg.n_q > 1 else levels[0]
    g.output(codes, "codes", INT64, [1, cfg.n_q, "T"])


def _latents(g: Graph, wav: str, cfg: SpectralConfig) -> str:
    """``wav [1, 1, N]`` to latents ``[T, D]``."""
    x = _linear(g, _spectrum(g, wav, cfg), "encoder.enter")
    for i in range(cfg.encoder_blocks[0]):
        x = _block(g, x, f"encoder.fine.{i}")
    x = g.op("Conv", _channels_first(g, x), g.weight("encoder.down.weight"), g.weight("encoder.down.bias"),
             strides=[2], pads=[1, 1])
    x = _channels_last(g, x)
    for i in range(cfg.encoder_blocks[1]):
        x = _block(g, x, f"encoder.coarse.{i}")
    return x


def _waves(g: Graph, size: int) -> tuple[str, str]:
    """Cosines and sines ``[size / 2 + 1, size / 2 + 1]`` of a Fourier transform of ``size``, by bin and sample; made
    by nodes without inputs, so that they take no room and are computed once."""
    index = g.op("Range", *(g.constant(np.array(v, np.int64)) for v in (0, size // 2 + 1, 1)))
    product = g.op("Mul", g.op("Unsqueeze", index, _ints(g, 0)), g.op("Unsqueeze", index, _ints(g, 1)))
    turn = g.op("Cast", g.op("Mod", product, g.constant(np.array(size, np.int64))), to=FLOAT)  # exact: below 2^24
    angle = g.op("Mul", turn, _number(g, 2 * np.pi / size))
    return g.op("Cos", angle), g.op("Sin", angle)


def _window(size: int) -> np.ndarray:
    """Hann's, periodic."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def _spectrum(g: Graph, wav: str, cfg: SpectralConfig) -> str:
    """``wav [1, 1, N]`` to what ``Encoder.spectrum`` gives, ``[2 T, 3 * bins]``."""
    size, half, side = cfg.n_fft_in, cfg.n_fft_in // 2, (cfg.n_fft_in - cfg.hop) // 2
    length = g.op("Shape", wav, start=2, end=3)
    missing = g.op("Mod", g.op("Neg", length), _ints(g, cfg.hop_length))
    pads = g.op("Concat", _ints(g, 0, 0, side, 0, 0), g.op("Add", missing, _ints(g, side)), axis=0)
    wav = g.op("Pad", wav, pads)
    signal = g.op("Reshape", wav, _ints(g, 1, -1, 1))
    spec = g.op("STFT", signal, g.constant(np.array(cfg.hop, np.int64)), g.constant(_window(size)),
                g.constant(np.array(size, np.int64)), onesided=1)  # [1, 2 T, bins, 2]
    real, imag = g.op("Split", spec, outputs=2, axis=3, num_outputs=2)
    real, imag = (g.op("Reshape", part, _ints(g, -1, half + 1)) for part in (real, imag))
    power = g.op("Add", g.op("Mul", real, real), g.op("Mul", imag, imag))
    log = g.op("Log", g.op("Max", g.op("Sqrt", power), _number(g, FLOOR)))
    gain = g.op("Exp", g.op("Mul", log, _number(g, COMPRESSION - 1)))
    return g.op("Concat", g.op("Mul", real, gain), g.op("Mul", imag, gain), g.op("Mul", log, _number(g, COMPRESSION)),
                axis=1)


def _synthesis(g: Graph, head: str, cfg: SpectralConfig) -> str:
    """``Decoder.synthesise`` of ``[F, 3 * bins]``, to ``wav [1, 1, N]``."""
    size, half, hop = cfg.n_fft_out, cfg.n_fft_out // 2, cfg.hop
    log, real, imag = g.op("Split", head, outputs=3, axis=1, num_outputs=3)
    length = g.op("Sqrt", g.op("Add", g.op("Add", g.op("Mul", real, real), g.op("Mul", imag, imag)), _number(g, 1e-6)))
    scale = g.op("Div", g.op("Exp", g.op("Min", log, _number(g, LOUDEST))), length)
    twice = np.full(half + 1, 2 / size, np.float32)  # every bin but the first and last stands for two
    twice[[0, -1]] /= 2
    cosines, sines = _waves(g, size)
    weight = g.constant(twice)
    even = g.op("MatMul", g.op("Mul", g.op("Mul", scale, real), weight), cosines)  # [F, half + 1]
    odd = g.op("MatMul", g.op("Mul", g.op("Mul", scale, imag), weight), sines)
    first = g.op("Sub", even, odd)
    mirrored = g.op("Slice", g.op("Add", even, odd), _ints(g, half - 1), _ints(g, 0), _ints(g, 1), _ints(g, -1))
    frames = g.op("Mul", g.op("Concat", first, mirrored, axis=1), g.constant(_window(size)))  # [F, size]
    count = g.op("Shape", frames, start=0, end=1)
    squares = g.op("Expand", g.constant(_window(size)[None] ** 2), g.op("Concat", count, _ints(g, size), axis=0))
    wav = g.op("Div", _overlap_add(g, frames, cfg), g.op("Max", _overlap_add(g, squares, cfg), _number(g, 1e-3)))
    side = (size - hop) // 2
    wav = g.op("Slice", g.op("Reshape", wav, _ints(g, -1)), _ints(g, side), _ints(g, -side), _ints(g, 0))
    return g.op("Unsqueeze", wav, _ints(g, 0, 1))


def _overlap_add(g: Graph, frames: str, cfg: SpectralConfig) -> str:
    """``[F, size]`` to ``[F + size / hop - 1, hop]``."""
    count = cfg.n_fft_out // cfg.hop
    parts = g.op("Split", frames, outputs=count, axis=1, num_outputs=count)
    return g.op("Sum", *(g.op("Pad", part, _ints(g, i, 0, count - 1 - i, 0)) for i, part in enumerate(parts)))
