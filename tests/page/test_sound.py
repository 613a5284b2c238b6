"""Loops, prompts and weird tools on the page, under Node: the codes, sound and JSON of the Python engine, which makes
each again from the page's own JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio.clips import read_sidecar
from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.audio.weird.chain import Chain
from audiocraft_ext.core.packing import pack
from audiocraft_ext.page import build
from tests.page.test_play import played

pytestmark = pytest.mark.browser
ENGINE = build.WEB / "engine"
PRESETS = re.findall(r'^  \[?"?(\w+)"?,', re.sub(r"\[\n    ", "[", (ENGINE / "presets.js").read_text()), re.M)
CODES = np.random.default_rng(1).integers(0, 256, (6, 120))
OTHER = {"clips": {"other.wav": pack(CODES)}}
CHAINS = ["mutate:share=0.3,pick=any,books=1-", "shift:by=-3f", "stutter:at=1f,len=1f,times=100",
          "reverse:books=0; mutate:share=0.5,seed=7; infill:at=0.3s,len=0.2s,books=0+2-3",
          "repeat:at=1b,len=3/4b,times=3", "stutter:at=1b,len=1/4b,times=3,every=2b",
          "swap:with=other.wav,books=0,at=1b", "splice:with=other.wav,at=3b", "reroll:books=1,at=1b,len=1b"]
CLIPS = [{"asked": {"seed": "1", "bpm": 166.5, "bars": 1.5}},
         {"asked": {"seed": "2", "seconds": 1.5, "prompt": pack(CODES[:, :40])}},  # which has no tempo
         {"asked": {"seed": "1", "bpm": 174, "bars": 1, "loop": True}},
         {"asked": {"seed": "5", "seconds": 1.5, "loop": True}, "index": 2},
         {"asked": {"seed": "6", "seconds": 1, "guidance": 4.7}},  # the slider for the beat
         {"asked": {"seed": "6", "seconds": 1, "guidance": 1}}]
WITHOUT_TEMPO = ("fill", "stutter", "reverse", "drag", "longer")
CHILDREN = [{"parent": 1, "index": 1, "asked": {"seed": "9", "preset": name} | OTHER} for name in PRESETS] \
    + [{"parent": 2, "asked": {"seed": "3", "preset": name}} for name in WITHOUT_TEMPO] \
    + [{"parent": 3, "asked": {"seed": "9", "preset": "dust"}}] \
    + [{"parent": 1, "asked": {"seed": "4", "weird": chain} | OTHER} for chain in CHAINS]
JOBS = [{"name": "embedded"} | job for job in CLIPS + CHILDREN]
ABOUT = {"click", "click_inside", "flux", "flux_inside", "code_match", "spectral_match"}  # figures of the join, rounded


@pytest.fixture(scope="module")
def made(page, node, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sounds")
    played(page, node, JOBS, out)
    return out


@pytest.fixture(scope="module")
def instrument() -> Instrument:
    return Instrument.load("embedded", threads=1)


def test_there_are_tools():
    assert {"skin", "fill", "stutter", "reverse", "swap", "cut"} <= set(PRESETS) and len(PRESETS) == 11


@pytest.mark.parametrize("number", range(len(JOBS)), ids=lambda i: str(
    JOBS[i]["asked"].get("preset") or JOBS[i]["asked"].get("weird") or f"clip {i}"))
def test_python_makes_the_same_from_the_recipe(made, instrument, tmp_path, number):
    sidecar = read_sidecar(made / f"{number}.json")
    assert str(Chain.parse(sidecar.recipe.weird)) == sidecar.recipe.weird
    clip = next(iter(instrument.play(sidecar.recipe, [sidecar.index])))
    assert np.array_equal(clip.codes, sidecar.codes)
    saved = clip.save(tmp_path)
    ours, theirs = (made / f"{number}.wav").read_bytes(), saved.read_bytes()
    wav, python = sf.read(made / f"{number}.wav")[0], sf.read(saved)[0]
    assert wav.shape == python.shape and np.abs(wav - python).max() < 1e-3
    assert ours[44 + 2 * len(wav):] == theirs[44 + 2 * len(python):]  # tempo, loop points, title, comment
    assert alike(json.loads((made / f"{number}.json").read_text()), json.loads(saved.with_suffix(".json").read_text()))


def alike(page: dict, python: dict) -> bool:
    """Whether two clips' JSON say the same, but for the bits of the sound and the last digit of what was measured."""
    for one in (page, python):
        del one["sha256"]
    joins = [one["about"].pop("loop", {}) for one in (page, python)]
    for name in ABOUT & joins[0].keys():
        assert np.allclose(*(join.pop(name) for join in joins), atol=0.01), name
    return joins[0] == joins[1] and page == python


def test_a_recipe_is_what_python_asks_for(made, instrument):
    """A prompt, a loop in bars, and a chain on a source: as `infer.py` would put it."""
    def recipe(number: int) -> dict:
        return json.loads((made / f"{number}.json").read_text())["recipe"]

    assert recipe(1) == instrument.recipe(1.5, seed=2, prompt=CODES[:, :40]).to_dict()
    assert recipe(2) == instrument.recipe(seed=1, bpm=174, bars=1, loop=True).to_dict()
    assert recipe(4) == instrument.recipe(1, seed=6, guidance=4.7).to_dict() and recipe(4)["guidance"] == 4.7
    assert recipe(5) == instrument.recipe(1, seed=6, guidance=1).to_dict() and "guidance" not in recipe(5)
    assert not np.array_equal(*(read_sidecar(made / f"{number}.json").codes for number in (4, 5)))
    source = read_sidecar(made / "0.json").codes
    assert recipe(len(CLIPS)) == instrument.recipe(
        seed=9, bpm=166.5, bars=1.5, source=source, weird=recipe(len(CLIPS))["weird"]).to_dict()
