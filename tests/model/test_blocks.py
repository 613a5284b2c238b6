"""One description of a layer: whatever its options, all that is made of it computes the same."""

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.codec.audiocraft import write as write_audiocraft
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampler import Stepper, generate
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.engine.torch.loop import TorchLoop, TorchStepper, load
from audiocraft_ext.engine.torch.static_lm import StaticLM
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained, read
from audiocraft_ext.model.lm import LM, Cache, LMConfig
from tests.helpers.third_kind import kind_called_test  # noqa: F401  a fixture

BASE = dict(n_q=3, card=40, dim=64, num_heads=4, num_layers=3)
SMALL = dict(dim=32, num_layers=2)
OPTIONS = {
    "musicgen": {},
    "biases": dict(bias_proj=True, bias_ff=True, bias_attn=True),
    "narrow": dict(hidden_scale=2, max_period=500.0),
    "rope": dict(positional_embedding="rope"),
    "qk_norm": dict(qk_norm=True),
    "rope and qk_norm": dict(positional_embedding="rope", qk_norm=True, bias_attn=True, max_period=500.0),
    "gqa": SMALL | dict(norm="rms", ffn="swiglu", attention="gqa", kv_heads=2, bias_ff=True, bias_attn=True),
    "mqa": SMALL | dict(positional_embedding="none", qk_norm=True, attention="gqa", kv_heads=1),
    "experts": SMALL | dict(ffn="moe", moe=dict(routed=3, top_k=1, width=32), bias_ff=True),
    "latents": SMALL | dict(positional_embedding="rope", attention="mla", num_heads=2, bias_attn=True),
    "window": SMALL | dict(positional_embedding="rope", attention="gqa", kv_heads=2, norm="rms", window=16, sinks=2,
                           ffn="moe", moe=dict(shared=2, routed=4, top_k=2, width=32)),
    "window of latents": SMALL | dict(positional_embedding="rope", attention="mla", num_heads=2, window=16, norm="rms",
                                      ffn="swiglu"),
}
SPEC = Spec("test", 3, 40, 50.0, (0, 1, 2), "none", "0")
STEPS = 70


@pytest.fixture(scope="module", params=OPTIONS)
def lm(request) -> LM:
    """A model in which no weight is as it begins: norms are no identities, biases not 0."""
    torch.manual_seed(1)
    lm = LM(LMConfig(**BASE | OPTIONS[request.param]), SPEC.delays).eval().requires_grad_(False)
    for name, weight in lm.named_parameters():
        if weight.ndim == 1:
            weight.copy_((1.0 if name.endswith("weight") else 0.0) + 0.3 * torch.randn_like(weight))
    return lm


@pytest.fixture(scope="module")
def bundle(lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks") / "b"
    write_bundle(folder, Trained(SPEC, lm.cfg, lm.state_dict(), None, 60), precisions=["fp32", "int8", "int4"])
    return folder


@pytest.fixture(scope="module")
def whole(lm) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes ``[2, K, S]``, and their logits ``[2, K, S, card]`` in one pass."""
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (2, 3, STEPS)))
    return codes, lm(codes)


def test_the_description_is_the_model(lm):
    """Names and shapes of a layer, its matrices, and all counts."""
    block, layer = lm.cfg.block, lm.transformer.layers[1]
    shapes = {p.weight: [p.rows, p.columns] for p in block.products}
    shapes |= {p.bias: [p.rows] for p in block.products if p.bias}
    shapes |= {f"{n.name}.weight": [n.size] for n in block.norms}
    shapes |= {f"{n.name}.bias": [n.size] for n in block.norms if n.kind == "layer"}
    assert {name: list(weight.shape) for name, weight in layer.named_parameters()} == shapes
    large = {n: p for n, p in lm.named_parameters() if n.startswith("transformer.layers.") and p.ndim == 2}
    assert lm.cfg.matrices().keys() == large.keys()
    heads = sum(head.weight.numel() for head in lm.linears)
    idle = lm.cfg.num_layers * block.feed_forward.idle
    assert lm.cfg.parameter_count() == sum(p.numel() for p in lm.parameters()) == lm.cfg.active_parameters() + idle
    if not lm.cfg.bias_ff:
        assert lm.cfg.weights_per_step() == sum(p.numel() for p in large.values()) + heads - idle
    assert lm.cfg.cache_bytes(7) == Cache(lm.cfg, 1, 7, lm.emb[0].weight).data.nbytes
    assert LMConfig.from_dict(lm.cfg.to_dict()) == lm.cfg


def test_cached_steps_are_one_pass(lm, whole):
    codes, logits = whole
    cache = Cache(lm.cfg, 2, STEPS, lm.emb[0].weight)
    parts = [lm(codes[..., :9], cache), *(lm(codes[..., s : s + 1], cache) for s in range(9, STEPS))]
    torch.testing.assert_close(torch.cat(parts, dim=2), logits, atol=1e-5, rtol=1e-5)


def test_fixed_shapes_are_one_pass(lm, whole):
    codes, logits = whole
    static = StaticLM(lm, torch.device("cpu"), torch.float32)
    static.make_room(2, 128)
    span = static.span(STEPS)
    hidden = [static.hidden(codes[..., :9], torch.arange(9), span)]
    hidden += [static.hidden(codes[..., s : s + 1], torch.tensor([s]), span) for s in range(9, STEPS)]
    torch.testing.assert_close(static.logits(torch.cat(hidden, dim=1)).transpose(1, 2), logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_the_graph_is_one_pass(lm, bundle, whole, precision):
    """A prompt at once, then step by step; rounded weights are near, and far nearer than another model's."""
    codes, logits = whole
    stepper = Engine(bundle, precision=precision).stepper
    stepper.start(2, STEPS)
    parts = [stepper.logits(codes[..., :30].numpy()).copy()]
    parts += [stepper.logits(codes[..., s : s + 1].numpy()).copy() for s in range(30, STEPS)]
    off = np.abs(np.concatenate(parts, axis=1).transpose(0, 2, 1, 3) - logits.numpy())
    print(f"{precision}: {off.max():.1e} at most, {off.mean() / logits.std().item():.3f} of the spread in the mean")
    if precision == "fp32":
        assert off.max() < 1e-4
    else:
        assert 0 < off.mean() < {"int8": 0.1, "int4": 0.3}[precision] * logits.std().item()


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_a_clip_is_the_same_alone(bundle, precision):
    engine, how = Engine(bundle, precision=precision), dict(seed=5, sampling=Sampling(1.2, 0, 0.9))
    codes = engine.generate(4, 90, **how)
    assert (engine.generate([2], 90, **how)[0] == codes[2]).all()


def test_all_loops_make_the_same_clips(lm, bundle):
    how = dict(seed=5, sampling=Sampling(1.2), window=Bundle(bundle).restart)
    codes = generate(TorchStepper(lm), SPEC, range(3), 90, **how)
    assert (Engine(bundle).generate(3, 90, seed=5, sampling=Sampling(1.2)) == codes).all()
    assert (generate(TorchLoop(lm, "cpu"), SPEC, range(3), 90, **how) == codes).all()
    assert (generate(load(Bundle(bundle), "cpu"), SPEC, range(3), 90, **how) == codes).all()


def test_it_learns_the_same_whichever_way_it_keeps_activations(lm):
    codes, gradients = torch.randint(0, 40, (2, 3, 20), generator=torch.Generator().manual_seed(0)), []
    for kept in ("none", "torch"):
        other = LM(LMConfig(**lm.cfg.to_dict() | {"checkpointing": kept}), SPEC.delays).train()
        other.load_state_dict(lm.state_dict())
        other.losses(codes)[0].backward()
        assert all(p.grad is not None and (".experts." in name or p.grad.abs().sum() > 0)  # an expert may get no token
                   for name, p in other.transformer.named_parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in other.parameters()]))
    torch.testing.assert_close(*gradients)


def test_a_bundle_is_read_back(lm, bundle, tmp_path):
    again = read(bundle)
    assert again.cfg == lm.cfg
    write_bundle(tmp_path / "again", again, precisions=["fp32", "int8", "int4"])
    for file in ("lm.onnx", "lm.safetensors", "lm.int8.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (bundle / file).read_bytes()


def test_matrices_of_a_byte_play_as_they_are_read(lm, tmp_path, whole):
    """ONNX Runtime makes them what torch reads; tables, heads, routers and all."""
    write_bundle(tmp_path / "b", Trained(SPEC, lm.cfg, lm.state_dict(), None, 60), precisions=["fp32"], quarter=True)
    model = LM(lm.cfg, SPEC.delays).eval()
    model.load_state_dict(read(tmp_path / "b").state)
    stepper, (codes, logits) = Engine(tmp_path / "b").stepper, whole
    stepper.start(2, STEPS)
    with torch.no_grad():
        rounded = model(codes)
    off = np.abs(stepper.logits(codes.numpy()).transpose(0, 2, 1, 3) - rounded.numpy()).max()
    assert off < 1e-4 and 0 < (rounded - logits).abs().mean() < 0.03 * logits.std()


def test_options_of_the_first_models_are_all_that_is_written_of_them():
    first = ("n_q", "card", "dim", "num_heads", "num_layers", "hidden_scale", "dropout", "bias_proj", "bias_ff",
             "bias_attn", "max_period", "checkpointing")
    assert sorted(LMConfig(**BASE).to_dict()) == sorted(first)


def test_what_audiocraft_lacks_is_not_exported_to_it(tmp_path):
    from tests.helpers import tiny

    cfg = LMConfig(n_q=4, card=96, dim=64, num_heads=2, num_layers=2, qk_norm=True, norm="rms")
    torch.manual_seed(0)
    model = LM(cfg, (0, 1, 2, 3))
    codec = tiny.tiny_codec()
    with pytest.raises(UserError, match="audiocraft's model has no transformer_lm.norm=rms, no transformer_lm.qk_norm"):
        write_audiocraft(tmp_path / "out", Trained(codec.spec, cfg, model.state_dict(), codec, 60))


def test_rotary_positions_go_to_audiocraft_and_back(tmp_path):
    """Its file has their rates beside the weights; that its model then computes the same is in test_lm_parity."""
    from tests.helpers import tiny

    cfg = LMConfig(n_q=4, card=96, dim=64, num_heads=2, num_layers=2, positional_embedding="rope")
    torch.manual_seed(0)
    codec, state = tiny.tiny_codec(), LM(cfg, (0, 1, 2, 3)).state_dict()
    write_audiocraft(tmp_path / "out", Trained(codec.spec, cfg, state, codec, 60))
    again = read(tmp_path / "out")
    assert again.cfg == cfg and again.state.keys() == state.keys()
    assert all(torch.equal(again.state[name], state[name]) for name in state)


def test_every_stepper_says_all_that_the_engine_asks(lm, bundle):
    from audiocraft_ext.engine.guidance import Guide

    names = [name for name in vars(Stepper) if not name.startswith("_")]
    assert sorted(names) == ["another", "cache_bytes", "logits", "start", "step"]
    codes, logits = np.random.default_rng(1).integers(0, 40, (2, 3, 12)), []
    for stepper in (Engine(bundle).stepper, TorchStepper(lm), TorchLoop(lm, "cpu"),
                    Guide(2.0).around(TorchStepper(lm), SPEC)):
        assert stepper.cache_bytes(40) >= lm.cfg.cache_bytes(40)
        stepper.start(2, 12)
        logits.append(stepper.logits(codes))
        stepper.start(2, 12)
        assert np.allclose(stepper.step(codes[..., :7]), logits[-1][:, 6], atol=1e-5)
        other = stepper.another()  # a state of its own: neither disturbs the other
        other.start(2, 12)
        assert np.allclose(other.step(codes[..., :3]), logits[-1][:, 2], atol=1e-5)
        assert np.allclose(stepper.step(codes[..., 7:8]), logits[-1][:, 7], atol=1e-5)
        assert np.allclose(logits[-1], logits[0], atol=1e-4)
