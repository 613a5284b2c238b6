"""Which files go into a store: found, told apart by content, and given a side."""

from __future__ import annotations

import stat
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from audiocraft_ext import audio
from audiocraft_ext.errors import UserError
from audiocraft_ext.files import sha256


@dataclass(frozen=True)
class Found:
    """A file that is sound by its ending, its path below the folder with forward slashes, and what tells whether it is
    still the same: bytes and time of its last change."""

    path: Path
    name: str
    size: int
    mtime_ns: int


def walk(root: Path, skipped: dict[str, str]) -> Iterator[Found]:
    """All sound files below ``root``, in the same order each time, none of them opened.

    Args:
        skipped: takes up what cannot be looked at, by name, with the reason: folders too.

    Raises:
        UserError: no such folder, or (at the end) no file in it has the ending of a sound file.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder with audio files" if root.exists() else
                        f"{root}: no such folder; expected one with audio files")
    return _walk(root, skipped)


def _walk(root: Path, skipped: dict[str, str]) -> Iterator[Found]:
    endings: Counter[str] = Counter()
    locked: dict[Path, str] = {}
    some = False
    for path in audio.files(root, locked):
        name = path.relative_to(root).as_posix()
        ending = path.suffix.lower()
        if ending not in audio.EXTENSIONS:
            if ending and ending not in audio.COMPANIONS:
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
    _report_endings(root, endings, some, locked)


def _report_endings(root: Path, endings: Counter[str], some: bool, locked: dict[Path, str]) -> None:
    others = ", ".join(f"{ending} ({n})" for ending, n in sorted(endings.items()))
    if root in locked:
        raise UserError(f"{root}: {locked[root]}")
    if not some:
        raise UserError(f"{root}: no audio in it; looked for files that end in {' '.join(sorted(audio.EXTENSIONS))}"
                        + (f", found {others}" if others else ""))
    if others:
        print(f"passed over {endings.total()} files whose ending is not that of sound: {others}", file=sys.stderr)


@dataclass(frozen=True)
class Source:
    """A file, its name in the store (relative to the folder, with forward slashes) and the sha256 of its bytes."""

    path: Path
    name: str
    sha256: str


def find(root: Path, skipped: dict[str, str]) -> list[Source]:
    """All sound files below ``root`` by name; what cannot be opened goes into ``skipped`` with the reason.

    Raises:
        UserError: no such folder, or no file in it has the ending of a sound file.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected one with audio files")
    paths = audio.find_audio(root)
    others = audio.passed_over(root)
    endings = ", ".join(f"{ending} ({n})" for ending, n in others.items())
    if not paths:
        raise UserError(f"{root}: no audio in it; looked for files that end in {' '.join(sorted(audio.EXTENSIONS))}"
                        + (f", found {endings}" if others else ""))
    if others:
        print(f"passed over {sum(others.values())} files whose ending is not that of sound: {endings}", file=sys.stderr)
    found = []
    for path in tqdm(paths, desc="looking through", unit="file", disable=None, leave=False):
        name = path.relative_to(root).as_posix()
        try:
            found.append(Source(path, name, sha256(path)))
        except OSError as error:
            skipped[name] = error.strerror or str(error)
    return sorted(found, key=lambda source: source.name)


def select(found: list[Source], done: dict[str, str], skipped: dict[str, str]) -> list[Source]:
    """What is still to be encoded.

    A second file with the same content is passed over: it would be heard twice, perhaps once on either side.

    Args:
        done: the sha256 of each source that is in the store, by name.
        skipped: takes up what is passed over, with the reason.

    Raises:
        UserError: a source of the store is now another file.
    """
    first = {sha256: name for name, sha256 in done.items()}
    todo = []
    for source in found:
        if source.name in done:
            if done[source.name] != source.sha256:
                raise UserError(f"{source.path}: is not the file that was encoded as {source.name!r}; a store is only "
                                "added to, so prepare a new one or give the file another name")
        elif source.sha256 in first:
            skipped[source.name] = f"the same file as {first[source.sha256]}"
        else:
            first[source.sha256] = source.name
            todo.append(source)
    return todo
