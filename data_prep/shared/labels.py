"""What people say of a sound file: read from beside it, inside it, its name; or from a table, which has the last word.

For each of title, tempo, key and licence the first who says something is believed:

1. a table (``--csv``), see :func:`read_csv`;
2. a sidecar, ``X.json`` beside ``X.wav``, with the keys of audiocraft's ``MusicInfo`` (title, bpm, key), and licence;
3. tags and the tempo chunks of loops (data_prep/audio/analysis/tags.py);
4. the name (data_prep/shared/naming.py): tempo and key only;
5. for the licence, a text LICENSE, COPYING, copyright or SOURCES.md beside the file or further up, but not above the
   folder that is prepared; of these the nearest that is there counts, if it is a licence that is known.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import atomic
from audiocraft_ext.core.split import TRAIN, VALID
from data_prep.shared.naming import Labels, bpm_of, key_of, licence_of, text_of

AT_MOST = 2**16  # bytes of a sidecar or a licence; longer ones are read so far
LICENCES = [name + end for name in ("LICENSE", "LICENCE", "License", "Licence", "license", "licence", "COPYING",
                                    "COPYRIGHT", "copyright", "SOURCES") for end in ("", ".txt", ".md")]
COLUMNS = ("title", "bpm", "key", "licence", "keep", "split")  # columns that are read
DRUM_COLUMNS = ("style", "kind")  # and these of drums
FOUND_COLUMNS = ("start", "end", "slice_bpm", "bar_seconds", "confidence", "gain_db", "flags", "group", "variant",
         "file_sha256")  # columns that are written beside them
YES, NO = ("yes", "true", "1", "y"), ("no", "false", "0", "n")
RISKY = ("=", "+", "-", "@", "\t", "\r", "'")  # a spreadsheet takes a text that begins so for a formula


@dataclass(frozen=True)
class Row:
    """What a table says of one file; None where it says nothing. ``line`` is the first that names the file."""

    title: str | None = None
    bpm: float | None = None
    key: str | None = None
    licence: str | None = None
    keep: bool | None = None
    split: str | None = None
    line: int = 0
    style: str | None = None
    kind: str | None = None

    def over(self, labels: Labels) -> Labels:
        """The labels with what the table says in place of what they say."""
        values = {field.name: getattr(self, field.name) for field in fields(Labels)}
        return replace(labels, **{name: value for name, value in values.items() if value is not None})


def _head(path: Path) -> str | None:
    """The beginning of a text file; None if there is none that can be read."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            return None
        with path.open("rb") as file:
            return file.read(AT_MOST).decode("utf-8", "replace")
    except OSError:
        return None


def sidecar(path: Path) -> dict:
    """What lies in ``X.json`` beside ``X.wav``; a file that cannot be read says nothing, other programs have files of
    that name too."""
    try:
        about = json.loads(_head(path.with_suffix(".json")) or "null")
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def sidecar_labels(path: Path) -> Labels:
    about = sidecar(path)
    licence = text_of(about.get("licence")) or text_of(about.get("license"))
    return Labels(title=text_of(about.get("title")), bpm=bpm_of(about.get("bpm")),
                  key=key_of(about.get("key")) or text_of(about.get("key")),
                  licence=licence and (licence_of(licence) or licence))


def licence_near(path: Path, root: Path | None) -> str | None:
    """The licence that a text beside a file names, or one further up, but not above ``root``."""
    folders = [path.parent]
    if root is not None and path.is_relative_to(root):
        folders = list(path.parents)[: len(path.relative_to(root).parts)]
    for folder in folders:
        for name in LICENCES:  # not a listing: there may be 100,000 files beside it
            if text := _head(folder / name):
                return licence_of(text)
    return None


def read_csv(path: Path, say: Callable[[str], object] | None = None, more: tuple[str, ...] = ()) -> dict[str, Row]:
    """A person's table, by file: UTF-8, columns separated by ``,`` or ``;``, the first line names them.

    ``file`` is a path below the folder that is prepared, with forward slashes. Besides there may be title, bpm, key,
    licence, ``keep`` (yes or no) and ``split`` (train or valid); an empty cell says nothing. What :func:`write_csv`
    wrote can be given back: a file may have many lines, which must not contradict each other. Of one file
    of such a table the first lines may be train and the last valid: its end was held out, and that says nothing.

    Args:
        say: takes a line about what is passed over; default: prints it to stderr.
        more: further columns, :data:`DRUM_COLUMNS`.

    Raises:
        UserError: not such a table; the line is named.
    """
    say = say or (lambda line: print(line, file=sys.stderr))
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    head = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=";" if head.count(";") > head.count(",")
                       else ",")
    rows: dict[str, Row] = {}
    splits: dict[str, list[tuple[int, str]]] = {}  # each line that names one
    try:
        columns = _columns(path, next(lines, []), say, (*COLUMNS, *more))
        line = lines.line_num + 1
        for cells in lines:
            if any(cell.strip() for cell in cells):
                where = f"{path}, line {line}"
                name, row = _row(where, columns, cells, line)
                if "start" in columns and row.split:
                    splits.setdefault(name, []).append((line, row.split))
                    row = replace(row, split=None)
                rows[name] = _joined(where, name, rows[name], row) if name in rows else row
            line = lines.line_num + 1  # a cell may hold line breaks
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: not a line of a CSV table ({error})") from None
    ends = [name for name, named in splits.items() if _is_held_out(named)]
    for name, named in splits.items():
        if name not in ends or len(ends) > 1:
            rows[name] = replace(rows[name], split=_split_of(path, name, named))
        elif len(rows) > 1:  # in a store that has grown, or a mistake
            say(f"{path}: {name!r} is train and then valid, as where the end of a single file is held out, so no split "
                "is taken from it; to give it one, change all its lines")
    return rows


def _is_held_out(lines: list[tuple[int, str]]) -> bool:
    """Train, then valid: of a store's only file the end is held out, and its table says so."""
    splits = [split for _, split in lines]
    return len(set(splits)) > 1 and splits == sorted(splits)


def _split_of(path: Path, name: str, lines: list[tuple[int, str]]) -> str:
    """The split that all lines of a file say."""
    first, split = lines[0]
    for line, other in lines:
        if other != split:
            raise UserError(f"{path}: line {line} says {other}, line {first} {split}: {name!r} lies in one split; "
                            "change all its lines")
    return split


def _columns(path: Path, head: list[str], say: Callable[[str], object], known: tuple[str, ...]) -> list[str]:
    columns = [cell.strip().lower().replace("license", "licence") for cell in head]
    if "file" not in columns:
        raise UserError(f"{path}, line 1: expected the names of the columns, among them 'file' (and any of "
                        f"{', '.join(known)}; separated by , or ;), got {','.join(head)[:80]!r}")
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise UserError(f"{path}, line 1: column {twice[0]!r} is there twice")
    if others := [name for name in columns if name and name not in ("file", *known, *FOUND_COLUMNS)]:
        say(f"{path}: columns that say nothing here: {', '.join(others)}; known are file, {', '.join(known)}")
    return ["" if name in others else name for name in columns]


def _row(where: str, columns: list[str], cells: list[str], line: int) -> tuple[str, Row]:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        raise UserError(f"{where}: {len(cells)} cells, but line 1 names {len(columns)} columns; a text with a comma "
                        "needs quotes")
    cell = {name: _unescaped(value if name == "file" else value.strip()) for name, value in zip(columns, cells)
            if value.strip()}
    name = cell.pop("file", "")
    if not name:
        raise UserError(f"{where}: no file is named")
    for column in (*COLUMNS, *DRUM_COLUMNS):
        try:
            cell.get(column, "").encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: {column} is not UTF-8; save the table as 'CSV UTF-8'") from None
    keep, split, bpm = cell.get("keep", "").lower(), cell.get("split", "").lower(), cell.get("bpm")
    if keep not in ("", *YES, *NO):
        raise UserError(f"{where}: keep is yes or no, got {keep!r}")
    if split not in ("", TRAIN, VALID):
        raise UserError(f"{where}: split is {TRAIN} or {VALID}, got {split!r}")
    if bpm is not None and bpm_of(bpm) is None:
        raise UserError(f"{where}: bpm is a number from 20 to 400, got {bpm!r}")
    key, licence = text_of(cell.get("key")), text_of(cell.get("licence"))
    return PurePosixPath(name).as_posix(), Row(
        title=text_of(cell.get("title")), bpm=bpm_of(bpm), key=key and (key_of(key) or key),
        licence=licence and (licence_of(licence) or licence), keep=keep in YES if keep else None, split=split or None,
        line=line, style=text_of(cell.get("style")), kind=text_of(cell.get("kind")))


def _joined(where: str, name: str, old: Row, new: Row) -> Row:
    """Two lines about one file as one."""
    values = {}
    for column in (*COLUMNS, *DRUM_COLUMNS):
        before, now = getattr(old, column), getattr(new, column)
        if before is not None and now is not None and before != now:
            raise UserError(f"{where}: {column} of {name!r} is {now!r}, but {before!r} in line {old.line}; "
                            "what is said counts for the whole file")
        values[column] = now if before is None else before
    return replace(old, **values)


def table_of(path: Path | None, names: Collection[str], more: tuple[str, ...] = ()) -> dict[str, Row]:
    """A person's table, see :func:`read_csv`; what it names that is not among ``names`` is noted on stderr. Empty
    without a ``path``."""
    if path is None:
        return {}
    rows = matched(read_csv(path, more=more), names)
    for line in unknown(rows, names):
        print(f"note: {line}", file=sys.stderr)
    return rows


def matched(rows: dict[str, Row], names: Collection[str]) -> dict[str, Row]:
    """The table under the names that the files have. A spreadsheet or another system may have written them with other
    letters for the same (NFC, NFD), with backslashes, or with ``./`` before them. What fits several files or none
    stays."""
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault(_plain(name), []).append(name)
    out = {name: row for name, row in rows.items() if name in names}
    for name, row in rows.items():
        fitting = plain.get(_plain(name), ())
        out.setdefault(fitting[0] if len(fitting) == 1 and fitting[0] not in rows else name, row)
    return out


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def unknown(rows: dict[str, Row], names: Collection[str]) -> list[str]:
    """A line for each file of the table that is not among ``names``, for a person."""
    return [f"line {row.line} of the table names {name!r}, which is not there" for name, row in rows.items()
            if name not in names]


def write_csv(path: Path, rows: Iterable[dict], more: tuple[str, ...] = ()) -> None:
    """Write one line a slice, which a spreadsheet can open and :func:`read_csv` reads.

    ``bpm`` is what people said of the file; the tempo of the slice, found or given, is ``slice_bpm``, so that giving
    the table back makes no guess into a word. ``keep`` is empty: one "no" in it is enough for a file. Variants are
    lines of the file they were made from, without what people said of its tempo and key.

    Args:
        rows: the keys of the store's manifest; of those that are not there the cells stay empty. ``at`` is [start,
            end] in seconds, ``bpm`` the slice's tempo, ``said_bpm`` what people said, ``flags`` a list, ``variant``
            {"of": name}.
        more: further columns, keys of the rows.
    """
    columns = ("file", *COLUMNS, *more, *FOUND_COLUMNS)
    with atomic(path, sync=True, unless_same=True) as part, part.open("wb") as file:
        text = SimpleNamespace(write=lambda line: file.write(line.encode("utf-8", "surrogateescape")))
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            start, end = row.get("at") or (None, None)
            cells = {**row, "file": row["source"], "variant": None, "keep": None, "start": start, "end": end,
                     "bpm": row.get("said_bpm"), "slice_bpm": row.get("bpm"),
                     "flags": "; ".join(row.get("flags") or ())}
            if variant := row.get("variant"):
                cells |= {"file": variant["of"], "variant": row["source"], "bpm": None, "key": None}
            writer.writerow([_cell(cells.get(name)) for name in columns])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"'{value}" if isinstance(value, str) and value.startswith(RISKY) else str(value)


def _unescaped(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(RISKY) else cell
