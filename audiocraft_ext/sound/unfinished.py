"""WAV files whose recorder never came to write how much sound there is: a size of 0, with sound behind it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from audiocraft_ext.sound.ogg import Window


class _Patched(Window):
    """A file of which four bytes are others."""

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
    """The file as it would be had its data chunk the size that it has; None for one that is no such file: another
    format, a size that was written, nothing behind it, or nothing but other chunks."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = _empty_data(file, size)
        yield None if at is None else _Patched(file, size, at - 4, struct.pack("<I", min(size - at, 2**32 - 1)))


def _empty_data(file: BinaryIO, size: int) -> int | None:
    """Where the sound begins."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    at = 12
    while (chunk := _chunk(file, at)) is not None:
        name, length = chunk
        at += 8
        if name == b"data":
            return at if length == 0 and at < size and not _chunks_to(file, at, size) else None
        at += length + length % 2
    return None


def _chunks_to(file: BinaryIO, at: int, end: int) -> bool:
    """Whether what lies between is chunks, one behind the other."""
    while at < end:
        chunk = _chunk(file, at)
        if chunk is None or not (chunk[0].isascii() and chunk[0].decode().isprintable()):
            return False
        at += 8 + chunk[1] + chunk[1] % 2
    return at in (end, end + 1)


def _chunk(file: BinaryIO, at: int) -> tuple[bytes, int] | None:
    file.seek(at)
    head = file.read(8)
    return struct.unpack("<4sI", head) if len(head) == 8 else None
