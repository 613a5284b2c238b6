"""Every config composes and builds; what is written in the comments is true; mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.train import main
from audiocraft_ext.training import memory
from audiocraft_ext.training.checks import delays_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SCALES = sorted(p.stem for p in (CONFIGS / "model/lm/model_scale").glob("*.yaml"))
SOLVERS = sorted(p.stem for p in (CONFIGS / "solver/musicgen").glob("*.yaml") if p.stem != "default")
SEED_COMMAND = ("solver=musicgen/musicgen_base_32khz model/lm/model_scale=micro conditioner=none dataset.batch_size=3 "
                "dset=audio/jungle dataset.valid.num_samples=1 generate.every=10000 evaluate.every=10000 "
                "optim.optimizer=adamw optim.lr=1e-4 optim.adam.weight_decay=0.01 checkpoint.save_every=5").split()
# encodec_32khz; a run takes its store's
PUBLIC = ("transformer_lm.n_q=4", "transformer_lm.card=2048", "codebooks_pattern.delay.delays=[0,1,2,3]")


def compose(*overrides: str):
    return main.get_xp(list(overrides)).cfg


def lm_config(cfg) -> LMConfig:
    return LMConfig.from_dict(OmegaConf.to_container(cfg.transformer_lm, resolve=True))


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_composes_resolves_and_builds(solver):
    cfg = compose(f"solver=musicgen/{solver}", *PUBLIC)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    with torch.device("meta"):
        LM(lm_config(cfg), delays_of(cfg))


@pytest.mark.parametrize("scale", SCALES)
def test_a_scales_comment_is_true(scale):
    """Parameters to the printed digit, memory to 0.1 GiB."""
    text = (CONFIGS / f"model/lm/model_scale/{scale}.yaml").read_text()
    cfg = lm_config(compose("solver=musicgen/micro_32khz", f"model/lm/model_scale={scale}", *PUBLIC))
    said, gib = re.search(r"([\d.]+) M parameters .* 16 x 10 s takes ([\d.]+) GiB", text).groups()
    with torch.device("meta"):
        real = sum(p.numel() for p in LM(cfg, (0, 1, 2, 3)).parameters())
    assert said == f"{real / 1e6:.1f}"
    assert float(gib) == pytest.approx(memory.training_bytes(cfg, 16, 500, True, True, "cuda") / memory.GIB, abs=0.05)


def test_the_scales_that_are_promised():
    sizes = {s: lm_config(compose("solver=musicgen/micro_32khz", f"model/lm/model_scale={s}", *PUBLIC))
             for s in SCALES}
    micro = sizes["micro"]
    assert (micro.dim, micro.num_heads, micro.num_layers) == (2048, 2, 2)
    counts = {s: c.parameter_count() for s, c in sizes.items()}
    between = [s for s, n in counts.items() if counts["nano"] < n < counts["micro"]]
    assert counts["debug"] < counts["nano"] and len(between) >= 2 and counts["small"] > counts["micro"]


@pytest.mark.parametrize("solver, positions", [
    ("drums/grid", "rope"), ("drums/small", "rope"), ("notes/default", "rope"), ("notes/small", "rope"),
    ("musicgen/breaks_32khz", "rope"), ("musicgen/demo_32khz", "rope"), ("musicgen/micro_32khz", None)])
def test_positions_are_those_that_were_measured_best(solver, positions):
    """docs/RUNS.md, "What blocks and regularisers are worth"; audiocraft's own recipes keep its own."""
    assert compose(f"solver={solver}").transformer_lm.positional_embedding == positions


def test_the_seeds_own_command_line_composes():
    cfg = compose(*SEED_COMMAND)
    assert (cfg.transformer_lm.dim, cfg.dataset.batch_size, cfg.optim.lr) == (2048, 3, 1e-4)
    assert cfg.optim.adam.weight_decay == 0.01 and cfg.dataset.segment_duration == 30
    assert cfg.datasource.store == "stores/jungle" and cfg.conditioners is None


def test_nothing_needs_a_cluster_a_user_or_a_team(monkeypatch):
    for name in ("USER", "HOME", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    cfg = compose(*SEED_COMMAND, "label=nobody")  # composed here, and not kept from another test
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("overrides, words", [
    (["solver=musicgen/micro_32khz", "model/lm/model_scale=huge"], SCALES),
    (["solver=musicgen/nothing"], SOLVERS),
    (["solver=musicgen/debug", "dset=audio/none"], ["audio/none", "jungle"]),
    (["solver=musicgen/debug", "optim.lrr=1"], ["optim", "lrr"]),
    (["solver=musicgen/debug", "jungle"], ["KEY=VALUE", "jungle"]),
    (["dset=audio/jungle"], ["solver=musicgen/micro_32khz"]),
])
def test_a_mistake_is_one_line_with_what_there_is_and_exit_code_2(overrides, words, capsys):
    with pytest.raises(SystemExit) as stop:
        compose(*overrides)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1 and said.startswith("error: ")
    assert [w for w in words if w not in said] == []


def test_a_setting_in_the_wrong_place_leaves_later_signatures_alone():
    good = ["solver=musicgen/debug", "optim.lr=0.5", "generate.every=3"]
    before = main.get_xp(good).sig
    with pytest.raises(SystemExit):
        main.get_xp(["solver=drums/grid", "dataset.view.augment=5"])
    assert main.get_xp(good).sig == before
