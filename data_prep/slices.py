"""The slices of a store as files, to be listened to, or for other programs: ``--slices FOLDER``.

A FLAC of 24 bits for each row of the store, as the codec heard it, named by its source and its number in it. A file
that is there is left alone, so an interrupted run goes on.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import soundfile as sf

from audiocraft_ext.errors import UserError
from audiocraft_ext.store import TokenStore
from data_prep import sandbox, stages, summary
from data_prep.chain import Work
from data_prep.cuts import Piece
from data_prep.entries import Entry, entries, heard
from data_prep.facts import Facts, FactsFile
from data_prep.plan import Plan
from data_prep.sandbox import Failure


def write(work: Work, plan: Plan, store: TokenStore, folder: Path) -> dict[int, Path]:
    """Write the slices of all sources whose files are there; returns their paths by row of the manifest.

    Raises:
        UserError: a file that could be encoded cannot be read any more.
    """
    numbered = [(entry, rows) for entry, rows in _tasks(work, plan, store)]
    paths = {number: _path(folder, entry.name, n) for entry, rows in numbered for n, number in enumerate(rows)}
    todo = [(entry, str(folder), work.rate) for entry, rows in numbered if not all(paths[n].is_file() for n in rows)]
    if todo:
        with stages.Progress("slices", sum(entry.samples for entry, *_ in todo)) as progress:
            for (entry, *_), result in sandbox.run(
                    cut, todo, workers=work.limits.workers, memory=work.limits.memory,
                    seconds=lambda task: work.limits.seconds + task[0].samples / work.rate):
                if isinstance(result, Failure):
                    raise UserError(f"{entry.path}: cannot be cut into slices: {result.reason}")
                progress.add(entry.samples, entry.samples / work.rate)
    return paths


def _tasks(work: Work, plan: Plan, store: TokenStore) -> Iterator[tuple[Entry, list[int]]]:
    """An entry for each source of the store, its pieces the rows of it, and the numbers of those rows."""
    with summary.open_facts(work) as known:
        for source, group in itertools.groupby(enumerate(store.rows), key=lambda pair: pair[1]["source"]):
            numbers, rows = zip(*group)
            entry = _entry(work, plan, known, source, rows[0])
            if entry is not None:
                cuts = [Piece(*(round(t * work.rate) for t in row["at"])) for row in rows]
                yield dataclasses.replace(entry, pieces=cuts), list(numbers)


def _entry(work: Work, plan: Plan, known: FactsFile, source: str, row: dict) -> Entry | None:
    name = row.get("variant", {}).get("of", source)
    facts = known.named(name)
    if name not in work.found or not isinstance(facts, Facts):
        return None
    plan.sides.setdefault(name, row["split"])  # since an earlier run
    return next((e for e in entries(facts, work.found[name].path, plan, work.settings, None) if e.name == source), None)


def _path(folder: Path, source: str, number: int) -> Path:
    return folder / source / f"{number:04}.flac"


def cut(task: tuple[Entry, str, int]) -> None:
    """In a worker: write the slices of one entry."""
    entry, folder, rate = task
    for number, (_, blocks) in enumerate(heard(entry, rate)):
        path = _path(Path(folder), entry.name, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".tmp")
        with sf.SoundFile(aside, "w", rate, 1, "PCM_24", format="FLAC") as file:
            for block in blocks:
                file.write(block)
        os.replace(aside, path)
