"""Recipes: what a clip is a function of survives JSON, and what is no recipe is said."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from audiocraft_ext.audio.recipe import Recipe
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.engine.sampling import Sampling

RECIPE = Recipe("jungle", "0123456789abcdef", 7, 32_000, Sampling(1.1, (20, 30), 0.9, 0.01))
OTHER = {"bundle": "x", "bundle_hash": "y", "seed": 8, "samples": 1, "sampling": Sampling(), "precision": "int8",
         "backend": "torch", "bpm": 120.0, "bars": 2.0, "guidance": 3.0, "loop": True, "prompt": "4:", "source": "4:",
         "weird": "reverse", "clips": {"a.wav": "4:"}, "models": {"b": "c"}}


def through_json(recipe):
    return Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))


def test_every_setting_survives_json_and_changes_the_hash():
    assert through_json(RECIPE) == RECIPE
    assert OTHER.keys() == {f.name for f in fields(Recipe)}
    hashes = {RECIPE.hash}
    for name, value in OTHER.items():
        other = replace(RECIPE, **{name: value})
        assert through_json(other) == other and through_json(other).hash == other.hash
        hashes.add(other.hash)
    assert len(hashes) == 1 + len(OTHER)


@pytest.mark.parametrize("shape", [(1, 1), (4, 50), (9, 3)])
def test_codes_as_text_and_back(shape):
    codes = np.random.default_rng(0).integers(0, 2**16 - 1, shape)
    back = unpack(pack(codes))
    assert back.dtype == np.int64 and (back == codes).all()


@pytest.mark.parametrize("text", ["", "4:!", "4:AAAA", "0:AAAA", "-1:AAAA", "x:AAAA", None, 3])
def test_what_is_no_codes_is_refused(text):
    with pytest.raises(UserError, match="packed codes"):
        unpack(text)


@pytest.mark.parametrize("change", [{"seed": "7"}, {"seed": True}, {"samples": 1.5}, {"bpm": "fast"}, {"loop": 1},
                                    {"weird": None}, {"clips": []}, {"prompt": 3}, {"more": 1}, {"sampling": None},
                                    {"sampling": {"tempo": 3}}])
def test_what_is_no_recipe_is_refused(change):
    with pytest.raises(UserError):
        Recipe.from_dict(RECIPE.to_dict() | change)


def test_a_recipe_without_a_part_is_refused():
    d = RECIPE.to_dict()
    for name in ("bundle", "seed", "samples", "sampling"):
        with pytest.raises(UserError, match="another version"):
            Recipe.from_dict({key: value for key, value in d.items() if key != name})
