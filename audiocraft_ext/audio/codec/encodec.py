"""EnCodec in torch: SEANet encoder, residual vector quantiser, SEANet decoder.

One small module serves two codecs: the public ``facebook/encodec_32khz`` and our own ``microcodec``. Both are the
architecture of `High Fidelity Neural Audio Compression <https://arxiv.org/abs/2210.13438>`_ (section 3) without the
transformer, the renormalisation and the causal mode, none of which the 32 kHz model uses.

Parameter names are those of ``transformers.EncodecModel`` with weight norm folded in, so the public safetensors load
as they are; :func:`to_audiocraft` renames them for audiocraft.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class EncodecConfig:
    """The numbers that fix an EnCodec; defaults are those of ``facebook/encodec_32khz``."""

    sample_rate: int = 32_000
    n_filters: int = 64
    ratios: tuple[int, ...] = (8, 5, 4, 4)  # decoder order; the encoder takes them backwards
    dimension: int = 128
    n_q: int = 4
    card: int = 2048
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    n_residual_layers: int = 1
    dilation_base: int = 2
    compress: int = 2
    lstm: int = 2
    pad_mode: str = "reflect"
    hop_length: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", tuple(int(r) for r in self.ratios))
        object.__setattr__(self, "hop_length", math.prod(self.ratios))

    @property
    def frame_rate(self) -> float:
        """Codes a second, in Hz."""
        return self.sample_rate / self.hop_length

    def to_dict(self) -> dict:
        """Everything but what is derived; ``EncodecConfig(**d)`` gives it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k != "hop_length"}


def _pad(x: torch.Tensor, left: int, right: int, mode: str) -> torch.Tensor:
    """Pad the last axis; a reflection longer than the signal sees zeros first, as audiocraft's ``pad1d`` does."""
    if mode != "reflect":
        return F.pad(x, (left, right))
    missing = max(0, max(left, right) - x.shape[-1] + 1)
    x = F.pad(F.pad(x, (0, missing)), (left, right), "reflect")
    return x[..., : x.shape[-1] - missing]


class Conv1d(nn.Module):
    """A convolution that returns ``ceil(N / stride)`` steps, padded on both sides."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1, mode: str = "reflect"):
        super().__init__()
        self.conv = nn.Conv1d(c_in, c_out, kernel, stride, dilation=dilation)
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stride = self.conv.stride[0]
        span = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0] + 1
        total = span - stride
        extra = -x.shape[-1] % stride  # the last window is filled up
        return self.conv(_pad(x, total - total // 2, total // 2 + extra, self.mode))


class ConvTranspose1d(nn.Module):
    """The inverse in shape: ``N * stride`` steps."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv = nn.ConvTranspose1d(c_in, c_out, 2 * stride, stride)
        self.trim_left, self.trim_right = stride - stride // 2, stride // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y[..., self.trim_left : y.shape[-1] - self.trim_right]


class ResidualBlock(nn.Module):
    """Two convolutions through a narrower middle, and the input added back."""

    def __init__(self, cfg: EncodecConfig, channels: int, dilation: int):
        super().__init__()
        hidden = channels // cfg.compress
        self.block = nn.ModuleList([
            nn.ELU(), Conv1d(channels, hidden, cfg.residual_kernel_size, dilation=dilation, mode=cfg.pad_mode),
            nn.ELU(), Conv1d(hidden, channels, 1, mode=cfg.pad_mode),
        ])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.block:
            y = layer(y)
        return x + y


class LSTM(nn.Module):
    """An LSTM over time with a skip, on ``[B, C, T]``."""

    def __init__(self, channels: int, num_layers: int):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(2, 0, 1)  # [T, B, C]
        return (self.lstm(x)[0] + x).permute(1, 2, 0)  # [B, C, T]


class _Stack(nn.Module):
    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _encoder(cfg: EncodecConfig) -> _Stack:
    channels = cfg.n_filters
    layers: list[nn.Module] = [Conv1d(1, channels, cfg.kernel_size, mode=cfg.pad_mode)]
    for ratio in reversed(cfg.ratios):
        layers += [ResidualBlock(cfg, channels, cfg.dilation_base**j) for j in range(cfg.n_residual_layers)]
        layers += [nn.ELU(), Conv1d(channels, 2 * channels, 2 * ratio, ratio, mode=cfg.pad_mode)]
        channels *= 2
    if cfg.lstm:
        layers.append(LSTM(channels, cfg.lstm))
    layers += [nn.ELU(), Conv1d(channels, cfg.dimension, cfg.last_kernel_size, mode=cfg.pad_mode)]
    return _Stack(layers)


def _decoder(cfg: EncodecConfig) -> _Stack:
    channels = cfg.n_filters * 2 ** len(cfg.ratios)
    layers: list[nn.Module] = [Conv1d(cfg.dimension, channels, cfg.kernel_size, mode=cfg.pad_mode)]
    if cfg.lstm:
        layers.append(LSTM(channels, cfg.lstm))
    for ratio in cfg.ratios:
        layers += [nn.ELU(), ConvTranspose1d(channels, channels // 2, ratio)]
        channels //= 2
        layers += [ResidualBlock(cfg, channels, cfg.dilation_base**j) for j in range(cfg.n_residual_layers)]
    layers += [nn.ELU(), Conv1d(channels, 1, cfg.last_kernel_size, mode=cfg.pad_mode)]
    return _Stack(layers)


class Codebook(nn.Module):
    """``card`` vectors of size ``dimension``; nearest neighbour in squared distance."""

    def __init__(self, card: int, dimension: int):
        super().__init__()
        self.register_buffer("embed", torch.randn(card, dimension))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., D]`` to the index of the nearest vector ``[...]``. Ties and rounding as in audiocraft."""
        flat = x.reshape(-1, x.shape[-1])
        embed = self.embed.t()
        dist = -(flat.pow(2).sum(1, keepdim=True) - 2 * flat @ embed + embed.pow(2).sum(0, keepdim=True))
        return dist.max(dim=-1).indices.view(x.shape[:-1])

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return F.embedding(codes, self.embed)


class _Level(nn.Module):
    def __init__(self, card: int, dimension: int):
        super().__init__()
        self.codebook = Codebook(card, dimension)


class Quantizer(nn.Module):
    """Residual vector quantisation: each codebook codes what the ones before it left over."""

    def __init__(self, cfg: EncodecConfig):
        super().__init__()
        self.layers = nn.ModuleList(_Level(cfg.card, cfg.dimension) for _ in range(cfg.n_q))

    @property
    def codebooks(self) -> list[Codebook]:
        return [level.codebook for level in self.layers]

    def encode(self, z: torch.Tensor) -> torch.Tensor:
        """``z [B, D, T]`` to ``codes [B, K, T]``."""
        residual = z.transpose(1, 2)  # [B, T, D]
        codes = []
        for book in self.codebooks:
            codes.append(book.encode(residual))
            residual = residual - book.decode(codes[-1])
        return torch.stack(codes, dim=1)  # [B, K, T]

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """``codes [B, K, T]`` to ``z [B, D, T]``."""
        z = sum(book.decode(codes[:, k]) for k, book in enumerate(self.codebooks))
        return z.transpose(1, 2)  # [B, D, T]


class EncodecModel(nn.Module):
    """``wav [B, 1, N]`` to ``codes [B, K, T]`` and back, ``T = ceil(N / hop_length)``."""

    def __init__(self, cfg: EncodecConfig):
        super().__init__()
        self.cfg = cfg
        self.encoder, self.decoder, self.quantizer = _encoder(cfg), _decoder(cfg), Quantizer(cfg)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """``wav [B, 1, N]`` (float, -1 to 1) to ``codes [B, K, T]`` (int64, 0 to card - 1)."""
        if wav.ndim != 3 or wav.shape[1] != 1 or wav.shape[2] == 0:
            raise ValueError(f"expected mono audio [B, 1, N] with N > 0, got {list(wav.shape)}")
        return self.quantizer.encode(self.encoder(wav))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """``codes [B, K, T]`` to ``wav [B, 1, T * hop_length]``."""
        return self.decoder(self.quantizer.decode(codes))


def back_of(layers: Sequence[nn.Module]) -> int:
    """Where a decoder's back begins: behind its LSTM, at 0 where it has none. What lies before is its front."""
    return next((i + 1 for i, layer in enumerate(layers) if isinstance(layer, LSTM)), 0)


def reach_of(layers: Iterable[nn.Module], scale: float = 1) -> float:
    """How many frames to either side the result of ``layers`` depends on at most, without an LSTM's past; ``scale`` is
    the number of steps of their input for one frame."""
    reach = 0.0
    for layer in layers:
        if hasattr(layer, "reach"):  # a spectral codec's says it itself
            reach += layer.reach
        elif isinstance(layer, ResidualBlock):
            reach += reach_of(layer.block, scale)
        elif isinstance(layer, ConvTranspose1d):
            reach += 1 / scale
            scale *= layer.conv.stride[0]
        elif isinstance(layer, Conv1d):
            stride = layer.conv.stride[0]  # what a step sees beyond so many of its input's is half on each side
            reach += math.ceil(((layer.conv.kernel_size[0] - 1) * layer.conv.dilation[0] + 1 - stride) / 2) / scale
            scale /= stride
    return reach


def keep_variance(model: EncodecModel) -> None:
    """Draw every convolution anew so that it keeps the variance of its input (LeCun et al. 1998, section 4.6).

    torch's default keeps a third of it, which after the 28 convolutions of this model is next to silence: training
    then stays silent for long, and an untrained codec gives all audio the same codes.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            overlap = module.stride[0] if isinstance(module, nn.ConvTranspose1d) else 1
            nn.init.normal_(module.weight, 0.0, (module.in_channels * module.kernel_size[0] / overlap) ** -0.5)
            nn.init.zeros_(module.bias)


def fold_weight_norm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Replace each weight-norm pair (either spelling torch has had) by the weight that it stands for."""
    out = dict(state)
    for name in state:
        m = re.fullmatch(r"(.+)\.(weight_g|parametrizations\.weight\.original0)", name)
        if m:
            twin = "weight_v" if m[2] == "weight_g" else "parametrizations.weight.original1"
            g, v = out.pop(name), out.pop(f"{m[1]}.{twin}")
            out[f"{m[1]}.weight"] = torch._weight_norm(v, g, 0)
    return out


TRAINING_ONLY = ("cluster_size", "embed_avg", "inited")  # what the quantiser keeps for its moving averages


def to_audiocraft(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our names to audiocraft's ``EncodecModel`` with ``seanet.norm: none``, its training buffers filled in."""
    out = {}
    for name, value in state.items():
        stem, _, leaf = name.rpartition(".")
        if stem.endswith(".conv"):
            # a convolution has its outputs on axis 0 of its weight, a transposed one has them on axis 1
            transposed = state[f"{stem}.bias"].shape[0] != state[f"{stem}.weight"].shape[0]
            name = f"{stem}tr.convtr.{leaf}" if transposed else f"{stem}.conv.{leaf}"
        name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
        name = re.sub(r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", name)
        out[name] = value
        if name.endswith("._codebook.embed"):
            stem = name[: -len("embed")]
            out[stem + "inited"] = torch.ones(1)
            out[stem + "cluster_size"] = torch.ones(value.shape[0])
            out[stem + "embed_avg"] = value.clone()
    return out


def from_audiocraft(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """audiocraft's names, weight norm or not, to ours."""
    out = {}
    for name, value in state.items():
        if name.rsplit(".", 1)[-1] in TRAINING_ONLY:
            continue
        name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
        name = re.sub(r"\.(convtr\.convtr|conv\.conv)\.", ".conv.", name)
        name = re.sub(r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook.", name)
        out[name] = value
    return fold_weight_norm(out)
