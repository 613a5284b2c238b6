"""Which files are kept and which split each is in, whatever they hold: copies go, and a group stays together."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID, number_of
from data_prep.shared.groups import COPY, EXACT, Group, superseded
from data_prep.shared.labels import Row

DUPLICATES = ("drop", "keep", "off")
MOST = 0.75  # of all seconds: a group with more is train, or there would be little to learn from


@dataclass
class Plan:
    """All decisions.

    Attributes:
        splits: of each file that is kept, by name, in order.
        held_out: the one file that is in both splits, or "".
        dropped: copies that are left out, by name: (the one that is kept, "exact" or "copy").
        groups: of files that share material, by their first names.
        left_out: files with nothing to keep, by name, with the reason.
        refused: files that cannot be used, by name, with the reason.
        review: what a person should look at, by name: flags, odd ones.
        group_of: the number of the group that a file is in, from 1.
        seconds: what is kept of each file that could be, by name.
    """

    splits: dict[str, str] = field(default_factory=dict)
    held_out: str = ""
    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
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


def drop_copies(seen: dict[str, Seen], finished: dict[str, set[str]], plan: Plan) -> None:
    """Of copies keep what is in the store, or else the best: not lossy, the higher rate, the longer."""
    for group in plan.groups:
        new = sorted((name for name in group.names if name in seen and name not in finished),
                     key=lambda name: seen[name].quality)
        there = [name for name in group.names if name in finished]
        exact = {frozenset((link.a, link.b)) for link in group.links if link.relation == EXACT}
        for name, kept in superseded(group, [*there, *new]).items():
            if name in seen and name not in finished:
                del seen[name]
                plan.dropped[name] = (kept, EXACT if {name, kept} in exact else COPY)


def choose_splits(seen: dict[str, Seen], rows: dict[str, Row], finished: dict[str, set[str]], valid_share: float,
                 plan: Plan) -> None:
    """Put every group in one split.

    A group's number is that of its first name (audiocraft_ext/core/split.py). Where a split would be empty, the group
    with the lowest number is valid and that with the highest train.
    """
    groups = [[name for name in group.names if name in seen or name in finished] for group in plan.groups]
    plan.group_of = {name: number for number, names in enumerate(groups, 1) for name in names}
    groups = [names for names in groups if names] + [[name] for name in seen if name not in plan.group_of]
    free: list[list[str]] = []
    for names in groups:
        new = [name for name in names if name in seen and name not in finished]
        splits = set().union(*(finished[name] for name in names if name in finished))
        asked = {rows[name].split for name in names if name in rows and rows[name].split}
        if len(asked) > 1:
            raise UserError(f"the table puts {', '.join(names[:3])} in both splits, but they share material; "
                            "give them one split")
        if len(splits) > 1:
            plan.left_out |= dict.fromkeys(new, "shares material with train and with valid")
        elif splits or asked:
            if splits and asked and splits != asked:
                raise UserError(f"the table wants {new[0] if new else names[0]} in the {min(asked)} split, but what it "
                                f"shares material with is in the store's {min(splits)}; prepare a new store")
            plan.splits |= dict.fromkeys(new, min(splits or asked))
        elif new:
            free.append(new)
    _by_number(free, seen, finished, valid_share, plan)
    plan.splits = dict(sorted(plan.splits.items()))


def _by_number(free: list[list[str]], seen: dict[str, Seen], finished: dict[str, set[str]], share: float,
               plan: Plan) -> None:
    """Splits of the groups that nobody asked a split for."""
    total = sum(s.seconds for s in seen.values())
    taken = set().union(*finished.values()) | set(plan.splits.values())
    free = sorted(free, key=lambda names: number_of(names[0]))
    large = [sum(seen[name].seconds for name in names) > MOST * total for names in free]
    split_given = {i: VALID if number_of(names[0]) < share and not large[i] else TRAIN for i, names in enumerate(free)}
    if share and free:
        if len(free) == 1 and not taken:
            split_given[0] = TRAIN
            if len(free[0]) == 1:
                plan.held_out = free[0][0]
            # several that all share material: nothing can be held out, and the report says so
        else:
            if VALID not in taken | set(split_given.values()):
                split_given[large.index(False) if False in large else 0] = VALID
            if TRAIN not in taken | set(split_given.values()):
                split_given[len(free) - 1] = TRAIN
    for i, names in enumerate(free):
        plan.splits |= dict.fromkeys(names, split_given[i])
