"""The pages of an Ogg file (RFC 3533), read by their heads: where its links begin, and whether its end is there.

Links are whole streams one behind the other, as internet radio writes them; libsndfile reads the first alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

FIRST, LAST = 2, 4  # flags of a page: it begins, it ends a stream
HEAD = 27  # bytes before the sizes of a page's segments
STEP = 2**16


class Window:
    """A part of a file, as a file of its own that is read."""

    def __init__(self, file: BinaryIO, start: int, end: int):
        self._file, self._start, self._size = file, start, end - start
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._start + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: bytes) -> int:
        raise OSError("is only read")


def links(path: Path, notes: list[str]) -> list[tuple[int, int]]:
    """Where each link begins and ends, in bytes.

    Args:
        notes: takes up an end that is not there. What a cut page held is not said, so how much is missing is not known.
    """
    starts, first, flags, last, size = [], False, 0, 0, path.stat().st_size
    with path.open("rb") as file:
        for at, flags, end in _pages(file):
            last = end
            if flags & FIRST and not first:  # several streams may begin beside each other
                starts.append(at)
            first = bool(flags & FIRST)
    if last > size:
        notes.append("cut in its last page; all before it was read")
    elif not flags & LAST:
        notes.append("without the end of its stream; all that is there was read")
    return list(zip(starts, [*starts[1:], size]))


def _pages(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Where a page begins, its flags and where it ends, which may be behind the file's end."""
    at = 0
    while True:
        file.seek(at)
        head = file.read(HEAD)
        if head[:4] != b"OggS":
            at = _next(file, at)
            if at < 0:
                return
            continue
        sizes = file.read(head[26]) if len(head) == HEAD else b""
        flags, end = head[5] if len(head) > 5 else 0, at + HEAD + len(sizes) + sum(sizes)
        whole = len(head) == HEAD and len(sizes) == head[26]
        yield at, flags, end if whole else end + 1 + HEAD
        at = end


def _next(file: BinaryIO, at: int) -> int:
    """Where the next page begins behind ``at``; -1 where none does."""
    file.seek(at)
    before = b""
    while data := file.read(STEP):
        found = (before + data).find(b"OggS", 0 if before else 1)
        if found >= 0:
            return file.tell() - len(before) - len(data) + found
        before = data[-3:]
    return -1
