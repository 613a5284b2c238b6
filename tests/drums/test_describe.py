"""Descriptions of patterns: the measures on patterns whose answer is known, the words, and their prompts."""

import numpy as np
import pytest

from audiocraft_ext.drums import describe as d
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.midi.tempos import tempo_word

KICK, SNARE, HAT = 0, 1, 3


def pattern(*hits: tuple[float, int], bars: int = 1, bar_steps: int = 16, beat_steps: int = 4) -> Pattern:
    """Of (place in steps, class)."""
    place = np.array([hit[0] for hit in hits], float)
    step = np.floor(place + 0.5)
    table = np.stack([step, [hit[1] for hit in hits], np.full(len(hits), 90.0), place - step], 1) if hits else ()
    empty = np.zeros(0)
    return Pattern(empty.astype(int), empty.astype(int), empty, empty, bars, bar_steps, beat_steps).with_table(table)


def eighths(late: float, bars: int = 2) -> Pattern:
    """Hats whose every second eighth is later by so many sixteenths."""
    return pattern(*((place + late * (place % 4 == 2), HAT) for place in range(0, 16 * bars, 2)), bars=bars)


def test_density_is_hits_to_four_quarters_in_any_metre_and_grid():
    assert d.density(pattern((0, KICK), (4, SNARE), (8, KICK), (12, SNARE))) == 4
    assert d.density(pattern((0, KICK), (4, SNARE), (8, KICK), bar_steps=12)) == 4
    assert d.density(pattern((0, KICK), (12, SNARE), bars=2, bar_steps=24, beat_steps=6)) == 1
    assert d.density(pattern()) == 0


def test_intensity_is_the_share_off_the_quarters():
    assert d.intensity(pattern((0, KICK), (4, SNARE), (6, KICK), (7.4, HAT))) == 0.5
    assert d.intensity(pattern((0, KICK), (3.8, SNARE), (8.3, SNARE))) == 0  # played early and late, on the beat still
    assert d.intensity(pattern((14, KICK), (18, KICK), bars=2, bar_steps=14)) == 0  # a bar of 7/8 begins a quarter
    assert d.intensity(pattern()) == 0


@pytest.mark.parametrize("late, word", [(0, "straight"), (-0.1, "straight"), (0.25, "light"), (2 / 3, "hard")])
def test_swung_eighths(late, word):
    assert d.swing(eighths(late)) == pytest.approx(late * 1.5)  # two thirds of a sixteenth are a triplet
    assert d.measured(eighths(late))["swing"] == word


def test_swung_sixteenths_and_triplets():
    swung = pattern(*((place + (place % 2) / 3, HAT) for place in range(16)))
    assert d.swing(swung) == pytest.approx(1)
    assert d.swing(pattern(*((place, HAT) for place in range(16)))) == 0
    triplets = pattern(*((place, HAT) for place in range(12)), bar_steps=12, beat_steps=3)
    assert d.swing(triplets) == pytest.approx(1)


def test_too_few_off_beats_have_no_swing():
    assert d.swing(pattern((0, KICK), (2, HAT), (6, HAT), (10, HAT))) is None
    assert d.swing(pattern((0, KICK), (2, HAT), (6, HAT), (10, HAT), (14, HAT))) == 0
    assert "swing" not in d.describe(pattern((0, KICK)))
    assert d.describe(pattern()) == {"density": "very-low", "bars": "1", "meter": "4/4"}


def test_weights_of_the_steps():
    assert d.weights(16, 4).tolist() == [0, -4, -3, -4, -2, -4, -3, -4, -1, -4, -3, -4, -2, -4, -3, -4]
    assert d.weights(12, 3).tolist() == [0, -3, -3, -2, -3, -3, -1, -3, -3, -2, -3, -3]
    assert d.weights(12, 4).tolist() == [0, -3, -2, -3, -1, -3, -2, -3, -1, -3, -2, -3]


def test_syncopation():
    assert d.syncopation(pattern((0, KICK), (8, KICK))) == 0
    assert d.syncopation(pattern(*((step, HAT) for step in range(16)))) == 0  # no place is empty
    assert d.syncopation(pattern((0, KICK), (6, KICK))) == 2  # off-beat -3, the third quarter stays empty, -1
    assert d.syncopation(pattern((0, KICK), (6, KICK), (8, KICK))) == 0
    assert d.syncopation(pattern((0, KICK), (14, SNARE))) == 3  # the next bar line, round the loop
    assert d.syncopation(pattern((0, KICK), (6, KICK), bars=2)) == 1.5  # the bar line is empty: 3 in two bars


def test_levels_are_a_fifth_each_at_their_thresholds():
    for hits, word in ((13, "very-low"), (14, "low"), (18, "medium"), (21, "high"), (25, "very-high")):
        assert d.measured(pattern(*((i % 16, i // 16) for i in range(hits))))["density"] == word


def test_words():
    assert [tempo_word(bpm) for bpm in (3, 59.9, 60, 174, 199.9, 200, 400)] == [
        "<60", "<60", "60-70", "170-180", "190-200", ">=200", ">=200"]
    assert [d.meter_word(meter) for meter in ((4, 4), (6, 8), (5, 8))] == ["4/4", "6/8", "other"]
    assert d.genre_of("Latin/brazilian-samba") == "latin" and d.genre_of(None) is None and d.genre_of("/x") is None
    said = d.describe(eighths(0, 9), "hiphop", "Fill", 92.5, (4, 4))
    assert said == {"genre": "hiphop", "kind": "fill", "density": "very-low", "intensity": "low",
                    "swing": "straight", "tempo": "90-100", "meter": "4/4"}  # nine bars have no word
    assert "kind" not in d.describe(eighths(0), kind="verse")


def test_every_description_is_a_prompt_in_the_order_of_the_fields():
    made = d.prompts(("funk", "jazz"), DrumGrid())
    assert [field.name for field in made.fields] == ["genre", "kind", "density", "intensity", "swing", "tempo", "bars",
                                                     "meter"]
    said = d.describe(eighths(0.5), "jazz/swing", "beat", 140)
    assert made.decode(made.codes(said)) == said and list(said) == [name for name in made.words if name in said]
    assert made.first == 33 and made.frames == 1
