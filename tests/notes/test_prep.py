"""A folder of songs to a store: every note kept, split before anything else, copies and damaged files said."""

from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.midi import write as midi_write
from audiocraft_ext.midi.file import Midi, read
from audiocraft_ext.notes import midi as notes_midi
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.describe import describe, meter_of
from audiocraft_ext.store.reader import TokenStore
from data_prep.midi import cli

SONGS = Path(__file__).resolve().parents[1] / "data" / "midi"
NAMES = sorted(path.name for path in SONGS.glob("*.mid"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The songs, one of them in another key and louder as well, and a damaged file."""
    out = tmp_path_factory.mktemp("songs")
    for name in NAMES:
        (out / name).write_bytes((SONGS / name).read_bytes())
    midi = read(out / NAMES[0])
    midi.notes["pitch"][midi.notes["channel"] != 10] += 2
    midi.notes["velocity"] = np.minimum(midi.notes["velocity"] + 9, 127)
    midi_write.write(out / "z_other_key.mid", midi)
    (out / "broken.mid").write_bytes((SONGS / NAMES[1]).read_bytes()[:-40])
    return out


@pytest.fixture(scope="module")
def store(folder) -> TokenStore:
    path = folder.parent / "store"
    cli.main([str(folder), str(path), "--codec", "notes", "--workers", "0", "--valid-share", "0.3"])
    return TokenStore(path)


def test_all_notes_of_a_file_are_in_the_store(store):
    codec = codec_of(store.settings["codec"])
    for name in {row["source"] for row in store.rows}:
        notes = read(SONGS / name).notes
        rows = [row for row in store.rows if row["source"] == name]
        codes = np.concatenate([store.read(row["start"], row["frames"]) for row in rows], axis=1)
        of_notes = codes[:, codes[0] > 1].astype(int)
        np.testing.assert_array_equal(np.sort(of_notes[2]), np.sort(notes["pitch"]))
        np.testing.assert_array_equal(np.sort(of_notes[3] + 1), np.sort(notes["velocity"]))
        assert (codes[0] == 0).sum() == sum(row["bars"] for row in rows)
        instruments = notes_midi.instruments_of(read(SONGS / name))
        np.testing.assert_array_equal(np.unique(of_notes[1]), np.unique(instruments))
    assert codec.spec.codec_hash == store.spec.codec_hash


def test_copies_are_left_out_whatever_their_key_and_damaged_files_are_named(folder, store, capsys):
    assert "z_other_key.mid" not in {row["source"] for row in store.rows}
    cli.main([str(folder), str(store.path), "--codec", "notes", "--workers", "0", "--valid-share", "0.3"])
    said = capsys.readouterr()
    assert "broken.mid" in said.out + said.err and "z_other_key.mid" in said.out + said.err
    assert "100% of" in said.out and "notes are kept" in said.out


def test_a_song_is_in_one_split(store):
    splits: dict[str, set[str]] = {}
    for row in store.rows:
        splits.setdefault(row["source"], set()).add(row["split"])
    assert all(len(one) == 1 for one in splits.values()) and {"train", "valid"} == set().union(*splits.values())


def test_rows_say_what_they_are(store):
    codec, prompts = codec_of(store.settings["codec"]), prompts_of(store.settings)
    assert store.spec.prompt == prompts.frames == 5
    for row in store.rows[::5]:
        words = describe(store.read(row["start"], row["frames"]), codec, row["bpm"], meter_of(row["time_signature"]))
        assert row["prompt"] == words and prompts.decode(prompts.codes(words)) == words


def test_preparing_again_adds_nothing(folder, store):
    before = store.hash
    cli.main([str(folder), str(store.path), "--codec", "notes", "--workers", "0", "--valid-share", "0.3"])
    assert TokenStore(store.path).hash == before


@pytest.mark.parametrize("options, why", [
    (["--steps", "32"], "--steps is of drums, and the codec is notes"),
    (["--channel", "3"], "--channel is of drums, and the codec is notes")])
def test_options_of_drums_are_refused(folder, tmp_path, options, why):
    with pytest.raises(UserError, match=why):
        cli.main([str(folder), str(tmp_path / "s"), "--codec", "notes", *options])


def test_a_division_is_of_notes(folder, tmp_path):
    with pytest.raises(UserError, match="--division is of --codec notes, and the codec is drum_grid"):
        cli.main([str(folder), str(tmp_path / "s"), "--division", "24"])


def test_a_folder_without_notes_says_so(tmp_path):
    (tmp_path / "songs").mkdir()
    midi_write.write(tmp_path / "songs" / "empty.mid", Midi(read(SONGS / NAMES[0]).notes[:0]))
    with pytest.raises(UserError, match="has no notes"):
        cli.main([str(tmp_path / "songs"), str(tmp_path / "s"), "--codec", "notes", "--workers", "0"])
