"""The Python API: what is asked for is what comes, and what cannot be is said before anything is sampled."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext import Instrument
from audiocraft_ext.audio import instrument as module
from audiocraft_ext.audio.clips import Output
from audiocraft_ext.audio.recipe import Recipe
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import unpack
from tests.helpers import tiny

ROOT = Path(__file__).parents[2]
RATE, HOP, CONTEXT = 32_000, 640, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", context=CONTEXT)


@pytest.fixture(scope="module")
def tiny1(folder):
    return Instrument.load(folder, threads=1)


def noise(seconds, seed=0):
    return (0.2 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def test_three_lines(tmp_path):
    """As README.md has them."""
    code = ('from audiocraft_ext import Instrument\n'
            'for clip in Instrument.load("embedded").generate(seconds=1, n=4, seed=1):\n    clip.save("out")\n')
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""
    names = [f"embedded_seed1_{i}_166.667bpm.wav" for i in range(4)]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.wav")) == names


def test_importing_the_package_loads_nothing():
    code = "import sys, audiocraft_ext; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert not [m for m in modules if m.startswith("audiocraft_ext.")] and not {"numpy", "onnxruntime"} & {*modules}


def test_shapes(tiny1):
    made = tiny1.generate(0.5, n=3, seed=2)
    assert [clip.index for clip in made] == [0, 1, 2]
    for clip in made:
        assert clip.codes.shape == (4, 25) and clip.codes.dtype == np.int64 and clip.sample_rate == RATE
        assert clip.wav.shape == (16_000,) and clip.wav.dtype == np.float32 and clip.seconds == 0.5
    assert len({clip.wav.tobytes() for clip in made}) == 3


@pytest.mark.parametrize("what", [
    {}, {"prompt": noise(0.3)}, {"loop": True, "bpm": 120}, {"source": noise(0.5), "weird": "reroll:keep=0"},
    {"source": noise(0.5), "weird": "mutate:share=30%"},
    {"weird": "mutate:share=30%; stutter:at=0.1s,len=60ms; infill:at=0.3s,len=0.1s"}, {"seconds": 3},
])
def test_a_clip_is_a_function_of_its_recipe_and_index(folder, tiny1, what):
    """Alone or beside others, in whatever batches and with however many threads, and from the recipe's JSON."""
    what = {"seconds": 0.5} | what
    first = tiny1.generate(n=4, seed=3, **what)
    other = Instrument.load(folder, threads=2, max_batch=3)
    again = {clip.index: clip for clip in other.play(Recipe.from_dict(first[0].recipe.to_dict()), [3, 1, 0, 2])}
    for clip in first:
        assert (clip.codes == again[clip.index].codes).all() and (clip.wav == again[clip.index].wav).all()
    assert len({clip.codes.tobytes() for clip in first}) == 4


def test_a_stream_is_the_clip(tiny1):
    for what in ({"seconds": 2.5}, {"seconds": 1, "prompt": noise(0.3)}, {"bpm": 174, "bars": 1}, {"seconds": 0.02}):
        recipe = tiny1.recipe(seed=4, **what)
        pieces = list(tiny1.stream(recipe, 2))
        (clip,) = tiny1.play(recipe, [2])
        assert (np.concatenate(pieces) == clip.wav).all() and len(clip.wav) == recipe.samples
    assert len(list(tiny1.stream(tiny1.recipe(2.5)))) >= 2


def test_settings_for_each_codebook(tiny1):
    """The first frame's coarsest code knows nothing before it: where it is greedy, every clip has the same."""
    made = np.stack([clip.codes[:, 0] for clip in tiny1.generate(0.1, n=12, seed=5, top_k=(1, 96, 96, 96))])
    assert len(set(made[:, 0])) == 1 and all(len(set(made[:, k])) > 1 for k in (1, 2, 3))
    made = np.stack([clip.codes[:, 0] for clip in tiny1.generate(0.1, n=12, seed=5, temperature=(1, 0, 1, 1))])
    assert len(set(made[:, 0])) > 1
    same = [tiny1.generate(0.2, seed=5, min_p=m, top_p=p)[0].codes for m, p in ((0.1, 0.9), ((0.1,) * 4, (0.9,) * 4))]
    assert (same[0] == same[1]).all()


@pytest.mark.parametrize("bpm, bars", [(120, 1), (174, 0.5), (97.3, 0.75), (61, 0.25)])
def test_bars_to_the_sample(tiny1, bpm, bars):
    for loop in (False, True):
        (clip,) = tiny1.generate(bpm=bpm, bars=bars, loop=loop, seed=1)
        assert len(clip.wav) == round(bars * 240 / bpm * RATE)


def test_a_prompt_is_what_the_clip_begins_with(tiny1, tmp_path):
    (before,) = tiny1.generate(1, seed=1)
    path = before.save(tmp_path)
    for prompt in (path, str(path.with_suffix(".json")), before.codes, before.codes.astype(np.uint16)):
        (after,) = tiny1.generate(1.5, seed=2, prompt=prompt)
        assert (after.codes[:, :50] == before.codes).all()
        (after,) = tiny1.generate(0.5, seed=2, prompt=prompt, prompt_seconds=0.2)
        assert (after.codes[:, :10] == before.codes[:, -10:]).all()
    wav = noise(0.4)
    (after,) = tiny1.generate(1, seed=2, prompt=wav)
    assert (after.codes[:, :20] == tiny1.engine.encode(wav[None, None])[0]).all()


def test_of_a_long_prompt_its_end_is_used_and_that_is_reported(folder, tmp_path):
    said = []
    tiny1 = Instrument.load(folder, say=said.append, threads=1)
    wav = noise(10)
    sf.write(tmp_path / "long.flac", np.stack([wav, wav], 1), RATE, subtype="PCM_24")
    recipes = [tiny1.recipe(3, seed=1, prompt=prompt) for prompt in (wav, tmp_path / "long.flac")]
    assert unpack(recipes[0].prompt).shape == (4, CONTEXT // 2)
    assert sum("the last 1 s of the prompt are used" in line for line in said) == 2
    said.clear()
    assert unpack(tiny1.recipe(2, seed=1, prompt=wav, prompt_seconds=1.5).prompt).shape == (4, 75) and not said


def test_what_is_worth_saying(folder):
    said = []
    tiny1 = Instrument.load(folder, say=said.append, threads=1)
    assert tiny1.recipe(1, top_k=500).sampling.top_k == 96 and "500 is more than the 96 codes" in said[-1]
    tiny1.recipe(3)
    assert "is 2 s; a longer clip continues" in said[-1] and len(said) == 2


def test_a_chain_with_another_clip_and_another_model(folder, tiny1, tmp_path):
    (a,) = tiny1.generate(0.5, seed=1)
    path = a.save(tmp_path)
    other = tiny.tiny_bundle(tmp_path / "other", lm=tiny.tiny_lm(seed=1), context=CONTEXT)
    chain = f"swap:with={path},books=0; through:model={other},at=0.3s"
    (b,) = tiny1.generate(0.5, seed=2, weird=chain)
    plain = tiny1.generate(0.5, seed=2)[0].codes
    assert (b.codes[0, :15] == a.codes[0, :15]).all() and (b.codes[1:, :15] == plain[1:, :15]).all()
    assert (b.codes[:, 15:] != plain[:, 15:]).any()
    path.unlink(), path.with_suffix(".json").unlink()  # its codes are in the recipe
    fresh = Instrument.load(folder, threads=1)
    (again,) = fresh.play(b.recipe, [0])
    assert (again.wav == b.wav).all()
    shutil.rmtree(other)
    tiny.tiny_bundle(other, lm=tiny.tiny_lm(seed=2), context=CONTEXT)
    with pytest.raises(UserError, match="not the bundle"):
        list(Instrument.load(folder).play(b.recipe, [0]))


def test_nothing_of_ten_thousand_clips_is_made_before_it_is_asked_for(tiny1):
    clips = tiny1.play(tiny1.recipe(0.02, seed=1), range(10_000))
    assert [next(clips).index for _ in range(3)] == [0, 1, 2]


def test_progress_goes_up_to_the_number_of_clips(tiny1):
    for what in ({}, {"source": noise(0.1), "weird": "mutate:share=10%"}, {"loop": True, "seconds": 0.2}):
        seen = []
        made = list(tiny1.play(tiny1.recipe(seed=1, **{"seconds": 0.1} | what), range(12), seen.append))
        assert len(made) == 12 and seen == sorted(seen) and seen[-1] == 12


CODES = np.zeros((4, 20), np.int64)


@pytest.mark.parametrize("what, why", [
    ({"n": 0}, "1 clip or more"), ({"n": 1.5}, "whole number"), ({"seed": -1}, "seed"), ({"seed": 2**64}, "seed"),
    ({"seed": 1.5}, "whole number"), ({"seconds": 0}, "at most 3600 s"), ({"seconds": 3601}, "at most 3600 s"),
    ({"seconds": float("nan")}, "at most 3600 s"), ({"temperature": -1}, "temperature"),
    ({"temperature": (1, 2)}, "one per codebook"), ({"top_k": 1.5}, "top_k"), ({"top_p": 0}, "top_p"),
    ({"min_p": 1}, "min_p"), ({"guidance": 2}, "hears no metronome"), ({"guidance": 21}, "0 to 20"),
    ({"bars": 2, "seconds": None}, "tempo"), ({"bars": 2, "bpm": 120}, "leave one out"),
    ({"bars": 1e9, "bpm": 20, "seconds": None}, "at most 3600 s"), ({"bpm": 0}, "BPM"), ({"bpm": float("nan")}, "BPM"),
    ({"seconds": 0.05, "loop": True}, "a loop lasts 0.12 s"), ({"weird": "stuter:at=0s"}, "did you mean 'stutter'"),
    ({"weird": "stutter:at=1b,len=1/4b"}, "no tempo"), ({"weird": "swap:with=nowhere.wav,books=0"}, "not there"),
    ({"weird": "through:model=nowhere,at=0s"}, "no such bundle"),
    ({"weird": "repeat:at=0s,len=0.5s,times=1000;" * 9}, "at most 3600 s"),
    ({"prompt": "nowhere.wav"}, "not there"), ({"prompt": "."}, "is a folder"), ({"prompt": ""}, "not there"),
    ({"prompt": np.zeros(RATE // 4)}, "silent"), ({"prompt": np.zeros(0)}, "empty"),
    ({"prompt": np.append(noise(3), np.zeros(RATE))}, "silent"),  # the part that is used
    ({"prompt": np.full(RATE, np.nan)}, "not numbers"), ({"prompt": noise(1)[None]}, "floats"),
    ({"prompt": CODES[0]}, "integers"), ({"prompt": CODES - 1}, "from 0 on"), ({"prompt": CODES + 96}, "to 95"),
    ({"prompt": CODES[:3]}, r"\[4, T\]"), ({"prompt": CODES[:, :0]}, "none at all"),
    ({"prompt": noise(0.5)}, "fills the clip"), ({"prompt": noise(1), "prompt_seconds": 0}, "is 2 s"),
    ({"prompt": noise(1), "prompt_seconds": 2.1}, "is 2 s"), ({"prompt_seconds": 1}, "no prompt"),
    ({"prompt": CODES, "source": CODES}, "one from|continues one"), ({"source": CODES}, "shorter than"),
])
def test_what_cannot_be_is_refused_before_anything_is_made(folder, monkeypatch, what, why):
    monkeypatch.setattr(module.SoundEngine, "stream", lambda *args, **how: pytest.fail("sampled"))
    with pytest.raises(UserError, match=why) as error:
        Instrument.load(folder, threads=1).generate(**{"seconds": 0.5} | what)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("change, why", [
    ({"bundle_hash": "x"}, "another clip"), ({"precision": "int8"}, "another clip"),
    ({"backend": "torch"}, "another clip"),
    ({"samples": 10**12}, "3600 s"), ({"samples": 0}, "1 frame"), ({"seed": -1}, "seed"), ({"bpm": -1}, "BPM"),
    ({"guidance": -1.0}, "0 to 20"),
    ({"prompt": "4:"}, "none at all"), ({"source": "3:AAAAAAAA"}, r"\[4, T\]"), ({"weird": "x"}, "no tool"),
    ({"weird": "swap:with=a,books=0"}, "packed codes"),
])
def test_a_recipe_that_was_meddled_with_is_refused(tiny1, change, why):
    recipe = Recipe.from_dict(tiny1.recipe(0.1, seed=1).to_dict() | change)
    with pytest.raises(UserError, match=why):
        list(tiny1.play(recipe, [0]))


@pytest.mark.parametrize("options, why", [({"precision": "int4"}, "not int4; export it again"),
                                          ({"precision": "int9"}, r"not int9$"), ({"backend": "jax"}, "onnx, torch"),
                                          ({"device": "cuda"}, "backend torch")])
def test_an_engine_that_cannot_be(folder, options, why):
    with pytest.raises(UserError, match=why):
        Instrument.load(folder, **options).generate(0.1)


def test_a_missing_package_is_reported(tiny1, tmp_path, monkeypatch):
    for package in ("pyloudnorm", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, package, None)
    (clip,) = tiny1.generate(1, seed=1)
    with pytest.raises(UserError, match="pip install pyloudnorm"):
        clip.save(tmp_path, Output(lufs=-14))
    assert not list(tmp_path.iterdir())
    from audiocraft_ext.sound.picture import sheet

    with pytest.raises(UserError, match=re.escape("'pip install matplotlib'")):
        sheet([("a", clip.wav)], RATE, tmp_path / "a.png")
