"""What a preparation leaves for people and other programs: labels, a manifest, the report, a few lines."""

from __future__ import annotations

import sys
from pathlib import Path

from audiocraft_ext.store import TokenStore
from data_prep import labels, manifest
from data_prep.chain import Work
from data_prep.labels import Row
from data_prep.plan import Plan
from data_prep.sources import Found


def read_table(path: Path, found: dict[str, Found]) -> dict[str, Row]:
    """A person's table of labels; names in it that are not there are said.

    Raises:
        UserError: see :func:`labels.read_csv`.
    """
    rows = labels.read_csv(path)
    for line in labels.unknown(rows, found):
        print(f"note: {line}", file=sys.stderr)
    return rows


def write(work: Work, plan: Plan, added: int, dry: bool) -> None:
    for name, reason in sorted((plan.refused | plan.left_out).items()):
        print(f"skipped {name}: {reason}", file=sys.stderr)
    for name, (kept, relation) in sorted(plan.dropped.items()):
        print(f"skipped {name}: {relation if relation == 'copy' else 'exact copy'} of {kept}", file=sys.stderr)
    for note in plan.notes:
        print(note, file=sys.stderr)
    if dry:
        return
    store = TokenStore(work.store)
    manifest.write(work.store, store.rows, {name: file.path for name, file in work.found.items()},
                   store.spec.frame_rate)
    labels.write_csv(work.store / "labels.csv", store.rows)
    print(f"{added} sources added" if added else "nothing new, nothing changed")
    print(f"{store.path}: codec {store.spec.codec}, hash {store.hash[:16]}")
