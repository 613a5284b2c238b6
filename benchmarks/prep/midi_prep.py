"""Preparing MIDI drums: ``python -m benchmarks.prep.midi_prep ../shared/data/groove``.

The command from a cold start to the finished store with either codec, reading the files alone beside mido, and what of
the hits each grid keeps, and ``drum_hits``. All on the same files, in one run; CPU seconds are those of one core.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.drums.codec import NAMES, drum_map
from audiocraft_ext.drums.codec.base import STEPS, DrumCodec
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.midi import drums_of, stretches
from audiocraft_ext.midi.file import read
from benchmarks.common.machine import describe, finish, row

OFFSETS = (25, 39)  # bins; a step of 48 to the bar has no more


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def prepare(folder: Path, workers: int, codec: str) -> float:
    """Wall seconds of the command, from nothing to the finished store."""
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "data_prep.midi", folder, Path(store) / "s", "--workers", str(workers),
                        "--codec", codec], check=True, capture_output=True)
        return time.perf_counter() - start


def kept(clips: list[DrumClip], codec: DrumCodec) -> dict[str, float]:
    """What a codec keeps: share of the hits, mean error of their velocities, mean and 95th percentile in time."""
    hits, total, velocities, times = 0, 0, [], []
    for clip in clips:
        try:
            codec.steps_per_bar(clip.meter)
        except UserError:  # a time signature that it has not
            continue
        canonical = codec.quantise(clip)
        velocity, timing = codec.errors(clip, canonical)
        hits, total = hits + len(canonical), total + len(clip.notes)
        velocities.append(velocity)
        times.append(timing)
    times = np.concatenate(times)
    return {"kept": hits / total, "velocity": float(np.concatenate(velocities).mean()), "ms": float(times.mean()),
            "p95_ms": float(np.percentile(times, 95))}


def main() -> None:
    parser = Parser(prog="python -m benchmarks.prep.midi_prep", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    paths = sorted(args.folder.rglob("*.mid"))
    if not paths:
        raise UserError(f"{args.folder}: no .mid in it")
    results: dict = {"files": len(paths), "read_cpu_s": cpu_seconds(lambda: [read(path) for path in paths]),
                     "mido_cpu_s": cpu_seconds(lambda: [mido.MidiFile(path) for path in paths]),
                     "prepare_s": {f"{codec}, {workers} workers": prepare(args.folder, workers, codec)
                                   for codec in NAMES for workers in (0, 2)}}
    print(f"{len(paths)} files; read in {results['read_cpu_s']:.2f} s of CPU, by mido in {results['mido_cpu_s']:.2f}")
    print("prepared in " + ", ".join(f"{s:.1f} s ({how})" for how, s in results["prepare_s"].items()))
    clips = []
    for path in paths:
        midi = read(path)
        clips += [part.clip for part in stretches(midi, drums_of(midi)[0], DrumGrid())[0]]
    print(row("map, steps, offsets", ("hits", "velocity", "ms", "95% ms"), 24))
    results["grids"] = {}
    for name in drum_map.shipped():
        drums = drum_map.load(name)
        codecs = {f"{name}, {steps}, {offsets}": DrumGrid(drums, steps, offsets=offsets)
                  for steps in STEPS for offsets in OFFSETS}
        for what, codec in (codecs | {f"{name}, {steps}, hits": DrumHits(drums, steps) for steps in STEPS}).items():
            costs = kept(clips, codec)
            results["grids"][what.replace(",", "")] = costs
            print(row(what, (f"{costs['kept']:.2%}", f"{costs['velocity']:.2f}", f"{costs['ms']:.2f}",
                             f"{costs['p95_ms']:.2f}"), 24))
    finish("midi_prep", describe("mido", "numpy"), results, args.save)


if __name__ == "__main__":
    run_cli(main)
