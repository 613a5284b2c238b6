"""Damaged files against every reader: ``python -m benchmarks.mutations --count 500``.

Good files of each kind are damaged as in benchmarks/prep/mutations.py and read in the sandbox. Each is read or refused
with a reason; what ends a process, hangs or raises what nobody foresaw counts against us. So does a silent half: what
is read is compared with another reader (sound with FFmpeg, MIDI with mido) or with the undamaged file (bundles,
checkpoints), and where less was read, or something else, the reader has to have said so. The same seed makes the same
files.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.core.errors import Parser, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.midi import file as midifile
from benchmarks.common.machine import ROOT, describe, finish
from benchmarks.prep import midi_mutations, mutations
from benchmarks.prep.mutations import DAMAGE, outcome, reason_of
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure
from data_prep.shared import labels

SECONDS_EACH, MEMORY_EACH = 60.0, 3 << 30
LESS = 0.9  # of what another reader has is a half


@dataclass(frozen=True)
class Read:
    """What was made of a file: how much of it, whether the reader said that something is wrong, and how much there is
    by another reader (None where that has none)."""

    amount: float
    remarked: bool
    truth: float | None = None

    @property
    def silent_half(self) -> bool:
        return self.truth is not None and not self.remarked and self.amount < LESS * self.truth


# ---- Sound: seconds, beside FFmpeg's


def sound_files(folder: Path, count: int, seed: int) -> list[Path]:
    return mutations.make(folder, count, seed)[1]


def read_sound(path: Path) -> Read:
    from audiocraft_ext.sound.files import open_sound

    with open_sound(path) as sound:
        frames = sum(len(block) for block in sound)
        return Read(frames / sound.rate, bool(getattr(sound, "notes", ())), _by_ffmpeg(path))


def _by_ffmpeg(path: Path) -> float | None:
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            stream, seconds = container.streams.audio[0], 0.0
            try:
                for frame in container.decode(stream):
                    seconds += frame.samples / frame.sample_rate
            except av.FFmpegError:  # what came before counts
                pass
            return seconds
    except (av.FFmpegError, OSError, ValueError, IndexError, ZeroDivisionError):
        return None


# ---- MIDI: notes, beside mido's


def midi_files(folder: Path, count: int, seed: int) -> list[Path]:
    return midi_mutations.make(folder, ROOT / "tests" / "data" / "groove", count, seed)[1]


def read_midi(path: Path) -> Read:
    midi = midifile.read(path)
    return Read(len(midi.notes), bool(midi.remarks), _by_mido(path))


def _by_mido(path: Path) -> float | None:
    import mido

    try:
        tracks = mido.MidiFile(path, clip=True).tracks
    except Exception:  # noqa: BLE001  (it raises whatever comes)
        return None
    return sum(message.type == "note_on" and message.velocity > 0 for track in tracks for message in track)


# ---- Bundles and checkpoints: 1 where they are what they were


def bundle_files(folder: Path, count: int, seed: int) -> list[Path]:
    """Folders of which one file is damaged; the others are links."""
    rng, source = random.Random(seed), ROOT / "audiocraft_ext" / "bundles" / "embedded"
    names, folders = ["lm.onnx", "lm.safetensors"], []
    for n in range(count):
        there = folder / f"{n:04}"
        shutil.copytree(source, there, copy_function=lambda a, b: os.symlink(a, b))
        name = "model.json" if n % 2 else rng.choice(names)
        data = DAMAGE[n % len(DAMAGE)](bytearray((source / name).read_bytes()), rng)
        (there / name).unlink()
        (there / name).write_bytes(data)
        folders.append(there)
    return folders


def read_bundle(path: Path) -> Read:
    from audiocraft_ext.engine.bundle import Bundle
    from audiocraft_ext.engine.engine import Engine

    bundle = Bundle(path)
    bundle.verify()
    codes = next(iter(Engine(bundle, threads=1).stream([0], 8, seed=1)))
    other = (path / "model.json").is_symlink()  # then all is as it was, or else it has to be refused
    return Read(codes.size > 0, False, 2.0 if other else None)


def checkpoint_files(folder: Path, count: int, seed: int) -> list[Path]:
    import torch

    from audiocraft_ext.model import checkpoint

    folder.mkdir(parents=True)
    good = folder / "good"
    torch.manual_seed(0)
    checkpoint.save({"model": {f"layer.{i}": torch.randn(64, 64) for i in range(8)}, "xp.cfg": {"dim": 64},
                     "history": [{"train": {"ce": 4.0}}]}, good)
    return _damaged(good, count, seed)


def read_checkpoint(path: Path) -> Read:
    from audiocraft_ext.model import checkpoint

    there, good = checkpoint.load(path), checkpoint.load(path.with_name("good"))
    same = (there.keys() == good.keys() and there["xp.cfg"] == good["xp.cfg"] and there["history"] == good["history"]
            and there["model"].keys() == good["model"].keys()
            and all(there["model"][name].equal(value) for name, value in good["model"].items()))
    return Read(float(same), False, 1.0)


# ---- Sidecars and tables of labels: text, of which any is somebody's


def sidecar_files(folder: Path, count: int, seed: int) -> list[Path]:
    from audiocraft_ext import Instrument

    folder.mkdir(parents=True)
    clip = Instrument.load("embedded", threads=1).generate(seconds=1.0, seed=1)[0]
    clip.save(folder)
    (folder / "good").write_bytes(next(folder.glob("*.json")).read_bytes())
    return _damaged(folder / "good", count, seed, ".json")


def read_sidecar(path: Path) -> Read:
    from audiocraft_ext.audio.clips import read_sidecar

    labels.sidecar_labels(path.with_suffix(".wav"))
    return Read(read_sidecar(path).codes.size, False)


def table_files(folder: Path, count: int, seed: int) -> list[Path]:
    folder.mkdir(parents=True)
    with (folder / "good").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "title", "bpm", "key", "licence", "keep", "split"])
        rows.writerows([f"a/b {n}.wav", f'say "é{n}"', 100 + n, "Am", "CC0", "yes", "train"] for n in range(30))
    return _damaged(folder / "good", count, seed, ".csv")


def read_table(path: Path) -> Read:
    return Read(len(labels.read_csv(path, lambda line: None)), False)


def _damaged(good: Path, count: int, seed: int, ending: str = "") -> list[Path]:
    rng, paths = random.Random(seed), []
    for n in range(count):
        damage = DAMAGE[n % len(DAMAGE)]
        paths.append(good.with_name(f"{n:04} {damage.__name__}{ending}"))
        paths[-1].write_bytes(damage(bytearray(good.read_bytes()), rng))
    return paths


# What makes the files, what reads one, and how many times ``--count`` there are.
READERS: dict[str, tuple[Callable[[Path, int, int], list[Path]], Callable[[Path], Read], int]] = {
    "audio": (sound_files, read_sound, 4), "midi": (midi_files, read_midi, 4),
    "bundles": (bundle_files, read_bundle, 1), "checkpoints": (checkpoint_files, read_checkpoint, 1),
    "sidecars": (sidecar_files, read_sidecar, 1), "tables": (table_files, read_table, 1)}


def against(kind: str, folder: Path, count: int, seed: int, workers: int) -> dict[str, object]:
    """What became of ``count`` damaged files of a kind."""
    make, read, times = READERS[kind]
    paths, started = make(folder, count * times, seed), time.perf_counter()
    results = dict(sandbox.run(read, paths, workers=workers, seconds=lambda _: SECONDS_EACH, memory=MEMORY_EACH))
    counts = Counter(outcome(result) for result in results.values())
    halves = [path.name for path, result in results.items() if isinstance(result, Read) and result.silent_half]
    bad = {path.name: reason_of(result, path) for path, result in results.items()
           if isinstance(result, Failure) and outcome(result) != "refused"}
    return {"files": len(paths), **counts, "silent halves": len(halves), "which": halves[:10],
            "bad": dict(list(bad.items())[:10]), "seconds": round(time.perf_counter() - started, 1)}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)} (default: all)")
    parser.add_argument("--count", type=int, default=500, help="damaged files of a kind, four times as many of sound "
                        "and MIDI (default: 500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=physical_cores())
    args = parser.parse_args(argv)
    if unknown := set(args.readers) - set(READERS):
        parser.error(f"expected readers of {', '.join(READERS)}, got {', '.join(sorted(unknown))}")
    found: dict[str, object] = {}
    lost = 0
    for kind in args.readers or READERS:
        with tempfile.TemporaryDirectory() as scratch:
            found[kind] = one = against(kind, Path(scratch) / kind, args.count, args.seed, args.workers)
        print(f"{kind}: {one}", flush=True)
        lost += one["silent halves"] + one["files"] - one.get("read", 0) - one.get("refused", 0)
    finish("all_mutations", describe("numpy", "soundfile", "av", "torch", "onnxruntime"), found)
    return 1 if lost else 0


if __name__ == "__main__":
    run_cli(main)
