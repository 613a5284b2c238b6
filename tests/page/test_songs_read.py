"""Songs that the page reads from MIDI files and from BeepBox's JSON and URLs are Python's, which plays them again."""

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
from audiocraft_ext.songs.beepbox import as_json, url_write
from audiocraft_ext.songs.beepbox.bits import DIGITS, Writer, number
from audiocraft_ext.songs.play.sketcher import Sketcher
from audiocraft_ext.songs.play.source import read_source
from tests.helpers.songs import random_song
from tests.page.test_midi_read import by_node, cases, plain

SONGS, MUTATED = 80, 240
SITE = "https://www.beepbox.co/#"
OLDEST = "2s0k0l0e4t1a2g0fj0i0r1o03o12o21o30b0100b1100b2100b3100"
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


def old_url(version: int, rng: random.Random) -> str:
    """A URL of version 3 to 6: in steps, chords of one to four of the last pitches, on three channels and one of
    noise."""
    out, steps = Writer(), 8 * 4
    for _ in range(4 * 8):
        left = steps * rng.randrange(2)
        out.write(1, left > 0)
        while left:
            length, pitches, rests = rng.randint(1, min(left, 9)), rng.randint(1, 4), rng.random() < 0.3
            left -= length
            out.write(2, 0 if rests else 1)
            if not rests:
                for bit in [1] * (pitches - 1) + [0] * (pitches < 4):
                    out.write(1, bit)
                out.tail(1, 0, 1)
                out.write(3, 6)  # as loud as can be, unbent
            out.tail(1, 2, length)
            if not rests:
                out.write(2, 3)
                for _ in range(pitches):
                    out.write(4, 8 + rng.randrange(7))
    notes = out.digits()
    bars = "4h" * 21 + "4" if version > 4 else "".join(rng.choice(DIGITS) for _ in range(32))
    loop = "l00e03" if version > 4 else "l0e4"
    head = f"{version}{'n31' if version > 5 else ''}s0k{rng.randrange(10)}{loop}t{rng.randrange(4)}a7g0fj7i0r1"
    sounds = "T0w1f1d1c0h0v0" * 3 + "T2w1d1v0" if version > 5 else "w1111f0000" if version == 5 else ""
    return f"{SITE}{head}o3{rng.randrange(5)}10{sounds}b{bars}p2{number(len(notes))}{notes}"


def urls(rng: random.Random) -> list[str]:
    songs = [random_song(seed) for seed in range(SONGS)]
    good = [SITE + url_write.to_digits(song) for song in songs]
    good += [old_url(version, rng) for version in (3, 4, 5, 6) for _ in range(8)]
    good += [SITE + OLDEST, SITE, "https://www.beepbox.co/", f"[InternetShortcut]\nURL={good[0]}",
             good[1].replace("#", "player/#song=")]
    found = list(good)
    for _ in range(MUTATED):
        text = list(rng.choice(good[: SONGS + 32]))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(SITE), len(text))
            text[at : at + rng.randrange(2)] = rng.choice([[], [rng.choice(DIGITS + "!")]])
        found.append("".join(text))
    return found


def files() -> list[tuple[str, bytes]]:
    midi = [(f"{i}.mid", data) for i, (_, data) in enumerate(cases()[::3]) if data[:4] in (b"MThd", b"RIFF")]
    texts = [json.dumps(as_json.to_json(random_song(seed))) for seed in range(SONGS)]
    rng = random.Random(2)
    texts += [mutated(rng.choice(texts), rng) for _ in range(MUTATED)] + urls(rng)
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
    error = error.replace('"', "'")
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
