"""Files to scores and back: instruments, time signatures, and that every score is a file that reads the same."""

import numpy as np
import pytest

from audiocraft_ext.midi.file import CONTROL, NOTE, PROGRAM, BrokenMidi, Midi, parse, table
from audiocraft_ext.midi.names import FAMILIES, PROGRAMS, program_named
from audiocraft_ext.notes import midi as notes_midi
from audiocraft_ext.notes.codec.multitrack import LINE, Multitrack
from audiocraft_ext.notes.codec.score import DRUMS, Score, instrument

CODEC = Multitrack()


def read(data: bytes) -> Score:
    (stretch,), _ = notes_midi.stretches(parse(data), CODEC)
    return stretch.score


def legal(seed: int, instruments: list[int], frames: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, frames) for size in CODEC.sizes])
    codes[0] = np.where(rng.random(frames) < 0.05, LINE, codes[0] % 96)
    codes[1] = rng.choice(instruments, frames)
    codes[2] = 40 + codes[2] % 10
    return codes


@pytest.mark.parametrize("seed", range(8))
def test_any_legal_codes_are_a_file_that_reads_the_same(seed):
    rng = np.random.default_rng(seed)
    programs = rng.choice(128, 5, replace=False)
    instruments = [DRUMS, *(instrument(int(program)) for program in programs), instrument(int(min(programs)), 1)]
    score = CODEC.decode(legal(seed, instruments), 100.0)
    data = notes_midi.to_bytes(score)
    again = CODEC.canonicalize(read(data))
    np.testing.assert_array_equal(again.notes, score.notes)
    assert again.meter == score.meter and again.bpm == pytest.approx(score.bpm)
    midi = parse(data)
    assert midi.tracks == 1 + len(set(score.notes[:, 2])) and len(midi.names) == len(set(score.notes[:, 2]))
    assert set(midi.notes["channel"][midi.notes["track"] == max(midi.names)].tolist()) == {10}


def test_of_more_than_fifteen_parts_the_smallest_are_merged_and_it_is_said():
    instruments = [instrument(program) for program in range(0, 128, 4)]
    score = CODEC.decode(legal(0, instruments, 1000))
    midi, remarks = notes_midi.to_midi(score)
    assert len(remarks) == 32 - 15 and " is played by " in remarks[0]
    assert len(set(midi.notes["channel"].tolist())) == 15 and 10 not in midi.notes["channel"]
    assert len(midi.notes) == len(score)
    assert parse(notes_midi.to_bytes(score)).notes.tolist() == midi.notes.tolist()


def test_parts_of_one_program_are_told_apart():
    rows = [(0, 10, track, channel, 60, 90) for track, channel in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 10))]
    midi = Midi(table(NOTE, *np.array(rows).T), programs=table(PROGRAM, 0, 5, 5, 40), tracks=7)
    assert notes_midi.instruments_of(midi).tolist() == [1, 129, 257, 257, 41, DRUMS]
    assert notes_midi.name_of(129) == "acoustic grand piano 2" and notes_midi.name_of(DRUMS) == "drums"
    assert list(notes_midi.families_of(np.array([1, 129, 34, 0]))) == ["drums", "piano", "bass"]


def test_time_signatures_make_scores_and_no_note_is_lost():
    start = np.arange(0, 480 * 30, 160)
    midi = Midi(table(NOTE, start, start + 100, 0, 1, 60, 80), meters=[(0, 3, 4), (480 * 9 - 100, 1, 4),
                                                                       (480 * 20, 6, 8)])
    found, remarks = notes_midi.stretches(midi, CODEC)
    assert [one.score.meter for one in found] == [(3, 4), (4, 4), (6, 8)]
    assert sum(CODEC.cost(one.score).kept for one in found) == len(start)
    assert any("bars of 1/4 are taken as 4/4" in remark for remark in remarks)
    assert any("ends early" in remark for remark in remarks)


def test_the_pedal_is_length():
    midi = Midi(table(NOTE, [0, 960], [100, 1000], 0, 1, [60, 62], 80),
                controls=table(CONTROL, [50, 480], 0, 1, 64, [127, 0]), end=1000)
    (stretch,), _ = notes_midi.stretches(midi, CODEC)
    assert stretch.score.notes[:, 1].tolist() == [480, 40]


def test_a_file_without_notes_is_refused():
    with pytest.raises(BrokenMidi, match="has no notes"):
        notes_midi.stretches(Midi(table(NOTE)), CODEC)


def test_programs_have_names():
    assert len(PROGRAMS) == 128 and len(set(PROGRAMS)) == 128 and len(FAMILIES) == 16
    assert [program_named(text) for text in ("33", "bass", "violin", "electric piano", "pad")] == [33, 33, 40, 4, 88]
    with pytest.raises(ValueError, match="got 'kazoo'"):
        program_named("kazoo")
