"""The bundle that ships: its size, whom it owes, and that it plays as one would expect of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.drums import describe
from audiocraft_ext.drums.midi import drums_of, stretches, to_bytes
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.engine.bundle import BUNDLES
from audiocraft_ext.midi.file import parse

FOLDER = BUNDLES / "drums"


@pytest.fixture(scope="module")
def drummer():
    return Drummer.load("drums", threads=1)


def test_it_is_small_and_says_whom_it_owes(drummer):
    assert drummer.bundle.lm.parameter_count() <= 4_000_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000
    info = json.loads((FOLDER / "model.json").read_text("utf-8"))
    assert info["licence"] == "CC-BY-4.0" and "Groove MIDI Dataset" in info["card"]
    assert "/" not in json.dumps(info["run"])  # no path of anybody's
    owed = (FOLDER / "LICENCES.md").read_text("utf-8")
    assert all(word in owed for word in ("Gillick", "1905.06118", "creativecommons.org/licenses/by/4.0", "Google"))
    drummer.bundle.verify()


def test_it_plays_like_a_drummer(drummer):
    """Kick on the one, snare on two and four, more of the one than of the other; not one bar like another."""
    beats = list(drummer.play(drummer.recipe(seed=1), range(32)))
    cells = np.stack([beat.codes[:12] > 0 for beat in beats]).reshape(32, 12, 4, 16).mean(axis=(0, 2))  # [12, 16]
    kick, snare = cells[:2]
    assert kick[0] > 0.5 and snare[4] + snare[12] > 0.8 and snare[0] < kick[0]
    assert 8 < np.mean([len(beat.clip.notes) for beat in beats]) / 4 < 30
    assert len({beat.codes.tobytes() for beat in beats}) == 32
    for beat in beats:
        midi = parse(to_bytes(beat.clip))
        clip = stretches(midi, drums_of(midi)[0], drummer.codec)[0][0].clip
        assert (drummer.codec.canonicalize(clip).notes == beat.clip.notes).all() and clip.bars == 4


@pytest.mark.parametrize("field", ["density", "intensity"])
def test_words_steer(drummer, field):
    of = getattr(describe, field)
    means = []
    for word in ("very-low", "medium", "very-high"):
        beats = drummer.play(drummer.recipe(bars=4, seed=3, **{field: word}), range(12))
        means.append(np.median([of(drummer.codec.pattern(beat.codes, (4, 4))) for beat in beats]))
    assert means[0] < means[1] < means[2] and means[2] > 1.3 * means[0]


def test_what_it_was_made_of_ships_in_part():
    grooves = Path(__file__).parents[2] / "data_prep" / "grooves"
    assert len(list(grooves.rglob("*.mid"))) == 111 and "CC-BY-4.0" in (grooves / "LICENSE.txt").read_text("utf-8")
