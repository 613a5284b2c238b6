"""Drums to a given rhythm: a drum plays at the onsets of any part, with its velocities, and the others play to it."""

import json
from pathlib import Path

import numpy as np
import pytest

import infer
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.play import cli
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.recipe import BeatRecipe
from audiocraft_ext.midi.file import NOTE, PROGRAM, Midi, table
from audiocraft_ext.midi.write import write
from tests.helpers.drum_bundle import tiny_drummer

KICK, SNARE = 0, 1
BASS = [(0, 40, 90), (180, 40, 50), (360, 43, 100), (960, 38, 80), (1440, 36, 120)]  # tick, pitch, velocity: one bar
STEPS = [0, 2, 3, 8, 12]  # of 16; the second comes half a step early


def rhythm(path: Path, notes=BASS, bars: int = 4, meter=(4, 4), more: tuple = (), programs: tuple = (),
           at: int = 0) -> Path:
    """A file with one bar again and again on channel 1, 480 ticks a beat, at 97 BPM.

    Args:
        more: other notes ``(tick, channel, pitch)``; programs: ``(channel, program)``; at: how many empty bars first.
    """
    bar = 1920 * meter[0] // meter[1]
    rows = [(tick + (at + i) * bar, 1, pitch, velocity) for i in range(bars) for tick, pitch, velocity in notes]
    rows = sorted([*rows, *((tick, channel, pitch, 100) for tick, channel, pitch in more)])
    start, channel, pitch, velocity = np.array(rows, np.int64).reshape(-1, 4).T
    midi = Midi(table(NOTE, start, start + 100, 0, channel, pitch, velocity), 480, [(0, 97.0)], [(0, *meter)], {}, 0)
    if programs:
        midi.programs = table(PROGRAM, 0, 0, *np.array(programs).T)
    write(path, midi)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_drummer(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def drummer(bundle) -> Drummer:
    return Drummer.load(bundle, threads=1)


def lanes(beat) -> np.ndarray:
    """Where each class plays, ``bool [12, bars, 16]``."""
    return beat.codes[:12].reshape(12, beat.clip.bars, -1) > 0


def test_the_shipped_drummer_kicks_with_the_bass_and_plays_to_it(tmp_path):
    drummer = Drummer.load("drums", threads=1)
    beats = list(drummer.play(drummer.recipe(change="to", file=rhythm(tmp_path / "bass.mid"), seed=1), range(8)))
    wanted = np.zeros(16, bool)
    wanted[STEPS] = True
    for beat in beats:
        assert beat.clip.bars == 4 and beat.clip.bpm == pytest.approx(97, rel=1e-4)
        assert (lanes(beat)[KICK] == wanted).all()
        kicks = beat.clip.notes[beat.clip.notes[:, 1] == 36]
        assert np.abs(kicks[:, 2] - np.tile([90, 50, 100, 80, 120], 4)).max() <= 2
        assert np.abs(kicks[:5, 0] - [0, 180, 360, 960, 1440]).max() <= 2
    others = np.stack([lanes(beat)[1:] for beat in beats])
    assert others.any(axis=(2, 3)).sum(axis=1).min() >= 2  # drums play to it
    assert len({beat.codes.tobytes() for beat in beats}) == 8
    snares = others[:, SNARE - 1].mean(axis=(0, 1))
    assert snares[[4, 12]].mean() > snares[[0, 8]].mean()  # it is a drummer still


def test_what_it_plays_hears_the_rhythm(tmp_path):
    """Another rhythm, same seed: the other drums are others."""
    drummer = Drummer.load("drums", threads=1)
    one, two = (next(drummer.play(drummer.recipe(change="to", file=file, seed=2), [0])) for file in (
        rhythm(tmp_path / "a.mid"), rhythm(tmp_path / "b.mid", [(480, 60, 100), (1680, 60, 100)])))
    assert (lanes(one)[1:] != lanes(two)[1:]).any()


def test_another_drum_chords_and_the_part_that_is_meant(drummer, tmp_path):
    chords = rhythm(tmp_path / "chords.mid", [(0, 60, 50), (0, 64, 90), (0, 67, 70), (960, 60, 80)], at=2)
    notes = []
    heard = Drummer(drummer.bundle, notes.append, threads=1)
    (beat,) = heard.play(heard.recipe(change="to", file=chords, lane="snare", seed=1), [0])
    snares = beat.clip.notes[beat.clip.notes[:, 1] == 38]
    assert snares[:, 0].tolist() == [0, 960, 1920, 2880, 3840, 4800, 5760, 6720] and abs(snares[0, 2] - 90) <= 2
    assert any("the first hit is in bar 3" in text for text in notes)
    band = rhythm(tmp_path / "band.mid", more=[(100, 2, 60), (700, 10, 42)], programs=[(1, 33), (2, 0)])
    assert (lanes(next(heard.play(heard.recipe(change="to", file=band, seed=1), [0])))[KICK].sum(axis=1) == 5).all()
    assert any("the onsets of channel 1, the only one with a bass" in text for text in notes)
    hats = next(heard.play(heard.recipe(change="to", file=band, channel=10, lane="closed", seed=1), [0]))
    assert hats.clip.bars == 1


def test_three_four_and_the_recipe(drummer, tmp_path):
    file = rhythm(tmp_path / "waltz.mid", [(0, 60, 100), (720, 60, 60)], bars=6, meter=(3, 4))
    recipe = drummer.recipe(change="to", file=file, seed=1)
    assert recipe.meter == (3, 4) and recipe.bars == 6 and recipe.keep == ("kick",)
    assert BeatRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    one, two = drummer.play(recipe, [0, 1])
    (again,) = drummer.play(recipe, [1])
    np.testing.assert_array_equal(two.codes, again.codes)
    assert (lanes(one)[KICK] == lanes(two)[KICK]).all() and (one.codes != two.codes).any()


def test_longer_than_the_context(drummer, tmp_path):
    (beat,) = drummer.play(drummer.recipe(change="to", file=rhythm(tmp_path / "long.mid", bars=20), seed=1), [0])
    assert beat.clip.bars == 20 > drummer.bundle.context / 16
    assert (lanes(beat)[KICK].sum(axis=1) == 5).all()


def test_the_command_line(bundle, tmp_path, capsys):
    file = rhythm(tmp_path / "tap.mid")
    infer.main([str(bundle), "--to", str(file), "--to-lane", "snare", "-n", "2", "--seed", "1", "-o", str(tmp_path)])
    names = sorted(path.name for path in tmp_path.glob("*seed1*.mid"))
    assert len(names) == 2 and "to-tap" in names[0]
    file.unlink()  # all is in the JSON
    assert not list(tmp_path.glob("*.png"))
    infer.main(["--from", str(next(tmp_path.glob("*_1_*.json"))), "-o", str(tmp_path / "again")])
    assert "not the same" not in capsys.readouterr().err


def test_what_cannot_be_is_said(bundle, drummer, tmp_path):
    fine = rhythm(tmp_path / "fine.mid")
    cases = [(dict(lane="hats"), fine, "to-lane: one drum plays the rhythm, and 'hats' is"),
             (dict(lane="cowboy"), fine, "to-lane: expected one of kick, snare"),
             ({}, rhythm(tmp_path / "none.mid", [], 0), "has no notes"),
             (dict(channel=3), fine, "has no notes on channel 3, but on channel 1"),
             ({}, rhythm(tmp_path / "odd.mid", meter=(7, 64), notes=[(0, 60, 100)]), "does not end on a step"),
             (dict(bars=9), fine, "bars: the file has 4 bars"),
             ({}, rhythm(tmp_path / "two.mid", more=[(0, 2, 60)]), "none of them with a bass; say whose"),
             ({}, tmp_path / "gone.mid", "gone.mid")]
    for what, file, why in cases:
        with pytest.raises(UserError, match=why):
            drummer.recipe(change="to", file=file, **what)
    for line, why in ((["--to-lane", "kick"], "--to-lane belongs to --to FILE"),
                      (["--to", "x.mid", "--vary", "x.mid"], "take one of them")):
        with pytest.raises(UserError, match=why):
            cli.main([str(bundle), *line])
    hits = Drummer.load(tiny_drummer(tmp_path / "hits", DrumHits(), "drum_hits"), threads=1)
    with pytest.raises(UserError, match="--to need one of drum_grid"):
        hits.recipe(change="to", file=fine)
