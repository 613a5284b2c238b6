"""The language model by itself; parity with audiocraft is in tests/parity."""

from __future__ import annotations

import math

import pytest
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.lm import LM, Cache, LMConfig

CFG = LMConfig(n_q=3, card=20, dim=32, num_heads=2, num_layers=2)


@pytest.fixture()
def lm():
    torch.manual_seed(0)
    return LM(CFG, (0, 1, 2)).eval()


@pytest.mark.parametrize("changes", [{}, {"bias_proj": True, "bias_ff": True, "bias_attn": True}, {"hidden_scale": 2}])
def test_the_parameter_count_is_the_models(changes):
    cfg = LMConfig(**{**CFG.to_dict(), **changes})
    assert cfg.parameter_count() == sum(p.numel() for p in LM(cfg, (0, 1, 2)).parameters())


@torch.no_grad()
def test_cached_steps_equal_one_pass(lm):
    sequence = torch.randint(0, 20, (2, 3, 15))
    full, cache = lm(sequence), Cache(CFG, 2, 15, like=lm.emb[0].weight)
    parts = [lm(sequence[..., :4], cache), lm(sequence[..., 4:7], cache)]
    parts += [lm.step(sequence[..., s], cache)[:, :, None] for s in range(7, 15)]
    torch.testing.assert_close(torch.cat(parts, dim=2), full, atol=1e-5, rtol=1e-5)


def test_no_step_sees_what_comes_later(lm):
    embedded = []
    for emb in lm.emb:
        emb.register_forward_hook(lambda module, args, out: embedded.append(out.retain_grad() or out))
    lm(torch.randint(0, 20, (1, 3, 9)))[:, :, 4].sum().backward()
    for gradient in (e.grad for e in embedded):
        assert (gradient[:, 5:] == 0).all() and (gradient[:, :5].abs().sum(-1) > 0).all()


def test_losses_equal_a_plain_twin(lm):
    codes = torch.randint(0, 20, (2, 3, 11))
    codes[1, :, 8:] = lm.special_id  # padding
    mean, each = lm.losses(codes)
    for k, d in enumerate((0, 1, 2)):
        total, count = 0.0, 0
        for b in range(2):
            for t in range(11 - d):
                if codes[b, k, t] == lm.special_id:
                    continue
                step = torch.full((1, 3, t + d + 1), lm.special_id)
                for j, e in enumerate((0, 1, 2)):
                    for s in range(t + d + 1):
                        if 0 <= s - 1 - e < 11:
                            step[0, j, s] = codes[b, j, s - 1 - e]
                total -= torch.log_softmax(lm(step)[0, k, -1], -1)[codes[b, k, t]].item()
                count += 1
        assert each[k].item() == pytest.approx(total / count, abs=1e-4)
    assert mean.item() == pytest.approx(each.mean().item(), abs=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_no_longer_than_the_delay_have_a_finite_loss(lm, frames):
    mean, each = lm.losses(torch.randint(0, 20, (2, 3, frames)))
    assert torch.isfinite(mean) and each.shape == (3,) and (each[frames:] == 0).all()


def test_every_parameter_gets_a_gradient(lm):
    lm.losses(torch.randint(0, 20, (4, 3, 30)))[0].backward()
    assert [n for n, p in lm.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_recomputing_activations_changes_no_gradient():
    codes = torch.randint(0, 20, (2, 3, 12))
    gradients = []
    for how in ("none", "torch"):
        torch.manual_seed(0)
        model = LM(LMConfig(**{**CFG.to_dict(), "checkpointing": how}), (0, 1, 2)).train()
        model.losses(codes)[0].backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


def test_it_overfits_one_batch():
    """The debug size learns one batch by heart: under 0.1 nats a code, from near log(card)."""
    torch.manual_seed(0)
    model = LM(LMConfig(n_q=4, card=64, dim=64, num_heads=2, num_layers=2), (0, 1, 2, 3))
    codes = torch.randint(0, 64, (2, 4, 50))
    optim = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = model.losses(codes)[0].item()
    for _ in range(150):
        loss = model.losses(codes)[0]
        loss.backward()
        optim.step()
        optim.zero_grad()
    assert first == pytest.approx(math.log(64), abs=0.8) and loss.item() < 0.1


def test_an_option_that_is_not_here_is_named():
    base = dict(n_q=4, card=64, dim=64, num_heads=2, num_layers=2)
    with pytest.raises(UserError, match="positional_embedding=sin_rope is not supported; use sin, rope or none"):
        LMConfig.from_dict({**base, "positional_embedding": "sin_rope"})
    with pytest.raises(UserError, match="transformer_lm.heads is not an option"):
        LMConfig.from_dict({**base, "heads": 2})
    with pytest.raises(UserError, match="multiple of num_heads=3"):
        LMConfig.from_dict({**base, "num_heads": 3})
    with pytest.raises(UserError, match="2 delays"):
        LM(CFG, (0, 1))
