"""Sound files found below a folder, and read: any format to mono float32 at one rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.core.files import files, name_of
from audiocraft_ext.sound.reader import BrokenAudio as BrokenAudio
from audiocraft_ext.sound.reader import Reader, open_sound

EXTENSIONS = frozenset(
    ".wav .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .aif .aiff .aifc .au .snd .caf .w64 .rf64 .voc .m4a .m4b .m4r "
    ".mp4 .m4v .mov .3gp .3g2 .aac .ac3 .eac3 .dts .wma .wmv .asf .webm .mka .mkv .ogv .avi .flv .mpg .mpeg .vob .ts "
    ".mts .m2ts .ape .wv .tta .mpc .tak .shn .dsf .dff .amr .gsm .ra .rm".split()
)
# What lies beside sound everywhere; any other ending that is passed over is worth a word.
COMPANIONS = frozenset(
    ".txt .md .rst .rtf .doc .docx .html .htm .url .csv .tsv .json .jsonl .yaml .yml .xml .toml .ini .log .py .sh "
    ".jpg .jpeg .png .gif .bmp .webp .svg .pdf .mid .midi .asd .nfo .cue .m3u .m3u8 .pls .sfv .md5 .sha256 .db .lnk "
    ".als .flp .logicx .rpp .reapeaks .pkf .torrent .srt .lrc .zip .gz".split()
)


def find_audio(root: Path) -> list[Path]:
    """All sound files below ``root``, by their ending, sorted by path. Hidden files and folders are passed over."""
    return sorted(path for path in files(root) if is_audio(path))


def passed_over(root: Path) -> dict[str, int]:
    """How many files below ``root`` are not sound by their ending, by ending; without what usually lies beside it."""
    endings = Counter(path.suffix.lower() for path in files(root) if path.suffix)
    return {e: n for e, n in sorted(endings.items()) if e not in EXTENSIONS | COMPANIONS}


def is_audio(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in EXTENSIONS


@dataclass(frozen=True)
class Sound:
    """A file's sound and what it was before: mono ``float32 [N]`` at the asked rate, length and rate (Hz) of the
    file, its largest magnitude over all channels, and what was odd about it."""

    wav: np.ndarray
    seconds: float
    rate: int
    amplitude: float
    notes: tuple[str, ...] = ()


def load(path: Path, sample_rate: int) -> Sound:
    """Read a whole file as mono at ``sample_rate`` (Hz), block by block: only the result is held in memory.

    Raises:
        BrokenAudio: the file is empty, truncated, not audio, or holds values that are not finite. (What is left of
            a truncated MP3 counts as whole where nothing in it says how long it was.)
    """
    frames, peak = 0, 0.0

    def measured(reader: Reader) -> Iterator[np.ndarray]:
        nonlocal frames, peak
        for block in reader:
            frames, peak = frames + len(block), max(peak, float(np.abs(block).max()))
            yield block

    with open_sound(path) as reader:
        wav = np.concatenate(list(mono(measured(reader), reader.rate, sample_rate)))
        return Sound(wav, frames / reader.rate, reader.rate, peak, tuple(reader.notes))


def read(path: Path, sample_rate: int) -> np.ndarray:
    """The sound of :func:`load` alone, ``float32 [N]``."""
    return load(path, sample_rate).wav


def duration(path: Path) -> float:
    """A file's length in seconds as its header has it, 0 if it has none: for progress bars, nothing else."""
    try:
        return sf.info(name_of(path)).duration
    except sf.LibsndfileError:
        pass
    try:
        import av
    except ImportError:
        return 0.0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            return (container.duration or 0) / 1e6
    except (av.FFmpegError, OSError, ValueError):  # some of FFmpeg's errors are neither OSError nor ValueError
        return 0.0


def mono(blocks: Iterable[np.ndarray], rate: int, sample_rate: int, mix: str = "mid") -> Iterator[np.ndarray]:
    """Blocks ``float32 [n, C]`` at ``rate`` to mono ``float32 [n]`` at ``sample_rate``, whose sum of lengths is as it
    would be in one piece.

    Args:
        mix: "mid", the mean of the channels, or "channel 1" and so on.
    """
    resampler = None
    if rate != sample_rate:
        import soxr

        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        one = mixed(block, mix)
        if resampler:
            one = resampler.resample_chunk(one)
        if len(one):
            yield one
    if resampler:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def mixed(block: np.ndarray, mix: str = "mid") -> np.ndarray:
    """``float32 [n, C]`` to ``[n]``; ``mix`` as for :func:`mono`."""
    if mix != "mid":
        return np.ascontiguousarray(block[:, int(mix.removeprefix("channel ")) - 1])
    total = block[:, 0].copy()
    for channel in range(1, block.shape[1]):  # in this order; and many times as quick as a mean over so short an axis
        total += block[:, channel]
    total /= np.float32(block.shape[1])
    return total


def resample(wav: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """Resample ``float32 [N]`` with soxr at its high quality."""
    if rate_from == rate_to:
        return np.ascontiguousarray(wav)
    import soxr

    return soxr.resample(wav, rate_from, rate_to, quality="HQ").astype(np.float32, copy=False)
