"""The drums' command line, as a person types it: files, seeds, exit codes, interruptions, what a cold run imports."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import infer as command
from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.drums import midi as midi_drums
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.play import cli, output
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.edit import read_source
from audiocraft_ext.midi.file import parse
from tests.helpers.drum_bundle import GENRES, tiny_drummer

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / "data" / "groove"
FUNK, ROCK = DATA / "drummer7-1-13_funk_102_beat_4-4.mid", DATA / "drummer3-1-7_rock_105_beat_4-4.mid"
posix = pytest.mark.skipif(os.name == "nt", reason="signals")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_drummer(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def drums(bundle, tmp_path, capsys):
    """As a command, in this process, into ``tmp_path / "out"``: exit code, stdout, stderr."""
    def run(*args):
        try:
            run_cli(lambda: cli.main([str(arg) for arg in (bundle, "-o", tmp_path / "out", *args)]), leave=False)
            code = 0
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


def cold(*args):
    return subprocess.run([sys.executable, ROOT / "infer.py", *map(str, args)], capture_output=True, text=True,
                          timeout=60)


def files(folder, ending="*"):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob(ending))}


def midis(folder):
    return files(folder, "*.mid")


def test_a_cold_run(bundle, tmp_path):
    result = cold(bundle, "-n", 2, "--bars", 2, "--bpm", 174, "--genre", "funk", "-o", tmp_path, "--seed", 7)
    assert (result.returncode, result.stderr) == (0, "")
    last = result.stdout.splitlines()[-1]
    assert last.startswith("2 beats, 4 bars, 5.5 s of drums in ") and last.endswith("--seed 7 makes them again")
    found = midis(tmp_path)
    assert list(found) == ["tiny_funk_seed7_0_174bpm.mid", "tiny_funk_seed7_1_174bpm.mid"]
    for data in found.values():
        midi = parse(data)
        assert len(midi.notes) and midi.tempos[0][1] == pytest.approx(174, abs=0.01) and midi.end == 2 * 4 * 480
        assert set(midi.notes["channel"]) == {10}


def test_what_a_cold_run_imports(bundle, tmp_path):
    code = "import sys, infer; infer.main(sys.argv[1:]); print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code, bundle, "-o", tmp_path, "-n", "2"], capture_output=True,
                            text=True, cwd=ROOT, timeout=60)
    names = set(eval(result.stdout.splitlines()[-1]))
    modules = {name.partition(".")[0] for name in names}
    assert "onnxruntime" in modules
    assert "audiocraft_ext.drums.play.cli" in names
    assert not [name for name in names if name.startswith("audiocraft_ext.audio")], "another kind's"
    assert "audiocraft_ext.drums.kind" not in names, "what training asks"
    heavy = {"torch", "scipy", "soxr", "soundfile", "matplotlib", "librosa", "mido", "tqdm", "tempfile", "pyloudnorm"}
    assert modules & heavy == set()


def test_same_seed_same_files_and_nothing_is_made_twice(drums, tmp_path):
    code, out, _ = drums("-n", 2, "--seed", 1)
    assert code == 0 and out.count("4 bars, 120 BPM") == 2
    first = files(tmp_path / "out")
    assert len(first) == 4
    code, out, err = drums("-n", 5, "--seed", 1, "--batch", 2)
    assert code == 0 and "2 of 5 beats are in" in err and out.count("4 bars, 120 BPM") == 3
    now = files(tmp_path / "out")
    assert len(now) == 10 and first.items() <= now.items()
    assert len(set(midis(tmp_path / "out").values())) == 5
    shutil.rmtree(tmp_path / "out")
    drums("-n", 5, "--seed", 1)
    assert files(tmp_path / "out") == now
    drums("-n", 5, "--seed", 1, "--temperature", 0.5)
    assert len(files(tmp_path / "out")) == 20 and now.items() <= files(tmp_path / "out").items()


def test_a_seed_that_was_drawn_is_printed(drums):
    _, out, _ = drums()
    seed = out.split("--seed ")[1].split()[0]
    assert f"_seed{seed}_0_120bpm.mid" in out and out.endswith("makes it again\n")


def test_what_is_written(drums, tmp_path):
    assert drums("--seed", 1, "--tracks", "--wav", "--bars", 1)[0] == 0
    names = list(files(tmp_path / "out"))
    assert any(name.endswith("_kick.mid") for name in names) and "tiny_seed1_0_120bpm.wav" in names


@pytest.mark.parametrize("args", [
    ("--genre", "jazz", "--bpm", 93.5), ("--continue", ROCK, "--bars", 17), ("--humanise", FUNK, "--bars", 2),
    ("--vary", FUNK, "--bars", 2), ("--from-midi", FUNK, "--keep", "kick", "--bars", 2, "--groove", ROCK),
    ("--meter", "6/8", "--density", 2, "--top-k", 5)])
def test_again_from_its_json(drums, tmp_path, args):
    assert drums("-n", 3, "--seed", 5, *args)[0] == 0
    made = files(tmp_path / "out")
    beside = sorted((tmp_path / "out").glob("*.json"))[1]
    shutil.copy(beside, tmp_path / "kept.json")
    shutil.rmtree(tmp_path / "out")
    code, out, err = drums("--from", tmp_path / "kept.json")
    assert (code, err) == (0, "") and "1 beat, " in out
    again = files(tmp_path / "out")
    assert len(again) == 2 and again.items() <= made.items()


def test_a_file_that_was_changed_since(drums, tmp_path):
    drums("--seed", 1)
    (midi,), (beside,) = (list((tmp_path / "out").glob(ending)) for ending in ("*.mid", "*.json"))
    midi.write_bytes(b"mine now")
    code, _, err = drums("--from", beside)
    assert code == 0 and midi.read_bytes() == b"mine now"
    assert "changed since" in err or len(midis(tmp_path / "out")) == 2


@pytest.mark.parametrize("option, changed", [("--velocities-only", 0), ("--offsets-only", 1)])
def test_humanising_in_part(drums, bundle, tmp_path, option, changed):
    drums("--humanise", FUNK, "--bars", 4, "--seed", 1, option)
    beside, = (tmp_path / "out").glob("*.json")
    codes = output.read_sidecar(beside).codes.reshape(2, 12, -1)
    source = read_source(FUNK, Drummer.load(bundle).codec, lambda text: None, bars=4).codes.reshape(2, 12, -1)
    assert (codes[changed] != source[changed]).any() and (codes[1 - changed] == source[1 - changed]).all()


def test_drums_on_other_channels(drums, tmp_path):
    data = midi_drums.to_bytes(DrumClip([[0, 36, 100], [480, 38, 100]])).replace(bytes([0x99, 38]), bytes([0x92, 38]))
    (tmp_path / "a.mid").write_bytes(data)
    for args in (("--channel", 3), ("--all-channels",), ()):
        assert drums("--vary", tmp_path / "a.mid", "--amount", 0, "--seed", 1, *args)[0] == 0
    found = [set(parse(data).notes["pitch"].tolist()) for data in midis(tmp_path / "out").values()]
    assert sorted(found, key=sorted) == [{36}, {36, 38}, {38}]


def test_swapping_writes_both(drums, tmp_path):
    code, out, err = drums("--swap", FUNK, ROCK)
    assert code == 0 and err.count("note:") == 2 and "seed" not in out.splitlines()[-1]
    found = [parse(data) for data in midis(tmp_path / "out").values()]
    assert sorted(len(midi.notes) for midi in found) == [253, 1011]
    assert drums("--from-midi", FUNK, "--groove", ROCK)[2].endswith(f"beats are in {tmp_path / 'out'} already\n")


def test_what_can_be_asked_for(drums):
    code, out, _ = drums("--prompts")
    assert code == 0 and f"--genre: {', '.join(GENRES)}\n" in out and "--density: very-low, low" in out
    assert "kick, snare, side_stick, closed_hat" in out


def test_all_in_one_line(drums, tmp_path):
    for name, data in (("text", b"hello"), ("empty", b""), ("silent", midi_drums.to_bytes(DrumClip(np.zeros((0, 3))))),
                       ("foreign", midi_drums.to_bytes(DrumClip([[0, 100, 90]])))):
        (tmp_path / name).write_bytes(data)
    folder = tmp_path / "out"
    folder.mkdir()
    for args, message in [
        (("--genre", "disco"), "expected one of funk, hiphop, jazz, rock, got 'disco'"), (("--bars", 0), "1 to 256"),
        (("--bars", "2.5"), "invalid int"), (("--bpm", 5), "20 to 400"), (("--meter", "4"), "such as 4/4"),
        (("--meter", "4/3"), "such as 4/4"), (("-n", 0), "the number of beats, 1 or more"),
        (("--seed", -1), "seed"),
        (("--humanise", tmp_path / "text"), "not a MIDI file"), (("--vary", tmp_path / "empty"), "0 bytes"),
        (("--continue", tmp_path / "silent"), "no notes"), (("--groove", tmp_path / "foreign"), "they have pitch 100"),
        (("--vary", tmp_path / "none"), "is not there"), (("--humanise", tmp_path), "is a folder"),
        (("--from-midi", FUNK, "--keep", "kazoo"), "keep: expected one of kick, snare"),
        (("--from-midi", FUNK, "--keep", "kick", "--reroll", "hats"), "take one of them"),
        (("--from-midi", FUNK), "say which"), (("--keep", "kick"), "belongs to --from-midi"),
        (("--amount", 0.5), "belongs to --vary"), (("--vary", FUNK, "--amount", 2), "0 (nothing) to 1"),
        (("--humanise", FUNK, "--vary", FUNK), "--humanise, --vary"), (("--offsets-only",), "belongs to --humanise"),
        (("--swap", FUNK, ROCK, "-n", 2), "leave out -n"),
        (("--swap", FUNK, ROCK, "--groove", ROCK), "leave out --groove"),
        (("--channel", 17), "1 to 16"), (("--channel", 3), "none was given"), (("--nonsense",), "--nonsense"),
        (("--precision", "int8"), "int8"), (("--rate", 3, "--wav"), "rate"), (("--rate", 48000), "give --wav"),
        (("--continue", ROCK, "--bars", 5), "begins with the 15 bars"), (("--humanise", FUNK, "--bars", 42), "has 41"),
        (("--from-midi", FUNK, "--keep", "kick", "--bars", 42), "has 41"), (("--vary", FUNK, "--bars", 300), "to 256"),
        (("--meter", "64/1", "--bars", 256), "an hour at most"),
        (("--from", tmp_path / "text"), "no JSON"), (("--from", tmp_path / "text", "--bars", 2), "leave out --bars"),
    ]:
        code, out, err = drums(*args)
        assert (code, out, len(err.splitlines())) == (2, "", 1), (args, code, out, err)
        assert err.startswith("error: ") and message in err, (args, err)
    assert files(folder) == {}


def test_a_folder_that_cannot_be(bundle, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written to"):
        cli.main([str(bundle), "-o", str(tmp_path / "file")])


@posix
def test_names_that_are_no_text(bundle, tmp_path):
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.mid")
    out = odd.removesuffix(".mid")
    shutil.copy(FUNK, odd)
    result = cold(bundle, "-o", out, "--humanise", odd, "--bars", 1)
    assert result.returncode == 0 and "caf\\xe9.mid: " in result.stderr and "caf\\xe9/tiny" in result.stdout
    Path(odd).write_bytes(b"no")
    assert cold(bundle, "-o", out, "--humanise", odd).returncode == 2


def test_infer_hands_on(bundle, tmp_path, capsys):
    command.main([str(bundle), "--bars", "1", "--seed", "1", "-o", str(tmp_path)])
    beside, = tmp_path.glob("*.json")
    command.main([str(bundle), "--from", str(beside), "-o", str(tmp_path / "again")])
    assert midis(tmp_path) == midis(tmp_path / "again")


# many beats

MANY = ("-n", "150", "--bars", "1", "--seed", "3", "--batch", "5")


@posix
@pytest.mark.parametrize("how, threads", [("SIGINT", 1), ("SIGINT", 2), ("SIGKILL", 2)])
def test_many_beats_interrupted_and_gone_on_with(bundle, tmp_path, drums, how, threads):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny_seed3_100_120bpm.mid").write_text("somebody else's")
    args = [sys.executable, str(ROOT / "infer.py"), str(bundle), "-o", str(tmp_path / "out"), *MANY]
    args += ["--threads", str(threads)]
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    while len(list((tmp_path / "out").glob("*.json"))) < 20 and time.time() < deadline:
        time.sleep(0.002)
    process.send_signal(getattr(signal, how))
    _, err = process.communicate(timeout=60)
    half = files(tmp_path / "out")
    there = len([name for name in half if name.endswith(".json") and name[0] != "."])
    assert 15 < there < 150
    if how == "SIGINT":
        assert process.returncode == 130 and err.startswith(f"stopped: {there} of 150 beats are in")
        assert err.endswith("with --seed 3 resumes\n") and len(err.splitlines()) == 1
    code, out, err = drums(*MANY)
    assert code == 0 and f"{there} of 150 beats are in" in err and out.count("BPM, ") == 150 - there
    now = files(tmp_path / "out")
    assert {name: data for name, data in half.items() if name[0] != "."}.items() <= now.items()
    assert now["tiny_seed3_100_120bpm.mid"] == b"somebody else's" and "tiny_seed3_100_120bpm_v2.mid" in now
    assert len([name for name in now if name.endswith(".mid") and name[0] != "."]) == 151
    assert drums(*MANY)[1] == ""


SLOW = """
import sys
from audiocraft_ext.drums.play import cli, sampling
from audiocraft_ext.core.errors import run_cli

def sampled(self, *args, sampled=sampling.Playing._sampled):
    print("begun", flush=True)
    return sampled(self, *args)

sampling.Playing._sampled, sampling.physical_cores = sampled, lambda: 2
run_cli(lambda: cli.main(sys.argv[1:]))
"""


@posix
def test_long_beats_are_stopped_at_once(bundle, tmp_path):
    """In the middle of two batches, which take long."""
    args = [sys.executable, "-c", SLOW, str(bundle), "-o", str(tmp_path), "-n", "200", "--bars", "256", "--genre",
            "funk", "--threads", "2"]
    process = subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert [process.stdout.readline() for _ in range(2)] == ["begun\n", "begun\n"]
    time.sleep(0.3)
    start = time.time()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.time() - start < 3 and process.returncode == 130
    assert err.startswith("stopped: 0 of 200 beats are in ") and not list(tmp_path.iterdir())


def test_names_say_what_was_done_to_what(drums, tmp_path):
    for args in (("--vary", FUNK, "--bars", 1), ("--humanise", FUNK, "--bars", 1), ("--groove", ROCK, "--bars", 1),
                 ("--vary", ROCK, "--bars", 1), ("--from-midi", FUNK, "--keep", "kick", "--bars", 1)):
        assert drums("--seed", 1, "--bpm", 100, *args)[0] == 0
    funk, rock = FUNK.stem, ROCK.stem
    assert sorted(midis(tmp_path / "out")) == sorted(f"tiny_{what}_seed1_0_100bpm.mid" for what in (
        f"vary-{funk}", f"vary-{rock}", f"humanise-{funk}", f"groove-{rock}", f"keep-{funk}"))


def test_beats_without_a_hit_are_reported(drums, monkeypatch):
    decode = DrumGrid.decode
    monkeypatch.setattr(DrumGrid, "decode", lambda self, codes, *how: decode(self, 0 * codes + 12 * (
        np.arange(24) >= 12)[:, None], *how))
    code, out, err = drums("-n", 2, "--seed", 1)
    assert code == 0 and err == "note: 2 of 2 beats have no hits at all\n" and out.count(", 0 hits\n") == 2


def test_drummers_that_ship(capsys, monkeypatch, bundle):
    from audiocraft_ext.engine import bundle as bundles

    monkeypatch.setattr(bundles, "BUNDLES", bundle.parent)
    cli.main(["--list"])
    assert capsys.readouterr().out == "tiny: random weights, for tests\n"
    monkeypatch.setattr(bundles, "list_bundles", lambda: [])
    cli.main(["--list"])
    assert capsys.readouterr().out.startswith("no drummer comes with this repository")


def test_a_disk_that_fills_in_the_middle(drums, tmp_path, monkeypatch):
    room, save = [3], output.save

    def full(beat, folder, how):
        room[0] -= 1
        if room[0] < 0:
            raise UserError("cannot write it: No space left on device")
        return save(beat, folder, how)

    monkeypatch.setattr(output, "save", full)
    code, _, err = drums("-n", 6, "--seed", 1)
    where = tmp_path / "out"
    assert code == 2 and err.endswith(f"3 of 6 beats are in {where}; the same command with --seed 1 resumes\n")
    monkeypatch.setattr(output, "save", save)
    assert drums("-n", 6, "--seed", 1)[0] == 0 and len(midis(tmp_path / "out")) == 6


def test_the_bar_shows_the_time_left(monkeypatch, bundle, tmp_path, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    cli.main([str(bundle), "-o", str(tmp_path), "-n", "3", "--seed", "1"])
    out, err = capsys.readouterr()
    assert "of 3 beats, " in err and out.count(".mid") == 3


def test_json_says_all(drums, tmp_path):
    drums("--seed", 1, "--genre", "rock")
    beside, = (tmp_path / "out").glob("*.json")
    info = json.loads(beside.read_text("utf-8"))
    assert info["recipe"]["said"]["genre"] == "rock" and info["recipe"]["seed"] == 1 and info["index"] == 0
