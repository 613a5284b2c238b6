"""The whole path for songs of BeepBox in one command: ``make demo-songs``, or ``python -m audiocraft_ext.songs.demo
--midi DIR`` for a folder of your own (:mod:`audiocraft_ext.runs.demo`). Ends with BeepBox's JSON, URLs, MIDI files and
piano rolls.
"""

from __future__ import annotations

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.runs.demo import Demo
from audiocraft_ext.runs.pipeline import ROOT
from audiocraft_ext.songs.codec.voices import pitches_of
from audiocraft_ext.songs.play import output

DEMO = Demo(
    kind="songs", about="The whole path for songs of BeepBox in one command.", files=ROOT / "data_prep" / "songs",
    name="beepbox",  # with the same files demo-notes makes another store
    recipe=["solver=songs/small", "optim.epochs=8", "generate.use=false"], things="sketches", n=4,
    prepare=lambda args: ["--codec", "song"], sample=lambda args: ["--bars", "8"], read=output.read_sidecar,
    unit="note", count=lambda codes, spec: pitches_of(codes), unseen="songs",
    shows={"open": output.SONG, "as a URL": output.URL, "play": ".mid", "look at": ".png"},
    more=["-n", "8", "--channels", "3", "--drums", "1", "--rhythm", "4"])
main = DEMO.main

if __name__ == "__main__":
    run_cli(main)
