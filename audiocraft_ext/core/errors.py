"""What a user did wrong, in one line: what was expected, what came, what to do. Exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

from audiocraft_ext.core import streams

T = TypeVar("T")


class UserError(ValueError):
    """Something that the user can mend; the message is the whole explanation."""


class Parser(argparse.ArgumentParser):
    """A wrong option is a user error like any other: one line, without the usage above it."""

    def error(self, message: str):
        raise UserError(f"{message}; see {self.prog} --help")


def run_cli(main: Callable[[], T], leave: bool = True) -> T:
    """Run a command's ``main``: user errors become one line on stderr and exit code 2, Ctrl-C exit code 130. Who
    listens to what it says makes no difference (:mod:`audiocraft_ext.core.streams`).

    Args:
        leave: exit with what ``main`` returned (None is 0); else return it.
    """
    streams.prepare()
    try:
        result = main()
        sys.stdout.flush()
        if leave:
            sys.exit(result or 0)
        return result
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written, ...
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:  # FFmpeg's of a file, numpy's: they say how much, or nothing
        print(f"error: not enough memory{': ' + str(error) if str(error) else ''}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"stopped{': ' + str(stop) if str(stop) else ''}", file=sys.stderr)
        sys.exit(130)
