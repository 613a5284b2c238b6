"""Settings outside of their ranges are refused in one line that names the key, before anything is built."""

import math
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from audiocraft_ext import train
from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.runs.identity import flatten
from audiocraft_ext.runs.overrides import how_to_quote
from audiocraft_ext.training import settings

OPTIONS = Path(__file__).parents[2] / "docs" / "OPTIONS.md"
NO_RANGE = {"sample_rate", "channels"}  # what a codec says, and audiocraft asks for


def composed(*overrides: str):
    return train.main.get_xp(["solver=musicgen/debug", *overrides]).cfg


@pytest.fixture(scope="module")
def good():
    return OmegaConf.to_container(composed())


@pytest.mark.parametrize("key, value", [
    ("dataset.batch_size", 0), ("dataset.batch_size", 1e3), ("dataset.batch_size", "many"),
    ("dataset.batch_size", True),
    ("optim.lr", math.nan), ("optim.lr", math.inf), ("optim.lr", 0), ("optim.lr", -1e-4), ("optim.lr", "1e-4x"),
    ("seed", -1), ("seed", 2**64), ("seed", 1.5), ("seed", None), ("optim.accumulate", 0),
    ("transformer_lm.dropout", 2), ("transformer_lm.dropout", 1), ("transformer_lm.dim", 0), ("optim.max_norm", -1),
    ("optim.ema.decay", 2), ("optim.ema.decay", 1), ("optim.adam.weight_decay", "abc"), ("optim.adam.betas", [0.9]),
    ("optim.adam.betas", [0.9, 1]), ("optim.adam.betas", 0.9), ("num_threads", 0), ("num_threads", "all"),
    ("optim.epochs", 0), ("optim.updates_per_epoch", 0), ("optim.adam.eps", 0), ("generate.lm.temp", -1),
    ("dataset.train.share", 0), ("dataset.segment_duration", 0), ("schedule.cosine.lr_min_ratio", 2),
    ("generate.use", "maybe"), ("optim.ema.use", 1), ("slurm.time", 0)])
def test_a_setting_outside_of_its_range_is_named(key, value, good):
    cfg = OmegaConf.create(good)
    settings.check(cfg)
    OmegaConf.update(cfg, key, value)
    with pytest.raises(UserError, match=rf"^{key}: expected .*, got "):
        settings.check(cfg)


@pytest.mark.parametrize("key, value", [
    ("seed", 0), ("seed", 2**64 - 1), ("dataset.batch_size", "auto"), ("optim.max_norm", 0), ("num_threads", "auto"),
    ("optim.lr", 1), ("dataset.train.share", 1), ("optim.adam.weight_decay", 0), ("transformer_lm.dropout", 0)])
def test_the_edges_of_a_range_are_in_it(key, value, good):
    cfg = OmegaConf.create(good)
    OmegaConf.update(cfg, key, value)
    settings.check(cfg)


@pytest.mark.parametrize("solver", ["musicgen/micro_32khz", "musicgen/musicgen_base_32khz", "drums/small"])
def test_every_number_of_a_recipe_has_a_range_and_is_in_it(solver):
    cfg = train.main.get_xp([f"solver={solver}"]).cfg
    settings.check(cfg)
    flat = flatten(OmegaConf.to_container(cfg, resolve=True))
    numbers = {key for key, value in flat.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    assert numbers - set(settings.RANGES) - NO_RANGE == set()


def test_a_run_ends_with_the_line_before_there_is_anything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train.main.dora, "dir", tmp_path)
    cfg = composed("seed=-1", "datasource.store=/nowhere")
    with pytest.raises(SystemExit) as stop:
        run_cli(lambda: train.run(cfg), leave=False)
    assert stop.value.code == 2 and not list(tmp_path.rglob("*"))
    assert capsys.readouterr().err == "error: seed: expected a whole number from 0 to 2**64 - 1, got -1\n"


@pytest.mark.parametrize("text", ["4,2", "0", "-1", "many", "2.5", "٣"])
def test_threads_that_are_no_number(text, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    with pytest.raises(UserError, match="^OMP_NUM_THREADS: expected a whole number from 1 on, got "):
        train.resolve(composed("num_threads=auto", "datasource.store=x"))


def test_the_docs_have_the_table():
    assert "\n".join(settings.rows()) in OPTIONS.read_text(), "python -m audiocraft_ext.training.settings makes it"


@pytest.mark.parametrize("value", ["/tmp/jungle[1]", "a(1)", "/tmp/a, b", "a=b", "it's", "{x", "my (run), 2"])
def test_an_error_says_how_to_quote_and_that_works(value, capsys):
    with pytest.raises(SystemExit):
        composed(f"label={value}")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "hydra.cc" not in said
    (advice,) = shlex.split(said.rpartition(" is meant as it is, write ")[2])
    assert composed(advice).label == value


def test_a_label_with_a_space_is_taken():
    assert composed("label=my run").label == "my run" and not how_to_quote(["label=run", "optim.adam.betas=[0.9,0.95]"])


@pytest.mark.parametrize("signature", ["6e123456", "01234567", "12345678", "1234567e"])
def test_a_signature_is_no_number(signature):
    """Hydra would read 6e123456 as infinity."""
    assert composed(f"continue_from={signature}").continue_from == signature
