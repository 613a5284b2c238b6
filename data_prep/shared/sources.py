"""Which files are to be prepared: found, not opened."""

from __future__ import annotations

import stat
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import files


@dataclass(frozen=True)
class Found:
    """A file that is what is looked for, by its ending; its path below the folder with forward slashes, and what tells
    whether it is still the same: bytes and time of its last change."""

    path: Path
    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Kind:
    """What is looked for: its name, what it is a file ``of``, its endings, and what lies beside it everywhere."""

    name: str
    of: str
    endings: frozenset[str]
    companions: frozenset[str]


def walk(root: Path, skipped: dict[str, str], kind: Kind) -> Iterator[Found]:
    """All files of a kind below ``root``, in the same order each time, none of them opened.

    Args:
        skipped: takes up what cannot be looked at, by name, with the reason: folders too.

    Raises:
        UserError: no such folder, or (at the end) no file in it has the ending of a sound file.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder with {kind.name} files" if root.exists() else
                        f"{root}: no such folder; expected one with {kind.name} files")
    return _walk(root, skipped, kind)


def _walk(root: Path, skipped: dict[str, str], kind: Kind) -> Iterator[Found]:
    endings: Counter[str] = Counter()
    locked: dict[Path, str] = {}
    some = False
    for path in files(root, locked):
        name = path.relative_to(root).as_posix()
        ending = path.suffix.lower()
        if ending not in kind.endings:
            if ending and ending not in kind.companions:
                endings[ending] += 1
            continue
        some = True
        try:
            about = path.stat()
        except OSError as error:
            skipped[name] = error.strerror or str(error)
            continue
        if stat.S_ISREG(about.st_mode):
            yield Found(path, name, about.st_size, about.st_mtime_ns)
        else:  # a pipe would be waited on for ever
            skipped[name] = "not a file but a pipe, a socket or a device"
    skipped.update((path.relative_to(root).as_posix() + "/", reason) for path, reason in locked.items())
    _report_endings(root, endings, some, locked, kind)


def _report_endings(root: Path, endings: Counter[str], some: bool, locked: dict[Path, str], kind: Kind) -> None:
    others = ", ".join(f"{ending} ({n})" for ending, n in sorted(endings.items()))
    if root in locked:
        raise UserError(f"{root}: {locked[root]}")
    if not some:
        raise UserError(f"{root}: no {kind.name} in it; looked for files that end in {' '.join(sorted(kind.endings))}"
                        + (f", found {others}" if others else ""))
    if others:
        print(f"passed over {endings.total()} files whose ending is not that of {kind.of}: {others}", file=sys.stderr)
