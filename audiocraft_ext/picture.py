"""What people would rather see than read: waveforms and mel spectrograms of real and generated clips side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def mel_db(wav: np.ndarray, sample_rate: int, n_mels: int = 96, n_fft: int = 2048, hop: int = 512) -> np.ndarray:
    """``float32 [N]`` to a log mel spectrogram ``[n_mels, frames]`` in dB below its peak."""
    import librosa

    power = librosa.feature.melspectrogram(y=wav, sr=sample_rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels)
    return librosa.power_to_db(power, ref=max(power.max(), 1e-10))


def compare(columns: list[tuple[str, list[tuple[str, np.ndarray]]]], sample_rate: int, path: Path) -> None:
    """Draw columns of clips, a waveform over a spectrogram each, into a PNG.

    Args:
        columns: ``[(heading, [(name, wav [N]), ...]), ...]``, each column with as many clips.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = max(len(clips) for _, clips in columns)
    fig, axes = plt.subplots(2 * rows, len(columns), figsize=(7 * len(columns), 3.4 * rows), squeeze=False,
                             gridspec_kw={"height_ratios": [1, 2] * rows}, layout="constrained")
    for axis in axes.flat:
        axis.set_visible(False)
    for column, (heading, clips) in enumerate(columns):
        for row, (name, wav) in enumerate(clips):
            wave, spec = axes[2 * row, column], axes[2 * row + 1, column]
            wave.set_visible(True)
            spec.set_visible(True)
            seconds = len(wav) / sample_rate
            wave.plot(np.arange(len(wav)) / sample_rate, wav, linewidth=0.4, color="#205080")
            wave.set(xlim=(0, seconds), ylim=(-1, 1), xticks=[], yticks=[-1, 0, 1])
            wave.set_title(f"{heading}: {name}", fontsize=10, loc="left")
            image = spec.imshow(mel_db(wav, sample_rate), origin="lower", aspect="auto", vmin=-70, vmax=0,
                                extent=(0, seconds, 0, 96), cmap="magma")
            spec.set(xlabel="seconds" if row == rows - 1 else "", ylabel="mel band")
    fig.colorbar(image, ax=axes[:, -1], label="dB", shrink=0.5)
    fig.savefig(path, dpi=90)
    plt.close(fig)
