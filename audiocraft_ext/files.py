"""What a file is (the hash of its bytes, the one way that every part takes it) or holds, and whose a folder is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from audiocraft_ext.errors import UserError


def sha256(path: Path) -> str:
    """Hex digest of a file. The interpreter is free for other threads meanwhile."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def known_sha256(path: Path) -> str:
    """The same, read again only if the file was touched since it was last taken: a large bundle's takes a good part of
    a second. What is known lies in the user's cache folder ($MICRO_CACHE), one small file for each; where that cannot
    be, nothing is known."""
    stat = path.stat()
    state = [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    note = _cache() / (hashlib.sha256(state[0].encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".json")
    try:
        seen, digest = json.loads(note.read_text("utf-8"))
        if seen == state:
            return str(digest)
    except (OSError, ValueError):
        pass
    digest = sha256(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps([state, digest]), "utf-8")
        os.replace(part, note)
    except (OSError, ValueError):  # a cache that cannot be written, a path that is no Unicode
        pass
    return digest


def _cache() -> Path:
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micro-musicgen"
    return Path(os.environ.get("MICRO_CACHE") or shared) / "sha256"


@contextlib.contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """One process at a time between here and the end: it holds the file ``path``, which stays. The kernel lets go of it
    however the process ends. Where files cannot be locked (Windows, some network disks) there is no such guard.

    Raises:
        UserError: another process is there; says which, as far as it is known.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(f"{what} is busy: {file.read().strip() or 'another process'} is at it; wait for it, or "
                            "stop it") from None
        except OSError:
            pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


def read_json(path: Path) -> dict:
    """The object in a file; empty where there is none (yet)."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def files(root: Path, unreadable: dict[Path, str] | None = None) -> Iterator[Path]:
    """All files below ``root`` that are not hidden, in the same order each time, one folder's names in memory.

    Links to folders are followed, after the real ones; a folder that was seen, or that holds ``root``, is not gone
    into again.

    Args:
        unreadable: takes up the folders that cannot be looked into, with the reason.
    """
    folders, links, seen = [root], deque(), set(root.resolve().parents)
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        inside = []
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if unreadable is not None:
                unreadable[folder] = error.strerror or str(error)
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield Path(entry.path)
            elif entry.is_symlink():
                links.append(Path(entry.path))
            else:
                inside.append(Path(entry.path))
        folders += reversed(inside)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
