"""The shortest path, as a person types it: files, seeds, exit codes, interruptions, and what a cold run imports."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import infer as command
from audiocraft_ext.audio import clips
from audiocraft_ext.core.errors import UserError, run_cli
from tests.helpers import tiny
from tests.helpers.programs import run_here

pytestmark = pytest.mark.early
ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="signals, wait4, /dev/full")


def cold(*args, **options):
    return subprocess.run([sys.executable, str(ROOT / "infer.py"), *map(str, args)], capture_output=True, timeout=120,
                          **{"text": True} | options)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", context=100)


@pytest.fixture
def infer(capsys):
    """As a command, in this process: exit code, stdout, stderr."""
    def run(*args):
        try:
            run_cli(lambda: command.main([str(arg) for arg in args]), leave=False)
            code = 0
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


def waves(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*.wav"))}


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_cold_run(bundle, tmp_path):
    result = cold(bundle, "-n", 1, "-d", 1, "-o", tmp_path, "--seed", 7, "--top-k", 20)
    assert result.returncode == 0 and result.stderr == ""
    assert "times real time" in result.stdout and "--seed 7" in result.stdout
    wav, rate = sf.read(tmp_path / "tiny_seed7_0.wav")
    assert rate == 32_000 and wav.shape == (32_000,) and np.abs(wav).max() > 0
    about = clips.read_comment(tmp_path / "tiny_seed7_0.wav")
    assert (about["seed"], about["index"]) == (7, 0)
    assert about["sampling"] == {"temperature": 1.0, "top_k": 20, "top_p": 1.0, "min_p": 0.0}


def test_same_seed_same_file_alone_and_in_a_batch(bundle, tmp_path, infer):
    for out, args in {"a": ("-n", 1), "b": ("-n", 3), "c": ("-n", 3, "--batch", 2, "--threads", 2)}.items():
        assert infer(bundle, "-d", 1, "-o", tmp_path / out, "--seed", 7, *args)[0] == 0
    assert sorted(waves(tmp_path / "b")) == [f"tiny_seed7_{i}.wav" for i in range(3)]
    assert waves(tmp_path / "a").items() <= waves(tmp_path / "b").items()
    assert len(set(waves(tmp_path / "b").values())) == 3
    assert files(tmp_path / "b") == files(tmp_path / "c")


def test_a_file_of_other_settings_is_not_overwritten(bundle, tmp_path, infer):
    common = (bundle, "-d", 0.5, "-o", tmp_path, "--seed", 1)
    for more in ((), (), ("--temperature", 0.5), ("--top-k", 50), ("--bits", 24)):
        assert infer(*common, *more)[0] == 0
    assert sorted(waves(tmp_path)) == ["tiny_seed1_0.wav", "tiny_seed1_0_v2.wav", "tiny_seed1_0_v3.wav"]


def test_without_a_seed_one_is_chosen_and_printed(bundle, tmp_path, infer):
    for _ in range(2):
        code, out, _ = infer(bundle, "-d", 0.2, "-o", tmp_path)
        assert code == 0 and "makes it again" in out
    assert len(waves(tmp_path)) == 2


HEAVY = {"torch", "torchaudio", "audiocraft", "hydra", "omegaconf", "dora", "flashy", "transformers", "librosa",
         "scipy", "matplotlib", "onnx", "safetensors", "av", "soxr", "pyloudnorm", "pandas", "sympy", "PIL"}
UNASKED = {f"audiocraft_ext.{name}" for name in (
    "audio.weird.chain", "audio.weird.tools", "audio.loop", "audio.kind", "sound.level", "sound.onsets",
    "sound.picture", "sound.mel", "sound.joins", "engine.torch.loop", "export.soup")}


def test_what_is_not_asked_for_has_its_name():
    """Else nothing would be seen of it by the next test."""
    assert [name for name in UNASKED if not (ROOT / f"{name.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize("args", [("-d", "0.2"), ("-d", "0.2", "--bpm", "120"), ("-d", "0.2", "--stream", os.devnull)])
def test_cold_imports(bundle, tmp_path, args):
    """Numpy, ONNX Runtime, soundfile and tqdm, and nothing heavier (docs/DESIGN.md, import levels)."""
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); import infer; "
            f"infer.main({[str(bundle), '-o', str(tmp_path), '--seed', '3', *args]!r}); print(*sorted(sys.modules))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    modules = set(result.stdout.splitlines()[-1].split())
    assert {"numpy", "onnxruntime", "soundfile"} <= modules
    assert not [m for m in modules if m.partition(".")[0] in HEAVY or m in UNASKED]
    assert not [m for m in modules if m.startswith("audiocraft_ext.drums")], "another kind's"


# --from

def test_from_makes_the_identical_file(bundle, tmp_path, infer):
    """Whatever it was made with, and though all that it was made from is gone."""
    other = tiny.tiny_bundle(tmp_path / "other", lm=tiny.tiny_lm(seed=1), context=100)
    sf.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal((30_000, 2)), 44_100)
    assert infer(bundle, "-d", 1, "-o", tmp_path / "in", "--seed", 9)[0] == 0
    clip = tmp_path / "in" / "tiny_seed9_0.json"
    ways = [
        ("-d", 0.5),
        ("-d", 0.5, "--temperature", "1,0.5,0,1.2", "--top-k", "9,9,96,0", "--top-p", 0.9, "--min-p", 0.01),
        ("-d", 1, "--prompt", tmp_path / "noise.wav", "--prompt-seconds", 0.3), ("-d", 1.5, "--prompt", clip),
        ("--bpm", 150, "--bars", 0.5, "--loop", "--rate", 48_000, "--bits", 24, "--lufs", -16, "--slices"),
        ("-d", 1, "--bpm", 120, "--weird",
         f"swap:with={clip.with_suffix('.wav')},books=0; through:model={other},at=0.5s; stutter:at=1b,len=1/4b"),
        ("--source", tmp_path / "noise.wav", "--weird", "reroll:keep=0; mutate:share=5%", "--peak", -1, "--bits", 32),
    ]
    for number, way in enumerate(ways):
        assert infer(bundle, "-n", 2, "-o", tmp_path / str(number), "--seed", 5, *way)[0] == 0
    (tmp_path / "noise.wav").unlink(), clip.unlink(), clip.with_suffix(".wav").unlink()
    for number in range(len(ways)):
        made = tmp_path / str(number)
        (sidecar,) = made.glob("*seed5_1*.json")
        code, out, err = infer("--from", sidecar, "-o", tmp_path / f"{number}b")
        assert (code, err) == (0, ""), err
        again = files(tmp_path / f"{number}b")
        assert again and again.items() <= files(made).items()


def test_from_of_another_bundle_or_an_edited_file_says_so(bundle, tmp_path, infer):
    assert infer(bundle, "-d", 0.1, "-o", tmp_path, "--seed", 5)[0] == 0
    sidecar = tmp_path / "tiny_seed5_0.json"
    code, _, err = infer("embedded", "--from", sidecar, "-o", tmp_path / "b")
    assert code == 2 and "name the folder of the right one" in err and not (tmp_path / "b").exists()
    about = json.loads(sidecar.read_text())
    about["about"]["bundle"] = "nowhere"
    sidecar.write_text(json.dumps(about))
    code, _, err = infer("--from", sidecar)
    assert code == 2 and f"infer.py FOLDER --from {sidecar}" in err
    assert infer(bundle, "--from", sidecar, "-o", tmp_path / "c")[0] == 0
    wav = bytearray(sidecar.with_suffix(".wav").read_bytes())
    wav[100] ^= 1
    sidecar.with_suffix(".wav").write_bytes(wav)
    code, _, err = infer(bundle, "--from", sidecar, "-o", tmp_path)
    assert code == 0 and "changed since" in err and sidecar.with_suffix(".wav").read_bytes() == wav


# many clips

MANY = ("-n", 200, "-d", 0.3, "--seed", 3, "--threads", 1)


@pytest.fixture(scope="module")
def in_one_go(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    assert cold(bundle, "-o", folder, *MANY).returncode == 0
    return files(folder)


@posix
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_two_hundred_clips_interrupted_and_gone_on_with(bundle, tmp_path, in_one_go, how):
    (tmp_path / "tiny_seed3_100.wav").write_text("somebody else's")
    command = [sys.executable, str(ROOT / "infer.py"), str(bundle), "-o", str(tmp_path), *map(str, MANY)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    while len(list(tmp_path.glob("*.wav"))) < 30 and time.time() < deadline:
        time.sleep(0.002)
    process.send_signal(getattr(signal, how))
    _, err = process.communicate(timeout=60)
    half = files(tmp_path)
    there = len([name for name in half if name.suffix == ".wav" and not name.name.startswith(".")]) - 1
    assert 25 < there < 200
    if how == "SIGINT":
        assert process.returncode == 130 and "--seed 3 continues" in err and len(err.splitlines()) == 1
        assert f"stopped: {there} of 200 clips are in" in err
        assert not [name for name in half if name.name.startswith(".")]
    done = cold(bundle, "-o", tmp_path, *MANY)
    assert done.returncode == 0 and f"{there} of 200 clips are in" in done.stderr
    assert done.stdout.count("seed 3, clip") == 200 - there
    now = {name: data for name, data in files(tmp_path).items() if not name.name.startswith(".")}
    assert now.pop(Path("tiny_seed3_100.wav")) == b"somebody else's"
    assert all(now.get(name, data) == data for name, data in half.items())  # nothing was written over
    moved = now.pop(Path("tiny_seed3_100_v2.wav"))
    assert moved == in_one_go[Path("tiny_seed3_100.wav")]
    wanted = {n: d for n, d in in_one_go.items() if n.stem != "tiny_seed3_100"}
    assert {n: d for n, d in now.items() if n.stem != "tiny_seed3_100_v2"} == wanted
    assert cold(bundle, "-o", tmp_path, *MANY).stdout == ""


def test_a_disk_that_fills_in_the_middle(bundle, tmp_path, infer, monkeypatch):
    """One line with what is finished; the same command resumes."""
    room, write_wav = [5], clips.write_wav

    def full(*args, **how):
        room[0] -= 1
        if room[0] < 0:
            raise UserError("cannot write tiny.wav: No space left on device")
        write_wav(*args, **how)

    monkeypatch.setattr(clips, "write_wav", full)
    args = (bundle, "-n", 12, "-d", 0.1, "-o", tmp_path, "--seed", 2)
    code, _, err = infer(*args)
    assert code == 2 and len(err.splitlines()) == 1 and "No space left" in err
    assert "5 of 12 clips are in" in err and "--seed 2 continues" in err
    assert len(waves(tmp_path)) == 5 and len(list(tmp_path.iterdir())) == 10
    room[0] = 99
    code, _, err = infer(*args)
    assert code == 0 and "5 of 12" in err and len(waves(tmp_path)) == 12


def test_a_sheet_of_all_clips(bundle, tmp_path, infer):
    args = (bundle, "-n", 5, "-d", 0.5, "-o", tmp_path, "--seed", 1, "--sheet")
    for name in ("tiny_seed1.png", "tiny_seed1_v2.png"):  # the second time nothing is made, and nothing written over
        code, out, _ = infer(*args)
        assert code == 0 and str(tmp_path / name) in out
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert len(waves(tmp_path)) == 5


# streams

def test_a_stream_is_the_clip(bundle, tmp_path, infer):
    args = (bundle, "-d", 2.5, "--seed", 6)
    assert infer(*args, "--bits", 32, "-o", tmp_path)[0] == 0
    clip, _ = sf.read(tmp_path / "tiny_seed6_0.wav", dtype="float32")
    assert np.abs(clip).max() < 1  # nothing was levelled
    code, out, err = infer(*args, "--bits", 32, "--stream", tmp_path / "s.wav")
    assert code == 0 and out == "" and "first sound after" in err and "--seed 6" in err
    assert (sf.read(tmp_path / "s.wav", dtype="float32")[0] == clip).all()
    raw = cold(*args, "--stream", "-", "--raw", text=False)
    assert raw.returncode == 0 and np.abs(np.frombuffer(raw.stdout, "<i2") / 2**15 - clip).max() <= 2**-16
    piped = cold(*args, "--stream", "-", text=False)
    assert piped.returncode == 0 and piped.stdout[:4] == b"RIFF" and piped.stdout[44:] == raw.stdout
    assert len(list(tmp_path.iterdir())) == 3


@posix
def test_a_stream_that_nobody_hears(bundle):
    """The player was closed, or the disk is full: one line."""
    listener = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.buffer.read(100)"], stdin=subprocess.PIPE)
    args = [sys.executable, str(ROOT / "infer.py"), str(bundle), "-d", "60", "--stream", "-", "--seed", "4"]
    done = subprocess.run(args, stdout=listener.stdin, stderr=subprocess.PIPE, text=True, timeout=120)
    listener.stdin.close()
    listener.wait()
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: whatever the sound went to has closed")
    assert "Traceback" not in done.stderr and "--seed 4" in done.stderr
    if os.path.exists("/dev/full"):
        done = cold(bundle, "-d", 1, "--stream", "/dev/full")
        assert done.returncode == 2 and done.stderr == "error: cannot write /dev/full: No space left on device\n"


def test_a_stream_that_cannot_be_leaves_the_file_that_is_there(bundle, tmp_path, infer):
    file = tmp_path / "s.wav"
    file.write_text("mine")
    for more in (("--loop",), ("--weird", "reverse"), ("-n", 2), ("--rate", 44_100), ("--sheet",), ("--slices",)):
        code, _, err = infer(bundle, "-d", 0.2, "--stream", file, *more)
        assert code == 2 and len(err.splitlines()) == 1 and file.read_text() == "mine"
    code, _, err = infer(bundle, "-d", 0.2, "--stream", file)
    assert code == 2 and "writes over nothing" in err and file.read_text() == "mine"
    file.write_text("")
    assert infer(bundle, "-d", 0.2, "-n", 1, "--stream", file)[0] == 0 and sf.info(file).frames == 6400


# memory

@pytest.mark.processes
@posix
def test_memory_of_five_minutes(bundle, tmp_path):
    """A clip is held as sound, a few copies of it; nothing else grows. A stream holds nothing."""
    def peak(seconds, *more):
        args = [sys.executable, str(ROOT / "infer.py"), str(bundle), "-d", str(seconds), "--threads", "1"]
        code = ("import os, sys; pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]); _, status, usage = "
                "os.wait4(pid, 0); print(status, usage.ru_maxrss)")  # from here it would count what this process holds
        done = subprocess.run([sys.executable, "-c", code, *args, *map(str, more)], capture_output=True, text=True)
        status, peak = map(int, done.stdout.split()[-2:])
        assert status == 0, done.stderr
        return peak * (1 if sys.platform == "darwin" else 1024)

    more = 290 * 32_000
    whole = (peak(300, "-o", tmp_path) - peak(10, "-o", tmp_path)) / more
    assert 2 < whole < 20, f"{whole:.1f} bytes a sample"  # 16.4 when it was written
    stream = peak(300, "--stream", tmp_path / "s.wav") - peak(10, "--stream", tmp_path / "t.wav")
    assert stream < 12e6, f"{stream / 1e6:.1f} MB"  # 1.5 MB


# bad input

@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    sf.write(folder / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 32_000)
    sf.write(folder / "silent.wav", np.zeros(16_000), 32_000)
    sf.write(folder / "empty.wav", np.zeros(0), 32_000)
    (folder / "text.wav").write_text("not a sound")
    (folder / "nothing.wav").write_text("")
    (folder / "other.json").write_text('{"a": 1}')
    (folder / "broken.json").write_text("{")
    return folder


@pytest.mark.parametrize("args, what", [
    ("-n 0", "-n is the number of clips"), ("-n -3", "-n is"), ("-n 9999999", "at most 1000000"),
    ("-n many", "invalid int"),
    ("-d 0", "at most 3600 s"), ("-d -3", "at most 3600 s"), ("-d nan", "at most 3600 s"), ("-d 3601", "3600 s"),
    ("-d 10s", "invalid float"), ("--temperature -1", "temperature"), ("--temperature abc", "expected a number"),
    ("--temperature 1,,1", "one for each codebook"), ("--top-k -1", "top_k"), ("--top-k 50,50", "4 (one per codebook)"),
    ("--top-k 1.5", "top_k"), ("--top-p 0", "top_p"), ("--min-p 2", "min_p"), ("--seed -1", "seed"),
    ("--seed 18446744073709551616", "2**64 - 1"), ("--seed x", "invalid int"), ("--threads 0", "--threads"),
    ("--batch 0", "--batch"), ("--wrong", "unrecognized"), ("--bpm 0 -d 1", "20 to 400 BPM"), ("--bars 2", "--bpm"),
    ("--bpm 120 --bars 1 -d 3", "leave one out"), ("--loop -d 0.05", "a loop lasts"),
    ("--weird stuter:at=0s", "'stutter'"),
    ("--weird stutter:at=1b,len=1b", "--bpm"), ("--weird swap:with=S/text.wav,books=0", "text.wav"),
    ("--source S --weird reverse", "is a folder"), ("--source S/noise.wav", "--weird or --loop"),
    ("--source S/silent.wav --weird reverse", "silent"),
    ("--source S/noise.wav --loop --prompt S/noise.wav", "a source"),
    ("--prompt S/nowhere.wav", "not there"), ("--prompt S", "is a folder"), ("--prompt S/text.wav", "not audio"),
    ("--prompt S/silent.wav", "is silent"), ("--prompt S/empty.wav", "no audio"), ("--prompt S/nothing.wav", "0 bytes"),
    ("--prompt S/other.json", "a clip's JSON"), ("--prompt S/broken.json", "no JSON"),
    ("--prompt S/noise.wav -d 0.5", "fills the clip"), ("--prompt S/noise.wav --prompt-seconds 0", "is 2 s"),
    ("--prompt S/noise.wav --prompt-seconds 3", "is 2 s"), ("--prompt-seconds 1", "--prompt"),
    ("--rate 1", "8000 to 192000"), ("--bits 20", "invalid choice"), ("--peak 3", "dBFS"), ("--lufs nan", "LUFS"),
    ("--lufs -14 --peak -1", "one of them"), ("--raw", "--stream"), ("--precision int8", "not int8"),
    ("--precision int9", "not int9"), ("--device cuda", "--backend torch"), ("--backend jax", "invalid choice"),
    ("--stream S/no/s.wav -d 0.1", "No such file"), ("--stream S -d 0.1", "Is a directory"),
    ("--from S/noise.wav", "no JSON"), ("--from S/other.json", "a clip's JSON"), ("--from S/broken.json", "no JSON"),
    ("--from S", "is a folder"), ("--from S/no.json", "cannot be read"),
    ("--from S/other.json --seed 1 -d 3", "-d, --seed"),
])
def test_bad_values_are_one_line_and_exit_code_2(bundle, tmp_path, sounds, infer, args, what):
    before = files(sounds)
    code, out, err = infer(bundle, "-o", tmp_path / "out", *args.replace("S", str(sounds)).split())
    assert code == 2 and out == ""
    assert what in err and err.startswith("error: ") and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists() and files(sounds) == before


def test_top_k_beyond_the_codes_is_reported(bundle, tmp_path, infer):
    code, _, err = infer(bundle, "-d", 0.1, "-o", tmp_path, "--top-k", 1000)
    assert code == 0 and "top_k 1000 is more than the 96 codes" in err and len(err.splitlines()) == 1


def test_bundles_and_folders_that_cannot_be(bundle, tmp_path, infer):
    code, _, err = infer(tmp_path / "nothing")
    assert code == 2 and "no such bundle" in err
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        code, _, err = infer(bundle, "-o", folder)
        assert code == 2 and "cannot be written to" in err
    old = tiny.tiny_bundle(tmp_path / "old")
    info = json.loads((old / "model.json").read_text())
    (old / "model.json").write_text(json.dumps(info | {"version": 1}))
    code, _, err = infer(old, "-o", tmp_path / "out")
    assert code == 2 and "expected version 2, got 1" in err and not (tmp_path / "out").exists()


def test_an_altered_bundle_makes_no_sound(tmp_path, infer):
    folder = tiny.tiny_bundle(tmp_path / "tiny")
    data = bytearray((folder / "codec.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "codec.safetensors").write_bytes(data)
    for more in ((), ("--loop",), ("--stream", tmp_path / "s.wav")):
        code, _, err = infer(folder, "-d", 0.2, "-o", tmp_path / "out", *more)
        assert code == 2 and "codec.safetensors: altered" in err and len(err.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir()) and not (tmp_path / "s.wav").exists()


def test_the_list(infer):
    code, out, _ = infer("--list")
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == ["drums", "embedded", "notes", "songs"]


@pytest.mark.parametrize("program", ["data_prep.audio", "audiocraft_ext.export", "audiocraft_ext.audio.demo",
                                     "audiocraft_ext.drums.demo", "data_prep.midi", "benchmarks.prep.codec"])
def test_every_command_says_a_wrong_option_in_one_line(program):
    code, out, err = run_here("-m", program, "a", "b", "--wrong")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and f"see python -m {program} --help" in err
