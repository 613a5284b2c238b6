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

from audiocraft_ext.codecs.distance import mel_filters
from audiocraft_ext.codecs.spectral import overlap_add

SCALES = ((64, 5), (128, 10), (256, 20), (512, 40), (1024, 80), (2048, 160))  # window, mel bands
FLOOR = 1e-5
LINEAR = 0.3  # weight of the difference of magnitudes, as a share of the mean one
WINDOWS = (2048, 1024, 512)  # of the discriminators
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


class MelLoss(nn.Module):
    """Between ``wav [B, N]`` and ``ref [B, N]``: the mean over scales of L1 of log10 power mel spectra and, with a
    small weight, of their magnitudes."""

    def __init__(self, sample_rate: int):
        super().__init__()
        for n_fft, n_mels in SCALES:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", mel_filters(n_fft, n_mels, sample_rate), persistent=False)

    def _mel(self, wav: torch.Tensor, n_fft: int) -> torch.Tensor:
        wav = F.pad(wav[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
        return _Power.apply(wav, getattr(self, f"window_{n_fft}"), n_fft // 4) @ getattr(self, f"filters_{n_fft}")

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
    """Judges ``wav [B, N]`` by its complex STFT, magnitudes compressed; strides over frequency alone."""

    def __init__(self, n_fft: int, channels: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        plan = [(2, channels, 9, 2), (channels, channels, 9, 2), (channels, 2 * channels, 9, 2),
                (2 * channels, 2 * channels, 3, 2), (2 * channels, 2 * channels, 3, 1), (2 * channels, 1, 3, 1)]
        self.layers = nn.ModuleList(weight_norm(nn.Conv2d(i, o, (3, k), (1, s), (1, k // 2))) for i, o, k, s in plan)

    def forward(self, wav: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The verdict at every place (above 0: real), and the features of every layer."""
        spec = torch.stft(wav, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True).transpose(1, 2)
        gain = (spec.real.square() + spec.imag.square() + 1e-7) ** -0.35
        x = torch.stack([spec.real * gain, spec.imag * gain], 1)  # [B, 2, frames, bins]
        x = x.contiguous(memory_format=torch.channels_last)
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.layers[-1](x), features


class Discriminators(nn.Module):
    """One for each of ``WINDOWS``."""

    def __init__(self, channels: int = 12):
        super().__init__()
        self.parts = nn.ModuleList(Discriminator(n, channels) for n in WINDOWS)

    def loss(self, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """What the discriminators minimise: the hinge loss, the mean over them."""
        both = torch.cat([real, made])
        total = 0.0
        for part in self.parts:
            verdict = part(both)[0].float()
            total = total + F.relu(1 - verdict[: len(real)]).mean() + F.relu(1 + verdict[len(real):]).mean()
        return total / len(self.parts)

    def judge(self, real: torch.Tensor, made: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the decoder minimises: minus the mean verdict, and the relative L1 between features."""
        fooled = matched = 0.0
        for part in self.parts:
            verdict, features = part(made)
            with torch.no_grad():
                targets = part(real)[1]
            fooled = fooled - verdict.float().mean()
            for x, y in zip(features, targets):
                matched = matched + (x.float() - y.float()).abs().mean() / (y.float().abs().mean() + 1e-3) / len(targets)
        return fooled / len(self.parts), matched / len(self.parts)
