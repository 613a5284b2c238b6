"""A window with sinks: a clip of any length is one pass."""

import numpy as np
import pytest
import torch

from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampler import generate
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchLoop, TorchStepper
from audiocraft_ext.engine.torch.static_lm import StaticLM
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.blocks import AT_ONCE
from audiocraft_ext.model.lm import LM, Cache, LMConfig
from audiocraft_ext.training import memory
from audiocraft_ext.training.checks import check_window
from tests.helpers.third_kind import kind_called_test  # noqa: F401  a fixture

SPEC = Spec("test", 2, 24, 50.0, (0, 1), "none", "0")
BASE = dict(n_q=2, card=24, dim=32, num_heads=2, num_layers=2, positional_embedding="rope")
CFG = LMConfig(**BASE, window=16, sinks=2)
LONG = 300
CONTEXT = 40
HOW = dict(seed=3, sampling=Sampling(1.2))


def model_of(cfg: LMConfig) -> LM:
    """Weights that make what was heard matter."""
    torch.manual_seed(1)
    lm = LM(cfg, SPEC.delays).eval().requires_grad_(False)
    for weight in lm.transformer.parameters():
        weight.mul_(2.0)
    return lm


@pytest.fixture(scope="module")
def lm() -> LM:
    return model_of(CFG)


@pytest.fixture(scope="module")
def engine(lm, tmp_path_factory) -> Engine:
    folder = tmp_path_factory.mktemp("window") / "b"
    write_bundle(folder, Trained(SPEC, CFG, lm.state_dict(), None, CONTEXT))
    return Engine(folder)


def logits_of(lm: LM, codes: np.ndarray) -> np.ndarray:
    return lm(torch.from_numpy(codes)).numpy()


def test_a_step_sees_its_window_and_the_sinks_and_nothing_else(lm):
    """Through one layer; every further one adds a window."""
    one = model_of(LMConfig(**BASE | {"num_layers": 1}, window=16, sinks=2))
    codes = np.random.default_rng(0).integers(0, 24, (1, 2, 60))
    for changed, matters in ((0, True), (1, True), (2, False), (33, False), (34, True), (49, True), (50, False)):
        other = codes.copy()
        other[..., changed] = (other[..., changed] + 1) % 24
        off = np.abs(logits_of(one, other) - logits_of(one, codes))[:, :, 49].max()
        assert (off > 1e-4) == matters, f"step {changed}: {off}"


def test_within_the_window_it_is_the_model_without_one(lm):
    plain = LM(LMConfig(**BASE), SPEC.delays).eval().requires_grad_(False)
    plain.load_state_dict(lm.state_dict())
    codes = torch.randint(0, 24, (2, 2, 60), generator=torch.Generator().manual_seed(0))
    off = (lm(codes) - plain(codes)).abs().amax(dim=(0, 1, 3))  # by step
    assert off[:18].max() < 1e-5 < 1e-2 < off[30:].max()


def test_a_long_clip_has_no_seam(lm, engine):
    """Where a model without a window starts anew it forgets half of what it heard; this one is one pass, in which all
    steps are alike."""
    codes = generate(engine.stepper, SPEC, [0], LONG, **HOW)
    sequence = delay(codes, SPEC.delays, SPEC.special_id)
    whole = logits_of(lm, sequence)
    engine.stepper.start(1, sequence.shape[-1])
    parts = [engine.stepper.logits(sequence[..., s : s + 1]).copy() for s in range(sequence.shape[-1])]
    assert np.abs(np.concatenate(parts, axis=1).transpose(0, 2, 1, 3) - whole).max() < 1e-4  # at every step

    plain = LM(LMConfig(**BASE), SPEC.delays).eval().requires_grad_(False)
    plain.load_state_dict(lm.state_dict())

    def jump(window):  # how far the logits at step 60 are from those behind twice as much of the past
        once, twice = (logits_of(plain, sequence[..., 60 - past : 61])[..., -1, :] for past in (window, 2 * window))
        return np.abs(once - twice)

    assert jump(20).max() > 0.1  # the seam, had the model no window of its own
    beyond = np.abs(whole[:, :, CONTEXT:]).mean(axis=(0, 1, 3))  # the same size of logits all along
    assert beyond[-100:].mean() == pytest.approx(beyond[:100].mean(), rel=0.1)


def test_all_loops_make_the_same_long_clips_which_begin_as_short_ones(lm, engine):
    codes = engine.generate(3, LONG, **HOW)
    assert (generate(TorchStepper(lm), SPEC, range(3), LONG, **HOW) == codes).all()
    assert (generate(TorchLoop(lm, "cpu"), SPEC, range(3), LONG, **HOW) == codes).all()
    assert (engine.generate([2], LONG, **HOW)[0] == codes[2]).all()
    assert (Engine(engine.bundle, threads=2).generate([0], 150, **HOW)[0, :, :149] == codes[0, :, :149]).all()
    for frames in (7, 30, CONTEXT + 5, 150):
        assert (engine.generate(1, frames, **HOW)[0][:, : frames - 1] == codes[0][:, : frames - 1]).all()
    prompt = codes[:, :, :200]  # read many steps at once
    assert (generate(TorchLoop(lm, "cpu"), SPEC, range(3), LONG, given=prompt, **HOW)
            == engine.generate(3, LONG, given=prompt, **HOW)).all()


def test_its_cache_rolls(lm, engine):
    """Memory and cost of a step do not know the length of the clip."""
    places = CFG.sinks + CFG.window + AT_ONCE - 1
    for capacity in (5, 100, 200_000):
        assert CFG.cache_shape(1, capacity) == (2, 2, 1, 2, places, 16)
        assert engine.stepper.cache_bytes(capacity) == Cache(CFG, 1, capacity, lm.emb[0].weight).data.nbytes
    with pytest.raises(AssertionError, match="65 steps at once"):
        lm(torch.zeros(1, 2, AT_ONCE + 1, dtype=torch.int64), Cache(CFG, 1, 9, lm.emb[0].weight))


@pytest.mark.parametrize("position", ["rope", "none"])
def test_an_hour_in_it_hears_as_at_the_beginning(position):
    """Positions are relative, and exact at step 180,000."""
    lm = model_of(LMConfig(**BASE | {"positional_embedding": position}, window=16, sinks=2))
    static, heard = StaticLM(lm, torch.device("cpu"), torch.float32), []
    codes = torch.randint(0, 24, (1, 2, 40), generator=torch.Generator().manual_seed(0))
    for begin in (1_000, 180_000):
        static.make_room(1, 128)
        heard.append(static.hidden(codes, torch.arange(begin, begin + 40), static.span(128)))
    torch.testing.assert_close(*heard, atol=1e-5, rtol=1e-5)


def test_it_learns_behind_its_window():
    lm = LM(CFG, SPEC.delays).train()
    lm.losses(torch.randint(0, 24, (2, 2, 60)))[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lm.parameters())
    plain = LMConfig(**BASE)
    same, more = (memory.training_bytes(CFG, 8, frames, False, False, "cpu")
                  - memory.training_bytes(plain, 8, frames, False, False, "cpu") for frames in (18, 400))
    assert same == 0 and more == 8 * 400 * 4 * 2 * 3 * 2 * 400  # tokens, bytes, layers, kept, heads, steps seen


def test_refusals():
    with pytest.raises(UserError, match="needs positions that are relative; set transformer_lm.positional_embedding"):
        LMConfig(**BASE | {"positional_embedding": "sin"}, window=16)
    with pytest.raises(UserError, match="set transformer_lm.window=5 or a longer"):
        check_window(CFG, SPEC, 10)
    with pytest.raises(UserError, match="set transformer_lm.sinks=5 to keep it in sight"):
        check_window(CFG, Spec("test", 2, 24, 50.0, (0, 1), "none", "0", prompt=3), 100)
    check_window(CFG, SPEC, 100)
