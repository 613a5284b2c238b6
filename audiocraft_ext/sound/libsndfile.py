"""What libsndfile reads (WAV, FLAC, OGG, MP3, AIFF, ...), block by block. It says no word about most truncated files:
what the header promises is compared with what comes (:mod:`audiocraft_ext.sound.promise`)."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import soundfile as sf

from audiocraft_ext.core.files import name_of
from audiocraft_ext.sound import mp3, ogg, promise, unfinished
from audiocraft_ext.sound.promise import BrokenAudio

BLOCK = 2**17  # values at a time, over all channels
LOSSLESS = re.compile("PCM_|FLOAT|DOUBLE|ALAC")  # libsndfile's subtypes
# libsndfile's log where a chunk is shorter than it says. A WAV's outer size is often wrong, and nobody minds.
SHORT = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
NO_SIZE = re.compile(r"^ *SSND +: 0 \(should be", re.MULTILINE)  # of an AIFF all is read, without a word
MPEG = {"MPEG_LAYER_I": "MP1", "MPEG_LAYER_II": "MP2", "MPEG_LAYER_III": "MP3"}


class Untrusted(Exception):
    """libsndfile would stop before the end of this file; another decoder should read it. Its arguments are notes."""


class _Forward(sf.SoundFile):
    """Read from start to end. soundfile seeks to where it is after each read, which damages an MP3 (a frame leans on
    those before it) and takes time elsewhere, unless a file says that it cannot be sought in."""

    def seekable(self) -> bool:
        return False


def read(path: Path, notes: list[str]) -> Iterator:
    """Yields what the file is (rate in Hz, channels, format, whether it is lossy) once its first block was read, then
    all blocks ``float32 [n, C]``.

    Raises:
        sf.LibsndfileError: before the first block, it is no file for libsndfile.
        Untrusted: the same.
        BrokenAudio: it is truncated or damaged, or empty.
    """
    with _Forward(name_of(path)) as f:
        _check_sizes(path, f, notes)
        said = f.frames if f.frames < 2**62 else 0  # a FLAC that was made in a pipe does not know
        links = ogg.links(path, notes) if f.format == "OGG" else []
        if notes and f.subtype == "OPUS" and importlib.util.find_spec("av"):  # libsndfile fails at such an end
            raise Untrusted
        if len(links) > 1:
            yield from _chained(path, links, notes)
            return
        if f.format == "MP3":
            said, trusted, wrong = mp3.length(path, f.frames)
            another = importlib.util.find_spec("av")
            if wrong:
                notes.append(f"{wrong}; {'all' if another else f'{f.frames / f.samplerate:.1f} s'} of it was read")
            if not trusted and another:  # libsndfile would stop at its guess
                raise Untrusted(*notes)
        if not f.frames or f.format == "AIFF" and NO_SIZE.search(f.extra_info):
            with unfinished.completed(path) as whole:
                if whole is not None:
                    with _Forward(whole) as f:
                        notes.append("its header was never finished (a size of 0); all that is there was read")
                        yield from _stream(path, f, 0, notes)
                    return
        yield from _stream(path, f, said, notes)


def _stream(path: Path, f: sf.SoundFile, said: int, notes: list[str]) -> Iterator:
    """As :func:`read`, of an open file that promises ``said`` samples, 0 if nothing."""
    size, got = max(1, BLOCK // f.channels), 0

    def block():
        left = said - got  # what is promised is read by itself, so that an error behind it cannot cost it
        return f.read(min(size, left) if left > 0 else size, dtype="float32", always_2d=True)

    data = block()  # may raise: FFmpeg will try
    if not len(data):
        raise BrokenAudio(f"{path}: no audio in the file" + "".join(f" ({note.split(';')[0]})" for note in notes))
    yield f.samplerate, f.channels, MPEG.get(f.subtype, f"{f.format} {f.subtype}"), not LOSSLESS.match(f.subtype)
    while len(data):
        got += len(data)
        yield data
        try:
            data = block()
        except sf.LibsndfileError as error:
            reason = error.error_string.strip() or "damaged"
            if not 0 < said <= got:
                raise BrokenAudio(f"{path}: not audio that can be read to its end (after {got / f.samplerate:.1f} "
                                  f"seconds: {reason})") from None
            notes.append(f"behind its {said} samples lies what is no sound")
            break
    promise.check(path, got, said, got / f.samplerate, "samples", notes, f.format == "MP3")


def _chained(path: Path, links: list[tuple[int, int]], notes: list[str]) -> Iterator:
    """Of an Ogg file, one link after the other."""
    about, read_links = None, 0
    with path.open("rb") as file:
        for start, end in links:
            try:
                with _Forward(ogg.Window(file, start, end)) as f:
                    steps = _stream(path, f, 0, notes)
                    found = next(steps)
                    if about is None:
                        yield (about := found)
                    if found[:2] == about[:2]:
                        yield from steps
                        read_links += 1
            except sf.LibsndfileError:
                if about is None:
                    raise
            except BrokenAudio:  # an empty one, or the last one, cut
                pass
    if about is None:
        raise BrokenAudio(f"{path}: no audio in the file")
    if read_links < len(links):
        notes.append(f"not all of it was read: {read_links} of {len(links)} links; the others are damaged, or have "
                     "another rate or other channels")


def _check_sizes(path: Path, f: sf.SoundFile, notes: list[str]) -> None:
    """Find the truncated files that libsndfile reads without a word."""
    size = SHORT.search(f.extra_info)
    unknown = 2**62 if f.format in ("RF64", "W64") else 0x7FFFF000  # left by a recorder that cannot go back
    if size and int(size[2]) < int(size[1]) < unknown:
        promise.check(path, int(size[2]), int(size[1]), f.frames / f.samplerate, "bytes of sound", notes)
