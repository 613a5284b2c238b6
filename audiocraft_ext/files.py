"""What a file is: the hash of its bytes, the one way that every part takes it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


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
