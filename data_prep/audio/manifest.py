"""audiocraft's own manifest of the slices of a store, so that its ``AudioDataset`` can read what a store was made from.

    STORE/manifest/train/data.jsonl.gz      AudioDataset.from_meta(STORE/manifest/train)
    STORE/manifest/valid/data.jsonl.gz

One line a slice, in the store's order. audiocraft takes path, duration, sample_rate, amplitude, weight and info_path
from it; what we know besides is there for people and other programs.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from audiocraft_ext.core.files import atomic
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import MANIFEST

FOLDER, FILE = "manifest", "data.jsonl.gz"
KNOWN = ("title", "bpm", "said_bpm", "confidence", "key", "licence", "bars", "bar_seconds", "gain_db", "group",
         "file_sha256", "variant")


def rows_of(store: Path) -> Iterator[dict]:
    """The manifest of a finished store, row by row."""
    with (store / MANIFEST).open("rb") as file:
        for line in file:
            yield json.loads(line)


def write(store: Path, rows: Iterable[dict], paths: Mapping[str, Path], frame_rate: float,
          slices: Mapping[int, Path] | None = None, slice_rate: int | None = None) -> None:
    """Write one line a slice and split, absolute paths in it.

    audiocraft reads whole files only. Without ``slices`` a line's path and duration are those of the file that the
    slice was cut from, and its weight is the slice's share of it: audiocraft draws a file by weight times duration, so
    by how much of it is kept. Of a single file whose end is held out, train gets the length up to there and valid
    nothing.

    Args:
        rows: the store's manifest, those of one source one behind the other; it is gone through once. Of ``at``, its
            start and end in seconds of the file, the default is where its frames lie.
        paths: where each source lies (or the file that a variant was made from); one that is not among them keeps the
            path it had.
        slices: the file of each row, by its place in the manifest; then a line is about that file.
        slice_rate: Hz, of those files.
    """
    slices = slices or {}
    earlier = _Earlier(store, paths)
    with ExitStack() as stack:
        files = {split: stack.enter_context(_packed(store / FOLDER / split / FILE)) for split in (TRAIN, VALID)}
        number = 0
        for source, group in itertools.groupby(rows, key=lambda row: row["source"]):
            group = list(group)
            path = paths.get(source) or paths.get((group[0].get("variant") or {}).get("of")) or earlier.path(source)
            for row, line in zip(group, _lines(group, path, frame_rate)):
                if number in slices:
                    line |= {"path": _absolute(slices[number]), "duration": row["frames"] / frame_rate,
                             "sample_rate": slice_rate or line["sample_rate"], "weight": None}
                if line["path"] is not None:
                    files[row["split"]].write(json.dumps(line).encode() + b"\n")
                number += 1


def _lines(rows: list[dict], path: Path | None, frame_rate: float) -> Iterator[dict]:
    """A line for each row of one source; its path is None where audiocraft is not to read that row's file."""
    at = 0
    spans = []
    for row in rows:
        spans.append(row.get("at") or [at / frame_rate, (at + row["frames"]) / frame_rate])
        at += row["frames"]
    both = len({row["split"] for row in rows}) == 2
    end = rows[0]["seconds"]
    if both:  # the end is held out
        end = min(start for row, (start, _) in zip(rows, spans) if row["split"] == VALID)
    for row, (start, stop) in zip(rows, spans):
        listed = path is not None and not (both and row["split"] == VALID) and end > 0
        yield {"path": _absolute(path) if listed else None, "duration": end, "sample_rate": row["file_rate"],
               "amplitude": row["amplitude"], "weight": round(max(0.0, stop - start) / end, 9) if listed else None,
               "info_path": None, "source": row["source"], "start": start, "end": stop,
               **{key: row[key] for key in KNOWN if row.get(key) is not None}}


def _absolute(path: Path) -> str:
    return str(path.absolute())


class _Earlier:
    """The paths that an earlier run wrote down of sources that are not in ``paths``; read when one is asked for."""

    def __init__(self, store: Path, paths: Mapping[str, Path]):
        self._store, self._paths, self._known = store, paths, None

    def path(self, source: str) -> Path | None:
        if self._known is None:
            self._known = {}
            for split in (TRAIN, VALID):
                for line in _read(self._store / FOLDER / split / FILE):
                    if line["source"] not in self._paths:
                        self._known[line["source"]] = Path(line["path"])
        return self._known.get(source)


def _read(file: Path) -> Iterator[dict]:
    """The lines of an earlier run; up to where the file is damaged (it is only a copy)."""
    try:
        with gzip.open(file) as lines:
            for text in lines:
                line = json.loads(text)
                if isinstance(line["source"], str) and isinstance(line["path"], str):
                    yield line
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return


@contextmanager
def _packed(path: Path) -> Iterator[IO[bytes]]:
    """A gzip file to write that takes the place of ``path``; the same lines are the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (atomic(path, sync=True, unless_same=True) as part, part.open("wb") as file,
          gzip.GzipFile("", "wb", 6, file, mtime=0) as packed):
        yield packed
