"""What becomes of each file, decided from facts alone: what is kept, on which side, cut where, how loud.

The same facts and settings give the same plan, whatever was encoded already; so an interrupted run goes on to the same
bytes. Only what an earlier run *finished* binds a later one: a source that is in the store stays, on its side, and new
files are compared with it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from audiocraft_ext.errors import UserError
from audiocraft_ext.split import TRAIN, VALID, number_of
from data_prep import cuts, duplicates, junk, silence
from data_prep.cuts import Cut, Piece
from data_prep.facts import Facts, FactsFile, Refused
from data_prep.labels import Row
from data_prep.settings import Settings
from data_prep.sources import Found

MOST = 0.75  # of all seconds: a group with more is train, or there would be little to learn from


@dataclass
class Plan:
    """All decisions.

    Attributes:
        sides: of each file that is kept, by name, in order.
        held_out: the one file that is on both sides, or "".
        dropped: copies that are left out, by name: (the one that is kept, "exact" or "copy").
        groups: of files that share material, as :func:`duplicates.find` tells.
        left_out: files with nothing to keep, by name, with the reason.
        refused: files that cannot be used, by name, with the reason.
        review: what a person should look at, by name: flags, odd ones.
        group_of: the number of the group that a file is in, from 1.
        seconds: what is kept of each file that could be, by name.
    """

    sides: dict[str, str] = field(default_factory=dict)
    held_out: str = ""
    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    groups: list[duplicates.Group] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    review: dict[str, list[str]] = field(default_factory=dict)
    group_of: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def why_nothing(self) -> str:
        """The first reasons for which files are not kept, as a taste of all."""
        reasons = sorted((self.refused | self.left_out).items())
        return "; ".join(f"{name}: {reason}" for name, reason in reasons[:3]) + (
            f", and {len(reasons) - 3} more" if len(reasons) > 3 else "")


@dataclass(frozen=True)
class Seen:
    """What deciding needs of one file: how long what is kept of it is, and how good it is beside its copies."""

    seconds: float
    quality: tuple


def regions(facts: Facts, settings: Settings) -> list[tuple[int, int]]:
    """What of a file is not silence, in samples."""
    if not settings.silence:
        return [(0, facts.samples)]
    return silence.regions(facts.envelope, facts.samples, facts.heard_at, settings.silence_db, settings.silence)


def pieces(facts: Facts, settings: Settings) -> list[Piece]:
    """Where a file is cut."""
    return cuts.cut(Cut.parse(settings.cut), regions(facts, settings), facts.samples, facts.heard_at,
                    settings.min_seconds, facts.beats, facts.onsets)


def decide(found: Iterable[Found], known: FactsFile, settings: Settings, rows: dict[str, Row],
           finished: dict[str, set[str]], hashes: dict[str, str] | None = None) -> Plan:
    """Decide on every file.

    Args:
        found: the files, each of which ``known`` has facts of.
        rows: a person's table, by name.
        finished: the sides of each file that is in the store since an earlier run. What counts of it is what was known
            when it was encoded.
        hashes: of their files, with their names; all there is where that is forgotten.

    Raises:
        UserError: a table that puts files of one group on both sides.
    """
    plan = Plan()
    seen = _seen(found, known, settings, rows, finished, hashes or {}, plan)
    if settings.duplicates != "off":
        plan.groups = duplicates.find(_items([*seen, *finished], finished, known))
    if settings.duplicates == "drop":
        drop_copies(seen, finished, plan)
    choose_sides(seen, rows, finished, settings.valid_share, plan)
    for name, reason in junk.outliers(_facts(sorted({*plan.sides, *finished}), finished, known)).items():
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
            plan.dropped[file.name] = (hashes[facts.file_sha256], duplicates.EXACT)
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


def drop_copies(seen: dict[str, Seen], finished: dict[str, set[str]], plan: Plan) -> None:
    """Of copies keep what is in the store, or else the best: not lossy, the higher rate, the longer."""
    for group in plan.groups:
        new = sorted((name for name in group.names if name in seen and name not in finished),
                     key=lambda name: seen[name].quality)
        there = [name for name in group.names if name in finished]
        exact = {frozenset((link.a, link.b)) for link in group.links if link.relation == duplicates.EXACT}
        for name, kept in duplicates.superseded(group, [*there, *new]).items():
            if name in seen and name not in finished:
                del seen[name]
                plan.dropped[name] = (kept, duplicates.EXACT if {name, kept} in exact else duplicates.COPY)


def choose_sides(seen: dict[str, Seen], rows: dict[str, Row], finished: dict[str, set[str]], valid_share: float,
                 plan: Plan) -> None:
    """Put every group on one side.

    A group's number is that of its first name (audiocraft_ext/split.py). Where a side would be empty, the group with
    the lowest number is valid and that with the highest train.
    """
    groups = [[name for name in group.names if name in seen or name in finished] for group in plan.groups]
    plan.group_of = {name: number for number, names in enumerate(groups, 1) for name in names}
    groups = [names for names in groups if names] + [[name] for name in seen if name not in plan.group_of]
    free: list[list[str]] = []
    for names in groups:
        new = [name for name in names if name in seen and name not in finished]
        sides = set().union(*(finished[name] for name in names if name in finished))
        asked = {rows[name].split for name in names if name in rows and rows[name].split}
        if len(asked) > 1:
            raise UserError(f"the table puts {', '.join(names[:3])} on both sides, but they share material; "
                            "give them one side")
        if len(sides) > 1:
            plan.left_out |= dict.fromkeys(new, "shares material with train and with valid")
        elif sides or asked:
            if sides and asked and sides != asked:
                raise UserError(f"the table wants {new[0] if new else names[0]} on the {min(asked)} side, but what it "
                                f"shares material with is in the store's {min(sides)}; prepare a new store")
            plan.sides |= dict.fromkeys(new, min(sides or asked))
        elif new:
            free.append(new)
    _by_number(free, seen, finished, valid_share, plan)
    plan.sides = dict(sorted(plan.sides.items()))


def _by_number(free: list[list[str]], seen: dict[str, Seen], finished: dict[str, set[str]], share: float,
               plan: Plan) -> None:
    """Sides of the groups that nobody asked a side for."""
    total = sum(s.seconds for s in seen.values())
    taken = set().union(*finished.values()) | set(plan.sides.values())
    free = sorted(free, key=lambda names: number_of(names[0]))
    large = [sum(seen[name].seconds for name in names) > MOST * total for names in free]
    side_of = {i: VALID if number_of(names[0]) < share and not large[i] else TRAIN for i, names in enumerate(free)}
    if share and free:
        if len(free) == 1 and not taken:
            side_of[0] = TRAIN
            if len(free[0]) == 1:
                plan.held_out = free[0][0]
            # several that all share material: nothing can be held out, and the report says so
        else:
            if VALID not in taken | set(side_of.values()):
                side_of[large.index(False) if False in large else 0] = VALID
            if TRAIN not in taken | set(side_of.values()):
                side_of[len(free) - 1] = TRAIN
    for i, names in enumerate(free):
        plan.sides |= dict.fromkeys(names, side_of[i])
