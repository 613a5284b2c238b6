"""Every combination of a layer's options, and what other programs with the same blocks got wrong."""

import itertools

import pytest
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.torch.static_lm import StaticLM
from audiocraft_ext.model.attention import State, turns
from audiocraft_ext.model.lm import LM, Cache, LMConfig
from audiocraft_ext.training import memory

ATTENTION = {"mha": {}, "gqa": dict(kv_heads=1), "mla": dict(mla=dict(q_rank=16, kv_rank=24, rope_dim=8))}
FFN = {"gelu": {}, "swiglu": {}, "moe": dict(moe=dict(routed=3, top_k=1, width=32)),
       "moe of two": dict(moe=dict(shared=2, routed=4, top_k=2))}
PLACES = [("sin", None), ("rope", None), ("none", None), ("rope", 5), ("none", 5)]
STEPS = 16


def config(attention="mha", ffn="gelu", position="sin", window=None, norm="layer", **more) -> LMConfig:
    return LMConfig(n_q=2, card=20, dim=32, num_heads=2, num_layers=2, attention=attention, ffn=ffn.split()[0],
                    norm=norm, positional_embedding=position, window=window, sinks=2, **ATTENTION[attention],
                    **FFN[ffn], **more)


def model_of(cfg: LMConfig) -> LM:
    torch.manual_seed(0)
    return LM(cfg, (0, 1))


CODES = torch.randint(0, 20, (3, 2, STEPS), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("ffn", FFN)
def test_cached_equals_full_for_every_combination(attention, ffn):
    """A prompt at once, single steps, some steps at once; eval moves no buffer, every weight learns."""
    for norm, (position, window), qk_norm in itertools.product(("layer", "rms"), PLACES, (False, True)):
        if qk_norm and attention == "mla":
            continue
        cfg = config(attention, ffn, position, window, norm, qk_norm=qk_norm)
        lm = model_of(cfg).eval()
        buffers = {name: value.clone() for name, value in lm.named_buffers()}
        with torch.no_grad():
            whole, cache = lm(CODES), Cache(cfg, 3, STEPS, lm.emb[0].weight)
            parts = [lm(part, cache) for part in CODES.split([6, 1, 1, 1, 7], dim=-1)]
        off = (torch.cat(parts, dim=2) - whole).abs().max()
        assert off < 1e-5 < whole.std(), f"{cfg}: {off}"
        assert all(torch.equal(value, buffers[name]) for name, value in lm.named_buffers())
        lm.train().losses(CODES)[0].backward()
        still = [name for name, p in lm.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        met = [router.load > 0 for router in lm.routers]  # of few tokens an expert may get none
        assert all(".experts." in name for name in still), f"{cfg}: {still}"
        assert len(still) == sum(2 * int((~some).sum()) for some in met)
        assert cfg.parameter_count() == sum(p.numel() for p in lm.parameters())
        assert LMConfig.from_dict(cfg.to_dict()) == cfg


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("ffn", FFN)
def test_a_layer_that_says_nothing_hands_on_what_came_in(attention, ffn):
    """Each half is added once."""
    layer = model_of(config(attention, ffn, "rope")).eval().transformer.layers[0]
    for product in layer.block.products:
        if product.rows == 32 and product.weight != "self_attn.q_down.weight":
            torch.nn.init.zeros_(layer.get_parameter(product.weight))
    x = torch.randn(2, 5, 32)
    state = State(*turns(layer.block.attention.heads, torch.arange(5)))
    assert torch.equal(layer(x, state), x)


@torch.no_grad()
def test_rotary_positions_are_the_only_ones():
    """With rope a clip that comes later by any number of steps is heard as it is; the first of it is hidden from it."""
    lm = model_of(config("mla", position="rope", window=STEPS)).eval()
    static = StaticLM(lm, torch.device("cpu"), torch.float32)
    static.make_room(3, 64)
    heard = []
    for begin in (20, 50):
        static.cache.zero_()
        heard.append(static.hidden(CODES, torch.arange(begin, begin + STEPS), static.span(64)))
    torch.testing.assert_close(*heard, atol=1e-5, rtol=1e-5)
    assert lm.emb[0].num_embeddings == lm.special_id + 1  # what stands for nothing has a row of its own


def test_latents_are_normed_once():
    """The cache holds them as heads look at them: with their norm, beside the key that is turned."""
    cfg = config("mla", position="rope")
    lm = model_of(cfg).eval()
    with torch.no_grad():
        cache = Cache(cfg, 3, STEPS, lm.emb[0].weight)
        lm(CODES, cache)
        layer = lm.transformer.layers[0]
        x = sum(lm.emb[k](CODES[:, k]) for k in range(2))
        latent = layer.self_attn.kv_norm(layer.self_attn.kv_down(layer.norm1(x))[..., :24])
    assert cache.data.shape == (2, 1, 3, 1, STEPS, 32)  # 24 + 8 instead of twice 32
    torch.testing.assert_close(cache.data[0, 0, :, 0, :, :24], latent)


def test_memory_knows_the_sizes():
    def need(cfg):
        return memory.training_bytes(cfg, 8, 100, False, False, "cpu")

    base = config("mha", "gelu")
    assert need(config("mha", "swiglu")) > need(base) > need(config("gqa", "gelu"))
    moe = config("mha", "moe of two")
    idle = 2 * 2 * sum(p.parameters for p in moe.block.feed_forward.experts[0].products)
    assert moe.parameter_count() - moe.active_parameters() == idle
    assert moe.active_parameters() == pytest.approx(base.parameter_count(), rel=0.2)  # the width that it has by default
    assert config("mla").cache_bytes(100) * 2 == base.cache_bytes(100)  # (24 + 8) of 2 x 32


@pytest.mark.parametrize("options, what", [
    (dict(attention="gqa"), "kv_heads goes with transformer_lm.attention=gqa"),
    (dict(kv_heads=2), "kv_heads goes with transformer_lm.attention=gqa"),
    (dict(attention="gqa", kv_heads=3), "kv_heads=3 must divide num_heads=2"),
    (dict(ffn="relu"), "ffn=relu is not supported; use gelu, swiglu or moe"),
    (dict(norm="batch"), "norm=batch is not supported; use layer or rms"),
    (dict(moe=dict(routed=4)), "moe goes with transformer_lm.ffn=moe"),
    (dict(ffn="moe", moe=dict(experts=4)), "moe.experts is not an option of this model; known: shared, routed"),
    (dict(ffn="moe", moe=dict(routed=2, top_k=2)), "top_k from 1 to below routed"),
    (dict(qk_norm="yes"), "qk_norm is true or false, got 'yes'"),
    (dict(mla=dict(kv_rank=4)), "mla goes with transformer_lm.attention=mla"),
    (dict(attention="mla", qk_norm=True), "leave transformer_lm.qk_norm out"),
    (dict(attention="mla", mla=dict(rope_dim=16)), "rope_dim=16 must be even and below dim / num_heads, 16"),
    (dict(attention="mla", mla=dict(rope_dim=3)), "rope_dim=3 must be even"),
])
def test_refusals(options, what):
    with pytest.raises(UserError, match=what):
        LMConfig.from_dict(dict(n_q=2, card=20, dim=32, num_heads=2, num_layers=2, **options))


def test_what_is_empty_in_a_config_is_as_it_is_by_default():
    empty = dict(norm=None, attention=None, ffn=None, kv_heads=None, window=None, sinks=None, positional_embedding=None,
                 qk_norm=None, mla=dict(q_rank=None, kv_rank=None, rope_dim=None), moe=dict(shared=None, width=None))
    size = dict(n_q=2, card=20, dim=32, num_heads=2, num_layers=2)
    assert LMConfig.from_dict(size | empty) == LMConfig(**size)
    assert LMConfig.from_dict(size | empty | dict(ffn="moe")).moe.routed == 8
    one = LMConfig(**size, attention="gqa", kv_heads=1)
    assert LMConfig.from_dict(size | dict(norm="layer_norm", kv_repeat=2)) == one  # audiocraft's words
