"""The whole way from a folder to a store: find, analyse, plan, encode, report.

Each step is a function of what the one before it left on the disk, so the same command goes on wherever it was stopped:

    STORE/.prep/facts.sqlite    the facts of each file
    STORE/codes.u16, ...        the store (audiocraft_ext/store/reader.py)
    STORE/report.html, .json, labels.csv, manifest/     made anew at the end, from the two
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from audiocraft_ext.audio.metronome import with_metronome
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.sound.files import COMPANIONS, EXTENSIONS
from audiocraft_ext.store.writer import StoreWriter
from data_prep.audio import remote, stages
from data_prep.audio.analysis.analyse import Task
from data_prep.audio.analysis.facts import Facts, FactsFile, Refused
from data_prep.audio.encoder import CodecRef, ready
from data_prep.audio.entries import Entry, encode_entry, entries, open_codec
from data_prep.audio.plan import decide
from data_prep.audio.settings import Settings
from data_prep.audio.stages import Limits
from data_prep.shared import sources
from data_prep.shared.labels import Row
from data_prep.shared.resume import resume_hint
from data_prep.shared.sources import Found
from data_prep.shared.split import Plan

if TYPE_CHECKING:
    from audiocraft_ext.audio.codec.codec import Codec

PREP, FACTS, JOBS, CODEC = ".prep", "facts.sqlite", "jobs", "codec"
AUDIO = sources.Kind("audio", "sound", EXTENSIONS, COMPANIONS)
BESIDE = ("report.html", "report.json", "labels.csv", "manifest")  # in a store's folder, no part of it


@dataclass
class Work:
    """What one preparation goes by.

    Attributes:
        found: the files, by name.
        place: the device, and the name and the path that ``get_codec`` was given.
        command: what goes on with an interrupted run.
        retry: analyse files again that took too long or crashed the last time.
        shards: how many jobs each stage is divided into, where ``where`` says to do so (for :func:`shards.run`).
    """

    src: Path
    store: Path
    found: dict[str, Found]
    codec: Codec
    settings: Settings
    limits: Limits
    place: tuple[str, str, Path | None] = ("cpu", "", None)
    rows: dict[str, Row] = field(default_factory=dict)
    command: str = ""
    retry: bool = False
    shards: int = 1
    where: dict | None = None

    @property
    def spec(self) -> Spec:
        return with_metronome(self.codec.spec) if self.settings.metronome else self.codec.spec

    @property
    def rate(self) -> int:
        """Hz."""
        return self.codec.sample_rate

    @functools.cached_property
    def recipe(self) -> CodecRef:
        """How a worker opens the codec; what that needs is written when it is first asked for."""
        return ready(self.codec, self.store / PREP / CODEC, *self.place)

    @property
    def tasks(self) -> list[Task]:
        """The files to be analysed."""
        onsets = self.settings.cut == "onsets"
        return [Task(str(file.path), name, file.size, file.mtime_ns, self.rate, self.settings.tempo, onsets,
                     str(self.src)) for name, file in self.found.items()]


def open_facts(work: Work) -> FactsFile:
    """What was found of the files, as ``prepare`` left it."""
    return FactsFile(work.store / PREP / FACTS, work.tasks[0].how)


def find(src: Path, skipped: dict[str, str]) -> dict[str, Found]:
    """The files below ``src``, by name. A sidecar that was written or changed makes a file another.

    Raises:
        UserError: see :func:`sources.walk`.
    """
    found = {}
    for file in sources.walk(src, skipped, AUDIO):
        try:
            changed = file.path.with_suffix(".json").stat().st_mtime_ns
        except OSError:
            changed = 0
        found[file.name] = dataclasses.replace(file, mtime_ns=file.mtime_ns ^ changed)
    return found


def prepare(work: Work, dry: bool = False) -> tuple[Plan, int]:
    """Bring the store up to date with the files that were found.

    Args:
        dry: analyse and plan, encode nothing.

    Returns:
        What was decided, and how many sources were added.

    Raises:
        UserError: nothing usable; a store of another codec or other settings; no room on the disk.
    """
    new = not work.store.exists()
    with resume_hint(work.store, work.command):
        with StoreWriter(work.store, work.spec, work.settings.to_dict(), work.command, BESIDE) as writer:
            with FactsFile(work.store / PREP / FACTS, work.tasks[0].how if work.found else "") as known:
                if work.retry:
                    known.forget_passing()
                if work.where:
                    remote.analyse(work.tasks, known, work.limits, work.shards, work.where, work.store / PREP / JOBS)
                else:
                    stages.analyse_all(work.tasks, known, work.limits)
                plan, added = _settle(work, writer, known, dry)
            if writer.sources and not dry:
                writer.finish()
                shutil.rmtree(work.store / PREP / JOBS, ignore_errors=True)
        if not writer.sources and not plan.splits:
            if new:
                shutil.rmtree(work.store)
            raise UserError(f"{work.src}: none of its {len(work.found)} audio files can be used; {plan.why_nothing()}")
    return plan, added


def _settle(work: Work, writer: StoreWriter, known: FactsFile, dry: bool) -> tuple[Plan, int]:
    """Plan and encode; what was analysed but cannot be encoded leaves the plan, which is made again."""
    known.keep(name for name, row in writer.sources.items()  # a store whose .prep was deleted
               if known.encoded(name) is None and isinstance(facts := known.named(name), Facts)
               and facts.file_sha256 == row["file_sha256"])
    before = len(writer.sources)
    while True:
        _check_unchanged(work, writer, known)
        plan = _make_plan(work, writer, known)
        failed = {} if dry else encode_planned(work, plan, writer, known)
        for name, (reason, passing) in failed.items():
            file = work.found[name]
            known.put(Refused(name, file.size, file.mtime_ns, reason, passing))
        if not failed:
            return plan, len(writer.sources) - before


def _check_unchanged(work: Work, writer: StoreWriter, known: FactsFile) -> None:
    for name, row in writer.sources.items():
        if name in work.found and isinstance(facts := known.named(name), Facts):
            if facts.file_sha256 != row["file_sha256"]:
                raise UserError(f"{work.found[name].path}: is not the file that was encoded as {name!r}; a store is "
                                "only added to, so prepare a new one or give the file another name")


def _make_plan(work: Work, writer: StoreWriter, known: FactsFile) -> Plan:
    """The plan as an uninterrupted run would have it. Only where the folder has changed since an interruption do the
    sources bind that were added before it."""
    splits = {name: where for name, where in writer.splits.items() if "variant" not in writer.sources[name]}
    finished = {name: where for name, where in splits.items() if name in writer.finished}
    files = [work.found[name] for name in sorted(work.found)]
    shown = tqdm(files, "deciding", unit="file", disable=None, leave=False)
    hashes = {writer.sources[name]["file_sha256"]: name for name in finished}
    plan = decide(shown, known, work.settings, work.rows, finished, hashes)
    wanted = {name: {split} if name != plan.held_out else {TRAIN, VALID} for name, split in plan.splits.items()}
    if any(wanted.get(name, finished.get(name)) != where for name, where in splits.items()):
        plan = decide(files, known, work.settings, work.rows, splits, hashes)
        for name in splits.keys() - finished.keys():  # its variants may be missing
            plan.splits[name] = TRAIN if TRAIN in splits[name] else VALID
            plan.held_out = name if len(splits[name]) > 1 else plan.held_out
    return plan


def encode_planned(work: Work, plan: Plan, writer: StoreWriter, known: FactsFile) -> dict[str, tuple[str, bool]]:
    """Encode what is planned; returns why files failed, by name."""
    def planned() -> Iterator[Entry]:
        for name in sorted(plan.splits):
            facts = known.encoded(name)
            if facts is not None and name in work.found:  # else it is in the store, and gone from the folder
                yield from entries(facts, work.found[name].path, plan, work.settings, work.rows.get(name))

    known.keep(name for name in plan.splits if not writer.done(name))
    if work.where:
        return remote.encode(planned(), writer, work.limits, work.rate, work.recipe, work.shards, work.where,
                             work.store / PREP / JOBS)
    variants = {name: work.settings.variants if split == TRAIN else 0 for name, split in plan.splits.items()}
    left = sum(plan.seconds.get(name, 0.0) * (1 + more) for name, more in variants.items() if not writer.done(name))
    failed = stages.encode(planned(), left, writer, work.limits, work.rate, encode_entry, open_codec,
                           (work.recipe, work.rate, work.spec.frame_rate))
    return {entry.of: (failure.reason, failure.passing) for entry, failure in failed}
