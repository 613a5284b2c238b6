"""Copies that were planted are found, and where they are from; other sound is not."""

from __future__ import annotations

import numpy as np
import pytest

from audiocraft_ext.evaluate.copies import Library, Place, limit, search, share, versions
from audiocraft_ext.evaluate.sounds import RATE, Clip, Sound
from tests.evaluate.synthetic import scattered, white


@pytest.fixture(scope="module")
def library() -> Library:
    return Library([Sound("short", scattered(2, 9)), Sound("one", scattered(20, 1)), Sound("two", scattered(20, 2))])


def test_a_copy_is_found_where_it_is_from(library):
    """At another level, under noise and with its treble gone."""
    copy = scattered(20, 2)[7 * RATE: 12 * RATE]
    copy = 0.2 * np.convolve(copy, np.ones(4) / 4, "same").astype(np.float32) + 0.02 * white(5, 3)
    places = search([Clip(0, "copy", 0, copy.astype(np.float32))], library)
    assert places and all(place.score > 0.8 and place.source == "two" for place in places)
    assert all(place.start == pytest.approx(7 + place.at, abs=0.03) for place in places)


def test_other_sound_is_below_the_limit(library):
    held_out = search([Clip(i, "", 0, scattered(10, 20 + i)) for i in range(4)], library)
    top = limit(held_out)
    assert top < 0.7
    others = search([Clip(i, "", 0, scattered(10, 30 + i)) for i in range(4)], library)
    copies = search([Clip(0, "", 0, scattered(20, 1)[: 10 * RATE])], library)
    assert share(others, top) < 0.5 and share(copies, top) == 1


def test_any_of_several_libraries(library):
    other = Library([Sound("three", scattered(20, 3))])
    places = search([Clip(0, "", 0, scattered(20, 3)[5 * RATE: 10 * RATE])], library, other)
    assert {place.source for place in places} == {"three"}


def test_windows_do_not_reach_from_one_sound_into_the_next(library):
    seam = np.concatenate([scattered(20, 1)[-2 * RATE:], scattered(20, 2)[: 2 * RATE]])
    [place] = search([Clip(0, "", 0, seam)], library)
    assert place.score < 0.9


def test_a_version_of_training_sound_is_known_as_such(library):
    version = (0.5 * scattered(20, 1)[3 * RATE: 11 * RATE] + 0.02 * white(8, 1)).astype(np.float32)
    clips = [Clip(0, "version", 0, version), *(Clip(i, f"other{i}", 0, scattered(8, 40 + i)) for i in (1, 2))]
    assert versions(search(clips, library), clips) == ["version"]


def test_what_cannot_be_searched_is_unknown():
    assert search([Clip(0, "", 0, scattered(5))], Library([])) == []
    assert search([Clip(0, "", 0, scattered(2))], Library([Sound("", scattered(5))])) == []
    assert np.isnan(limit([])) and np.isnan(share([], 0.5)) and np.isnan(share([Place(1, 0, 0, "", 0)], limit([])))
