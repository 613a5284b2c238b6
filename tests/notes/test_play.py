"""A composer makes, continues, adds, makes anew; the same seed makes the same; and what cannot be is said in a line."""

import json
from pathlib import Path

import numpy as np
import pytest

import infer
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.file import parse, read
from audiocraft_ext.notes import midi as notes_midi
from audiocraft_ext.notes.codec.multitrack import DIVIDE, INSTRUMENT, PITCH, POSITION, bars_of
from audiocraft_ext.notes.codec.score import DRUMS, instrument
from audiocraft_ext.notes.midi import families_of
from audiocraft_ext.notes.play import arrange, output
from audiocraft_ext.notes.play.composer import Composer
from audiocraft_ext.notes.play.recipe import PieceRecipe
from tests.helpers.notes_bundle import tiny_composer

SONGS = Path(__file__).resolve().parents[1] / "data" / "midi"
BAND = SONGS / "freedoom2_D_DEAD2.mid"  # drums, finger bass, muted guitar and more
SHORT = SONGS / "freedoom1_D_INTROA.mid"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_composer(tmp_path_factory.mktemp("notes") / "tiny")


@pytest.fixture(scope="module")
def composer(bundle) -> Composer:
    return Composer.load(bundle, threads=1)


def one(composer: Composer, index: int = 0, **what):
    return next(composer.play(composer.recipe(**{"seed": 1} | what), [index]))


def notes_of(score, parts=None) -> list:
    notes = score.notes if parts is None else score.notes[np.isin(score.notes[:, 2], parts)]
    return notes[:, [0, 2, 3, 4]].tolist()


def test_a_piece_has_its_bars_tempo_and_metre(composer):
    piece = one(composer, bars=5, bpm=97.0, meter=(3, 4))
    assert piece.score.bars == 5 and piece.score.meter == (3, 4) and piece.score.bpm == pytest.approx(97, rel=1e-4)
    assert piece.score.notes[:, 0].max() < 5 * 3 * 480
    longer = one(composer, bars=40)  # than the context
    assert longer.score.bars == 40 and len(longer.score)


def test_the_same_seed_and_index_give_the_same_alone_or_together(composer):
    recipe = composer.recipe(bars=3, seed=4)
    together = list(composer.play(recipe, range(4)))
    for piece in together:
        (alone,) = composer.play(recipe, [piece.index])
        np.testing.assert_array_equal(alone.codes, piece.codes)
    assert len({piece.codes.tobytes() for piece in together}) == 4
    assert PieceRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_left_out_is_left_out(composer):
    piece = one(composer, bars=8, instruments="piano,bass,guitar")
    assert set(families_of(piece.score.notes[:, 2])) <= {"piano", "bass", "guitar"}
    assert "drums" not in set(families_of(one(composer, bars=8, without="drums").score.notes[:, 2]))


def test_a_piece_is_built_of_the_parts_that_are_named(composer):
    recipe = composer.recipe(bars=3, seed=1, parts="drums,bass,piano,piano")
    piece, other = composer.play(recipe, [0, 1])
    wanted = {DRUMS, instrument(33), instrument(0), instrument(0, 1)}
    assert set(piece.score.notes[:, 2]) == wanted and piece.score.bars == 3
    assert notes_of(piece.score) != notes_of(other.score)
    first = one(composer, bars=3, seed=1, parts=["drums"])
    same = composer.recipe(bars=3, seed=1, parts="drums,bass")
    assert same.parts == (DRUMS, instrument(33)) and set(first.score.notes[:, 2]) == {DRUMS}


@pytest.mark.parametrize("asked", [dict(parts=["bass"]), dict(), dict(change="infill", file=BAND, span=(2, 3))])
def test_notes_are_in_order(composer, asked):
    """Random weights would leave it at once. Nothing divides a bar but what is given."""
    (piece,) = composer.play(composer.recipe(bars=4, seed=4, **asked), [0])
    assert len(piece.score) > 8
    for bar in bars_of(piece.codes):
        keys = bar[[POSITION, INSTRUMENT, PITCH]].T.tolist()
        assert keys == sorted(keys) and DIVIDE not in bar[POSITION]


def test_a_bass_plays_one_note_at_a_time_and_a_piano_as_many_as_hands_can(composer):
    (piece,) = composer.play(composer.recipe(bars=8, seed=4, parts="piano,bass"), [0])
    for part, most in ((instrument(0), arrange.HANDS), (instrument(33), 1)):
        for bar in bars_of(piece.codes):
            places = bar[POSITION, (bar[INSTRUMENT] == part) & (bar[POSITION] > DIVIDE)]
            assert np.unique(places, return_counts=True)[1].max(initial=0) <= most


def test_a_part_that_rests_in_all_bars_is_made_again(composer, monkeypatch):
    calls, make = [], arrange.Arranger._with_part

    def with_part(self, number, codes, part, progress):
        calls.append(number)
        return make(self, number, codes, part, progress) if number == 2 * arrange.APART else codes

    monkeypatch.setattr(arrange.Arranger, "_with_part", with_part)
    piece = one(composer, bars=2, seed=1, parts="bass")
    assert set(piece.score.notes[:, 2]) == {instrument(33)} and calls == [n * arrange.APART for n in range(3)]
    calls.clear()
    assert set(one(composer, bars=2, seed=1, parts="bass,piano").score.notes[:, 2]) == {instrument(33)}
    assert len(calls) == 3 + arrange.TRIES, "then it is left so"


def test_more_takes_are_no_farther_from_what_is_asked_for(composer):
    def misses(takes: int) -> int:
        asked = dict(bars=4, seed=2, having="piano,drums", density=5)
        judge = composer.recipe(**asked, takes=2)
        return sum(composer._miss(piece.codes, judge)
                   for piece in composer.play(composer.recipe(**asked, takes=takes), range(4)))

    assert misses(6) < misses(1)
    assert composer.recipe(density=5).takes == 4 and composer.recipe().takes == composer.recipe(parts="bass").takes == 1


def test_a_file_is_continued(composer):
    piece = one(composer, change="continue", file=SHORT)
    (stretch,), _ = notes_midi.stretches(read(SHORT), composer.codec)
    source = composer.codec.canonicalize(stretch.score)
    n = len(source)
    first = int(source.notes[:, 0].min()) // 1920 * 1920
    assert piece.score.bars > 4 and len(piece.score) > n
    assert notes_of(piece.score)[:n] == (source.notes - [first, 0, 0, 0, 0])[:, [0, 2, 3, 4]].tolist()


def test_a_file_is_a_piece_as_it_is(composer):
    """Which samples nothing, so that all of them are the same."""
    recipe = composer.recipe(file=BAND, change="as it is", seed=1)
    pieces = list(composer.play(recipe, [0, 7]))
    assert PieceRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe and recipe.said == {}
    assert pieces[0].about["title"] == BAND.stem
    (score,), _ = notes_midi.stretches(read(BAND), composer.codec)
    for piece in pieces:
        assert notes_of(piece.score) == notes_of(composer.codec.canonicalize(score.score))
    with pytest.raises(UserError, match="need the whole piece"):
        next(composer.stream(recipe))


def test_a_part_is_added_and_the_others_stay(composer):
    piece = one(composer, change="add", file=BAND, part="organ", bars=4)
    organ = instrument(16)
    source = one(composer, change="infill", file=BAND, span=(4, 4), bars=4).score
    assert organ in piece.score.notes[:, 2] and organ not in source.notes[:, 2]
    others = np.setdiff1d(piece.score.notes[:, 2], [organ])
    before_last = [note for note in notes_of(source) if note[0] < 3 * 1920]
    assert [note for note in notes_of(piece.score, others) if note[0] < 3 * 1920] == before_last


def test_a_part_is_made_anew_and_the_others_stay(composer):
    a, b = (one(composer, change="reroll", file=BAND, part="drums", bars=4, seed=seed) for seed in (1, 2))
    others = np.setdiff1d(a.score.notes[:, 2], [DRUMS])
    assert notes_of(a.score, others) == notes_of(b.score, others) != []
    assert notes_of(a.score, [DRUMS]) != notes_of(b.score, [DRUMS])


def test_bars_are_made_anew_and_the_others_stay(composer):
    a, b = (one(composer, change="infill", file=BAND, span=(2, 3), bars=4, takes=takes) for takes in (1, 3))
    for piece in (a, b):
        assert piece.score.bars == 4
    outside = [[note for note in notes_of(piece.score) if not 1920 <= note[0] < 3 * 1920] for piece in (a, b)]
    assert outside[0] == outside[1] != []


def test_a_part_gets_the_instrument_that_is_said(composer):
    piece = one(composer, change="revoice", file=BAND, part="guitar=synth-bass,ensemble=61", seed=0)
    last = piece.score.bars
    source = one(composer, change="infill", file=BAND, span=(last, last), takes=1).score
    swaps = {instrument(28): instrument(38), instrument(29): instrument(38, 1), instrument(48): instrument(61)}
    before = [note for note in notes_of(source) if note[0] < (last - 1) * 1920]
    wanted = sorted([at, swaps.get(part, part), *rest] for at, part, *rest in before)
    assert sorted(note for note in notes_of(piece.score) if note[0] < (last - 1) * 1920) == wanted
    assert set(swaps) <= {part for _, part, *_ in before} and piece.recipe["said"]["bass"] == "yes"
    assert piece.recipe["said"]["guitar"] == "no"


def test_of_a_family_the_likeliest_instruments_come_first(composer):
    from audiocraft_ext.notes.play.arrange import ordered

    recipe = composer.recipe(change="revoice", file=BAND, part="guitar", seed=0)
    pieces = list(composer.play(recipe, range(7)))
    prompt = composer.prompts.codes(recipe.said)
    likely = [float(composer.engine.score(np.concatenate([prompt, ordered(piece.codes)], axis=1)[
        None, :, : composer.bundle.context], prompt.shape[1])[0]) for piece in pieces]
    alone = one(composer, change="revoice", file=BAND, part="muted-guitar", seed=0)
    assert likely[0] == max(likely) and len({piece.codes.tobytes() for piece in pieces}) == 7
    there = {28, 29}
    for piece in (*pieces, alone):
        now = {int(part - 1) % 128 for part in np.unique(piece.score.notes[:, 2]) if part}
        assert any(24 <= program < 32 for program in now) and len(piece.score) == len(alone.score)
        assert len(set(piece.score.notes[:, 2])) == len(set(alone.score.notes[:, 2]))  # no two became one
    assert there - {int(part - 1) % 128 for part in np.unique(alone.score.notes[:, 2])} == {28}
    (again,) = composer.play(recipe, [3])
    np.testing.assert_array_equal(again.codes, pieces[3].codes)
    assert PieceRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    with pytest.raises(UserError, match="-n is at most 7 here: so many other programs"):
        list(composer.play(recipe, [7]))
    with pytest.raises(UserError, match="-n is at most 1 here: nothing is left"):
        list(composer.play(composer.recipe(change="revoice", file=BAND, part="guitar=pad", bars=1, seed=0), [0, 1]))


def test_files_and_that_they_are_made_again(composer, bundle, tmp_path, capsys):
    piece = one(composer, bars=2)
    files = composer.save(piece, tmp_path / "a", output.Output(picture=True, tracks=True))
    assert [file.suffix for file in files][:1] == [".mid"] and files[-1].suffix == ".json"
    midi = parse(files[0].read_bytes())
    assert len(midi.notes) == len(piece.score) and all(file.stat().st_size for file in files)
    assert len([file for file in files if file.suffix == ".mid"]) == 1 + len(set(piece.score.notes[:, 2]))
    infer.main([str(bundle), "--from", str(files[-1]), "-o", str(tmp_path / "b")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").glob("*.mid")} == {
        path.name: path.read_bytes() for path in (tmp_path / "a").glob("*.mid")}
    assert "not the same" not in capsys.readouterr().err
    (tmp_path / "b" / files[0].name).write_bytes(b"another")
    again = composer.save(piece, tmp_path / "b")  # its JSON is there, with pictures and tracks
    assert again[0].name == files[0].name


def test_the_sound_without_a_soundfont(composer, tmp_path):
    pytest.importorskip("tinysoundfont")
    import soundfile

    piece = one(composer, bars=2, seed=1, parts="drums,piano")
    files = composer.save(piece, tmp_path, output.Output(wav=True, rate=16_000))
    (path,) = (file for file in files if file.suffix == ".wav")
    wav, rate = soundfile.read(path)
    assert rate == 16_000 and len(wav) == round((piece.score.seconds + 2) * rate) and abs(wav).max() > 0.8
    assert composer.save(piece, tmp_path, output.Output(wav=True, rate=16_000)) == files  # it is there
    again = composer.save(piece, tmp_path / "again", output.Output(wav=True, rate=16_000))
    assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes() and again[0].name == files[0].name
    other = composer.save(piece, tmp_path, output.Output(wav=True, rate=8000))
    assert other[0] != files[0]


def test_pieces_side_by_side(composer, tmp_path):
    from audiocraft_ext.notes.play.roll import sheet

    pieces = [(f"piece {piece.index}", piece) for piece in composer.play(composer.recipe(bars=2, seed=1), range(9))]
    pages = sheet(pieces, tmp_path / "s.png")
    assert [page.name for page in pages] == ["s.png", "s_2.png"] and sheet([], tmp_path / "none.png")
    wide = [int.from_bytes(page.read_bytes()[16:20], "big") for page in pages]
    high = [int.from_bytes(page.read_bytes()[20:24], "big") for page in pages]
    assert wide == [1600, 1600] and high == [1280, 320]
    saved = composer.save(pieces[0][1], tmp_path)
    again = output.read(saved[0], composer.codec)
    assert again.score == pieces[0][1].score and again.index == 0


def test_a_changed_sidecar_is_refused(composer, tmp_path):
    *_, beside = composer.save(one(composer, bars=1), tmp_path)
    values = json.loads(beside.read_text())
    beside.write_text(json.dumps(values | {"recipe": values["recipe"] | {"seed": 9}}))
    with pytest.raises(UserError, match="was changed"):
        output.read_sidecar(beside)
    beside.write_text(json.dumps({key: value for key, value in values.items() if key != "codes"}))
    with pytest.raises(UserError, match="not a whole piece's JSON: 'codes'"):
        output.read_sidecar(beside)


def test_the_command_line(bundle, tmp_path, capsys):
    infer.main([str(bundle), "-n", "2", "--bars", "2", "--seed", "3", "-o", str(tmp_path)])
    assert len(list(tmp_path.glob("*.mid"))) == len(list(tmp_path.glob("*.png"))) == 2
    infer.main([str(bundle), "-n", "3", "--bars", "2", "--seed", "3", "-o", str(tmp_path), "--sheet"])
    said = capsys.readouterr()
    assert "2 of 3 pieces are in" in said.err and len(list(tmp_path.glob("*.mid"))) == 3
    assert said.out.splitlines()[-1] == str(tmp_path / "tiny_seed3.png") and (tmp_path / "tiny_seed3.png").is_file()
    infer.main([str(bundle), "--add", "lead", "--from-midi", str(BAND), "--bars", "1", "--seed", "1", "-o",
                str(tmp_path / "c")])
    assert "square lead" in capsys.readouterr().out
    infer.main([str(bundle), "--revoice", "guitar=lead", "--from-midi", str(BAND), "--bars", "1", "-o",
                str(tmp_path / "d")])
    (beside,) = (tmp_path / "d").glob("*.json")
    infer.main(["--from", str(beside), "-o", str(tmp_path / "e")])
    assert "not the same" not in capsys.readouterr().err
    infer.main([str(bundle), "--prompts"])
    assert "--density: very-low, low" in capsys.readouterr().out


@pytest.mark.parametrize("what, why", [
    (dict(bars=0), "bars: expected 1 to 256"), (dict(meter=(9, 4)), "is none of the codec notes"),
    (dict(instruments="kazoo"), "instruments: expected one of drums, piano"),
    (dict(having="bass", without="bass"), "bass is asked for and left out as well"),
    (dict(density="9"), "density: expected one of very-low"), (dict(genre="jazz"), "no prompt is called 'genre'"),
    (dict(change="add", file=BAND, part="kazoo"), "add: expected drums, a program from 0 to 127"),
    (dict(change="add", file=BAND, part="drums"), "there are drums already"),
    (dict(change="reroll", file=BAND, part="violin"), "the file has no violin; it has drums, "),
    (dict(change="infill", file=BAND, span=(3, 99)), "infill: expected bars from 1 to"),
    (dict(change="continue", file=BAND, bars=2), "the piece begins with the 25 bars of the file|begins with the"),
    (dict(parts="drums,drums"), "parts: there are drums already"),
    (dict(parts="kazoo"), "parts: expected drums, a program"), (dict(parts="piano", takes=3), "leave out the file and"),
    (dict(change="revoice", file=BAND, part="violin=organ"), "revoice: the file has no violin; it has drums, "),
    (dict(change="revoice", file=BAND, part="guitar=kazoo"), "revoice: expected a program from 0 to 127"),
    (dict(change="revoice", file=BAND, part="drums=piano"), "drums have sounds where others have pitches"),
    (dict(change="revoice", file=BAND, part="guitar=pad,guitar"), "guitar is named twice"),
    (dict(change="add"), "go together"), (dict(change="add", file=BAND), "need a part"),
    (dict(change="continue", file=SONGS / "LICENSE"), "is not a MIDI file")])
def test_what_cannot_be_is_said(composer, what, why):
    with pytest.raises(UserError, match=why):
        composer.recipe(**what)


@pytest.mark.parametrize("argv, why", [
    ([], "name the folder"), (["b", "--add", "bass"], "--from-midi FILE and one of"),
    (["b", "--from-midi", "x.mid"], "--from-midi FILE and one of"),
    (["b", "--from-midi", "x", "--revoice", "piano", "--seed", "1"], "--revoice samples nothing"),
    (["b", "--rate", "8000"], "--rate is that of the sound"), (["b", "-n", "0"], "-n: expected 1"),
    (["b", "--add", "bass", "--from-midi", "x", "--continue", "y"], "take one of them"),
    (["--from", "x.json", "--bars", "3"], "--from takes everything from the file")])
def test_options_that_do_not_go_together(argv, why):
    from audiocraft_ext.notes.play import cli

    with pytest.raises(UserError, match=why):
        cli.main(argv)
