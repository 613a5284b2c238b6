"""Training a codec: it stops and goes on as if it had not, only as what it was, and its stages do what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from audiocraft_ext.audio.codec import get_codec, sound_pool, train
from audiocraft_ext.audio.codec.codebooks import CodebookLearner
from audiocraft_ext.audio.codec.distance import MelDistance
from audiocraft_ext.audio.codec.spectral import Quantizer, SpectralConfig
from audiocraft_ext.audio.codec.spectral_losses import Discriminators, MelLoss, _power
from audiocraft_ext.audio.codec.spectral_trainer import Trainer
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model import checkpoint

TINY = SpectralConfig(encoder=(8, 8), encoder_blocks=(1, 1), decoder=(8, 8), decoder_blocks=(1, 1), n_q=3, card=8,
                      code_dim=4)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (("src/a.wav", 40_000), ("src/b.wav", 9_000), ("more/c.flac", 30_000), ("held/d.wav", 32_000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sf.write(tmp_path / name, rng.normal(size=n) * np.linspace(0.02, 0.3, n), 32_000)
    return tmp_path


def options(folder: Path, *more: str) -> list[str]:
    return [str(folder / "src"), str(folder / "more"), "--valid", str(folder / "held"), "-o", str(folder / "out"),
            "--steps", "12", "--adversarial-steps", "6", "--batch", "2", "--adversarial-batch", "2", "--segment", "0.2",
            "--judge-every", "9", "--save-minutes", "0", *more]


def command(monkeypatch, folder: Path, *more: str) -> None:
    monkeypatch.setattr(train, "SpectralConfig", lambda n_q, card: TINY)
    monkeypatch.setattr(sys, "argv", ["train", *options(folder, *more)])
    train.main()


def weights(folder: Path) -> dict:
    return checkpoint.load(folder / "out" / "state.pt")


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("step", [5, 12, 15])
def test_killed_and_gone_on_it_ends_as_if_it_had_not_been(folder, monkeypatch, step):
    """SIGKILL in the first stage, between the stages and in the second: the same to the bit, averages included."""
    command(monkeypatch, folder, "-o", str(folder / "whole" / "out"))
    code = f"""
import os, signal, sys
import tests.audio.test_codec_training as here
from audiocraft_ext.audio.codec import train
advance = here.Trainer.advance
here.Trainer.advance = lambda self: os.kill(os.getpid(), signal.SIGKILL) if self.step == {step} else advance(self)
train.SpectralConfig = lambda n_q, card: here.TINY
sys.argv = ["train", *sys.argv[1:]]
train.main()"""
    done = subprocess.run([sys.executable, "-c", code, *options(folder)], cwd=Path(__file__).parents[2],
                          capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert weights(folder)["step"] == step
    command(monkeypatch, folder)
    assert weights(folder)["step"] == 18 and same(weights(folder), weights(folder / "whole"))
    assert {p.name for p in (folder / "out").iterdir()} == {"state.pt", "codec.json", "codec.safetensors", "sound.i16",
                                                            "sound.json"}


def test_ctrl_c_saves_and_another_recipe_is_refused(folder, monkeypatch):
    advance = Trainer.advance

    def interrupted(self):
        if self.step == 14:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="state.pt.*goes on from it"):
        patch.setattr(Trainer, "advance", interrupted)
        command(monkeypatch, folder, "--save-minutes", "9")
    assert weights(folder)["step"] == 15 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(UserError, match="state.pt was made with another recipe: lr was 0.001, is 0.002; put it back"):
        command(monkeypatch, folder, "--lr", "2e-3")
    with pytest.raises(UserError, match="steps was 12, is 20"):  # the first stage is over
        command(monkeypatch, folder, "--steps", "20")
    command(monkeypatch, folder, "--adversarial-steps", "4")
    assert weights(folder)["step"] == 16


def test_what_it_writes_is_a_codec_and_says_what_the_stages_gained(folder, monkeypatch, capsys):
    command(monkeypatch, folder)
    said = capsys.readouterr().out
    for name in train.STAGES:
        assert f"{name}: log-mel" in said and "texture" in said
    codec = get_codec(str(folder / "out"))
    assert codec.name == "spectral" and codec.model.cfg == TINY
    assert codec.decode(codec.encode(np.zeros(1000, np.float32))).shape == (1280,)
    about = json.loads((folder / "out" / "codec.json").read_text())
    assert about["figures"]["second stage"]["steps"] == 18 and about["recipe"]["files"] == 3


def test_the_second_stage_leaves_the_codes_alone(folder, monkeypatch):
    command(monkeypatch, folder, "--adversarial-steps", "0")
    before, wav = get_codec(str(folder / "out")), np.random.default_rng(1).normal(size=9000).astype(np.float32)
    first = before.encode(wav)
    command(monkeypatch, folder, "--adversarial-steps", "6")
    after = get_codec(str(folder / "out"))
    np.testing.assert_array_equal(after.encode(wav), first)
    assert np.abs(after.decode(first) - before.decode(first)).max() > 0


def test_what_cannot_be_trained_on_is_said(folder, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="3 weights for 2 folders"):
        command(monkeypatch, folder, "--weights", "1", "2", "3")
    monkeypatch.setattr(sys, "argv", ["train", str(folder / "nowhere"), "-o", str(folder / "out")])
    with pytest.raises(UserError, match="no such folder or file"):
        train.main()
    monkeypatch.setattr(sys, "argv", ["train", str(folder / "src"), "-o", str(folder / "out"), "--valid-share", "0"])
    with pytest.raises(UserError, match="name folders of held-out sound with --valid"):
        train.main()
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "state.pt").write_bytes(b"PK" + b"\0" * 100)
    with pytest.raises(UserError, match="state.pt: not a readable checkpoint"):
        command(monkeypatch, folder)


def test_the_pool_is_read_once_and_all_of_one_level(folder, capsys):
    groups = sound_pool.find([folder / "src", folder / "more"])
    pool = sound_pool.prepare(groups, folder / "pool", 32_000)
    for starts, ends in pool.sources:
        for start, end in zip(starts, ends):
            rms = np.sqrt(np.mean((pool.sound[start:end] / 32768.0) ** 2))
            assert abs(20 * np.log10(rms) + 18) < 0.1
    stamp = (folder / "pool" / "sound.i16").stat().st_mtime_ns
    sound_pool.prepare(groups, folder / "pool", 32_000)
    assert (folder / "pool" / "sound.i16").stat().st_mtime_ns == stamp
    (folder / "src" / "e.wav").write_bytes(b"not sound")
    pool = sound_pool.prepare(sound_pool.find([folder / "src"]), folder / "pool", 32_000)
    assert len(pool.sources[0][0]) == 2 and "skipped" in capsys.readouterr().err


def test_crops_are_a_function_of_seed_and_step(folder):
    pool = sound_pool.prepare(sound_pool.find([folder / "src", folder / "more"]), folder / "pool", 32_000)
    crops, again = (sound_pool.Crops(pool, [1, 3], 12_800, 5) for _ in range(2))
    assert torch.equal(crops.batch(3, 4), again.batch(3, 4)) and not torch.equal(crops.batch(3, 4), crops.batch(4, 4))
    batch = crops.batch(0, 64)
    assert batch.shape == (64, 12_800) and batch.abs().max() <= 1 and batch.std() > 0.05
    only = sound_pool.Crops(pool, [1, 0], 12_800, 5).batch(0, 32)  # b.wav is shorter than a crop: silence around it
    assert ((only == 0).float().mean(1) > 0.2).any()


def test_the_power_spectrum_has_autograds_gradient():
    wav = torch.randn(2, 1000, dtype=torch.float64, requires_grad=True)
    window = torch.hann_window(64, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: _power(x, window)[:, ::5], (wav[:, :300],))
    spec = torch.stft(wav, 64, 16, window=window, return_complex=True).abs().square().transpose(1, 2)
    torch.testing.assert_close(_power(wav, window), spec)


def test_the_losses_know_better_from_worse():
    torch.manual_seed(0)
    ref = torch.randn(2, 16_000) * torch.linspace(0.01, 0.3, 16_000)
    loss = MelLoss(32_000)
    for step in (0, 1):
        assert loss(ref, ref, step) == 0
        assert loss(ref * 1.1, ref, step) < loss(ref * 2, ref, step) < loss(torch.zeros_like(ref), ref, step)
    judges = Discriminators(32_000, channels=4)
    optim = torch.optim.Adam(judges.parameters(), 2e-3)
    tones = torch.sin(torch.arange(16_000) * torch.rand(2, 1)) * 0.3
    verdicts = []
    for step in range(40):
        judged, fooled, matched = judges(ref, tones, step)
        verdicts.append(judged.item())
        optim.zero_grad()
        judged.backward()
        optim.step()
    assert verdicts[0] > 1.8 and verdicts[-1] < 0.7 * verdicts[0] and fooled > 0 and matched > 0.1


def test_texture_tells_smeared_from_noisy():
    generator, measure = torch.Generator().manual_seed(0), MelDistance(32_000)
    wav = torch.randn(1, 32_000, generator=generator) * (torch.arange(32_000) % 4_000 < 800) * 0.3
    assert measure(wav, wav) == 0 and measure.texture(wav, wav) == 1
    smeared = torch.nn.functional.avg_pool1d(wav[None].square(), 4_001, 1, 2_000)[0].sqrt()
    smeared = smeared * torch.sin(torch.arange(32_000) * 0.3)
    noise = torch.randn(1, 32_000, generator=generator) * 0.1
    assert measure.texture(smeared, wav) < 0.8 and measure.texture(wav, noise) > 1.2
    assert measure(wav * 1.1, wav) < measure(smeared, wav)


def test_every_codebook_takes_away_what_it_codes():
    """From the start: the residual of latents shrinks from level to level."""
    torch.manual_seed(0)
    quantizer, z = Quantizer(TINY), torch.randn(2000, 8) @ torch.randn(8, 8) + 3
    CodebookLearner(quantizer).start(quantizer, z, seed=0)
    left = [(z - quantizer.decode(quantizer.encode(z.T[None])[:, :k])[0].T).square().mean().item() for k in (1, 2, 3)]
    assert left[0] < 0.8 * z.var() and left[1] < 0.8 * left[0] and left[2] < 0.8 * left[1]


def test_codebooks_find_clusters_and_dead_codes_a_new_place():
    torch.manual_seed(0)
    quantizer = Quantizer(TINY)
    centres = torch.randn(8, 8) * 3
    z = centres[torch.randint(8, (4, 100))] + 0.01 * torch.randn(4, 100, 8)
    learner = CodebookLearner(quantizer)
    learner.start(quantizer, z.flatten(0, 1), seed=0)
    codes = quantizer.encode(z.transpose(1, 2))[:, 0]
    assert len(codes.unique()) >= 5
    quantizer.codebooks[0] += 50  # none is near anything
    learner.total[0] = quantizer.codebooks[0] * learner.count[0][:, None]
    for step in range(600):
        learner(quantizer, z.transpose(1, 2), torch.Generator().manual_seed(step))
    point = quantizer.inward[0](z)
    chosen = quantizer.codebooks[0][quantizer.nearest(point, 0)]
    assert (point - chosen).square().mean() < 0.15 * point.var()  # one code for all would leave it all
