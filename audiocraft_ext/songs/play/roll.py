"""Sketches to look at, as piano rolls (:mod:`audiocraft_ext.midi.roll`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from audiocraft_ext.midi import roll as rolls
from audiocraft_ext.midi.roll import Roll
from audiocraft_ext.songs import to_midi
from audiocraft_ext.songs.beepbox.song import PARTS
from audiocraft_ext.songs.play.sketch import Sketch

HIT = PARTS * to_midi.PART // 8  # how long one of drums is drawn, in ticks


def roll(sketch: Sketch, path: Path) -> None:
    """Draw a sketch into a PNG.

    Raises:
        UserError: it cannot be written, or matplotlib is not there.
    """
    rolls.draw(path, _drawn(sketch, str(sketch.recipe.get("bundle", "")), f"seed {sketch.recipe.get('seed', 0)}",
                            f"sketch {sketch.index}"))


def sheet(sketches: Iterable[tuple[str, Sketch]], path: Path) -> list[Path]:
    """Draw sketches side by side, each with its name over it; returns the files.

    Raises:
        UserError: one cannot be written, or matplotlib is not there.
    """
    return rolls.sheet([_drawn(sketch, name) for name, sketch in sketches], path)


def _drawn(sketch: Sketch, name: str, *more: str) -> Roll:
    song, midi = sketch.song, to_midi.to_midi(sketch.song)
    rows = midi.notes
    notes = np.stack([rows["start"], rows["end"] - rows["start"], rows["track"], rows["pitch"], rows["velocity"]], 1)
    names = {track: name for track, name in midi.names.items() if (rows["track"] == track).any()}
    drums = [i for i, channel in enumerate(song.channels, 1) if channel.noise]
    title = [name, f"{song.tempo} BPM", f"{song.beats} beats in {song.rhythm}", f"{song.bars} bars",
             f"{to_midi.notes_of(song)} notes", *more]
    return Roll(notes, names, drums, song.parts * to_midi.PART, song.bars, HIT, " · ".join(title))
