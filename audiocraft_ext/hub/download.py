"""A bundle from the Hub: fetched beside its place, compared with its hashes, then given its name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import only_one, read_json
from audiocraft_ext.engine.bundle import FORMAT, Bundle
from audiocraft_ext.hub.files import MODEL, RECORD, check_names
from audiocraft_ext.hub.service import Address, Commit, Hub, endpoint

MOST_INFO = 16 << 20  # bytes of a model.json
LARGE = 1 << 20  # bytes of a file that is worth a line


class Pulled(NamedTuple):
    """A bundle that came from the Hub: its folder, the repository, the commit (40 hex digits), and whether it was
    fetched now (or was there already)."""

    folder: Path
    repo: str
    commit: str
    fresh: bool


def pull(address: str, out: str | Path | None = None, *, say: Callable[[str], object] = print) -> Pulled:
    """Fetch the bundle at ``owner/name[@revision]`` into the folder ``out`` (by default ``name``, here).

    Where it was stopped, the same call goes on: whole files are kept in ``.OUT.part``. The folder gets its name when
    each file is what ``model.json`` says, and ``hub.json`` in it says which commit it is.

    Args:
        say: takes a line at a time.

    Raises:
        UserError: it cannot be had, it is no bundle or is not what it says, or ``out`` is something else.
    """
    where = Address.of(address)
    out = Path(os.path.abspath(where.name if out is None else out))
    hub = Hub()
    commit = hub.commit(where)
    pinned = f"{where.repo}@{commit.hash[:12]}"
    names = check_names(commit.files, pinned, "so nothing of it was fetched")
    if MODEL not in names or commit.files[MODEL].size > MOST_INFO:
        raise UserError(f"{pinned} has no {MODEL} of a few thousand bytes, so it is no bundle of micro-musicgen")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _check_same(out, commit, pinned)
        return Pulled(out, where.repo, commit.hash, False)
    part = out.with_name(f".{out.name}.part")
    (part / ".cache").mkdir(parents=True, exist_ok=True)
    with only_one(part / ".cache" / "busy", str(part)):
        for half in part.rglob("*.incomplete"):  # of a pull that was killed; the library begins such a file again
            half.unlink()
        hub.fetch(where, commit.hash, MODEL, part)
        with _thrown_away_if_wrong(part):
            _check_list(part, commit, pinned)
        _fetch_all(hub, where, commit, names, part, say)
        with _thrown_away_if_wrong(part):
            _check_content(part, commit, names, pinned)
        _finish(part, out, names, where, commit)
    return Pulled(out, where.repo, commit.hash, True)


def _check_same(out: Path, commit: Commit, pinned: str) -> None:
    """Raise a :class:`UserError` unless ``out`` is this very bundle, unharmed. ``model.json`` has the hashes of all."""
    if not out.is_dir() or not commit.files[MODEL].is_the_same(out / MODEL):
        what = "is another bundle" if (out / MODEL).is_file() else "holds something else"
        raise UserError(f"{out}: is there and {what} than {pinned}; choose another folder with -o")
    Bundle(out).verify()


@contextlib.contextmanager
def _thrown_away_if_wrong(part: Path) -> Iterator[None]:
    """What was fetched and is not right goes: the next pull would take it for whole."""
    try:
        yield
    except UserError:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _fetch_all(hub: Hub, where: Address, commit: Commit, names: list[str], part: Path,
               say: Callable[[str], object]) -> None:
    """All files into ``part``, but those that are there already.

    Raises:
        UserError: the disk has no room for them, or they cannot be had; what came is kept.
    """
    left = [name for name in sorted(names) if not (part / name).is_file()]
    missing = sum(commit.files[name].size for name in left)
    free = shutil.disk_usage(part).free
    if missing > free:
        raise UserError(f"{part.parent}: {missing / 1e6:.1f} MB are to come and {free / 1e6:.1f} MB are free; free "
                        "some space, or choose a folder on another disk with -o")
    say(f"fetching {len(left)} files, {missing / 1e6:.1f} MB, from {endpoint()}/{where.repo} ...")
    for name in sorted(names):
        if name in left and commit.files[name].size > LARGE:
            say(f"{name}, {commit.files[name].size / 1e6:.1f} MB")
        hub.fetch(where, commit.hash, name, part)  # of what is there it looks at the commit, and leaves it


def _check_list(part: Path, commit: Commit, pinned: str) -> None:
    """Before megabytes come: whether the repository has what its ``model.json`` lists."""
    try:
        info = read_json(part / MODEL)
        if info.get("format") != FORMAT:
            raise UserError(f"{pinned}: its {MODEL} is not one of a micro-musicgen bundle")
        listed = {str(name): int(about["bytes"]) for name, about in info["files"].items()}
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{pinned}: its {MODEL} does not list its files; ask its owner to push it again") from None
    for name, size in listed.items():
        found = commit.files.get(name)
        if found is None or found.size != size:
            what = "is missing" if found is None else f"was altered, expected {size} bytes, got {found.size}"
            raise UserError(f"{pinned}: {name} {what}; nothing was kept, ask its owner to push it again")


def _check_content(part: Path, commit: Commit, names: list[str], pinned: str) -> None:
    """Every file's hash: against ``model.json`` of those that it lists, against the commit of the others."""
    try:
        bundle = Bundle(part)
        bundle.verify()
    except UserError as error:
        what = str(error).replace(f"{part}{os.sep}", "").split(";")[0]
        raise UserError(f"{pinned}: {what}; nothing was kept, ask its owner to push it again") from None
    for name in names:
        if name not in bundle.info["files"] and not commit.files[name].is_the_same(part / name):
            raise UserError(f"{pinned}: {name} is not what the commit says; nothing was kept, pull again")


def _finish(part: Path, out: Path, names: list[str], where: Address, commit: Commit) -> None:
    """Leave what was checked, add the record, and give the folder its name in one step."""
    record = {"repo": where.repo, "revision": where.revision or "main", "commit": commit.hash, "from": endpoint()}
    (part / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    for path in part.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (*names, RECORD):  # of an earlier pull into this place, of another commit
            path.unlink()
    for path in part.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    part.rename(out)
