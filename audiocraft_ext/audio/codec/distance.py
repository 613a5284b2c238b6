"""How far a decoded sound is from the original: multi-scale log-mel distance and SI-SDR.

The distance is the mean over five mel spectrograms of ``L1(log10(mel + 1e-5)) + 0.05 * L1(mel)``, power spectra,
Hann windows, a hop of a quarter window. It is the figure that docs/RUNS.md quotes for every codec, Opus included,
and (being differentiable) the loss that trains the microcodec.
"""

from __future__ import annotations

import math

import torch

SCALES = ((128, 10), (256, 20), (512, 40), (1024, 64), (2048, 96))  # window, mel bands
LINEAR_WEIGHT = 0.05
FLOOR = 1e-5


def mel_filters(n_fft: int, n_mels: int, sample_rate: int) -> torch.Tensor:
    """Triangular filters ``[n_fft // 2 + 1, n_mels]``, evenly spaced on the HTK mel scale, not normalised."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    points = 700 * (10 ** (torch.linspace(0, top, n_mels + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    width = points.diff()
    slope = points[None] - bins[:, None]
    return torch.minimum(-slope[:, :-2] / width[:-1], slope[:, 2:] / width[1:]).clamp(min=0).float()


class MelDistance(torch.nn.Module):
    """Distance between ``wav [B, N]`` and ``ref [B, N]``; 0 is equal, unrelated music is near 10."""

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
            power = spec.real.square() + spec.imag.square()  # no square root: its gradient at 0 is infinite
            out.append(power.transpose(1, 2) @ filters)
        return out

    def parts(self, wav: torch.Tensor, ref: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The log and the linear term, each the mean over the scales."""
        with torch.no_grad():
            targets = self.mels(ref)
        log = linear = 0.0
        for mel, target in zip(self.mels(wav), targets):
            log = log + (torch.log10(mel + FLOOR) - torch.log10(target + FLOOR)).abs().mean()
            linear = linear + (mel - target).abs().mean()
        return log / len(SCALES), linear / len(SCALES)

    def forward(self, wav: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        log, linear = self.parts(wav, ref)
        return log + LINEAR_WEIGHT * linear


def si_sdr(wav: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, for ``[..., N]`` (Le Roux et al. 2019, arXiv:1811.02508)."""
    scale = (wav * ref).sum(-1, keepdim=True) / ref.square().sum(-1, keepdim=True).clamp(min=1e-12)
    target = scale * ref
    return 10 * torch.log10((target.square().sum(-1) + 1e-12) / ((wav - target).square().sum(-1) + 1e-12))
