"""``./train.sh --audio DIR`` on the debug recipe: from a folder of sound to WAVs, a picture and numbers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio import demo
from audiocraft_ext.audio.engine import SoundBundle
from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.engine.bundle import find_bundle
from audiocraft_ext.runs import pipeline
from audiocraft_ext.runs.overrides import quoted
from audiocraft_ext.sound import files as sound_files
from tests.helpers.programs import stages_here
from tests.helpers.stores import DEBUG_SPEC, StoreWriter, TokenStore

pytestmark = pytest.mark.early
ROOT = Path(__file__).resolve().parents[2]
NAME = "für mich, (2) it's"
RECIPE = ["solver=musicgen/debug", "generate.use=false", "logging.log_tensorboard=false"]


def loop(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    hit = np.random.default_rng(seed).normal(size=4000) * np.exp(-np.arange(4000) / 500) * 0.3
    sf.write(path, np.tile(np.pad(hit, (0, 4000)), 16), 16000)


@pytest.fixture
def here(tmp_path) -> Path:
    """Where a person stands: a folder of sounds with an ordinary name, and a link to train.sh."""
    for i in range(3):
        loop(tmp_path / NAME / f"loop{i}.wav", i)
    (tmp_path / "go").symlink_to(ROOT / "train.sh")
    return tmp_path


def go(here: Path, *words: str, recipe: tuple[str, ...] = ()) -> list[str]:
    return ["./go", *RECIPE, *recipe, "--codec", "debug", "--out", "out", "-n", "2", *words]


def options(here: Path) -> dict:
    python = str(Path(sys.executable).parent)
    return {"cwd": here, "text": True, "env": {**os.environ, "MICRO_STORES": "stores", "MICRO_OUTPUTS": "outputs",
                                               "PATH": f"{python}:{os.environ['PATH']}"}}


@pytest.fixture
def run(here, monkeypatch, capsys) -> Callable[..., subprocess.CompletedProcess]:
    """The command and its stages in this process; in processes of their own where Ctrl-C is pressed."""
    stages_here(monkeypatch, here / "outputs")
    monkeypatch.setenv("MICRO_STORES", str(here / "stores"))
    monkeypatch.chdir(here)
    monkeypatch.setattr(demo, "judged", lambda clips, *_: [["beat", "none", f"{len(clips)} clips of noise"]])

    def run(*words: str) -> subprocess.CompletedProcess:
        try:
            code = run_cli(lambda: demo.main(go(here, *words)[1:]), leave=False)
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run


def skipped(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr[-2000:]
    return re.findall(r"^== (\w+): done before, skipped", done.stdout, re.M)


def test_a_folder_becomes_an_instrument_and_only_what_is_missing_is_made_again(here, run, monkeypatch):
    first = run("--audio", NAME, "optim.epochs=1")
    assert skipped(first) == []
    clips = sorted((here / "out").glob("*.wav"))
    assert [sf.info(c).duration for c in clips] == [10.0, 10.0]
    assert json.loads(sf.SoundFile(clips[0]).comment)["seed"] == 1
    assert (here / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "beat:  none (2 clips of noise)" in first.stdout and "took:" in first.stdout
    assert "unigram loss" not in first.stdout
    assert all(str(clip.relative_to(here)) in first.stdout for clip in clips)
    written = {p: p.stat().st_mtime_ns for p in here.rglob("*") if p.is_file()}

    verbose = run("--audio", NAME, "optim.epochs=1", "--verbose").stdout
    for words in ("loss before training", "validation loss, best", "unigram loss"):
        assert words in verbose
    loop(here / "out" / "another.wav", 9)
    with monkeypatch.context() as patch:  # asking Dora for the run's folder takes seconds
        patch.setattr(pipeline, "run_folder", lambda overrides: pytest.fail("the folder of the run is known"))
        second = run("optim.epochs=1", f"--audio={NAME}")
    assert skipped(second) == ["prepare", "train", "export", "sample"] and "another.wav" not in second.stdout
    assert {p: p.stat().st_mtime_ns for p in written} == written

    (here / "out" / "picture.png").unlink()
    assert len(skipped(run("--audio", NAME, "optim.epochs=1"))) == 4
    assert (here / "out" / "picture.png").is_file()

    gone = clips[0].read_bytes()
    clips[0].unlink()
    loop(here / NAME / "more.wav", 7)
    third = run("--audio", NAME, "optim.epochs=1")  # other data: another run, not a refusal
    assert skipped(third) == []
    assert len(list((here / "outputs" / "xps").iterdir())) == 2
    assert gone not in [p.read_bytes() for p in (here / "out").glob("*.wav")]

    (next((here / "out").glob(f"{NAME}_seed1_1_v2.wav"))).unlink()
    assert skipped(run("--audio", NAME, "optim.epochs=1")) == ["prepare", "train", "export"]
    assert (here / "out" / f"{NAME}_seed1_1_v2.wav").is_file()

    loop(here / "elsewhere.d" / "x.wav", 5)
    other = run("--audio", "elsewhere.d", "--name", NAME)
    assert other.returncode == 2 and other.stderr.count("\n") == 1 and "--name" in other.stderr


def test_the_folder_of_a_run_is_asked_for_again_when_configs_have_changed(tmp_path, monkeypatch):
    for name, text in (("history.json", "[]"), ("checkpoint.th", "")):
        (tmp_path / name).write_text(text)
    asked = []
    monkeypatch.setattr(pipeline, "run_folder", lambda overrides: asked.append(overrides) or tmp_path)
    monkeypatch.setattr(pipeline, "run_to_its_end", lambda command: 0)
    store = SimpleNamespace(path=tmp_path / "store", hash="0123456789")
    for configs, count in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        monkeypatch.setattr(pipeline, "configs_hash", lambda configs=configs: configs)
        assert pipeline.trained(pipeline.DemoState.open(tmp_path / "demo.json"), store, ["solver=x"], [])[0] == tmp_path
        assert len(asked) == count
    pipeline.trained(pipeline.DemoState.open(tmp_path / "demo.json"), store, ["solver=x"], ["seed=1"])
    assert len(asked) == 3


@pytest.mark.processes
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(here):
    command = go(here, "--audio", NAME, "optim.epochs=2", "optim.updates_per_epoch=100")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               **options(here))
    log, deadline = "", time.time() + 300
    while "Train | Epoch 1" not in log and time.time() < deadline and process.poll() is None:
        time.sleep(0.05)
        log = "".join(p.read_text() for p in (here / "outputs").glob("xps/*/solver.log.0"))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err[-2000:]
    assert re.search(r"^stopped: The last checkpoint is .*checkpoint\.th", err, re.M), err[-2000:]
    assert "Traceback" not in err
    done = subprocess.run(command, capture_output=True, timeout=400, **options(here))
    assert skipped(done) == ["prepare"] and len(list((here / "out").glob("*.wav"))) == 2
    assert len(list((here / "outputs" / "xps").iterdir())) == 1


def test_a_signals_death_is_128_and_its_number():
    assert pipeline.run_to_its_end(["-c", "import os; os.kill(os.getpid(), 9)"]) == 137
    assert pipeline.run_to_its_end(["-c", "raise SystemExit(3)"]) == 3


def test_doras_own_options_are_doras(here):
    done = subprocess.run(["./go", "solver=musicgen/none", "--clear"], capture_output=True, timeout=400,
                          **options(here))
    assert done.returncode == 2 and "no config solver/musicgen/none" in done.stderr


def test_a_folder_that_is_not_there_is_refused(run):
    done = run("--audio", "none")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no such folder" in done.stderr


def test_the_real_clip_is_the_held_out_end_of_a_single_file(tmp_path):
    wav = np.repeat(np.linspace(0.1, 0.8, 8), 16000)  # a second a step
    sf.write(tmp_path / "one.wav", wav, 16000)
    with StoreWriter(tmp_path / "store", DEBUG_SPEC, {}) as writer:
        writer.add("zero.wav", TRAIN, np.zeros((4, 77), int))
        writer.add("one.wav", TRAIN, np.zeros((4, 400), int), valid_frames=100)
        writer.finish()
    store = TokenStore(tmp_path / "store")
    assert len(store.tracks(VALID)) == 1
    [(name, clip)] = demo.real_clips(store, tmp_path, 16000, 4)
    np.testing.assert_array_equal(clip, sound_files.read(tmp_path / "one.wav", 16000)[6 * 16000 :])


@pytest.mark.parametrize("text", [NAME, "a & b!", "a\\", "\\'", "\\\\'x'", "1e5", "null", "${x",
                                  "o ${t}", "\\\\${t}'${", "[a]=b", '"'])
def test_any_text_is_a_value_for_hydra(text):
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    assert OmegaConf.create({"key": OverridesParser.create().parse_override(f"key={quoted(text)}").value()}).key == text


def test_a_label_of_ones_own_is_kept_before_that_of_the_data(tmp_path):
    with StoreWriter(tmp_path / "store", DEBUG_SPEC, {}) as writer:
        writer.add("x", TRAIN, np.zeros((4, 10), int))
        writer.finish()
    store = TokenStore(tmp_path / "store")
    assert f"label='mine {store.hash[:8]}'" in pipeline.overrides_for(store, ["solver=b"], ["label=mine"])
    assert pipeline.overrides_for(store, ["solver=b"], ["solver=a"])[0] == "solver=a"


def test_a_name_is_one_word_of_a_path(tmp_path):
    with pytest.raises(UserError, match="--name"):
        demo.parse(["--audio", str(tmp_path), "--name", "../x"])


def test_from_nothing_a_small_model_learns_unless_another_is_asked_for():
    store = SimpleNamespace(spec=SoundBundle(find_bundle()).lm_spec)
    words = demo.recipe(store, demo.parse(["--scratch"]))
    assert set(demo.SMALL) < set(words) and "continue_from=embedded" not in words
    assert "continue_from=embedded" in demo.recipe(store, demo.parse([]))
    for argv in ([], ["--scratch", "transformer_lm.dim=64"], ["--scratch", "model/lm/model_scale=micro"],
                 ["--scratch", "solver=musicgen/debug"]):
        assert not set(demo.SMALL) & set(demo.recipe(store, demo.parse(argv)))
