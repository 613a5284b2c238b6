"""The token store: a folder of codes that is written once, appended to safely, and read by index; here it is read.

    store.json       the commit record: format, version, spec, settings, and how much of the other two files counts
    codes.u16        little endian uint16, [frames, K]: the K codes of one frame lie together, time runs on
    manifest.jsonl   one line a segment: source, split, start, frames, segment, segments, sha256 of its codes, ...
    preparing.json   only before the first finish: spec, settings, and the command that goes on

Readers go by store.json alone, which is replaced in one step: they see the store as the last ``finish`` of a writer
(audiocraft_ext/store/writer.py) left it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec

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


def dump(value: object) -> str:
    """JSON on one line, the same for the same value."""
    return json.dumps(value, sort_keys=True, allow_nan=False)  # ASCII: a name need not be Unicode


def hash_of(spec: dict, manifest: bytes) -> str:
    """Hex digest by which a store is known."""
    return hashlib.sha256(dump(spec).encode() + b"\n" + manifest).hexdigest()


def load_record(path: Path) -> dict:
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


def read_exactly(path: Path, size: int) -> bytes:
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
        record = load_record(self.path / RECORD)
        manifest = read_exactly(self.path / MANIFEST, record["manifest_bytes"])
        if hash_of(record["spec"], manifest) != record["hash"]:
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


def first_of_runs(rows: list[dict], same: tuple[str, ...]) -> np.ndarray:
    """For each row of a manifest the first of its run, ``int64 [rows]``, ascending: rows that lie one behind the other,
    each going on (``follows``) from the one before it, and have these keys the ``same``."""
    first = np.arange(len(rows))
    for i, (before, row) in enumerate(zip(rows, rows[1:]), start=1):
        if (all(before[key] == row[key] for key in same) and row.get("follows", True)
                and before["start"] + before["frames"] == row["start"]):
            first[i] = first[i - 1]
    return first


def _tracks(rows: list[dict]) -> dict[str, list[Track]]:
    """The tracks of each split. A row continues the track of the one before it if both are of one source, lie side by
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


def _why_no_store(path: Path) -> str:
    if not path.is_dir():
        return f"no such token store: {path}; make one with 'python -m data_prep.audio SRC {path}'"
    if (path / PREPARING).is_file():
        command = load_record(path / PREPARING).get("command") or "the command that began it"
        return f"{path}: the preparation of this token store was not finished; go on with: {command}"
    return f"{path}: not a token store, it has no {RECORD}; make one with 'python -m data_prep.audio SRC STORE'"
