"""The mixture of experts: who is asked, what is learned, how the load is balanced."""

import pytest
import torch
from torch.nn import functional as F

from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.training.update import Updater

ROUTED = 4


def model_of(top_k: int, speed: float = 0.01) -> LM:
    torch.manual_seed(0)
    return LM(LMConfig(n_q=2, card=20, dim=32, num_heads=2, num_layers=2, ffn="moe",
                       moe=dict(shared=1, routed=ROUTED, top_k=top_k, width=32, bias_speed=speed)), (0, 1))


def masked(layer, mixture, x, shared):
    """Every expert computes every token; what was not chosen counts 0."""
    affinity = torch.sigmoid(x @ layer.router.weight.T)
    ranks = (affinity + layer.router.balance).argsort(dim=-1, descending=True)[..., : mixture.top_k]
    mask = torch.zeros_like(affinity).scatter(-1, ranks, 1.0)
    gates = affinity * mask
    if mixture.top_k > 1:
        gates = gates / gates.sum(-1, keepdim=True)
    for e in range(ROUTED):
        expert = layer.experts.get_submodule(str(e))
        shared = shared + gates[..., e, None] * expert.linear2(F.gelu(expert.linear1(x)))
    return shared


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_selected_tokens_are_the_masked_reference(top_k):
    layer = model_of(top_k).transformer.layers[0]
    layer.router.balance.copy_(torch.tensor([0.0, 0.2, -0.1, 0.05]))
    mixture, x, shared = layer.block.feed_forward, torch.randn(3, 11, 32), torch.randn(3, 11, 32)
    results = []
    for way in (layer.mix, lambda *args: masked(layer, *args)):
        layer.zero_grad()
        y = way(mixture, x.requires_grad_(), shared)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)])
    assert len(results[0]) == 2 + 2 * ROUTED
    for ours, reference in zip(*results):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("top_k", [1, 2])
def test_an_expert_computes_its_own_tokens_only(top_k):
    layer, met = model_of(top_k).transformer.layers[0], []
    for expert in layer.experts.children():
        expert.linear1.register_forward_hook(lambda module, args, y: met.append(len(y)))
    layer.mix(layer.block.feed_forward, torch.randn(2, 50, 32), torch.zeros(2, 50, 32))
    assert len(met) == ROUTED and sum(met) == 100 * top_k
    assert met == layer.router.load.tolist()


def test_one_that_nobody_asks_still_has_a_gradient():
    """Of 0: processes add up their gradients, and Muon wants one of every matrix."""
    lm = model_of(1)
    for router in lm.routers:
        router.balance[0] = -9.0
    lm.losses(torch.randint(0, 20, (2, 2, 9)))[0].backward()
    grads = [p.grad for name, p in lm.named_parameters() if ".experts.0." in name]
    assert len(grads) == 4 and all(g is not None and g.abs().sum() == 0 for g in grads)


def entropy(load: torch.Tensor) -> float:
    """1 where all experts have the same load."""
    share = load / load.sum()
    return float(-(share * share.clamp(min=1e-12).log()).sum() / torch.tensor(float(ROUTED)).log())


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_skewed_load_is_balanced(top_k):
    """By the bias alone: no loss asks for it, and evaluation moves nothing."""
    lm = model_of(top_k, speed=0.02)
    update = Updater(lm, torch.optim.SGD(lm.parameters(), lr=0.01), torch.autocast("cpu", enabled=False))
    codes = torch.randint(0, 20, (4, 2, 40), generator=torch.Generator().manual_seed(0))
    for router in lm.routers:
        router.balance.copy_(torch.tensor([0.8, 0.0, 0.0, 0.0]))

    def entropies():
        lm.train()
        lm.losses(codes)
        found = [entropy(router.load) for router in lm.routers]
        for router in lm.routers:
            router.load.zero_()
        return found

    before = entropies()
    assert max(before) < 0.85
    for _ in range(60):
        update(codes)
    after = entropies()
    print(f"top {top_k}: {before} to {after}")
    assert min(after) >= 0.95
    kept = [router.balance.clone() for router in lm.routers]
    lm.eval()
    lm.losses(codes)
    assert all(torch.equal(router.balance, then) and router.load.sum() == 0 for router, then in zip(lm.routers, kept))
    assert all(name in lm.state_dict() for name in ("transformer.layers.0.router.balance",))


def test_parts_of_a_batch_are_balanced_as_the_whole():
    """Accumulated, or with activations computed again, the balance moves the same way."""
    codes, found = torch.randint(0, 20, (8, 2, 20), generator=torch.Generator().manual_seed(0)), []
    for accumulate, kept in ((1, "none"), (4, "none"), (1, "torch")):
        lm = model_of(2)
        lm.cfg.__dict__["checkpointing"] = kept
        Updater(lm, torch.optim.SGD(lm.parameters(), lr=0.0), torch.autocast("cpu", enabled=False), accumulate)(codes)
        found.append(torch.stack([router.balance for router in lm.routers]))
        assert all(router.load.sum() == 0 for router in lm.routers)
    assert found[0].abs().max() > 0 and torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
