"""How far a decoded sound is from the original: log-mel distance, texture and SI-SDR.

All are of sound at one level (-18 LUFS or dB RMS), since a logarithm has a floor; docs/RUNS.md quotes them for every
codec, Opus included. The distance alone is no judge: a sound that is right in every band on average can be smeared, and
sounds metallic. The texture says so.
"""

from __future__ import annotations

import math

import torch

SCALES = ((128, 10), (256, 20), (512, 40), (1024, 64), (2048, 96))  # window, mel bands
FLOOR = 1e-5
ROUGH_FLOOR = 1e-3  # of the texture: what lies below is not heard


def mel_filters(n_fft: int, n_mels: int, sample_rate: int) -> torch.Tensor:
    """Triangular filters ``[n_fft // 2 + 1, n_mels]``, evenly spaced on the HTK mel scale, not normalised."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    points = 700 * (10 ** (torch.linspace(0, top, n_mels + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    width = points.diff()
    slope = points[None] - bins[:, None]
    return torch.minimum(-slope[:, :-2] / width[:-1], slope[:, 2:] / width[1:]).clamp(min=0).float()


class MelDistance(torch.nn.Module):
    """Mean L1 between ``log10(mel + 1e-5)`` of ``wav [B, N]`` and ``ref [B, N]`` over five mel spectrograms (power,
    Hann windows, a hop of a quarter window): 0 is equal, unrelated music is near 1.5."""

    def __init__(self, sample_rate: int = 32_000):
        super().__init__()
        for n_fft, n_mels in SCALES:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", mel_filters(n_fft, n_mels, sample_rate), persistent=False)

    def mels(self, wav: torch.Tensor) -> list[torch.Tensor]:
        """Power mel spectrograms ``[B, frames, bands]``, one a scale."""
        out = []
        for n_fft, _ in SCALES:
            window, filters = getattr(self, f"window_{n_fft}"), getattr(self, f"filters_{n_fft}")
            spec = torch.stft(wav, n_fft, n_fft // 4, window=window, return_complex=True)
            power = spec.real.square() + spec.imag.square()
            out.append(power.transpose(1, 2) @ filters)
        return out

    def forward(self, wav: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.mels(wav), self.mels(ref))
        return sum((torch.log10(a + FLOOR) - torch.log10(b + FLOOR)).abs().mean() for a, b in pairs) / len(SCALES)

    def texture(self, wav: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        """How much the log-mel spectra of ``wav`` vary from one time and one band to the next, as a share of those of
        ``ref``: 1 is right, less is smeared, more is noise."""
        rough = [sum(mel.clamp(min=ROUGH_FLOOR).log10().diff(dim=dim).abs().mean() for mel in self.mels(x)
                     for dim in (1, 2)) for x in (wav, ref)]
        return rough[0] / rough[1].clamp(min=1e-9)


def si_sdr(wav: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, for ``[..., N]`` (Le Roux et al. 2019, arXiv:1811.02508)."""
    scale = (wav * ref).sum(-1, keepdim=True) / ref.square().sum(-1, keepdim=True).clamp(min=1e-12)
    target = scale * ref
    return 10 * torch.log10((target.square().sum(-1) + 1e-12) / ((wav - target).square().sum(-1) + 1e-12))
