"""MIDI files as songs and songs as MIDI files."""

from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.midi.file import NOTE, BrokenMidi, Midi, parse, read, table
from audiocraft_ext.songs.beepbox.song import Point, Song, flat, song_of_bars
from audiocraft_ext.songs.codec.voices import Voices
from audiocraft_ext.songs.from_midi import Settings, song_of, songs_of
from audiocraft_ext.songs.to_midi import HITS, to_bytes, to_midi
from tests.helpers.songs import random_song

SONGS = sorted((Path(__file__).resolve().parents[1] / "data" / "midi").glob("*.mid"))


def notes_of(midi: Midi) -> set[tuple[int, ...]]:
    return set(map(tuple, np.stack([midi.notes["start"], midi.notes["end"], midi.notes["pitch"]], 1).tolist()))


@pytest.mark.parametrize("seed", range(12))
def test_a_song_as_midi_has_its_pitches_in_its_key(seed):
    song = random_song(seed)
    midi = parse(to_bytes(song))
    assert not midi.remarks
    assert midi.tempos[0][1] == pytest.approx(song.tempo, rel=1e-4) and midi.meters == [(0, song.beats, 4)]
    wanted = {(bar * song.parts + note.start) * 20 for _, bar, note in song.notes() if not note.continues}
    assert wanted <= set(midi.notes["start"].tolist())
    pitches = {min(pitch + 12 + song.key, 127) for number, _, note in song.notes() for pitch in note.pitches
               if not song.channels[number].noise}
    assert set(midi.notes["pitch"][midi.notes["channel"] != 10].tolist()) == pitches
    assert set(midi.notes["pitch"][midi.notes["channel"] == 10].tolist()) <= set(HITS)


def test_ties_are_one_note_and_bends_pitch_bends():
    bar = (flat(0, 72, (10,)), flat(72, 96, (20,)))
    bent = flat(24, 96, (5,))._replace(points=(Point(0, 0, 3), Point(36, 12, 3), Point(72, 0, 3)))
    song = song_of_bars([[bar, (flat(0, 24, (20,), True), bent)]], 0, key=2)
    midi = to_midi(song)
    assert notes_of(midi) == {(0, 1440, 24), (1440, 2400, 34), (2400, 3840, 19)}
    assert midi.bends["bend"].max() == 0x1000 and midi.bends["bend"][-1] == 0 and len(midi.controls) == 6


@pytest.mark.parametrize("path", SONGS, ids=lambda path: path.stem)
def test_with_room_for_them_all_parts_of_a_file_are_kept(path):
    midi = read(path)
    few, _ = songs_of(midi, Settings(3, 1))
    many, remarks = songs_of(midi, Settings(10, 5, 24))
    for one in (*few, *many):
        assert one.song.check() and Voices().canonicalize(one.song).rhythm == one.song.rhythm
    assert sum(one.lost for one in many) < 0.1 * len(midi.notes)  # two kicks or crashes at once are one
    assert sum(one.lost for one in many) <= sum(one.lost for one in few)
    assert max(one.late.max() for one in many) <= 1 / 48 + 1e-9
    assert not any("another octave" in remark for remark in remarks)


def test_a_song_is_the_same_again_by_way_of_midi():
    bars = [[(flat(0, 24, (50,)), flat(24, 96, (52, 55)))] * 2, [(flat(0, 96, (20,)),), ()],
            [(flat(12, 18, (4,)),)] * 2]
    song = song_of_bars(bars, 1)
    again, remarks = song_of(to_midi(song), Settings())
    assert again == song and not remarks


def test_metres_and_lengths_become_what_beepbox_has():
    def of(over: int, under: int, beat: int = 480) -> Song:
        notes = table(NOTE, [0, beat], [beat, 2 * beat], 0, 1, [60, 64], 90)
        return song_of(Midi(notes, meters=[(0, over, under)]), Settings())[0]

    assert [of(*meter).beats for meter in ((4, 4), (3, 4), (6, 8), (7, 8), (2, 4), (3, 8), (2, 2), (1, 4))] == [
        4, 3, 3, 7, 4, 3, 4, 4]
    assert of(7, 8).tempo == 240 and of(4, 4).tempo == 120
    song, remarks = song_of(Midi(table(NOTE, 0, 480, 0, 1, 60, 90), meters=[(0, 33, 4)]), Settings())
    assert song.beats == 4 and remarks == ["bars of 33/4 are taken as 4/4"]
    long = Midi(table(NOTE, np.arange(0, 300 * 1920, 1920), np.arange(480, 300 * 1920 + 480, 1920), 0, 1, 60, 90))
    found, _ = songs_of(long, Settings())
    assert [one.song.bars for one in found] == [128, 128, 44] and sum(len(one.late) for one in found) == 300


def test_polyphony_takes_channels_then_chords_then_ends_notes():
    notes = table(NOTE, [0, 240, 480], [1920, 1920, 1920], 0, 1, [40, 50, 60], 90)
    wide, narrow = (songs_of(Midi(notes), Settings(channels))[0][0] for channels in (3, 1))
    assert wide.song.pitched == 3 and (wide.lost, wide.shortened) == (0, 0)
    assert narrow.song.pitched == 1 and (narrow.lost, narrow.shortened) == (0, 2)
    assert narrow.song.channels[0].patterns[0] == (flat(0, 12, (28,)), flat(12, 24, (38,)), flat(24, 96, (48,)))


def test_a_note_far_away_takes_no_longer():
    """Bars that are empty are not gone through."""
    start = np.array([0, 2**39])
    found, _ = songs_of(Midi(table(NOTE, start, start + 1, 0, 1, 60, 80), 1), Settings())
    assert [one.song.bars for one in found] == [128, 1] and found[1].start == 2**39


def test_triplets_are_found():
    at = np.arange(24) * 160
    assert song_of(Midi(table(NOTE, at, at + 160, 0, 1, 60, 90)), Settings())[0].rhythm == 3


def test_a_file_without_notes_is_refused():
    with pytest.raises(BrokenMidi, match="has no notes"):
        songs_of(Midi(table(NOTE)), Settings())
