"""The spectral codec: a small convolutional network between an STFT and an inverse STFT.

    wav --STFT, 100 Hz--> blocks --stride 2, 50 Hz--> blocks --residual VQ--> codes [B, K, T]
    codes --> blocks, 50 Hz --stride 2--> blocks, 100 Hz --> magnitude and phase --inverse STFT--> wav

The head that predicts a spectrum and leaves the samples to the inverse STFT is Vocos's (H. Siuzdak, arXiv:2306.00814),
the blocks are ConvNeXt's (Z. Liu et al., arXiv:2201.03545), the quantiser looks codes up in a few dimensions (R. Kumar
et al., arXiv:2306.06546). There is no recurrence: every frame depends on a fixed number of its neighbours
(``reach``), so sound coded or decoded in pieces is what it would be at once.

The codes are ordered: the first ``n`` codebooks alone are a codec too, of lower rate (trained with quantiser dropout).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

FLOOR = 1e-5  # of a magnitude, before its logarithm
COMPRESSION = 0.3  # magnitudes enter the encoder to this power
LOUDEST = 6.0  # the largest log magnitude that the head can say: far above full scale


@dataclass(frozen=True)
class SpectralConfig:
    """The shape of a spectral codec.

    Attributes:
        hop: samples a spectral frame; a code frame is two of them.
        n_fft_in: window of the encoder's STFT.
        n_fft_out: window of the inverse STFT; a multiple of ``hop``.
        encoder: channels at the spectral rate and at the code rate.
        encoder_blocks: their numbers of blocks.
        decoder: channels at the code rate and at the spectral rate.
        decoder_blocks: their numbers of blocks.
        expansion: how much wider a block is inside.
        kernel: frames that a block's convolution sees; odd.
        code_dim: dimensions in which a code is looked up.
    """

    sample_rate: int = 32_000
    hop: int = 320
    n_fft_in: int = 1024
    n_fft_out: int = 1280
    encoder: tuple[int, int] = (128, 176)
    encoder_blocks: tuple[int, int] = (2, 4)
    decoder: tuple[int, int] = (256, 192)
    decoder_blocks: tuple[int, int] = (5, 2)
    expansion: int = 3
    kernel: int = 7
    n_q: int = 6
    card: int = 256
    code_dim: int = 8

    def __post_init__(self):
        for name in ("encoder", "encoder_blocks", "decoder", "decoder_blocks"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        sizes = (self.sample_rate, self.hop, self.n_fft_in, self.n_fft_out, *self.encoder, *self.decoder,
                 self.expansion, self.kernel, self.n_q, self.card, self.code_dim)
        if min(sizes) < 1 or self.kernel % 2 == 0 or (len(self.encoder), len(self.decoder)) != (2, 2):
            raise ValueError(f"expected sizes of 1 or more, an odd kernel and two rates, got {asdict(self)}")
        if self.n_fft_out % self.hop or (self.n_fft_in - self.hop) % 2 or (self.n_fft_out - self.hop) % 2:
            raise ValueError(f"expected windows that fit a hop of {self.hop}, got {self.n_fft_in}, {self.n_fft_out}")

    @property
    def hop_length(self) -> int:
        """Samples a code frame."""
        return 2 * self.hop

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length

    def to_dict(self) -> dict:
        return asdict(self)


class Block(nn.Module):
    """ConvNeXt's: a depthwise convolution over time, then two layers over channels, added to ``x [B, T, D]``."""

    def __init__(self, dim: int, cfg: SpectralConfig):
        super().__init__()
        self.mix = nn.Conv1d(dim, dim, cfg.kernel, padding=cfg.kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, cfg.expansion * dim)
        self.narrow = nn.Linear(cfg.expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return x + self.scale * self.narrow(F.gelu(self.widen(y)))


class Encoder(nn.Module):
    """``wav [B, 1, N]`` to latents ``[B, D, T]``, ``T = ceil(N / hop_length)``: silence fills up the last frame."""

    def __init__(self, cfg: SpectralConfig):
        super().__init__()
        self.cfg = cfg
        fine, coarse = cfg.encoder
        self.enter = nn.Linear(3 * (cfg.n_fft_in // 2 + 1), fine)
        self.fine = nn.Sequential(*(Block(fine, cfg) for _ in range(cfg.encoder_blocks[0])))
        self.down = nn.Conv1d(fine, coarse, 4, stride=2, padding=1)
        self.coarse = nn.Sequential(*(Block(coarse, cfg) for _ in range(cfg.encoder_blocks[1])))

    def spectrum(self, wav: torch.Tensor) -> torch.Tensor:
        """Compressed real and imaginary parts and log magnitudes, ``[B, 2 T, 3 * bins]``."""
        cfg = self.cfg
        side = (cfg.n_fft_in - cfg.hop) // 2
        wav = F.pad(wav[:, 0], (side, side - wav.shape[2] % -cfg.hop_length))
        window = torch.hann_window(cfg.n_fft_in, device=wav.device)
        spec = torch.stft(wav, cfg.n_fft_in, cfg.hop, window=window, center=False, return_complex=True).transpose(1, 2)
        magnitude = spec.abs().clamp(min=FLOOR)
        gain = magnitude ** (COMPRESSION - 1)
        return torch.cat([spec.real * gain, spec.imag * gain, COMPRESSION * magnitude.log()], -1)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        x = self.fine(self.enter(self.spectrum(wav)))
        return self.coarse(self.down(x.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)

    @property
    def layers(self) -> list[nn.Module]:
        """As an EnCodec has them: there is one, and it is the whole."""
        return [self]

    @property
    def reach(self) -> float:
        """How many code frames to either side a latent depends on at most."""
        cfg, side = self.cfg, self.cfg.kernel // 2
        fine = (cfg.n_fft_in - cfg.hop) / 2 / cfg.hop + cfg.encoder_blocks[0] * side + 1
        return fine / 2 + cfg.encoder_blocks[1] * side


class Quantizer(nn.Module):
    """Residual vector quantisation: each codebook codes what the ones before it left over, in ``code_dim`` of the
    ``D`` dimensions."""

    def __init__(self, cfg: SpectralConfig):
        super().__init__()
        dim = cfg.encoder[1]
        self.inward = nn.ModuleList(nn.Linear(dim, cfg.code_dim) for _ in range(cfg.n_q))
        self.outward = nn.ModuleList(nn.Linear(cfg.code_dim, dim) for _ in range(cfg.n_q))
        self.register_buffer("codebooks", torch.randn(cfg.n_q, cfg.card, cfg.code_dim))

    def nearest(self, point: torch.Tensor, level: int) -> torch.Tensor:
        """``point [..., code_dim]`` to the index of the nearest vector of a codebook; of equals the first."""
        book = self.codebooks[level]
        return (2 * point @ book.T - book.square().sum(1)).argmax(-1)

    def encode(self, z: torch.Tensor, n_q: int | None = None) -> torch.Tensor:
        """``z [B, D, T]`` to ``codes [B, n_q, T]``."""
        z, codes = z.transpose(1, 2), []
        for level in range(n_q or len(self.inward)):
            codes.append(self.nearest(self.inward[level](z), level))
            z = z - self.outward[level](self.codebooks[level][codes[-1]])
        return torch.stack(codes, 1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """``codes [B, k, T]`` of the first ``k`` codebooks to ``z [B, D, T]``."""
        z = sum(self.outward[level](self.codebooks[level][codes[:, level]]) for level in range(codes.shape[1]))
        return z.transpose(1, 2)


class Decoder(nn.Module):
    """``z [B, D, T]`` to ``wav [B, 1, T * hop_length]``."""

    def __init__(self, cfg: SpectralConfig):
        super().__init__()
        self.cfg = cfg
        coarse, fine = cfg.decoder
        bins = cfg.n_fft_out // 2 + 1
        self.enter = nn.Linear(cfg.encoder[1], coarse)
        self.coarse = nn.Sequential(*(Block(coarse, cfg) for _ in range(cfg.decoder_blocks[0])))
        self.up = nn.ConvTranspose1d(coarse, fine, 4, stride=2, padding=1)
        self.fine = nn.Sequential(*(Block(fine, cfg) for _ in range(cfg.decoder_blocks[1])))
        self.norm = nn.LayerNorm(fine)
        self.head = nn.Linear(fine, 3 * bins)  # log magnitude, and the phase as a direction in the plane
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[:bins], -2.0)  # quiet at first

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = self.coarse(self.enter(z.transpose(1, 2)))
        x = self.fine(self.up(x.transpose(1, 2)).transpose(1, 2))
        return self.synthesise(self.head(self.norm(x)).float())[:, None]

    @property
    def layers(self) -> list[nn.Module]:
        return [self]

    @property
    def reach(self) -> float:
        """How many code frames to either side the sound of a frame depends on at most."""
        cfg, side = self.cfg, self.cfg.kernel // 2
        fine = 1 + cfg.decoder_blocks[1] * side + (cfg.n_fft_out - cfg.hop) / 2 / cfg.hop
        return cfg.decoder_blocks[0] * side + 1 + fine / 2

    def synthesise(self, head: torch.Tensor) -> torch.Tensor:
        """The head's output ``[B, F, 3 * bins]`` to ``wav [B, F * hop]``: inverse STFT, windowed, overlapping frames
        added, divided by what the windows add up to (D. Griffin and J. Lim, 1984)."""
        magnitude, real, imag = head.chunk(3, -1)
        scale = magnitude.clamp(max=LOUDEST).exp() * torch.rsqrt(real.square() + imag.square() + 1e-6)
        window = torch.hann_window(self.cfg.n_fft_out, device=head.device)
        frames = torch.fft.irfft(torch.complex(scale * real, scale * imag), dim=-1) * window
        total = overlap_add(window.square().expand(1, frames.shape[1], -1), self.cfg.hop)
        side = (self.cfg.n_fft_out - self.cfg.hop) // 2
        return (overlap_add(frames, self.cfg.hop) / total.clamp(min=1e-3))[:, side:-side]


def overlap_add(frames: torch.Tensor, hop: int) -> torch.Tensor:
    """``frames [B, F, n]``, each ``hop`` samples after the one before it, to their sum ``[B, (F - 1) * hop + n]``."""
    parts = frames.unflatten(-1, (-1, hop)).unbind(2)  # n / hop of [B, F, hop]
    last = len(parts) - 1
    return sum(F.pad(part, (0, 0, i, last - i)) for i, part in enumerate(parts)).flatten(1)


class SpectralModel(nn.Module):
    """``wav [B, 1, N]`` to ``codes [B, K, T]`` and back, ``T = ceil(N / hop_length)``."""

    def __init__(self, cfg: SpectralConfig):
        super().__init__()
        self.cfg = cfg
        self.encoder, self.quantizer, self.decoder = Encoder(cfg), Quantizer(cfg), Decoder(cfg)

    def encode(self, wav: torch.Tensor) -> torch.Tensor:
        """``wav [B, 1, N]`` (float, -1 to 1) to ``codes [B, K, T]`` (int64, 0 to card - 1)."""
        if wav.ndim != 3 or wav.shape[1] != 1 or wav.shape[2] == 0:
            raise ValueError(f"expected mono audio [B, 1, N] with N > 0, got {list(wav.shape)}")
        return self.quantizer.encode(self.encoder(wav))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """``codes [B, k, T]`` of the first ``k`` codebooks to ``wav [B, 1, T * hop_length]``."""
        return self.decoder(self.quantizer.decode(codes))

    def first(self, n_q: int) -> SpectralModel:
        """The codec that the first ``n_q`` codebooks are; it shares the weights."""
        cfg = replace(self.cfg, n_q=n_q)
        with torch.device("meta"):
            model = SpectralModel(cfg)
        kept = {name: value for name, value in self.state_dict().items() if name in model.state_dict()}
        kept["quantizer.codebooks"] = kept["quantizer.codebooks"][:n_q]
        model.load_state_dict(kept, assign=True)
        return model
