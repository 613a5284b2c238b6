"""The token store: a folder of codes that is written once, appended to safely, and read by index.

    store.json       the commit record: format, version, spec, settings, and how much of the other two files counts
    codes.u16        little endian uint16, [frames, K]: the K codes of one frame lie together, time runs on
    manifest.jsonl   one line a segment: source, split, start, frames, segment, segments, sha256 of its codes, ...
    preparing.json   only before the first finish: spec, settings, and the command that goes on

A source is appended in two steps, each flushed to the disk: its codes, then its manifest lines. The last line of a
source is the commit point, so whatever a crash leaves behind it is cut off when writing goes on. Readers go by
store.json alone, which is written aside and renamed: they see the store as the last ``finish`` left it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from audiocraft_ext.errors import UserError
from audiocraft_ext.spec import Spec

try:
    import fcntl
except ImportError:  # not there on Windows: two writers at once are then the user's care
    fcntl = None

FORMAT, VERSION = "micro-musicgen token store", 1
CODES, MANIFEST, RECORD, PREPARING = "codes.u16", "manifest.jsonl", "store.json", "preparing.json"
DTYPE = np.dtype("<u2")


SLICES = ("bars", "onsets")  # ``cut`` of a row that begins on a downbeat or a hit, and means little from its middle on


@dataclass(frozen=True)
class Track:
    """Segments of one source that lie one after the other: ``frames`` frames from frame ``start`` of the store.

    Attributes:
        slices: the frames of the store at which its slices begin, where it was cut on the music; empty: anywhere is as
            good.
    """

    source: str
    start: int
    frames: int
    slices: tuple[int, ...] = ()


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)  # ASCII: a name need not be Unicode


def _hash(spec: dict, manifest: bytes) -> str:
    return hashlib.sha256(_dump(spec).encode() + b"\n" + manifest).hexdigest()


def _load_record(path: Path) -> dict:
    """Read store.json or preparing.json."""
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["format"] != FORMAT:
            raise UserError(f"{path}: expected the format {FORMAT!r}, got {record['format']!r}")
        if record["version"] != VERSION:
            raise UserError(f"{path}: this version reads store version {VERSION}, got {record['version']!r}")
        return record
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a token store's record ({error!r}); prepare the store anew") from None


def _read_exactly(path: Path, size: int) -> bytes:
    """The first ``size`` bytes of a file of the store."""
    try:
        with path.open("rb") as f:
            data = f.read(size)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the store is damaged, prepare it anew") from None
    if len(data) < size:
        raise UserError(f"{path}: {len(data)} bytes are there, {RECORD} says {size}; "
                        "the store is damaged, prepare it anew")
    return data


class TokenStore:
    """A finished token store, for reading.

    Attributes:
        spec: what the codes mean.
        settings: how they were made, as the preparation gave it.
        hash: sha256 of the spec and the manifest, which holds a sha256 of every segment's codes.
        codes: ``uint16 [frames, K]``, mapped from the disk.
        rows: the manifest, one dict a segment.

    Raises:
        UserError: no store there, one that was not finished, or a damaged one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / RECORD).is_file():
            raise UserError(_why_no_store(self.path))
        record = _load_record(self.path / RECORD)
        manifest = _read_exactly(self.path / MANIFEST, record["manifest_bytes"])
        if _hash(record["spec"], manifest) != record["hash"]:
            raise UserError(f"{self.path / MANIFEST}: does not match the hash in {RECORD}; "
                            "the store is damaged, prepare it anew")
        self.spec = Spec.from_dict(record["spec"])
        self.settings: dict = record["settings"]
        self.hash: str = record["hash"]
        self.rows: list[dict] = [json.loads(line) for line in manifest.splitlines()]
        self.codes = self._map(record["frames"])
        self._tracks = _tracks(self.rows)

    def _map(self, frames: int) -> np.memmap:
        path = self.path / CODES
        size = path.stat().st_size if path.is_file() else 0
        need = frames * self.spec.n_q * DTYPE.itemsize
        if size < need:
            raise UserError(f"{path}: {size} bytes are there, {RECORD} says {need}; "
                            "the store is damaged, prepare it anew")
        return np.memmap(path, DTYPE, "r", shape=(frames, self.spec.n_q))

    def __reduce__(self):  # a memmap would travel to a worker process as a copy of all codes
        return TokenStore, (self.path,)

    @property
    def seconds(self) -> float:
        return self.spec.seconds(len(self.codes))

    def tracks(self, split: str) -> list[Track]:
        """The tracks of ``split`` in the order in which they were written; none if there is no such split."""
        return list(self._tracks.get(split, ()))

    def read(self, start: int, frames: int) -> np.ndarray:
        """Codes ``uint16 [K, frames]`` from frame ``start`` of the store; a copy."""
        if not 0 <= start <= start + frames <= len(self.codes):
            raise IndexError(f"frames {start} to {start + frames} of a store with {len(self.codes)}")
        return np.ascontiguousarray(self.codes[start : start + frames].T)  # [K, T]

    def verify(self) -> None:
        """Compare every segment's codes with its hash; reads the whole store.

        Raises:
            UserError: naming the first segment that differs.
        """
        for row in self.rows:
            codes = self.codes[row["start"] : row["start"] + row["frames"]]
            if hashlib.sha256(codes.tobytes()).hexdigest() != row["sha256"]:
                raise UserError(f"{self.path / CODES}: the codes of {row['source']}, segment {row['segment']}, have "
                                "changed since they were written; the store is damaged, prepare it anew")


def _tracks(rows: list[dict]) -> dict[str, list[Track]]:
    """The tracks of each side. A row goes on in the track of the one before it if both are of one source, lie side by
    side, and the row does not say that it ``follows`` nothing (a silence was cut out between them, say)."""
    runs: dict[str, list[list[dict]]] = {}
    for row in rows:
        there = runs.setdefault(row["split"], [])
        last = there[-1][-1] if there else None
        if (last and last["source"] == row["source"] and last["start"] + last["frames"] == row["start"]
                and row.get("follows", True)):
            there[-1].append(row)
        else:
            there.append([row])
    return {split: [Track(run[0]["source"], run[0]["start"], sum(row["frames"] for row in run),
                          tuple(row["start"] for row in run) if run[0].get("cut") in SLICES else ()) for run in there]
            for split, there in runs.items()}


def bound(path: Path) -> dict | None:
    """What binds a writer: the ``spec`` and ``settings`` of a store, finished or not, that has something in it.

    Raises:
        UserError: its record cannot be read.
    """
    there = next((_load_record(path / name) for name in (RECORD, PREPARING) if (path / name).is_file()), None)
    manifest = path / MANIFEST
    return there if there and ((path / RECORD).is_file() or manifest.is_file() and manifest.stat().st_size) else None


def _why_no_store(path: Path) -> str:
    if not path.is_dir():
        return f"no such token store: {path}; make one with 'python -m data_prep.audio SRC {path}'"
    if (path / PREPARING).is_file():
        command = _load_record(path / PREPARING).get("command") or "the command that began it"
        return f"{path}: the preparation of this token store was not finished; go on with: {command}"
    return f"{path}: not a token store, it has no {RECORD}; make one with 'python -m data_prep.audio SRC STORE'"


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
        self.path, self.spec, self.settings = Path(path), spec, json.loads(_dump(settings))
        self.sources: dict[str, dict] = {}  # by name, the last manifest row of each source that is in the store
        self.sides: dict[str, set[str]] = {}  # of each source, the sides that its rows are on
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
        if there := bound(self.path):
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
        _replace(self.path / PREPARING, {"format": FORMAT, "version": VERSION, "spec": self.spec.to_dict(),
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
                self.sides[row["source"]], splits = splits, set()
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
        self.add_rows(source, [(side, codes[:, at : min(at + step, end)], dict(about or {}))
                               for begin, end, side in ((0, cut, split), (cut, T, "valid"))
                               for at in range(begin, end, step)])

    def add_rows(self, source: str, rows: Sequence[tuple[str, np.ndarray, dict]]) -> None:
        """Append one source that was cut before; when this returns it is on the disk.

        Args:
            source: as for :meth:`add`.
            rows: side, codes ``[K, T]`` with T > 0, and further keys, for each of its manifest lines.

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
            for n, (side, codes, about) in enumerate(rows):
                self._check_codes(source, np.asarray(codes))
                table = np.ascontiguousarray(np.asarray(codes).T.astype(DTYPE))  # [T, K]
                lines.append(dict(about, source=source, split=side, start=at, frames=len(table), segment=n,
                                  segments=len(rows), sha256=hashlib.sha256(table.tobytes()).hexdigest()))
                data.append(table.tobytes())
                at += len(table)
        text = "".join(_dump(line) + "\n" for line in lines).encode()
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
            self.sides.setdefault(line["source"], set()).add(line["split"])

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
        manifest = _read_exactly(self.path / MANIFEST, self._manifest_bytes)
        digest = _hash(spec, manifest)
        record = {"format": FORMAT, "version": VERSION, "spec": spec, "settings": self.settings, "frames": self.frames,
                  "rows": self.rows, "manifest_bytes": self._manifest_bytes, "hash": digest}
        _replace(self.path / RECORD, record)
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


def _replace(path: Path, record: dict) -> None:
    """Write a record aside, flush it to the disk and rename it; leave it alone where nothing changes."""
    text = json.dumps(record, indent=1) + "\n"
    if path.is_file() and path.read_text("utf-8") == text:
        return
    aside = path.with_name(path.name + ".tmp")
    try:
        with aside.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)  # the rename itself must reach the disk
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
