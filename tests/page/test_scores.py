"""Pieces and songs on the page are Python's: what their codes say, and what the model that ships (of songs, a random
one) draws with the same seed."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.packing import pack
from audiocraft_ext.kinds import player
from audiocraft_ext.midi.file import parse
from audiocraft_ext.notes.play.piece import Piece
from audiocraft_ext.page import build
from audiocraft_ext.songs.play.sketch import Sketch
from tests.helpers.songs import tiny_sketcher
from tests.page.conftest import CACHE
from tests.page.person import infer
from tests.page.test_play import played

DECODE = Path(__file__).with_name("decode.mjs")
METERS = [(4, 4), (3, 4), (6, 8), (7, 8), (2, 4)]
SONGS = [{}, {"channels": 10, "drums": 5, "rhythm": 24, "beats": 3}, {"channels": 1, "drums": 0, "rhythm": 3, "key": 3},
         {"beats": 16, "rhythm": 8, "bpm": 300, "key": "F#"}, {"channels": 2, "drums": 2, "rhythm": 6, "bars": 40}]

PIECES = [{"seed": "1", "bars": 4}, {"seed": str(2**64 - 1), "bars": 3, "bpm": 97.5, "meter": [3, 4],
                                     "words": {"drums": "no", "piano": "yes", "density": "high"},
                                     "sampling": {"temperature": [0.9, 1, 1, 1, 1], "min_p": 0.02}},
          {"seed": "3", "bars": 2, "parts": [0, 34, 1]}]  # drums, finger bass, piano, one after the other
CHANGES = [("continue", {"bars": 6}), ("add", {"part": "strings", "parts": [41]}), ("reroll", {"part": "bass",
           "parts": [34]}), ("infill", {"span": (1, 1)}), ("infill", {"span": (2, 2)})]
FILES = Path(__file__).parents[2] / "data_prep"
BREAK, INTRO, VICTOR = (FILES / path for path in ("grooves/drummer7/session3/50_funk_112_fill_4-4.mid",
                        "songs/freedoom/freedoom1_D_INTROA.mid", "songs/freedoom/freedoom1_D_VICTOR.mid"))
OF_FILES = [(BREAK, "as it is", {}), (BREAK, "add", {"part": "bass", "parts": [34]}), (BREAK, "continue", {}),
            (INTRO, "infill", {"span": (2, 3)}), (INTRO, "reroll", {"part": "guitar", "parts": [31]}),
            (VICTOR, "continue", {}), (VICTOR, "as it is", {})]  # the last is longer than the model's window
SKETCHES = [{"seed": "2"}, {"seed": "5", "bars": 3, "channels": 2, "drums": 2, "rhythm": 3, "beats": 5, "bpm": 150,
                            "key": 6, "sampling": {"temperature": 0.9}}]


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    return tiny_sketcher(tmp_path_factory.mktemp("songs") / "tiny")


@pytest.fixture(scope="module")
def players(songs) -> dict:
    return {"notes": player("notes", threads=1), "song": player(songs, threads=1)}


def random_clips(players: dict) -> list[tuple]:
    """Clips of any codes in range, most of which no model would make."""
    rng, clips = np.random.default_rng(5), []
    for i, meter in enumerate(METERS * 3):
        composer, T = players["notes"], int(rng.integers(1, 400))
        codes = np.stack([rng.integers(0, size, T) for size in composer.codec.sizes])
        codes[1] = rng.choice(rng.integers(0, 385, 30), T) if i % 3 else rng.choice([0, 1, 129, 34], T)
        codes[2] = rng.integers(50, 58, T) if i % 2 else codes[2]
        codes[0] = np.where(rng.random(T) < 0.1, 0, codes[0])
        recipe = composer.recipe(bars=4, bpm=float(rng.integers(60, 200)) + 0.3 * (i % 3), meter=meter, seed=i)
        clips.append((composer, composer._piece(recipe, recipe.to_dict(), 0, codes.astype(np.int64))))
    for i, asked in enumerate(SONGS * 2):
        sketcher = players["song"]
        recipe = sketcher.recipe(**{"bars": 5} | asked, seed=2**64 - 1 - i)
        T = recipe.bars * recipe.facts.bar - int(rng.integers(0, 5))
        codes = np.stack([rng.integers(0, size, T) for size in sketcher.codec.sizes])
        codes[0] = np.where(rng.random(T) < 0.7, rng.integers(0, 2, T), codes[0])
        codes[0, : T // 2] = codes[0, T // 2 : 2 * (T // 2)]
        codes[1:] = np.where(rng.random((3, T)) < 0.5, 0, codes[1:])
        clips.append((sketcher, Sketch(codes, sketcher.codec.decode(codes, recipe.facts), 0, recipe.to_dict())))
    return clips


def test_files_of_any_codes_are_those_of_python(players, node, tmp_path):
    clips = random_clips(players)
    cases = [{"kind": of.KIND, "info": build.instrument(of.bundle), "recipe": clip.recipe | {
        "seed": str(clip.recipe["seed"])}, "codes": pack(clip.codes)} for of, clip in clips]
    (tmp_path / "cases").write_text(json.dumps(cases))
    done = subprocess.run([node, str(DECODE), str(build.WEB / "engine"), str(tmp_path / "cases")], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for number, ((of, clip), made) in enumerate(zip(clips, json.loads(done.stdout))):
        same_files(of, clip, made, tmp_path / str(number))


def same_files(of, clip: Piece | Sketch, made: dict, folder: Path) -> None:
    """Whether the page's files are those that Python writes of a clip, to the byte."""
    paths = {"".join(path.suffixes[-2:]): path for path in of.save(clip, folder)}
    midi = next(path for path in paths.values() if path.suffix == ".mid")
    mine = base64.b64decode(made["midi"])
    assert parse(mine).notes.tolist() == parse(midi.read_bytes()).notes.tolist() and mine == midi.read_bytes()
    if of.KIND == "song":
        assert made["song"] == paths[".beepbox.json"].read_text()
        assert f"{made['url']}\n" == paths[".url.txt"].read_text()
    beside = json.loads(midi.with_suffix(".json").read_text())
    beside["about"].pop("bundle", None)
    assert list(json.loads(made["json"])) == list(beside) and json.loads(made["json"]) == beside
    assert midi.stem == made["stem"]


@pytest.fixture(scope="module")
def scores_page(songs, tmp_path_factory) -> Path:
    return build.build(tmp_path_factory.mktemp("page") / "page", ["notes", str(songs)], CACHE)


def asked_of(of, asked: dict, **more):
    """The recipe of what the page was asked."""
    words = dict(asked.get("words", {}))
    if words:
        more |= {"having": [name for name, word in words.items() if word == "yes"], "without": [
            name for name, word in words.items() if word == "no"], "density": words.get("density")}
    own = ("words", "sampling", "seed", "parts", "meter")
    plain = {name: value for name, value in asked.items() if name not in own}
    if "parts" in asked:
        more["parts"] = "drums,bass,piano"
    if "meter" in asked:
        more["meter"] = tuple(asked["meter"])
    return of.recipe(seed=int(asked["seed"]), **plain, **asked.get("sampling", {}), **more)


@pytest.mark.browser
def test_the_same_seed_gives_the_same_piece_and_song(players, scores_page, node, tmp_path):
    composer, sketcher = players["notes"], players["song"]
    jobs = [{"name": "notes", "index": i, "asked": asked} for i, asked in enumerate(PIECES)]
    jobs += [{"name": sketcher.bundle.name, "index": i, "asked": asked} for i, asked in enumerate(SKETCHES)]
    played(scores_page, node, jobs, tmp_path)
    for number, job in enumerate(jobs):
        of = composer if job["name"] == "notes" else sketcher
        clip = next(of.play(asked_of(of, job["asked"]), [job["index"]]))
        beside = json.loads((tmp_path / f"{number}.json").read_text())
        assert beside["recipe"] == clip.recipe and beside["codes"] == pack(clip.codes), job
        midi, = {path for path in of.save(clip, tmp_path / "python") if path.suffix == ".mid"}
        assert (tmp_path / f"{number}.mid").read_bytes() == midi.read_bytes()


@pytest.mark.browser
def test_a_changed_piece_is_that_of_python(players, scores_page, node, tmp_path):
    """Also a song that goes on, and one of a file."""
    composer, sketcher = players["notes"], players["song"]
    piece = next(composer.play(composer.recipe(bars=2, seed=3, parts="drums,bass,piano"), [0]))
    file = composer.save(piece, tmp_path)[0]
    recipes = [composer.recipe(file=file, change=change, seed=7, **{
        name: value for name, value in asked.items() if name != "parts"}) for change, asked in CHANGES]
    jobs = [{"name": "notes", "source": one.source, "asked": {"seed": "7", "edit": one.edit, "bars": 2} | {
        name: value for name, value in asked.items() if name != "part"}} for one, (_, asked) in zip(recipes, CHANGES)]
    song = sketcher.save(next(sketcher.play(sketcher.recipe(bars=2, seed=1), [0])), tmp_path)[0]
    recipes.append(sketcher.recipe(file=song, bars=5, seed=7))
    jobs.append({"name": sketcher.bundle.name, "source": recipes[-1].source, "asked": {"seed": "7", "bars": 5}})
    for path in (song, INTRO):
        recipes.append(sketcher.recipe(file=path, seed=7))
        jobs.append({"name": sketcher.bundle.name, "file": base64.b64encode(path.read_bytes()).decode(),
                     "asked": {"seed": "7"}})
    played(scores_page, node, jobs, tmp_path)
    for number, recipe in enumerate(recipes):
        of = composer if number < len(CHANGES) else sketcher
        beside = json.loads((tmp_path / f"{number}.json").read_text())
        assert beside["recipe"] == recipe.to_dict(), number
        assert beside["codes"] == pack(next(of.play(recipe, [0])).codes), recipe


@pytest.mark.browser
def test_a_piece_that_began_with_a_file_is_that_of_python(players, scores_page, node, tmp_path):
    """Its recipe, codes and MIDI; and infer.py makes it again without the file."""
    composer, jobs = players["notes"], []
    for path, change, asked in OF_FILES:
        own = {name: value for name, value in asked.items() if name != "part"}
        jobs.append({"name": "notes", "file": base64.b64encode(path.read_bytes()).decode(),
                     "asked": {"seed": "7", "edit": change} | own})
    played(scores_page, node, jobs, tmp_path)
    for number, (path, change, asked) in enumerate(OF_FILES):
        recipe = composer.recipe(file=path, change=change, seed=7, **{
            name: value for name, value in asked.items() if name != "parts"})
        piece, beside = next(composer.play(recipe, [0])), json.loads((tmp_path / f"{number}.json").read_text())
        assert beside["recipe"] == recipe.to_dict() and beside["codes"] == pack(piece.codes), (path.name, change)
        midi = composer.save(piece, tmp_path / "python")[0]
        assert (tmp_path / f"{number}.mid").read_bytes() == midi.read_bytes()
    for number in (0, 1):
        infer("notes", "--from", str(tmp_path / f"{number}.json"), "-o", str(tmp_path / f"again{number}"))
        again, = (tmp_path / f"again{number}").glob("*.mid")
        assert again.read_bytes() == (tmp_path / f"{number}.mid").read_bytes()


@pytest.mark.browser
def test_infer_makes_them_again(players, scores_page, node, tmp_path):
    """From the JSON alone, the same files."""
    name = players["song"].bundle.name
    played(scores_page, node, [{"name": "notes", "asked": PIECES[0]}, {"name": name, "asked": SKETCHES[1]}], tmp_path)
    infer("notes", "--from", str(tmp_path / "0.json"), "-o", str(tmp_path / "again"))
    infer(str(players["song"].bundle.path), "--from", str(tmp_path / "1.json"), "-o", str(tmp_path / "again"))
    for number, ending in ((0, ".mid"), (1, ".mid"), (1, ".beepbox.json")):
        whole = json.loads((tmp_path / f"{number}.json").read_text())["file"].split(".")[0]
        assert (tmp_path / "again" / f"{whole}{ending}").read_bytes() == (tmp_path / f"{number}{ending}").read_bytes()
