"""Files: their hashes, their JSON, written whole or not at all, found below a folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from audiocraft_ext.core.errors import UserError

MOST_PIPED = 1 << 30  # bytes that are taken from a pipe
LONG_NAME = 32  # characters of a file's name in another's
_ODD = re.compile(r"[^\w.+-]+", re.ASCII)  # what a file's name leaves out of a name that somebody gave


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
        write(note, json.dumps([state, digest]), shared=True)
    except (OSError, ValueError):  # a cache that cannot be written, a path that is no Unicode
        pass
    return digest


def _cache() -> Path:
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micro-musicgen"
    return Path(os.environ.get("MICRO_CACHE") or shared) / "sha256"


def name_of(path: Path) -> bytes | str:
    """A path for soundfile, which by itself refuses names that are not UTF-8."""
    return os.fsencode(path) if os.name == "posix" else str(path)


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


@contextlib.contextmanager
def rereadable(path: str | Path, what: str, expected: str) -> Iterator[Path]:
    """``path``, or where it is a pipe or "-", the standard input, a copy of what comes out of it, which can be read
    more than once.

    Args:
        what, expected: words for messages, what it is and what it should be.

    Raises:
        UserError: it is nothing that can be read to an end; says what it is.
    """
    try:
        mode = os.fstat(0).st_mode if str(path) == "-" else os.stat(path).st_mode if str(path) else 0
    except (OSError, ValueError):  # ValueError: a name that no file can have
        mode = 0
    if str(path) != "-" and stat.S_ISREG(mode):
        yield Path(path)
        return
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or str(path) == "-" and stat.S_ISREG(mode)):
        why = {0: "is not there", stat.S_IFDIR: "is a folder", stat.S_IFCHR: "is a terminal or a device"}
        raise UserError(f"{what} {why.get(stat.S_IFMT(mode), 'is no file')}; expected {expected}")
    import tempfile  # a cold start has no need of it

    with tempfile.TemporaryDirectory() as folder:
        copy, left = Path(folder) / "piped", MOST_PIPED
        with open(0 if str(path) == "-" else path, "rb", closefd=str(path) != "-") as source, copy.open("wb") as target:
            while block := source.read(min(left, 1 << 20)):
                target.write(block)
                left -= len(block)
        if not left:
            raise UserError(f"{what} goes on behind {MOST_PIPED >> 20} MiB; expected {expected}")
        yield copy


def read_json(path: Path) -> dict:
    """The object in a file.

    Raises:
        UserError: there is something else in it.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def json_or_empty(path: Path) -> dict:
    """The object in a file that another process may be about to write; empty where there is none (yet)."""
    try:
        return read_json(path)
    except (OSError, UserError):
        return {}


@contextlib.contextmanager
def atomic(path: Path, *, sync: bool = False, shared: bool = False, unless_same: bool = False) -> Iterator[Path]:
    """A path beside ``path`` to write to. What is there at the end takes the place of ``path`` in one step; where that
    was not reached, because of an error or a kill, ``path`` is as it was.

    Args:
        sync: it shall outlive a power cut: wait for the disk, before the step and after it.
        shared: several processes may write it at the same time, so each writes beside it under a name of its own. One
            that is killed leaves that behind; without this the next overwrites it.
        unless_same: leave a file alone, with its time, that has the same bytes.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part")
    try:
        yield part
        if sync:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        if not (unless_same and path.is_file() and _same(part, path)):
            os.replace(part, path)
            if sync:
                _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # the error that led here matters more
            part.unlink(missing_ok=True)


def write(path: Path, data: str | bytes, **how: bool) -> None:
    """Write a file in one step; ``how`` as for :func:`atomic`. Text is UTF-8."""
    with atomic(path, **how) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def _same(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size and sha256(a) == sha256(b)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; a system that cannot open folders (Windows) does it by itself."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def plain(text: object) -> str:
    """As a part of a file's name: letters, digits and ``_.+-``."""
    return _ODD.sub("-", str(text))


def plain_stem(path: str | Path) -> str:
    """The name of a file as a part of another's."""
    return plain(Path(path).stem)[:LONG_NAME].strip("-.")


def numbered(name: str) -> Iterator[str]:
    """``name``, then ``name_v2``, ``name_v3`` and so on: for a file whose name may be taken."""
    yield name
    for number in itertools.count(2):
        yield f"{name}_v{number}"


def free_name(path: Path) -> Path:
    """``path``, or with a number if it is taken."""
    return next(free for name in numbered(path.stem) if not (free := path.with_name(name + path.suffix)).exists())


def take_name(part: Path, path: Path) -> None:
    """Rename, but never over a file that has come to be there: a link fails where a rename would not.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(part, path)


def write_all(folder: Path, writers: Mapping[str, Callable[[Path], object]], over: Collection[str] = ()) -> None:
    """Write files into ``folder``, all of them or none: first beside their names, then each takes its own, in order. A
    name that the very same bytes have already is taken as theirs.

    Args:
        writers: what writes each, to a path; called in order.
        over: names that are written over.

    Raises:
        UserError: one cannot be written; then none of them is there.
        FileExistsError: another file has one of the names; the same.
    """
    parts, made = {name: folder / f".{name}.{os.getpid()}.part" for name in writers}, []
    try:
        for name, write_to in writers.items():
            write_to(parts[name])
        for name, part in parts.items():
            if name in over:
                os.replace(part, folder / name)
            elif not (folder / name).is_file() or not _same(part, folder / name):
                take_name(part, folder / name)
                made.append(folder / name)
    except BaseException as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, FileExistsError):
            raise UserError(f"cannot write {folder / next(iter(writers))}: {error.strerror}") from None
        raise
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make sure now that files can be written there, before they are made.

    Raises:
        UserError: they cannot.
    """
    probe = folder / f".micro-musicgen.{os.getpid()}"  # tempfile would cost a cold start some milliseconds
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another folder with -o") from None


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
