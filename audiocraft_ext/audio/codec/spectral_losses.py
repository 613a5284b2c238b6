"""What the spectral codec is trained on: a distance of log-mel spectra, then discriminators that look at the spectrum.

The distance puts the right energy into every band and leaves the fine structure free, so alone it sounds metallic.
Discriminators on complex spectra at several resolutions (A. Defossez et al., arXiv:2210.13438, section 3.4; W. Jang
et al., arXiv:2106.07889) mend that; the decoder is asked to fool them (hinge loss) and to match their features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from audiocraft_ext.audio.codec.distance import mel_filters
from audiocraft_ext.audio.codec.spectral import overlap_add

SCALES = ((64, 5), (128, 10), (256, 20), (512, 40), (1024, 80), (2048, 160))  # window, mel bands
FLOOR = 1e-5
LINEAR = 0.3  # weight of the difference of magnitudes, as a share of the mean one
SPECTRA = (2048, 1024, 512, 256)  # windows of the discriminators that see complex spectra
MELS = ((512, 48), (1024, 96), (2048, 160))  # windows and bands of those that see log-mel spectra
SLOPE = 0.1  # of the leaky ReLU


class _Power(torch.autograd.Function):
    """``wav [B, N]`` to the power of its windowed spectra, ``[B, frames, bins]``: what autograd would do, with an
    inverse FFT of real output for its backward pass, which halves the time."""

    @staticmethod
    def forward(ctx, wav: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
        spec = torch.fft.rfft(wav.unfold(1, len(window), hop) * window)
        ctx.save_for_backward(spec, window)
        ctx.hop, ctx.length = hop, wav.shape[1]
        return torch.view_as_real(spec).square().sum(-1)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        spec, window = ctx.saved_tensors
        grad = grad.clone()
        grad[..., 0] *= 2  # the first and the last bin have no twin among the negative frequencies
        grad[..., -1] *= 2
        wav = overlap_add(torch.fft.irfft(spec * grad) * (window * len(window)), ctx.hop)
        return F.pad(wav, (0, ctx.length - wav.shape[1])), None, None


def _power(wav: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """``wav [B, N]`` to ``[B, frames, bins]``, frames a quarter window apart, reflected at both ends."""
    half = len(window) // 2
    return _Power.apply(F.pad(wav[:, None], (half, half), mode="reflect")[:, 0], window, half // 2)


class MelLoss(nn.Module):
    """Between ``wav [B, N]`` and ``ref [B, N]``: the mean over scales of L1 of log10 power mel spectra and, with a
    small weight, of their magnitudes."""

    def __init__(self, sample_rate: int):
        super().__init__()
        for n_fft, n_mels in SCALES:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", mel_filters(n_fft, n_mels, sample_rate), persistent=False)

    def _mel(self, wav: torch.Tensor, n_fft: int) -> torch.Tensor:
        return _power(wav, getattr(self, f"window_{n_fft}")) @ getattr(self, f"filters_{n_fft}")

    def forward(self, wav: torch.Tensor, ref: torch.Tensor, step: int) -> torch.Tensor:
        """Every other scale, the rest at the next ``step``: half the time, and the same on average."""
        total, scales = 0.0, SCALES[step % 2:: 2]
        for n_fft, _ in scales:
            with torch.no_grad():
                target = self._mel(ref, n_fft)
                root = (target + 1e-8).sqrt()
            mel = self._mel(wav, n_fft)
            total = total + (torch.log10(mel + FLOOR) - torch.log10(target + FLOOR)).abs().mean()
            total = total + LINEAR * ((mel + 1e-8).sqrt() - root).abs().mean() / (root.mean() + 0.05)
        return total / len(scales)


class Discriminator(nn.Module):
    """Judges ``wav [B, N]`` by a picture of it ``[B, C, frames, bins]``; the convolutions thin out the bins.

    Subclasses have ``picture(wav)``.
    """

    def __init__(self, inputs: int, channels: int, strides: tuple[int, ...]):
        super().__init__()
        widths = (inputs, channels, *[2 * channels] * (len(strides) - 1))
        self.layers = nn.ModuleList(weight_norm(nn.Conv2d(i, o, (3, 2 * s + 1), (1, s), (1, s)))
                                    for i, o, s in zip(widths, widths[1:], strides))
        self.verdict = weight_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, wav: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The verdict at every place (above 0: real), and the features of every layer."""
        x, features = self.picture(wav), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.verdict(x), features


class SpectrumDiscriminator(Discriminator):
    """Sees the complex STFT, magnitudes compressed to their square roots."""

    def __init__(self, n_fft: int, channels: int):
        super().__init__(2, channels, (4, 4, 2, 2))
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def picture(self, wav: torch.Tensor) -> torch.Tensor:
        half = self.n_fft // 2
        wav = F.pad(wav[:, None], (half, half), mode="reflect")[:, 0]
        spec = torch.view_as_real(torch.fft.rfft(wav.unfold(1, self.n_fft, half) * self.window))
        magnitude = (spec.square().sum(-1, keepdim=True) + 1e-7).sqrt()
        return (spec * magnitude.rsqrt()).permute(0, 3, 1, 2)


class MelDiscriminator(Discriminator):
    """Sees the log-mel spectrum: the texture without the phase, at a small part of the cost."""

    def __init__(self, n_fft: int, n_mels: int, channels: int, sample_rate: int):
        super().__init__(1, channels, (2, 2, 2, 1))
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(n_fft, n_mels, sample_rate), persistent=False)

    def picture(self, wav: torch.Tensor) -> torch.Tensor:
        return torch.log10(_power(wav, self.window) @ self.filters + 1e-3)[:, None]


class Discriminators(nn.Module):
    """One for each of ``SPECTRA`` and ``MELS``."""

    def __init__(self, sample_rate: int, channels: int = 16):
        super().__init__()
        self.parts = nn.ModuleList([
            *(SpectrumDiscriminator(n, channels) for n in SPECTRA),
            *(MelDiscriminator(n, mels, 2 * channels, sample_rate) for n, mels in MELS)])

    def forward(self, real: torch.Tensor, made: torch.Tensor,
                step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All that both sides minimise, each the mean over every other discriminator; at the next ``step`` it is the
        rest's turn.

        Returns:
            the discriminators' hinge loss; the decoder's, minus the mean verdict on ``made``; and the relative L1
            between the features of both, the real ones taken as they are.
        """
        judged = fooled = matched = 0.0
        parts = self.parts[step % 2:: 2]
        for part in parts:
            verdict, targets = part(real)
            reply, features = part(made)
            judged = judged + F.relu(1 - verdict.float()).mean() + F.relu(1 + reply.float()).mean()
            fooled = fooled - reply.float().mean()
            for x, y in zip(features, targets):
                y = y.detach()
                matched = matched + F.l1_loss(x, y).float() / (y.abs().mean().float() + 1e-3) / len(targets)
        return judged / len(parts), fooled / len(parts), matched / len(parts)
