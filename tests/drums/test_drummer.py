"""A drummer: the same seed the same beat, prompts that stay outside, and what becomes of a MIDI file."""

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums import describe, midi
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.drum_map import DrumClass, DrumMap
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.drums.play import edit, sampling
from audiocraft_ext.drums.play.best_of import CANDIDATES, miss, numbers
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.groove import with_groove
from audiocraft_ext.drums.play.lanes import classes_named
from audiocraft_ext.drums.play.recipe import BeatRecipe
from tests.helpers.drum_bundle import GENRES, tiny_drummer

DATA = Path(__file__).parents[1] / "data" / "groove"
FUNK, ROCK = DATA / "drummer7-1-13_funk_102_beat_4-4.mid", DATA / "drummer3-1-7_rock_105_beat_4-4.mid"
C = 12  # classes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_drummer(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def drummer(bundle):
    return Drummer.load(bundle, threads=1)


@pytest.fixture(scope="module")
def hits_drummer(tmp_path_factory):
    folder = tiny_drummer(tmp_path_factory.mktemp("bundle") / "hits", DrumHits(), "drum_hits", context=60)
    return Drummer.load(folder, threads=1)


def codes_of(drummer, recipe, indices=(0,)):
    return [beat.codes for beat in drummer.play(recipe, list(indices))]


# new beats


def test_a_beat_is_as_long_as_asked_and_its_codes_are_its_notes(drummer):
    for bars, meter, steps in ((4, (4, 4), 64), (1, (4, 4), 16), (11, (4, 4), 176), (6, (3, 4), 72), (3, (7, 8), 42)):
        recipe = drummer.recipe(bars=bars, bpm=174, meter=meter, seed=1)
        beat, = drummer.play(recipe, [3])
        assert beat.codes.shape == (2 * C, steps) and (beat.clip.bars, beat.clip.meter) == (bars, meter)
        assert beat.clip == drummer.codec.decode(beat.codes, 174, meter) and abs(beat.clip.bpm - 174) < 0.01
        assert 0 < (beat.codes[:C] > 0).mean() < 0.5
        assert beat.seconds == pytest.approx(bars * meter[0] * 4 / meter[1] * 60 / beat.clip.bpm)


def test_same_seed_same_beat_alone_and_together(bundle):
    many = Drummer.load(bundle, max_batch=3)
    recipe = many.recipe(bars=6, seed=7, genre="jazz")
    beats = {beat.index: beat.codes for beat in many.play(recipe, range(7))}
    assert sorted(beats) == list(range(7)) and len({codes.tobytes() for codes in beats.values()}) == 7
    again = Drummer.load(bundle)
    for indices in ([5], [2, 4, 5]):
        for beat in again.play(recipe, indices):
            assert (beat.codes == beats[beat.index]).all()
    other = again.recipe(bars=6, seed=8, genre="jazz")
    assert (codes_of(again, other)[0] != beats[0]).any()


def test_no_prompt_is_in_a_beat(drummer):
    """Not one code that stands for a word, in any window of a clip of several."""
    recipe = drummer.recipe(bars=16, seed=1, genre="rock", density=5, swing="hard", temperature=3.0)
    codes = np.stack(codes_of(drummer, recipe, range(8)))
    assert (codes.max(axis=(0, 2)) < drummer.codec.sizes).all()
    off = codes[:, :C] == 0
    assert (codes[:, C:][off] == drummer.codec.on_step).all() and (codes[:, C:][~off] != drummer.codec.on_step).any()


def test_the_prompt_reaches_the_model(drummer):
    plain, other = (drummer.recipe(seed=1, genre=genre) for genre in (None, "funk"))
    assert "genre" not in plain.said and other.said["genre"] == "funk"
    assert (codes_of(drummer, plain)[0] != codes_of(drummer, other)[0]).any()


def test_the_prompt_is_guided_and_nothing_else(drummer):
    assert drummer.recipe(seed=1).guidance == drummer.recipe(seed=1, change="as it is", file=FUNK).guidance == 1
    asked = drummer.recipe(seed=1, genre="funk")
    assert asked.guidance == 2 and drummer.recipe(seed=1, genre="funk", guidance=1.5).guidance == 1.5
    together = codes_of(drummer, asked, range(3))
    assert (codes_of(drummer, asked, [2])[0] == together[2]).all()
    plain = codes_of(drummer, replace(asked, guidance=1.0), range(3))
    assert (together[0] != plain[0]).any()
    assert (plain[0] == codes_of(drummer, drummer.recipe(seed=1, genre="funk", guidance=1), [0])[0]).all()
    assert BeatRecipe.from_dict(asked.to_dict()) == asked
    for wrong in (-1, 21, "much"):
        with pytest.raises(UserError, match="guidance: 0 to 20"):
            drummer.recipe(genre="funk", guidance=wrong)


def test_candidates_are_measured_and_the_nearest_is_kept(drummer):
    assert drummer.recipe(genre="funk").takes == drummer.recipe().takes == 1
    assert drummer.recipe(change="humanise", file=FUNK, density="low").takes == 1
    asked = drummer.recipe(seed=1, bars=2, density="low", guidance=1)
    assert asked.takes == CANDIDATES and drummer.recipe(density="low", takes=2).takes == 2
    kept = codes_of(drummer, asked, range(5))
    assert (codes_of(drummer, asked, [3])[0] == kept[3]).all()
    one = replace(asked, takes=1)
    candidates = [codes_of(drummer, one, numbers(index, CANDIDATES)) for index in range(5)]
    for codes, played in zip(kept, candidates):
        misses = [miss(drummer.codec.pattern(one, (4, 4)), asked.said) for one in played]
        assert (codes == played[int(np.argmin(misses))]).all()
    assert any((codes != played[0]).any() for codes, played in zip(kept, candidates))
    for wrong in (0, 101, 1.5):
        with pytest.raises(UserError, match="takes: 1 to 100"):
            drummer.recipe(density="low", takes=wrong)


def test_the_prompt_of_a_recipe(drummer):
    said = drummer.recipe(bars=2, bpm=174, seed=1, genre="hip", density=5, intensity="very-l", swing="1").said
    assert said == {"genre": "hiphop", "density": "very-high", "intensity": "very-low", "swing": "straight",
                    "tempo": "170-180", "bars": "2", "meter": "4/4"}
    long = drummer.recipe(bars=64, meter=(5, 8), seed=1).said
    assert (long["bars"], long["meter"]) == ("6", "other")  # six of them fill the context


def test_windows_begin_with_a_bar(drummer):
    """So that a bar of a long clip is where the model has learned bars to be; what fits is one window."""
    P, context = drummer.bundle.spec.prompt, drummer.bundle.context
    for meter, bar, fit in (((4, 4), 16, 4), ((3, 4), 12, 5), ((7, 8), 14, 4)):
        for bars in range(1, fit + 1):
            assert sampling.window_of(drummer.bundle, drummer.codec, bars, meter) == (context, bars)
        window, window_bars = sampling.window_of(drummer.bundle, drummer.codec, fit + 1, meter)
        assert window - P == window_bars * bar <= 64 and window_bars % 2 == 0 and window - P > 64 - 2 * bar
        assert drummer.recipe(bars=fit, meter=meter, seed=1).said["bars"] == str(fit)
        assert drummer.recipe(bars=99, meter=meter, seed=1).said["bars"] == str(window_bars)
    assert sampling.window_of(drummer.bundle, drummer.codec, 9, (9, 4)) == (context, 1)  # two of them do not fit


def test_what_is_measured_is_reported(drummer):
    beat, = drummer.play(drummer.recipe(bars=4, seed=1), [0])
    said = describe.describe(drummer.codec.pattern(beat.codes))
    assert beat.about["measured"] == {name: said[name] for name in ("density", "intensity", "swing") if name in said}
    assert "density" in beat.about["measured"] and "title" not in beat.about


def test_a_beat_lasts_an_hour_at_most(drummer):
    with pytest.raises(UserError, match="an hour at most, and 256 of 4/1 at 60 BPM are 1.1 hours"):
        drummer.recipe(bars=256, meter=(4, 1), bpm=60)
    values = drummer.recipe(bars=256, bpm=20).to_dict()
    with pytest.raises(UserError, match="an hour at most"):
        BeatRecipe.from_dict(values | {"meter": [8, 4]})


def test_a_model_without_prompts(tmp_path):
    drummer = Drummer.load(tiny_drummer(tmp_path / "plain", prompted=False))
    assert codes_of(drummer, drummer.recipe(seed=1))[0].shape == (2 * C, 64)
    with pytest.raises(UserError, match="genre: this model's prompts have no such field; they have none"):
        drummer.recipe(genre="funk")


@pytest.mark.parametrize("wrong, message", [
    ({"genre": "disco"}, "genre: expected one of " + ", ".join(GENRES) + ", got 'disco'"),
    ({"density": 6}, "density: expected one of very-low, low"),
    ({"density": "very"}, "may be very-low or very-high"),
    ({"mood": "sad"}, "mood: this model's prompts have no such field; they have genre, kind"),
    ({"bars": 0}, "1 to 256, a whole number, got 0"), ({"bars": 257}, "1 to 256"), ({"bars": 1.5}, "whole number"),
    ({"bpm": 5}, "20 to 400"), ({"bpm": float("nan")}, "20 to 400"), ({"meter": (4, 3)}, "such as 4/4"),
    ({"change": "keep", "file": FUNK, "keep": "kick,snare,side,hats,toms,crash,ride,perc"}, "nothing is left to play"),
    ({"meter": (1, 32)}, "does not end on a step"), ({"seed": -1}, "seed"), ({"seed": 0.5}, "seed"),
    ({"temperature": -1}, "temperature"),
    ({"top_k": (1, 2)}, "one number or 24"), ({"change": "vary", "file": FUNK, "amount": 1.5}, "0 .nothing. to 1"),
    ({"change": "keep", "file": FUNK}, "which drums stay"), ({"change": "burn", "file": FUNK}, "one of continue, keep"),
    ({"change": "vary"}, "'vary' alone"), ({"file": FUNK}, "got a file"),
    ({"change": "humanise", "file": FUNK, "humanise": "pitches"}, "both, velocities, offsets"),
    ({"change": "humanise", "file": FUNK, "bars": 99}, "has 41"),
    ({"change": "continue", "file": FUNK, "bars": 41}, "begins with the 41 bars"),
])
def test_what_cannot_be(drummer, wrong, message):
    with pytest.raises(UserError, match=message):
        drummer.recipe(**wrong)
    assert drummer._engine.made is None  # before anything was loaded


def test_a_bundle_of_sound_is_no_drummer():
    with pytest.raises(UserError, match="makes audio, not drums"):
        Drummer.load("embedded")


def test_how_far_it_is(drummer):
    said = []
    list(drummer.play(drummer.recipe(seed=1), range(3), said.append))
    assert said == sorted(said) and said[-1] == 3 and 0 < said[0] < 1


def test_weights_that_were_altered_play_nothing(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "other")
    weights = tmp_path / "other" / "lm.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    drummer = Drummer.load(tmp_path / "other")
    with pytest.raises(UserError, match="altered"):
        next(drummer.play(drummer.recipe(seed=1), [0]))


# recipes


def test_a_recipe_is_json(drummer):
    recipes = [drummer.recipe(seed=2**64 - 1, bpm=174.5, genre="funk", top_k=20), drummer.recipe(seed=1, meter=(6, 8)),
               drummer.recipe(seed=1, change="keep", file=FUNK, keep="kick", groove=ROCK, bars=2),
               drummer.recipe(seed=1, change="vary", file=FUNK, amount=0.5, bars=1),
               drummer.recipe(seed=1, change="humanise", file=FUNK, humanise="offsets", bars=1)]
    for recipe in recipes:
        assert BeatRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert len({recipe.hash for recipe in recipes}) == len(recipes)
    assert replace(recipes[0], seed=5).hash != recipes[0].hash


def test_a_title_is_no_part_of_a_recipe(drummer, tmp_path):
    shutil.copy(FUNK, tmp_path / "ça va?.mid")
    one, other = (drummer.recipe(seed=1, change="vary", file=file, amount=0.5, bars=1, bpm=100)
                  for file in (FUNK, tmp_path / "ça va?.mid"))
    assert one.title == "vary-drummer7-1-13_funk_102_beat_4-4" and other.title == "vary-a-va"
    assert one == other and one.hash == other.hash and one.to_dict() == other.to_dict()
    assert next(drummer.play(other, [0])).about["title"] == "vary-a-va"
    assert drummer.recipe(seed=1).title == "" and drummer.recipe(groove=ROCK).title.startswith("groove-drummer3")
    with pytest.raises(UserError, match="title"):
        BeatRecipe.from_dict(one.to_dict() | {"title": "mine"})


@pytest.mark.parametrize("change", [{"bars": 0}, {"bars": "4"}, {"bpm": 5}, {"meter": [4]}, {"edit": "burn"}, {"x": 1},
                                    {"said": {"genre": 3}}, {"amount": 2}, {"seed": -1}, {"keep": 3}, {"sampling": 3},
                                    {"groove_meter": [4, 3]}])
def test_a_recipe_that_was_changed(drummer, change):
    values = drummer.recipe(seed=1).to_dict()
    with pytest.raises(UserError):
        BeatRecipe.from_dict(values | change)


def test_another_bundles_recipe_is_refused(drummer):
    recipe = drummer.recipe(seed=1)
    for change in ({"bundle_hash": "0" * 16}, {"precision": "int8"}, {"backend": "torch"}):
        with pytest.raises(UserError, match="would be another beat"):
            list(drummer.play(replace(recipe, **change), [0]))
    with pytest.raises(UserError, match="none of this drummer's"):
        list(drummer.play(replace(recipe, edit="continue", source="4:AAAAAAAAAAA="), [0]))


# from a MIDI file


def source_of(drummer, path=FUNK, **how):
    return edit.read_source(path, drummer.codec, lambda text: None, **how).codes


def test_going_on_begins_with_the_file(drummer):
    source = source_of(drummer, ROCK)
    recipe = drummer.recipe(change="continue", file=ROCK, seed=1)
    assert recipe.bars == 19 and recipe.bpm == pytest.approx(105, abs=0.01)  # 15 bars and 4 more
    for codes in codes_of(drummer, recipe, range(3)):
        assert codes.shape[1] == 19 * 16 and (codes[:, : 15 * 16] == source).all() and codes[:C, 15 * 16 :].any()
    faster = drummer.recipe(bars=16, bpm=174, change="continue", file=ROCK, seed=1)
    assert (faster.bars, faster.bpm, faster.said["tempo"]) == (16, 174, "170-180")


def test_going_on_hears_what_was(drummer, tmp_path):
    """Another last bar, another new one."""
    clip = DrumClip([[0, 36, 100], [480, 38, 90]], bpm=100, bars=1)
    midi.write(tmp_path / "a.mid", clip)
    midi.write(tmp_path / "b.mid", DrumClip([[0, 49, 100], [600, 51, 30]], bpm=100, bars=1))
    new = [codes_of(drummer, drummer.recipe(change="continue", file=tmp_path / name, seed=1))[0][:, 16:]
           for name in ("a.mid", "b.mid")]
    assert (new[0] != new[1]).any()


@pytest.mark.parametrize("how, kept", [
    ({"keep": "kick,snare"}, ["kick", "snare"]), ({"keep": ["crash", "kick"]}, ["kick", "crash"]),
    ({"reroll": "hats"}, ["kick", "snare", "side_stick", "floor_tom", "mid_tom", "high_tom", "crash", "ride",
                          "percussion"]),
    ({"reroll": "toms,open,Ride"}, ["kick", "snare", "side_stick", "closed_hat", "pedal_hat", "crash", "percussion"])])
def test_what_is_kept_is_kept_exactly(drummer, how, kept):
    source = source_of(drummer, bars=8)
    recipe = drummer.recipe(change="keep", file=FUNK, bars=8, seed=1, **how)
    assert list(recipe.keep) == kept
    rows = np.tile([one.name in kept for one in drummer.codec.drums.classes], 2)
    beats = codes_of(drummer, recipe, range(4))
    for codes in beats:
        assert (codes[rows] == source[rows]).all()
        new, old = codes[~rows].reshape(2, -1), source[~rows].reshape(2, -1)
        assert (new != old).any(axis=1).all()  # velocities and offsets
    assert len({codes.tobytes() for codes in beats}) == 4


@pytest.mark.parametrize("what", ["both", "velocities", "offsets"])
def test_humanising_keeps_every_hit(drummer, what):
    source = source_of(drummer, bars=8)
    for codes in codes_of(drummer, drummer.recipe(change="humanise", file=FUNK, bars=8, seed=1, humanise=what), (0, 1)):
        assert ((codes[:C] > 0) == (source[:C] > 0)).all()
        assert (codes[:C] != source[:C]).any() == (what != "offsets")
        assert (codes[C:] != source[C:]).any() == (what != "velocities")


def test_varying(drummer):
    source = source_of(drummer, bars=8)

    def varied(amount, indices=range(4)):
        return codes_of(drummer, drummer.recipe(change="vary", file=FUNK, bars=8, seed=1, amount=amount), indices)

    assert all((codes == source).all() for codes in varied(0))
    some = varied(0.3)
    shares = [(codes[:C] != source[:C])[source[:C] > 0].mean() for codes in some]
    assert all(0.1 < share < 0.5 for share in shares) and len({codes.tobytes() for codes in some}) == 4
    new = varied(1)
    plain = drummer.recipe(bars=8, bpm=drummer.recipe(change="vary", file=FUNK, bars=8, amount=1).bpm, seed=1)
    assert all((a == b).all() for a, b in zip(new, codes_of(drummer, plain, range(4))))


def test_a_variation_is_the_same_alone(drummer):
    recipe = drummer.recipe(change="vary", file=FUNK, bars=2, seed=1, amount=0.1)
    together = {beat.index: beat.codes for beat in drummer.play(recipe, range(40))}
    assert sorted(together) == list(range(40))
    for index in (0, 17, 39):
        assert (codes_of(drummer, recipe, [index])[0] == together[index]).all()


def test_more_is_varied_with_the_same_among_it(drummer):
    source = source_of(drummer, bars=4)
    recipe = drummer.recipe(change="vary", file=FUNK, bars=4, seed=1, amount=0.5)
    opened = [edit.given(replace(recipe, amount=amount), source, drummer.codec, np.random.default_rng(3)) < 0
              for amount in (0.2, 0.5, 1.0)]
    assert (opened[0] <= opened[1]).all() and opened[2].all()
    assert abs(opened[0].mean() - 0.2) < 0.02 and (opened[0][:C] == opened[0][C:]).all()
    beats = opened[0].reshape(2 * C, -1, 4)
    assert (beats.all(axis=2) == beats.any(axis=2)).all()  # a class's whole beat


def test_names_of_drums():
    names = ("kick", "floor_tom", "high_tom", "tom", "open_hat")
    drums = DrumMap("mine", tuple(DrumClass(name, i, (i,)) for i, name in enumerate(names)))
    for said, meant in {"k": ("kick",), "kicks": ("kick",), "toms": ("floor_tom", "high_tom"), "tom": ("tom",),
                        " Hats,KICK": ("kick", "open_hat"), "hi,fl": ("floor_tom", "high_tom")}.items():
        assert classes_named("keep", said, drums) == meant
    for said in ("", "x", "kick,,tom", "s"):
        with pytest.raises(UserError, match="keep: expected one of kick, floor_tom, high_tom, tom, open_hat"):
            classes_named("keep", said, drums)


# reading files


def source_and_note(drummer, path, **how):
    said = []
    return edit.read_source(path, drummer.codec, said.append, **how), " ".join(said)


def test_what_the_grid_cannot_keep_is_reported(drummer):
    _, said = source_and_note(drummer, FUNK)
    assert said.startswith(f"note: {FUNK}: 35 of 1046 hits give way") and "moves hits by 1.4 ms" in said


def test_pitches_outside_of_the_map(drummer, tmp_path):
    notes = [[0, 36, 100], [480, 90, 100], [960, 91, 100], [960, 38, 100]]
    midi.write(tmp_path / "a.mid", DrumClip(notes, bars=1))
    source, said = source_and_note(drummer, tmp_path / "a.mid")
    assert "2 hits with pitches 90, 91 are in no class of the map, they are left out" in said
    assert (source.codes[:C] > 0).sum() == 2
    midi.write(tmp_path / "b.mid", DrumClip([[0, 90, 100]], bars=1))
    with pytest.raises(UserError, match="none of its 1 hits is in a class of the map drums12, they have pitch 90"):
        source_and_note(drummer, tmp_path / "b.mid")


def test_empty_bars_at_the_ends_are_left_out(drummer, tmp_path):
    bar = 4 * 480
    midi.write(tmp_path / "a.mid", DrumClip([[3 * bar - 20, 36, 100], [4 * bar + 480, 38, 90]], bars=9))
    source, _ = source_and_note(drummer, tmp_path / "a.mid")
    assert source.bars == 2 and [tuple(x) for x in np.argwhere(source.codes[:C] > 0)] == [(0, 0), (1, 20)]
    last, _ = source_and_note(drummer, FUNK, last=True)
    assert (last.codes == source_of(drummer)).all()


def test_an_odd_time_signature(drummer, tmp_path):
    midi.write(tmp_path / "a.mid", DrumClip([[0, 36, 100], [1680, 38, 90]], bpm=90, meter=(7, 8), bars=2))
    recipe = drummer.recipe(change="continue", file=tmp_path / "a.mid", seed=1)
    assert (recipe.meter, recipe.bars, recipe.bpm) == ((7, 8), 6, pytest.approx(90, abs=0.01))
    as_four = drummer.recipe(change="humanise", file=tmp_path / "a.mid", meter=(4, 4), seed=1)
    assert (as_four.meter, as_four.bars) == ((4, 4), 1)


def test_a_day_of_drums_is_cut(drummer, tmp_path):
    notes = [[bar * 1920, 36, 100] for bar in range(43_199)] + [[43_199 * 1920, 36, 10]]
    midi.write(tmp_path / "a.mid", DrumClip(notes))
    source, said = source_and_note(drummer, tmp_path / "a.mid")
    assert source.bars == 256 and "the first 256 bars" in said
    recipe = drummer.recipe(change="continue", file=tmp_path / "a.mid", seed=1)
    assert recipe.bars == 256  # the last that are few enough to go on from
    ends = [source_and_note(drummer, tmp_path / "a.mid", bars=2, last=last)[0].codes[0, 16] for last in (False, True)]
    assert ends == [25, 3]


@pytest.mark.parametrize("data, message", [(b"", "0 bytes"), (b"RIFF....", "not a MIDI file"),
                                           (midi.to_bytes(DrumClip(np.zeros((0, 3)))), "no notes")])
def test_files_that_are_none(drummer, tmp_path, data, message):
    (tmp_path / "a.mid").write_bytes(data)
    for change in ("continue", "humanise"):
        with pytest.raises(UserError, match=f"a.mid: .*{message}"):
            drummer.recipe(change=change, file=tmp_path / "a.mid")
    with pytest.raises(UserError, match=message):
        drummer.recipe(groove=tmp_path / "a.mid")


# grooves


def pattern(*hits, bars=1):
    return Pattern(np.array([]), np.array([]), np.array([]), np.array([]), bars, 16, 4).with_table(np.array(hits), bars)


def test_a_groove_is_the_median_of_its_place():
    groove = pattern((0, 0, 100, 0.1), (16, 0, 60, 0.3), (32, 0, 80, 0.2), (4, 1, 90, -0.2), (12, 1, 110, 0.0), bars=3)
    mine = pattern((0, 0, 10, 0.0), (4, 1, 10, 0.0), (4, 2, 20, 0.0), (5, 0, 33, 0.4), (12, 2, 40, 0.0))
    out = with_groove(mine, groove)
    assert (out.step == mine.step).all() and (out.drum == mine.drum).all()
    table = out.table().tolist()
    assert table[0] == [0, 0, 80, 0.2] and table[1] == [4, 1, 90, -0.2] and table[3] == [5, 0, 33, 0.4]
    assert table[2] == pytest.approx([4, 2, 30 * 90 / 100, -0.2])  # of its own class as much softer as the snare there
    assert table[4] == pytest.approx([12, 2, 30 * 110 / 100, 0.0])


def test_its_own_groove_changes_nothing(drummer):
    codes = source_of(drummer, bars=1)
    mine = drummer.codec.pattern(codes)
    assert (drummer.codec.codes(with_groove(mine, mine)) == codes).all()


def test_swapping_grooves_keeps_every_hit(drummer):
    for file, groove in ((FUNK, ROCK), (ROCK, FUNK)):
        source = source_of(drummer, file)
        beat, = drummer.play(drummer.recipe(change="as it is", file=file, groove=groove), [0])
        assert ((beat.codes[:C] > 0) == (source[:C] > 0)).all() and (beat.codes != source).any()
    assert drummer._engine.made is None  # no model is needed


def test_a_new_beat_in_a_groove(drummer):
    plain, = codes_of(drummer, drummer.recipe(seed=1))
    grooved, = codes_of(drummer, drummer.recipe(seed=1, groove=ROCK))
    assert ((plain[:C] > 0) == (grooved[:C] > 0)).all() and (plain != grooved).any()


# the other codec


# streams


@pytest.mark.parametrize("what", [{"bars": 3, "bpm": 150}, {"bars": 11}, {"bars": 2, "meter": (7, 8)},
                                  {"genre": "jazz"}, {"density": 1, "takes": 1},
                                  {"change": "continue", "file": FUNK}, {"change": "humanise", "file": ROCK},
                                  {"change": "keep", "file": FUNK, "keep": "kick"},
                                  {"change": "vary", "file": ROCK, "amount": 0.3}], ids=str)
@pytest.mark.parametrize("of", ["grid", "hits"])
def test_a_stream_is_the_beat_bar_by_bar(drummer, hits_drummer, of, what):
    if of == "hits":
        if what.get("change") in ("keep", "vary"):
            pytest.skip("a model of hits does neither")
        drummer, what = hits_drummer, what | {"temperature": 20}  # this one makes bar lines else
    recipe = drummer.recipe(seed=4, **what)
    (beat,) = drummer.play(recipe, [2])
    bars = list(drummer.stream(recipe, 2))
    assert len(bars) == beat.clip.bars and all(notes.dtype == np.int64 and notes.shape[1:] == (3,) for notes in bars)
    assert sorted(np.concatenate(bars).tolist()) == sorted(beat.clip.notes.tolist()) and len(beat.clip.notes) > 1
    bar = 4 * 480 * beat.clip.meter[0] // beat.clip.meter[1]
    for number, notes in enumerate(bars):  # half a sixteenth early, or late
        assert ((notes[:, 0] >= number * bar - 60) & (notes[:, 0] < (number + 1) * bar + 60)).all()


def test_a_stream_begins_before_the_beat_is_made(drummer, monkeypatch):
    steps = []
    step = drummer.engine.stepper.step
    monkeypatch.setattr(drummer.engine.stepper, "step", lambda sequence: steps.append(1) or step(sequence))
    stream = drummer.stream(drummer.recipe(bars=3, seed=1))
    next(stream)
    assert 16 <= len(steps) < 24
    stream.close()


@pytest.mark.parametrize("what", [{"density": 1}, {"groove": FUNK}, {"change": "as it is", "file": FUNK}], ids=str)
def test_what_needs_the_whole_beat_is_no_stream(drummer, what):
    with pytest.raises(UserError, match="need the whole beat"):
        next(drummer.stream(drummer.recipe(seed=1, **what)))


def test_beats_of_hits(hits_drummer):
    for bars in (1, 4, 7):
        recipe = hits_drummer.recipe(bars=bars, seed=1, genre="funk")
        beats = list(hits_drummer.play(recipe, range(5)))
        for beat in beats:
            assert beat.clip.bars == bars and (beat.codes[0] == 0).sum() == bars and beat.codes[0, 0] == 0
            assert (beat.codes.max(axis=1) < hits_drummer.codec.sizes).all()
        for beat in beats:  # alone it ends where it ends among others
            assert np.array_equal(codes_of(hits_drummer, recipe, [beat.index])[0], beat.codes)
    wild = hits_drummer.recipe(bars=2, seed=1, temperature=5)
    assert all(codes[0, 0] == 0 for codes in codes_of(hits_drummer, wild, range(20)))


def test_files_as_hits(hits_drummer):
    source = source_of(hits_drummer, bars=2)
    continued, = codes_of(hits_drummer, hits_drummer.recipe(change="continue", file=ROCK, seed=1, bars=17))
    start = source_of(hits_drummer, ROCK)
    assert (continued[:, : start.shape[1]] == start).all() and (continued[0] == 0).sum() == 17
    human, = codes_of(hits_drummer, hits_drummer.recipe(change="humanise", file=FUNK, bars=2, seed=1))
    assert (human[:2] == source[:2]).all() and (human[2:] != source[2:]).any(axis=1).all()
    swapped, = codes_of(hits_drummer, hits_drummer.recipe(change="as it is", file=FUNK, groove=ROCK, bars=2))
    assert sorted(zip(*swapped[:2].tolist())) == sorted(zip(*source[:2].tolist()))
    for change in ("keep", "vary"):
        with pytest.raises(UserError, match="need one of drum_grid"):
            hits_drummer.recipe(change=change, file=FUNK, keep="kick", amount=0.3)


def test_the_map_of_a_grid_is_that_of_its_bundle(tmp_path):
    drummer = Drummer.load(tiny_drummer(tmp_path / "triplets", DrumGrid(steps=24), context=96))
    assert codes_of(drummer, drummer.recipe(bars=2, seed=1))[0].shape == (2 * C, 48)


def test_a_model_that_knows_no_genres(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.helpers.drum_bundle.GENRES", ())
    drummer = Drummer.load(tiny_drummer(tmp_path / "plain"))
    with pytest.raises(UserError, match="genre: this model knows no genres"):
        drummer.recipe(genre="funk")
    assert drummer.recipe(density=3, seed=1).said["density"] == "medium"


def test_the_prompt_of_a_model_of_hits(hits_drummer):
    """It has learned from rows of four bars; how many of them fit into the context depends on what is played."""
    assert [hits_drummer.recipe(bars=bars, seed=1).said["bars"] for bars in (1, 3, 4, 5, 64)] == [*"13444"]
    recipe = hits_drummer.recipe(change="humanise", file=FUNK, bars=2, seed=1)
    source = source_of(hits_drummer, bars=2)
    made = sampling.Playing(recipe, hits_drummer.bundle, hits_drummer.codec, hits_drummer.prompts, source)
    assert made.frames == made.given(0).shape[1] == hits_drummer.bundle.spec.prompt + source.shape[1]


def cores(monkeypatch, number):
    monkeypatch.setattr(sampling, "physical_cores", lambda: number)


def test_engines_and_batches_that_fit(drummer, monkeypatch):
    cores(monkeypatch, 4)
    engine = drummer.engine
    monkeypatch.setattr(engine, "threads", 9)
    recipe = drummer.recipe(seed=1)
    each = engine.stepper.cache_bytes(66)

    def room(memory, recipe=recipe):
        monkeypatch.setattr("audiocraft_ext.engine.engine.CACHE_BYTES", memory)
        return sampling.Playing(recipe, drummer.bundle, drummer.codec, drummer.prompts)._room(engine)

    assert room(2**30) == (4, 50) and room(2**30, drummer.recipe(seed=1, genre="funk")) == (4, 25)
    assert room(40 * each) == (4, 10) and room(40 * each, drummer.recipe(seed=1, genre="funk")) == (4, 5)
    assert room(3 * each) == (3, 1) and room(0) == (1, 1)


def test_variations_are_put_in_order_when_they_are_due(drummer, monkeypatch):
    asked = []
    monkeypatch.setattr(sampling, "AHEAD", 5)
    given = sampling.Playing.given
    monkeypatch.setattr(sampling.Playing, "given", lambda self, index: asked.append(index) or given(self, index))
    beats = drummer.play(drummer.recipe(change="vary", file=FUNK, bars=1, seed=1, amount=0.2), range(5000))
    for _ in range(4):
        next(beats)
    assert max(asked) < 20


def test_what_is_left_is_stopped(bundle, monkeypatch):
    """Batches under way end when nobody waits for them any more, and progress is reported in one thread."""
    cores(monkeypatch, 2)
    drummer, threads = Drummer.load(bundle, threads=2, max_batch=1), set()
    before = threading.active_count()
    beats = drummer.play(drummer.recipe(bars=1, seed=1), range(3), lambda at: threads.add(threading.get_ident()))
    next(beats)
    beats.close()
    long = drummer.play(drummer.recipe(bars=256, seed=1), range(3), lambda at: 1 / 0)  # at the first look at it
    start = time.perf_counter()
    with pytest.raises(ZeroDivisionError):
        next(long)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    list(Drummer.load(bundle, threads=1).play(drummer.recipe(bars=256, seed=1), [0]))
    assert seconds < (time.perf_counter() - start) and threading.active_count() == before
    assert threads == {threading.get_ident()}


def test_batches_beside_each_other_are_the_same_beats(bundle, monkeypatch):
    """Two engines in two threads, in their order; and what fails in one comes out."""
    cores(monkeypatch, 2)
    alone, beside = (Drummer.load(bundle, threads=n, max_batch=3) for n in (1, 2))
    recipe, seen = alone.recipe(bars=1, seed=5, genre="jazz", guidance=1), []
    expected = codes_of(alone, recipe, range(20))
    beats = list(beside.play(recipe, range(20), seen.append))
    assert [beat.index for beat in beats] == list(range(20))
    assert all((beat.codes == codes).all() for beat, codes in zip(beats, expected))
    assert max(seen) == pytest.approx(20)
    broken = replace(recipe, said={"genre": "no such"})
    with pytest.raises(UserError, match="no such"):
        list(beside.play(broken, range(20)))
