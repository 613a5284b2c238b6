"""Damaged MIDI files against the whole preparation: ``python -m benchmarks.prep.midi_mutations --count 600``.

Good files are cut short, have bits flipped, bytes taken out and put in, sizes blown up, events written over with odd
ones; and there are those with a name: empty, no notes, a day long, 100,000 notes in one tick, time that goes back. The
same seed makes the same files.

Each is read in the sandbox (data_prep/jobs/sandbox.py) as ``python -m data_prep.midi`` does, and counted: read,
refused and why, crashed, hung. Then the folder goes through the command itself, with either codec, twice: it must end
well, hold each good file, set each refused one aside with its reason, and change nothing the second time.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import ROOT, describe, finish
from benchmarks.prep.mutations import (
    BAD,
    GOOD,
    blow_up,
    cut,
    flip,
    flip_header,
    outcome,
    overwrite_header,
    put_in,
    reason_of,
    take_out,
    zero,
)
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure
from data_prep.midi.read import Task, analyse
from data_prep.midi.settings import MidiSettings

CODECS = {codec.spec.codec: codec for codec in (DrumGrid(), DrumHits())}
SECONDS_EACH, MEMORY_EACH = 30.0, 2**30  # those of the command
ODD = [b"\xff\x51\x03\0\0\0", b"\xff\x58\x04\0\0\x18\x08", b"\xff\x58\x04\xff\x40\x18\x08", b"\xff\x51\x03\xff\xff\xff",
       b"\xff\x2f\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\xf0\xff\xff\xff\x7f", b"\x99\xff\xff", b"\xf7\0",
       b"\xff\x58\x04\x01\x0f\x18\x08", b"\xff\x03\xff\xff\xff\x7f", b"\x80", b"\xfe", b"MTrk\xff\xff\xff\xff"]


def odd_events(data: bytearray, rng: random.Random) -> bytes:
    """Tempos of 0, bars of nothing, endless times and texts, among the events."""
    for _ in range(rng.randrange(1, 6)):
        at, event = rng.randrange(14, len(data)), rng.choice(ODD)
        data[at : at + (len(event) if rng.random() < 0.5 else 0)] = event
    return bytes(data)


DAMAGE = [cut, flip, flip_header, overwrite_header, blow_up, zero, take_out, put_in, odd_events, odd_events]


def track(events: bytes, division: int = 96, end: bytes = b"\0\xff\x2f\0") -> bytes:
    body = events + end
    return (b"MThd\0\0\0\6\0\0\0\1" + division.to_bytes(2, "big") + b"MTrk" + len(body).to_bytes(4, "big") + body)


def odd_files() -> dict[str, bytes]:
    """Those with a name, which begins with "good" where there is something in them to keep."""
    kick, later = b"\0\x99\x24\x64", b"\xf0\x80\x80\0"  # 235 million ticks
    return {"empty": b"", "one byte": b"M", "text": b"this is no beat\n" * 50, "head only": track(b"")[:14],
            "no notes": track(b""), "outside the map": track(b"\0\x99\x14\x64"),
            "negative": track(kick + b"\x8f\xff\xff\xff\x7f\x99\x24\x64"), "no ticks": track(kick, 0),
            "no end": track(kick, end=b""), "no track": track(kick)[:14],
            "good day": track(kick + b"\xa7\xca\xd2\x40\x99\x24\x64", 480),
            "good 100,000 in a tick": track(kick + b"\0\x24\x64" * 99_999),
            "good a century": track(kick + 70 * (later + b"\x99\x24\x64"), 96),
            "good tempo of 0": track(b"\0\xff\x51\x03\0\0\0" + kick),
            "good bars of a 16th": track(b"\0\xff\x58\x04\x01\x04\x18\x08" + kick + later + b"\x99\x26\x64")}


def make(folder: Path, source: Path, count: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Good files, and ``count`` damaged ones of others."""
    rng = random.Random(seed)
    paths = sorted(source.rglob("*.mid"))
    if len(paths) < 4:
        raise UserError(f"{source}: expected four MIDI files (.mid) or more, got {len(paths)}")
    good, others = paths[: len(paths) // 3], paths[len(paths) // 3 :]
    for kind in (GOOD, BAD):
        (folder / kind).mkdir(parents=True)
    for n, path in enumerate(good[:20]):
        (folder / GOOD / f"{n:02} {path.name}").write_bytes(path.read_bytes())
    for name, data in odd_files().items():
        (folder / BAD / f"{name}.mid").write_bytes(data)
    for n in range(count - len(odd_files())):
        path, damage = rng.choice(others), DAMAGE[n % len(DAMAGE)]
        (folder / BAD / f"{n:04} {damage.__name__} {path.name}").write_bytes(damage(bytearray(path.read_bytes()), rng))
    return sorted((folder / GOOD).iterdir()), sorted((folder / BAD).iterdir())


def through_reader(folder: Path, paths: list[Path], workers: int, codec: str) -> dict[Path, str | Failure]:
    settings = MidiSettings(CODECS[codec])
    tasks = [Task(str(path), path.relative_to(folder).as_posix(), str(folder), settings) for path in paths]
    return {Path(task.path): result for task, result in
            sandbox.run(analyse, tasks, workers=workers, seconds=lambda _: SECONDS_EACH, memory=MEMORY_EACH)}


def through_preparation(folder: Path, good: list[Path], refused: set[str], codec: str) -> dict[str, object]:
    """The command on the folder, twice.

    Raises:
        UserError: it failed, or its store is not whole, lacks a good file or says nothing of a bad one.
    """
    store, hashes, started = folder.with_name(f"{folder.name} {codec}"), [], time.perf_counter()
    for _ in range(2):
        done = subprocess.run([sys.executable, "-m", "data_prep.midi", str(folder), str(store), "--codec", codec,
                               "--duplicates", "off"], cwd=ROOT, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise UserError(f"the preparation failed with {done.returncode}: {done.stderr[-2000:]}")
        tokens = TokenStore(store)
        tokens.verify()
        hashes.append(tokens.hash)
    codes = codec_of(tokens.settings["codec"])
    for row in tokens.rows:
        codes.decode(tokens.read(row["start"], row["frames"]),
                     meter=tuple(map(int, row["time_signature"].split("/"))))
    sources = {row["source"] for row in tokens.rows}
    aside = {one["name"] for one in json.loads((store / "report.json").read_text())["refused"] if one["reason"]}
    missing = {f"{GOOD}/{path.name}" for path in good} - sources
    if missing or len(set(hashes)) > 1 or aside != refused:
        raise UserError(f"{codec}: the store lacks {sorted(missing)}, refused otherwise {sorted(aside ^ refused)[:5]}, "
                        f"hashes {hashes}")
    return {"sources": len(sources), "rows": len(tokens.rows), "aside": len(aside),
            "seconds": round(time.perf_counter() - started, 1)}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.prep.midi_mutations", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "tests" / "data" / "groove",
                        help="of good files (default: those of the tests)")
    parser.add_argument("--count", type=int, default=600, help="damaged files (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=physical_cores())
    parser.add_argument("--save", type=Path)
    args = parser.parse_args(argv)
    if args.count < 20:
        raise UserError(f"--count: expected 20 or more, got {args.count}")
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, lost = Path(scratch) / "beats", 0
        good, bad = make(folder, args.folder, args.count, args.seed)
        for codec in CODECS:
            results = through_reader(folder, good + bad, args.workers, codec)
            counts = Counter(outcome(results[path]) for path in bad)
            unread = [path.name for path in [*good, *(p for p in bad if p.name.startswith("good"))]
                      if outcome(results[path]) != "read"]
            print(f"{codec}: {len(bad)} damaged files: " + ", ".join(f"{n} {word}" for word, n in counts.most_common()))
            reasons = Counter(f"{outcome(result)}: {reason_of(result, path)}" for path in bad
                              if isinstance(result := results[path], Failure))
            for text, n in reasons.most_common():
                print(f"{n:6}  {text}")
            refused = {path.relative_to(folder).as_posix() for path in bad if isinstance(results[path], Failure)}
            whole = through_preparation(folder, good, refused, codec)
            print(f"{codec}, the whole preparation twice: {whole}" + (f"; not read: {unread}" if unread else ""))
            found[codec] = {"damaged": len(bad), "unread": unread, **counts, "whole": whole}
            lost += len(unread) + sum(n for word, n in counts.items() if word not in ("read", "refused"))
    finish("midi_mutations", describe("numpy"), found, args.save)
    return 1 if lost else 0


if __name__ == "__main__":
    run_cli(main)
