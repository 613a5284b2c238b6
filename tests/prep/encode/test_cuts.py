"""Where a sound is cut: laws of the three ways, and what cannot be."""

import itertools

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from data_prep.audio.beats.grid import Beats
from data_prep.audio.cuts import Piece, cut
from data_prep.shared.cut import Cut

RATE = 32_000
BAR = 48_000  # 160 BPM


def beats(first: int = 10_000, bars: int = 9, confidence: float = 0.8) -> Beats:
    lines = first + BAR * np.arange(bars)
    return Beats(160.0, confidence, 4, (first + BAR // 4 * np.arange(4 * bars)), lines)


def pieces(kind: str, regions, **more) -> list[Piece]:
    return cut(Cut.parse(kind), regions, more.pop("samples", regions[-1][1]), RATE, more.pop("shortest", 0.0),
               more.pop("beats", None), more.pop("onsets", None))


@pytest.mark.parametrize("text", ["fixed:30", "fixed:0.5", "bars:4", "bars:1", "onsets"])
def test_what_is_asked_for_comes_back_as_it_was_written(text):
    assert str(Cut.parse(text)) == text


@pytest.mark.parametrize("text", ["", "fixed", "fixed:0", "fixed:-1", "fixed:nan", "fixed:inf", "bars:0", "bars:1.5",
                                  "bars:x", "bars:100", "onsets:3", "beats:4", "bars:inf"])
def test_what_cannot_be_is_refused_with_what_can(text):
    with pytest.raises(UserError, match="fixed:SECONDS, bars:N, onsets"):
        Cut.parse(text)


def test_fixed_is_a_piece_a_region():
    assert [(p.start, p.end, p.follows) for p in pieces("fixed:30", [(5, 90_000), (100_000, 200_000)])] == [
        (5, 90_000, False), (100_000, 200_000, False)]


def test_bars_begin_on_downbeats_and_follow_on():
    found = pieces("bars:4", [(0, 10_000 + 8 * BAR)], beats=beats())
    assert [(p.start, p.end, p.bars, p.follows) for p in found] == [
        (10_000, 10_000 + 4 * BAR, 4, False), (10_000 + 4 * BAR, 10_000 + 8 * BAR, 4, True)]
    assert all(p.bpm == 160 and p.bar_seconds == 1.5 and p.confidence == 0.8 for p in found)


def test_fewer_bars_at_the_end_are_a_piece_of_their_own():
    found = pieces("bars:4", [(0, 10_000 + 6 * BAR + BAR // 2)], beats=beats())
    assert [p.bars for p in found] == [4, 2]


def test_a_loop_ends_where_its_sound_does():
    """Its last downbeat is a bar before its end, which may come a little early."""
    end = 2 * BAR - 900
    found = pieces("bars:2", [(0, end)], beats=beats(first=0, bars=2))
    assert [(p.start, p.end, p.bars) for p in found] == [(0, end, 2)]


@pytest.mark.parametrize("rest, bars", [(0.3, 4), (0.7, 3)])
def test_a_rest_at_the_end_of_a_loop_is_part_of_it(rest, bars):
    """Silence is trimmed; what of it lies in a bar that is mostly sound belongs to the music."""
    end = round((4 - rest) * BAR)
    found = pieces("bars:4", [(0, end)], samples=4 * BAR, beats=beats(first=0, bars=4))
    assert [(p.start, p.end) for p in found] == [(0, bars * BAR)]


def test_a_rest_at_the_start_is_part_of_the_first_bar():
    found = pieces("bars:2", [(BAR // 4, 2 * BAR)], beats=beats(first=0, bars=2))
    assert [(p.start, p.end, p.bars) for p in found] == [(0, 2 * BAR, 2)]


def test_silence_parts_bars():
    regions = [(0, 10_000 + 3 * BAR), (10_000 + 5 * BAR, 10_000 + 8 * BAR)]
    found = pieces("bars:2", regions, beats=beats())
    assert [(p.bars, p.follows) for p in found] == [(2, False), (1, True), (2, False), (1, True)]
    assert all(any(a <= p.start and p.end <= b for a, b in regions) for p in found)


def test_no_beat_is_taken_whole_and_reported():
    assert [(p.start, p.end, p.cut) for p in pieces("bars:4", [(0, 99_000)])] == [(0, 99_000, "whole")]


def test_onsets():
    found = pieces("onsets", [(100, 50_000)], onsets=np.array([100, 20_000, 60_000]))
    assert [(p.start, p.end, p.cut) for p in found] == [(100, 20_000, "onsets"), (20_000, 50_000, "onsets")]
    assert pieces("onsets", [(100, 900)], onsets=np.zeros(0, np.int64))[0].start == 100


@pytest.mark.parametrize("kind", ["fixed:1", "bars:3", "onsets"])
@pytest.mark.parametrize("seed", range(20))
def test_pieces_lie_in_regions_in_order_and_are_long_enough(kind, seed):
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.choice(600_000, 6, replace=False)).reshape(3, 2)
    regions = [(int(a), int(b)) for a, b in ends]
    found = pieces(kind, regions, shortest=0.5, beats=beats(int(rng.integers(0, 9000)), 13),
                   onsets=np.sort(rng.choice(600_000, 40, replace=False)))
    room = BAR // 2 if "bars" in kind else 0
    assert all(any(a - room <= p.start < p.end <= b + room for a, b in regions) for p in found)
    assert all(p.end <= q.start and q.follows == (p.end == q.start and q.cut == "bars")
               for p, q in itertools.pairwise(found))
    assert all(p.end - p.start >= 0.5 * RATE for p in found)
