"""The codec of notes: its law, what it keeps, and that any codes in range decode."""

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.codec.multitrack import LINE, Multitrack, until_next
from audiocraft_ext.notes.codec.score import DRUMS, INSTRUMENTS, Score

METERS = [(4, 4), (3, 4), (6, 8), (7, 8), (2, 4), (12, 8), (8, 4), (3, 8), (5, 4)]


def some_score(seed: int, n: int = 200, few: bool = False) -> Score:
    """Notes anywhere; with ``few`` pitches and instruments, so that they meet."""
    rng = np.random.default_rng(seed)
    meter = METERS[rng.integers(len(METERS))]
    beat = int(rng.choice([96, 89, 480, 1024, 24]))
    notes = np.stack([rng.integers(0, 40 * beat, n), rng.integers(0, 6 * beat, n),
                      rng.choice([0, 1, 34, 129]if few else INSTRUMENTS, n), rng.integers(60, 62 if few else 100, n),
                      rng.integers(1, 128, n)], 1)
    bars = None if rng.random() < 0.5 else int(rng.integers(1, 12))
    return Score(notes, beat, float(rng.uniform(40, 240)), meter, bars)


@pytest.mark.parametrize("division", (12, 24, 48))
@pytest.mark.parametrize("few", (False, True))
def test_decoding_what_was_encoded_is_canonical(division, few):
    codec = Multitrack(division)
    for seed in range(40):
        score = some_score(seed, few=few)
        canonical = codec.canonicalize(score)
        codes = codec.encode(score)
        assert codec.decode(codes, score.bpm, score.meter) == canonical
        assert codec.canonicalize(canonical) == canonical
        np.testing.assert_array_equal(codec.encode(canonical), codes)
        assert codes.shape[1] == len(canonical) + canonical.bars


def test_no_note_is_lost_and_velocities_stay():
    codec = Multitrack()
    for seed in range(20):
        score = some_score(seed, few=True)
        score = Score(score.notes, score.ticks_per_beat, score.bpm, score.meter)
        kept = codec.canonicalize(score).notes
        for column in (2, 3, 4):  # instrument, pitch, velocity
            np.testing.assert_array_equal(np.sort(kept[:, column]), np.sort(score.notes[:, column]))
        cost = codec.cost(score)
        assert cost.kept == cost.notes == 200 and cost.shortened > 0
        assert cost.timing_ms <= 60_000 / score.bpm / 24 / 2 + 1e-6


def test_any_codes_in_range_decode_to_notes_that_do_not_overlap():
    codec, rng = Multitrack(), np.random.default_rng(0)
    for meter in METERS:
        codes = np.stack([rng.integers(0, size, 300) for size in codec.sizes])
        codes[0, rng.random(300) < 0.1] = LINE
        codes[1, rng.random(300) < 0.5] = DRUMS
        codes[2] %= 3
        score = codec.decode(codes, 90.0, meter)
        assert score.bars == (codes[0] == 0).sum()
        gap = until_next(score.notes[:, 0], score.notes[:, 2], score.notes[:, 3])
        assert (score.notes[:, 1] >= 1).all() and (score.notes[:, 1] <= gap).all()
        assert codec.canonicalize(score) == score


def test_a_known_bar():
    codec = Multitrack()
    notes = [[480, 240, 1, 60, 100], [0, 30, DRUMS, 36, 127], [470, 2000, 34, 40, 1]]
    np.testing.assert_array_equal(codec.encode(Score(notes)), [[0, 2, 26, 26], [0, 0, 1, 34], [0, 36, 60, 40],
                                                               [0, 126, 99, 0], [0, 0, 11, 47 + 24 + 1]])


def test_lengths_go_up_to_32_quarter_notes():
    lengths = Multitrack().lengths
    assert lengths[0] == 1 and lengths[-1] == 32 * 24 and (np.diff(lengths) > 0).all() and len(lengths) == 144


def test_its_spec_says_that_a_frame_is_a_note():
    spec = Multitrack().spec
    assert spec.unit == "notes" and spec.frame_rate is None and spec.n_q == 5
    assert Spec.from_dict(spec.to_dict()) == spec
    assert codec_of({"type": "notes", "division": 24}).spec == spec
    assert Multitrack(48).hash != Multitrack().hash


@pytest.mark.parametrize("meter", [(1, 4), (9, 4), (5, 64), (64, 4)])
def test_bars_that_it_has_not_are_refused(meter):
    with pytest.raises(UserError, match="is none of the codec notes"):
        Multitrack().encode(Score(np.zeros((0, 5)), meter=meter))


def test_what_is_wrong_is_refused():
    with pytest.raises(UserError, match="division: expected 12, 24, 48"):
        Multitrack(7)
    with pytest.raises(UserError, match="expected the codec notes, got 'drum_grid'"):
        codec_of({"type": "drum_grid"})
    with pytest.raises(ValueError, match="those of stream 2 go from 0 to 127"):
        Multitrack().decode(np.array([[2], [1], [128], [0], [0]]))
    with pytest.raises(ValueError, match="expected integer codes"):
        Multitrack().decode(np.zeros((5, 3)))
