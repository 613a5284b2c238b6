"""How an interrupted preparation is resumed, in the message about what stopped it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiocraft_ext.core.errors import UserError


def command_line(program: str, argv: list[str] | None) -> str:
    """The command that was typed, for a shell; ``argv`` None takes this process's arguments."""
    return f"python -m {program} " + shlex.join(sys.argv[1:] if argv is None else argv)


@contextmanager
def resume_hint(store: Path, command: str) -> Iterator[None]:
    """Add to a full disk's error, say, and to Ctrl-C that the store is whole and which command goes on."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        what = f"{error.filename}: {why}" if error.filename else f"{store}: cannot be written ({why})"
        raise UserError(f"{what}; what is in the store is whole, go on with: {command}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {store} is whole, go on with: {command}") from None
