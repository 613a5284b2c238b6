"""The whole path for drums in one command: ``make demo-drums``, or ``./train.sh --midi DIR`` for a folder of your own.

The stages are those of :mod:`audiocraft_ext.runs.demo`. Ends with MIDI files, a WAV of each, and a picture of piano
rolls, with performances that it never heard beside them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import VALID
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.drums.describe import meter_of
from audiocraft_ext.drums.midi import drums_of, stretches
from audiocraft_ext.drums.play import roll, sidecar
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.midi.file import read
from audiocraft_ext.runs.demo import SEED, Demo
from audiocraft_ext.runs.pipeline import ROOT
from audiocraft_ext.store.reader import TokenStore

BARS = 4
VALID_SHARE = 0.2  # of the files
REAL = 4  # rows of the valid split in the picture


def pictured(store: TokenStore, files: list[Path], bundle: Path) -> list[Beat]:
    """What the model made, and rows that it never saw."""
    codec, about = codec_of(store.settings["codec"]), Bundle(bundle)
    names = {one.write: one.name for one in codec.drums.classes}
    beats, rows = [], [row for row in store.rows if row["split"] == VALID and row["bars"] == BARS]
    for i, file in enumerate(files):
        midi = read(file)
        clip = stretches(midi, drums_of(midi)[0], codec)[0][0].clip
        beats.append(Beat(codec.encode(clip), clip, i, {"bundle": f"made: {about.name}", "seed": SEED}, names))
    for row in rows[:: max(1, len(rows) // REAL)][:REAL]:
        codes = store.read(row["start"], row["frames"])
        clip = codec.decode(codes, row.get("bpm", 120.0), meter_of(row["time_signature"]))
        beats.append(Beat(codes, clip, row["segment"], {"bundle": f"real: {Path(row['source']).name}"}, names))
    return beats


def drawn(store: TokenStore, files: list[Path], bundle: Path, out: Path) -> list[Path]:
    """Piano rolls of both."""
    return roll.sheet(pictured(store, files, bundle), out / "rolls.png")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--map", default="drums12", help="which pitches are which drum: a name, or a JSON file")


def prepare(args: argparse.Namespace) -> list[str]:
    drum_map = os.path.abspath(args.map) if Path(args.map).is_file() else args.map
    return ["--map", drum_map, "--valid-share", str(VALID_SHARE)]


def hits_of(codes: np.ndarray, spec: Spec) -> int:
    """How many hits there are."""
    return sum(int((codes[gate] != 0).sum()) for gate in {one.gate for one in spec.gates})


DEMO = Demo(
    kind="drums", about="The whole path for drums in one command.", files=ROOT / "data_prep" / "grooves",
    recipe=["solver=drums/small", "generate.use=false"], things="beats", n=8, prepare=prepare,
    sample=lambda args: ["--bars", str(BARS), "--wav"], read=sidecar.read, unit="hit", count=hits_of,
    unseen="performances",
    shows={"play": ".mid", "listen to": ".wav"}, draw=drawn, options=options, more=["-n", "16", "--bpm", "174"])
main = DEMO.main

if __name__ == "__main__":
    run_cli(main)
