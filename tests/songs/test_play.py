"""A sketcher makes songs and goes on from them; the same seed makes the same; and what cannot be is said in a line."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import infer
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.file import parse
from audiocraft_ext.songs import to_midi
from audiocraft_ext.songs.beepbox import as_json, files, url_write
from audiocraft_ext.songs.beepbox.song import song_of_bars
from audiocraft_ext.songs.codec.voices import Facts
from audiocraft_ext.songs.play import output
from audiocraft_ext.songs.play.recipe import SongRecipe
from audiocraft_ext.songs.play.sketcher import Sketcher
from tests.helpers.songs import random_song, tiny_sketcher

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi" / "freedoom1_D_INTROA.mid"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_sketcher(tmp_path_factory.mktemp("songs") / "tiny")


@pytest.fixture(scope="module")
def sketcher(bundle) -> Sketcher:
    return Sketcher.load(bundle, threads=1)


def one(sketcher: Sketcher, index: int = 0, **what):
    return next(sketcher.play(sketcher.recipe(**{"seed": 1} | what), [index]))


@pytest.mark.parametrize("what", [
    dict(bars=3), dict(bars=2, channels=10, drums=5, rhythm=24, beats=3), dict(bars=5, channels=1, drums=0, rhythm=3),
    dict(bars=2, beats=16, rhythm=8, key="F#", bpm=300)])
def test_a_sketch_is_what_was_asked_for(sketcher, what):
    song = one(sketcher, **what).song.check()
    assert song.bars == what["bars"] and song.beats == what.get("beats", 4) and song.rhythm == what.get("rhythm", 4)
    assert song.pitched == what.get("channels", 3) and len(song.channels) - song.pitched == what.get("drums", 1)
    assert song.tempo == what.get("bpm", 120) and song.key == (6 if "key" in what else 0)
    assert list(song.notes())


def test_windows_begin_with_a_bar_or_a_beat_or_a_step(sketcher):
    P, context = sketcher.bundle.spec.prompt, sketcher.bundle.context
    for facts in (Facts(), Facts(16, 24, 10, 5), Facts(3, 3, 1, 0), Facts(7, 8, 3, 0), Facts(5, 4, 10, 5)):
        window = sketcher.window_of(facts)
        hop = (window + 4 - P) // 2  # as audiocraft_ext.engine.sampler.windows has it: four steps of nothing
        assert window <= context and hop % facts.channels == 0 and 0 < 2 * hop <= context + 4 - P


def test_the_same_seed_and_index_give_the_same_alone_or_together(sketcher):
    recipe = sketcher.recipe(bars=4, seed=4)  # longer than the context
    together = list(sketcher.play(recipe, range(3)))
    for sketch in together:
        (alone,) = sketcher.play(recipe, [sketch.index])
        np.testing.assert_array_equal(alone.codes, sketch.codes)
    assert len({sketch.codes.tobytes() for sketch in together}) == 3
    shorter = one(sketcher, bars=3, seed=4)
    np.testing.assert_array_equal(shorter.codes[:, :-3], together[0].codes[:, : shorter.codes.shape[1] - 3])
    assert SongRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_song_is_continued_from_any_of_its_files(sketcher, tmp_path):
    song = one(sketcher, bars=2, channels=2, rhythm=6, beats=5, bpm=99, key=3).song
    (tmp_path / "a.json").write_text(as_json.to_text(song))
    (tmp_path / "b.txt").write_text(url_write.to_url(song))
    for name in ("a.json", "b.txt"):
        longer = one(sketcher, file=tmp_path / name, seed=5).song
        assert longer.bars == 6 and (longer.tempo, longer.key, longer.beats, longer.rhythm) == (99, 3, 5, 6)
        assert [[channel.bar(bar) for bar in range(2)] for channel in longer.channels] == [
            [channel.bar(bar) for bar in range(2)] for channel in song.channels]
    wider = sketcher.recipe(file=tmp_path / "a.json", channels=4, bars=3)
    assert (wider.channels, wider.drums) == (4, 1) and next(sketcher.play(wider, [0])).song.pitched == 4


def test_a_midi_file_is_continued(sketcher):
    sketch = one(sketcher, file=MIDI, channels=3, drums=1)
    assert sketch.song.pitched == 3 and sketch.about["title"] == "continue-freedoom1_D_INTROA"


def test_files_and_that_they_are_made_again(sketcher, bundle, tmp_path, capsys):
    sketch = one(sketcher, bars=2)
    made = sketcher.save(sketch, tmp_path / "a", output.Output(picture=True))
    assert [path.name.split("bpm")[1] for path in made] == [".beepbox.json", ".url.txt", ".mid", ".png", ".json"]
    assert files.read(made[0])[0] == files.read(made[1])[0] == sketch.song
    assert len(parse(made[2].read_bytes()).notes) == to_midi.notes_of(sketch.song)
    infer.main([str(bundle), "--from", str(made[-1]), "-o", str(tmp_path / "b")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir() if path.suffix != ".png"} == {
        path.name: path.read_bytes() for path in made if path.suffix != ".png"}
    assert "not the same" not in capsys.readouterr().err
    (tmp_path / "b" / made[2].name).write_bytes(b"another")
    assert sketcher.save(sketch, tmp_path / "b")[0].name == made[0].name


def test_a_changed_sidecar_is_refused(sketcher, tmp_path):
    *_, beside = sketcher.save(one(sketcher, bars=1), tmp_path)
    values = json.loads(beside.read_text())
    beside.write_text(json.dumps(values | {"recipe": values["recipe"] | {"seed": 9}}))
    with pytest.raises(UserError, match="was changed"):
        output.read_sidecar(beside)
    beside.write_text(json.dumps(values | {"output": {"tracks": 3}}))
    with pytest.raises(UserError, match="not how a sketch was written"):
        output.read_sidecar(beside)


def test_the_command_line(bundle, tmp_path, capsys):
    words = [str(bundle), "--channels", "3", "--drums", "1", "--rhythm", "4", "--bars", "2", "--seed", "3", "-o",
             str(tmp_path)]
    infer.main(["-n", "2", *words])
    assert len(list(tmp_path.glob("*.beepbox.json"))) == len(list(tmp_path.glob("*.png"))) == 2
    infer.main(["-n", "3", *words, "--no-picture"])
    said = capsys.readouterr()
    assert "2 of 3 sketches are in" in said.err and len(list(tmp_path.glob("*.mid"))) == 3
    assert "2 bars, 120 BPM" in said.out and ".url.txt" in said.out


def test_a_short_song_is_printed_as_its_url(bundle, tmp_path, capsys):
    infer.main([str(bundle), "--channels", "1", "--drums", "0", "--bars", "1", "--beats", "3", "--rhythm", "3", "-o",
                str(tmp_path), "--no-picture"])
    url = next(word for word in capsys.readouterr().out.split() if word.startswith("https://www.beepbox.co/#9n10"))
    assert files.parse(url.encode())[0].bars == 1


@pytest.mark.parametrize("what, why", [
    (dict(bars=0), "bars: expected 1 to 128"), (dict(bars=129), "bars: expected 1 to 128"),
    (dict(channels=0), "channels: expected 1 to 10"), (dict(drums=6), "drums: expected 0 to 5"),
    (dict(rhythm=5), "rhythm: expected 3, 4, 6, 8, 24"), (dict(beats=2), "beats: expected 3 to 16"),
    (dict(bpm=12), "bpm: expected 30 to 300"), (dict(bpm=100.5), "bpm: expected 30 to 300 whole"),
    (dict(key="H"), "key: expected one of C, C#"), (dict(file="no such file"), "cannot be read"),
    (dict(file=MIDI.with_name("LICENSE")), "is of version 'F'|is no song|is of version"),
    (dict(file=MIDI, bars=1), "begins with the")])
def test_what_cannot_be_is_said(sketcher, what, why):
    with pytest.raises(UserError, match=why):
        sketcher.recipe(**what)


def test_a_song_that_is_not_what_was_asked_for(sketcher, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(as_json.to_text(random_song(2)))
    with pytest.raises(UserError, match="rhythm: the file has"):
        sketcher.recipe(file=path, rhythm=3 if files.read(path)[0].rhythm != 3 else 8)
    path.write_text(as_json.to_text(song_of_bars([[()]], 0)))
    with pytest.raises(UserError, match="has no notes"):
        sketcher.recipe(file=path)


@pytest.mark.parametrize("argv, why", [
    ([], "name the folder"), (["b", "-n", "0"], "-n: expected 1"),
    (["--from", "x.json", "--bars", "3"], "--from takes everything from the file")])
def test_options_that_do_not_go_together(argv, why):
    from audiocraft_ext.songs.play import cli

    with pytest.raises(UserError, match=why):
        cli.main(argv)


def test_a_stopped_command_says_what_is_there(bundle, tmp_path, monkeypatch):
    """Also where it stopped between a file and the count."""
    save = Sketcher.save

    def interrupted(self, sketch, folder, made):
        written = save(self, sketch, folder, made)
        if sketch.index == 1:
            raise KeyboardInterrupt
        return written

    monkeypatch.setattr(Sketcher, "save", interrupted)
    words = [str(bundle), "-n", "3", "--bars", "1", "--seed", "3", "-o", str(tmp_path), "--no-picture"]
    with pytest.raises(KeyboardInterrupt, match="2 of 3 sketches are in .*; the same command with --seed 3 resumes"):
        infer.main(words)


def test_a_sheet_and_the_sound(bundle, tmp_path, capsys):
    words = [str(bundle), "-n", "2", "--bars", "1", "--seed", "3", "-o", str(tmp_path)]
    infer.main([*words, "--no-picture", "--sheet", "--wav", "--rate", "16000"])
    assert (tmp_path / "tiny_seed3.png").read_bytes().startswith(b"\x89PNG")
    for path in tmp_path.glob("*.wav"):
        wav, rate = sf.read(path)
        assert rate == 16_000 and len(wav) == 16_000 * (2 + 2) and 0.1 < np.abs(wav).max() < 1
    assert len(list(tmp_path.glob("*.wav"))) == 2
    infer.main([*words, "--wav", "--rate", "16000"])  # now with pictures: all of both again, under other names
    assert len(list(tmp_path.glob("*.beepbox.json"))) == 4 and "already" not in capsys.readouterr().err
    with pytest.raises(UserError, match="--rate is that of the sound"):
        infer.main([*words, "--rate", "16000"])
    shown = output.read(next(tmp_path.glob("*.beepbox.json")))
    assert shown.song == files.read(next(tmp_path.glob("*.beepbox.json")))[0]
