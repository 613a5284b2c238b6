"""What is dropped on the studio: files of sound and MIDI, and ZIPs of them, into ``sounds/NAME``.

Nothing in them is looked at here: data preparation reads each in a process of its own with limits. What is bounded
here is how much, how many, and where to.
"""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import IO

from starlette.concurrency import run_in_threadpool

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import take_name
from audiocraft_ext.studio.workspace import Workspace

MIB = 1 << 20
MOST_BYTES = 1024 * MIB  # of one file, or of all that a ZIP holds
MOST_FILES = 20_000  # of one folder
LEFT_FREE = 1024 * MIB  # of the disk, whatever comes
MOST_RATIO = 100  # of a ZIP, unpacked to packed; of sound it is 1 to 10
ENDINGS = frozenset(
    ".wav .wave .aif .aiff .aifc .flac .ogg .oga .opus .mp3 .m4a .aac .wma .caf .w64 .rf64 .mp4 .au .snd".split()
    + ".mid .midi .kar .json .csv .txt .md".split())
BLOCK = 1 << 16


class Bound:
    """Counts bytes on their way to the disk.

    Raises:
        UserError: from :meth:`add`, once it is too much.
    """

    def __init__(self, folder: Path, most: int = MOST_BYTES):
        self.folder, self.most, self.taken = folder, most, 0
        self.room = shutil.disk_usage(folder).free - LEFT_FREE

    def add(self, size: int, what: str) -> None:
        self.taken += size
        if self.taken > self.most:
            raise UserError(f"{what}: is larger than {self.most >> 20} MiB, which is the most that the studio takes; "
                            "put it into a folder of the workspace yourself")
        if self.taken > self.room:
            raise UserError(f"{what}: does not fit; {LEFT_FREE >> 20} MiB of the disk stay free")


def target(workspace: Workspace, folder: object, name: object) -> Path:
    """Where a dropped file goes to.

    Raises:
        UserError: the folder is full, or it is no name of a file of sound or MIDI.
    """
    place = workspace.place("sounds", folder)
    if not isinstance(name, str) or not name or len(name) > 300:
        raise UserError("expected the name of a file")
    workspace.path(name)
    path = workspace.path(f"sounds/{place.name}/{PurePosixPath(name)}")
    if path.suffix.lower() not in ENDINGS | {".zip"}:
        raise UserError(f"{path.name[:80]}: expected sound, MIDI, a table of labels or a ZIP of them")
    place.mkdir(parents=True, exist_ok=True)
    if sum(len(files) for _, _, files in os.walk(place)) >= MOST_FILES:
        raise UserError(f"sounds/{place.name} holds {MOST_FILES} files, which is the most that the studio takes; put "
                        "more there yourself")
    return path


async def receive(path: Path, blocks: AsyncIterator[bytes], announced: int | None, top: Path) -> int:
    """Write what comes to ``path``, or what is in it where it is a ZIP; returns how many files there are now.

    Args:
        announced: bytes, as the client says.
        top: the folder of ``sounds/`` that it is for.

    Raises:
        UserError: too much; then nothing of it is left.
    """
    bound = Bound(top)
    if announced is not None:
        bound.add(announced, path.name)  # before a byte was read
        bound.taken = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # another tab may send the same
    try:
        with part.open("wb") as file:
            async for block in blocks:
                bound.add(len(block), path.name)
                file.write(block)
        if path.suffix.lower() == ".zip":
            return await run_in_threadpool(unpack, part, path.with_suffix(""), path.name)
        await run_in_threadpool(_take, part, path)
        return 1
    finally:
        part.unlink(missing_ok=True)


def _take(part: Path, path: Path) -> None:
    """Into its place; a file that is there already stays, unless it is the same."""
    try:
        take_name(part, path)
    except FileExistsError:
        if path.stat().st_size != part.stat().st_size or path.read_bytes() != part.read_bytes():
            raise UserError(f"{path.name}: is there already and is another file; rename one of them") from None


def unpack(archive: Path, folder: Path, called: str) -> int:
    """The files of sound and MIDI in a ZIP, into ``folder``; returns how many.

    Raises:
        UserError: it is no ZIP, it is one that swells, a name leads out of the folder; then nothing of it is left.
    """
    if folder.exists():
        raise UserError(f"{called}: {folder.name} is there already; rename the ZIP")
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        with zipfile.ZipFile(archive) as zipped:
            wanted = _wanted(zipped, called)
            made.mkdir(parents=True)
            bound = Bound(made, min(MOST_BYTES, MOST_RATIO * max(archive.stat().st_size, MIB)))
            for name, info in wanted.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(info) as source, path.open("xb") as file:
                    _copy(source, file, bound, called)
        made.rename(folder)
        return len(wanted)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{called}: cannot be unpacked ({error or type(error).__name__})") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _wanted(zipped: zipfile.ZipFile, called: str) -> dict[str, zipfile.ZipInfo]:
    """Its files of sound and MIDI by their names; what else is in there is passed over."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in zipped.infolist():
        name = info.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if ".." in parts or name.startswith("/") or (parts and ":" in parts[0]):
            raise UserError(f"{called}: names {name[:80]!r}, which leads out of its folder")
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
        if not info.is_dir() and not hidden and PurePosixPath(name).suffix.lower() in ENDINGS:
            found[name] = info
    if not found:
        raise UserError(f"{called}: no sound and no MIDI in it")
    packed, size = sum(i.compress_size for i in found.values()), sum(i.file_size for i in found.values())
    if len(found) > MOST_FILES:
        raise UserError(f"{called}: holds {len(found)} files, {MOST_FILES} are the most")
    if size > MOST_BYTES or size > MOST_RATIO * max(packed, MIB):
        raise UserError(f"{called}: {packed / 1e6:.1f} MB that would become {size / 1e6:.0f} MB; a ZIP of sound may "
                        f"hold {MOST_BYTES >> 20} MiB and grow {MOST_RATIO} times, and this looks like a bomb")
    return found


def _copy(source: IO[bytes], file: IO[bytes], bound: Bound, called: str) -> None:
    """A ZIP's own list may lie, so what comes out is counted too."""
    while block := source.read(BLOCK):
        bound.add(len(block), called)
        file.write(block)
