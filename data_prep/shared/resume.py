"""What stops a preparation is told with what is there and what goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiocraft_ext.core.errors import UserError


@contextmanager
def going_on(store: Path, command: str) -> Iterator[None]:
    """A full disk, say, and Ctrl-C in other words."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        what = f"{error.filename}: {why}" if error.filename else f"{store}: cannot be written ({why})"
        raise UserError(f"{what}; what is in the store is whole, go on with: {command}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {store} is whole, go on with: {command}") from None
