"""What a file is: the hash of its bytes, the one way that every part takes it."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """Hex digest of a file. The interpreter is free for other threads meanwhile."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
