"""The JSON beside a result, from which it can be made again: read; and the name under which a result goes into a
folder.

Nothing is overwritten. A name that another file has gets a number, and a result that is there already, by its JSON,
stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, read_record, unpack


@dataclass(frozen=True, eq=False)
class Sidecar:
    """A result's JSON as it was read: ``recipe`` and ``index``, of which it is a function; its ``codes``, the
    ``sha256`` of its main file, the ``files`` (the main one first), how it was written (``output``) and ``about``."""

    recipe: dict[str, Any]
    index: int
    codes: np.ndarray
    sha256: str
    output: dict[str, Any]
    files: tuple[str, ...]
    about: dict[str, Any]


def identity(recipe: dict[str, Any], index: int) -> str:
    """16 hex digits of a result: of the same codes, however it is written."""
    return hashlib.sha256(json.dumps([recipe, index], sort_keys=True).encode()).hexdigest()[:16]


def read(path: Path | str, what: str, main: str, format: str, version: int) -> Sidecar:
    """Read the JSON of a result.

    Args:
        what: it is, such as "piece"; ``main``, what its main file is.

    Raises:
        UserError: it is none, of another version, not whole, or was changed.
    """
    info = read_record(Path(path), f"a {what}'s JSON", f"'infer.py' writes it beside {main}", format, version)
    kinds = {"recipe": dict, "index": int, "codes": str, "sha256": str, "output": dict, "files": list, "about": dict,
             what: str}
    for key, kind in kinds.items():
        if not isinstance(info.get(key), kind) or isinstance(info[key], bool):
            raise UserError(f"{path}: not a whole {what}'s JSON: {key!r} is {str(info.get(key, 'missing'))[:40]}")
    if info["index"] < 0 or not info["files"] or not all(isinstance(name, str) for name in info["files"]):
        raise UserError(f"{path}: not a {what}'s JSON: index {info['index']}, files {str(info['files'])[:60]}")
    if identity(info["recipe"], info["index"]) != info[what]:
        raise UserError(f"{path}: was changed: its recipe is not that of {what} {info[what][:16]}; a changed recipe "
                        f"is another {what}, ask for it with the options of infer.py")
    try:
        codes = unpack(info["codes"])
    except UserError as error:
        raise UserError(f"{path}: not a whole {what}'s JSON ({error})") from None
    return Sidecar(info["recipe"], info["index"], codes, info["sha256"], info["output"], tuple(info["files"]),
                   info["about"])


def text(what: str, known: Sidecar, **more: Any) -> str:
    """A result's JSON, which :func:`read` reads: all of ``known``, and ``more`` to look at."""
    values = vars(known) | {"files": list(known.files), "codes": pack(known.codes),
                            what: identity(known.recipe, known.index)}
    return json.dumps(more | {"file": known.files[0]} | values, indent=1) + "\n"


def there(folder: Path, stems: Iterable[str], complete: Callable[[str], tuple[str, ...]]) -> Path | None:
    """The main file of a result that is in ``folder`` already; None where it is not.

    Args:
        stems: names that it may have, without an end.
        complete: the files of this result under a name that has a JSON, where all that are asked for are there, else
            none.
    """
    for stem in stems:
        if not os.path.lexists(folder / f"{stem}.json"):
            return None
        if names := complete(stem):
            return folder / names[0]
    raise AssertionError("numbers do not end")


def save(folder: Path, stems: Iterable[str], complete: Callable[[str], tuple[str, ...]],
         write: Callable[[str], Iterable[str]]) -> list[Path]:
    """Write a result under the first name that is free; returns its files, the main one first and the JSON last. The
    arguments as for :func:`there`.

    Args:
        write: writes all files under a name, the JSON last, and returns the names of the others.

    Raises:
        UserError: one cannot be written; then none of them is there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another folder with -o") from None
    for stem in stems:
        if os.path.lexists(folder / f"{stem}.json"):
            names = complete(stem)
            if not names:
                continue
        else:
            try:
                names = write(stem)
            except FileExistsError:  # a file of somebody else's
                continue
        return [folder / name for name in (*names, f"{stem}.json")]
    raise AssertionError("numbers do not end")
