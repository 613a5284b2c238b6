"""The bundle that ships: whole, small, licensed, and on trained weights the same in ONNX and torch, in time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.cli import build_parser
from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.audio.metronome import places
from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import BUNDLES, Bundle, find_bundle
from audiocraft_ext.engine.guidance import CONTROLLED
from audiocraft_ext.engine.sampler import generate, with_controls
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.evaluate.pulse import pulse
from audiocraft_ext.export import sources
from audiocraft_ext.model.lm import LM, Cache

TOLERANCE = 1e-4  # fp32 in another order of additions
STEPS = 80


@pytest.fixture(scope="module")
def engine():
    return SoundEngine(find_bundle())


@pytest.fixture(scope="module")
def model(engine):
    """In torch, with the trained weights."""
    found = sources.read(engine.bundle.path)
    ours = LM(found.cfg, found.spec.delays, found.spec.sizes).eval()
    ours.load_state_dict(found.state)
    return ours


def test_it_is_whole_and_small_and_has_its_licences():
    bundle = Bundle(find_bundle())
    bundle.verify()
    size = sum(p.stat().st_size for p in BUNDLES.rglob("*") if p.is_file())
    assert size <= 40e6
    text = (bundle.path / "LICENCES.md").read_text("utf-8")
    assert "CC0" in text and "Kenta Cho" in text and "Redistributions of source code" in text
    assert "CC0" in bundle.info["licence"]


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_logits_agree_at_every_step_of_a_cached_decode(engine, model, batch):
    codes = engine.generate(batch, STEPS, seed=3, sampling=Sampling(1.0, 0))  # codes that the model itself thinks of
    codes = with_controls(codes, places(STEPS, 50.0, 170.0)[None], batch, engine.lm_spec, STEPS)
    sequence = torch.from_numpy(delay(codes, model.delays, model.cfg.card))
    cache = Cache(model.cfg, batch, sequence.shape[-1], next(model.parameters()))
    engine.stepper.start(batch, sequence.shape[-1])
    for s in range(sequence.shape[-1]):
        frame = sequence[..., s : s + 1]
        ours, reference = engine.stepper.step(frame.numpy()), model.step(frame[..., 0], cache).numpy()
        possible = np.isfinite(reference)
        assert (np.isfinite(ours) == possible).all(), f"step {s}"
        assert np.abs(ours[possible] - reference[possible]).max() < TOLERANCE, f"step {s}"


def test_greedy_codes_are_identical(engine, model):
    ours = engine.generate(2, STEPS, seed=0, sampling=Sampling(0.0, 0))
    given = with_controls(None, None, 2, engine.lm_spec, STEPS)
    again = generate(TorchStepper(model), engine.lm_spec, range(2), STEPS, seed=0, sampling=Sampling(0.0, 0),
                     given=given)
    np.testing.assert_array_equal(again[:, : engine.spec.n_q], ours)


def test_it_keeps_a_beat(engine):
    """Its metronome is at work: the pulse of its clips is far above that of noise (0.08), and of clips without any
    beat (0.11)."""
    wavs = [clip.wav for clip in Instrument.load().generate(n=4, seed=1)]
    assert np.median([pulse(wav).pulse for wav in wavs]) > 0.25


def test_a_clip_whose_tempo_is_known_is_guided(engine):
    instrument, codes = Instrument.load(), np.zeros((engine.spec.n_q, 40), np.int64)
    assert instrument.recipe(seed=1).guidance == instrument.recipe(seed=1, prompt=codes, bpm=150).guidance == CONTROLLED
    assert instrument.recipe(seed=1, prompt=codes).guidance == 1  # nobody knows its beat
    assert instrument.recipe(seed=1, guidance=3).guidance == 3
    with pytest.raises(UserError, match="give its tempo"):
        instrument.recipe(seed=1, prompt=codes, guidance=3)
    assert f"(default {CONTROLLED})" in build_parser().format_help()


def test_a_seed_is_a_clip_alone_and_in_a_batch(engine):
    together = engine.generate(5, STEPS, seed=11)
    for index in range(5):
        np.testing.assert_array_equal(engine.generate([index], STEPS, seed=11)[0], together[index])


def test_its_codec_is_the_one_that_prepares_data(engine):
    codec = get_codec("spectral")
    assert codec.spec == engine.spec.with_delays(codec.spec.delays)
    wav = engine.decode(engine.generate(1, 100, seed=5))[0, 0]
    codes = codec.encode(wav)
    np.testing.assert_allclose(codec.decode(codes), engine.decode(codes[None])[0, 0], atol=TOLERANCE)
    assert (engine.encode(wav[None, None])[0] == codes).mean() > 0.99  # a nearest neighbour may tie within rounding


def test_it_learned_something(engine):
    """The losses that its training noted: on files it never saw, under what knowing only the frequencies scores."""
    run = json.loads((engine.bundle.path / "model.json").read_text())["run"]
    assert run["last"]["valid"]["ce"] < 5.405 - 2  # the unigram loss of docs/SOUND.md
