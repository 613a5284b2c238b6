"""Songs as codes: no note lost, the law, and any legal codes are a legal song."""

import numpy as np
import pytest

from audiocraft_ext.core.gates import Gates
from audiocraft_ext.core.prompts import Prompts
from audiocraft_ext.songs import describe
from audiocraft_ext.songs.beepbox.song import RHYTHMS, Point, Song, flat, song_of_bars
from audiocraft_ext.songs.codec.voices import FIRST, HOLD, Facts, Voices, facts_of, rhythm_of
from tests.helpers.songs import random_song

CODEC = Voices()


def heard(song: Song) -> list[tuple]:
    """When which channel plays which pitches for how long, ties as one note, whatever the patterns."""
    found, open_ = [], {}
    for channel, bar, note in song.notes():
        start = bar * song.parts + note.start
        last = open_.get(channel)
        if note.continues and last is not None and found[last][2] == start and found[last][3] == note.pitches:
            found[last] = (channel, found[last][1], start + note.end - note.start, note.pitches)
        else:
            open_[channel] = len(found)
            found.append((channel, start, start + note.end - note.start, note.pitches))
    return sorted(found)


@pytest.mark.parametrize("seed", range(40))
def test_the_law(seed):
    song = random_song(seed)
    codes, canonical = CODEC.encode(song), CODEC.canonicalize(song)
    assert CODEC.decode(codes, facts_of(song)) == canonical == CODEC.canonicalize(canonical)
    assert heard(canonical) == heard(song)
    cost = CODEC.cost(song)
    assert cost.notes == sum(1 for _ in song.notes()) and cost.rhythm == canonical.rhythm
    after = CODEC.cost(canonical)
    assert (after.bent, after.louder, after.untied) == (0, 0, 0)
    assert (codes < np.array(CODEC.sizes)[:, None]).all() and canonical.check()


@pytest.mark.parametrize("rhythm", RHYTHMS)
@pytest.mark.parametrize("beats", [3, 5, 7, 11, 13, 16])
def test_odd_bars_of_every_rhythm_keep_the_last_note(beats, rhythm):
    step, steps = 24 // rhythm, beats * rhythm
    bar = tuple(flat(i * step, (i + 1) * step, (i % 85,)) for i in range(steps))
    song = song_of_bars([[bar, bar], [(flat((steps - 1) * step, steps * step, (3, 1)),)] * 2], 1, beats=beats,
                        rhythm=rhythm)
    assert CODEC.canonicalize(song) == song and CODEC.encode(song).shape == (4, 2 * steps * 2)
    assert (CODEC.encode(song)[0, 0::2] >= FIRST[0]).all()


def test_channels_are_interleaved_and_ties_held():
    a, b = (flat(0, 96, (10,)),), (flat(0, 24, (10,), continues=True), flat(24, 48, (11, 20)))
    song = song_of_bars([[a, b], [(), (flat(72, 96, (5,)),)]], 1)
    codes = CODEC.encode(song).reshape(4, 32, 2)
    assert codes[0, :, 0].tolist() == [2 + 10] + [HOLD] * 19 + [2 + 11] + [HOLD] * 3 + [0] * 8
    assert codes[1, 20, 0] == 1 + 20 and codes[0, 28, 1] == 2 + 85 + 5
    assert CODEC.canonicalize(song) == song


def test_notes_off_the_grid_take_a_finer_rhythm():
    for parts, rhythm in ((8, 3), (4, 6), (3, 8), (1, 24), (6, 4), (0, 4)):
        note = flat(parts, parts + 24, (1,))
        assert rhythm_of(song_of_bars([[(note,)]], 0, rhythm=4)) == rhythm


def test_bends_and_volumes_are_said_to_be_lost():
    note = flat(0, 24, (7,))._replace(points=(Point(0, 0, 3), Point(12, 2, 3), Point(24, 0, 1)))
    song = song_of_bars([[(note,)]], 0)
    assert (CODEC.cost(song).bent, CODEC.cost(song).louder) == (1, 1)


@pytest.mark.parametrize("seed", range(30))
def test_all_legal_codes_are_a_legal_song(seed):
    rng = np.random.default_rng(seed)
    facts = Facts(int(rng.integers(3, 17)), int(rng.choice(RHYTHMS)), int(rng.integers(1, 11)), int(rng.integers(6)))
    spec, T = CODEC.spec, int(rng.integers(1, 3 * facts.bar))
    codes = np.stack([rng.integers(0, size, T) for size in CODEC.sizes])
    codes[0, rng.random(T) < 0.5] = HOLD
    sequence, gates = codes[None].copy(), Gates(spec.gates, (0,) * 4, spec.card)
    for t in range(T):
        gates.close(sequence, t, np.ones((1, 4), bool))
    song = CODEC.decode(sequence[0], facts)
    assert song.check() and song.bars == -(-T // facts.bar)
    again = CODEC.decode(CODEC.encode(song), facts_of(song))
    assert heard(again) == heard(song)


def test_prompts_say_what_codes_do_not():
    prompts = describe.prompts(CODEC)
    assert prompts.frames == 2 and prompts.first == CODEC.spec.card
    facts = Facts(7, 24, 10, 0)
    words = describe.describe(facts, 155)
    assert Prompts.from_dict(prompts.to_dict()).decode(prompts.codes(words)) == words
    assert describe.facts_of(words) == facts._replace(tempo=155)


def test_codes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="out of range: those of stream 1"):
        CODEC.decode(np.full((4, 8), 98), Facts())
