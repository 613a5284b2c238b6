"""Data: a folder of sound or MIDI becomes a token store, as on the command line, and its table of labels is corrected.

``labels.csv`` is the table that ``--csv`` takes: corrected here or in a spreadsheet, it is the same file.
"""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import files as files_below
from audiocraft_ext.core.files import write
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import PREPARING, RECORD, load_record
from audiocraft_ext.studio.jobs import Jobs
from audiocraft_ext.studio.library import SHIPPED
from audiocraft_ext.studio.workspace import Workspace, choice, number
from data_prep.shared.labels import read_csv

CODECS = {"audio": ("spectral", "microcodec", "encodec_32khz", "debug"),
          "midi": ("drum_grid", "drum_hits", "notes", "song")}
LABELS, FACTS = "labels.csv", Path(".prep") / "facts.sqlite"
AUGMENT = "shift=20,gain=3,polarity"  # as the demo has it: what no ear calls another break
EDITED = ("bpm", "split", "keep")  # columns that the studio writes
MOST_ROWS = 20_000  # of a table that is shown
MOST_LISTED = 500  # files of a folder that are counted


def sources(workspace: Workspace) -> list[dict[str, Any]]:
    """Folders to begin with: those that were dropped here, and those that ship."""
    top = workspace.root / "sounds"
    own = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    return [{"id": workspace.called(path), "files": _count(path)} for path in own] + [
        {"id": f"shipped:{name}", "files": _count(path)} for name, path in SHIPPED.items()]


def _count(folder: Path) -> int:
    return sum(1 for _, path in zip(range(MOST_LISTED), files_below(folder)) if path.suffix not in (".py", ".md"))


def source_path(workspace: Workspace, called: object) -> Path:
    """The folder that a client named.

    Raises:
        UserError: it is none of the workspace's, nor one that ships.
    """
    if isinstance(called, str) and called.startswith("shipped:"):
        if (name := called.removeprefix("shipped:")) in SHIPPED:
            return SHIPPED[name]
    path = workspace.path(called)
    if not path.is_dir():
        raise UserError(f"{called}: no such folder in the workspace")
    return path


def prepare(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Start a preparation, or go on with one; ``of`` is an earlier store whose labels and settings count, and whose
    analysis is taken over.

    Raises:
        UserError: what cannot be.
    """
    source = source_path(workspace, given.get("source"))
    store = workspace.place("stores", given.get("store"))
    if any(job["about"].get("store") == workspace.called(store) for job in jobs.running("data")):
        raise UserError(f"{store.name} is being prepared already")
    earlier = workspace.store_path(given["of"]) if given.get("of") else None
    if earlier:
        given = _settings_of(earlier) | given
    kind = choice(given, "kind", tuple(CODECS)) or "audio"
    command = ["-m", f"data_prep.{kind}", str(source), str(store), "--cut", _cut(given)]
    if codec := choice(given, "codec", CODECS[kind]):
        command += ["--codec", codec]
    if (share := number(given, "valid_share", 0, 0.9)) is not None:
        command += ["--valid-share", f"{share:g}"]
    if kind == "audio":
        command += ["--metronome"] if given.get("metronome") else []
        command += ["--lock-tempo"] if given.get("lock_tempo") and _cut(given).startswith("bars") else []
        command += ["--slices", str(workspace.place("slices", store.name))] if given.get("slices", True) else []
        if variants := number(given, "variants", 0, 20, whole=True):
            command += ["--variants", str(variants), f"--augment={given.get('augment') or AUGMENT}"]
    if earlier:
        command += ["--csv", str(earlier / LABELS)] if (earlier / LABELS).is_file() else []
        _take_over(earlier, store)
    about = {"store": workspace.called(store), "source": given.get("source")}
    return jobs.start("data", f"prepare {store.name}", command, **about)


def _cut(given: dict[str, Any]) -> str:
    """``bars:2``, ``fixed:30`` or ``onsets``."""
    how = choice(given, "cut", ("bars", "fixed", "onsets")) or "bars"
    size = number(given, "cut_size", 0.5, 600)
    return how if how == "onsets" else f"{how}:{(2 if how == 'bars' else 30) if size is None else size:g}"


def _settings_of(store: Path) -> dict[str, Any]:
    """How a store was made, as a client would ask for it."""
    record = load_record(next(store / name for name in (RECORD, PREPARING) if (store / name).is_file()))
    spec, settings = record["spec"], record["settings"]
    how, _, size = settings.get("cut", "").partition(":")
    codec = spec["codec"]["name"] if spec.get("codec") else None
    return {"kind": "audio" if spec["kind"] == "audio" else "midi", "codec": codec, "cut": how,
            "cut_size": float(size) if size else None, "valid_share": settings.get("valid_share"),
            "metronome": settings.get("metronome"), "lock_tempo": bool(settings.get("lock_tempo")),
            "variants": settings.get("variants"), "augment": settings.get("augment")}


def _take_over(earlier: Path, store: Path) -> None:
    """The analysis of the same folder, which depends on the files alone."""
    if earlier != store and (earlier / FACTS).is_file() and not (store / FACTS).exists():
        (store / FACTS).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(earlier / FACTS, store / FACTS)


def table(workspace: Workspace, called: object) -> dict[str, Any]:
    """The table of a store, its rows with a slice to listen to where there is one."""
    store = workspace.store_path(called)
    columns, rows = _read(store / LABELS)
    slices, numbers, found = workspace.root / "slices" / store.name, {}, []
    for cells in rows[:MOST_ROWS]:
        row = dict(zip(columns, cells))
        source = row.get("variant") or row.get("file", "")
        numbers[source] = numbers.get(source, -1) + 1
        path = slices / source / f"{numbers[source]:04}.flac"
        shown = {name: row.get(name, "") for name in ("file", "variant", *EDITED, "start", "end", "slice_bpm",
                                                      "confidence", "flags")}
        found.append(shown | {"slice": workspace.called(path) if path.is_file() else None})
    return {"rows": found, "more": max(0, len(rows) - MOST_ROWS)}


def correct(workspace: Workspace, called: object, changes: object) -> int:
    """Write corrections into a store's table: ``{file: {"bpm": "174", "split": "valid", "keep": "no"}}``. They count
    for all lines of a file. Returns the number of lines that changed.

    Raises:
        UserError: a file or a word that the table does not know; nothing is changed then.
    """
    path = workspace.store_path(called) / LABELS
    columns, rows = _read(path)
    if not isinstance(changes, dict) or not all(isinstance(one, dict) for one in changes.values()):
        raise UserError("expected corrections by file")
    at = {name: columns.index(name) for name in ("file", *EDITED)}
    if unknown := changes.keys() - {row[at["file"]] for row in rows}:
        raise UserError(f"{sorted(unknown)[0][:80]!r} is not in the table")
    changed = 0
    for row in rows:
        before = list(row)
        for name, value in changes.get(row[at["file"]], {}).items():
            row[at[_known(name)]] = _cell(name, value)
        changed += row != before
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([columns, *rows])
    data = out.getvalue().encode("utf-8", "surrogateescape")
    trial = path.with_name(f".{LABELS}.trial")
    try:
        trial.write_bytes(data)
        read_csv(trial, say=lambda line: None, more=("style", "kind"))  # what the next preparation will say of it
    except UserError as error:
        raise UserError(str(error).replace(str(trial), LABELS)) from None
    finally:
        trial.unlink(missing_ok=True)
    write(path, data, sync=True)
    return changed


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        columns, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except FileNotFoundError:
        raise UserError("this store has no table of labels yet; prepare it to its end") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path.name}: not a table ({error}); prepare the store again") from None
    if "file" not in columns or any(len(row) != len(columns) for row in rows):
        raise UserError(f"{path.name}: not a table of ours; give it back with --csv on the command line")
    for name in EDITED:
        if name not in columns:
            columns.append(name)
            rows = [[*row, ""] for row in rows]
    return columns, rows


def _known(name: str) -> str:
    if name not in EDITED:
        raise UserError(f"{name[:40]!r} is not corrected here; {', '.join(EDITED)} are")
    return name


def _cell(name: str, value: object) -> str:
    text = str("" if value is None else value).strip()
    if name == "split" and text not in ("", TRAIN, VALID) or name == "keep" and text not in ("", "yes", "no"):
        expected = f"{TRAIN} or {VALID}" if name == "split" else "yes or no"
        raise UserError(f"{name}: expected {expected}, got {text[:40]!r}")
    if name == "bpm" and text:
        try:
            good = 20 <= float(text) <= 400
        except ValueError:
            good = False
        if not good:
            raise UserError(f"bpm: expected a number from 20 to 400, got {text[:40]!r}")
    return text
