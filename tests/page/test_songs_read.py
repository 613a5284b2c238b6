"""Songs that the page reads from MIDI files and BeepBox's JSON are those that Python reads, and it plays them again."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.page import build
from audiocraft_ext.songs.beepbox import as_json
from audiocraft_ext.songs.play.sketcher import Sketcher
from audiocraft_ext.songs.play.source import read_source
from tests.helpers.songs import random_song
from tests.page.test_midi_read import by_node, cases, plain

SONGS, MUTATED = 80, 240
ODD = [None, "x", True, [], {}, "pitch", "mod", "drum", "JummBox", "F#", "Bb", 5, 12, -3, 3.7, 1000]


def places(found) -> Iterator[tuple]:
    """Each object or list with each of its keys."""
    for key in found if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ():
        yield found, key
        yield from places(found[key])


def mutated(text: str, rng: random.Random) -> str:
    """Values changed, missing, twice, of another kind."""
    found = json.loads(text)
    for _ in range(rng.randrange(1, 8)):
        of, key = rng.choice(list(places(found)))
        how = rng.random()
        if how < 0.15 and isinstance(of, dict):
            del of[key]
        elif how < 0.3 and isinstance(of, list):
            of.insert(key, json.loads(json.dumps(of[key])))
        elif how < 0.9 and type(of[key]) in (int, float):
            of[key] += rng.choice([-1, 1, 0.5, 13, 100, -50])
        elif how > 0.95:
            of[key] = rng.choice(ODD)
        if not found:
            break
    return json.dumps(found)


def files() -> list[tuple[str, bytes]]:
    midi = [(f"{i}.mid", data) for i, (_, data) in enumerate(cases()[::3]) if data[:4] in (b"MThd", b"RIFF")]
    texts = [json.dumps(as_json.to_json(random_song(seed))) for seed in range(SONGS)]
    rng = random.Random(2)
    texts += [mutated(rng.choice(texts), rng) for _ in range(MUTATED)]
    return midi + [(f"{i}.json", text.encode()) for i, text in enumerate(["", "{", "[]", "{}", *texts])]


def python_song(sketcher: Sketcher, path: Path) -> dict:
    said: list[str] = []
    try:
        found = read_source(path, sketcher.codec, said.append, {})
    except UserError as error:
        return {"error": words(str(error).removeprefix(f"{path}: "))}
    facts = found.facts
    return {"codes": pack(found.codes), "bars": found.bars, "bpm": facts.tempo, "beats": facts.beats,
            "rhythm": facts.rhythm, "channels": facts.pitched, "drums": facts.noise, "key": facts.key,
            "remarks": "".join(said).removeprefix(f"note: {path}: ")}


def words(error: str) -> str:
    """Without the values, which each writes in its own way."""
    known = ("is no JSON", "is not a MIDI file", "has a note at a tick")
    return next((one for one in known if error.startswith(one)), plain(error).split(", got")[0])


def test_a_song_is_read_as_python_reads_it(node, tmp_path):
    sketcher, given, refused = Sketcher.load("songs", threads=1), files(), 0
    info = build.instrument(sketcher.bundle)
    read = by_node(node, tmp_path, [{"kind": "song", "info": info, "file": base64.b64encode(data).decode()}
                                    for _, data in given])
    for (name, data), mine in zip(given, (one["clip"] for one in read)):
        (path := tmp_path / name).write_bytes(data)
        theirs = python_song(sketcher, path)
        refused += "error" in theirs
        if "error" in mine and "error" in theirs and not data.strip(b"{}[]"):
            continue  # both say that it is nothing
        got = {"error": words(mine["error"])} if "error" in mine else {"key": 0} | mine["recipe"] | mine
        assert {one: got.get(one) for one in theirs} == theirs, name
    assert 80 < refused < len(given) / 2


def test_python_plays_it_again_as_it_is(node, tmp_path):
    sketcher = Sketcher.load("songs", threads=1)
    text = json.dumps(as_json.to_json(random_song(4)))
    clip = by_node(node, tmp_path, [{"kind": "song", "info": build.instrument(sketcher.bundle),
                                     "file": base64.b64encode(text.encode()).decode()}])[0]["clip"]
    recipe = sketcher.RECIPE.from_dict(clip["recipe"])
    np.testing.assert_array_equal(next(sketcher.play(recipe, [0])).codes, unpack(clip["codes"]))
