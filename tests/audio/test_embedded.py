"""The bundle that ships: whole, small, licensed, and on trained weights the same in ONNX, torch and audiocraft."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.core.delay import delay
from audiocraft_ext.engine.bundle import BUNDLES, Bundle, find_bundle
from audiocraft_ext.engine.sampler import generate
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.export import sources
from audiocraft_ext.model.lm import LM, Cache
from tests.model.test_lm_parity import audiocrafts

TOLERANCE = 1e-4  # fp32 in another order of additions
STEPS = 80


@pytest.fixture(scope="module")
def engine():
    return SoundEngine(find_bundle())


@pytest.fixture(scope="module")
def models(engine):
    """Our torch model and audiocraft's, with the trained weights."""
    model = sources.read(engine.bundle.path)
    ours = LM(model.cfg, model.spec.delays).eval()
    ours.load_state_dict(model.state)
    return ours, audiocrafts(ours)


def test_it_is_whole_and_small_and_has_its_licences():
    bundle = Bundle(find_bundle())
    bundle.verify()
    size = sum(p.stat().st_size for p in BUNDLES.rglob("*") if p.is_file())
    assert size <= 20e6
    text = (bundle.path / "LICENCES.md").read_text("utf-8")
    assert "CC0" in text and "Kenta Cho" in text and "Redistributions of source code" in text
    assert "CC0" in bundle.info["licence"]


@pytest.mark.peers
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_logits_agree_at_every_step_of_a_cached_decode(engine, models, batch):
    lm, theirs = models
    card = lm.cfg.card
    codes = engine.generate(batch, STEPS, seed=3, sampling=Sampling(1.0, 0))  # codes that the model itself thinks of
    sequence = torch.from_numpy(delay(codes, lm.delays, card))
    cache = Cache(lm.cfg, batch, sequence.shape[-1], next(lm.parameters()))
    engine.stepper.start(batch, sequence.shape[-1])
    empty = theirs.condition_provider(theirs.condition_provider.tokenize([]))
    with theirs.streaming():
        for s in range(sequence.shape[-1]):
            frame = sequence[..., s : s + 1]
            reference = theirs(frame, [], condition_tensors=empty)[:, :, 0].numpy()
            for name, ours in {"torch": lm.step(frame[..., 0], cache).numpy(),
                               "onnx": engine.stepper.step(frame.numpy())}.items():
                assert np.abs(ours - reference).max() < TOLERANCE, f"{name}, step {s}"


@pytest.mark.peers
@pytest.mark.parametrize("batch", [1, 3])
def test_greedy_codes_are_identical(engine, models, batch):
    lm, theirs = models
    ours = engine.generate(batch, STEPS, seed=0, sampling=Sampling(0.0, 0))
    reference = theirs.generate(num_samples=batch, max_gen_len=STEPS, use_sampling=False).numpy()
    np.testing.assert_array_equal(ours, reference)
    again = generate(TorchStepper(lm), engine.spec, range(batch), STEPS, seed=0, sampling=Sampling(0.0, 0))
    np.testing.assert_array_equal(again, reference)


def test_a_seed_is_a_clip_alone_and_in_a_batch(engine):
    together = engine.generate(5, STEPS, seed=11)
    for index in range(5):
        np.testing.assert_array_equal(engine.generate([index], STEPS, seed=11)[0], together[index])


def test_its_codec_is_the_one_that_prepares_data(engine):
    codec = get_codec("microcodec")
    assert codec.spec == engine.spec.with_delays(codec.spec.delays)
    wav = engine.decode(engine.generate(1, 100, seed=5))[0, 0]
    codes = codec.encode(wav)
    np.testing.assert_allclose(codec.decode(codes), engine.decode(codes[None])[0, 0], atol=TOLERANCE)
    assert (engine.encode(wav[None, None])[0] == codes).mean() > 0.99  # a nearest neighbour may tie within rounding


def test_it_learned_something(engine):
    """The losses that its training noted: on files it never saw, under what knowing only the frequencies scores."""
    run = json.loads((engine.bundle.path / "model.json").read_text())["run"]
    assert run["valid_ce"] < run["unigram_loss"] - 0.4
