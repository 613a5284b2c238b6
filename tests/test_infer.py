"""The shortest path, as a person types it: files, seeds, exit codes, and what a cold run imports."""

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

from tests import tiny

ROOT = Path(__file__).parent.parent


def infer(*args, **options):
    return subprocess.run([sys.executable, str(ROOT / "infer.py"), *map(str, args)], capture_output=True, text=True,
                          timeout=120, **options)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def test_same_seed_same_file_alone_and_in_a_batch(bundle, tmp_path):
    for n, out in ((1, "a"), (3, "b")):
        result = infer(bundle, "-n", n, "-d", 1, "-o", tmp_path / out, "--seed", 7, "--top-k", 20)
        assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [f"tiny_seed7_{i}.wav" for i in range(3)]
    first, same = (tmp_path / out / "tiny_seed7_0.wav" for out in "ab")
    assert first.read_bytes() == same.read_bytes()
    wav, rate = sf.read(first)
    assert rate == 32_000 and wav.shape == (32_000,) and np.abs(wav).max() > 0
    assert wav.tobytes() != sf.read(tmp_path / "b" / "tiny_seed7_1.wav")[0].tobytes()
    with sf.SoundFile(first) as f:
        comment = json.loads(f.comment)
    assert comment["seed"] == 7 and comment["index"] == 0 and comment["top_k"] == 20 and comment["temperature"] == 1.0
    assert "times real time" in result.stdout and "--seed 7" in result.stdout


def test_a_file_of_other_settings_is_not_overwritten(bundle, tmp_path):
    common = (bundle, "-d", 0.5, "-o", tmp_path, "--seed", 1)
    for more in ((), (), ("--temperature", 0.5)):
        assert infer(*common, *more).returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny_seed1_0.wav", "tiny_seed1_0_v2.wav"]


def test_without_a_seed_one_is_chosen_and_said(bundle, tmp_path):
    for _ in range(2):
        result = infer(bundle, "-d", 0.2, "-o", tmp_path)
        assert result.returncode == 0 and "makes them again" in result.stdout
    assert len(list(tmp_path.iterdir())) == 2


def test_cold_imports(bundle, tmp_path):
    """Numpy, ONNX Runtime, soundfile and tqdm, and nothing heavier (docs/DESIGN.md, import levels)."""
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r}); import infer; "
            f"infer.main([{str(bundle)!r}, '-d', '0.2', '-o', {str(tmp_path)!r}]); print(*sorted(sys.modules))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    modules = {m.partition(".")[0] for m in result.stdout.splitlines()[-1].split()}
    assert {"numpy", "onnxruntime", "soundfile"} <= modules
    heavy = {"torch", "torchaudio", "audiocraft", "hydra", "omegaconf", "dora", "flashy", "transformers", "librosa",
             "scipy", "matplotlib", "onnx", "safetensors", "av", "soxr", "pandas", "sympy"}
    assert not modules & heavy


@pytest.mark.parametrize("args, what", [
    (["-n", "0"], "-n is the number of clips"),
    (["-d", "0"], "at most 30 s"), (["-d", "-3"], "at most 30 s"), (["-d", "nan"], "at most 30 s"),
    (["-d", "31"], "at most 30 s"),
    (["--temperature", "-1"], "temperature"), (["--top-k", "-1"], "top_k"), (["--seed", "-1"], "seed"),
    (["--threads", "0"], "--threads"), (["-n", "many"], "invalid int"), (["--wrong"], "unrecognized"),
])
def test_bad_values_are_one_line_and_exit_code_2(bundle, tmp_path, args, what):
    result = infer(bundle, "-o", tmp_path / "out", *args)
    assert result.returncode == 2
    assert what in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_bundle_and_a_folder_that_cannot_be(bundle, tmp_path):
    result = infer(tmp_path / "nothing")
    assert result.returncode == 2 and "no such bundle" in result.stderr
    (tmp_path / "file").write_text("")
    result = infer(bundle, "-o", tmp_path / "file")
    assert result.returncode == 2 and "cannot be written to" in result.stderr and len(result.stderr.splitlines()) == 1


def test_an_altered_bundle_makes_no_sound(tmp_path):
    folder = tiny.tiny_bundle(tmp_path / "tiny")
    data = bytearray((folder / "codec.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "codec.safetensors").write_bytes(data)
    result = infer(folder, "-d", 0.2, "-o", tmp_path / "out")
    assert result.returncode == 2 and "codec.safetensors: altered" in result.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_keeps_what_is_finished(bundle, tmp_path):
    process = subprocess.Popen([sys.executable, str(ROOT / "infer.py"), str(bundle), "-n", "5000", "-d", "2",
                                "-o", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    while len(list(tmp_path.glob("*.wav"))) < 3 and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    clips = sorted(tmp_path.glob("[!.]*"))
    assert f"stopped: {len(clips)} of 5000 clips" in err
    assert all(sf.info(p).frames == 64_000 for p in clips)


@pytest.mark.parametrize("program", ["data_prep.audio", "audiocraft_ext.export", "audiocraft_ext.demo",
                                     "benchmarks.codec"])
def test_every_command_says_a_wrong_option_in_one_line(program):
    result = subprocess.run([sys.executable, "-m", program, "a", "b", "--wrong"], cwd=ROOT, capture_output=True,
                            text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and f"see python -m {program} --help" in result.stderr
