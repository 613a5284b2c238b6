"""MIDI files that the page reads are those that Python reads: notes, what is remarked, and the codes of a piece."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.midi.file import BEND, CONTROL, NOTE, PROGRAM, BrokenMidi, Midi, parse, table
from audiocraft_ext.midi.write import to_bytes
from audiocraft_ext.notes.play.composer import Composer
from audiocraft_ext.page import build
from tests.helpers.odd_midi import FAULTS, HEAD, track, whole

ROOT = Path(__file__).parents[2]
READ = Path(__file__).with_name("read.mjs")
SHIPPED = [path for folder in ("data_prep/songs", "data_prep/grooves", "tests/data/groove")
           for path in sorted((ROOT / folder).rglob("*.mid"))]
METERS = [(4, 4), (3, 4), (6, 8), (7, 8), (2, 4), (1, 4), (5, 4), (9, 16), (4, 2)]
GENERATED, MUTATED = 60, 400
ODD = [b"\xff\x51\x03\0\0\0", b"\xff\x58\x04\0\0\x18\x08", b"\xff\x51\x03\xff\xff\xff", b"\xff\x2f\0", b"\x80", b"\xfe",
       b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\xf0\xff\xff\xff\x7f", b"\x99\xff\xff", b"\xf7\0", b"MThd",
       b"\xff\x58\x04\x01\x0f\x18\x08", b"MTrk\0\0\0\x04\0\xff\x2f\0", b"\xff\x03\x04\xc3\xa9\xff.", b"\xf4"]


def generated(seed: int) -> bytes:
    """Any music: several parts of a program, pedals, tempos and time signatures anywhere, notes of no length."""
    rng = np.random.default_rng(seed)
    beat, n = int(rng.choice([24, 96, 120, 192, 480, 960, 977])), int(rng.integers(1, 300))
    last = beat * int(rng.choice([8, 64, 64, 2000]))
    start, long = rng.integers(0, last, n), rng.integers(0, beat * int(rng.choice([1, 8, 60])), n)
    tracks = int(rng.integers(1, 7))
    notes = np.sort(table(NOTE, start, start + long, rng.integers(0, tracks, n), rng.integers(1, 17, n) % 5 * 3 + 1,
                          rng.integers(30, 42, n), rng.integers(1, 128, n)), order=["start", "pitch"])

    def some(most: int, *columns) -> list[np.ndarray]:
        count = int(rng.integers(0, most))
        return [np.sort(rng.integers(0, last, count)), *(rng.integers(low, high, count) for low, high in columns)]

    programs = table(PROGRAM, *some(12, (0, tracks), (1, 17), (0, 4)))
    controls = table(CONTROL, *some(40, (0, tracks), (1, 17), (64, 65 + seed % 2), (0, 128)))
    bends = table(BEND, *some(3, (0, tracks), (1, 17), (-8192, 8192)))
    ticks, which = some(6, (0, len(METERS)))
    meters = [(int(tick), *METERS[i]) for tick, i in zip(ticks, which)] if seed % 3 else [(0, *METERS[seed % 9])]
    tempos = [(int(tick), 60e6 / us) for tick, us in zip(*some(5, (100_000, 3_000_000)))]
    return to_bytes(Midi(notes, beat, tempos, meters, {0: "é\n x"}, programs=programs, controls=controls, bends=bends,
                         tracks=tracks))


def of_film(frames: int, parts: int) -> bytes:
    data = bytearray(generated(7))
    data[12:14] = (256 - frames, parts)
    return bytes(data)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Cut, bits flipped, bytes taken out and put in, events written over with odd ones."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(rng.choice([0, min(14, len(data) - 1)]), len(data))
        how = rng.randrange(5)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif how == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 5))
        elif how == 3:
            event = rng.choice(ODD)
            data[at : at + (len(event) if rng.random() < 0.5 else 0)] = event
        elif rng.random() < 0.3:
            del data[at:]
        if not data:
            break
    return bytes(data)


def cases() -> list[tuple[str, bytes]]:
    found = [(path.name, path.read_bytes()) for path in SHIPPED] + list(FAULTS.items())
    found += [(f"generated {seed}", generated(seed)) for seed in range(GENERATED)]
    found += [(f"film {frames}", of_film(frames, parts)) for frames, parts in ((25, 40), (24, 4), (29, 100), (30, 80),
                                                                              (26, 4), (25, 0))]
    found += [("empty", b""), ("no MIDI", b"RIFF\0\0\0\0WAVEfmt "), ("head", b"MThd\0\0\0\6"),
              ("type 2", b"MThd\0\0\0\6\0\2\0\1\0\x60"), ("no notes", whole(track(HEAD + b"\0\xff\x2f\0")))]
    rng = random.Random(11)
    small = [data for _, data in found if 30 < len(data) < 20_000]
    return found + [(f"mutated {i}", mutated(rng.choice(small), rng)) for i in range(MUTATED)]


def by_node(node: str, folder: Path, jobs: list[dict]) -> list[dict]:
    (folder / "cases").write_text(json.dumps(jobs))
    done = subprocess.run([node, str(READ), str(build.WEB / "engine"), str(folder / "cases")], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def python_midi(data: bytes) -> dict:
    try:
        midi = parse(data)
    except BrokenMidi as error:
        return {"error": plain(str(error))}
    rows = {name: getattr(midi, name).tolist() for name in ("notes", "programs", "controls", "bends")}
    rows |= {"tempos": midi.tempos, "meters": midi.meters, "names": midi.names.items()}
    return {name: [list(row) for row in some] for name, some in rows.items()} | {
        "ticksPerBeat": midi.ticks_per_beat, "end": midi.end, "remarks": midi.remarks, "tracks": midi.tracks}


def python_clip(player, path: Path, said: list[str]) -> dict:
    said.clear()
    try:
        recipe = player.recipe(file=path, change="as it is", seed=0)
    except UserError as error:
        return {"error": plain(str(error).removeprefix(f"{path}: "))}
    remarks = said[0].removeprefix(f"note: {path}: ") if said else ""
    return {"recipe": recipe.to_dict(), "index": 0, "codes": recipe.source, "remarks": remarks}


def plain(error: str) -> str:
    """Without the bytes of what is no MIDI file, and what else each says in its own words."""
    if "a tempo is" in error:
        return "tempo"
    return re.split(", it begins with|; say --channel|; put them on|; another model", error)[0]


@pytest.mark.parametrize("kind", ["notes", "drums"])
def test_a_file_is_read_as_python_reads_it(node, kind, tmp_path):
    said: list[str] = []
    player = {"notes": Composer, "drums": Drummer}[kind].load(kind, threads=1, say=said.append)
    info, files, refused = build.instrument(player.bundle), cases(), 0
    read = by_node(node, tmp_path, [{"kind": kind, "info": info, "file": base64.b64encode(data).decode()}
                                    for _, data in files])
    for i, ((name, data), mine) in enumerate(zip(files, read)):
        for one in mine.values():
            if "error" in one:
                one["error"] = plain(one["error"])
        assert kind == "drums" or mine["midi"] == python_midi(data), name
        (path := tmp_path / f"{i}.mid").write_bytes(data)
        theirs = python_clip(player, path, said)
        assert mine["clip"] == theirs, name
        refused += "error" in theirs
    assert 90 < refused < len(files) / 2 and len(SHIPPED) > 200
