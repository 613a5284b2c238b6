"""A codec as ONNX graphs that share one safetensors file: three in a bundle, two more to prepare data.

    encoder.onnx: wav float32 [1, 1, N], N a multiple of the hop length -> codes int64 [1, K, T]
    front.onnx: codes int64 [B, K, T] -> features float32 [B, C, T], the decoder's layers up to its LSTM
    back.onnx: features float32 [1, C, F] -> wav float32 [1, 1, N], N = F * hop length, its layers after it

The layers of an EnCodec are those of :mod:`audiocraft_ext.audio.codec.encodec`, found by walking its modules, so the
two cannot drift; a spectral codec's graphs are written by :mod:`audiocraft_ext.audio.codec.spectral_onnx`.

The decoder is in two parts so that a clip can be decoded piece by piece, as if at once, and many pieces at a time. The
front's convolution sees a few frames to either side, its LSTM all that came before, the back again a few frames; so a
front's piece is given its neighbours' codes and the LSTM's state, a back's piece its neighbours' features. Where the
codec has an LSTM, the front has two more inputs, ``cut int64 [2]`` (how many frames at either end are neighbours, not
to be passed on to the LSTM) and ``state float32 [2 * lstm, B, H]`` (zeros at the start of a clip), and one more
output, ``state_after``. Its metadata say how many frames count as a few: ``front`` for its convolution, ``reach`` for
the back.
:class:`audiocraft_ext.audio.codec.decoder.Front` does all this.

The encoder that data_prep uses is in two parts for the same reason (:func:`write_streaming_encoder`); unlike
``encoder.onnx`` it takes sound of any length, and gives the codes that the codec itself gives.

    hear.onnx: wav float32 [1, 1, N] -> features float32 [1, C, F], up to the LSTM and with it; cut, state, state_after
    code.onnx: features float32 [1, C, F] -> codes int64 [1, K, F]
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import TensorProto
from torch import nn

from audiocraft_ext.audio.codec import spectral_onnx
from audiocraft_ext.audio.codec.encodec import (
    LSTM,
    Conv1d,
    ConvTranspose1d,
    EncodecConfig,
    EncodecModel,
    ResidualBlock,
    back_of,
    reach_of,
)
from audiocraft_ext.audio.codec.spectral import SpectralConfig
from audiocraft_ext.export.onnx_graph import Graph

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def write_encoder(cfg: EncodecConfig | SpectralConfig, weights: Path, out: Path) -> None:
    """Write the graph from sound to codes; ``weights`` has the names of ``EncodecModel``, LSTMs as
    :func:`audiocraft_ext.audio.codec.layout.to_onnx` gives them."""
    if isinstance(cfg, SpectralConfig):
        return spectral_onnx.write_encoder(cfg, weights, out)
    g = Graph("encoder", weights)
    x = g.input("wav", FLOAT, [1, 1, "N"])
    x = _stack(g, x, EncodecModel(cfg).encoder.layers, "encoder.layers", cfg.hop_length)[0]
    _quantise(g, x, cfg)
    g.save(out)


def write_streaming_encoder(cfg: EncodecConfig | SpectralConfig, weights: Path, hear_out: Path,
                            code_out: Path) -> None:
    """Write the encoder in two graphs, for sound of any length piece by piece; ``weights`` as for
    :func:`write_encoder`. The metadata of the first say how many frames at most either of them sees to each side:
    ``hear`` without its LSTM, ``code``."""
    if isinstance(cfg, SpectralConfig):
        return spectral_onnx.write_streaming_encoder(cfg, weights, hear_out, code_out)
    layers = list(EncodecModel(cfg).encoder.layers)
    at = back_of(layers)  # of what follows the LSTM; without one the first graph does it all
    before = layers[: at - 1] if at else layers
    g = Graph("hear", weights)
    x, scale = _stack(g, g.input("wav", FLOAT, [1, 1, "N"]), before, "encoder.layers", cfg.hop_length, streaming=True)
    left, right = g.op("Split", g.input("cut", INT64, [2]), outputs=2, axis=0, num_outputs=2)
    end = g.op("Sub", g.op("Shape", x, start=2, end=3), right)
    x, channels = g.op("Slice", x, left, end, g.constant(np.array([2]))), cfg.dimension
    if at:
        lstm = layers[at - 1].lstm
        channels, shape = lstm.hidden_size, [2 * lstm.num_layers, 1, lstm.hidden_size]
        x, state = _lstm(g, x, layers[at - 1], f"encoder.layers.{at - 1}", g.input("state", FLOAT, shape))
        g.output(state, "state_after", FLOAT, shape)
    g.output(x, "features", FLOAT, [1, channels, "F"])
    after = layers[at:] if at else []
    g.metadata = {"hear": str(math.ceil(reach_of(before, cfg.hop_length))), "code": str(math.ceil(reach_of(after)))}
    g.save(hear_out)

    g = Graph("code", weights)
    x = g.input("features", FLOAT, [1, channels, "F"])
    _quantise(g, _stack(g, x, after, "encoder.layers", 1, first=at, streaming=True)[0], cfg)
    g.save(code_out)


def _quantise(g: Graph, x: str, cfg: EncodecConfig) -> None:
    """Features ``[1, D, T]`` to the output ``codes``."""
    x = g.op("Squeeze", g.op("Transpose", x, perm=[0, 2, 1]), g.constant(np.array([0])))  # [T, D]
    levels = []
    for k in range(cfg.n_q):
        book = g.weight(f"quantizer.layers.{k}.codebook.embed")  # [card, D]
        # The nearest vector e to x has the greatest 2 x.e - e.e: x.x is the same for all.
        norms = g.op("Neg", g.op("ReduceSum", g.op("Mul", book, book), g.constant(np.array([1])), keepdims=0))
        nearest = g.op("ArgMax", g.op("Gemm", x, book, norms, alpha=2.0, transB=1), axis=1, keepdims=0)  # [T]
        x = g.op("Sub", x, g.op("Gather", book, nearest))
        levels.append(g.op("Unsqueeze", nearest, g.constant(np.array([0, 1]))))  # [1, 1, T]
    g.op("Concat", *levels, axis=1, outputs=["codes"])
    g.output("codes", "codes", INT64, [1, cfg.n_q, "T"])


def write_decoder(cfg: EncodecConfig | SpectralConfig, weights: Path, front_out: Path, back_out: Path) -> None:
    """Write the graphs from codes to sound; ``weights`` as for :func:`write_encoder`."""
    if isinstance(cfg, SpectralConfig):
        return spectral_onnx.write_decoder(cfg, weights, front_out, back_out)
    layers = list(EncodecModel(cfg).decoder.layers)
    first = back_of(layers)  # of the back
    g = Graph("front", weights)
    codes = g.input("codes", INT64, ["B", cfg.n_q, "T"])
    streams = g.op("Split", codes, outputs=cfg.n_q, axis=1, num_outputs=cfg.n_q) if cfg.n_q > 1 else [codes]
    rows = [g.op("Gather", g.weight(f"quantizer.layers.{k}.codebook.embed"),
                 g.op("Squeeze", stream, g.constant(np.array([1])))) for k, stream in enumerate(streams)]  # [B, T, D]
    x, channels = g.op("Transpose", g.op("Sum", *rows), perm=[0, 2, 1]), cfg.dimension  # [B, D, T]
    if first:
        lstm = layers[first - 1].lstm
        channels, shape = lstm.hidden_size, [2 * lstm.num_layers, "B", lstm.hidden_size]
        x = _stack(g, x, layers[: first - 1], "decoder.layers", 1)[0]
        left, right = g.op("Split", g.input("cut", INT64, [2]), outputs=2, axis=0, num_outputs=2)
        end = g.op("Sub", g.op("Shape", x, start=2, end=3), right)
        x = g.op("Slice", x, left, end, g.constant(np.array([2])))
        x, state = _lstm(g, x, layers[first - 1], f"decoder.layers.{first - 1}", g.input("state", FLOAT, shape))
        g.output(state, "state_after", FLOAT, shape)
    g.output(x, "features", FLOAT, ["B", channels, "F"])
    g.metadata = {"front": str(math.ceil(reach_of(layers[:first]))), "reach": str(math.ceil(reach_of(layers[first:])))}
    g.save(front_out)

    g = Graph("back", weights)
    x = g.input("features", FLOAT, [1, channels, "F"])
    g.output(_stack(g, x, layers[first:], "decoder.layers", 1, first=first)[0], "wav", FLOAT, [1, 1, "N"])
    g.save(back_out)


def _stack(g: Graph, x: str, layers, stem: str, scale: float, first: int = 0,
           streaming: bool = False) -> tuple[str, float]:
    """Add ``layers``, numbered from ``first`` in the weights' names. ``scale`` is the number of steps of ``x`` for one
    frame, 1 at the rate of the codes. ``streaming`` (of :func:`write_streaming_encoder`): sound of any
    length and faster ELUs (a bundle's graphs stay as they are, and so do its clips)."""
    for i, layer in enumerate(layers, first):
        name = f"{stem}.{i}"
        if isinstance(layer, nn.ELU):
            x = _elu(g, x) if streaming else g.op("Elu", x)
        elif isinstance(layer, Conv1d):
            x, pads = (_filled if streaming else _whole)(g, x, layer, scale)
            x = g.op("Conv", x, g.weight(f"{name}.conv.weight"), g.weight(f"{name}.conv.bias"),
                     strides=[layer.conv.stride[0]], dilations=[layer.conv.dilation[0]], pads=pads)
            scale /= layer.conv.stride[0]
        elif isinstance(layer, ConvTranspose1d):
            weights = g.weight(f"{name}.conv.weight"), g.weight(f"{name}.conv.bias")
            scale *= layer.conv.stride[0]
            x = g.op("ConvTranspose", x, *weights, strides=[layer.conv.stride[0]],
                     pads=[layer.trim_left, layer.trim_right])
        elif isinstance(layer, ResidualBlock):
            x = g.op("Add", x, _stack(g, x, layer.block, f"{name}.block", scale, streaming=streaming)[0])
        elif isinstance(layer, LSTM):
            x = _lstm(g, x, layer, name)[0]
        else:
            raise AssertionError(f"no ONNX for {type(layer).__name__}")
    return x, scale


def _elu(g: Graph, x: str) -> str:
    """``Elu`` in four steps that ONNX Runtime has vectorised; as one operator it takes more than twice as long."""
    zero, minus_one = g.constant(np.float32(0)), g.constant(np.float32(-1))
    return g.op("Max", x, g.op("Add", g.op("Exp", g.op("Clip", x, "", zero)), minus_one))


def _pads(layer: Conv1d) -> list[int]:
    """As much padding on both sides as keeps ``N / stride`` steps where N is a multiple of stride."""
    conv = layer.conv
    total = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - conv.stride[0]
    return [total - total // 2, total // 2]


def _whole(g: Graph, x: str, layer: Conv1d, scale: float) -> tuple[str, list[int]]:
    """``x`` and the padding its convolution is left to do, for sound that is a whole number of frames."""
    pads = _pads(layer)
    if layer.mode == "reflect" and sum(pads):
        return _reflect(g, x, pads, scale), [0, 0]
    return x, pads


def _filled(g: Graph, x: str, layer: Conv1d, scale: float) -> tuple[str, list[int]]:
    """The same for ``x`` of any length N, whose last window is filled up, as ``encodec.Conv1d`` does it."""
    (left, right), stride = _pads(layer), layer.conv.stride[0]
    if layer.mode != "reflect":
        return x, [left, right + stride - 1]  # a window that begins behind the end is none: ceil(N / stride) are left
    if left + right + stride == 1:
        return x, [0, 0]

    def number(n: int) -> str:
        return g.constant(np.array([n]))

    def steps(begin: str, end: str) -> str:
        squeeze = (g.op("Squeeze", value, number(0)) for value in (begin, end))
        return g.op("Range", *squeeze, g.constant(np.array(1)))

    length = g.op("Shape", x, start=2, end=3)  # [1]
    right = g.op("Add", number(right), g.op("Mod", g.op("Neg", length), number(stride)))
    # What is too short for its reflection is followed by zeros first: the mirror stands behind them, at ``last``.
    last = g.op("Max", g.op("Max", number(left), right), g.op("Sub", length, number(1)))
    mirrored = g.op("Sub", g.op("Mul", last, number(2)), steps(length, g.op("Add", length, right)))
    inside = g.op("Less", steps(length, g.op("Add", length, right)), g.op("Add", last, number(1)))
    after = g.op("Where", inside, length, mirrored)  # ``length`` stands for a zero
    before = g.op("Sub", number(left), steps(number(0), number(left)))
    parts = []
    for index in (before, after):
        there = g.op("Less", index, length)
        taken = g.op("Gather", x, g.op("Min", index, g.op("Sub", length, number(1))), axis=2)
        parts.append(g.op("Where", there, taken, g.constant(np.zeros(1, np.float32))))
    return g.op("Concat", parts[0], x, parts[1], axis=2), [0, 0]


def _reflect(g: Graph, x: str, pads: list[int], scale: float) -> str:
    """Reflect at both ends; where one frame may be too short for that, zeros first, as in ``encodec._pad``."""
    both = g.constant(np.array([0, 0, pads[0], 0, 0, pads[1]]))
    if math.floor(scale) > max(pads):
        return g.op("Pad", x, both, mode="reflect")
    length = g.op("Slice", g.op("Shape", x), g.constant(np.array([2])), g.constant(np.array([3])))  # [1]
    missing = g.op("Max", g.op("Sub", g.constant(np.array([max(pads) + 1])), length), g.constant(np.array([0])))
    zeros = g.op("Concat", g.constant(np.zeros(5, np.int64)), missing, axis=0)
    x = g.op("Pad", g.op("Pad", x, zeros), both, mode="reflect")
    end = g.op("Add", length, g.constant(np.array([sum(pads)])))
    return g.op("Slice", x, g.constant(np.array([0])), end, g.constant(np.array([2])))


def _lstm(g: Graph, x: str, layer: LSTM, name: str, state: str = "") -> tuple[str, str]:
    """An LSTM over time with a skip, and its state after. The weights are in ONNX's order (codecs/layout.py).

    Args:
        state: of all levels, ``[2 * levels, B, H]``, hidden and cell of a level together; "" is zeros.
    """
    H, levels = layer.lstm.hidden_size, layer.lstm.num_layers

    steps = g.op("Transpose", x, perm=[2, 0, 1])  # [T, B, C]
    before = g.op("Split", state, outputs=2 * levels, axis=0, num_outputs=2 * levels) if state else [""] * 2 * levels
    y, after = steps, []
    for level in range(levels):
        w, r, b = (g.weight(f"{name}.lstm.{kind}_l{level}") for kind in "WRB")
        y, *ends = g.op("LSTM", y, w, r, b, "", *before[2 * level : 2 * level + 2], outputs=3, hidden_size=H)
        after += ends  # [1, B, H] each
        y = g.op("Squeeze", y, g.constant(np.array([1])))  # [T, B, H]
    return g.op("Transpose", g.op("Add", y, steps), perm=[1, 2, 0]), g.op("Concat", *after, axis=0)  # [B, C, T]
