"""audiocraft's own manifest of the same files, so that its ``AudioDataset`` can read what a store was made from.

    STORE/manifest/train/data.jsonl.gz      AudioDataset.from_meta(STORE/manifest/train)
    STORE/manifest/valid/data.jsonl.gz
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

from audiocraft_ext.split import TRAIN, VALID

FOLDER, FILE = "manifest", "data.jsonl.gz"


def write(store: Path, rows: list[dict], paths: dict[str, Path], frame_rate: float) -> None:
    """Write one line a source and split, absolute paths in it.

    audiocraft knows whole files only: of a single file whose end is held out, train gets the length up to there and
    valid nothing.

    Args:
        rows: the store's manifest.
        paths: where each source lies; a source that is not among them keeps the line it had.
    """
    sides: dict[str, set[str]] = {}
    train_frames: dict[str, int] = {}
    about = {}
    for row in rows:
        sides.setdefault(row["source"], set()).add(row["split"])
        about[row["source"]] = row
        if row["split"] == TRAIN:
            train_frames[row["source"]] = train_frames.get(row["source"], 0) + row["frames"]
    for split in (TRAIN, VALID):
        file = store / FOLDER / split / FILE
        old = _read(file)
        lines = {}
        for source, row in about.items():
            if split not in sides[source] or (split == VALID and TRAIN in sides[source]):
                continue
            path = paths.get(source)
            if path is None:
                if source in old:
                    lines[source] = old[source]
                continue
            whole = len(sides[source]) == 1
            lines[source] = {
                "path": str(path.absolute()), "amplitude": row["amplitude"], "weight": None, "info_path": None,
                "duration": row["seconds"] if whole else train_frames[source] / frame_rate,
                "sample_rate": row["file_rate"], "source": source}
        _write(file, [lines[source] for source in sorted(lines)])


def _read(file: Path) -> dict[str, dict]:
    """The lines of an earlier run by source; none if the file is missing or damaged (it is only a copy)."""
    try:
        lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        return {line["source"]: line for line in lines}
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return {}


def _write(file: Path, lines: list[dict]) -> None:
    """Write aside and rename; leave the file alone where nothing changes."""
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    data = gzip.compress(text, mtime=0)  # the same lines are the same bytes
    if file.is_file() and file.read_bytes() == data:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(file.name + ".tmp")
    try:
        aside.write_bytes(data)
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
