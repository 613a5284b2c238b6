"""What may lie in a bundle's repository: files that are read without running anything, in one folder.

Both sides ask: what is not in the list is neither sent nor fetched. A pickle (``.bin``, ``.pt``, ``.th``, ``.ckpt``,
``.pkl``) can run code when it is loaded, and a bundle has none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audiocraft_ext.core.errors import UserError

MODEL, CARD, RECORD = "model.json", "README.md", "hub.json"
PARTS = (".safetensors", ".onnx", ".json", ".md")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".mid")  # of files called sample*
SAMPLE = "sample"


@dataclass(frozen=True)
class Remote:
    """A file in a commit, as the Hub lists it.

    Attributes:
        size: in bytes.
        blob: its git object id, hex; where it is large, that of a pointer to it.
        sha256: of a large file, hex; else None.
    """

    size: int
    blob: str | None
    sha256: str | None = None

    def is_the_same(self, path: Path) -> bool:
        """Whether a file here has the same bytes, by its hash."""
        data = path.read_bytes() if path.is_file() else None
        if data is None or not (self.sha256 or self.blob):
            return False
        if self.sha256:
            return hashlib.sha256(data).hexdigest() == self.sha256
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == self.blob


def is_hidden(name: str) -> bool:
    """Such as ``.gitattributes``, which the Hub writes itself: no part of a bundle, and left where it is."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def check_names(names: Iterable[str], where: str, advice: str) -> list[str]:
    """Those of ``names`` that are a bundle's; hidden ones and the record of an earlier pull are not.

    Args:
        where: what holds them, for the message; ``advice``: what to do.

    Raises:
        UserError: there is something else among them.
    """
    kept = [name for name in names if not is_hidden(name) and name != RECORD]
    for name in kept:
        ending = PurePosixPath(name).suffix.lower()
        sample = name.startswith(SAMPLE) and ending in SOUNDS
        if not re.fullmatch(r"[\w .-]+", name) or not (ending in PARTS or sample):
            shown = name if name.isprintable() else ascii(name)
            raise UserError(f"{where} holds {shown}, which no bundle has: expected safetensors, ONNX, JSON and "
                            f"Markdown in one folder, and sounds called {SAMPLE}; {advice}")
    return kept
