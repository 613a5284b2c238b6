"""What a clip may begin with or be played on: a file, a clip's JSON, a sound or codes, all to codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft_ext.audio.clips import codes_of
from audiocraft_ext.audio.engine import SoundBundle
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import rereadable
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine import sampler
from audiocraft_ext.sound import files as sound_files

SILENT = 1e-4  # -80 dBFS


def read_codes(given: Any, what: str, bundle: SoundBundle, encode: Callable[[np.ndarray], np.ndarray],
               keep: int | None = None, first: int | None = None,
               say: Callable[[str], object] = lambda text: None) -> tuple[np.ndarray, int]:
    """Codes of what is given.

    Args:
        given: a path, a sound ``float [N]`` at the bundle's rate, or codes (integers ``[K, T]``).
        what: a word for it, for messages.
        encode: ``wav float32 [B, 1, N] -> codes [B, K, T]``; called only if there is need.
        keep, first: only the last, or the first so many frames.
        say: takes what is odd about a file, a line each.

    Returns:
        ``codes int64 [K, T]``, and how many frames there were in all.

    Raises:
        UserError: nothing there, nothing to hear in it, or another codec's codes.
    """
    spec, hop = bundle.spec, bundle.hop_length
    if isinstance(given, (str, Path)):
        what = f"{given}: the {what}"
        with rereadable(given, what, "a sound file or a clip's JSON") as path:
            codes, sound = codes_of(path, spec), None
            if codes is None:
                loaded = sound_files.load(path, bundle.sample_rate)
                sound = loaded.wav
                for note in loaded.notes:
                    say(f"note: {what}: {note}")
    else:
        array, what = np.asarray(given), f"the {what}"
        whole = np.issubdtype(array.dtype, np.integer)
        codes, sound = (array, None) if whole and array.ndim == 2 else (None, array)
    if sound is not None:
        length = -(-sound.shape[-1] // hop) if sound.ndim else 0
        span = slice(-keep * hop, None) if keep else slice(first and first * hop)
        used = checked_sound(sound[..., span] if sound.ndim else sound, what)
        codes = encode(used[None, None])[0]
    else:
        codes = checked_codes(codes, spec, what)
        length = codes.shape[1]
    return codes[:, -keep:] if keep else codes[:, :first], length


def checked_sound(wav: np.ndarray, what: str) -> np.ndarray:
    """``wav`` as ``float32 [N]``, if there is something to hear in it."""
    if wav.ndim != 1 or not np.issubdtype(wav.dtype, np.floating):
        raise UserError(f"{what}: expected a file, a sound (floats [N]) or codes (integers [K, T]), got "
                        f"{wav.dtype} {list(wav.shape)}")
    if not np.isfinite(wav).all():
        raise UserError(f"{what} holds values that are not numbers")
    if not len(wav) or np.abs(wav).max() < SILENT:
        raise UserError(f"{what} is {'silent' if len(wav) else 'empty'}; there is nothing to hear in it")
    return wav.astype(np.float32, copy=False)


def checked_codes(codes: np.ndarray, spec: Spec, what: str) -> np.ndarray:
    """``codes`` as ``int64 [K, T]``, if all of them are known and ``spec``'s."""
    if not codes.size or codes.min() < 0:
        raise UserError(f"{what}: expected codes from 0 on, got {codes.min() if codes.size else 'none at all'}")
    return sampler.check_given(codes, 1, spec, codes.shape[-1])[0]
