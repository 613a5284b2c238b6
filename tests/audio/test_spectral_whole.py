"""A spectral codec goes wherever an EnCodec does: from a folder of sound to a store, a bundle, clips and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from omegaconf import OmegaConf

import infer
from audiocraft_ext.audio import codec as codecs
from audiocraft_ext.audio import kind
from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.codec import Codec
from audiocraft_ext.audio.engine import SoundBundle, SoundEngine
from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.export import audiocraft, sources
from audiocraft_ext.export.bundle import main as export
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.lm import LM as LanguageModel
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio.cli import main as prepare
from tests.helpers import tiny

BOOKS = 2  # of the codec's three
LM = LMConfig(n_q=BOOKS, card=tiny.SPECTRAL_SIZE.card, dim=32, num_heads=2, num_layers=1)


def noise(seconds: float, seed: int) -> np.ndarray:
    n = round(32_000 * seconds)
    return (np.random.default_rng(seed).normal(size=n) * np.linspace(0.02, 0.2, n)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What ``audiocraft_ext.codecs.train`` leaves behind."""
    path = tmp_path_factory.mktemp("codec")
    tiny.tiny_spectral(path)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds")
    for seed in range(4):
        sf.write(path / f"{seed}.wav", noise(2.5, seed), 32_000)
    return path


def prepared(sounds, store, folder, *more) -> TokenStore:
    prepare([str(sounds), str(store), "--codec", str(folder), "--tempo", "off", *more])
    return TokenStore(store)


@pytest.fixture(scope="module")
def store(folder, sounds, tmp_path_factory):
    """By two worker processes, with the first codebooks."""
    return prepared(sounds, tmp_path_factory.mktemp("store") / "s", folder, "--codebooks", str(BOOKS), "--workers", "2")


def exported(spec: Spec, folder: Path, path: Path) -> Path:
    """A run on codes of ``spec``, exported by the command with the codec of ``folder``."""
    lm = dataclasses.replace(LM, n_q=spec.n_q)
    model = LanguageModel(lm, spec.delays, spec.sizes)
    checkpoint.save({
        "best_state": {"model": model.state_dict()}, "history": [{}], "xp.sig": "feed",
        "xp.cfg": OmegaConf.create(audiocraft.lm_yaml(lm, spec.delays, 32_000, 2.0)),
        "identity": {"config_hash": "c", "config": {}, "store_hash": "s", "spec": spec.to_dict()},
    }, path / "checkpoint.th")
    export([str(path), str(path / "bundle"), "--codec", str(folder)])
    return path / "bundle"


@pytest.fixture(scope="module")
def bundle(folder, store, tmp_path_factory):
    torch.manual_seed(0)
    return exported(store.spec, folder, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def instrument(bundle) -> Instrument:
    return Instrument.load(bundle, threads=1)


def test_a_store_has_the_first_codebooks(folder, sounds, store, tmp_path):
    codec, whole = get_codec(str(folder)), prepared(sounds, tmp_path / "all", folder, "--workers", "0")
    assert (store.spec.n_q, whole.spec.n_q) == (BOOKS, 3) and store.spec.delays == (0, 1)
    assert store.spec.codec == whole.spec.codec == "mine"
    assert store.spec.codec_hash == whole.spec.codec_hash == codec.hash
    names = ("codes.u16", "store.json")
    few, all_codes = (np.fromfile(path / names[0], np.uint16) for path in (store.path, whole.path))
    np.testing.assert_array_equal(few.reshape(-1, BOOKS), all_codes.reshape(-1, 3)[:, :BOOKS])
    on_torch = prepared(sounds, tmp_path / "torch", folder, "--codebooks", "2", "--workers", "0", "--device", "cpu:0")
    other = np.fromfile(on_torch.path / names[0], np.uint16)
    assert on_torch.spec == store.spec and (few != other).mean() < 1e-2
    with pytest.raises(UserError, match="n_q"):  # a store is of one number of codebooks
        prepared(sounds, whole.path, folder, "--codebooks", "2", "--workers", "0")


@pytest.mark.parametrize("codec, number, what", [("debug", 2, "with all its 4 codebooks, not with 2"),
                                                 (None, 4, "has 3 codebooks; expected 1 to 3, got 4"),
                                                 (None, 0, "has 3 codebooks; expected 1 to 3, got 0")])
def test_codebooks_that_cannot_be(folder, sounds, tmp_path, codec, number, what):
    with pytest.raises(UserError, match=what):
        prepared(sounds, tmp_path / "store", codec or folder, "--codebooks", str(number))
    assert not (tmp_path / "store").exists()


def test_a_bundle_says_what_it_holds(bundle, folder):
    about = json.loads((bundle / "model.json").read_text())
    assert about["codec"]["type"] == "spectral" and about["codec"]["config"]["n_q"] == BOOKS
    assert about["codec"]["licence"] == "CC0-1.0" and about["spec"]["codec"]["hash"] == get_codec(str(folder)).hash
    assert SoundBundle(bundle).hop_length == 640


def test_a_clip_is_what_the_codec_makes_of_its_codes(bundle, folder, instrument):
    (clip,) = instrument.generate(4.5, seed=1)  # more than two pieces
    wav = get_codec(str(folder)).first(BOOKS).decode(clip.codes)
    np.testing.assert_allclose(clip.wav, wav, atol=1e-4 * np.abs(wav).max())
    np.testing.assert_allclose(get_codec(str(bundle)).decode(clip.codes), wav, atol=1e-6 * np.abs(wav).max())
    (alone,) = instrument.play(clip.recipe, [0])
    np.testing.assert_array_equal(alone.wav, clip.wav)


def test_a_stream_is_the_clip(instrument):
    recipe = instrument.recipe(4.5, seed=1)
    (clip,) = instrument.play(recipe, [0])
    np.testing.assert_array_equal(np.concatenate(list(instrument.stream(recipe, 0))), clip.wav)


def test_sound_goes_in_and_loops_come_round(instrument, folder):
    wav, codec = noise(17, seed=9), get_codec(str(folder)).first(BOOKS)
    assert (instrument.engine.encode(wav[None, None])[0] != codec.encode(wav)).mean() < 1e-2
    (clip,) = instrument.generate(1.5, seed=2, prompt=wav[:32_000])
    assert (clip.codes[:, :50] != codec.encode(wav[:32_000])).mean() < 2e-2
    (loop,) = instrument.generate(bpm=120, bars=1, loop=True, seed=3)
    assert len(loop.wav) == 64_000


def test_weird_tools_and_the_command(bundle, tmp_path, capsys):
    infer.main([str(bundle), "-n", "2", "-d", "1", "--seed", "4", "-o", str(tmp_path), "--weird",
                "stutter:at=0.2s,len=0.1s,times=3; mutate:share=5%,books=1; reroll:keep=0"])
    wavs = [sf.read(path)[0] for path in sorted(tmp_path.rglob("*.wav"))]
    assert len(wavs) == 2 and all(len(wav) == 32_000 and wav.std() > 1e-3 for wav in wavs)


def test_a_metronome_is_no_codebook(sounds, folder, tmp_path):
    """A stream of the model, not of the codec: a bundle has the codec's codebooks alone."""
    store = prepared(sounds, tmp_path / "s", folder, "--codebooks", str(BOOKS), "--workers", "0", "--metronome")
    assert (store.spec.n_q, store.spec.clip.n_q) == (BOOKS + 1, BOOKS)
    path = exported(store.spec, folder, tmp_path)
    assert json.loads((path / "model.json").read_text())["codec"]["config"]["n_q"] == BOOKS
    (clip,) = Instrument.load(path, threads=1).generate(1, seed=1, bpm=170)
    assert clip.codes.shape == (BOOKS, 50) and len(clip.wav) == 32_000
    assert sources.read(path).codec.spec.n_q == BOOKS


def test_exported_again(bundle, tmp_path):
    """A bundle of a bundle, in half precision: the same codec, the same codes."""
    export([str(bundle), str(tmp_path / "half"), "--half"])
    engines = [SoundEngine(path, threads=1) for path in (bundle, tmp_path / "half")]
    assert engines[0].spec == engines[1].spec
    codes = np.random.default_rng(0).integers(0, LM.card, (1, BOOKS, 120))
    a, b = (engine.decode(codes) for engine in engines)
    assert np.abs(a - b).mean() < 0.05 * np.abs(a).mean()
    with pytest.raises(UserError, match="audiocraft's format holds EnCodecs, and the codec mine is of the type spectr"):
        export([str(bundle), str(tmp_path / "out"), "--format", "audiocraft"])
    assert not (tmp_path / "out").exists()


def test_a_run_listens_with_the_codebooks_that_it_has(store, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(codecs.SHIPPED, "spectral", folder)
    spec, codes = dataclasses.replace(store.spec, codec="spectral"), np.zeros((1, BOOKS, 30), np.int64)
    (wav, rate), = kind.write_samples(codes, spec, None, tmp_path, 1, pytest.fail)
    assert rate == 32_000 and len(wav) == 30 * 640 and (tmp_path / "clip_0.wav").is_file()
    assert kind.load_codec(spec, None).spec.n_q == kind.load_codec(spec.with_controls(1), None).spec.n_q == BOOKS
    shipped = Codec("spectral", get_codec("spectral").model, "feed")
    assert kind.codec_licence(shipped, (None, str(tmp_path))) == "CC0-1.0"


def test_the_torch_decoder_of_a_bundle(bundle):
    from audiocraft_ext.audio.codec import torch_decoder

    codes = np.random.default_rng(0).integers(0, LM.card, (2, BOOKS, 260))
    wav = SoundEngine(bundle, threads=1).decode(codes)
    ours = torch_decoder.load(SoundBundle(bundle), torch.device("cpu")).decode(codes)
    np.testing.assert_allclose(ours, wav, atol=1e-4 * np.abs(wav).max())


def test_a_bundle_of_a_newer_version(bundle, tmp_path):
    about = json.loads((bundle / "model.json").read_text())
    about["codec"]["type"] = "wavelet"
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="expected a codec of the type encodec or spectral, got 'wavelet'"):
        SoundBundle(tmp_path)
    with pytest.raises(UserError, match="got 'wavelet'"):
        sources.read(tmp_path)
