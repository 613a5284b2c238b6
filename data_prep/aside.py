"""A file that is there is whole: written beside its place, then renamed."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` at the end, if all went well.

    Where that changes nothing, the one that is there is left alone, with its time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not (path.is_file() and filecmp.cmp(aside, path, shallow=False)):
            os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
