"""Codecs by name and folder, long audio in pieces, and what is said when files are missing or do not fit."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from audiocraft_ext.audio import codec as codecs
from audiocraft_ext.audio.codec import audiocraft as audiocraft_codec
from audiocraft_ext.audio.codec import encodec_32khz, get_codec
from audiocraft_ext.audio.codec.codec import Codec, stream
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel
from audiocraft_ext.core.errors import UserError

TINY = EncodecConfig(n_filters=4, dimension=16, card=32, ratios=(5, 4, 4, 8), lstm=2, pad_mode="constant")


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, n).astype(np.float32)


def tiny(cfg: EncodecConfig = TINY, seed: int = 0) -> EncodecModel:
    torch.manual_seed(seed)
    model = EncodecModel(cfg).eval().requires_grad_(False)
    for p in model.parameters():
        p.mul_(1.7)  # so that codes follow the sound
    return model


def write_folder(path, model: EncodecModel, **more):
    path.mkdir()
    save_file(model.state_dict(), path / "codec.safetensors")
    (path / "codec.json").write_text(json.dumps({"config": model.cfg.to_dict(), **more}))
    return path


def test_debug_codec_is_the_same_every_time_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b = get_codec("debug"), get_codec("debug")
    assert torch.equal(before, torch.random.get_rng_state())
    assert a.hash == b.hash and len(a.hash) == 16
    assert a.spec.to_dict() == {"kind": "audio", "n_q": 4, "card": 64, "frame_rate": 50.0, "delays": [0, 1, 2, 3],
                                "codec": {"name": "debug", "hash": a.hash}}
    codes = a.encode(noise(32_000))
    assert all(len(set(row)) > 8 for row in codes.tolist())  # not one code for everything


@pytest.mark.parametrize("n", [1, 639, 640, 641, 32_000])
def test_shapes_and_types(n):
    codec = get_codec("debug")
    codes = codec.encode(noise(n))
    assert codes.shape == (4, -(-n // 640)) and codes.dtype == np.uint16 and codes.max() < 64
    wav = codec.decode(codes)
    assert wav.shape == (codes.shape[1] * 640,) and wav.dtype == np.float32


def test_what_does_not_fit_is_refused():
    codec = get_codec("debug")
    for wav in (np.zeros(0, np.float32), np.zeros((2, 100), np.float32)):
        with pytest.raises(ValueError, match="mono audio"):
            codec.encode(wav)
    for codes in (np.zeros((3, 5), int), np.zeros((4, 0), int), np.full((4, 5), 64), np.full((4, 5), -1)):
        with pytest.raises(ValueError, match="expected codes"):
            codec.decode(codes)


@pytest.mark.parametrize("cfg", [
    TINY,
    EncodecConfig(n_filters=4, dimension=16, card=32),
    EncodecConfig(n_filters=4, dimension=16, card=32, lstm=0, n_residual_layers=2, ratios=(4, 2)),
])
@pytest.mark.parametrize("frames", [1, 9, 10, 11, 37.3])
def test_pieces_equal_one_pass(cfg, frames):
    """The seams of a long file are not to be heard: every piece equals its part of the whole."""
    model = tiny(cfg)
    x = torch.from_numpy(noise(int(frames * cfg.hop_length)))[None, None]
    with torch.no_grad():
        z = model.encoder(x)
        for piece in (1, 3, 10):
            pieces = list(stream(model.encoder.layers, x, cfg.hop_length, 1, x.device, piece))
            assert [p.shape[-1] for p in pieces[:-1]] == [piece] * (len(pieces) - 1)
            torch.testing.assert_close(torch.cat(pieces, -1), z, atol=1e-5, rtol=0)  # float32 rounding
            out = torch.cat(list(stream(model.decoder.layers, z, 1, cfg.hop_length, x.device, piece)), -1)
            torch.testing.assert_close(out, model.decoder(z), atol=1e-5, rtol=0)


def test_codec_in_pieces_gives_the_codes_of_the_model():
    model, wav, seen = tiny(), noise(640 * 1203 + 17), []
    codec = Codec("tiny", model, "0")
    codes = codec.encode(wav, progress=seen.append)
    whole = model.encode(torch.from_numpy(wav)[None, None])[0].numpy()
    assert codes.shape == whole.shape == (4, 1204) and (codes != whole).mean() < 1e-3  # rounding may tip a tie
    np.testing.assert_allclose(codec.decode(codes), model.decode(torch.from_numpy(codes.astype(int))[None])[0, 0],
                               atol=1e-5)
    assert len(seen) == 5 and sum(seen) == pytest.approx(1204 / 50)


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory in KiB")
def test_ten_minutes_take_little_memory():
    """The widest layer of one pass would need 4 x 77 MB a copy here and 64 x 77 MB in the full codec."""
    codec = get_codec("debug")
    codec.encode(noise(640 * 500))
    wav = np.zeros(600 * 32_000, np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codec.encode(wav)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KiB; the audio itself is 75,000


def test_a_trained_folder(tmp_path):
    model = tiny()
    codec = get_codec(str(write_folder(tmp_path / "c", model)))
    assert codec.name == "microcodec" and codec.model.cfg == TINY and not codec.model.training
    np.testing.assert_array_equal(codec.encode(noise(6400)), model.encode(torch.from_numpy(noise(6400))[None, None])[0])
    assert get_codec("microcodec", tmp_path / "c").hash == codec.hash
    other = get_codec(str(write_folder(tmp_path / "d", tiny(seed=1), name="mine")))
    assert other.hash != codec.hash and other.name == "mine"


def write_bundle(path, model, dtype=torch.float32, codec=True):
    path.mkdir()
    save_file({k: v.to(dtype) for k, v in model.state_dict().items()}, path / "codec.safetensors")
    spec = Codec("microcodec", model, "feed").spec.to_dict()
    about = {"spec": spec, "codec": {"type": "encodec", "config": model.cfg.to_dict()} if codec else None}
    (path / "model.json").write_text(json.dumps(about))
    return path


def test_a_bundles_codec_keeps_its_identity_in_half_precision(tmp_path, monkeypatch):
    model = tiny()
    monkeypatch.setitem(codecs.SHIPPED, "microcodec", write_bundle(tmp_path / "b", model, torch.float16))
    codec = get_codec("microcodec")
    assert (codec.name, codec.hash) == ("microcodec", "feed")
    assert all(t.dtype == torch.float32 for t in codec.model.state_dict().values())
    with pytest.raises(UserError, match="no audio codec"):
        get_codec(str(write_bundle(tmp_path / "drums", model, codec=False)))


@pytest.mark.parametrize("damage, message", [
    (lambda p: (p / "codec.safetensors").unlink(), "missing file"),
    (lambda p: (p / "codec.safetensors").write_bytes((p / "codec.safetensors").read_bytes()[:-9]), "not a whole"),
    (lambda p: (p / "codec.json").write_text("{"), "not JSON"),
    (lambda p: (p / "codec.json").write_text("[]"), "expected a JSON object, got list"),
    (lambda p: (p / "codec.json").write_text("{}"), "not the configuration"),
    (lambda p: (p / "codec.json").write_text('{"config": {"filters": 3}}'), "filters"),
    (lambda p: (p / "codec.json").write_text(json.dumps({"config": TINY.to_dict() | {"card": 31}})),
     r"embed: expected \[31, 16\], got \[32, 16\]"),
    (lambda p: (p / "codec.json").unlink(), "expected a codec's folder"),
])
def test_damaged_folders(tmp_path, damage, message):
    folder = write_folder(tmp_path / "c", tiny())
    damage(folder)
    with pytest.raises(UserError, match=message):
        get_codec(str(folder))


def test_unknown_names_and_missing_folders(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no codec 'opus': expected one of spectral, microcodec, encodec_32khz, debug"):
        get_codec("opus")
    with pytest.raises(UserError, match="no such folder"):
        get_codec("encodec_32khz", tmp_path / "nowhere")
    for name in codecs.SHIPPED:
        monkeypatch.setitem(codecs.SHIPPED, name, tmp_path / "nowhere")
        with pytest.raises(UserError, match=f"the codec {name} is missing: expected the folder .*nowhere; .* --codec"):
            get_codec(name)


def run(code: str, **env) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env=os.environ | env, cwd=Path(__file__).parents[2])


def test_encodec_without_network_or_cache_says_what_to_do(tmp_path):
    out = run("from audiocraft_ext.audio.codec import get_codec\nget_codec('encodec_32khz')", HF_HOME=str(tmp_path),
              HF_HUB_CACHE="", MICRO_MUSICGEN_ENCODEC="", HF_ENDPOINT="http://127.0.0.1:9")
    assert out.returncode == 1
    last = out.stderr.strip().splitlines()[-1]
    for word in ("UserError", "facebook/encodec_32khz", "model.safetensors", "--codec-path", "--codec microcodec"):
        assert word in last


def test_with_a_network_both_files_are_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(encodec_32khz, "_reach_hub", lambda: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a: asked.append(a) or str(tmp_path / a[1]))
    monkeypatch.setattr(encodec_32khz, "_find_in_cache", lambda: None)
    monkeypatch.delenv(encodec_32khz.VARIABLE, raising=False)
    assert encodec_32khz.find() == tmp_path
    assert asked == [("facebook/encodec_32khz", "config.json"), ("facebook/encodec_32khz", "model.safetensors")]


@pytest.mark.parametrize("variable, below", [
    ("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")])
def test_the_hub_cache_is_found(tmp_path, monkeypatch, variable, below):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", encodec_32khz.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(encodec_32khz, "_download", lambda: None)
    assert encodec_32khz.find() is None
    repo = tmp_path / below / "models--facebook--encodec_32khz"
    for revision in ("aaa", "bbb", "ccc"):
        (repo / "snapshots" / revision).mkdir(parents=True)
        (repo / "snapshots" / revision / "config.json").write_text("{}")
    assert encodec_32khz.find() is None  # a snapshot without weights does not count
    for revision in ("aaa", "bbb"):
        (repo / "snapshots" / revision / "model.safetensors").write_bytes(b"")
    (repo / "refs").mkdir()
    for revision in ("aaa", "bbb"):
        (repo / "refs" / "main").write_text(revision)
        assert encodec_32khz.find() == repo / "snapshots" / revision
    (repo / "refs" / "main").write_text("ccc")
    assert encodec_32khz.find() in [repo / "snapshots" / "aaa", repo / "snapshots" / "bbb"]
    monkeypatch.setenv(encodec_32khz.VARIABLE, str(tmp_path / "mine"))
    with pytest.raises(UserError, match=r"MICRO_MUSICGEN_ENCODEC.*expected a folder with config.json"):
        encodec_32khz.find()


GOOD = {"model_type": "encodec", "sampling_rate": 32_000, "num_filters": 64, "upsampling_ratios": [8, 5, 4, 4],
        "codebook_size": 2048, "use_causal_conv": False, "use_conv_shortcut": False}


def test_the_public_config(tmp_path):
    assert encodec_32khz.read_config(GOOD, 4, tmp_path) == EncodecConfig()


@pytest.mark.parametrize("key, value", [
    ("model_type", "mimi"), ("audio_channels", 2), ("normalize", True), ("use_causal_conv", True),
    ("use_conv_shortcut", True), ("norm_type", "time_group_norm"), ("chunk_length_s", 1.0), ("codebook_dim", 64),
    ("pad_mode", "replicate"), ("trim_right_ratio", 0.5),
])
def test_other_encodecs_are_refused_by_key(tmp_path, key, value):
    with pytest.raises(UserError, match=key):
        encodec_32khz.read_config(GOOD | {key: value}, 4, tmp_path)


@pytest.mark.parametrize("key, value", [
    ("seanet.activation_params", {"alpha": 0.5}), ("seanet.activation", "ReLU"), ("seanet.norm", "time_group_norm"),
    ("seanet.norm_params", {"eps": 1e-3}), ("seanet.decoder.trim_right_ratio", 0.5), ("seanet.causal", True),
    ("seanet.decoder.final_activation", "Tanh"), ("seanet.encoder", {"n_filters": 4}), ("seanet.channels", 2),
    ("seanet.true_skip", False), ("encodec.renormalize", True), ("seanet.decoder.n_filters", 4), ("rvq.dimension", 4),
    ("encodec.something_new", 1)])
def test_options_of_audiocrafts_encodec_that_ours_has_not_are_refused(tmp_path, key, value):
    good = OmegaConf.create(audiocraft_codec.codec_yaml(EncodecConfig()))
    read = audiocraft_codec.codec_config(OmegaConf.to_container(good), tmp_path)
    assert read == EncodecConfig()
    OmegaConf.update(good, key, value, merge=False, force_add=True)
    with pytest.raises(UserError, match=key.replace(".", "[.]")):
        audiocraft_codec.codec_config(OmegaConf.to_container(good), tmp_path)


def test_left_out_keys_have_transformers_defaults(tmp_path):
    with pytest.raises(UserError, match="use_causal_conv=False.*got True"):
        encodec_32khz.read_config({k: v for k, v in GOOD.items() if k != "use_causal_conv"}, 4, tmp_path)
    assert encodec_32khz.read_config({k: v for k, v in GOOD.items() if k != "codebook_size"}, 4, tmp_path).card == 1024


def test_the_package_is_light():
    out = run("import sys, audiocraft_ext.audio.codec\nprint('torch' in sys.modules)")
    assert out.stdout.strip() == "False", out.stderr
    out = run("import sys\nfrom audiocraft_ext.audio.codec import get_codec\nget_codec('debug')\n"
              "print([m for m in ('transformers', 'audiocraft', 'huggingface_hub', 'librosa') if m in sys.modules])")
    assert out.stdout.strip() == "[]", out.stderr
