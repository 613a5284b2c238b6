"""The whole path for notes in one command: ``make demo-notes``, or ``python -m audiocraft_ext.notes.demo --midi DIR``
for a folder of your own (:mod:`audiocraft_ext.runs.demo`). Ends with MIDI files and piano rolls.
"""

from __future__ import annotations

import argparse

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.notes.codec.multitrack import FIRST, POSITION
from audiocraft_ext.notes.play import output
from audiocraft_ext.runs.demo import Demo
from audiocraft_ext.runs.pipeline import ROOT

PARTS = ["--parts", "drums,bass,piano"]


def sample(args: argparse.Namespace) -> list[str]:
    """A band, where the songs that ship were learned; what plays in others nobody knows beforehand."""
    return ["--bars", "8", *(PARTS if args.midi == DEMO.files else [])]


DEMO = Demo(
    kind="notes", about="The whole path for notes in one command.", files=ROOT / "data_prep" / "songs",
    recipe=["solver=notes/small", "optim.epochs=4", "generate.use=false"], things="pieces", n=4,
    prepare=lambda args: ["--codec", "notes"], sample=sample, read=output.read_sidecar, unit="note",
    count=lambda codes, spec: int((codes[POSITION] >= FIRST).sum()), unseen="songs",
    shows={"play": ".mid", "look at": ".png"}, more=["-n", "8", *PARTS])
main = DEMO.main

if __name__ == "__main__":
    run_cli(main)
