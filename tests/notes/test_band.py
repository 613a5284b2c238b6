"""Songs played by more than they were written for."""

from __future__ import annotations

import numpy as np
import pytest

from audiocraft_ext.notes import band
from audiocraft_ext.notes.codec.multitrack import FIRST, INSTRUMENT, LENGTH, LINE, PITCH, POSITION, Multitrack, ordered
from audiocraft_ext.notes.codec.score import DRUMS, instrument, program_of

CODEC, METER = Multitrack(), (4, 4)
PIANO, FLUTE = instrument(0), instrument(73)


def song(*bars: list[tuple[int, int, int]]) -> np.ndarray:
    """Of bars of (place in quarter notes, instrument, pitch), each a whole note long."""
    codes = []
    for bar in bars:
        codes += [(LINE, 0, 0, 0, 0), *((FIRST + 24 * at, who, pitch, 90, 0 if who == DRUMS else 71)
                                        for at, who, pitch in bar)]
    return ordered(np.array(codes, np.int64).T)


TWO_BARS = song([(0, PIANO, 36), (0, PIANO, 43), (0, PIANO, 60), (2, PIANO, 38), (2, PIANO, 64), (3, PIANO, 72)],
                [(0, PIANO, 55), (1, FLUTE, 80), (2, PIANO, 31)])
BEAT = song([(0, DRUMS, 36), (1, DRUMS, 38)], [(0, DRUMS, 42)], [])


def test_the_lowest_notes_become_a_bass():
    made = band.with_bass(TWO_BARS, CODEC, METER, np.random.default_rng(0))
    bass = made[:, np.isin(program_of(made[INSTRUMENT]), band.BASSES) & (made[POSITION] >= FIRST)]
    assert bass[PITCH].tolist() == [36, 38, 31] and len(set(bass[INSTRUMENT].tolist())) == 1
    assert CODEC.lengths[bass[LENGTH]].tolist() == [48, 96, 96]  # up to the next, where that is sooner
    assert made.shape == TWO_BARS.shape and sorted(made[PITCH].tolist()) == sorted(TWO_BARS[PITCH].tolist())
    assert (band.with_bass(made, CODEC, METER, np.random.default_rng(1)) == made).all(), "there is a bass"
    high = song([(0, PIANO, 60)], [])
    assert (band.with_bass(high, CODEC, METER, np.random.default_rng(1)) == high).all()


def test_pianos_are_played_by_others():
    """With chords by what plays chords; what is no piano stays."""
    found = set()
    for seed in range(60):
        made = band.cast(TWO_BARS, np.random.default_rng(seed))
        CODEC.checked(made)
        assert (made[INSTRUMENT] == FLUTE).sum() == 1
        found |= set(program_of(made[INSTRUMENT, made[POSITION] >= FIRST]).tolist()) - {73}
    assert 0 in found and len(found) > 10 and found - {0} <= set(band.CHORDS)
    alone = song([(0, PIANO, 60), (1, PIANO, 62)])
    led = {int(band.cast(alone, np.random.default_rng(seed))[INSTRUMENT, 1]) - 1 for seed in range(60)}
    assert led - {0} <= set(band.LEADS) and len(led) > 10


@pytest.mark.parametrize("bars", [1, 2, 7])
def test_drums_go_round_below_a_song(bars):
    codes = np.concatenate([TWO_BARS] * 4, axis=1)
    codes = codes[:, : np.append(np.flatnonzero(codes[POSITION] == LINE), codes.shape[1])[bars]]
    begins = set()
    for seed in range(20):
        made = band.with_drums(codes, BEAT, np.random.default_rng(seed))
        assert (made == ordered(made)).all()
        assert (made[:, (made[POSITION] == LINE) | (made[INSTRUMENT] != DRUMS)] == codes).all()
        lines = np.append(np.flatnonzero(made[POSITION] == LINE), made.shape[1])
        hits = [int((made[INSTRUMENT, a + 1 : b] == DRUMS).sum()) for a, b in zip(lines, lines[1:])]
        assert hits == np.resize(np.roll([2, 1, 0], -[2, 1, 0].index(hits[0])), bars).tolist()
        begins.add(hits[0])
    assert begins == {0, 1, 2}


def test_songs_of_drums_alone_are_found_by_their_words():
    no = {name: "no" for name in band.INSTRUMENTS}
    rows = [{"split": split, "time_signature": "4/4", "prompt": prompt} for split, prompt in (
        ("train", no | {"drums": "yes"}), ("train", no | {"drums": "yes", "bass": "yes"}),
        ("valid", no | {"drums": "yes"}), ("train", None), ("train", no | {"drums": "yes", "tempo": "90-100"}))]
    assert band.drummers(rows, np.arange(5)) == {"4/4": [0, 4]}
    assert band.lacks_drums(TWO_BARS) and not band.lacks_drums(BEAT) and not band.lacks_drums(song([], []))
