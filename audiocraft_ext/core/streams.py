"""Where a command's lines go: a terminal, a pipe whose reader has gone, a stream that is closed or knows few letters.

What a command makes does not depend on who listens: its lines are dropped where nobody does, and letters that a stream
does not know are escaped. Sound on the standard output is another thing: :func:`binary` tells when its reader is gone.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import BinaryIO

_closed: set[int] = set()  # of the three, when the program began


class _Lines(io.FileIO):
    """A file descriptor whose reader may go. Another error, such as a full disk, is raised once."""

    failed = False

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError) and not self.failed:
                self.failed = True
                raise
            return len(memoryview(data))


def prepare() -> None:
    """Make the standard streams ones that can be written to; called first, by what runs a command. Twice is once.

    A closed descriptor leads nowhere from here on: else the next file that is opened would take its number, and lines
    would go into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            there = os.open(os.devnull, os.O_RDWR)
            if there == number:
                os.set_inheritable(number, True)  # workers have it too
            else:
                os.dup2(there, number)
                os.close(there)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or _is_ours(stream):
            continue  # somebody else's, such as a notebook's
        if stream is not None:
            stream.flush()
        lines = io.BufferedWriter(_Lines(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(lines, encoding=getattr(stream, "encoding", None) or "utf-8",
                                            errors="backslashreplace", write_through=number == 2,
                                            line_buffering=number == 2 or os.isatty(number)))


def binary() -> BinaryIO:
    """The standard output for bytes.

    Raises:
        OSError: it is closed. To write to it raises BrokenPipeError where the reader has gone.
    """
    if 1 in _closed:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if not _is_ours(sys.stdout):
        return sys.stdout.buffer
    sys.stdout.flush()
    return io.FileIO(1, "w", closefd=False)


def _is_ours(stream: object) -> bool:
    return isinstance(getattr(getattr(stream, "buffer", None), "raw", None), _Lines)
