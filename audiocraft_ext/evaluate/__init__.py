"""How generated sound resembles given music: its kind (KAD), its beat (pulse), and whether it was learnt by heart.

The command is ``python -m audiocraft_ext.evaluate``; :func:`scores` is the cheap part of it, for use in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from audiocraft_ext.evaluate.kad import Kernel

REFERENCE = 200  # clips of ten seconds, at most, that a set is compared with


def reference(like: Sequence[np.ndarray], rate: int) -> Kernel:
    """Music to be compared with more than once, ready for :func:`scores`.

    Args:
        like: sounds ``float [N]`` at ``rate`` Hz, of any length.

    Raises:
        UserError: less than 5 s of sound.
    """
    from audiocraft_ext.evaluate.embed import embed
    from audiocraft_ext.evaluate.kad import Kernel

    return Kernel(embed(_clips(like, rate)))


def scores(sounds: Sequence[np.ndarray], like: Sequence[np.ndarray] | Kernel, rate: int) -> dict[str, float]:
    """How like some music a few dozen clips are, and how steady their beat is.

    Args:
        sounds: ``float [N]`` each, at ``rate`` Hz.
        like: sounds of the same rate, or what :func:`reference` made of them.

    Returns:
        ``kad``: the kernel audio distance (musicnn, "msd"), of the same kind of music around 0, of noise above 60;
        ``kad_error``, its standard error; ``pulse``, the median over the clips, 0 to 1; ``clips``, how many were not
        silent. NaN: nothing to measure.
    """
    from audiocraft_ext.evaluate.embed import embed
    from audiocraft_ext.evaluate.kad import Kernel
    from audiocraft_ext.evaluate.pulse import pulse

    kernel = like if isinstance(like, Kernel) else reference(like, rate)
    clips = _clips(sounds, rate)
    distance, error = kernel.kad(embed(clips))
    middle = float(np.median([pulse(clip.wav).pulse for clip in clips])) if clips else float("nan")
    return {"kad": distance, "kad_error": error, "pulse": middle, "clips": len(clips)}


def _clips(wavs: Sequence[np.ndarray], rate: int):
    from audiocraft_ext.evaluate.sounds import RATE, Sound, cut
    from audiocraft_ext.sound.files import resample

    sounds = [Sound(str(i), resample(np.asarray(wav, np.float32), rate, RATE)) for i, wav in enumerate(wavs)]
    return cut(sounds, REFERENCE)
