"""Title, tempo, key and licence that lie inside a sound file, without reading the sound.

`tinytag <https://github.com/tinytag/tinytag>`_ reads the tags of all usual formats. Two things that sample packs have
and it does not know are read here: the ``acid`` chunk of WAV loops (layout in audiocraft_ext/sound/wav.py) and the
``basc`` chunk of Apple Loops (AIFF), which counts beats (layout as in `go-audio <https://github.com/go-audio/aiff>`_).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from audiocraft_ext.sound.wav import ONE_SHOT
from data_prep.shared.naming import Labels, bpm_of, key_of, licence_of, text_of

MOST_BYTES, MOST_READS = 2**22, 20_000  # of one file, all in all: pictures lie among the tags, and some files lie
AT_ONCE = 2**16  # bytes; of something longer the rest is passed over
NOTES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


class _Thrifty(io.RawIOBase):
    """A file for a parser that trusts it: however long a read, little of it is taken; too many of them end it."""

    def __init__(self, file: BinaryIO):
        self._file, self._bytes, self._reads = file, MOST_BYTES, MOST_READS

    def read(self, size: int = -1) -> bytes:
        here = min(size, AT_ONCE) if size >= 0 else AT_ONCE
        data = self._file.read(here)
        self._bytes, self._reads = self._bytes - len(data), self._reads - 1
        if self._bytes < 0 or self._reads < 0:
            raise OSError("too much to read for tags")
        if size > here:
            self._file.seek(size - here, io.SEEK_CUR)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def read(path: Path) -> Labels:
    """What a file says of itself; what cannot be read is not said.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        tags = _tinytag(file)
        file.seek(0)
        try:
            bpm, key = _chunks(_Thrifty(file))
        except (OSError, struct.error, ValueError, OverflowError):
            bpm = key = None
    return Labels(title=tags.title, bpm=tags.bpm or bpm, key=tags.key or key, licence=tags.licence)


def _tinytag(file: BinaryIO) -> Labels:
    from tinytag import TinyTag

    try:
        tag = TinyTag.get(file_obj=_Thrifty(file), duration=False)
    except Exception:  # what a damaged file makes of a parser is not foreseeable, and the sound may be whole
        return Labels()
    other = tag.other
    licence = text_of(other.get("license")) or text_of(other.get("copyright"))
    return Labels(title=text_of(tag.title), bpm=bpm_of(other.get("bpm")), key=key_of(other.get("initial_key")),
                  licence=licence and (licence_of(licence) or licence))


def _chunks(file: _Thrifty) -> tuple[float | None, str | None]:
    """Tempo and key of an ACID or Apple loop."""
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        return _acid(dict(_walk(file, "<", {b"acid", b"ds64"}))), None
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return _basc(dict(_walk(file, ">", {b"COMM", b"basc"})))
    return None, None


def _walk(file: _Thrifty, order: str, wanted: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of the wanted chunks of an IFF file; ``order`` is "<" or ">"."""
    large = None
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack(order + "4sI", head)
        if name == b"data" and size == 0xFFFFFFFF:  # RF64
            if large is None:
                return
            size = large
        if name in wanted and size <= AT_ONCE:
            body = file.read(size + size % 2)
            if name == b"ds64":
                large = struct.unpack_from("<8xQ", body)[0]
            yield name, body
        else:
            file.seek(size + size % 2, io.SEEK_CUR)


def _acid(chunks: dict[bytes, bytes]) -> float | None:
    if b"acid" not in chunks:
        return None
    flags, *_, bpm = struct.unpack_from("<IHHfIHHf", chunks[b"acid"])
    return None if flags & ONE_SHOT else bpm_of(round(bpm, 3))  # what a single hit has there is a host's default


def _basc(chunks: dict[bytes, bytes]) -> tuple[float | None, str | None]:
    if b"basc" not in chunks or b"COMM" not in chunks:
        return None, None
    beats, note, scale, _, _, loops = struct.unpack_from(">4xIHHHHH", chunks[b"basc"])
    frames, exponent, mantissa = struct.unpack_from(">2xI2xHQ", chunks[b"COMM"])  # the rate has 80 bits
    rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 0x3FFF - 63)
    bpm = bpm_of(round(beats * 60 * rate / frames, 3)) if loops and beats and frames else None
    return bpm, NOTES[note % 12] + ("m" if scale == 1 else "") if loops and scale in (1, 2) else None
