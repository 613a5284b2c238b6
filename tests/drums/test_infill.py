"""Chosen bars of a file are played anew: the others stay, and what follows has a say."""

import json
from pathlib import Path

import numpy as np
import pytest

import infer
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.play import cli, edit
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.recipe import BeatRecipe
from tests.helpers.drum_bundle import tiny_drummer

FUNK = Path(__file__).parents[1] / "data" / "groove" / "drummer7-1-13_funk_102_beat_4-4.mid"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_drummer(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def drummer(bundle) -> Drummer:
    return Drummer.load(bundle, threads=1)


def test_the_other_bars_stay(drummer):
    recipe = drummer.recipe(change="infill", file=FUNK, span=(2, 3), bars=6, seed=1)
    source = edit.read_source(FUNK, drummer.codec, lambda text: None, bars=6).codes
    first, second = (beat.codes for beat in drummer.play(recipe, [0, 1]))
    for codes in (first, second):
        assert codes.shape == source.shape
        np.testing.assert_array_equal(codes[:, :16], source[:, :16])
        np.testing.assert_array_equal(codes[:, 48:], source[:, 48:])
    assert not np.array_equal(first[:, 16:48], second[:, 16:48])
    assert BeatRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe and recipe.span == (1, 3)
    (again,) = drummer.play(recipe, [1])
    np.testing.assert_array_equal(again.codes, second)


def test_of_several_takes_what_follows_is_likeliest_after_the_one_that_is_kept(drummer):
    def likelihood(takes: int) -> np.ndarray:
        recipe = drummer.recipe(change="infill", file=FUNK, span=(2, 2), bars=4, seed=3, takes=takes)
        beats = np.stack([beat.codes for beat in drummer.play(recipe, range(6))])
        prompt = np.repeat(drummer.prompts.codes(recipe.said)[None], len(beats), axis=0)
        heard = np.concatenate([prompt, beats[..., :48]], axis=2)
        return drummer.engine.score(heard, prompt.shape[2] + 32)

    one, many = likelihood(1), likelihood(8)
    assert (many >= one - 1e-6).all() and many.mean() > one.mean()


def test_the_last_bars_too(drummer):
    (beat,) = drummer.play(drummer.recipe(change="infill", file=FUNK, span=(4, 4), bars=4, seed=1), [0])
    assert beat.clip.bars == 4


def test_the_command_line(bundle, tmp_path, capsys):
    infer.main([str(bundle), "--from-midi", str(FUNK), "--infill", "2-3", "--bars", "4", "-n", "2", "--takes", "2",
                "--seed", "1", "-o", str(tmp_path)])
    names = sorted(path.name for path in tmp_path.glob("*.mid"))
    assert len(names) == 2 and "infill" in names[0]
    infer.main(["--from", str(next(tmp_path.glob("*_1_*.json"))), "-o", str(tmp_path / "again")])
    assert "not the same" not in capsys.readouterr().err


@pytest.mark.parametrize("what, why", [
    (dict(span=(3, 99)), "infill: expected bars such as 3-4, counted from 1, of which the file has"),
    (dict(span=(0, 1)), "infill: expected bars such as 3-4, counted from 1; got 0-1"),
    (dict(), "infill: say which bars of a file")])
def test_bars_that_are_not_there_are_refused(drummer, what, why):
    with pytest.raises(UserError, match=why):
        drummer.recipe(change="infill", file=FUNK, **what)
    with pytest.raises(UserError, match="infill: say which bars"):
        drummer.recipe(change="vary", file=FUNK, amount=0.5, span=(1, 2))


def test_options_and_codecs_that_have_no_bars_to_fill(tmp_path):
    with pytest.raises(UserError, match="--infill belongs to --from-midi FILE"):
        cli.main(["drums", "--infill", "2"])
    with pytest.raises(UserError, match="--keep, --infill were given; take one of them"):
        cli.main(["drums", "--from-midi", "x.mid", "--infill", "2", "--keep", "kick"])
    hits = Drummer.load(tiny_drummer(tmp_path / "hits", DrumHits(), "drum_hits"), threads=1)
    with pytest.raises(UserError, match="--infill needs one of drum_grid"):
        hits.recipe(change="infill", file=FUNK, span=(1, 2))
