"""The slices of a store as files, to be listened to, or for other programs: ``--slices FOLDER``.

A FLAC of 24 bits for each row of the store, as the codec took it, named by its source and its number in it. In its
comment each says which row it is: the hash of the row's codes, where it lies, its gain. So an interrupted run goes on,
what another store left there is written anew, and what is not ours is never touched.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import atomic, name_of
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio import stages
from data_prep.audio.analysis.facts import FactsFile
from data_prep.audio.chain import Work, open_facts
from data_prep.audio.cuts import Piece
from data_prep.audio.entries import Entry, entries, pieces_of
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure
from data_prep.shared.split import Plan

TAG = "micro-musicgen slice"  # how the comment of a FLAC of ours begins


def write(work: Work, plan: Plan, store: TokenStore, folder: Path) -> dict[int, Path]:
    """Write the slices of all sources whose files are there; returns their paths by row of the manifest.

    Raises:
        UserError: a file that could be encoded cannot be read any more; a slice cannot be written, or would take the
            place of a file that is not ours.
    """
    numbered = list(_tasks(work, plan, store))
    paths = {number: _path(folder, entry.name, n) for entry, rows in numbered for n, number in enumerate(rows)}
    tags = {number: _tag_of(store.rows[number]) for number in paths}
    there = {number: tag for number, path in paths.items() if (tag := _tag_in(path)) is not None}
    if foreign := next((paths[number] for number, tag in there.items() if not tag.startswith(TAG)), None):
        raise UserError(f"{foreign}: was not written as a slice by this program, and would be overwritten; move it "
                        "away, or give --slices another folder")
    todo = [(entry, str(folder), work.rate, [tags[n] for n in rows]) for entry, rows in numbered
            if any(there.get(n) != tags[n] for n in rows)]
    if todo:
        with stages.Progress("slices", sum(entry.samples for entry, *_ in todo)) as progress:
            for (entry, *_), result in sandbox.run(
                    cut, todo, workers=work.limits.workers, memory=work.limits.memory,
                    seconds=lambda task: work.limits.seconds + task[0].samples / work.rate):
                if isinstance(result, Failure):
                    raise UserError(f"{entry.path}: cannot be cut into slices: {result.reason}")
                progress.add(entry.samples, entry.samples / work.rate)
    for entry, rows in numbered:
        _remove_beyond(folder / entry.name, len(rows))
    return paths


def _tasks(work: Work, plan: Plan, store: TokenStore) -> Iterator[tuple[Entry, list[int]]]:
    """An entry for each source of the store, its pieces the rows of it, and the numbers of those rows."""
    with open_facts(work) as known:
        for source, group in itertools.groupby(enumerate(store.rows), key=lambda pair: pair[1]["source"]):
            numbers, rows = zip(*group)
            entry = _entry(work, plan, known, source, rows[0])
            if entry is not None:
                cuts = [Piece(*(round(t * work.rate) for t in row["at"])) for row in rows]
                yield dataclasses.replace(entry, pieces=cuts), list(numbers)


def _entry(work: Work, plan: Plan, known: FactsFile, source: str, row: dict) -> Entry | None:
    name = row.get("variant", {}).get("of", source)
    facts = known.encoded(name)
    if name not in work.found or facts is None:
        return None
    # The plan says nothing of what is in the store since an earlier run.
    with_splits = dataclasses.replace(plan, splits={name: plan.splits.get(name, row["split"])})
    found = entries(facts, work.found[name].path, with_splits, work.settings, None)
    return next((entry for entry in found if entry.name == source), None)


def _path(folder: Path, source: str, number: int) -> Path:
    return folder / source / f"{number:04}.flac"


def _tag_of(row: dict) -> str:
    """What the FLAC of a row says in its comment."""
    start, end = row["at"]
    return f"{TAG} {row['sha256']}, {start:.6f} to {end:.6f} s, {row.get('gain_db', 0.0):.3f} dB"


def _tag_in(path: Path) -> str | None:
    """The comment of the FLAC that is there; "" of anything else, None if there is nothing."""
    if not path.is_file():  # a pipe would wait for ever
        return "" if path.exists() else None
    try:
        with sf.SoundFile(name_of(path)) as file:
            return file.comment
    except sf.LibsndfileError:
        return ""


def _remove_beyond(folder: Path, count: int) -> None:
    """Of the slices of one source, those of ours that it has no rows for."""
    for path in folder.glob("*.flac"):
        if re.fullmatch(r"[0-9]{4,}", path.stem) and int(path.stem) >= count and (_tag_in(path) or "").startswith(TAG):
            path.unlink()


def cut(task: tuple[Entry, str, int, list[str]]) -> None:
    """In a worker: write the slices of one entry, each with its tag."""
    entry, folder, rate, tags = task
    for number, (tag, (_, blocks)) in enumerate(zip(tags, pieces_of(entry, rate), strict=True)):
        path = _path(Path(folder), entry.name, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic(path) as part, sf.SoundFile(name_of(part), "w", rate, 1, "PCM_24", format="FLAC") as file:
                file.comment = tag
                for block in blocks:
                    file.write(block)
        except sf.LibsndfileError as error:  # of a full disk it says no more than "System error"
            raise OSError(errno.EIO, f"{path} cannot be written ({error.error_string.rstrip('.')})") from None
