"""Sound as musicnn hears it: an embedding of 200 numbers for each three seconds.

musicnn (Pons and Serra, 2019; ISC, see models/LICENSE.musicnn.md) was trained to tag music, on the Million Song Dataset
("msd") or on MagnaTagATune ("mtt"). Its last layer but one tells kinds of music apart, and music from damaged music.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from audiocraft_ext.evaluate.mel import spectrogram
from audiocraft_ext.evaluate.sounds import RATE, Clip
from audiocraft_ext.sound.files import resample

MODELS = {name: Path(__file__).parent / "models" / f"{name}_musicnn_half.onnx" for name in ("msd", "mtt")}
SR, N_FFT, HOP, BANDS = 16_000, 512, 256, 96  # musicnn's
FRAMES, STEP = 187, 94  # of a window, and from one to the next: 3 s and 1.5 s
SILENT = 0.05  # a window whose log mel stays below holds nothing
BATCH = 4


@dataclass(frozen=True)
class Windows:
    """Embeddings ``x float64 [W, 200]`` of windows, with the numbers of their clips and tracks, ``[W]``."""

    x: np.ndarray
    clip: np.ndarray
    track: np.ndarray


def embed(clips: Sequence[Clip], model: str = "msd") -> Windows:
    """Embed windows of three seconds, every 1.5 s; those of silence, and clips shorter than one, are left out."""
    parts, clip_numbers, tracks = [np.zeros((0, 200))], [], []
    for number, clip in enumerate(clips):
        patches = _patches(log_mel(resample(clip.wav, RATE, SR)))
        for at in range(0, len(patches), BATCH):
            parts.append(_net(model).run(["penultimate"], {"mel": patches[at: at + BATCH]})[0])
        clip_numbers += [number] * len(patches)
        tracks += [clip.track] * len(patches)
    return Windows(np.concatenate(parts).astype(np.float64), np.array(clip_numbers, int), np.array(tracks, int))


def log_mel(wav: np.ndarray) -> np.ndarray:
    """``float32 [N]`` at 16 kHz to ``[1 + N // 256, 96]``. musicnn's own front end computes this in float16, which
    overflows where music is loud; here it is float32."""
    return np.log10(10_000 * spectrogram(wav, SR, N_FFT, HOP, BANDS) + 1)


def _patches(mel: np.ndarray) -> np.ndarray:
    """``[T, 96]`` to windows ``[W, 187, 96]`` that hold sound."""
    if len(mel) < FRAMES:
        return np.zeros((0, FRAMES, BANDS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(mel, FRAMES, 0)[::STEP].transpose(0, 2, 1)
    return np.ascontiguousarray(windows[windows.max((1, 2)) > SILENT])


@cache
def _net(model: str):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(MODELS[model]), options, providers=["CPUExecutionProvider"])
