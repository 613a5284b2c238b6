"""WAV, RF64 and AIFF files whose recorder never came to write how much sound there is: a size of 0, with sound behind
it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from audiocraft_ext.sound.ogg import Window

# First and third word of a file -> byte order, the chunk of its sound, bytes in that chunk before the sound
FORMS = {(b"RIFF", b"WAVE"): ("<", b"data", 0), (b"RF64", b"WAVE"): ("<", b"data", 0),
         (b"FORM", b"AIFF"): (">", b"SSND", 8), (b"FORM", b"AIFC"): (">", b"SSND", 8)}


class _Patched(Window):
    """A file of which a few bytes are others."""

    def __init__(self, file: BinaryIO, size: int, at: int, data: bytes):
        super().__init__(file, 0, size)
        self._place, self._data = at, data

    def read(self, size: int = -1) -> bytes:
        begin = self._at
        data = bytearray(super().read(size))
        for n, byte in enumerate(self._data, self._place - begin):
            if 0 <= n < len(data):
                data[n] = byte
        return bytes(data)


@contextmanager
def completed(path: Path) -> Iterator[BinaryIO | None]:
    """The file as it would be had the chunk of its sound the size that it has; None for one that is no such file:
    another format, a size that was written, nothing behind it, or nothing but other chunks."""
    size = path.stat().st_size
    with path.open("rb") as file:
        missing = _missing(file, size)
        yield None if missing is None else _Patched(file, size, *missing)


def _missing(file: BinaryIO, size: int) -> tuple[int, bytes] | None:
    """Where a size is that was never written, and what it should be."""
    head = file.read(12)
    if (head[:4], head[8:]) not in FORMS:
        return None
    order, sound, before = FORMS[head[:4], head[8:]]
    at, wide = 12, None  # ``wide``: where an RF64 has the size of its sound
    while (chunk := _chunk(file, at, order)) is not None and chunk[0] != sound:
        if chunk[0] == b"ds64":
            wide = at + 16
        at += 8 + chunk[1] + chunk[1] % 2
    start = at + 8 + before
    if chunk is None or start >= size or _chunks_to(file, start, size, order):
        return None
    if head[:4] == b"RF64":
        return (wide, struct.pack("<Q", size - start)) if wide and _read(file, wide, 8) == bytes(8) else None
    if chunk[1] > before:
        return None
    return at + 4, struct.pack(f"{order}I", min(size - start + before, 2**32 - 1))


def _chunks_to(file: BinaryIO, at: int, end: int, order: str) -> bool:
    """Whether what lies between is chunks, one behind the other."""
    while at < end:
        chunk = _chunk(file, at, order)
        if chunk is None or not (chunk[0].isascii() and chunk[0].decode().isprintable()):
            return False
        at += 8 + chunk[1] + chunk[1] % 2
    return at in (end, end + 1)


def _chunk(file: BinaryIO, at: int, order: str) -> tuple[bytes, int] | None:
    head = _read(file, at, 8)
    return struct.unpack(f"{order}4sI", head) if len(head) == 8 else None


def _read(file: BinaryIO, at: int, n: int) -> bytes:
    file.seek(at)
    return file.read(n)
