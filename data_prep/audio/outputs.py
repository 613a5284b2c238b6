"""What a preparation leaves for people and other programs: labels, a manifest, the report, a few lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from audiocraft_ext.store.reader import TokenStore
from data_prep.audio import manifest, slices, summary
from data_prep.audio.chain import Work, open_facts
from data_prep.report import report
from data_prep.shared import labels
from data_prep.shared.labels import Row
from data_prep.shared.sources import Found
from data_prep.shared.split import Plan


def read_table(path: Path, found: dict[str, Found]) -> dict[str, Row]:
    """A person's table of labels; names in it that are not there are said.

    Raises:
        UserError: see :func:`labels.read_csv`.
    """
    rows = labels.matched(labels.read_csv(path), found)
    for line in labels.unknown(rows, found):
        print(f"note: {line}", file=sys.stderr)
    return rows


def write(work: Work, plan: Plan, added: int, dry: bool, folder: Path | None = None) -> None:
    """Leave everything beside the store, and say what there is now.

    Args:
        folder: for the slices as files.

    Raises:
        OSError: the disk is full, say; what was there stays.
    """
    store = None if dry else TokenStore(work.store)
    with open_facts(work) as known:
        sums = report.write(work.store, summary.report(work, plan, known, store))
    if store:
        files = slices.write(work, plan, store, folder) if folder else None
        manifest.write(work.store, store.rows, {name: file.path for name, file in work.found.items()},
                       store.spec.frame_rate, files, work.rate)
        labels.write_csv(work.store / "labels.csv", _labelled(store.rows, plan))
    report.say(work.store, plan, sums, added, store, f"{store.seconds / 3600:.2f} hours of codes" if store else "")


def _labelled(rows: list[dict], plan: Plan) -> Iterator[dict]:
    """The store's rows with what a person should know of their file."""
    for row in rows:
        name = row.get("variant", {}).get("of", row["source"])
        yield row | {"flags": plan.review.get(name), "group": plan.group_of.get(name)}
