"""What becomes of each file, decided from facts alone: what is kept, in which split, cut where, how loud.

The same facts and settings give the same plan, whatever was encoded already; so an interrupted run goes on to the same
bytes. Only what an earlier run *finished* binds a later one: a source that is in the store stays, in its split, and new
files are compared with it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from data_prep.audio import cuts, junk, silence
from data_prep.audio.analysis.facts import Facts, FactsFile, Refused
from data_prep.audio.cuts import Piece
from data_prep.audio.duplicates import find as duplicates
from data_prep.audio.settings import Settings
from data_prep.shared.cut import Cut
from data_prep.shared.groups import EXACT
from data_prep.shared.labels import Row
from data_prep.shared.sources import Found
from data_prep.shared.split import Plan, Seen, choose_splits, drop_copies


def regions(facts: Facts, settings: Settings) -> list[tuple[int, int]]:
    """What of a file is not silence, in samples."""
    if not settings.silence:
        return [(0, facts.samples)]
    return silence.regions(facts.envelope, facts.samples, facts.heard_at, settings.silence_db, settings.silence)


def pieces(facts: Facts, settings: Settings) -> list[Piece]:
    """Where a file is cut."""
    found = cuts.cut(Cut.parse(settings.cut), regions(facts, settings), facts.samples, facts.heard_at,
                     settings.min_seconds, facts.beats, facts.onsets)
    if settings.lock_tempo:
        found = [cuts.locked(piece, facts.beats, facts.heard_at, settings.lock_tempo) for piece in found]
    return found


def decide(found: Iterable[Found], known: FactsFile, settings: Settings, rows: dict[str, Row],
           finished: dict[str, set[str]], hashes: dict[str, str] | None = None) -> Plan:
    """Decide on every file.

    Args:
        found: the files, each of which ``known`` has facts of.
        rows: a person's table, by name.
        finished: the splits of each file that is in the store since an earlier run. What counts of it is what was known
            when it was encoded.
        hashes: of their files, with their names; all there is where that is forgotten.

    Raises:
        UserError: a table that puts files of one group in both splits.
    """
    plan = Plan()
    seen = _seen(found, known, settings, rows, finished, hashes or {}, plan)
    if settings.duplicates != "off":
        plan.groups = duplicates.find(_items([*seen, *finished], finished, known))
    if settings.duplicates == "drop":
        drop_copies(seen, finished, plan)
    choose_splits(seen, rows, finished, settings.valid_share, plan)
    for name, reason in junk.outliers(_facts(sorted({*plan.splits, *finished}), finished, known)).items():
        plan.review.setdefault(name, []).append(reason)
    return plan


def _facts(names: Iterable[str], finished: Container[str], known: FactsFile) -> Iterator[Facts]:
    for name in names:
        if isinstance(facts := known.encoded(name) if name in finished else known.named(name), Facts):
            yield facts


def _items(names: Iterable[str], finished: Container[str], known: FactsFile) -> Iterator[duplicates.Item]:
    for facts in _facts(sorted(names), finished, known):
        yield duplicates.Item(facts.name, facts.sound_sha256, facts.fingerprint, facts.seconds)


def _seen(found: Iterable[Found], known: FactsFile, settings: Settings, rows: dict[str, Row],
          finished: dict[str, set[str]], hashes: dict[str, str], plan: Plan) -> dict[str, Seen]:
    """The new files of which there is something to keep; the others go into the plan."""
    seen = {}
    for name in finished:
        if (facts := known.encoded(name)) and (flags := junk.flags(facts)):
            plan.review[name] = flags
    for file in found:
        if file.name in finished:
            continue
        facts = known.get(file.name, file.size, file.mtime_ns)
        if facts is None or isinstance(facts, Refused):
            plan.refused[file.name] = facts.reason if facts else "was changed meanwhile; run again"
            continue
        flags = junk.flags(facts)
        if flags:
            plan.review[file.name] = flags
        row = rows.get(file.name)
        if row is not None and row.keep is False:
            plan.left_out[file.name] = "left out by the table"
        elif settings.duplicates == "drop" and facts.file_sha256 in hashes:
            plan.dropped[file.name] = (hashes[facts.file_sha256], EXACT)
        elif kept := pieces(facts, settings):
            plan.seconds[file.name] = seconds = sum(piece.end - piece.start for piece in kept) / facts.heard_at
            seen[file.name] = Seen(seconds, (facts.lossy, -min(facts.rate, 48_000), -facts.seconds, file.name))
        else:
            plan.left_out[file.name] = _why_nothing(facts, settings)
    return seen


def _why_nothing(facts: Facts, settings: Settings) -> str:
    if facts.level.peak_db is None:
        return "silent"
    if facts.seconds < settings.min_seconds:
        return f"too short, {facts.seconds:.2f} of {settings.min_seconds:g} seconds"
    return f"no stretch of sound in it is {settings.min_seconds:g} seconds long"
