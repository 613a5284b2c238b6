"""What people say of one sound file: from beside it, inside it, its name (data_prep/shared/labels.py)."""

from __future__ import annotations

from pathlib import Path

from data_prep.audio.analysis import tags
from data_prep.shared.labels import licence_near, sidecar_labels
from data_prep.shared.naming import Labels, in_name


def read(path: Path, root: Path | None = None) -> Labels:
    """What is said of one file, but for the table.

    Args:
        root: the folder that is prepared, up to which a licence is looked for; without it only beside the file.

    Raises:
        OSError: the file itself cannot be read.
    """
    sidecar, inside = sidecar_labels(path), tags.read(path)
    bpm, key = in_name(path.stem)
    return Labels(title=sidecar.title or inside.title, bpm=sidecar.bpm or inside.bpm or bpm,
                  key=sidecar.key or inside.key or key,
                  licence=sidecar.licence or inside.licence or licence_near(path, root))
