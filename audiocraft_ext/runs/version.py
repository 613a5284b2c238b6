"""The version of the code that a run is made with: a commit, what was changed since, a hash of each file.

``code.json`` in a run's folder lists the versions it was scheduled with, oldest first; ``code.diff`` (``code-2.diff``
and so on of later ones) is what was not committed. Only the files count that can change a run: the package but its
grids, and the configs. What cannot be found out or written is left out: none of this is worth a run.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("audiocraft_ext", "configs")
LEFT_OUT = "audiocraft_ext/grids/"
KINDS = (".py", ".yaml", ".json", ".j2")
RECORD, DIFF = "code.json", "code.diff"
MOST_DIFF = 10 << 20  # bytes
SHOWN = 4  # names of files in a line


@dataclass(frozen=True)
class Version:
    """``files``: a short hash of each; ``changed``: those that differ from the ``commit`` (None: no git here);
    ``dirty``: whether anything in the checkout does, grids aside."""

    commit: str | None
    files: dict[str, str]
    changed: list[str] = field(default_factory=list)
    dirty: bool = False
    diff: str = ""

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        name = self.commit[:10] if self.commit else f"the files {self.hash}"
        return name + (f" and {len(self.changed)} changed file{'s' * (len(self.changed) > 1)}" if self.changed else "")


def _git(root: Path, *args: str) -> str | None:
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True)
        if not done.returncode:
            return done.stdout.decode("utf-8", "replace")
    return None


def version(root: Path = ROOT) -> Version:
    """Of the checkout in ``root``."""
    paths = [path for part in PARTS for path in sorted((root / part).rglob("*")) if path.suffix in KINDS]
    files = {}
    for path in paths:
        name = path.relative_to(root).as_posix()
        if not name.startswith(LEFT_OUT):
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if _git(root, "ls-files", "--error-unmatch", f"{PARTS[0]}/__init__.py") is None:  # none, or another's
        return Version(None, files)
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".") or ""
    prefix = (_git(root, "rev-parse", "--show-prefix") or "").strip()
    lines = [(line[:2], line[3:].removeprefix(prefix)) for line in status.split("\0") if line]
    lines = [(kind, name) for kind, name in lines if not name.startswith(LEFT_OUT)]
    mine = [(kind, name) for kind, name in lines if name.startswith(PARTS)]
    diff = _git(root, "diff", "HEAD", "--relative", "--", *PARTS, f":(exclude){LEFT_OUT}") or "" if mine else ""
    for kind, name in mine:
        if kind == "??" and name in files:
            text = (root / name).read_text("utf-8", "replace").splitlines(keepends=True)
            diff += "".join(difflib.unified_diff([], text, "/dev/null", f"b/{name}"))
    return Version((commit or "").strip() or None, files, [name for _, name in mine], bool(lines), diff[:MOST_DIFF])


def differences(folder: Path, now: Version) -> str | None:
    """What is other than when the run in ``folder`` was last scheduled, in one line; None if nothing is, or if nobody
    knows."""
    before = _versions(folder)
    if not before or before[-1].get("files") == now.files:
        return None
    old = Version(before[-1].get("commit"), before[-1]["files"], before[-1].get("changed", []))
    names = sorted(name for name in old.files.keys() | now.files.keys() if old.files.get(name) != now.files.get(name))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"began with {old}, goes on with {now}; different: {', '.join(names[:SHOWN])}{more}"


def record(folder: Path, now: Version) -> None:
    """Note in a run's folder that it is scheduled with this version."""
    versions = _versions(folder)
    if versions and versions[-1].get("files") == now.files:
        return
    diff = None
    with contextlib.suppress(OSError):
        if now.diff:
            diff = DIFF if not versions else f"code-{len(versions) + 1}.diff"
            (folder / diff).write_text(now.diff, "utf-8")
        versions.append({"since": time.strftime("%Y-%m-%d %H:%M:%S"), "commit": now.commit, "hash": now.hash,
                         "changed": now.changed, "diff": diff, "files": now.files})
        (folder / RECORD).write_text(json.dumps(versions, indent=1), "utf-8")


def note(folder: Path, now: Version | None = None) -> str | None:
    """Both: what is other, in one line, and the version recorded. Never raises for want of a disk or of git."""
    with contextlib.suppress(OSError):
        now = now or version()
        different = differences(folder, now)
        record(folder, now)
        return different
    return None


def _versions(folder: Path) -> list[dict]:
    try:
        versions = json.loads((folder / RECORD).read_text("utf-8"))
        return [one for one in versions if isinstance(one, dict) and isinstance(one.get("files"), dict)]
    except (OSError, ValueError, TypeError):
        return []
