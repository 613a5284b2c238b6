"""What makes training fit and fly: half precision with a scaled loss, losses by slices, optimisers, compiled layers."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import sys
from contextlib import nullcontext

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model import checkpoint, head_loss
from audiocraft_ext.model.lm import IGNORE, LM, LMConfig
from audiocraft_ext.training import loss_scale
from audiocraft_ext.training.loss_scale import LossScaler
from audiocraft_ext.training.optimizers import get_optimiser
from audiocraft_ext.training.update import NotFinite, Updater
from tests.helpers.runs import run, solver_of
from tests.helpers.stores import make_store

CFG = LMConfig(n_q=3, card=20, dim=32, num_heads=2, num_layers=2)
ADAM = {"betas": [0.9, 0.95], "weight_decay": 0.1, "eps": 1e-8, "fused": True}
MUON = {"lr": None, "weight_decay": 0.1, "momentum": 0.95}
HALF = ("autocast_cpu=true", "autocast_dtype=float16", "device=cpu")


def model_of(seed: int = 0, **changes) -> LM:
    torch.manual_seed(seed)
    return LM(LMConfig(**{**CFG.to_dict(), **changes}), (0, 1, 2)).train()


def codes_of(seed: int = 1, batch: int = 4) -> torch.Tensor:
    return torch.randint(0, 20, (batch, 3, 24), generator=torch.Generator().manual_seed(seed))


def optimiser_of(name: str, model: LM, lr: float = 1e-2) -> torch.optim.Optimizer:
    return get_optimiser(model, OmegaConf.create({"optimizer": name, "lr": lr, "adam": ADAM, "muon": MUON}))


def plain_losses(h, labels, targets, sizes, weights, biases):
    """What the sliced loss replaces, the obvious way."""
    each = [F.cross_entropy(F.linear(h, w, b)[:, :size].float(), y, ignore_index=IGNORE, reduction="sum")
            for w, b, y, size in zip(weights, biases or [None] * len(sizes), labels, sizes)]
    each = torch.stack(each) / targets
    return each.mean(), each.detach()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype, near", [(None, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_the_loss_by_slices_is_the_plain_one(monkeypatch, bias, dtype, near):
    """Loss and gradients, with streams of other sizes, a stream without any target, and a slice that is short. Half
    precision is compared with float32: ``near`` is some of its roundings, of the largest gradient."""
    monkeypatch.setattr(head_loss, "SLICE", 7)
    torch.manual_seed(0)
    sizes = (20, 13, 5)
    leaves = [torch.randn(40, 16), *torch.randn(3, 20, 16), *(torch.randn(3, 20) if bias else ())]
    labels = torch.stack([torch.randint(0, size, (40,)) for size in sizes])
    labels[0, 5:30], labels[2] = IGNORE, IGNORE
    targets, found = torch.tensor([15, 60, 1]), []
    for losses, half in ((plain_losses, None), (head_loss.stream_losses, dtype)):
        own = [leaf.clone().requires_grad_() for leaf in leaves]
        with torch.autocast("cpu", half) if half else nullcontext():
            mean, each = losses(own[0], labels, targets, sizes, own[1:4], own[4:] or None)
        (mean * 512).backward()
        found.append([mean.detach(), each, *(leaf.grad / 512 for leaf in own)])
    for want, got in zip(*found):
        assert (want - got).abs().max() <= near * want.abs().max()
    assert found[1][1][2] == 0
    with torch.no_grad():
        assert torch.equal(head_loss.stream_losses(leaves[0], labels, targets, sizes, leaves[1:4], None)[0],
                           head_loss.stream_losses(leaves[0], labels, targets, sizes, leaves[1:4], None)[0])


def test_gradients_too_small_for_float16_are_not_lost():
    """A code's share of the mean over 100,000 targets is 1e-5, of which a softmax leaves a thousandth and less."""
    torch.manual_seed(0)
    h, weight = torch.randn(100_000, 8), 2 * torch.randn(20, 8)
    labels, targets = torch.randint(0, 20, (1, len(h))), torch.tensor([len(h)])
    gradients = []
    for half in (False, True):
        own = h.clone().requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=half):
            loss, _ = head_loss.stream_losses(own, labels, targets, (20,), [weight.clone().requires_grad_()], None)
        loss.backward()
        gradients.append(own.grad)
    assert (gradients[0] - gradients[1]).norm() < 0.002 * gradients[0].norm()


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation returns, in elements."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor))])
        return out


def test_the_logits_of_the_whole_batch_never_exist():
    """The largest thing in a step is far below tokens x card of one head, let alone of all."""
    model, codes = LM(LMConfig(4, 2048, 16, 2, 1), (0, 1, 2, 3)), torch.randint(0, 2048, (20, 4, 500))
    with Largest() as largest:
        model.losses(codes)[0].backward()
    assert largest.elements == head_loss.SLICE * 2048 < 20 * 500 * 2048 / 2


def half_updater(model: LM, name: str = "adamw", **options) -> Updater:
    return Updater(model, optimiser_of(name, model), torch.autocast("cpu", torch.float16),
                   scaler=LossScaler("cpu", enabled=True), **options)


def weights_of(model: LM) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_an_update_that_overflows_is_skipped_and_the_next_one_is_made(name):
    model = model_of()
    update = half_updater(model, name, accumulate=2, max_norm=1.0)
    update(codes_of())
    scale, before = update.scaler.get_scale(), weights_of(model)
    model.out_norm.weight.register_hook(spoil := lambda gradient: gradient * float("inf"))
    hook = model.linears[0].weight.register_hook(spoil)
    done = update(codes_of(2))
    assert done.skipped and math.isfinite(done.ce) and done.norm == 0
    assert all(map(torch.equal, before, weights_of(model)))
    assert update.scaler.get_scale() == scale / 2 and (update.scaler.skipped, update.scaler.in_a_row) == (1, 1)
    model.out_norm.weight._backward_hooks.clear()
    hook.remove()
    assert not update(codes_of(3)).skipped
    assert not any(map(torch.equal, before, weights_of(model))) and update.scaler.in_a_row == 0


def test_gradients_are_clipped_after_the_scale_is_off():
    norms = {}
    for scaled in (False, True):
        model = model_of()
        plain = Updater(model, optimiser_of("adamw", model), nullcontext(), max_norm=0.01)
        norms[scaled] = (half_updater(model, max_norm=0.01) if scaled else plain)(codes_of()).norm
    assert norms[True] == pytest.approx(norms[False], rel=0.02)


def test_a_scale_that_began_too_high_finds_its_way_down_and_the_model_learns():
    model = model_of()
    update = half_updater(model)
    update.scaler = LossScaler("cpu", enabled=True)
    update.scaler.load_state_dict({**LossScaler("cpu", True).state_dict(), "scale": 2.0**24})
    outcomes = [update(codes_of()) for _ in range(40)]
    assert 1 <= update.scaler.skipped < 12 and outcomes[-1].ce < 0.7 * outcomes[0].ce


def test_what_never_becomes_a_number_ends_after_so_many_updates():
    model = model_of()
    update, before = half_updater(model), weights_of(model)
    with torch.no_grad():
        model.emb[0].weight.fill_(float("nan"))
    for _ in range(loss_scale.MOST_SKIPPED - 1):
        assert update(codes_of()).skipped
    with pytest.raises(NotFinite, match="the loss is nan"):
        update(codes_of())
    assert torch.equal(model.emb[1].weight, before[1])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store", {"a": 400}, {"v": 60}, loop=20).path


def stopped_and_whole(store, folder, *overrides: str) -> tuple[dict, dict]:
    """The states of a run that was stopped after three updates of four and went on, and of one that was not."""
    recipe = ("optim.updates_per_epoch=2", "optim.epochs=2", "optim.accumulate=2", "generate.use=false", *overrides)
    whole = run(folder / "whole", store, *recipe)
    with solver_of(folder / "cut", store, *recipe) as solver:
        after, solver.updater = solver.updater, lambda *args: stop(solver, after, *args)
        with pytest.raises(KeyboardInterrupt):
            solver.run()
    again = run(folder / "cut", store, *recipe)
    return tuple(checkpoint.load(s.checkpoint_path()) for s in (again, whole))


def stop(solver, update, *args):
    if solver.updates_done == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return update(*args)


def equal(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


eight_bit = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch is older than 2.9")


@pytest.mark.parametrize("overrides", [
    HALF,
    pytest.param(("optim.optimizer=muon", "schedule.lr_scheduler=cosine", "schedule.cosine.warmup=1"), marks=muon),
    pytest.param(("optim.optimizer=adamw8bit",), marks=eight_bit),
], ids=["float16", "muon", "adamw8bit"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(store, tmp_path, overrides):
    cut, whole = stopped_and_whole(store, tmp_path, *overrides)
    for part in ("model", "ema", "optimizer", "scaler"):
        assert equal(cut[part], whole[part]), part
    assert cut["scaler"].get("scale") == (2.0**16 if overrides == HALF else None)


def test_a_skipped_update_is_in_the_log_and_the_run_ends_well(store, tmp_path, caplog):
    with solver_of(tmp_path, store, *HALF, "generate.use=false") as solver:
        solver.scaler.load_state_dict({**solver.scaler.state_dict(), "scale": 2.0**40})
        solver.run()
    assert "Update 1 was skipped, too large for float16: the loss scale is 5.49756e+11 now, 1 skipped" in caplog.text
    assert solver.history[0]["train"]["skipped"] > 0 and solver.history[-1]["valid"]["ce"] < 10


def test_half_precision_on_a_cpu_is_asked_for(store, tmp_path):
    with solver_of(tmp_path, store, "device=cpu") as solver:
        assert not solver.cfg.autocast and not solver.scaler.is_enabled()
    with solver_of(tmp_path, store, "device=cpu", "autocast_cpu=true", "generate.use=false") as solver:
        assert solver.cfg.autocast and not solver.scaler.is_enabled()  # bfloat16 needs none
        solver.run()
    assert solver.model.linears[0].weight.dtype == torch.float32


@muon
def test_muon_is_for_the_matrices_of_the_layers_each_by_itself():
    model = model_of()
    optimiser = optimiser_of("muon", model, lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.losses(codes_of())[0].backward()
    alone = []
    for part, gradient in zip(*(t.chunk(3) for t in (model.transformer.layers[0].self_attn.in_proj_weight.detach(),
                                                     model.transformer.layers[0].self_attn.in_proj_weight.grad))):
        alone.append(torch.nn.Parameter(part.clone()))
        alone[-1].grad = gradient.clone()
    torch.optim.Muon(alone, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw").step()
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.5)
    optimiser.step()
    schedule.step()
    assert [group["lr"] for group in optimiser.param_groups] == [0.05, 0.05]
    assert torch.equal(torch.cat(alone), model.transformer.layers[0].self_attn.in_proj_weight)
    assert all(view.grad is None for _, views in optimiser._views for view in views)
    moved = (model.linears[0].weight.detach() - 0.99 * before["linears.0.weight"]).abs()  # less weight decay
    assert (moved < 0.101).all() and moved.median() > 0.09  # AdamW's first step: lr, up or down
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", [pytest.param("muon", marks=muon), pytest.param("adamw8bit", marks=eight_bit)])
def test_it_learns_one_batch(name):
    model = model_of(dim=64, card=128)
    update = Updater(model, optimiser_of(name, model, lr=1e-2), nullcontext())
    losses = [float(update(codes_of()).ce) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


@eight_bit
def test_moments_have_a_byte_a_weight():
    model = model_of(dim=64, card=128)
    optimiser = optimiser_of("adamw8bit", model)
    model.losses(codes_of())[0].backward()
    optimiser.step()
    state = optimiser.state[model.emb[0].weight]
    assert state["state1"].dtype == state["state2"].dtype == torch.uint8


def test_what_is_not_installed_is_reported(monkeypatch):
    for module in ("bitsandbytes", "bitsandbytes.optim"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match="adamw8bit needs bitsandbytes .* pip install bitsandbytes"):
        optimiser_of("adamw8bit", model_of())
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(UserError, match="muon needs torch 2.9 or newer, this is"):
        optimiser_of("muon", model_of())


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[
    pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")])])
def test_compiled_layers_train_as_the_plain_ones(backend):
    """Weights by the same names, near in value after three updates, one of them of a batch that is short."""
    plain, compiled = model_of(), model_of()
    compiled.compile_layers(backend)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for model in (plain, compiled):
        update = Updater(model, optimiser_of("adamw", model), nullcontext())
        for seed, batch in enumerate((4, 4, 3)):
            update(codes_of(seed, batch))
    for a, b in zip(plain.parameters(), compiled.parameters()):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_where_nothing_compiles_it_is_reported(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no compiler\nand a page of advice")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(UserError, match=r"compile=true, .* \(no compiler\); install a C\+\+ compiler"):
        model_of().compile_layers()
