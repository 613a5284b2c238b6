"""The token store (audiocraft_ext/store/reader.py) is written: begun, continued after whatever stopped it, finished.

A source is appended in two steps, each flushed to the disk: its codes, then its manifest lines. The last line of a
source is the commit point, so whatever a crash leaves behind it is cut off when writing goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import write
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.store.reader import (
    CODES,
    DTYPE,
    FORMAT,
    MANIFEST,
    PREPARING,
    RECORD,
    VERSION,
    TokenStore,
    dump,
    hash_of,
    load_record,
    read_exactly,
)

try:
    import fcntl
except ImportError:  # not there on Windows: two writers at once are then the user's care
    fcntl = None


def find_record(path: Path) -> dict | None:
    """The ``spec`` and ``settings`` of a store that has something in it, finished or not; a writer has to keep to them.

    Raises:
        UserError: its record cannot be read.
    """
    there = next((load_record(path / name) for name in (RECORD, PREPARING) if (path / name).is_file()), None)
    manifest = path / MANIFEST
    return there if there and ((path / RECORD).is_file() or manifest.is_file() and manifest.stat().st_size) else None


class StoreWriter:
    """Write a token store, or go on with one, source by source.

    Args:
        path: the folder; made if missing.
        spec: what the codes mean.
        settings: how they are made, JSON values; whatever changes the codes or the segments belongs in here.
        command: what a person types to go on, shown when an unfinished store is opened for reading.
        beside: names that may lie in the folder besides the store's own.

    Raises:
        UserError: the folder holds something else, a store with another spec or other settings (the keys are
            named), a damaged store, or one that another process is writing.
    """

    def __init__(self, path: str | Path, spec: Spec, settings: dict, command: str = "",
                 beside: Sequence[str] = ()):
        self.path, self.spec, self.settings = Path(path), spec, json.loads(dump(settings))
        self.sources: dict[str, dict] = {}  # by name, the last manifest row of each source that is in the store
        self.splits: dict[str, set[str]] = {}  # of each source, the splits that its rows are on
        self.finished: set[str] = set()  # the sources that an earlier finish made count
        self.frames = self.rows = self._manifest_bytes = 0
        self._begin(command, beside)
        self._codes = (self.path / CODES).open("ab", buffering=0)
        self._manifest = (self.path / MANIFEST).open("ab", buffering=0)
        try:
            self._lock()
            self._recover()
            if not self.rows:
                self._leave_record(command)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, command: str, beside: Sequence[str]) -> None:
        """Leave the record of what is being prepared, or compare with the one that is there."""
        if there := find_record(self.path):
            self._check_same("spec", there["spec"], self.spec.to_dict())
            self._check_same("settings", there["settings"], self.settings)
            return  # with nothing in it, a store binds nobody
        there = any((self.path / name).is_file() for name in (RECORD, PREPARING))
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: expected a folder for the token store, this is a file")
        others = [p for p in self.path.iterdir() if p.name not in beside] if self.path.is_dir() else []
        if not there and any(p.suffix != ".tmp" and p.name[0] != "." for p in others):
            raise UserError(f"{self.path}: not a token store and not empty; name a new folder")
        self.path.mkdir(parents=True, exist_ok=True)
        if not there:
            self._leave_record(command)

    def _leave_record(self, command: str) -> None:
        _write(self.path / PREPARING, {"format": FORMAT, "version": VERSION, "spec": self.spec.to_dict(),
                                       "settings": self.settings, "command": command})

    def _check_same(self, what: str, old: dict, new: dict) -> None:
        differing = [f"{what}.{key} was {old.get(key)!r}, now {new.get(key)!r}"
                     for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        if differing:
            raise UserError(f"{self.path}: this token store was made otherwise ({'; '.join(differing)}); "
                            "use the same again or name a new folder")

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._codes, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the kernel, however we end
            except BlockingIOError:
                raise UserError(f"{self.path}: another process is writing this token store; wait for it") from None
            except OSError:
                pass  # a file system without locks

    def _recover(self) -> None:
        """Take in what is committed and cut off what an interrupted write left behind it."""
        if (self.path / RECORD).is_file():
            self.finished = {row["source"] for row in TokenStore(self.path).rows}  # refuses a damaged store
        manifest = (self.path / MANIFEST).read_bytes()
        at = frames = rows = 0
        splits: set[str] = set()  # of the source that the lines are about
        for line in manifest.splitlines(keepends=True):
            at += len(line)
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                frames, rows, last = frames + row["frames"], rows + 1, row["segment"] + 1 == row["segments"]
                splits.add(row["split"])
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{self.path / MANIFEST}: line {rows + 1} is not a manifest line; "
                                "the store is damaged, prepare it anew") from None
            if last:
                self.sources[row["source"]] = row
                self.splits[row["source"]], splits = splits, set()
                self.frames, self.rows, self._manifest_bytes = frames, rows, at
        size = (self.path / CODES).stat().st_size
        if size < self._codes_bytes:
            raise UserError(f"{self.path / CODES}: {size} bytes are there, {MANIFEST} says {self._codes_bytes}; "
                            "the store is damaged, prepare it anew")
        self._cut()

    @property
    def _codes_bytes(self) -> int:
        return self.frames * self.spec.n_q * DTYPE.itemsize

    def _cut(self) -> None:
        for f, size in ((self._manifest, self._manifest_bytes), (self._codes, self._codes_bytes)):
            if os.fstat(f.fileno()).st_size != size:
                os.ftruncate(f.fileno(), size)
                os.fsync(f.fileno())

    def done(self, source: str) -> bool:
        """Whether ``source`` is in the store (finished or not yet)."""
        return source in self.sources

    def add(self, source: str, split: str, codes: np.ndarray, segment_frames: int | None = None,
            about: dict | None = None, valid_frames: int = 0) -> None:
        """Append one source; when this returns it is on the disk.

        Args:
            source: its name, such as a path relative to the folder that is prepared; once a store.
            split: ``train`` or ``valid``.
            codes: integers ``[K, T]`` in ``[0, card)``, T > 0.
            segment_frames: cut it into manifest rows of this many frames (the last is what is left); default: one.
            about: further keys for its manifest lines.
            valid_frames: its last so many frames go to ``valid`` instead, for when there is only one source.

        Raises:
            OSError: the disk is full, say; the store is as it was before.
        """
        codes = np.asarray(codes)
        self._check_codes(source, codes)
        T = codes.shape[1]
        cut, step = T - valid_frames, segment_frames or T
        self.add_rows(source, [(part, codes[:, at : min(at + step, end)], dict(about or {}))
                               for begin, end, part in ((0, cut, split), (cut, T, "valid"))
                               for at in range(begin, end, step)])

    def add_rows(self, source: str, rows: Sequence[tuple[str, np.ndarray, dict]]) -> None:
        """Append one source that was cut before; when this returns it is on the disk.

        Args:
            source: as for :meth:`add`.
            rows: split, codes ``[K, T]`` with T > 0, and further keys, for each of its manifest lines.

        Raises:
            OSError: the disk is full, say; the store is as it was before.
        """
        self.add_sources([(source, rows)])

    def add_sources(self, sources: Sequence[tuple[str, Sequence[tuple[str, np.ndarray, dict]]]]) -> None:
        """Append several sources and their rows; when this returns they are on the disk. To flush is to wait, some
        milliseconds each time: with many small sources that is most of the work.

        Raises:
            OSError: the disk is full, say; the store is as it was before.
        """
        at, lines, data, new = self.frames, [], [], set()
        for source, rows in sources:
            if self.done(source) or source in new:
                raise ValueError(f"{source}: is in the store already")
            new.add(source)
            if not rows:
                raise ValueError(f"{source}: expected one row or more, got none")
            for n, (split, codes, about) in enumerate(rows):
                self._check_codes(source, np.asarray(codes))
                table = np.ascontiguousarray(np.asarray(codes).T.astype(DTYPE))  # [T, K]
                lines.append(dict(about, source=source, split=split, start=at, frames=len(table), segment=n,
                                  segments=len(rows), sha256=hashlib.sha256(table.tobytes()).hexdigest()))
                data.append(table.tobytes())
                at += len(table)
        text = "".join(dump(line) + "\n" for line in lines).encode()
        try:
            _append(self._codes, b"".join(data))
            _append(self._manifest, text)
        except BaseException:
            self._cut()
            raise
        self.frames = at
        self.rows += len(lines)
        self._manifest_bytes += len(text)
        for line in lines:
            self.sources[line["source"]] = line
            self.splits.setdefault(line["source"], set()).add(line["split"])

    def _check_codes(self, source: str, codes: np.ndarray) -> None:
        if codes.ndim != 2 or codes.shape[0] != self.spec.n_q or codes.shape[1] == 0:
            raise ValueError(f"{source}: expected codes [{self.spec.n_q}, T] with T > 0, got {list(codes.shape)}")
        if codes.min() < 0 or codes.max() >= self.spec.card:
            raise ValueError(f"{source}: expected codes from 0 to {self.spec.card - 1}, "
                             f"got {codes.min()} to {codes.max()}")

    def finish(self) -> str:
        """Make everything that was added count for readers; returns the store's hash. Writing may go on after it.

        Raises:
            UserError: nothing was ever added.
        """
        if not self.rows:
            raise UserError(f"{self.path}: nothing was added to this token store, so there is nothing to finish")
        spec = self.spec.to_dict()
        manifest = read_exactly(self.path / MANIFEST, self._manifest_bytes)
        digest = hash_of(spec, manifest)
        record = {"format": FORMAT, "version": VERSION, "spec": spec, "settings": self.settings, "frames": self.frames,
                  "rows": self.rows, "manifest_bytes": self._manifest_bytes, "hash": digest}
        _write(self.path / RECORD, record)
        (self.path / PREPARING).unlink(missing_ok=True)
        return digest

    def close(self) -> None:
        """Let go of the files; what was added since the last ``finish`` stays and is taken up by the next writer."""
        for f in (self._codes, self._manifest):
            f.close()


def _append(f: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file and flush it to the disk."""
    left = memoryview(data)
    while left:
        left = left[f.write(left) :]
    os.fsync(f.fileno())


def _write(path: Path, record: dict) -> None:
    """Write a record, in one step that outlives a power cut; leave it alone where nothing changes."""
    write(path, json.dumps(record, indent=1) + "\n", sync=True, unless_same=True)
