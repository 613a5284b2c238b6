"""What the report is told (data_prep/report.py): everything that was found, and what became of it.

It follows from the facts, the plan and the store's manifest, so the same command run again says the same.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from audiocraft_ext.split import TRAIN, VALID
from audiocraft_ext.store import TokenStore
from data_prep import beats, cuts, levels
from data_prep.chain import FACTS, PREP, Work
from data_prep.facts import Facts, FactsFile
from data_prep.plan import Plan, pieces, regions


class Sources:
    """A dict for each file that can be read, in order; to be gone through once.

    Args:
        rows: of the store's manifest, or of none.
    """

    def __init__(self, work: Work, plan: Plan, known: FactsFile, rows: list[dict]):
        self.work, self.plan, self.known = work, plan, known
        self.sides = {name: {side} if name != plan.held_out else {TRAIN, VALID} for name, side in plan.sides.items()}
        self.valid: Counter[str] = Counter()  # seconds and rows on the valid side, of sources that are on both
        self.valid_rows: Counter[str] = Counter()
        self.lengths: Counter[float] = Counter()
        for row in rows:
            if "variant" not in row:
                self.sides.setdefault(row["source"], set()).add(row["split"])
                if row["split"] == VALID:
                    self.valid[row["source"]] += row["frames"] / work.spec.frame_rate
                    self.valid_rows[row["source"]] += 1

    def __iter__(self) -> Iterator[dict]:
        for name in sorted({*self.work.found, *self.sides}):
            if isinstance(facts := self.known.named(name), Facts):
                yield self._source(facts)

    def _source(self, facts: Facts) -> dict:
        name, settings, level, said = facts.name, self.work.settings, facts.level, facts.labels
        row = self.work.rows.get(name)
        said, heard = row.over(said) if row else said, facts.beats
        sides, cut = self.sides.get(name), pieces(facts, settings)
        about = {
            "name": name, "seconds": facts.seconds, "format": facts.format, "rate": facts.rate,
            "channels": level.channels, "mix": level.mix, "dc": level.dc if settings.dc else 0.0, "lufs": level.lufs,
            "bpm": said.bpm or (heard.bpm if heard else None), "bpm_said": said.bpm is not None,
            "confidence": heard.confidence if heard else None, "key": said.key, "title": said.title,
            "licence": said.licence, "flags": self.plan.review.get(name, []), "group": self.plan.group_of.get(name),
            "overview": facts.overview, "gain_db": None, "status": "kept", "why": None, "split": None, "kept": 0.0,
            "slices": 0, "spans": []}
        if sides is None:
            kept, relation = self.plan.dropped.get(name, (None, None))
            if kept:
                same = "the same sound as" if relation == "exact" else "a copy of"
                return about | {"status": "duplicate", "why": f"{same} {kept}"}
            return about | {"status": "left out", "why": self.plan.left_out.get(name, "")}
        seconds = sum(piece.end - piece.start for piece in cut) / facts.heard_at
        both = len(sides) == 2
        split = "both" if both else min(sides)
        about |= {
            "gain_db": levels.gain_db(level, settings.level, settings.dc)[0], "split": split, "kept": seconds,
            "silence": max(0.0, facts.seconds - self._heard(facts)), "slices": self._count(cut),
            "variants": settings.variants if split == TRAIN else 0, "cut": cut[0].cut if cut else None,
            "bars": cut[0].bars if cut else None,
            "spans": [[piece.start / facts.heard_at, piece.end / facts.heard_at, TRAIN if both else split]
                      for piece in cut]}
        if both:
            about |= {"valid_seconds": self.valid[name] or seconds * settings.valid_share,
                      "valid_slices": self.valid_rows[name] or 1}
        return about

    def _heard(self, facts: Facts) -> float:
        """Seconds of a file that are not silence."""
        return sum(end - start for start, end in regions(facts, self.work.settings)) / facts.heard_at

    def _count(self, cut: list[cuts.Piece]) -> int:
        """How many rows some pieces become; remembers how long they are."""
        rows = list(self._rows(cut))
        for seconds, count in rows:
            self.lengths[seconds] += count
        return sum(count for _, count in rows)

    def _rows(self, cut: list[cuts.Piece]) -> Iterator[tuple[float, int]]:
        """Seconds of the rows of some pieces, and how many are so long."""
        row = cuts.Cut.parse(self.work.settings.cut).row_seconds
        for piece in cut:
            frames = -(-(piece.end - piece.start) * self.work.spec.frame_rate // self.work.rate)
            size = max(1, round(row * self.work.spec.frame_rate)) if piece.divisible else frames
            if whole := int(frames // size):
                yield size / self.work.spec.frame_rate, whole
            if frames % size:
                yield (frames % size) / self.work.spec.frame_rate, 1

    def slice_seconds(self) -> Iterator[tuple[float, int]]:
        """How many slices are how long, of the sources that were gone through."""
        yield from sorted(self.lengths.items())


def report(work: Work, plan: Plan, known: FactsFile, store: TokenStore | None) -> dict:
    """Everything that :func:`data_prep.report.write` asks for."""
    sources = Sources(work, plan, known, store.rows if store else [])
    return {
        "folder": str(work.src), "codec": work.spec.codec, "rate": work.rate, "cut": work.settings.cut,
        "level": work.settings.level, "settings": work.settings.to_dict(), "command": command(work),
        "store_hash": store.hash if store else None, "sure": beats.SURE, "notes": _notes(sources, work),
        "refused": sorted(plan.refused.items()),
        "duplicates": [_group(n, plan, sources) for n in range(len(plan.groups))],
        "slice_seconds": sources.slice_seconds(), "sources": sources}


def command(work: Work) -> str:
    """What makes the same store, wherever that is to be."""
    from data_prep.audio import build_parser

    usual, options = vars(build_parser().parse_args(["SRC", "STORE"])), []
    said = work.settings.to_dict() | {"codec": work.place[1]}
    for name, value in said.items():
        if name in usual and usual[name] is not None and value != usual[name]:
            options += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    if not work.settings.dc:
        options.append("--keep-dc")
    if work.settings.min_seconds != (0.05 if work.settings.cut == "onsets" else 1.0):
        options += ["--min-seconds", f"{work.settings.min_seconds:g}"]
    return shlex.join(["python", "-m", "data_prep.audio", str(work.src), "STORE", *options])


def open_facts(work: Work) -> FactsFile:
    return FactsFile(Path(work.store) / PREP / FACTS, work.tasks[0].how)


def _notes(sources: Sources, work: Work) -> list[str]:
    both = [name for name, sides in sources.sides.items() if len(sides) == 2]
    notes = [f"{name} is the only file, so the last {work.settings.valid_share:.0%} of it is held out as valid"
             for name in both]
    if work.settings.valid_share and not any(VALID in sides for sides in sources.sides.values()):
        notes.append("nothing could be held out: all files share material. Add other music, or give sides in a table "
                     "(--csv)")
    return notes


def _group(n: int, plan: Plan, sources: Sources) -> dict:
    group = plan.groups[n]
    return {"group": n + 1, "files": [
        {"name": name, "kept": name in sources.sides,
         "relation": plan.dropped[name][1] if name in plan.dropped else "overlap" if any(
             name in (link.a, link.b) and link.relation == "overlap" for link in group.links) else ""}
        for name in group.names]}
