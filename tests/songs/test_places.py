"""A model of songs is told which step of the bar and which channel a frame is."""

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.songs.codec.voices import Facts, Voices
from audiocraft_ext.songs.describe import prompts
from audiocraft_ext.songs.places import MOST, controls, places, with_places
from audiocraft_ext.songs.play.sketcher import Sketcher
from audiocraft_ext.store.writer import StoreWriter
from data_prep.midi import cli
from tests.helpers.songs import tiny_sketcher
from tests.songs.test_prep import command, folder, store  # noqa: F401  (fixtures)

SPEC = with_places(prompts(Voices()).extend(Voices().spec))


def test_steps_and_channels():
    found = places(Facts(beats=3, rhythm=4, pitched=2, noise=1), 2 * 36 + 3)
    assert found[0].tolist() == [step % 12 + 1 for step in range(25) for _ in range(3)]
    assert found[1].tolist() == [1, 2, 11] * 25
    assert places(Facts(pitched=10, noise=5), 15)[1].tolist() == list(range(1, 16))


def test_steps_behind_the_last_that_has_a_code_are_unknown():
    found = places(Facts(beats=5, rhythm=24, pitched=1, noise=0), 5 * 24)[0]
    assert found[:MOST].tolist() == list(range(1, MOST + 1)) and not found[MOST:].any()


def test_nothing_is_said_of_a_prompt_and_all_codes_are_in_range():
    found = controls(SPEC, Facts(), 40)
    assert found.shape == (2, SPEC.prompt + 40) and not found[:, : SPEC.prompt].any() and found[:, SPEC.prompt:].all()
    assert controls(SPEC.clip, Facts(), 40).shape[0] == 0
    assert places(Facts(16, 24, 10, 5), 16 * 24 * 15).max() < SPEC.card and MOST < max(Voices().sizes)


def test_a_store_says_them(store):  # noqa: F811
    assert store.spec.controls == 2 and store.spec.clip == prompts(Voices()).extend(Voices().spec)
    for row in store.rows:
        facts = Facts(row["beats"], row["rhythm"], row["channels"], row["drums"])
        np.testing.assert_array_equal(store.read(row["start"], row["frames"])[4:], places(facts, row["frames"]))


def test_a_sketcher_says_them_and_an_older_one_does_not(tmp_path):
    asked = {"bars": 3, "channels": 2, "seed": 4}  # longer than the context
    for told in (True, False):
        sketcher = Sketcher.load(tiny_sketcher(tmp_path / f"bundle_{told}", told=told), threads=1)
        recipe = sketcher.recipe(**asked)
        (sketch,) = sketcher.play(recipe, [0])
        window = sketcher.window_of(recipe.facts)
        untold = sketcher.engine.generate([0], sketch.codes.shape[1] + 2, seed=4, given=sketcher._given(recipe))
        assert sketch.codes.shape[0] == 4 and sketcher.bundle.lm_spec.controls == 2 * told
        assert window <= sketcher.bundle.context
        assert (untold[0, :, 2:20] != sketch.codes[:, :18]).any() == told


def test_songs_are_not_added_to_a_store_that_does_not_say_them(folder, store, tmp_path):  # noqa: F811
    with StoreWriter(tmp_path / "old", store.spec.clip, store.settings, "", ()) as writer:
        writer.add_sources([("a", [("train", np.zeros((4, 64), int), {})])])
        writer.finish()
    with pytest.raises(UserError, match="spec.controls was None, now 2.*name a new folder"):
        cli.main(command(folder, tmp_path / "old"))
