"""The whole path for notes in one command: ``make demo-notes``, or ``python -m audiocraft_ext.notes.demo --midi DIR``
for a folder of your own (:mod:`audiocraft_ext.runs.demo`). Ends with MIDI files and piano rolls.
"""

from __future__ import annotations

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.notes.codec.multitrack import FIRST, POSITION
from audiocraft_ext.notes.play import output
from audiocraft_ext.runs.demo import Demo
from audiocraft_ext.runs.pipeline import ROOT

DEMO = Demo(
    "notes", "The whole path for notes in one command.", ROOT / "data_prep" / "songs",
    ["solver=notes/small", "generate.use=false"], "pieces", 4, lambda args: ["--codec", "notes"], ["--bars", "8"],
    output.read_sidecar, "note", lambda codes, spec: int((codes[POSITION] >= FIRST).sum()), "songs",
    {"play": ".mid", "look at": ".png"}, ["-n", "8", "--parts", "drums,bass,piano"])
main = DEMO.main

if __name__ == "__main__":
    run_cli(main)
