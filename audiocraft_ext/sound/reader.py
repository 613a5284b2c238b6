"""One sound file, block by block, at its own rate: whatever its length, no more than a block of it is in memory.

soundfile reads what libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...); PyAV, imported only when needed, reads the
rest (M4A, WMA, the sound of a video). Neither says a word about most truncated files: what the header promises is
compared with what comes.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.core.errors import UserError

BLOCK = 2**17  # values at a time, over all channels
RATES = (1_000, 3_000_000)  # Hz: what is no sound is refused before it is resampled to a thousand times its size
LOUDEST = 1e6  # 120 dB over full scale; beyond, a header is wrong
EXACT = ("mov", "matroska", "flac", "asf", "caf")  # FFmpeg's names of what states its length
LOSSLESS = re.compile("PCM_|FLOAT|DOUBLE|ALAC")  # libsndfile's subtypes
# libsndfile's log where a chunk is shorter than it says. A WAV's outer size is often wrong, and nobody minds.
SHORT = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
MPEG = {"MPEG_LAYER_I": "MP1", "MPEG_LAYER_II": "MP2", "MPEG_LAYER_III": "MP3"}
# The first frame of most MP3s: a header and its side information of one of these sizes, then how much follows.
MP3_TAG = re.compile(
    rb"\xff(?P<version>[\xe0-\xff])..(?:.{9}|.{11}|.{17}|.{19}|.{32}|.{34})"
    rb"(?:(?:Xing|Info)...(?P<flags>.)(?P<frames>.{4})(?P<bytes>.{4})"
    rb"|VBRI.{6}(?P<vbri_bytes>.{4})(?P<vbri_frames>.{4}))", re.DOTALL)
MP3_EXTRA = 2**12  # bytes behind the sound that may be tags


class _Forward(sf.SoundFile):
    """Read from start to end. soundfile seeks to where it is after each read, which damages an MP3 (a frame leans on
    those before it) and takes time elsewhere, unless a file says that it cannot be sought in."""

    def seekable(self) -> bool:
        return False


class BrokenAudio(UserError):
    """A sound file that cannot be used; the message names it and says why."""


@dataclass
class Reader:
    """An open file: what it is, and its blocks ``float32 [n, C]``, to be read once.

    Attributes:
        rate: Hz.
        format: container and coding, such as "WAV PCM_16" or "MP3".
        lossy: whether the coding is a lossy one.

    Raises (while it is read):
        BrokenAudio: the file is truncated or damaged, or holds values that are no sound.
    """

    path: Path
    rate: int
    channels: int
    format: str
    lossy: bool
    _blocks: Iterator[np.ndarray]

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            low, high = float(block.min(initial=0.0)), float(block.max(initial=0.0))
            if not -np.inf < low <= high < np.inf:  # NaN neither is nor is not
                raise BrokenAudio(f"{self.path}: holds values that are not numbers")
            if max(-low, high) > LOUDEST:
                raise BrokenAudio(f"{self.path}: holds values up to {max(-low, high):.0e}, which is no sound")
            yield block

    def close(self) -> None:
        self._blocks.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_sound(path: Path) -> Reader:
    """Open a file of any format.

    Raises:
        BrokenAudio: the file is empty, not audio, or known to be truncated from the start.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise BrokenAudio(f"{path}: the file is empty (0 bytes)")
    try:
        reader = _open(path, _by_libsndfile(path))
    except sf.LibsndfileError as error:
        reader = _open(path, _by_ffmpeg(path, error.error_string.strip()))
    if not RATES[0] <= reader.rate <= RATES[1]:
        reader.close()
        raise BrokenAudio(f"{path}: a sample rate of {reader.rate} Hz, which is no sound")
    return reader


def _open(path: Path, steps: Iterator) -> Reader:
    """``steps`` yields what the file is once its first block was read, then all blocks."""
    about = next(steps)
    return Reader(path, *about, steps)


def _by_libsndfile(path: Path) -> Iterator:
    name = os.fsencode(path) if os.name == "posix" else str(path)  # soundfile would refuse names that are not UTF-8
    with _Forward(name) as f:
        _check_whole(path, f)
        said = f.frames if f.frames < 2**62 else 0  # a FLAC that was made in a pipe does not know
        if f.format == "MP3":
            said, trusted = _mp3_length(path, f.frames)
            if not trusted and importlib.util.find_spec("av"):
                yield from _by_ffmpeg(path, "")  # libsndfile would stop at its guess
                return
        size, got = max(1, BLOCK // f.channels), 0
        block = f.read(size, dtype="float32", always_2d=True)  # may raise: FFmpeg will try
        if not len(block):
            raise BrokenAudio(f"{path}: no audio in the file")
        yield f.samplerate, f.channels, MPEG.get(f.subtype, f"{f.format} {f.subtype}"), not LOSSLESS.match(f.subtype)
        while len(block):
            got += len(block)
            yield block
            try:
                block = f.read(size, dtype="float32", always_2d=True)
            except sf.LibsndfileError as error:
                raise BrokenAudio(f"{path}: not audio that can be read to its end (after {got / f.samplerate:.1f} "
                                  f"seconds: {error.error_string.strip() or 'damaged'})") from None
        if got < said:
            raise BrokenAudio(f"{path}: truncated, {got} of {said} samples are there")


def _mp3_length(path: Path, guess: int) -> tuple[int, bool]:
    """The least that an MP3 with a Xing, Info or VBRI header has to hold, 0 for one without; and whether ``guess``,
    libsndfile's, where it stops, can be trusted: there is such a header, and nothing was put behind what it knows of.

    A hundredth, or the start and the end that decoders treat differently, may be missing.
    """
    with path.open("rb") as raw:
        head = raw.read(10)
        while head[:3] == b"ID3" and len(head) == 10:  # its size has 7 bits a byte
            raw.seek(sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0))), 1)
            head = raw.read(10)
        start = raw.tell() - 10
        tag = MP3_TAG.search(head + raw.read(4096))
    frames = int.from_bytes(tag["frames"] or tag["vbri_frames"], "big") if tag else 0
    if not frames or (tag["flags"] and tag["flags"][0] & 3 != 3):  # it has to count both frames and bytes
        return 0, False
    size = int.from_bytes(tag["bytes"] or tag["vbri_bytes"], "big")
    length = 1152 if tag["version"][0] >> 3 & 3 == 3 else 576  # samples a frame: MPEG 1; 2 and 2.5
    said = min(guess, frames * length)
    return max(0, said - max(2 * length, said // 100)), path.stat().st_size - start < 1.01 * size + MP3_EXTRA


def _check_whole(path: Path, f: sf.SoundFile) -> None:
    """Find the truncated files that libsndfile reads without a word."""
    size = SHORT.search(f.extra_info)
    unknown = 2**62 if f.format in ("RF64", "W64") else 0x7FFFF000  # left by a recorder that cannot go back
    if size and int(size[2]) < int(size[1]) < unknown:
        raise BrokenAudio(f"{path}: truncated, {size[2]} of {size[1]} bytes of sound are there")
    if f.format == "OGG":
        _check_ogg(path)


def _check_caf(path: Path) -> None:
    """libsndfile does not open a CAF that is cut short, FFmpeg reads what is left of it."""
    with path.open("rb") as raw:
        at, size = 8, path.stat().st_size
        while raw.seek(at) < size and len(chunk := raw.read(12)) == 12:
            length = int.from_bytes(chunk[4:], "big", signed=True)
            if chunk[:4] == b"data" and length > size - at - 12:
                raise BrokenAudio(f"{path}: truncated, {size - at - 12} of {length} bytes of sound are there")
            at += 12 + length if length >= 0 else size


def _check_ogg(path: Path) -> None:
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - 2**17))
        tail = raw.read()
    page = tail.rfind(b"OggS")  # RFC 3533: byte 5 of a page holds flags, 4 is the end of the stream
    if page < 0 or not tail[page + 5 : page + 6] or not tail[page + 5] & 4:
        raise BrokenAudio(f"{path}: truncated, its last page is not the end of the stream")


def _by_ffmpeg(path: Path, first_error: str) -> Iterator:
    try:
        import av
    except ImportError:
        raise BrokenAudio(f"{path}: cannot be read ({first_error}); 'pip install av' reads more formats") from None
    got, rate = 0, 1
    try:
        # Through our own handle, and no other: a file may say "and now play that one", or be named like an address.
        with path.open("rb") as raw, av.open(raw, options={"protocol_whitelist": "none"}) as container:
            kind = container.format.name.split(",")[0]
            CHECKS.get(kind, lambda path: None)(path)
            stream = next(iter(container.streams.audio), None)
            if stream is None or stream.codec_context is None:
                raise BrokenAudio(f"{path}: not audio that can be read ({'no' if stream is None else 'unknown'} sound "
                                  "in it)")
            codec = stream.codec_context.codec
            for block, rate in _gathered(stream):
                if not got:
                    name = codec.canonical_name
                    bare = kind in (name, "mp3")  # no container, or as good as none
                    yield rate, block.shape[1], (name if bare else f"{kind} {name}").upper(), not codec.lossless
                got += len(block)
                yield block
            said = _seconds(stream) if kind in EXACT else 0.0
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, OverflowError, OSError) as error:
        known = isinstance(error, av.FFmpegError) or not isinstance(error, OSError) or error.errno == errno.EINVAL
        if isinstance(error, UserError) or not known:  # EINVAL: sought to where no file can be
            raise
        reason = getattr(error, "strerror", None) or "damaged"
        reason = "damaged" if reason.startswith("Error number") else reason
        raise BrokenAudio(f"{path}: not audio that can be read ({reason})") from None
    if not got:
        raise BrokenAudio(f"{path}: no audio in the file")
    if got / rate < (said - 0.002 if kind == "flac" else 0.99 * said - 0.15):  # what a player leaves out of an AAC
        raise BrokenAudio(f"{path}: truncated, {got / rate:.1f} of {said:.1f} seconds are there")


def _seconds(stream) -> float:
    """How long a stream says it is; 0 if it says nothing, as in a film whose picture may be longer than its sound."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    container = stream.container
    return (container.duration or 0) / 1e6 if len(container.streams) == 1 else 0.0


def _gathered(stream) -> Iterator[tuple[np.ndarray, int]]:
    """A stream's sound in blocks ``[n, C]`` of a useful size, each with its rate."""
    from av import AudioResampler

    stream.codec_context.thread_count = 1
    fit, pieces, held = AudioResampler(format="flt"), [], 0  # interleaved: PyAV knows 8 separate channels and no more
    for frame in _frames(stream):
        for plain in fit.resample(frame):
            pieces.append(plain.to_ndarray().reshape(-1, len(plain.layout.channels)))  # [1, n * C] -> [n, C]
            held += pieces[-1].size
            if held >= BLOCK:
                yield np.concatenate(pieces), plain.sample_rate
                pieces, held = [], 0
    if pieces:
        yield np.concatenate(pieces), plain.sample_rate


def _frames(stream) -> Iterator:
    """Decoded frames. Of a lossy stream one packet in a hundred may be damaged, and the last one, as in any player."""
    import av

    good = bad = 0
    for packet in stream.container.demux(stream):
        try:
            yield from packet.decode()
            good += 1
        except MemoryError:
            raise
        except av.FFmpegError:
            bad += 1
            if stream.codec_context.codec.lossless or bad > 1 + good / 100:
                raise


CHECKS = {"ogg": _check_ogg, "caf": _check_caf}
