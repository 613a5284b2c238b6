"""Sound files in and out: any format to mono float32 at one rate, and WAV with its settings written inside.

soundfile reads what libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...); PyAV, imported only when needed, reads the
rest (M4A, WMA, the sound of a video).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.errors import UserError

EXTENSIONS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64 .m4a .m4b .mp4 .aac .wma .webm .mka".split()
)


class BrokenAudio(UserError):
    """A sound file that cannot be used; the message names it and says why."""


def find_audio(root: Path) -> list[Path]:
    """All sound files below ``root``, by their ending, sorted by path. Hidden files and folders are passed over."""
    found = []
    for folder, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not d.startswith("."))
        found += [Path(folder, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in EXTENSIONS]
    return sorted(found)


def read(path: Path, sample_rate: int) -> np.ndarray:
    """Read a whole file as mono ``float32 [N]`` at ``sample_rate`` (Hz).

    Raises:
        BrokenAudio: the file is empty, truncated, not audio, or holds values that are not finite.
    """
    if path.stat().st_size == 0:
        raise BrokenAudio(f"{path}: the file is empty (0 bytes)")
    wav, rate = _decode(path)
    if wav.shape[0] == 0:
        raise BrokenAudio(f"{path}: no audio in the file")
    if not np.isfinite(wav).all():
        raise BrokenAudio(f"{path}: holds values that are not numbers")
    mono = wav.mean(axis=1, dtype=np.float32)  # [N, C] -> [N]
    return resample(mono, rate, sample_rate)


def resample(wav: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """Resample ``float32 [N]`` with soxr at its high quality."""
    if rate_from == rate_to:
        return np.ascontiguousarray(wav)
    import soxr

    return soxr.resample(wav, rate_from, rate_to, quality="HQ").astype(np.float32, copy=False)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """The file's own samples ``[N, C]`` and rate; libsndfile first, then FFmpeg's decoders."""
    try:
        with sf.SoundFile(path) as f:
            wav = f.read(dtype="float32", always_2d=True)
            if f.frames > 0 and wav.shape[0] < f.frames and f.format != "MP3":  # an MP3's length is a guess
                raise BrokenAudio(f"{path}: truncated, {wav.shape[0]} of {f.frames} samples are there")
            return wav, f.samplerate
    except sf.LibsndfileError as error:
        first = error.error_string
    try:
        import av
    except ImportError:
        raise BrokenAudio(f"{path}: cannot be read ({first}); 'pip install av' reads more formats") from None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
            frames = [f.to_ndarray() for packet in container.decode(stream) for f in resampler.resample(packet)]
            frames += [f.to_ndarray() for f in resampler.resample(None)]
            return np.concatenate([f[0] for f in frames] or [np.zeros(0, np.float32)])[:, None], stream.rate
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise BrokenAudio(f"{path}: not audio that can be read ({first.strip()}; FFmpeg: {error})") from None


def write_wav(path: Path, wav: np.ndarray, sample_rate: int, comment: str = "", title: str = "") -> None:
    """Write ``float [N]`` as 16-bit WAV, clipped to -1..1, ``comment`` in the file's INFO chunk.

    Written beside its place and renamed, so that a file that is there is whole.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with sf.SoundFile(part, "w", sample_rate, 1, subtype="PCM_16", format="WAV") as f:
            f.title, f.comment, f.software = title, comment, "micro-musicgen"
            f.write(np.clip(wav, -1.0, 1.0))
        os.replace(part, path)
    except sf.LibsndfileError as error:
        raise UserError(f"cannot write {path}: {error.error_string.strip()}") from None
    finally:
        part.unlink(missing_ok=True)
