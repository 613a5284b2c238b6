"""One model, four ways: ONNX step, our torch with a cache, our torch without, and audiocraft's ``LMModel``."""

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
import numpy as np
import pytest
import torch
from audiocraft.models import builders
from audiocraft.models.lm import ConditionFuser, ConditioningProvider  # noqa: F401
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider, ParallelPatternProvider
from omegaconf import OmegaConf

from audiocraft_ext.core.delay import delay, undelay, valid_mask
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampler import generate
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchStepper
from audiocraft_ext.export import audiocraft
from audiocraft_ext.model.lm import Cache, LMConfig
from tests.helpers import tiny

# fp32 in another order of additions; the largest difference measured is 2e-6 here, 6e-6 at the micro scale.
TOLERANCE = 1e-4
STEPS = 60
SIZES = [tiny.LM_SIZE, LMConfig(n_q=4, card=96, dim=48, num_heads=1, num_layers=3, bias_proj=True, bias_ff=True,
                                bias_attn=True),
         LMConfig(n_q=4, card=96, dim=64, num_heads=2, num_layers=3, positional_embedding="rope"),
         LMConfig(n_q=4, card=96, dim=64, num_heads=4, num_layers=2, attention="gqa", kv_heads=2,
                  positional_embedding="rope")]


def audiocrafts(lm):
    """audiocraft's model with the same weights, built from the config that an export carries."""
    config = OmegaConf.create(audiocraft.lm_yaml(lm.cfg, lm.delays, 32_000, 30.0))
    model = builders.get_lm_model(config)
    model.load_state_dict(audiocraft.audiocraft_state(lm.cfg, lm.state_dict()))
    return model.eval()


@pytest.fixture(scope="module", params=SIZES, ids=["musicgen", "biases", "rope", "gqa"])
def models(request, tmp_path_factory):
    lm = tiny.tiny_lm(request.param)
    bundle = tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", lm=lm)
    return lm, audiocrafts(lm), Engine(bundle)


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_logits_agree_at_every_step(models, batch):
    lm, theirs, engine = models
    codes = np.random.default_rng(batch).integers(0, 96, (batch, 4, STEPS))
    sequence = torch.from_numpy(delay(codes, lm.delays, 96))  # [B, K, S], special ids at both ends
    S = sequence.shape[-1]
    whole = lm(sequence)  # [B, K, S, card]
    cache = Cache(lm.cfg, batch, S, next(lm.parameters()))
    engine.stepper.start(batch, S)
    empty = theirs.condition_provider(theirs.condition_provider.tokenize([]))
    with theirs.streaming():
        for s in range(S):
            frame = sequence[..., s : s + 1]
            reference = theirs(frame, [], condition_tensors=empty)[:, :, 0].numpy()
            assert np.abs(reference).max() > 1  # the logits say something
            for name, ours in {"cached": lm.step(frame[..., 0], cache).numpy(), "whole": whole[:, :, s].numpy(),
                               "onnx": engine.stepper.step(frame.numpy())}.items():
                assert np.abs(ours - reference).max() < TOLERANCE, f"{name}, step {s}"


@torch.no_grad()
def test_far_positions_agree(models):
    """At step 3000 one wrong bit in the positions' divisors is a difference of 3e-4 in a sine."""
    lm, theirs, engine = models
    engine.stepper.start(1, 8)
    engine.stepper.length = 0
    frame = np.arange(4).reshape(1, 4, 1)
    session = engine.stepper.session
    feeds = {"codes": frame, "positions": np.array([3000]), "seqlens_k": np.zeros(1, np.int32),
             "total_sequence_length": np.ones(1, np.int32)}
    empty_cache = np.zeros(lm.cfg.cache_shape(1, 1)[2:], np.float32)
    feeds |= {f"past_{kind}.{i}": empty_cache for i in range(lm.cfg.num_layers) for kind in ("key", "value")}
    ours = session.run(["logits"], feeds)[0][:, 0]
    empty = theirs.condition_provider(theirs.condition_provider.tokenize([]))
    with theirs.streaming():
        theirs.transformer._streaming_state["offsets"] = torch.tensor([3000])
        reference = theirs(torch.from_numpy(frame), [], condition_tensors=empty)[:, :, 0].numpy()
    assert np.abs(ours - reference).max() < TOLERANCE


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("prompt_frames", [0, 10])
def test_greedy_codes_are_identical(models, batch, prompt_frames):
    lm, theirs, engine = models
    prompt = np.random.default_rng(7).integers(0, 96, (batch, 4, prompt_frames))
    ours = engine.generate(batch, STEPS, seed=0, sampling=Sampling(0.0, 0), given=prompt)
    torchs = generate(TorchStepper(lm), engine.spec, range(batch), STEPS, seed=0, sampling=Sampling(0.0, 0),
                      given=prompt)
    reference = theirs.generate(torch.from_numpy(prompt) if prompt_frames else None, num_samples=batch,
                                max_gen_len=STEPS, use_sampling=False).numpy()
    np.testing.assert_array_equal(ours, reference)
    np.testing.assert_array_equal(torchs, reference)
    assert len(np.unique(reference)) > 10


@pytest.mark.parametrize("delays", [[0, 1, 2, 3], [0, 0, 2, 5], [0, 0, 0, 0]])
@pytest.mark.parametrize("frames", [1, 3, 9])
def test_the_delay_grid_is_audiocrafts(delays, frames):
    codes = torch.randint(0, 9, (2, 4, frames), generator=torch.Generator().manual_seed(0))
    provider = DelayedPatternProvider(4, delays) if any(delays) else ParallelPatternProvider(4)
    sequence, _, mask = provider.get_pattern(frames).build_pattern_sequence(codes, 9)
    np.testing.assert_array_equal(delay(codes.numpy(), delays, 9), sequence.numpy())
    np.testing.assert_array_equal(valid_mask(frames, delays), mask.numpy())
    np.testing.assert_array_equal(undelay(sequence.numpy(), delays), codes.numpy())
