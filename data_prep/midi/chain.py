"""The way from a folder of MIDI files to a store: read, decided, encoded. The shape is that of
data_prep/audio/chain.py.

Reading a file takes a millisecond or two, so nothing is kept of it for the next run: the same command reads all files
again, comes to the same decisions, and adds what is not in the store yet.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import Prompts
from audiocraft_ext.core.split import VALID
from audiocraft_ext.songs.places import with_places
from audiocraft_ext.store.writer import StoreWriter, find_record
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure
from data_prep.midi import beepbox, duplicates, songs
from data_prep.midi import prompts as midi_prompts
from data_prep.midi.read import MidiFacts, Slice, Task, analyse
from data_prep.midi.settings import MidiSettings
from data_prep.shared.labels import Row
from data_prep.shared.resume import resume_hint
from data_prep.shared.sources import Found
from data_prep.shared.split import Plan, Seen, choose_splits, drop_copies

BESIDE = ("report.html", "report.json", "labels.csv")  # in a store's folder, no part of it
READERS = {"drums": analyse, "notes": songs.analyse, "song": beepbox.analyse}
AT_ONCE = 64  # sources that are flushed to the disk together


@dataclass
class MidiWork:
    """What one preparation goes by.

    Attributes:
        found: the files, by name.
        rows: a person's table, by name.
        command: what goes on with an interrupted run.
        map_name: how the map was asked for.
        workers, seconds, memory: processes (0: none), and what each file may take.
    """

    src: Path
    store: Path
    found: dict[str, Found]
    settings: MidiSettings
    rows: dict[str, Row] = field(default_factory=dict)
    command: str = ""
    map_name: str = "drums12"
    workers: int = 1
    seconds: float = 30.0
    memory: int = 1 << 30


@dataclass
class ReadFiles:
    """What was read: files by name, and why the others were not; ``prompts``, the words of the store."""

    facts: dict[str, MidiFacts]
    refused: dict[str, str]
    prompts: Prompts | None = None


def prepare(work: MidiWork, dry: bool = False) -> tuple[Plan, ReadFiles, int]:
    """Bring the store up to date with the files that were found.

    Args:
        dry: read and decide, encode nothing.

    Returns:
        What was decided, what is known of the files, and how many sources were added.

    Raises:
        UserError: nothing usable; a store of another codec or other settings; no room on the disk.
    """
    new, there = not work.store.exists(), find_record(work.store)
    with resume_hint(work.store, work.command):
        prompts = midi_prompts.kept(there and there["settings"], work.settings.prompts, work.store)
        _writer(work, prompts).close()  # what stands in the way is said before all files are read
        known = read_all(work)
        plan = None if there else decide(work, known, {})
        known.prompts = _new_prompts(work, known, plan) if plan else prompts
        with _writer(work, known.prompts) as writer:
            _check_unchanged(work, writer, known)
            plan = plan or _make_plan(work, writer, known)
            _remark_genres(work, {*plan.splits, *writer.sources}, plan, known)
            added = 0 if dry else _encode(work, plan, known, writer)
            if writer.sources and not dry:
                writer.finish()
        if not writer.sources and not plan.splits:
            if new:
                shutil.rmtree(work.store)
            raise UserError(f"{work.src}: none of its {len(work.found)} MIDI files can be used; {plan.why_nothing()}")
    return plan, known, added


def _writer(work: MidiWork, prompts: Prompts | None) -> StoreWriter:
    """The store, with room for prompts."""
    spec, settings = work.settings.codec.spec, work.settings.to_dict()
    if prompts:
        prompts = midi_prompts.of_codec(prompts, work.settings.codec)
        spec, settings = prompts.extend(spec), settings | {"prompts": prompts.to_dict()}
    if work.settings.kind == "song":
        spec = with_places(spec)
    return StoreWriter(work.store, spec, settings, work.command, BESIDE)


def _new_prompts(work: MidiWork, known: ReadFiles, plan: Plan) -> Prompts | None:
    """Those of a store in which there is nothing yet: what its first files are called."""
    if not work.settings.prompts:
        return None
    return midi_prompts.of_genres([midi_prompts.style_and_kind(known.facts[name], work.rows.get(name))[0]
                                   for name in plan.splits], work.settings.codec)


def _remark_genres(work: MidiWork, names: set[str], plan: Plan, known: ReadFiles) -> None:
    """Say which of the files in the store have a genre that it does not know."""
    for name in names & known.facts.keys() if known.prompts else ():
        style, _ = midi_prompts.style_and_kind(known.facts[name], work.rows.get(name))
        if remark := midi_prompts.unknown(style, known.prompts):
            plan.review.setdefault(name, []).append(remark)


def read_all(work: MidiWork) -> ReadFiles:
    """Read every file, each in a worker that may fail."""
    tasks = [Task(str(file.path), name, str(work.src), work.settings) for name, file in work.found.items()]
    known = ReadFiles({}, {})
    with tqdm(total=len(tasks), desc="reading", unit="file", disable=None, dynamic_ncols=True) as bar:
        read = READERS[work.settings.kind]
        for task, result in sandbox.run(read, tasks, workers=work.workers, seconds=lambda _: work.seconds,
                                        memory=work.memory, ahead=AT_ONCE):
            if isinstance(result, Failure):
                known.refused[task.name] = result.reason.replace(f"{task.path}: ", "")
            else:
                known.facts[task.name] = result
            bar.update()
    return known


def _check_unchanged(work: MidiWork, writer: StoreWriter, known: ReadFiles) -> None:
    for name, row in writer.sources.items():
        if name in known.facts and known.facts[name].sha256 != row["file_sha256"]:
            raise UserError(f"{work.found[name].path}: is not the file that was encoded as {name!r}; a store is only "
                            "added to, so prepare a new one or give the file another name")


def _make_plan(work: MidiWork, writer: StoreWriter, known: ReadFiles) -> Plan:
    """The plan as an uninterrupted run would have it. Only where the folder has changed since an interruption do the
    sources bind that were added before it."""
    finished = {name: splits for name, splits in writer.splits.items() if name in writer.finished}
    plan = decide(work, known, finished)
    wanted = finished | {name: {split for split, _ in with_splits(known.facts[name], plan, work.settings)}
                         for name in plan.splits}
    if any(wanted.get(name) != splits for name, splits in writer.splits.items()):
        plan = decide(work, known, writer.splits)
    return plan


def decide(work: MidiWork, known: ReadFiles, finished: dict[str, set[str]]) -> Plan:
    """Decide on every file.

    Args:
        finished: the splits of each file that is in the store since an earlier run.

    Raises:
        UserError: a table that puts files of one group in both splits.
    """
    plan, seen, settings = Plan(refused=dict(known.refused)), {}, work.settings
    for name, facts in sorted(known.facts.items()):
        row = work.rows.get(name)
        if facts.remarks:
            plan.review[name] = list(facts.remarks)
        if row is not None and row.keep is False:
            plan.left_out[name] = "left out by the table"
        elif facts.slices:
            played = facts.prints.drums.offsets.any()  # before what was quantised
            seen[name] = Seen(facts.kept, (not played, -facts.cost.kept, name))
        elif name not in finished:
            plan.left_out[name] = _why_nothing(facts, settings)
    if settings.duplicates != "off":
        plan.groups = duplicates.find((name, known.facts[name].prints) for name in {*seen, *finished}
                                      if name in known.facts and known.facts[name].prints)
    if settings.duplicates == "drop":
        drop_copies(seen, finished, plan)
    choose_splits(seen, work.rows, finished, settings.valid_share, plan)
    return plan


def _why_nothing(facts: MidiFacts, settings: MidiSettings) -> str:
    cost = facts.cost
    if settings.songs:
        return f"no {settings.min_bars} bars with notes in a row"
    if cost.dropped == cost.hits:
        pitches = ", ".join(map(str, sorted(cost.unmapped)[:8])) + (", ..." if len(cost.unmapped) > 8 else "")
        return f"none of its notes is in the map {settings.codec.drums.name} (pitches {pitches})"
    if cost.metre:
        why = (remark for remark in facts.remarks if "does not end on a step" in remark or " has bars up to " in remark)
        return next(why, "no time signature fits")
    return f"no {settings.min_bars} bars with hits in a row"


def with_splits(facts: MidiFacts, plan: Plan, settings: MidiSettings) -> list[tuple[str, Slice]]:
    """The rows of a file that is kept, each with its split: the last of the only file are valid."""
    split, slices = plan.splits[facts.name], facts.slices
    held = 0
    if plan.held_out == facts.name and len(slices) > 1:
        held = min(len(slices) - 1, max(1, round(len(slices) * settings.valid_share)))
    first = len(slices) - held
    return [(split, one) for one in slices[:first]] + [(VALID, one) for one in slices[first:]]


def _encode(work: MidiWork, plan: Plan, known: ReadFiles, writer: StoreWriter) -> int:
    """Add what is planned and not there yet; returns how many sources that were."""
    todo = iter([name for name in plan.splits if not writer.done(name)])
    count = 0
    while names := list(itertools.islice(todo, AT_ONCE)):
        writer.add_sources([(name, list(rows_of(known.facts[name], plan, known, work))) for name in names])
        count += len(names)
    return count


def rows_of(facts: MidiFacts, plan: Plan, known: ReadFiles, work: MidiWork) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Side, codes and what is to be said, for each row of a file."""
    about, prompts = _about(facts, work.rows.get(facts.name)), known.prompts
    for split, one in with_splits(facts, plan, work.settings):
        codes = midi_prompts.codes(one, work.settings.codec)
        tempo = {} if facts.tempo is None else {"bpm": round(one.bpm, 3)}
        row = {**tempo, **about, "at": [round(one.begin, 6), round(one.end, 6)], "bar": one.bar,
               "bars": one.bars, "bar_seconds": round((one.end - one.begin) / one.bars, 6), "cut": "bars",
               "time_signature": f"{one.meter[0]}/{one.meter[1]}", "follows": one.follows} | one.facts
        yield split, codes, row | ({"prompt": midi_prompts.words(codes, one.meter, row, work.settings.codec, prompts)}
                                  if prompts else {})


def _about(facts: MidiFacts, row: Row | None) -> dict:
    """What is known of a file; what nobody knows is left out. ``bpm`` only where somebody says it against the file."""
    labels = row.over(facts.labels.labels) if row else facts.labels.labels
    bpm = row.bpm if row and row.bpm else None if facts.tempo else labels.bpm
    style, kind = midi_prompts.style_and_kind(facts, row)
    about = {"file_sha256": facts.sha256, "seconds": round(facts.seconds, 6), "title": labels.title,
             "licence": labels.licence, "style": style, "kind": kind, "said_bpm": labels.bpm, "bpm": bpm}
    return {key: value for key, value in about.items() if value is not None}

