"""The page's engine with the bundles that ship, under Node: the codes, files and JSON of `infer.py`."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio.clips import read_sidecar
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.drums.play import sidecar
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.engine.bundle import Bundle, find_bundle
from audiocraft_ext.kinds import player
from audiocraft_ext.page import build

pytestmark = pytest.mark.browser
PLAY = Path(__file__).with_name("play.mjs")
GROOVE = Path(__file__).parents[2] / "data_prep/grooves/drummer7/session3/50_funk_112_fill_4-4.mid"
K = Bundle(find_bundle("embedded")).spec.n_q
SOUNDS = [
    {"name": "embedded", "asked": {"seed": "1", "seconds": 3}},
    {"name": "embedded", "index": 3, "asked": {"seed": str(2**64 - 1), "bpm": 174, "bars": 2,
                                               "sampling": {"temperature": [1.1, *[0.9] * (K - 1)], "min_p": 0.02}}}]
BEATS = [
    {"name": "drums", "asked": {"seed": "1", "bars": 2}},
    {"name": "drums", "index": 2, "asked": {"seed": "7", "bpm": 174, "bars": 8,
                                            "words": {"genre": "funk", "density": "high"}}},
    {"name": "drums", "asked": {"seed": "9", "bpm": 100.5, "meter": [3, 4], "words": {"swing": "hard"}}}]
CHANGES = [{"edit": "keep", "keep": ["kick", "snare"], "words": {"density": "high"}}, {"edit": "humanise"},
           {"edit": "continue", "bars": 4}, {"edit": "as it is"}, {"edit": "vary", "amount": 0.3},
           {"edit": "vary", "amount": 0.75, "words": {"swing": "hard"}}]
FILLS = [{"bars": 2, "span": (1, 1)},
         {"bars": 2, "span": (2, 2), "words": {"density": "high"}},  # which nothing follows
         {"bars": 8, "span": (5, 6)}]  # longer than the model's context


@pytest.fixture(scope="module")
def made(page, node, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made")
    played(page, node, SOUNDS + BEATS, out)
    return out


def played(page, node, jobs: list[dict], out: Path) -> None:
    """Let Node do the jobs, into ``out``."""
    (out / "jobs").write_text(json.dumps(jobs))
    done = subprocess.run([node, str(PLAY), str(page), str(out / "jobs"), str(out)], capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr


def python_clip(job: dict):
    """The clip by the Python engine, and its player."""
    asked = dict(job["asked"])
    more = {"seed": int(asked.pop("seed"))} | asked.pop("sampling", {}) | asked.pop("words", {})
    of = player(job["name"], threads=1)
    return next(iter(of.play(of.recipe(**more, **asked), [job.get("index", 0)]))), of


def test_how_much_comes_before_the_first_clip(page):
    assert build.first_load(page) < 20e6
    assert not {"encoder.onnx", "encoder.safetensors.planes.gz"} & set(
        json.loads((page / "instruments.json").read_text())[0]["bytes"])


@pytest.mark.parametrize("number", range(len(SOUNDS)))
def test_sound_is_that_of_python(made, tmp_path, number):
    clip, of = python_clip(SOUNDS[number])
    result = json.loads((made / "results.json").read_text())[number]
    assert result["codes"] == pack(clip.codes)
    wav, beside = of.save(clip, tmp_path)
    mine = made / f"{number}.wav"
    ours, theirs = sf.read(mine)[0], sf.read(wav)[0]
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-3
    assert mine.read_bytes()[44 + 2 * len(ours):] == wav.read_bytes()[44 + 2 * len(ours):]  # tempo, title, comment
    assert mine.with_suffix(".json").read_text().replace(read_sidecar(mine.with_suffix(".json")).sha256, "") \
        == beside.read_text().replace(read_sidecar(beside).sha256, "")


@pytest.mark.parametrize("number", range(len(BEATS)))
def test_a_beat_is_that_of_python_to_the_byte(made, tmp_path, number):
    clip, of = python_clip(BEATS[number])
    midi, beside = of.save(clip, tmp_path)
    mine = made / f"{len(SOUNDS) + number}.mid"
    assert mine.read_bytes() == midi.read_bytes()
    assert mine.with_suffix(".json").read_text() == beside.read_text()


def test_a_beat_that_began_with_a_file_is_that_of_python(page, node, tmp_path):
    drummer = Drummer.load("drums", threads=1)
    asked = [{"edit": "vary", "amount": 0.3}, {"edit": "humanise"}, {"edit": "infill", "span": (1, 1)},
             {"edit": "continue"}, {"edit": "as it is"}]
    file = base64.b64encode(GROOVE.read_bytes()).decode()
    played(page, node, [{"name": "drums", "file": file, "asked": {"seed": "5"} | one} for one in asked], tmp_path)
    for number, one in enumerate(asked):
        recipe = drummer.recipe(file=GROOVE, change=one["edit"], seed=5, **{
            name: value for name, value in one.items() if name != "edit"})
        beat, beside = next(iter(drummer.play(recipe, [0]))), sidecar.read(tmp_path / f"{number}.json")
        assert beside.recipe == recipe.to_dict() and pack(beside.codes) == pack(beat.codes), recipe.edit
        assert (tmp_path / f"{number}.mid").read_bytes() == drummer.save(beat, tmp_path / "python")[0].read_bytes()


def test_a_changed_beat_is_that_of_python(page, node, tmp_path):
    drummer = Drummer.load("drums", threads=1)
    flat = drummer.save(next(iter(drummer.play(drummer.recipe(bars=2, seed=4), [0]))), tmp_path / "flat")[0]
    recipes = [drummer.recipe(file=flat, change=change["edit"], seed=11, **change.get("words", {}), **{
        name: value for name, value in change.items() if name not in ("edit", "words")}) for change in CHANGES]
    jobs = [{"name": "drums", "source": recipe.source, "asked": {"seed": "11", "bars": 2} | change}
            for recipe, change in zip(recipes, CHANGES)]
    played(page, node, jobs, tmp_path)
    for number, recipe in enumerate(recipes):
        ours, theirs = next(iter(drummer.play(recipe, [0]))), sidecar.read(tmp_path / f"{number}.json")
        assert theirs.recipe == recipe.to_dict() and pack(theirs.codes) == pack(ours.codes), recipe.edit


def test_bars_made_anew_are_those_of_python(page, node, tmp_path):
    drummer = Drummer.load("drums", threads=1)
    files = {bars: drummer.save(next(iter(drummer.play(drummer.recipe(bars=bars, seed=4), [0]))), tmp_path / "flat")[0]
             for bars in (2, 8)}

    def recipe(fill: dict, **more):
        return drummer.recipe(file=files[fill["bars"]], change="infill", seed=13, span=fill["span"],
                              **fill.get("words", {}), **more)

    recipes = [recipe(fill) for fill in FILLS]
    played(page, node, [{"name": "drums", "source": one.source, "asked": {"seed": "13", "edit": "infill"} | fill}
                        for one, fill in zip(recipes, FILLS)], tmp_path)
    for number, one in enumerate(recipes):
        ours, theirs = next(iter(drummer.play(one, [0]))), sidecar.read(tmp_path / f"{number}.json")
        assert theirs.recipe == one.to_dict() and pack(theirs.codes) == pack(ours.codes), FILLS[number]
        begin, end = (16 * bar for bar in one.span)
        source = unpack(one.source)
        same = (theirs.codes == source).all(axis=0)
        assert same[:begin].all() and same[end:].all() and not same[begin:end].all()
    first = next(iter(drummer.play(recipe(FILLS[0], takes=1), [0])))
    assert pack(first.codes) != pack(sidecar.read(tmp_path / "0.json").codes)  # it was chosen among four
