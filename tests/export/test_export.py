"""Every form of a trained model becomes a bundle that samples the same; what cannot be is refused by name."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.audiocraft import write as write_audiocraft
from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import audiocraft, sources
from audiocraft_ext.export.bundle import main, write_bundle
from audiocraft_ext.model import checkpoint
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.model.weights import write_safetensors
from tests.helpers import tiny

ROOT = Path(__file__).parents[2]
DEBUG_LM = LMConfig(n_q=4, card=64, dim=32, num_heads=2, num_layers=1)  # fits the debug codec


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def run_checkpoint(folder, **changes):
    """What our solver leaves behind: three sets of weights, of which the best is wanted."""
    folder.mkdir(parents=True)
    best, average, last = (tiny.tiny_lm(DEBUG_LM, seed=s).state_dict() for s in range(3))
    config = OmegaConf.create(audiocraft.lm_yaml(DEBUG_LM, (0, 1, 2, 3), 32_000, 5.0))
    spec = get_codec("debug").spec
    state = {"best_state": {"model": best}, "ema": {"state": {"model": average}, "count": 1.0}, "model": last,
             "xp.cfg": config, "xp.sig": folder.name, "history": [{"train": {"ce": 4.0}}, {"train": {"ce": 3.5}}],
             "identity": {"config_hash": "c", "config": {}, "store_hash": "s", "spec": spec.to_dict()}}
    state |= changes
    checkpoint.save({k: v for k, v in state.items() if v is not None}, folder / "checkpoint.th")
    return folder


def weights(path):
    return sources.read(path).state


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


def test_a_run_becomes_a_bundle(tmp_path, monkeypatch):
    run = run_checkpoint(tmp_path / "outputs" / "xps" / "1a2b3c4d")
    monkeypatch.setenv("MICRO_OUTPUTS", str(tmp_path / "outputs"))
    for number, source in enumerate((run, run / "checkpoint.th", "1a2b3c4d")):
        out = tmp_path / f"bundle{number}"
        write_bundle(out, sources.read(source))
        assert_same(weights(out), tiny.tiny_lm(DEBUG_LM, seed=0).state_dict())
    info = Bundle(out).info
    assert info["run"]["signature"] == "1a2b3c4d" and info["run"]["epochs"] == 2
    assert info["run"]["last"] == {"train": {"ce": 3.5}} and info["run"]["store_hash"] == "s"
    assert info["context"] == 250  # the 5 s of a training segment
    codes = SoundEngine(out).generate(2, 10, seed=1)
    assert codes.shape == (2, 4, 10) and codes.max() < 64


def test_without_a_best_state_the_average_then_the_last(tmp_path):
    run = run_checkpoint(tmp_path / "a", best_state={})
    assert_same(weights(run), tiny.tiny_lm(DEBUG_LM, seed=1).state_dict())
    run = run_checkpoint(tmp_path / "b", best_state=None, ema=None)
    assert_same(weights(run), tiny.tiny_lm(DEBUG_LM, seed=2).state_dict())


def test_a_run_that_was_stopped_before_its_first_validation(tmp_path):
    """Its best state is what it began with."""
    assert_same(weights(run_checkpoint(tmp_path / "a", history=[])), tiny.tiny_lm(DEBUG_LM, seed=1).state_dict())
    run = run_checkpoint(tmp_path / "b", history=[], ema=None)
    assert_same(weights(run), tiny.tiny_lm(DEBUG_LM, seed=2).state_dict())


def test_audiocrafts_format_and_back(bundle, tmp_path):
    original = sources.read(bundle)
    write_audiocraft(tmp_path / "ac", original)
    assert sorted(p.name for p in (tmp_path / "ac").iterdir()) == ["compression_state_dict.bin", "state_dict.bin"]
    back = sources.read(tmp_path / "ac")
    assert back.spec == original.spec and back.cfg == original.cfg and back.codec.model.cfg == tiny.CODEC_SIZE
    assert_same(back.state, original.state)
    write_bundle(tmp_path / "again", back)
    a, b = (SoundEngine(p).generate(2, 12, seed=1, sampling=Sampling(1.0, 20)) for p in (bundle, tmp_path / "again"))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(SoundEngine(bundle).decode(a), SoundEngine(tmp_path / "again").decode(b))


def test_half_is_half_and_computes_in_single(bundle, tmp_path):
    write_bundle(tmp_path / "half", sources.read(bundle), half=True)
    whole, half = SoundEngine(bundle), SoundEngine(tmp_path / "half")
    assert (tmp_path / "half" / "lm.safetensors").stat().st_size < 0.55 * (bundle / "lm.safetensors").stat().st_size
    frame = np.arange(4).reshape(1, 4, 1)
    logits = []
    for engine in (whole, half):
        engine.stepper.start(1, 1)
        logits.append(engine.stepper.step(frame).copy())
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.02  # fp16 keeps 11 bits
    codes = whole.generate(1, 20, seed=1)
    assert np.abs(whole.decode(codes) - half.decode(codes)).max() < 0.05 * np.abs(whole.decode(codes)).max()
    for state in (sources.read(tmp_path / "half").state, sources.read(tmp_path / "half").codec.model.state_dict()):
        assert all(t.dtype == torch.float32 for t in state.values())


def test_a_quarter_is_read_as_it_plays_and_a_quarter_again(tmp_path):
    """Tables and matrices are a byte a weight, and at most half a step of their row off."""
    cfg = LMConfig(n_q=4, card=64, dim=128, num_heads=2, num_layers=2)
    lm, codec = tiny.tiny_lm(cfg), tiny.tiny_codec()
    model = sources.Trained(codec.spec, cfg, lm.state_dict(), codec, 60)
    write_bundle(tmp_path / "a", model, quarter=True)
    size = (tmp_path / "a" / "lm.safetensors").stat().st_size
    assert size < 0.3 * 4 * cfg.parameter_count()
    again = sources.read(tmp_path / "a")
    for name, weight in model.state.items():
        step = weight.abs().amax(dim=-1, keepdim=True) / 127 if weight.ndim == 2 else torch.zeros(1)
        assert ((again.state[name] - weight).abs() <= 0.501 * step).all(), name
    codes = np.arange(12).reshape(1, 4, 3)
    engine, loaded = SoundEngine(tmp_path / "a"), LM(cfg, again.spec.delays).eval()
    loaded.load_state_dict(again.state)
    engine.stepper.start(1, 3)
    with torch.no_grad():
        ours = torch.from_numpy(engine.stepper.logits(codes)).transpose(1, 2)
        torch.testing.assert_close(ours, loaded(torch.from_numpy(codes)), rtol=0, atol=1e-5)
    state, spec = sources.read_weights(tmp_path / "a", cfg, tmp_path)  # what another run starts from
    assert_same(state, again.state)
    assert spec == codec.spec
    write_bundle(tmp_path / "b", again, quarter=True)
    assert (tmp_path / "b" / "lm.safetensors").read_bytes() == (tmp_path / "a" / "lm.safetensors").read_bytes()
    for out, words in (("c", ["--quarter", "--format", "audiocraft"]), ("c", ["--quarter", "--half"])):
        with pytest.raises((UserError, SystemExit)):
            main([str(tmp_path / "a"), str(tmp_path / out), *words])
        assert not (tmp_path / out).exists()


def test_an_export_is_the_same_bytes_every_time(bundle, tmp_path):
    write_bundle(tmp_path / "b", sources.read(bundle))
    for path in bundle.iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_upstream_plays_what_we_export(bundle, tmp_path):
    import audiocraft_ext.compat  # noqa: F401  isort: skip  (upstream cannot load an unconditional model by itself)
    from audiocraft.models import MusicGen

    write_audiocraft(tmp_path / "ac", sources.read(bundle))
    theirs = MusicGen.get_pretrained(str(tmp_path / "ac"), device="cpu")
    theirs.set_generation_params(use_sampling=False, duration=1.0)
    wav, tokens = theirs.generate_unconditional(2, return_tokens=True)
    ours = SoundEngine(bundle)
    codes = ours.generate(2, 50, seed=0, sampling=Sampling(0.0))
    np.testing.assert_array_equal(codes, tokens.numpy())
    assert np.abs(ours.decode(codes) - wav.numpy()).max() < 1e-4


def test_a_model_of_audiocrafts_own_solver(tmp_path):
    """No identity: the codec is the one that the config names."""
    config = OmegaConf.create(audiocraft.lm_yaml(DEBUG_LM, (0, 1, 2, 3), 32_000, 5.0))
    config.compression_model_checkpoint = "//sig/12345678"
    run = run_checkpoint(tmp_path / "run", identity=None, **{"xp.cfg": config})
    with pytest.raises(UserError, match="//sig/12345678; give it with --codec"):
        sources.read(run)
    assert sources.read(run, "debug").spec == get_codec("debug").spec


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "lm."])
def test_names_that_a_wrapper_has_lengthened(tmp_path, prefix):
    """DistributedDataParallel, torch.compile, Lightning and others."""
    plain = tiny.tiny_lm(DEBUG_LM, seed=0).state_dict()
    wrapped = {prefix + name: value for name, value in plain.items()}
    assert_same(weights(run_checkpoint(tmp_path / "run", best_state={"model": wrapped})), plain)


def test_names_of_layers_that_were_compiled_one_by_one(tmp_path):
    plain = tiny.tiny_lm(DEBUG_LM, seed=0).state_dict()
    wrapped = {name.replace("layers.0.", "layers.0._orig_mod."): value for name, value in plain.items()}
    assert wrapped.keys() != plain.keys()
    assert_same(weights(run_checkpoint(tmp_path / "run", best_state={"model": wrapped})), plain)


def test_half_of_the_names_is_another_model(tmp_path):
    plain = tiny.tiny_lm(DEBUG_LM, seed=0).state_dict()
    mixed = {("module." if i % 2 else "") + name: value for i, (name, value) in enumerate(plain.items())}
    with pytest.raises(UserError, match="not the weights of"):
        sources.read(run_checkpoint(tmp_path / "run", best_state={"model": mixed}))


@pytest.mark.parametrize("key, value, what", [
    ("lm_model", "transformer_lm_magnet", "lm_model"),
    ("conditioners", {"description": {"model": "t5"}}, "conditioned on description"),
    ("codebooks_pattern", {"modeling": "unroll"}, "codebooks_pattern"),
    ("transformer_lm.positional_embedding", "sin_rope", "positional_embedding=sin_rope"),
    ("transformer_lm.num_layers", 2, "transformer.layers.1"),
])
def test_what_ours_cannot_be_is_refused_by_name(tmp_path, key, value, what):
    config = OmegaConf.create(audiocraft.lm_yaml(DEBUG_LM, (0, 1, 2, 3), 32_000, 5.0))
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    with pytest.raises(UserError, match=what):
        sources.read(run_checkpoint(tmp_path / "run", **{"xp.cfg": config}))


def test_a_codec_that_is_not_the_models_is_refused(tmp_path, bundle):
    spec = get_codec("debug").spec.to_dict()
    spec["codec"]["hash"] = "another"
    identity = {"config_hash": "c", "config": {}, "store_hash": "s", "spec": spec}
    with pytest.raises(UserError, match="hash another, but debug has hash"):
        sources.read(run_checkpoint(tmp_path / "run", identity=identity))


def test_the_command_and_what_it_refuses(tmp_path, bundle):
    run = run_checkpoint(tmp_path / "run")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "audiocraft_ext.export", run, out, "--licence", "CC0-1.0", "--card", "for a test"]
    result = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert result.returncode == 0 and "bundle" in result.stdout, result.stderr
    assert Bundle(out).info["licence"] == "CC0-1.0" and Bundle(out).info["card"] == "for a test"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    for args, what in (((run, out), "--force"), ((run, tmp_path / "full", "--force"), "holds something else"),
                       ((tmp_path / "nothing", tmp_path / "x"), "no such file or folder"),
                       ((tmp_path / "full", tmp_path / "x"), "found none of them")):
        with pytest.raises(UserError, match=what):
            main([str(a) for a in args])
    assert (tmp_path / "full" / "precious.txt").read_text() == "mine"
    main([str(bundle), str(out), "--force", "--half"])
    assert_same(weights(out), {k: v.half().float() for k, v in weights(bundle).items()})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "out", "run"]


def test_a_failure_leaves_the_old_bundle_and_nothing_else(tmp_path, monkeypatch):
    out = tiny.tiny_bundle(tmp_path / "out")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    model = tiny.tiny_trained()

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audiocraft_ext.audio.codec.onnx.write_decoder", full_disk)
    with pytest.raises(UserError, match="No space left.*free some space"):
        write_bundle(out, model, force=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_weights_that_diverged_are_refused(tmp_path):
    model = tiny.tiny_trained()
    model.state["out_norm.weight"] = torch.full_like(model.state["out_norm.weight"], 1e6)
    with pytest.raises(UserError, match="leave out --half"):
        write_bundle(tmp_path / "a", model, half=True)
    model.state["out_norm.weight"][0] = float("nan")
    with pytest.raises(UserError, match="diverged"):
        write_bundle(tmp_path / "a", model)
    assert not list(tmp_path.iterdir())


def test_a_public_codec_keeps_its_licence_and_that_is_reported(tmp_path, bundle, monkeypatch, capsys):
    run = run_checkpoint(tmp_path / "run")
    main([str(run), str(tmp_path / "plain")])
    assert Bundle(tmp_path / "plain").info["codec"]["licence"] == "not stated"
    main([str(run), str(tmp_path / "stated"), "--codec-licence", "CC0-1.0"])
    main([str(tmp_path / "stated"), str(tmp_path / "again")])
    assert Bundle(tmp_path / "again").info["codec"]["licence"] == "CC0-1.0"
    assert "NC" not in capsys.readouterr().out

    read = sources.read

    def with_the_public_codec(*args):
        model = read(*args)
        model.codec.name = "encodec_32khz"
        return model

    monkeypatch.setattr(sources, "read", with_the_public_codec)
    main([str(run), str(tmp_path / "public"), "--codec-licence", "MIT"])
    assert Bundle(tmp_path / "public").info["codec"]["licence"] == "CC-BY-NC-4.0"
    assert "the codec encodec_32khz, whose licence is CC-BY-NC-4.0" in capsys.readouterr().out


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    """safetensors has a class of its own for it, which nobody would expect."""
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write_safetensors({"w": torch.zeros(1000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert raised.value.errno == errno.EFBIG and raised.value.filename == str(tmp_path / "w.safetensors")
