"""A folder of BeepBox's songs and of MIDI to a store, by the command."""

from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.midi.file import read
from audiocraft_ext.songs import to_midi
from audiocraft_ext.songs.beepbox import as_json, url_write
from audiocraft_ext.songs.beepbox.song import Point, flat, song_of_bars
from audiocraft_ext.songs.codec.voices import Facts, Voices, facts_of
from audiocraft_ext.songs.describe import describe
from audiocraft_ext.songs.places import controls
from audiocraft_ext.store.reader import TokenStore
from data_prep.midi import cli
from data_prep.midi.beepbox import onsets
from tests.helpers.songs import random_song

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
SONGS = {f"song{seed}": random_song(seed) for seed in (4, 11, 12, 19)}
TUNE = song_of_bars([[tuple(flat(i * 12 % 96, i * 12 % 96 + 12, (30 + (i * i + bar) % 11,)) for i in range(8))
                      for bar in range(8)]], 0, rhythm=8, tempo=140, key=2)


def command(folder: Path, store: Path, *more: str) -> list[str]:
    return [str(folder), str(store), "--codec", "song", "--workers", "0", "--valid-share", "0.3", *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Songs as JSON and as URLs, MIDI, a copy in another key as MIDI, and what cannot be read."""
    out = tmp_path_factory.mktemp("beepbox") / "songs"
    out.mkdir()
    for i, (name, song) in enumerate(SONGS.items()):
        (out / f"{name}.{'json' if i % 2 else 'txt'}").write_text(
            as_json.to_text(song) if i % 2 else url_write.to_url(song))
    for path in MIDI.glob("*.mid"):
        (out / path.name).write_bytes(path.read_bytes())
    (out / "tune.url").write_text(url_write.to_url(TUNE))
    midi = to_midi.to_midi(TUNE)
    midi.notes["pitch"] += 3
    to_midi.midi_write.write(out / "z_copy.mid", midi)
    (out / "mod.txt").write_text("https://jummb.us/#j5n31s0k0l00e03t2wm0")
    (out / "cut.txt").write_text(url_write.to_url(TUNE)[:-40])
    (out / "missing.json").write_text('{"format": "BeepBox", "version": 9, "beatsPerBar": 4}')
    (out / "silent.json").write_text(as_json.to_text(song_of_bars([[()]], 0)))
    (out / "broken.mid").write_bytes((MIDI / "freedoom1_D_INTRO.mid").read_bytes()[:-40])
    return out


@pytest.fixture(scope="module")
def store(folder) -> TokenStore:
    path = folder.parent / "store"
    cli.main(command(folder, path))
    return TokenStore(path)


def test_all_notes_of_a_song_are_in_the_store(store):
    codec = Voices()
    for name, song in {**SONGS, "tune": TUNE}.items():
        rows = [row for row in store.rows if row["source"].startswith(f"{name}.")]
        assert rows and len({row["split"] for row in rows}) == 1
        kept = sum(onsets(store.read(row["start"], row["frames"])[:4]) for row in rows)
        assert kept == onsets(codec.encode(song))
        facts = facts_of(song)
        for row in rows:
            found = codec.decode(store.read(row["start"], row["frames"])[:4], facts_of_row(row))
            assert found.bars == row["bars"] and row["rhythm"] == facts.rhythm and row["beats"] == song.beats


def facts_of_row(row: dict) -> Facts:
    return Facts(row["beats"], row["rhythm"], row["channels"], row["drums"])


def test_midi_keeps_nearly_all_its_notes_on_ten_channels(folder, tmp_path):
    cli.main(command(MIDI, tmp_path / "s", "--channels", "10", "--drums", "5"))
    store = TokenStore(tmp_path / "s")
    for path in MIDI.glob("*.mid"):
        rows = [row for row in store.rows if row["source"] == path.name]
        kept = sum(onsets(store.read(row["start"], row["frames"])[:4]) for row in rows)
        assert 0.9 * len(read(path).notes) <= kept <= len(read(path).notes)
    assert store.settings["convert"] == {"channels": 10, "drums": 5, "rhythm": None}


def test_copies_and_what_cannot_be_read_are_said(folder, store, capsys):
    assert "z_copy.mid" not in {row["source"] for row in store.rows}
    cli.main(command(folder, store.path))
    out = capsys.readouterr()
    said = out.out + out.err
    for name, why in (("mod.txt", "is a song of JummBox"), ("cut.txt", "ends early"),
                      ("missing.json", "has no 'ticksPerBeat'")):
        assert f"{name}: {why}" in said
    assert "z_copy.mid: copy of tune.url" in said and TokenStore(store.path).hash == store.hash
    assert not {"silent.json", "broken.mid"} & {row["source"] for row in store.rows}


def test_rows_say_what_they_are(store):
    prompts = prompts_of(store.settings)
    assert store.spec.prompt == prompts.frames == 2 and store.spec.kind == "song"
    for row in store.rows:
        words = describe(facts_of_row(row), row["bpm"])
        assert row["prompt"] == words and prompts.decode(prompts.codes(words)) == words
        assert row["frames"] == row["bars"] * facts_of_row(row).bar
    (tune,) = {row["bpm"] for row in store.rows if row["source"] == "tune.url"}
    assert tune == 140


def test_what_a_song_loses_is_said(tmp_path, capsys):
    folder = tmp_path / "songs"
    folder.mkdir()
    bent = flat(0, 24, (7,))._replace(points=(Point(0, 0, 3), Point(11, 2, 3), Point(24, 0, 1)))
    (folder / "a.json").write_text(as_json.to_text(song_of_bars([[(bent, flat(25, 96, (3,)))] * 4], 0)))
    cli.main(command(folder, tmp_path / "store"))
    report = (tmp_path / "store" / "report.json").read_text()
    for words in ("4 of its 8 notes bend", "4 of its 8 notes change in volume", "of its rhythm, taken as 24"):
        assert words in report
    assert capsys.readouterr().out.count("100% of 8 notes are kept") == 1


@pytest.mark.parametrize("options, why", [
    (["--steps", "32"], "--steps is of drums, and the codec is song"), (["--channels", "11"], "--channels: expected 1"),
    (["--drums", "6"], "--drums: expected 0 to 5"), (["--division", "24"], "--division is of --codec notes")])
def test_options_that_cannot_be(folder, tmp_path, options, why):
    with pytest.raises(UserError, match=why):
        cli.main(command(folder, tmp_path / "s", *options))


def test_channels_are_of_songs(folder, tmp_path):
    with pytest.raises(UserError, match="--channels is of --codec song, and the codec is notes"):
        cli.main([str(folder), str(tmp_path / "s"), "--codec", "notes", "--channels", "3"])


def test_a_folder_without_songs_says_so(tmp_path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "a.txt").write_text("j5")
    with pytest.raises(UserError, match="is a song of JummBox"):
        cli.main(command(tmp_path / "songs", tmp_path / "s"))


def test_windows_of_the_view(store):
    from audiocraft_ext.songs.view import SongView

    view = SongView(store, {"drop_tempo": 1.0, "fewer": 1.0})
    plain, prompts = SongView(store, {"say": True}), prompts_of(store.settings)
    shapes = set()
    for track in [*store.tracks("train"), *store.tracks("valid")]:
        row = next(row for row in store.rows if row["start"] == track.start)
        codes = plain.window(track, track.start, 300, None)
        assert prompts.decode(codes[:4, :2]) == row["prompt"]
        np.testing.assert_array_equal(codes[:, 2:], store.read(track.start, codes.shape[1] - 2))
        for seed in range(6):
            codes = view.window(track, track.start, 300, np.random.default_rng(seed))
            words = prompts.decode(codes[:4, :2])
            assert "tempo" not in words and int(words["channels"]) <= row["channels"] and codes.shape[1] <= 302
            facts = Facts(int(words["beats"]), int(words["rhythm"]), int(words["channels"]), int(words["drums"]))
            assert (codes.shape[1] - 2) % facts.bar == 0 or facts.bar > 300
            Voices().decode(codes[:4, 2:], facts)
            np.testing.assert_array_equal(codes[4:], controls(store.spec, facts, codes.shape[1] - 2))
            shapes.add((facts.pitched, facts.noise))
            np.testing.assert_array_equal(codes, view.window(track, track.start, 300, np.random.default_rng(seed)))
    assert len(shapes) > 4
    with pytest.raises(UserError, match="no option is called 'swing'"):
        SongView(store, {"swing": 1})
    with pytest.raises(UserError, match="transpose: expected a share"):
        SongView(store, {"transpose": 2})
