"""What is known of one file of sound after it was analysed, and where that is kept.

:class:`Facts` is what an analysis finds; it depends on the file and on the rate at which it is analysed, on no setting.
All that is decided (what to keep, where to cut, in which split) is decided from facts, without the sound. Positions are
samples of the mono sound at :attr:`Facts.heard_at` Hz, the codec's rate.

:class:`FactsFile` keeps them in one SQLite file: what a ``kill -9`` leaves is whole, and ten
thousand files need no memory.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from data_prep.audio.beats.grid import Beats
from data_prep.shared.naming import Labels

VERSION = 4  # of what an analysis finds; another one is analysed again
ENVELOPE_RATE = 100  # values a second


@dataclass(frozen=True)
class Level:
    """How loud a sound is; dB values are None where there is nothing to measure (silence, too short).

    Attributes:
        lufs: integrated loudness, ITU-R BS.1770-4.
        peak_db, true_peak_db: of the mono sound, dBFS and dBTP.
        rms_db: over all of it.
        dc: its mean, to be taken away.
        clipped: share of its samples that lie in flat tops, 0 to 1.
        channels: of the file.
        mid_db: energy of the mean of its channels over the mean of their energies; 0 is mono, -3 two that have
            nothing to do with each other, far below that they cancel.
        mix: what the mono sound is: "mid", or "channel 1" (counted from 1) where the mid cancels.
    """

    lufs: float | None = None
    peak_db: float | None = None
    true_peak_db: float | None = None
    rms_db: float | None = None
    dc: float = 0.0
    clipped: float = 0.0
    channels: int = 1
    mid_db: float = 0.0
    mix: str = "mid"


@dataclass(frozen=True)
class Facts:
    """What is known of one file.

    Attributes:
        name: its path below the folder, forward slashes.
        size, mtime_ns: of the file, by which it is known again.
        heard_at: Hz, the rate of all positions.
        file_sha256: of its bytes; ``sound_sha256`` of what they decode to.
        format: what the decoder calls it, such as "WAV PCM_16".
        lossy: whether that is a lossy one.
        seconds, rate, amplitude: of the file: length, Hz, largest magnitude over its channels.
        samples: of the mono sound at ``heard_at``.
        spectrum: mean power in mel bands, in dB, by which the odd ones are found (data_prep/audio/junk.py).
        texture: a few more numbers of that kind, by name.
        envelope: ``uint8 [ENVELOPE_RATE * seconds]``, largest magnitude in 10 ms, 0 is silence, v is (v - 255) / 2 dB.
        overview: ``int8 [240, 2]``, lowest and highest sample in 240 pieces of equal length, 127 is full scale.
        fingerprint: ``uint32 [F]``, data_prep/audio/analysis/fingerprint.py.
        onsets: ascending samples; None where nobody asked for them.
        notes: what was odd about the file, and is no reason to refuse it.
    """

    name: str
    size: int
    mtime_ns: int
    heard_at: int
    file_sha256: str
    sound_sha256: str
    format: str
    lossy: bool
    seconds: float
    rate: int
    amplitude: float
    samples: int
    level: Level
    labels: Labels
    beats: Beats | None
    spectrum: list[float] = field(default_factory=list)
    texture: dict[str, float] = field(default_factory=dict)
    envelope: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    overview: np.ndarray = field(default_factory=lambda: np.zeros((240, 2), np.int8))
    fingerprint: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    onsets: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Refused:
    """A file that cannot be used, and why: a line that a person can act on."""

    name: str
    size: int
    mtime_ns: int
    reason: str
    passing: bool = False  # the reason may be gone the next time: a time limit, a crash, memory


ARRAYS = {"envelope": np.uint8, "overview": np.int8, "fingerprint": np.uint32, "onsets": np.int64,
          "beats.beats": np.int64, "beats.downbeats": np.int64}
SCHEMA = """CREATE TABLE IF NOT EXISTS {} (name BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, how TEXT,
            refused TEXT, passing INTEGER, plain TEXT, arrays BLOB)"""
TABLES = ("facts", "encoded")  # of the files as they are; of the sources as they were when they were encoded
COMMIT_EVERY = 64  # files; a kill costs no more than these


class FactsFile:
    """Facts by name in one SQLite file.

    Args:
        path: made if missing.
        how: what the analysis depends on besides the file (rate, what was asked for); facts found another way are not
            given back.

    Raises:
        UserError: the file is not one, or damaged.
        OSError: the disk is full.
    """

    def __init__(self, path: Path, how: str):
        self.path, self.how, self._waiting = path, f"{VERSION} {how}", 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._database_errors():
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=TRUNCATE")  # one file, on network disks too
            for table in TABLES:
                self._db.execute(SCHEMA.format(table))
            self._db.execute("BEGIN")

    def get(self, name: str, size: int, mtime_ns: int) -> Facts | Refused | None:
        """What is known of a file, unless it has changed since or was analysed another way."""
        with self._database_errors():
            row = self._db.execute("SELECT * FROM facts WHERE name = ?", (os.fsencode(name),)).fetchone()
        if row is None or (row[1], row[2], row[3]) != (size, _stored(mtime_ns), self.how):
            return None
        return _from_row(row)

    def knows(self, name: str, size: int, mtime_ns: int) -> bool:
        """Whether :meth:`get` would give something; without reading it."""
        with self._database_errors():
            return self._db.execute("SELECT 1 FROM facts WHERE name = ? AND size = ? AND mtime_ns = ? AND how = ?",
                                    (os.fsencode(name), size, _stored(mtime_ns), self.how)).fetchone() is not None

    def named(self, name: str) -> Facts | Refused | None:
        """What was last found of a name, whatever the file is now."""
        return self._last("facts", name)

    def encoded(self, name: str) -> Facts | None:
        """What was known of a source when it was encoded, whatever its file is now."""
        return self._last("encoded", name)

    def keep(self, names: Iterable[str]) -> None:
        """Remember what is known of these files as that of sources of the store."""
        with self._database_errors():
            self._db.executemany("INSERT OR REPLACE INTO encoded SELECT * FROM facts WHERE name = ? AND refused IS "
                                 "NULL", [(os.fsencode(name),) for name in names])
            self.flush()

    def _last(self, table: str, name: str) -> Facts | Refused | None:
        with self._database_errors():
            row = self._db.execute(f"SELECT * FROM {table} WHERE name = ?", (os.fsencode(name),)).fetchone()
        return None if row is None or row[3].split()[0] != str(VERSION) else _from_row(row)

    def put(self, item: Facts | Refused) -> None:
        """Keep what was found; it is on the disk after :meth:`flush` or 64 more."""
        with self._database_errors():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _to_row(item, self.how))
            self._waiting += 1
            if self._waiting >= COMMIT_EVERY:
                self.flush()

    def forget_passing(self) -> int:
        """Forget refusals whose reason may be gone, so that those files are tried again; returns how many."""
        with self._database_errors():
            return self._db.execute("DELETE FROM facts WHERE passing").rowcount

    def flush(self) -> None:
        """Put everything on the disk."""
        with self._database_errors():
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")
            self._waiting = 0

    def close(self) -> None:
        with self._database_errors():
            if self._db.in_transaction:
                self._db.execute("COMMIT")
            self._db.close()

    def __enter__(self) -> FactsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            code = errno.ENOSPC if "full" in text or "I/O" in text else errno.EIO
            raise OSError(code, f"{os.strerror(code)} ({text})", str(self.path)) from None
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path}: is damaged ({error}); delete it, and the files are analysed again") from None


def _stored(mtime_ns: int) -> int:
    """A time as SQLite can hold it, in 64 bits: file systems know years that do not fit in nanoseconds (2262 on)."""
    return (mtime_ns + 2**63) % 2**64 - 2**63


def _to_row(item: Facts | Refused, how: str) -> tuple:
    head = (os.fsencode(item.name), item.size, _stored(item.mtime_ns), how)
    if isinstance(item, Refused):
        return *head, item.reason, int(item.passing), None, None
    plain, arrays = _plain(item)
    return *head, None, 0, json.dumps(plain), zlib.compress(arrays, 1)


def _plain(facts: Facts) -> tuple[dict[str, Any], bytes]:
    """Plain values, and the arrays one behind the other; their lengths are among the plain values."""
    plain = asdict(facts)
    lengths, data = {}, []
    for name, kind in ARRAYS.items():
        holder = plain if "." not in name else plain[name.split(".")[0]]
        if holder is None or (array := holder.pop(name.split(".")[-1])) is None:
            continue
        array = np.ascontiguousarray(array, np.dtype(kind).newbyteorder("<"))
        lengths[name] = array.size
        data.append(array.tobytes())
    plain["arrays"] = lengths
    return plain, b"".join(data)


def _from_row(row: tuple) -> Facts | Refused:
    name, size, mtime_ns = os.fsdecode(row[0]), row[1], row[2]
    if row[4] is not None:
        return Refused(name, size, mtime_ns, row[4], bool(row[5]))
    plain, data = json.loads(row[6]), zlib.decompress(row[7])
    at, beats = 0, plain.pop("beats")
    for key, length in plain.pop("arrays").items():
        kind = np.dtype(ARRAYS[key]).newbyteorder("<")
        array = np.frombuffer(data, kind, length, at).astype(ARRAYS[key])
        at += length * kind.itemsize
        (plain if "." not in key else beats)[key.split(".")[-1]] = array.reshape(-1, 2) if key == "overview" else array
    plain |= {"name": name, "level": Level(**plain["level"]), "labels": Labels(**plain["labels"])}
    return Facts(**plain, beats=Beats(**beats) if beats else None)
