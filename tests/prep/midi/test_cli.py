"""From a folder of MIDI drums to a store: what becomes of each file, copies, splits, going on, and what people type."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import prompts_of
from audiocraft_ext.drums.codec import NAMES, codec_of
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.describe import describe
from audiocraft_ext.drums.midi import drums_of, stretches, write
from audiocraft_ext.midi.file import read
from audiocraft_ext.store import writer as store_writer
from audiocraft_ext.store.reader import TokenStore
from benchmarks.prep import midi_mutations, midi_prep, mutations
from data_prep.midi import chain, duplicates
from data_prep.midi import cli as midi
from data_prep.midi.labels import of_name
from data_prep.midi.read import Task, analyse
from data_prep.midi.settings import MidiSettings
from tests.helpers.odd_midi import FAULTS
from tests.helpers.programs import fork
from tests.midi.test_file import END, KICK, file

GROOVE = sorted((Path(__file__).parents[2] / "data" / "groove").glob("*.mid"))
LONG = max(GROOVE, key=lambda path: path.stat().st_size)


def clip_of(path: Path) -> DrumClip:
    """A performance as it was played."""
    played = read(path)
    (part,), _ = stretches(played, drums_of(played)[0], DrumGrid())
    return part.clip


def changed(clip: DrumClip, **values) -> DrumClip:
    return dataclasses.replace(clip, **values)


def notes(*rows: tuple[float, int, int]) -> np.ndarray:
    """Of (beat, pitch, velocity)."""
    return np.array([(round(480 * beat), pitch, velocity) for beat, pitch, velocity in rows])


def beat(bars: int, seed: int = 0, bar_beats: float = 4) -> np.ndarray:
    """Notes that no other seed has."""
    rng = np.random.default_rng(seed)
    steps = np.arange(int(bars * bar_beats * 4))
    return np.array([(120 * step, pitch, rng.integers(1, 128)) for step in steps for pitch in (36, 38, 42, 49)
                     if rng.random() < 0.4 or step % (bar_beats * 4) == 0 and pitch == 36])


def run(src: Path, store: Path, *options: str) -> TokenStore | None:
    midi.main([str(src), str(store), "--workers", "0", *options])
    return TokenStore(store) if "--dry-run" not in options else None


def files_of(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def source_of(store: Path, name: str) -> dict:
    return next(one for one in json.loads((store / "report.json").read_text())["sources"] if one["name"] == name)


@pytest.fixture(scope="module")
def groove(tmp_path_factory):
    """The twelve performances, one of them twice, and a store of them."""
    home = tmp_path_factory.mktemp("groove")
    (home / "src" / "more").mkdir(parents=True)
    for i, path in enumerate(GROOVE):
        shutil.copy(path, home / "src" / ("more" if i % 2 else "") / path.name)
    shutil.copy(GROOVE[0].parent / "LICENSE", home / "src")
    return home / "src", run(home / "src", home / "store")


def test_rows_are_the_bars_of_the_files(groove):
    src, store = groove
    grid = DrumGrid.from_dict(store.settings["codec"])
    assert grid == DrumGrid() and codec_of(store.settings["codec"]) == grid
    assert store.spec == prompts_of(store.settings).extend(grid.spec) and store.spec.prompt == 1
    for path in sorted(src.rglob("*.mid")):
        rows = [row for row in store.rows if row["source"] == path.relative_to(src).as_posix()]
        clip = clip_of(path)
        codes = grid.encode(clip)
        steps = grid.steps_per_bar(clip.meter)
        assert rows and sum(row["bars"] for row in rows) * steps == sum(row["frames"] for row in rows)
        for row in rows:
            begin = row["bar"] * steps
            kept, played = store.read(row["start"], row["frames"]), codes[:, begin : begin + row["frames"]]
            kept[grid.classes :, 0], played[grid.classes :, 0] = 0, 0  # before the first bar line there is no time
            assert (kept == played).all()
            assert row["bars"] <= 4 and row["cut"] == "bars" and row["time_signature"] == "4/4"
            assert row["bpm"] == pytest.approx(clip.bpm, abs=0.001)
            seconds = 240 / clip.bpm
            assert row["at"] == pytest.approx([row["bar"] * seconds, (row["bar"] + row["bars"]) * seconds], abs=1e-5)
        hits = sum(np.count_nonzero(store.read(row["start"], row["frames"])[: grid.classes]) for row in rows)
        assert hits == grid.cost(clip).kept


def test_the_benchmark_counts_what_a_grid_keeps():
    clips = [clip_of(path) for path in GROOVE]
    told = {steps: midi_prep.kept(clips, DrumGrid(steps=steps)) for steps in (16, 48)}
    costs = [DrumGrid().cost(clip) for clip in clips]
    assert told[16]["kept"] == sum(cost.kept for cost in costs) / sum(cost.hits for cost in costs)
    assert told[48]["kept"] > told[16]["kept"] and told[48]["ms"] < told[16]["ms"] < told[16]["p95_ms"]


def test_rows_say_what_the_names_say(groove):
    row = next(row for row in groove[1].rows if "hiphop" in row["source"])
    assert (row["style"], row["kind"], row["said_bpm"], row["licence"]) == ("hiphop", "beat", 92.0, "CC-BY-4.0")
    assert of_name("159_latin-brazilian-baiao_95_fill_4-4") == ("latin/brazilian-baiao", "fill", 95.0)
    assert of_name("Drum Fill 174 BPM") == (None, "fill", 174.0) and of_name("x") == (None, None, None)


def test_windows_begin_with_rows(groove):
    store = groove[1]
    tracks = [track for split in ("train", "valid") for track in store.tracks(split)]
    assert sum(len(track.slices) for track in tracks) == len(store.rows)
    assert len(tracks) < len(store.rows), "rows that follow each other are one track"


def test_both_sides_by_performance(groove):
    store = groove[1]
    splits: dict[str, set[str]] = {}
    for row in store.rows:
        splits.setdefault(row["source"], set()).add(row["split"])
    assert len(splits) == 12 and all(len(split) == 1 for split in splits.values())
    assert {split for one in splits.values() for split in one} == {"train", "valid"}


def test_the_same_command_again_changes_nothing(groove, capsys):
    src, store = groove
    before = files_of(store.path)
    run(src, store.path)
    assert files_of(store.path) == before
    assert "nothing new, nothing changed" in capsys.readouterr().out


def test_the_report_tells_what_the_grid_cost(groove):
    src, store = groove
    report = json.loads((store.path / "report.json").read_text())
    note, costs = report["notes"][0], [DrumGrid().cost(clip_of(path)) for path in GROOVE]
    hits, kept = sum(cost.hits for cost in costs), sum(cost.kept for cost in costs)
    assert f"{100 * kept / hits:.0f}% of {hits:,} hits are kept" in note
    assert f"({hits - kept:,} in the place of a louder" in note
    assert f"{sum(cost.velocity * cost.kept for cost in costs) / kept:.1f} of 127" in note
    late = float(note.split("less than ")[1].split()[0])
    errors = np.concatenate([DrumGrid().errors(clip, DrumGrid().quantise(clip))[1] for clip in map(clip_of, GROOVE)])
    assert late == pytest.approx(np.percentile(errors, 95), abs=0.11)
    assert f"times by {errors.mean():.1f} ms" in note
    one = source_of(store.path, store.rows[0]["source"])
    assert one["style"] and one["hits_kept"] <= one["hits"] and one["timing_ms"] > 0
    html = (store.path / "report.html").read_text()
    assert "drum_grid" in html and "kHz" not in html and "one-shots" not in html
    table = list(csv.DictReader((store.path / "labels.csv").open()))
    assert len(table) == len(store.rows) and {line["licence"] for line in table} == {"CC-BY-4.0"}


def test_stopped_anywhere_and_gone_on_it_is_the_same_store(groove, tmp_path):
    src, store = groove
    append = store_writer._append

    def dies(there: Path, left: int) -> None:
        def dying(file, data):
            nonlocal left
            left -= 1
            if not left:
                file.write(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            append(file, data)

        chain.AT_ONCE, store_writer._append = 3, dying  # in a fork, whose variables are its own
        midi.main([str(src), str(there), "--workers", "0"])

    for after in (1, 4, 7):  # half of the first codes, of the second lines, of the fourth codes
        there = tmp_path / str(after)
        assert fork(tmp_path, lambda: dies(there, after)).end() == -signal.SIGKILL  # noqa: B023
        assert not (there / "store.json").exists()
        run(src, there)
        assert files_of(there).keys() == files_of(store.path).keys()
        for name in ("codes.u16", "manifest.jsonl", "store.json", "labels.csv", "report.json", "report.html"):
            assert (there / name).read_bytes() == (store.path / name).read_bytes(), (after, name)


def test_workers_make_the_same_store(groove, tmp_path):
    src, store = groove
    code = f"from data_prep.midi.cli import main\nmain([{str(src)!r}, {str(tmp_path / 's')!r}, '--workers', '2'])"
    (tmp_path / "main.py").write_text(f"if __name__ == '__main__':\n    {code.replace(chr(10), chr(10) + '    ')}")
    subprocess.run([sys.executable, tmp_path / "main.py"], check=True, capture_output=True,
                   env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])})
    assert files_of(tmp_path / "s") == files_of(store.path)


@pytest.mark.parametrize("codec", NAMES)
def test_bad_files_cost_themselves(codec, tmp_path, capsys):
    src = tmp_path / "src"
    src.mkdir()
    bad = {"empty.mid": b"", "text.mid": b"hello", "none.mid": file(END),
           "bass.mid": file(b"\0\x99\x14\x64" + END), "two.mid": file(b"\0\x91\x24\x64\0\x92\x24\x64" + END),
           "back.mid": file(KICK + b"\x8f\xff\xff\xff\x7f\x99\x24\x64" + END)}
    for name, data in bad.items():
        (src / name).write_bytes(data)
    shutil.copy(LONG, src / "good.MID")
    (src / "cut.mid").write_bytes(GROOVE[0].read_bytes()[:-5])
    (src / "many.mid").write_bytes(file(KICK + b"\0\x24\x64" * 99_999 + END))
    (src / "day.mid").write_bytes(file(KICK + b"\xa7\xca\xd2\x40\x99\x24\x64" + END, division=480))
    os.mkfifo(src / "pipe.mid")
    store = run(src, tmp_path / "store", "--codec", codec, "--duplicates", "off", "--csv",
                str(_table(tmp_path, "good.MID", "train")))
    err = capsys.readouterr().err
    assert {row["source"] for row in store.rows} == {"good.MID", "many.mid", "day.mid", "cut.mid"}
    assert "5 bytes too early: read up to there" in source_of(tmp_path / "store", "cut.mid")["flags"][0]
    for name, said in {"empty.mid": "is empty (0 bytes)", "text.mid": "not a MIDI file",
                       "none.mid": "has no notes", "bass.mid": "none of its notes is in the map drums12 (pitches 20)",
                       "two.mid": "say --channel", "back.mid": "negative time", "pipe.mid": "a pipe"}.items():
        assert any(f"skipped {name}: " in line and said in line for line in err.splitlines()), (name, err)
    assert [row["bar"] for row in store.rows if row["source"] == "day.mid"] == [0, 83_011_904 // 1920]
    (many,) = [row for row in store.rows if row["source"] == "many.mid"]
    assert len(codec_of(store.settings["codec"]).pattern(store.read(many["start"], many["frames"]))) == 1
    refused = {one["name"] for one in json.loads((tmp_path / "store" / "report.json").read_text())["refused"]}
    assert refused == set(bad) - {"bass.mid"} | {"pipe.mid"}
    assert source_of(tmp_path / "store", "bass.mid")["status"] == "left out"


@pytest.mark.parametrize("codec", midi_mutations.CODECS)
def test_damaged_files_are_read_or_refused(codec, tmp_path):
    good, bad = midi_mutations.make(tmp_path / "beats", GROOVE[0].parent, 60, 5)
    results = midi_mutations.through_reader(tmp_path / "beats", good + bad, 0, codec)
    outcomes = {path.name: mutations.outcome(result) for path, result in results.items()}
    assert set(outcomes.values()) == {"read", "refused"} and len(outcomes) == len(good) + 60
    fine = {path.name for path in good} | {path.name for path in bad if path.name.startswith("good ")}
    assert {outcomes[name] for name in fine} == {"read"} and len(fine) == len(good) + 5


def _table(folder: Path, name: str, split: str) -> Path:
    (folder / "table.csv").write_text(f"file,split\n{name},{split}\n")
    return folder / "table.csv"


def test_a_folder_of_nothing_usable(tmp_path):
    (tmp_path / "x.mid").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of its 1 MIDI files can be used; x\.mid: is empty"):
        run(tmp_path, tmp_path.parent / "nothing")
    assert not (tmp_path.parent / "nothing").exists()
    (tmp_path / "x.mid").rename(tmp_path / "x.wav")
    with pytest.raises(UserError, match=r"no MIDI in it; looked for files that end in \.kar \.mid"):
        run(tmp_path, tmp_path.parent / "nothing")


@pytest.fixture
def alike(tmp_path):
    """A performance, what people make of one, and others."""
    src, clip = tmp_path / "src", clip_of(LONG)
    src.mkdir()
    write(src / "a.mid", clip)
    write(src / "faster.mid", changed(clip, bpm=174.0))
    louder = clip.notes.copy()
    louder[:, 2] = np.minimum(louder[:, 2] * 1.2 + 3, 127)
    write(src / "louder.mid", changed(clip, notes=louder))
    kit = {pitch: 35 + i for i, pitch in enumerate(np.unique(clip.notes[:, 1]))}
    write(src / "kit.mid", changed(clip, notes=[(tick, kit[pitch], velocity) for tick, pitch, velocity in clip.notes]))
    quantised = DrumGrid(offsets=1).canonicalize(clip).notes
    write(src / "Quantised.mid", changed(clip, notes=quantised, ticks_per_beat=480))
    again = clip.notes.copy()
    again[:, 0] += np.random.default_rng(1).integers(-12, 13, len(again))
    write(src / "again.mid", changed(clip, notes=again[again[:, 0] >= 0]))
    bar = 4 * clip.ticks_per_beat
    part = clip.notes[(clip.notes[:, 0] >= 8 * bar) & (clip.notes[:, 0] < 11.9 * bar)] - [8 * bar, 0, 0]
    write(src / "part.mid", changed(clip, notes=part, bars=4))
    for i, path in enumerate([path for path in GROOVE if path != LONG][:6]):
        shutil.copy(path, src / f"other{i}.mid")
    return src


def test_copies_are_left_out(alike, tmp_path, capsys):
    store = run(alike, tmp_path / "store")
    err = capsys.readouterr().err
    for name, relation in {"faster.mid": "exact copy", "louder.mid": "copy", "kit.mid": "copy",
                           "Quantised.mid": "copy"}.items():
        assert f"skipped {name}: {relation} of a.mid\n" in err
    kept = {row["source"]: row["split"] for row in store.rows}
    assert kept.keys() == {"a.mid", "again.mid", "part.mid", *(f"other{i}.mid" for i in range(6))}
    assert kept["a.mid"] == kept["again.mid"] == kept["part.mid"]
    (group,) = json.loads((tmp_path / "store" / "report.json").read_text())["duplicates"]
    assert {one["name"]: one["relation"] for one in group["files"] if one["kept"]}["part.mid"] == "overlap"


def test_copies_are_kept_on_one_side_or_not_looked_for(alike, tmp_path):
    store = run(alike, tmp_path / "keep", "--duplicates", "keep")
    splits = {row["source"]: row["split"] for row in store.rows}
    family = {"a.mid", "faster.mid", "louder.mid", "kit.mid", "Quantised.mid", "again.mid", "part.mid"}
    assert len(splits) == 13 and len({splits[name] for name in family}) == 1
    store = run(alike, tmp_path / "off", "--duplicates", "off")
    assert len({row["source"] for row in store.rows}) == 13
    assert not json.loads((tmp_path / "off" / "report.json").read_text())["duplicates"]


def test_what_is_new_is_compared_with_what_is_there(alike, tmp_path, capsys):
    (alike / "faster.mid").rename(tmp_path / "later.mid")
    store = run(alike, tmp_path / "store")
    before = store.rows
    (tmp_path / "later.mid").rename(alike / "0.mid")  # before all others by name
    write(alike / "new.mid", DrumClip(beat(4, 9), bpm=100))
    store = run(alike, tmp_path / "store")
    assert "skipped 0.mid: exact copy of a.mid" in capsys.readouterr().err
    assert store.rows[: len(before)] == before and {row["source"] for row in store.rows[len(before) :]} == {"new.mid"}
    write(alike / "new.mid", DrumClip(beat(4, 10), bpm=100))
    with pytest.raises(UserError, match=r"new\.mid: is not the file that was encoded as 'new\.mid'"):
        run(alike, tmp_path / "store")
    with pytest.raises(UserError, match=r"settings.cut was 'bars:4', now 'bars:2'"):
        run(alike, tmp_path / "store", "--cut", "bars:2")


def test_a_table_has_the_last_word(alike, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("file,keep,split,licence,bpm\nother0.mid,no,,,\nother1.mid,,valid,CC0,99\n")
    store = run(alike, tmp_path / "store", "--csv", str(table))
    rows = [row for row in store.rows if row["source"] == "other1.mid"]
    assert {(row["split"], row["licence"], row["bpm"]) for row in rows} == {("valid", "CC0-1.0", 99.0)}
    assert not any(row["source"] == "other0.mid" for row in store.rows)
    assert source_of(tmp_path / "store", "other0.mid")["why"] == "left out by the table"
    store = run(alike, tmp_path / "again", "--csv", str(tmp_path / "store" / "labels.csv"))
    assert {row["split"] for row in store.rows if row["source"] == "other1.mid"} == {"valid"}


def analysed(path: Path, **settings):
    return analyse(Task(str(path), path.name, str(path.parent), MidiSettings(**settings)))


def test_empty_bars_are_cut_out(tmp_path):
    write(tmp_path / "x.mid", DrumClip(notes(*((4 * bar, 36, 99) for bar in (2, 3, 6, 10, 11, 12, 13, 14))), bpm=240.0,
                                       bars=20))
    one = analysed(tmp_path / "x.mid")  # bars of a second; 2 3 . . 6 | 10 ... 14
    assert [(s.bar, s.bars, s.follows) for s in one.slices] == [(2, 4, False), (6, 1, True), (10, 4, False),
                                                               (14, 1, True)]
    assert [(s.begin, s.end) for s in one.slices] == [(2, 6), (6, 7), (10, 14), (14, 15)] and one.seconds == 20
    strict = analysed(tmp_path / "x.mid", empty_bars=1)
    assert [(s.bar, s.bars) for s in strict.slices] == [(2, 2), (6, 1), (10, 4), (14, 1)]
    short = analysed(tmp_path / "x.mid", min_bars=2)
    assert [(s.bar, s.bars) for s in short.slices] == [(2, 4), (10, 4)]
    assert (short.short, short.cost.kept, short.cost.cut) == (2.0, 6, 2)
    assert [s.bars for s in analysed(tmp_path / "x.mid", cut="bars:8").slices] == [5, 5]
    high = one.overview[:, 1]
    assert np.flatnonzero(high).tolist() == [12 * bar for bar in (2, 3, 6, 10, 11, 12, 13, 14)] and high.max() == 127


def test_time_signatures_and_tempos_of_rows(tmp_path):
    three, seven = b"\0\xff\x58\x04\3\2\x18\x08", b"\xff\x58\x04\7\3\x18\x08"
    fast, slow = b"\0\xff\x51\x03\x03\xd0\x90", b"\xff\x51\x03\x07\xa1\x20"  # 240, 120
    track = three + fast + KICK + b"\x82\x20" + slow + b"\x82\x20" + seven + KICK + END  # at 288, and at 576
    (tmp_path / "x.mid").write_bytes(file(track))
    one = analysed(tmp_path / "x.mid")
    assert [(s.bar, s.bars, s.steps, s.meter) for s in one.slices] == [(0, 1, 12, (3, 4)), (2, 1, 14, (7, 8))]
    assert [s.bpm for s in one.slices] == pytest.approx([240, 120])
    assert one.slices[1].begin == pytest.approx(0.75 + 1.5) and one.slices[1].end == pytest.approx(2.25 + 1.75)
    assert one.remarks == ["tempo changes, each row has its mean"]
    (tmp_path / "y.mid").write_bytes(file(b"\0" + seven + KICK + END))
    assert analysed(tmp_path / "y.mid", codec=DrumGrid(steps=12)).cost.metre == 1
    with pytest.raises(UserError, match="a bar of 7/8 does not end on a step of a grid with 12"):
        run(tmp_path, tmp_path / "store", "--steps", "12", "--csv", str(_skip(tmp_path, "x.mid")))


def _skip(folder: Path, name: str) -> Path:
    (folder / "table.csv").write_text(f"file,keep\n{name},no\n")
    return folder / "table.csv"


def test_a_file_without_tempo(tmp_path):
    (tmp_path / "x.mid").write_bytes(file(KICK + END))
    (tmp_path / "loop 174 bpm.mid").write_bytes(file(KICK + b"\x60\x26\x64" + END))
    store = run(tmp_path, tmp_path / "store", "--valid-share", "0")
    rows = {row["source"]: row for row in store.rows}
    assert "bpm" not in rows["x.mid"] and rows["loop 174 bpm.mid"]["bpm"] == 174
    assert rows["loop 174 bpm.mid"]["at"][1] == pytest.approx(240 / 174, abs=1e-5)
    assert source_of(tmp_path / "store", "x.mid")["flags"] == ["no tempo in it, taken as 120 BPM"]
    write(tmp_path / "beat 99bpm.mid", DrumClip(beat(1), bpm=120))
    assert analysed(tmp_path / "beat 99bpm.mid").remarks == ["its tempo is 120 BPM, but 99 is said of it"]


def test_channels(tmp_path, capsys):
    (tmp_path / "x.mid").write_bytes(file(b"\0\x92\x24\x64\x60\x93\x26\x64" + END))
    for options, pitches in ((["--channel", "3"], [36]), (["--channel", "4"], [38]), (["--all-channels"], [36, 38])):
        store = run(tmp_path, tmp_path / "-".join(options), "--valid-share", "0", *options)
        clip = DrumGrid().decode(store.read(0, 16))
        assert clip.notes[:, 1].tolist() == pitches
    (tmp_path / "x.mid").write_bytes(file(b"\0\x92\x24\x64" + END))
    run(tmp_path, tmp_path / "guess", "--valid-share", "0")
    assert source_of(tmp_path / "guess", "x.mid")["flags"][0] == (
        "drums on channel 3, the only one used, 100% of its notes at pitches of kick, snare, hats and cymbals, 100% at "
        "those of a kit")


def test_a_piano_is_refused_with_what_to_say(tmp_path, capsys):
    for name in ("piano_ch1.mid", "rmid.rmi"):
        (tmp_path / name).write_bytes(FAULTS[name])
    shutil.copy(GROOVE[0], tmp_path)
    store = run(tmp_path, tmp_path / "store", "--valid-share", "0")
    assert {row["source"] for row in store.rows} == {GROOVE[0].name, "rmid.rmi"}
    assert "skipped piano_ch1.mid: has notes on channel 1 only, which do not look like drums" in capsys.readouterr().err
    store = run(tmp_path, tmp_path / "one", "--valid-share", "0", "--channel", "1")
    assert {row["source"] for row in store.rows} == {"piano_ch1.mid"}


def test_a_map_of_ones_own(tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"name": "mine", "unmapped": "rest", "classes": [
        {"name": "kick", "write": 36, "pitches": [36]}, {"name": "rest", "write": 38, "pitches": [38]}]}))
    write(tmp_path / "x.mid", DrumClip(notes((0, 36, 99), (1, 38, 99), (2, 77, 99), (3, 78, 99))))
    store = run(tmp_path, tmp_path / "store", "--map", str(mine), "--valid-share", "0")
    grid = DrumGrid.from_dict(store.settings["codec"])
    assert store.spec.n_q == 4 and grid.decode(store.read(0, 16)).notes[:, 1].tolist() == [36, 38, 38, 38]
    told = json.loads((tmp_path / "store" / "report.json").read_text())
    assert "the map mine has no class for these pitches, which are taken as rest: 77 (1), 78 (1)" in told["notes"]
    assert f"--map {mine}" in told["command"]
    run(tmp_path, tmp_path / "twelve", "--valid-share", "0", "--map", "drums9")
    told = json.loads((tmp_path / "twelve" / "report.json").read_text())
    assert any("which are dropped: 77 (1), 78 (1)" in note for note in told["notes"]) and "drums9" in told["command"]


def test_rows_have_the_words_of_a_prompt(groove):
    src, store = groove
    prompts = prompts_of(store.settings)
    genres = sorted({row["style"].split("/")[0] for row in store.rows})
    assert prompts.words["genre"] == tuple(genres) and len(genres) > 3
    assert prompts.first == max(DrumGrid().sizes) and prompts.n_q == store.spec.n_q == 24
    for row in store.rows:
        pattern = DrumGrid().pattern(store.read(row["start"], row["frames"]))
        assert row["prompt"] == describe(pattern, row["style"], row["kind"], row["bpm"], (4, 4))
        assert prompts.codes(row["prompt"]).max() < store.spec.card
    told = json.loads((store.path / "report.json").read_text())["words"]
    (tempo,) = [one for one in told if one["field"] == "tempo"]
    assert sum(rows for _, rows in tempo["words"]) == tempo["rows"] == len(store.rows)
    html = (store.path / "report.html").read_text()
    assert "What can be asked for" in html and "said of 100%" in html


def test_a_store_without_prompts(groove, tmp_path):
    src, told = groove
    store = run(src, tmp_path / "store", "--no-prompts")
    assert store.spec == DrumGrid().spec and "prompts" not in store.settings
    assert not any("prompt" in row for row in store.rows)
    assert (np.asarray(store.codes) == np.asarray(told.codes)).all()
    report = json.loads((store.path / "report.json").read_text())
    assert report["words"] == [] and "--no-prompts" in report["command"]
    with pytest.raises(UserError, match="was made without prompts; prepare it with --no-prompts, or name a new"):
        run(src, store.path)
    with pytest.raises(UserError, match="was made with prompts; prepare it without --no-prompts, or name a new"):
        run(src, told.path, "--no-prompts")


def test_the_genres_are_those_of_the_first_preparation(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    for n, name in enumerate(("1_funk_100_beat_4-4", "2_jazz-swing_100_fill_4-4", "3_rock_100_beat_4-4", "nobody")):
        write(src / f"{name}.mid", DrumClip(beat(4, n), bpm=100))
    store = run(src, tmp_path / "store", "--csv", str(_skip(tmp_path, "3_rock_100_beat_4-4.mid")))
    assert prompts_of(store.settings).words["genre"] == ("funk", "jazz")
    said = {row["source"]: row["prompt"] for row in store.rows}
    assert "genre" not in said["nobody.mid"] and "kind" not in said["nobody.mid"]
    assert (said["2_jazz-swing_100_fill_4-4.mid"]["genre"], said["2_jazz-swing_100_fill_4-4.mid"]["kind"]) == (
        "jazz", "fill")
    store = run(src, tmp_path / "store")
    (row,) = [row for row in store.rows if row["source"] == "3_rock_100_beat_4-4.mid"]
    assert prompts_of(store.settings).words["genre"] == ("funk", "jazz")
    assert row["style"] == "rock" and "genre" not in row["prompt"] and row["prompt"]["kind"] == "beat"
    assert "none of the store's: rock" in source_of(store.path, "3_rock_100_beat_4-4.mid")["flags"][-1]
    before = files_of(store.path)
    run(src, store.path)
    assert files_of(store.path) == before


def test_a_person_corrects_style_and_kind(tmp_path):
    src, styles = tmp_path / "src", {"a.mid": ("Drum & Bass/Jungle", "intro"), "b.mid": ("", "")}
    src.mkdir()
    for n, name in enumerate(styles):
        write(src / name, DrumClip(beat(4, n)))
    run(src, tmp_path / "first")
    with (tmp_path / "first" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["style"] for row in rows} == {""} and {"style", "kind"} < rows[0].keys()
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | dict(zip(("style", "kind"), styles[row["file"]])) for row in rows)
    store = run(src, tmp_path / "second", "--csv", str(tmp_path / "mine.csv"))
    rows = {row["source"]: row for row in store.rows}
    assert prompts_of(store.settings).words["genre"] == ("drum & bass",)
    assert (rows["a.mid"]["style"], rows["a.mid"]["kind"]) == styles["a.mid"] and "style" not in rows["b.mid"]
    assert (rows["a.mid"]["prompt"]["genre"], rows["a.mid"]["prompt"]["kind"]) == ("drum & bass", "intro")
    assert source_of(store.path, "a.mid")["style"] == styles["a.mid"][0]
    again = run(src, tmp_path / "third", "--csv", str(tmp_path / "second" / "labels.csv"))
    assert again.hash == store.hash, "what was written says the same when it is given back"


def test_a_store_of_hits(groove, tmp_path, capsys):
    src, grid = groove
    store, codec = run(src, tmp_path / "store", "--codec", "drum_hits"), DrumHits()
    assert codec_of(store.settings["codec"]) == codec
    assert store.spec == prompts_of(store.settings).extend(codec.spec) and store.spec.prompt == 2
    there = {(row["source"], row["bar"]): row for row in store.rows}
    assert there.keys() == {(row["source"], row["bar"]) for row in grid.rows}
    assert all(there[row["source"], row["bar"]]["split"] == row["split"] for row in grid.rows)
    for path in sorted(src.rglob("*.mid")):
        clip, name = clip_of(path), path.relative_to(src).as_posix()
        lines = np.flatnonzero(codec.encode(clip)[0] == 0)
        hits = 0
        for row in [row for row in store.rows if row["source"] == name]:
            codes = store.read(row["start"], row["frames"])
            assert codes[0, 0] == 0 and (codes[0] == 0).sum() == row["bars"]
            hits += row["frames"] - row["bars"]
        assert len(lines) == clip.bars and hits >= codec.cost(clip).kept
    tracks = [track for split in ("train", "valid") for track in store.tracks(split)]
    assert sorted(start for track in tracks for start in track.slices) == [row["start"] for row in store.rows]
    report = json.loads((store.path / "report.json").read_text())
    assert "--codec drum_hits" in report["command"] and "velocities are off by 0.0" in report["notes"][0]
    with pytest.raises(UserError, match="--offsets is of drum_grid"):
        midi.main([str(src), str(tmp_path / "x"), "--codec", "drum_hits", "--offsets", "9"])


def test_bars_too_long_for_hits_are_left_out(tmp_path):
    write(tmp_path / "x.mid", DrumClip(beat(4), meter=(12, 4)))
    write(tmp_path / "y.mid", DrumClip(beat(4, 1)))
    store = run(tmp_path, tmp_path / "store", "--codec", "drum_hits", "--valid-share", "0")
    assert {row["source"] for row in store.rows} == {"y.mid"}
    assert "has bars up to 8/4, and 12/4 is longer" in source_of(tmp_path / "store", "x.mid")["why"]


def test_of_one_file_the_end_is_held_out(tmp_path):
    write(tmp_path / "x.mid", DrumClip(beat(40)))
    store = run(tmp_path, tmp_path / "store", "--valid-share", "0.2")
    assert [row["split"] for row in store.rows] == ["train"] * 8 + ["valid"] * 2
    before = files_of(tmp_path / "store")
    run(tmp_path, tmp_path / "store", "--valid-share", "0.2")
    assert files_of(tmp_path / "store") == before


def test_a_dry_run_encodes_nothing(groove, tmp_path):
    run(groove[0], tmp_path / "store", "--dry-run")
    assert not (tmp_path / "store" / "store.json").exists() and (tmp_path / "store" / "report.html").exists()
    dry, wet = (json.loads((path / "report.json").read_text()) for path in (tmp_path / "store", groove[1].path))
    assert dry["totals"] == wet["totals"] and dry["words"] == wet["words"] and dry["store_hash"] is None


def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"kick \xff.mid")
    write(tmp_path / name, DrumClip(beat(2)))
    store = run(tmp_path, tmp_path / "store", "--valid-share", "0")
    assert store.rows[0]["source"] == name


@pytest.mark.parametrize("options, said", [
    (["--map", "drums13"], "no map of drums"), (["--steps", "17"], "invalid choice"), (["--cut", "fixed:4"], "bars:N"),
    (["--channel", "17"], "1 to 16"), (["--channel", "3", "--all-channels"], "exclude each other"),
    (["--min-bars", "5"], "1 to 4"), (["--valid-share", "1"], "--valid-share"), (["--offsets", "4"], "odd"),
    (["--velocities", "0"], "1 to 127"), (["--empty-bars", "-1"], "--empty-bars"), (["--workers", "-1"], "--workers")])
def test_options_that_make_no_sense(options, said, tmp_path):
    with pytest.raises(UserError, match=said):
        midi.main([str(tmp_path), str(tmp_path / "store"), *options])
    assert not (tmp_path / "store").exists()


def test_what_says_too_little_is_no_evidence(tmp_path):
    """A bar that everybody plays does not tie a collection together."""
    rock = notes(*((beat, 42, 90) for beat in np.arange(0, 8, 0.5)), (0, 36, 99), (2, 38, 99), (4, 36, 99), (6, 38, 99))
    for i in range(12):
        write(tmp_path / f"{i:02}.mid", DrumClip(np.concatenate([rock, beat(6, i) + [8 * 480, 0, 0]])))
    items = [(path.name, analysed(path).prints) for path in sorted(tmp_path.glob("*.mid"))]
    assert duplicates.find(items) == []
    assert len(duplicates.find(items[:4])) == 1


def test_plans_do_not_depend_on_the_order_of_reading(alike):
    items = [(path.name, analysed(path).prints) for path in sorted(alike.glob("*.mid"))]
    assert duplicates.find(items) == duplicates.find(items[::-1])
    assert chain.AT_ONCE > 1
