"""The two stages in shards, each a job of its own, here or on a cluster: the same functions, the same bytes at the end.

Analysis: each shard writes a facts file; they are put together. Encoding: each shard is a run of the plan's entries and
writes a store of its own; the stores are put one behind the other, which is the plan's order again.

    STORE/.prep/jobs/analyse-DIGEST/tasks-0.jsonl, facts-0.sqlite, job-0.json, logs/
    STORE/.prep/jobs/encode-DIGEST/entries-0.jsonl, store-0/, job-0.json, logs/

A folder is named by what is to be done in it, so a run that goes on finds its own and nothing else; it is deleted when
its results are in.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from audiocraft_ext.core.files import write
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.store.writer import StoreWriter
from data_prep.audio import stages
from data_prep.audio.analysis.analyse import Task
from data_prep.audio.analysis.facts import Facts, FactsFile, Refused
from data_prep.audio.encoder import CodecRef
from data_prep.audio.entries import Entry, encode_entry, open_codec
from data_prep.audio.stages import Limits
from data_prep.jobs import shards

OWN = ("source", "split", "start", "frames", "segment", "segments", "sha256")  # keys that a store gives its rows


def analyse(tasks: list[Task], known: FactsFile, limits: Limits, count: int, where: dict, folder: Path) -> None:
    """:func:`stages.analyse_all` in ``count`` shards; ``where`` is for :func:`shards.run`."""
    todo = [task for task in tasks if not known.knows(task.name, task.size, task.mtime_ns)]
    if not todo:
        return
    parts = _dealt(todo, count)
    with _Folder(folder, "analyse", [[asdict(task) for task in part] for part in parts]) as place:
        jobs = [{"tasks": str(file), "facts": str(place.path / f"facts-{n}.sqlite"), "limits": asdict(limits)}
                for n, file in enumerate(place.files)]
        shards.run("data_prep.audio.remote:analyse_shard", jobs, folder=place.path, what="analysis", **where)
        for part, job in zip(parts, jobs):
            with FactsFile(Path(job["facts"]), part[0].how) as found:
                for task in part:
                    known.put(found.named(task.name) or Refused(task.name, task.size, task.mtime_ns, "was lost", True))
        known.flush()


def analyse_shard(tasks: str, facts: str, limits: dict) -> int:
    """A job: analyse some files; returns how many can be used."""
    todo = [Task(**values) for values in _read(Path(tasks))]
    with FactsFile(Path(facts), todo[0].how) as known:
        stages.analyse_all(todo, known, Limits(**limits))
        return sum(isinstance(known.named(task.name), Facts) for task in todo)


def encode(entries: Iterable[Entry], writer: StoreWriter, limits: Limits, rate: int, recipe: CodecRef, count: int,
           where: dict, folder: Path) -> dict[str, list]:
    """:func:`stages.encode` in ``count`` shards; returns why entries failed, [reason, passing] by file."""
    todo = [entry for entry in entries if entry.name not in writer.finished]
    if all(writer.done(entry.name) for entry in todo):
        return {}
    with _Folder(folder, "encode", [[entry.to_dict() for entry in part] for part in _runs(todo, count)]) as place:
        how = {key: str(value) if isinstance(value, Path) else value for key, value in vars(recipe).items()}
        shared = {"spec": writer.spec.to_dict(), "settings": writer.settings, "limits": asdict(limits), "rate": rate,
                  "recipe": how}
        jobs = [{"entries": str(file), "store": str(place.path / f"store-{n}"), **shared}
                for n, file in enumerate(place.files)]
        results = shards.run("data_prep.audio.remote:encode_shard", jobs, folder=place.path, what="encoding", **where)
        for job, result in zip(jobs, results):
            if result["sources"]:
                with stages.Batch(writer) as batch:
                    for source, rows in _sources(TokenStore(job["store"])):
                        if not writer.done(source):  # by a merge that was interrupted
                            batch.add(source, rows)
        return {name: why for result in results for name, why in result["failed"].items()}


def encode_shard(entries: str, store: str, spec: dict, settings: dict, limits: dict, rate: int, recipe: dict) -> dict:
    """A job: encode some entries into a store."""
    todo = [Entry.from_dict(values) for values in _read(Path(entries))]
    how = CodecRef(**recipe | {key: Path(recipe[key]) for key in ("folder", "path") if recipe[key]})
    with StoreWriter(store, Spec.from_dict(spec), settings) as writer:
        seconds = sum(entry.samples for entry in todo) / rate
        failed = {entry.of: [failure.reason, failure.passing] for entry, failure in stages.encode(
            todo, seconds, writer, Limits(**limits), rate, encode_entry, open_codec,
            (how, rate, writer.spec.frame_rate))}
        if writer.sources:
            writer.finish()
        return {"sources": len(writer.sources), "failed": failed}


def _sources(store: TokenStore) -> Iterator[tuple[str, list[tuple[str, np.ndarray, dict]]]]:
    """Each source of a store as :meth:`StoreWriter.add_rows` takes it."""
    rows: list[tuple[str, np.ndarray, dict]] = []
    for row in store.rows:
        about = {key: value for key, value in row.items() if key not in OWN}
        rows.append((row["split"], store.read(row["start"], row["frames"]), about))
        if row["segment"] + 1 == row["segments"]:
            yield row["source"], rows
            rows = []


def _dealt(tasks: list[Task], count: int) -> list[list[Task]]:
    """Shards of about the same size in bytes: the largest file first, to the shard that has least."""
    sizes, parts = [0] * count, [[] for _ in range(count)]
    for task in sorted(tasks, key=lambda task: (-task.size, task.name)):
        least = sizes.index(min(sizes))
        parts[least].append(task)
        sizes[least] += task.size
    return [part for part in parts if part]


def _runs(entries: list[Entry], count: int) -> list[list[Entry]]:
    """Runs of entries, in order, of about the same length in seconds."""
    total, at = sum(entry.samples for entry in entries), 0
    parts: list[list[Entry]] = [[] for _ in range(count)]
    for entry in entries:
        parts[min(count - 1, (at + entry.samples // 2) * count // max(total, 1))].append(entry)
        at += entry.samples
    return [part for part in parts if part]


class _Folder:
    """A folder for jobs, with a file of plain values for each; gone when all went well."""

    def __init__(self, folder: Path, what: str, parts: list[list[dict]]):
        texts = ["".join(json.dumps(values) + "\n" for values in part) for part in parts]
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
        self.path = folder / f"{what}-{digest}"
        self.path.mkdir(parents=True, exist_ok=True)
        self.files = [self.path / f"{what}-{n}.jsonl" for n in range(len(texts))]
        for file, text in zip(self.files, texts):
            if not file.is_file():
                write(file, text)

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            shutil.rmtree(self.path)


def _read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]
