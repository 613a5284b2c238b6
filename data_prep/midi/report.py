"""What the report is told of drums (data_prep/report/report.py); it follows from the files, the plan and the
settings."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Container, Iterator

import numpy as np

from audiocraft_ext.core.split import VALID
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.store.reader import TokenStore
from data_prep.midi import prompts as midi_prompts
from data_prep.midi.chain import MidiWork, ReadFiles, rows_of, with_splits
from data_prep.midi.read import ERROR_MS, FileCost, MidiFacts
from data_prep.midi.settings import MidiSettings
from data_prep.report.words import count, share
from data_prep.shared.groups import Group
from data_prep.shared.split import Plan

MOST_PITCHES = 8


def report(work: MidiWork, plan: Plan, known: ReadFiles, store: TokenStore | None) -> dict:
    """Everything that :func:`data_prep.report.report.write` asks for; without a store, as it would be."""
    stored: dict[str, list[str]] = {}
    for row in store.rows if store else ():
        stored.setdefault(row["source"], []).append(row["split"])
    settings, codec = work.settings, work.settings.codec
    shown = {"division": codec.division} if settings.kind == "notes" else {} if settings.songs else {
        "map": f"{codec.drums.name}, {codec.classes} classes", "steps": codec.steps, "velocities": codec.velocities,
        "offsets": codec.offsets}
    shown |= {"prompts": settings.prompts} | {
                 key: value for key, value in settings.to_dict().items() if key != "codec"}
    shown["channel"] = "all" if settings.songs else {None: "10, or guessed", 0: "all"}.get(settings.channel,
                                                                                       settings.channel)
    sources = [_source(known.facts[name], work, plan, stored) for name in sorted(known.facts)]
    lengths: Counter[float] = Counter()
    for source in sources:
        if source["status"] == "kept":
            lengths.update(one.end - one.begin for one in known.facts[source["name"]].slices)
    return {"folder": str(work.src), "codec": codec.spec.codec, "rate": 0, "cut": settings.cut, "level": "off",
            "settings": shown, "command": command(work), "store_hash": store.hash if store else None, "sure": 0.0,
            "notes": _notes(known, settings, sources), "refused": sorted(plan.refused.items()),
            "duplicates": _groups(plan, stored), "slice_seconds": sorted(lengths.items()), "sources": sources,
            "words": _words(work, plan, known, store)}


def _words(work: MidiWork, plan: Plan, known: ReadFiles, store: TokenStore | None) -> list[dict]:
    """How many rows each word of a prompt is said of."""
    if not known.prompts:
        return []
    rows = store.rows if store else (row for name in plan.splits
                                     for _, _, row in rows_of(known.facts[name], plan, known, work))
    counts: Counter[tuple[str, str]] = Counter()
    total = 0
    for row in rows:
        counts.update(row["prompt"].items())
        total += 1
    return [{"field": field, "rows": total, "words": [[word, counts[field, word]] for word in words]}
            for field, words in known.prompts.words.items()]


def _source(facts: MidiFacts, work: MidiWork, plan: Plan, stored: dict[str, list[str]]) -> dict:
    name, cost, row = facts.name, facts.cost, work.rows.get(facts.name)
    labels = row.over(facts.labels.labels) if row else facts.labels.labels
    style, kind = midi_prompts.style_and_kind(facts, row)
    about = {
        "name": name, "seconds": facts.seconds, "format": "MIDI", "rate": 0, "channels": 1, "title": labels.title,
        "licence": labels.licence, "bpm": (row.bpm if row else None) or facts.tempo or labels.bpm, "bpm_said": True,
        "style": style, "kind": kind, "flags": plan.review.get(name, []),
        "group": plan.group_of.get(name), "overview": facts.overview, "hits": cost.hits, "hits_kept": cost.kept,
        "velocity_error": cost.velocity / cost.kept if cost.kept else None,
        "timing_ms": cost.timing_ms / cost.kept if cost.kept else None,
        "status": "kept", "why": None, "split": None, "kept": 0.0, "slices": 0, "spans": []}
    if name not in plan.splits and name not in stored:
        kept, relation = plan.dropped.get(name, (None, None))
        if kept:
            same = "the same hits as" if relation == "exact" else "a copy of"
            return about | {"status": "duplicate", "why": f"{same} {kept}"}
        return about | {"status": "left out", "why": plan.left_out.get(name, "")}
    splits = stored.get(name) or [split for split, _ in with_splits(facts, plan, work.settings)]
    split = "both" if len(set(splits)) == 2 else splits[0]
    valid = [one for split, one in zip(splits, facts.slices) if split == VALID]
    about |= {"split": split, "kept": facts.kept, "silence": max(0.0, facts.seconds - facts.kept - facts.short),
              "slices": len(splits), "cut": "bars", "bars": work.settings.bars, "one_shot": False,
              "spans": [[one.begin, one.end, split] for split, one in zip(splits, facts.slices)]}
    if split == "both":
        about |= {"valid_seconds": sum(one.end - one.begin for one in valid), "valid_slices": len(valid)}
    return about


def total_cost(known: ReadFiles, names: list[str]) -> FileCost:
    """Of some files together."""
    return sum((known.facts[name].cost for name in names), FileCost())


def words(cost: FileCost, one: str = "hit") -> str:
    """What it cost to tell the hits (or whatever ``one`` is) with the codec, in a sentence."""
    if not cost.kept:
        return f"No {one}s are kept."
    late = int(np.searchsorted(np.cumsum(cost.timing), 0.95 * cost.timing.sum())) + 1
    lost = [(cost.merged, "in the place of a louder one"), (cost.dropped, "not in the map"),
            (cost.metre, "in a time signature that the codec has not"), (cost.room, "for which no channel is free"),
            (cost.cut, "in pieces that are left out")]
    gone = ", ".join(f"{n:,} {why}" for n, why in lost if n)
    kept = f"{share(cost.kept, cost.hits)} of {count(cost.hits, one)} are kept{f' ({gone} are not)' if gone else ''}"
    return (f"{kept}; velocities are off by {cost.velocity / cost.kept:.1f} of 127 on average, times by "
            f"{cost.timing_ms / cost.kept:.1f} ms, 95% of them by less than {late * ERROR_MS:.1f} ms")


def _notes(known: ReadFiles, settings: MidiSettings, sources: list[dict]) -> list[str]:
    kept = [source["name"] for source in sources if source["status"] == "kept"]
    cost = total_cost(known, kept)
    notes = [words(cost, "note" if settings.songs else "hit")]
    if cost.unmapped:
        drums = settings.codec.drums
        most = ", ".join(f"{pitch} ({n:,})" for pitch, n in cost.unmapped.most_common(MOST_PITCHES))
        more = ", ..." if len(cost.unmapped) > MOST_PITCHES else ""
        goes = "dropped" if drums.unmapped == "drop" else f"taken as {drums.unmapped}"
        notes.append(f"the map {drums.name} has no class for these pitches, which are {goes}: {most}{more}")
    notes += [f"{source['name']} is the only file, so the last rows of it are held out as valid" for source in sources
              if source["split"] == "both"]
    if settings.valid_share and kept and not any(source["split"] in (VALID, "both") for source in sources):
        notes.append("nothing could be held out: all files share material, or there is but one row. Add others, or "
                     "give splits in a table (--csv)")
    return notes


def _groups(plan: Plan, stored: Container[str]) -> list[dict]:
    def relation(name: str, group: Group) -> str:
        if name in plan.dropped:
            return plan.dropped[name][1]
        return "overlap" if any(name in (link.a, link.b) and link.relation == "overlap" for link in group.links) else ""

    return [{"group": n, "files": [{"name": name, "kept": name in plan.splits or name in stored,
                                    "relation": relation(name, group)} for name in group.names]}
            for n, group in enumerate(plan.groups, 1)]


def labelled(rows: list[dict], plan: Plan) -> Iterator[dict]:
    """The store's rows with what a person should know of their file."""
    for row in rows:
        yield row | {"flags": plan.review.get(row["source"]), "group": plan.group_of.get(row["source"])}


def command(work: MidiWork) -> str:
    """What makes the same store, wherever that is to be."""
    settings, codec, usual = work.settings, work.settings.codec, MidiSettings()
    options = [] if isinstance(codec, DrumGrid) else ["--codec", codec.spec.codec]
    if settings.kind == "notes":
        options += ["--division", str(codec.division)] if codec != type(codec)() else []
    elif settings.songs:
        options += [text for name, value in vars(settings.convert).items() if value != getattr(usual.convert, name)
                    for text in (f"--{name}", str(value))]
    elif codec.drums != usual.codec.drums:
        options += ["--map", work.map_name]
    for name in () if settings.songs else ("steps", "velocities", "offsets") if isinstance(codec, DrumGrid) else (
            "steps",):
        if getattr(codec, name) != getattr(usual.codec, name):
            options += [f"--{name}", str(getattr(codec, name))]
    for name in ("cut", "valid_share", "min_bars", "empty_bars", "duplicates"):
        if getattr(settings, name) != getattr(usual, name):
            options += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    if not settings.prompts:
        options += ["--no-prompts"]
    if settings.channel is not None:
        options += ["--channel", str(settings.channel)] if settings.channel else ["--all-channels"]
    return shlex.join(["python", "-m", "data_prep.midi", str(work.src), "STORE", *options])
