"""What a store was made from, for a person: ``report.html``, one file without anything outside it, and ``report.json``.

:func:`write` takes a dict of

    folder      what was prepared, as typed
    codec, rate, cut, level     of the settings, rate in Hz, 0 where there is none
    settings    all of them, a dict
    command     what makes the store again
    store_hash  or None
    sure        the confidence from which on a tempo counts as known
    notes       list of lines that hold for the whole
    refused     iterable of (name, reason): files that cannot be used
    duplicates  list of {group, files: [{name, relation, kept: bool}]}; relation is to the file that is kept, or ""
    slice_seconds   iterable of (seconds, how many slices are so long)
    words       optional: list of {field, rows, words: [[word, of how many rows it is said], ...]}
    sources     iterable of dicts, one for each file that can be read; gone through once:
        name, seconds
        status      "kept", "duplicate" or "left out", the last two with ``why``
        kept        seconds of the file that are kept, ``silence`` those that were cut out as such
        slices      how many, ``variants`` how many altered copies of the file
        split       "train", "valid", "both" (with ``valid_seconds`` and ``valid_slices``) or None
        bpm, bpm_said, confidence, key, title, licence      None where nobody knows
        format, rate, channels, mix, dc, lufs, gain_db      as in data_prep.audio.analysis.facts; dc what was taken away
        cut, bars   how its pieces were cut (data_prep.audio.cuts.Piece)
        one_shot    whether it is one; else what is short or cut on onsets
        flags       list of short texts
        group       of duplicates, or None
        overview    int8 [240, 2] or None
        spans       optional: [[start, end, split], ...] in seconds, what is kept where

What a source can do without: silence, variants, bpm, bpm_said, confidence, key, title, licence, mix, dc, lufs,
gain_db, cut, bars, one_shot, group, overview, spans.

The same dict is the same bytes: there is no date in them and no time that anything took.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from audiocraft_ext.core.files import atomic
from audiocraft_ext.core.html import csp
from data_prep.report import charts
from data_prep.report.numbers import Sums, flag_kind
from data_prep.report.words import clock, count, done, headline, share, shown, span

if TYPE_CHECKING:
    from audiocraft_ext.store.reader import TokenStore
    from data_prep.shared.split import Plan

HTML, JSON = "report.html", "report.json"
MOST_ROWS = 1000  # of the table; report.json has all
MOST_NAMES = 200  # of each list
EMPTY = dict.fromkeys(("title", "bpm", "bpm_said", "confidence", "key", "licence", "lufs", "gain_db", "group",
                       "overview", "spans"))
HEAD = ("folder", "codec", "rate", "cut", "level", "settings", "command", "store_hash", "notes")


def write(folder: Path, report: dict) -> dict:
    """Write ``report.html`` and ``report.json`` into ``folder``; returns the sums, for :func:`lines`.

    Raises:
        OSError: they cannot be written; what was there stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sums, shown_rows = Sums(), []
    with tempfile.TemporaryFile(dir=folder) as lines:
        for source in report["sources"]:
            sums.add(source, report["sure"])
            lines.write((",\n" if lines.tell() else "\n").encode() + _line(source))
            shown_rows = _worth(shown_rows, source)
        complete = _complete(report, sums)
        lines.seek(0)
        with atomic(folder / JSON, sync=True, unless_same=True) as part, part.open("wb") as file:
            head = json.dumps(_plain(complete), indent=1, sort_keys=True)
            file.write(head[:-2].encode() + b',\n "sources": [')
            shutil.copyfileobj(lines, file)
            file.write(b"\n ]\n}\n")
    with atomic(folder / HTML, sync=True, unless_same=True) as part, part.open("wb") as file:
        for text in _page(complete, _worth(shown_rows)):
            file.write(text.encode("utf-8"))
    return complete


def say(folder: Path, plan: Plan, sums: dict, added: int, store: TokenStore | None, size: str) -> None:
    """What there is now, for a terminal.

    Args:
        sums: what :func:`write` returned.
        size: of the store, in words.
    """
    for name, reason in sorted((plan.refused | plan.left_out).items()):
        print(f"skipped {shown(name)}: {reason}", file=sys.stderr)
    for name, (kept, relation) in sorted(plan.dropped.items()):
        print(f"skipped {shown(name)}: {'exact copy' if relation == 'exact' else relation} of {shown(kept)}",
              file=sys.stderr)
    for line in lines(sums):
        print(line)
    if store:
        print(f"{added} sources added" if added else "nothing new, nothing changed")
        print(f"{store.path}: {size}, {store.spec.codec}, hash {store.hash[:16]}")
    print(f"look at {folder / HTML}")


def _line(source: dict) -> bytes:
    """A source as one line of JSON, so that two reports can be compared with diff."""
    row = {key: value for key, value in source.items() if key not in ("overview", "spans")}
    return json.dumps(_plain(row | {"done": done(source)}), sort_keys=True).encode()


def _worth(rows: list[dict], *more: dict) -> list[dict]:
    """The rows for the table so far: flagged ones first, then by name; sorted once in a while, and without ``more``."""
    rows += more
    if not more or len(rows) > 2 * MOST_ROWS:
        rows = sorted(rows, key=lambda source: (not source["flags"], source["name"]))[:MOST_ROWS]
    return rows


def _complete(report: dict, sums: Sums) -> dict:
    """All of a report but its sources: what was given, totals, histograms and a headline."""
    totals, tempo = sums.totals(), sums.tempo()
    refused = [{"name": name, "reason": reason} for name, reason in sorted(report["refused"])]
    return {**{key: report[key] for key in HEAD}, "refused": refused, "duplicates": report["duplicates"],
            "totals": totals, "tempo": tempo, "histograms": sums.histograms(report["slice_seconds"]),
            "headline": headline(totals, tempo), "words": report.get("words", [])}


def lines(sums: dict) -> list[str]:
    """The same for a terminal, in a dozen lines; ``sums`` is what :func:`write` returned."""
    t, tempo = sums["totals"], sums["tempo"]
    out = [*sums["headline"], ""]
    out.append(f"in      {count(t['files'] + len(sums['refused']), 'file')}, {span(t['seconds'])} that can be read")
    out += [f"{split:<8}{count(t[split]['files'], 'file')}, {count(t[split]['slices'], 'slice')}, "
            f"{span(t[split]['seconds'])}" for split in ("train", "valid")]
    gone = [("copies", t["duplicates"], t["duplicate_seconds"]), ("unused", t["left_out"], t["left_out_seconds"])]
    out += [f"{name:<8}{count(files, 'file')}, {span(seconds)}" for name, files, seconds in gone if files]
    if t["silence_seconds"] or t["remainder_seconds"]:
        out.append(f"cut out {span(t['silence_seconds'])} of silence, {span(t['remainder_seconds'])} that did not "
                   "fill a slice")
    if sums["refused"]:
        out.append(f"refused {count(len(sums['refused']), 'file')}: "
                   + "; ".join(f"{shown(r['name'])}: {shown(r['reason'])}" for r in sums["refused"][:2])
                   + (" ..." if len(sums["refused"]) > 2 else ""))
    if t["flags"]:
        out.append("look at " + ", ".join(f"{shown(flag)} ({n})" for flag, n in t["flags"][:5]))
    if tempo["quartiles"]:
        low, middle, high = tempo["quartiles"]
        out.append(f"tempo   median {middle:.0f} BPM, half within {low:.0f} to {high:.0f}, sure for "
                   f"{share(tempo['sure_seconds'], t['kept_seconds'])}")
    known = [(name, seconds) for name, seconds in t["licences"] if name]
    if known:
        out.append("licence " + ", ".join(f"{shown(name)} {share(s, t['kept_seconds'])}" for name, s in known[:4]))
    return out + [f"note    {shown(note)}" for note in sums["notes"]]


def _plain(value: object) -> object:
    """JSON of anything: rounded, without what JSON has no word for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.integer, np.floating)):
        value = value.item()
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def _page(sums: dict, rows: list[dict]) -> Iterator[str]:
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                      loader=FileSystemLoader(Path(__file__).parent),
                      finalize=lambda value: shown(value) if type(value) is str else value)
    env.filters |= {"shown": shown, "span": span, "clock": clock, "csp": csp}
    env.globals |= {"count": count, "share": share, "done": done, "wave": charts.wave, "flag_kind": flag_kind,
                    "strips": charts.strips, "most_names": MOST_NAMES, "WAVE": charts.WAVE,
                    "WAVE_HEIGHT": charts.WAVE_HEIGHT}
    histograms = {kind: charts.chart(histogram, kind) for kind, histogram in sums["histograms"].items()}
    return env.get_template("report.html.j2").generate(
        **sums, rows=[EMPTY | row for row in rows], charts=histograms, flagged=_flagged(rows),
        khz=f"{sums['rate'] / 1000:g} kHz" if sums["rate"] else "", where=_where(sums["totals"]))


def _where(t: dict) -> list[tuple[str, float, str]]:
    """Where the time went: a class of the style, seconds, words."""
    parts = [("train", t["train"]["seconds"], "train"), ("valid", t["valid"]["seconds"], "valid"),
             ("silence", t["silence_seconds"], "silence"), ("rest", t["remainder_seconds"], "did not fill a slice"),
             ("copy", t["duplicate_seconds"], "copies of others"), ("out", t["left_out_seconds"], "nothing usable")]
    return [part for part in parts if part[1] > 0]


def _flagged(rows: list[dict]) -> list[tuple[str, list[dict]]]:
    """Of the rows, those to look at, by what is said of them."""
    kinds: dict[str, list[dict]] = {}
    for row in rows:
        for flag in row["flags"]:
            kinds.setdefault(flag_kind(flag), []).append({"name": row["name"], "flag": flag})
    return sorted(kinds.items(), key=lambda pair: (-len(pair[1]), pair[0]))
