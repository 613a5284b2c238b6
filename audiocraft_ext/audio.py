"""Sound files in: any format to mono float32 at one rate.

soundfile reads what libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...); PyAV, imported only when needed, reads the
rest (M4A, WMA, the sound of a video).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.errors import UserError

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
BLOCK = 2**18  # samples at a time
EXACT = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac", "asf")  # FFmpeg's names of what states its length


class BrokenAudio(UserError):
    """A sound file that cannot be used; the message names it and says why."""


def find_audio(root: Path) -> list[Path]:
    """All sound files below ``root``, by their ending, sorted by path. Hidden files and folders are passed over."""
    return sorted(path for path in _files(root) if path.suffix.lower() in EXTENSIONS)


def passed_over(root: Path) -> dict[str, int]:
    """How many files below ``root`` are not sound by their ending, by ending; without what usually lies beside it."""
    endings = Counter(path.suffix.lower() for path in _files(root) if path.suffix)
    return {e: n for e, n in sorted(endings.items()) if e not in EXTENSIONS | COMPANIONS}


def _files(root: Path) -> Iterator[Path]:
    """All files below ``root`` that are not hidden. Links to folders are followed, after the real ones; a folder that
    was seen, or that holds ``root``, is not gone into again."""
    folders, links, seen = [root], [], set(root.resolve().parents)
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:  # not ours to read
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(Path(entry.path))
            else:
                yield Path(entry.path)


@dataclass(frozen=True)
class Sound:
    """A file's sound and what it was before: mono ``float32 [N]`` at the asked rate, length and rate (Hz) of the
    file, and its largest magnitude over all channels."""

    wav: np.ndarray
    seconds: float
    rate: int
    amplitude: float


def load(path: Path, sample_rate: int) -> Sound:
    """Read a whole file as mono at ``sample_rate`` (Hz), block by block: only the result is held in memory.

    Raises:
        BrokenAudio: the file is empty, truncated, not audio, or holds values that are not finite. (What is left of
            a truncated MP3 counts as whole: nothing in it says how long it was.)
    """
    if path.stat().st_size == 0:
        raise BrokenAudio(f"{path}: the file is empty (0 bytes)")
    try:
        return _mix(path, _soundfile_blocks(path), sample_rate)
    except sf.LibsndfileError as error:
        return _mix(path, _ffmpeg_blocks(path, error.error_string.strip()), sample_rate)


def read(path: Path, sample_rate: int) -> np.ndarray:
    """The sound of :func:`load` alone, ``float32 [N]``."""
    return load(path, sample_rate).wav


def duration(path: Path) -> float:
    """A file's length in seconds as its header has it, 0 if it has none: for progress bars, nothing else."""
    try:
        return sf.info(path).duration
    except sf.LibsndfileError:
        pass
    try:
        import av

        with av.open(str(path)) as container:
            return (container.duration or 0) / 1e6
    except (ImportError, OSError, ValueError):  # FFmpeg's errors are both OSError and ValueError, or either
        return 0.0


def _mix(path: Path, blocks: Iterator[tuple[np.ndarray, int]], sample_rate: int) -> Sound:
    """Blocks ``[n, C]`` with their rate to one sound."""
    pieces, frames, peak, rate, resampler = [], 0, 0.0, 0, None
    for block, rate in blocks:
        frames += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        if not np.isfinite(block).all():
            raise BrokenAudio(f"{path}: holds values that are not numbers")
        mono = block.mean(axis=1, dtype=np.float32)  # [n, C] -> [n]
        if rate != sample_rate:
            resampler = resampler or _resampler(rate, sample_rate)
            mono = resampler.resample_chunk(mono)
        pieces.append(mono)
    if frames == 0:
        raise BrokenAudio(f"{path}: no audio in the file")
    if resampler:
        pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return Sound(np.concatenate(pieces), frames / rate, rate, peak)


def _resampler(rate_from: int, rate_to: int):
    """In blocks, with the same result as :func:`resample` on the whole."""
    import soxr

    return soxr.ResampleStream(rate_from, rate_to, 1, dtype="float32", quality="HQ")


def resample(wav: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """Resample ``float32 [N]`` with soxr at its high quality."""
    if rate_from == rate_to:
        return np.ascontiguousarray(wav)
    import soxr

    return soxr.resample(wav, rate_from, rate_to, quality="HQ").astype(np.float32, copy=False)


def _soundfile_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    with sf.SoundFile(path) as f:
        _check_whole(path, f)
        got = 0
        while len(block := f.read(BLOCK, dtype="float32", always_2d=True)):
            got += len(block)
            yield block, f.samplerate
        if got < f.frames and f.format != "MP3":  # an MP3's length is a guess
            raise BrokenAudio(f"{path}: truncated, {got} of {f.frames} samples are there")


def _check_whole(path: Path, f: sf.SoundFile) -> None:
    """Find the truncated files that libsndfile reads without a word."""
    size = re.search(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", f.extra_info, re.MULTILINE)
    if size and int(size[2]) < int(size[1]) < 0x7FFFF000:  # a recorder that cannot go back leaves a huge number
        raise BrokenAudio(f"{path}: truncated, {size[2]} of {size[1]} bytes of sound are there")
    if f.format == "OGG":
        with path.open("rb") as raw:
            raw.seek(max(0, path.stat().st_size - 2**17))
            tail = raw.read()
        page = tail.rfind(b"OggS")  # RFC 3533: byte 5 of a page holds flags, 4 is the end of the stream
        if page < 0 or not tail[page + 5 : page + 6] or not tail[page + 5] & 4:
            raise BrokenAudio(f"{path}: truncated, its last page is not the end of the stream")


def _ffmpeg_blocks(path: Path, first_error: str) -> Iterator[tuple[np.ndarray, int]]:
    try:
        import av
    except ImportError:
        raise BrokenAudio(f"{path}: cannot be read ({first_error}); 'pip install av' reads more formats") from None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            planar, got = av.AudioResampler(format="fltp"), 0
            for frame in container.decode(stream):
                for f in planar.resample(frame):
                    got += f.samples
                    yield f.to_ndarray().T, stream.rate  # [C, n] -> [n, C]
            for f in planar.resample(None):
                got += f.samples
                yield f.to_ndarray().T, stream.rate
            said = (container.duration or 0) / 1e6
            exact = container.format.name in EXACT
    except (av.FFmpegError, IndexError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no sound in it"
        raise BrokenAudio(f"{path}: not audio that can be read ({reason})") from None
    if exact and got / stream.rate < 0.99 * said - 0.5:
        raise BrokenAudio(f"{path}: truncated, {got / stream.rate:.1f} of {said:.1f} seconds are there")
