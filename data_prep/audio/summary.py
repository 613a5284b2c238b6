"""What the report is told (data_prep/report/report.py): everything that was found, and what became of it.

It follows from the facts, the plan and the store's manifest, so the same command run again says the same.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio import cuts
from data_prep.audio.analysis import levels
from data_prep.audio.analysis.facts import Facts, FactsFile
from data_prep.audio.beats.grid import SURE
from data_prep.audio.chain import PREP, Work
from data_prep.audio.options import build_parser
from data_prep.audio.plan import pieces, regions
from data_prep.report.words import shown
from data_prep.shared.cut import Cut
from data_prep.shared.split import Plan


class Sources:
    """A dict for each file that can be read, in order; to be gone through once.

    Args:
        rows: of the store's manifest, or of none.
    """

    def __init__(self, work: Work, plan: Plan, known: FactsFile, rows: list[dict]):
        self.work, self.plan, self.known = work, plan, known
        self.splits = {name: {split} if name != plan.held_out else {TRAIN, VALID}
                       for name, split in plan.splits.items()}
        self.stored: dict[str, list[dict]] = {}  # rows of each source
        for row in rows:
            if "variant" not in row:
                self.stored.setdefault(row["source"], []).append(row)
        self.splits |= {name: {row["split"] for row in rows} for name, rows in self.stored.items()}
        self.lengths: Counter[float] = Counter()

    def __iter__(self) -> Iterator[dict]:
        for name in sorted({*self.work.found, *self.splits}):
            facts = (name in self.splits and self.known.encoded(name)) or self.known.named(name)
            if isinstance(facts, Facts):
                yield self._source(facts)

    def _source(self, facts: Facts) -> dict:
        name, settings, level, labels = facts.name, self.work.settings, facts.level, facts.labels
        row = self.work.rows.get(name)
        labels, found = row.over(labels) if row else labels, facts.beats
        splits, cut = self.splits.get(name), pieces(facts, settings)
        about = {
            "name": name, "seconds": facts.seconds, "format": facts.format, "rate": facts.rate,
            "channels": level.channels, "mix": level.mix, "dc": level.dc if settings.dc else 0.0, "lufs": level.lufs,
            "bpm": labels.bpm or (found.bpm if found else None), "bpm_said": labels.bpm is not None,
            "confidence": found.confidence if found else None, "key": labels.key, "title": labels.title,
            "licence": labels.licence, "flags": self.plan.review.get(name, []), "group": self.plan.group_of.get(name),
            "overview": facts.overview, "gain_db": None, "status": "kept", "why": None, "split": None, "kept": 0.0,
            "slices": 0, "spans": []}
        if splits is None:
            kept, relation = self.plan.dropped.get(name, (None, None))
            if kept:
                same = "the same sound as" if relation == "exact" else "a copy of"
                return about | {"status": "duplicate", "why": f"{same} {kept}"}
            return about | {"status": "left out", "why": self.plan.left_out.get(name, "")}
        spans = self._spans(facts, splits, cut)
        kept = {split: [end - start for start, end, where in spans if where == split] for split in (TRAIN, VALID)}
        split = "both" if len(splits) == 2 else min(splits)
        return about | {
            "gain_db": levels.gain_db(level, settings.level, settings.dc)[0], "split": split,
            "kept": sum(map(sum, kept.values())), "silence": max(0.0, facts.seconds - self._heard(facts)),
            "slices": len(spans), "variants": settings.variants if split == TRAIN else 0,
            "cut": cut[0].cut if cut else None, "bars": cut[0].bars if cut else None, "spans": spans,
            "valid_seconds": sum(kept[VALID]), "valid_slices": len(kept[VALID])}

    def _spans(self, facts: Facts, splits: set[str], cut: list[cuts.Piece]) -> list[list]:
        """Start, end (seconds) and split of each row: those of the store, or what they will be."""
        if facts.name in self.stored:
            spans = [[*row["at"], row["split"]] for row in self.stored[facts.name]]
        else:
            rate, row = facts.heard_at, round(Cut.parse(self.work.settings.cut).row_seconds * facts.heard_at)
            spans = []
            for piece in cut:
                step = row if piece.divisible else piece.end - piece.start
                spans += [[at / rate, min(at + step, piece.end) / rate, min(splits)]
                          for at in range(piece.start, piece.end, step)]
            if len(splits) == 2:
                _hold_out(spans, self.work.settings.valid_share)
        self.lengths.update(round(end - start, 2) for start, end, _ in spans)
        return spans

    def _heard(self, facts: Facts) -> float:
        """Seconds of a file that are not silence."""
        return sum(end - start for start, end in regions(facts, self.work.settings)) / facts.heard_at

    def slice_seconds(self) -> Iterator[tuple[float, int]]:
        """How many slices are how long, of the sources that were gone through."""
        yield from sorted(self.lengths.items())


def report(work: Work, plan: Plan, known: FactsFile, store: TokenStore | None) -> dict:
    """Everything that :func:`data_prep.report.report.write` asks for."""
    sources = Sources(work, plan, known, store.rows if store else [])
    return {
        "folder": str(work.src), "codec": work.spec.codec, "rate": work.rate, "cut": work.settings.cut,
        "level": work.settings.level, "settings": work.settings.to_dict(), "command": command(work),
        "store_hash": store.hash if store else None, "sure": SURE, "notes": _notes(sources, work),
        "refused": sorted(plan.refused.items()),
        "duplicates": [_group(n, plan, sources) for n in range(len(plan.groups))],
        "slice_seconds": sources.slice_seconds(), "sources": sources}


def command(work: Work) -> str:
    """What makes the same store, wherever that is to be."""
    usual, options = vars(build_parser().parse_args(["SRC", "STORE"])), []
    settings = work.settings.to_dict() | {"codec": work.place[1]}
    for name, value in settings.items():
        if name in usual and usual[name] is not None and value != usual[name]:
            options += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    if not work.settings.dc:
        options.append("--keep-dc")
    if work.settings.min_seconds != (0.05 if work.settings.cut == "onsets" else 1.0):
        options += ["--min-seconds", f"{work.settings.min_seconds:g}"]
    return shlex.join(["python", "-m", "data_prep.audio", str(work.src), "STORE", *options])


def _hold_out(spans: list[list], share: float) -> None:
    """Put the last ``share`` of a single file in the valid split, nearly as :mod:`data_prep.audio.entries` will."""
    left = sum(end - start for start, end, _ in spans) * (1 - share)
    for i, span in enumerate(spans):
        span[2] = VALID if i and left < span[1] - span[0] else TRAIN
        left -= span[1] - span[0]


def _notes(sources: Sources, work: Work) -> list[str]:
    both = [name for name, splits in sources.splits.items() if len(splits) == 2]
    notes = [f"the end of {shown(name)} is held out as valid: it was the only file" for name in both]
    if work.settings.valid_share and not any(VALID in splits for splits in sources.splits.values()):
        notes.append("nothing could be held out: there is one slice, or all files share material. Add other music, or "
                     "give splits in a table (--csv)")
    lost = sum(sources.known.encoded(name) is None for name in sources.stored)
    if lost:
        notes.append(f"of {lost} sources of the store nothing is known any more (neither their files nor {PREP} are "
                     "there), so new files that are copies of them cannot be found")
    return notes


def _group(n: int, plan: Plan, sources: Sources) -> dict:
    group = plan.groups[n]
    overlap = {name for link in group.links if link.relation == "overlap" for name in (link.a, link.b)}
    return {"group": n + 1, "files": [
        {"name": name, "kept": name in sources.splits,
         "relation": plan.dropped[name][1] if name in plan.dropped else "overlap" if name in overlap else ""}
        for name in group.names]}
