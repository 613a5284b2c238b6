"""MIDI readers side by side: ``python -m benchmarks.prep.midi_readers ../shared/data/groove
../shared/data/freedoom_midi``.

Ours, mido and symusic (where they are installed) read the files of each folder, then ``--count`` damaged ones made of
them (benchmarks/prep/midi_mutations.py), each reader in a process of its own: a file that ends or hangs it costs that
file. Counted: files read, refused, crashes, hangs; CPU seconds; and whether the notes are the same as ours where both
read.
"""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from benchmarks.common.machine import ROOT, describe, finish, row

HANG = 10.0  # seconds
Notes = list[tuple[int, int, int, int]]  # start, end, pitch, velocity; sorted


def by_ours(path: str) -> Notes:
    from audiocraft_ext.midi import file as midifile

    notes = midifile.read(path).notes
    return sorted(zip(*(notes[name].tolist() for name in ("start", "end", "pitch", "velocity"))))


def by_mido(path: str) -> Notes:
    """First in, first out, as mido itself pairs nothing."""
    import mido

    notes, midi = [], mido.MidiFile(path)
    if midi.type == 2:
        raise ValueError("type 2")
    for track in midi.tracks:
        tick, sounding = 0, {}
        for message in track:
            tick += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            key = message.channel, message.note
            if message.type == "note_on" and message.velocity:
                sounding.setdefault(key, []).append((tick, message.velocity))
            elif sounding.get(key):
                start, velocity = sounding[key].pop(0)
                notes.append((start, tick, message.note, velocity))
        notes += [(start, tick, pitch, velocity) for (_, pitch), open_ in sounding.items() for start, velocity in open_]
    return sorted(notes)


def by_symusic(path: str) -> Notes:
    import symusic

    notes = []
    for track in symusic.Score(path).tracks:
        table = track.notes.numpy()
        start = table["time"].astype(int)
        columns = start, start + table["duration"], table["pitch"], table["velocity"]
        notes += zip(*(column.tolist() for column in columns))
    return sorted(notes)


READERS: dict[str, Callable[[str], Notes]] = {"ours": by_ours, "mido": by_mido, "symusic": by_symusic}


def serve(name: str) -> None:
    """Read the paths that come in, one a line, and answer each with a line."""
    for line in sys.stdin:
        start = time.process_time()
        try:
            answer: dict = {"notes": READERS[name](line.rstrip("\n"))}
        except (Exception, MemoryError) as error:
            answer = {"refused": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer | {"cpu": time.process_time() - start}), flush=True)


def answers(name: str, paths: list[Path]) -> Iterator[dict]:
    """Of each file: its ``notes``, or why it was ``refused``, or how it ``died``."""
    process = None
    for path in paths:
        if process is None:
            process = subprocess.Popen([sys.executable, "-m", "benchmarks.prep.midi_readers", "--serve", name],
                                       cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
            _ask(process, paths[0])  # imports
        answer = _ask(process, path)
        if "died" in answer:
            process.kill()
            process.wait()
            process = None
        yield answer
    if process is not None:
        process.communicate()


def _ask(process: subprocess.Popen, path: Path) -> dict:
    process.stdin.write(f"{path}\n".encode())
    process.stdin.flush()
    if not select.select([process.stdout], [], [], HANG)[0]:
        return {"died": "hung", "cpu": HANG}
    if line := process.stdout.readline():
        return json.loads(line)
    return {"died": f"ended with {process.wait()}", "cpu": 0.0}


def damaged(folder: Path, sources: list[Path], count: int, seed: int) -> list[Path]:
    from benchmarks.prep.midi_mutations import DAMAGE, odd_files

    rng, made = random.Random(seed), []
    for name, data in odd_files().items():
        made.append(folder / f"{name}.mid")
        made[-1].write_bytes(data)
    for n in range(count):
        damage, path = DAMAGE[n % len(DAMAGE)], rng.choice(sources)
        made.append(folder / f"{n:04} {damage.__name__} {path.name}")
        made[-1].write_bytes(damage(bytearray(path.read_bytes()), rng))
    return made


def compare(paths: list[Path], names: list[str]) -> dict[str, dict]:
    """Of each reader what became of the files, and how its notes compare with ours, the first."""
    ours: list[dict] = []
    results = {}
    for name in names:
        found = list(answers(name, paths))
        ours = ours or found
        counts = Counter("read" if "notes" in one else "refused" if "refused" in one else one["died"] for one in found)
        pairs = list(zip(ours, found))
        both = [(one["notes"], other["notes"]) for one, other in pairs if "notes" in one and "notes" in other]
        results[name] = {
            **counts, "cpu_s": sum(one["cpu"] for one in found), "both": len(both),
            "same": sum(one == other for one, other in both),
            "same_starts": sum(_starts(one) == _starts(other) for one, other in both),
            "only_ours": sum("notes" in one and "notes" not in other for one, other in pairs),
            "only_theirs": sum("notes" not in one and "notes" in other for one, other in pairs),
            "reasons": Counter(one["refused"].split(":")[0] for one in found if "refused" in one)}
    return results


def _starts(notes: Notes) -> list[list[int]]:
    return sorted([start, pitch, velocity] for start, _, pitch, velocity in notes)


def main() -> None:
    parser = Parser(prog="python -m benchmarks.prep.midi_readers", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=1000, help="damaged files (default: 1000)")
    parser.add_argument("--limit", type=int, default=0, help="files of a folder, evenly spread; 0 is all (default)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="ours,mido,symusic")
    parser.add_argument("--serve", choices=READERS)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    sets = {}
    for folder in args.folders:
        sets[folder.name] = sorted(path for path in folder.resolve().rglob("*") if path.suffix in (".mid", ".rmi"))
        if not sets[folder.name]:
            raise UserError(f"{folder}: no MIDI files (.mid) in it")
        if args.limit:
            sets[folder.name] = sets[folder.name][:: -(-len(sets[folder.name]) // args.limit)]
    with tempfile.TemporaryDirectory() as scratch:
        if args.count:
            sets["damaged"] = damaged(Path(scratch), sum(sets.values(), []), args.count, args.seed)
        results = {name: compare(paths, args.readers.split(",")) for name, paths in sets.items()}
    for name, found in results.items():
        print(row(f"{name}, {len(sets[name])} files", ("read", "refused", "died", "CPU s", "+ours", "+it", "starts =",
                                                       "notes ="), 24))
        for reader, one in found.items():
            died = len(sets[name]) - one.get("read", 0) - one.get("refused", 0)
            print(row(reader, (one.get("read", 0), one.get("refused", 0), died, f"{one['cpu_s']:.2f}",
                               one["only_ours"], one["only_theirs"], f"{one['same_starts']}/{one['both']}",
                               f"{one['same']}/{one['both']}"), 24))
    finish("midi_readers", describe("numpy", "mido", "symusic"), results, args.save)


if __name__ == "__main__":
    run_cli(main)
