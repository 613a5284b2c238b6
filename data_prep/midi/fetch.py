"""Fetch the Groove MIDI Dataset from its public home: ``python -m data_prep.midi_fetch data/groove``.

1,150 performances of ten drummers, 3.3 MB, CC BY 4.0 (J. Gillick et al., "Learning to Groove with Inverse Sequence
Transformations", ICML 2019; https://magenta.tensorflow.org/datasets/groove). What arrives is compared with a checksum;
the folder is there when all of it is. Interrupted, the same command goes on where it stopped.
"""

from __future__ import annotations

import csv
import http.client
import io
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import sha256, write

URL = "https://storage.googleapis.com/magentadata/datasets/groove/groove-v1.0.0-midionly.zip"
SHA256 = "651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e"  # as TensorFlow Datasets has it
INFO, TABLE = "info.csv", "split.csv"
LICENCE = ("the Groove MIDI Dataset, copyright 2019 Google LLC, is licensed under CC BY 4.0 "
           "(https://creativecommons.org/licenses/by/4.0): whoever passes it on, or what is made from it, names it")
SECONDS = 30.0  # without a byte
BLOCK = 2**16
MOST_BYTES, MOST_FILES = 2**28, 10_000  # of an archive, unpacked
SPLITS = {"train": "train", "validation": "valid"}  # what info.csv calls them; what is "test" is kept from both


def fetch(url: str, path: Path) -> None:
    """Bring a file to ``path``, or the rest of it, if a part is there.

    Raises:
        UserError: it cannot be had.
    """
    there = path.stat().st_size if path.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            there = there if answer.status == 206 else 0
            size = answer.headers.get("Content-Length")
            whole = there + int(size) if size and size.isdigit() else None
            with path.open("ab" if there else "wb") as file, tqdm(
                    total=whole, initial=there, desc="fetching", unit="B", unit_scale=True, disable=None,
                    dynamic_ncols=True) as bar:
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
                if whole is not None and file.tell() < whole:
                    raise http.client.IncompleteRead(b"", whole - file.tell())
    except urllib.error.HTTPError as error:
        if error.code == 416 and there:  # there is nothing behind what is there
            return
        raise _failed(url, f"{error.code} {error.reason}") from None
    except http.client.IncompleteRead as error:
        raise _failed(url, f"it broke off {error.expected:,} bytes too early; the same command goes on") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise _failed(url, str(getattr(error, "reason", error)) or type(error).__name__) from None


def _failed(url: str, why: str) -> UserError:
    return UserError(f"{url}: could not be fetched ({why}); a copy that was fetched otherwise can be named with --from")


def check(path: Path) -> None:
    """Raise a :class:`UserError` if a file is not the archive that is meant."""
    if (digest := sha256(path)) != SHA256:
        raise UserError(f"{path}: not the archive that was asked for, its SHA-256 is {digest[:16]}... and not "
                        f"{SHA256[:16]}...")


def unpack(archive: Path, folder: Path) -> int:
    """Unpack an archive into a new folder, all or nothing, without the one folder that all of it lies in; returns how
    many files that were.

    Raises:
        UserError: no archive, one with paths that lead out of it, or one that is too large.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as zipped, tempfile.TemporaryDirectory(
                prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            new, members = Path(scratch) / "new", list(_members(zipped, archive))
            for info, inside in members:
                target = new / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(info) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
            if folder.is_dir():
                folder.rmdir()  # it is empty
            os.replace(new, folder)  # a folder, all that is in it at once
            return len(members)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{archive}: not an archive that can be unpacked ({error})") from None


def _members(zipped: zipfile.ZipFile, archive: Path) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files of an archive, and where each goes."""
    infos = [info for info in zipped.infolist() if not info.is_dir()]
    if not infos or len(infos) > MOST_FILES or sum(info.file_size for info in infos) > MOST_BYTES:
        raise UserError(f"{archive}: expected an archive of 1 to {MOST_FILES:,} files and up to {MOST_BYTES >> 20} MB")
    paths = [PurePosixPath(info.filename) for info in infos]
    for info, path in zip(infos, paths):
        kind = stat.S_IFMT(info.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename or kind not in (
                0, stat.S_IFREG):
            raise UserError(f"{archive}: {info.filename!r} in it leads out of it; nothing was unpacked")
    inner = len({path.parts[0] for path in paths}) == 1 and all(len(path.parts) > 1 for path in paths)
    for info, path in zip(infos, paths):
        yield info, PurePosixPath(*path.parts[1:]) if inner else path


def write_split(folder: Path) -> None:
    """The dataset's own splits as a table for ``--csv``."""
    try:
        rows = list(csv.DictReader(io.StringIO((folder / INFO).read_text("utf-8"), newline="")))
        lines = [["file", "keep", "split"]] + [
            [row["midi_filename"], "" if row["split"] in SPLITS else "no", SPLITS.get(row["split"], "")]
            for row in rows]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{folder / INFO}: not the table of the Groove MIDI Dataset ({error!r})") from None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write(folder / TABLE, text.getvalue(), sync=True)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m data_prep.midi_fetch", description="Fetch the Groove MIDI Dataset (CC BY 4.0).")
    parser.add_argument("folder", type=Path, help="a new folder, or one with nothing in it")
    parser.add_argument("--from", dest="home", default=URL, metavar="WHERE",
                        help=f"an address of the archive, or a copy of it on this machine (default: {URL})")
    args = parser.parse_args(argv)
    folder, home = args.folder, args.home
    if (folder / INFO).is_file():
        print(f"{folder}: is there already")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there and holds something else; name a new folder")
    archive = Path(home)
    if fetched := home.startswith(("http://", "https://")):
        archive = folder.with_name(folder.name + ".zip.part")
        archive.parent.mkdir(parents=True, exist_ok=True)
        fetch(home, archive)
    elif not archive.is_file():
        raise UserError(f"--from: expected an address (https://...) or a file, and there is no file {home}")
    try:
        check(archive)
        files = unpack(archive, folder)
    finally:
        if fetched:
            archive.unlink()  # what is wrong is fetched anew
    write_split(folder)
    print(f"{folder}: {files:,} files; {LICENCE}")
    print(f"next: python -m data_prep.midi {folder} stores/groove (with the dataset's own splits: "
          f"--duplicates off --csv {folder / TABLE})")


if __name__ == "__main__":
    run_cli(main)
