"""The solver: it stops and goes on exactly, refuses what does not fit, and learns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from audiocraft_ext import kinds
from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.export import audiocraft, bundle, sources
from audiocraft_ext.model import checkpoint
from audiocraft_ext.store.writer import StoreWriter
from audiocraft_ext.training import memory
from tests.helpers import third_kind
from tests.helpers.runs import run, solver_of
from tests.helpers.stores import make_store

pytestmark = pytest.mark.early
# Dropout draws from the global generator, three does not divide four, and two epochs have an end in between:
# whatever is left out of a checkpoint shows.
RECIPE = ("transformer_lm.dropout=0.1", "optim.updates_per_epoch=4", "optim.ema.updates=3", "optim.epochs=2",
          "schedule.lr_scheduler=cosine", "schedule.cosine.warmup=2", "generate.use=false")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store", {"a": 400, "b": 200}, {"v": 120}, loop=20).path


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """A run that was never stopped."""
    return state_of(run(tmp_path_factory.mktemp("whole"), store, *RECIPE))


def state_of(solver) -> dict:
    return checkpoint.load(solver.checkpoint_path())


def assert_same_run(a: dict, b: dict) -> None:
    """Weights, averages, best weights, optimiser, training and validation losses, bit for bit."""
    for part in ("model", ("ema", "state", "model"), ("best_state", "model")):
        left, right = a, b
        for key in (part,) if isinstance(part, str) else part:
            left, right = left[key], right[key]
        assert left.keys() == right.keys()
        assert [k for k in left if not torch.equal(left[k], right[k])] == []
    for i, slot in a["optimizer"]["state"].items():
        assert all(torch.equal(slot[k], b["optimizer"]["state"][i][k]) for k in slot)
    for stage in ("train", "valid"):
        for key in ("ce", "ce_q1", "ce_q4"):
            assert [h[stage][key] for h in a["history"]] == [h[stage][key] for h in b["history"]]


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(store, whole, tmp_path, stop_after):
    with solver_of(tmp_path, store, *RECIPE) as solver:
        update = solver.optimizer.step

        def step(*args, **kwargs):
            update(*args, **kwargs)
            if solver.updates_done + 1 == stop_after:
                os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C does

        solver.optimizer.step = step
        with pytest.raises(KeyboardInterrupt, match="checkpoint.th"):
            solver.run()
        assert solver.updates_done == stop_after
    assert_same_run(state_of(run(tmp_path, store, *RECIPE)), whole)


def stop_in_valid(solver) -> None:
    """Run ``solver`` until its first validation, and press Ctrl-C there."""
    valid = solver.valid

    def stopped():
        os.kill(os.getpid(), signal.SIGINT)
        return valid()

    solver.valid = stopped
    with pytest.raises(KeyboardInterrupt, match="checkpoint.th"):
        solver.run()


def test_a_run_that_was_stopped_in_a_validation_reports_the_whole_epoch(store, whole, tmp_path):
    with solver_of(tmp_path, store, *RECIPE) as solver:
        stop_in_valid(solver)
    assert state_of(solver)["history"] == []
    assert_same_run(state_of(run(tmp_path, store, *RECIPE)), whole)


def test_a_run_that_was_stopped_while_it_sampled(store, tmp_path):
    """It does not wait for the clips; they are made again, and the run ends as if nothing had been."""
    sampling = [*(r for r in RECIPE if not r.startswith("generate")), "generate.every=1"]
    with solver_of(tmp_path, store, *sampling) as solver:
        generate, steps = solver.generate, []

        def count(*_):
            steps.append(1)
            if len(steps) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        def stopped():
            solver.model.register_forward_pre_hook(count)
            return generate()

        solver.generate = stopped
        with pytest.raises(KeyboardInterrupt, match="checkpoint.th"):
            solver.run()
    assert len(steps) <= 6 and state_of(solver)["history"] == []
    assert_same_run(state_of(run(tmp_path, store, *sampling)), state_of(run(tmp_path / "whole", store, *sampling)))


def test_before_the_first_validation_the_average_is_what_a_run_has_to_show(store, tmp_path):
    """The best state is then what the run began with."""
    with solver_of(tmp_path, store, *RECIPE) as solver:
        stop_in_valid(solver)
    state = state_of(solver)
    taken = sources._weights_of(state, tmp_path)
    assert_same_weights(taken, state["ema"]["state"]["model"])
    with pytest.raises(AssertionError):
        assert_same_weights(taken, state["best_state"]["model"])
    with solver_of(tmp_path, store, *RECIPE, "execute_only=generate") as solver:
        solver.restore()
        sampled = []
        solver.generate = lambda: sampled.append({k: v.clone() for k, v in solver.model.state_dict().items()})
        solver.run_one_stage("generate")
    assert_same_weights(sampled[0], taken)


def assert_same_weights(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


def execute_only(stage: str, folder: Path, store: Path, *overrides: str):
    with solver_of(folder, store, *RECIPE, f"execute_only={stage}", *overrides) as solver:
        solver.restore()
        solver.run_one_stage(stage)
    return solver


def test_one_stage_of_a_trained_run(store, tmp_path):
    done = run(tmp_path, store, *RECIPE)
    before = done.checkpoint_path().read_bytes()
    solver = execute_only("generate", tmp_path, store)
    assert solver.folder == done.folder and (solver.folder / "samples" / "best" / "codes.npy").exists()
    best = min(h["valid"]["ce"] for h in done.history)
    for stage in ("valid", "evaluate"):
        solver = execute_only(stage, tmp_path, store)
        assert solver._pending_metrics[stage]["ce"] == pytest.approx(best, rel=1e-6)
    assert done.checkpoint_path().read_bytes() == before


def test_a_stage_that_there_is_not_and_a_run_that_was_not_trained(store, tmp_path):
    with pytest.raises(UserError, match="execute_only is empty or valid or evaluate or generate here, got sing"):
        execute_only("sing", tmp_path, store)
    with pytest.raises(UserError, match="needs a trained run, but there is no .*checkpoint.th"):
        execute_only("generate", tmp_path, store)


def test_a_run_starts_from_the_best_weights_of_another(store, tmp_path):
    """Named by its signature, as audiocraft writes it too, by its folder or by its checkpoint."""
    first = run(tmp_path, store, *RECIPE)
    best = state_of(first)["best_state"]["model"]
    for source in (first.xp.sig, f"//sig/{first.xp.sig}", first.folder, first.checkpoint_path()):
        with solver_of(tmp_path, store, *RECIPE, f"continue_from={source}") as solver:
            solver.restore()
            assert solver.folder != first.folder and solver.updates_done == 0 and solver.history == []
            for weights in (solver.model.state_dict(), solver.ema.state["model"], solver.best_state.states["model"]):
                assert_same_weights(dict(weights), best)
    began = run(tmp_path, store, *RECIPE, f"continue_from={first.xp.sig}").history[0]["train"]["ce_first"]
    assert began < first.history[0]["train"]["ce_first"]


@pytest.mark.parametrize("source, overrides, words", [
    ("0123abcd", (), "no run 0123abcd in .*xps"),
    ("/no/such/folder", (), "/no/such/folder: no such file or folder"),
    (None, ("transformer_lm.dim=32",), r"of this size, .*: expected \[65, 32\], got \[65, 64\]"),
    (None, ("transformer_lm.positional_embedding=rope",), "trained with transformer_lm.positional_embedding=sin, and "
     "this run has rope; set transformer_lm.positional_embedding=sin"),
    (None, ("transformer_lm.num_heads=4",), "set transformer_lm.num_heads=2"),
])
def test_what_a_run_cannot_start_from(store, tmp_path, source, overrides, words):
    source = source or run(tmp_path, store, *RECIPE).xp.sig
    with pytest.raises(UserError, match=words):
        run(tmp_path, store, *RECIPE, *overrides, f"continue_from={source}")


@pytest.mark.parametrize("damage, words", [
    (lambda path: path.write_bytes(path.read_bytes()[:5000]), "not a readable checkpoint"),
    (lambda path: torch.save({"model": pytest.raises}, path), "refused, because it holds objects of"),
])
def test_a_checkpoint_that_is_damaged_or_foreign_is_refused(store, tmp_path, damage, words):
    with solver_of(tmp_path, store, *RECIPE) as solver:
        solver.save_checkpoints(by_epoch=False)
        damage(solver.checkpoint_path())
    with pytest.raises(UserError, match=words):
        run(tmp_path, store, *RECIPE)


def test_the_history_is_the_checkpoints(store, whole, tmp_path):
    """Killed between the checkpoint and the history, or with a checkpoint that somebody took away."""
    done = run(tmp_path, store, *RECIPE)
    history = done.folder / "history.json"
    lines = history.read_text()
    history.write_text("[]")
    assert len(run(tmp_path, store, *RECIPE).history) == 2 and history.read_text() == lines
    done.checkpoint_path().unlink()
    assert_same_run(state_of(run(tmp_path, store, *RECIPE)), whole)


@pytest.mark.processes
def test_killed_three_times_at_random_moments_it_goes_on_exactly(store, tmp_path):
    """A checkpoint is written before every update, so a kill falls into an update or into a write."""
    long = (*RECIPE, "optim.updates_per_epoch=40", "optim.epochs=2")
    here = tmp_path / "killed"
    command = [sys.executable, "-m", "dora", "-P", "audiocraft_ext", "run", "solver=musicgen/debug",
               f"datasource.store={store}", "logging.log_tensorboard=false", *long,
               "checkpoint.save_minutes=1e-9"]
    env = {**os.environ, "MICRO_OUTPUTS": str(here)}
    rng = np.random.default_rng(0)
    for _ in range(3):
        before = {p: p.stat().st_mtime_ns for p in here.glob("xps/*/checkpoint.th")}
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while {p: p.stat().st_mtime_ns for p in here.glob("xps/*/checkpoint.th")} == before:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        assert process.poll() is None, "it had ended before it was killed"
        process.kill()
        process.wait()
    rest = run(here, store, *long)
    assert_same_run(state_of(rest), state_of(run(tmp_path / "whole", store, *long)))


def test_curves_and_sound_reach_tensorboard(tmp_path):
    """Both are on by default; the other tests switch them off."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    spec = get_codec("debug").spec
    data = make_store(tmp_path / "store", {"a": 400}, {"v": 120}, spec)
    solver = run(tmp_path, data.path, "logging.log_tensorboard=true", "optim.epochs=1", "generate.use=true")
    solver.tensorboard.flush()
    files = list(solver.folder.rglob("events.out.tfevents*"))
    curves, sounds = set(), set()
    for file in files:
        events = event_accumulator.EventAccumulator(str(file))
        events.Reload()
        curves |= set(events.Tags()["scalars"])
        for tag in events.Tags()["audio"]:
            sounds.add(tag)
            assert events.Audio(tag)[0].sample_rate == get_codec("debug").sample_rate
    assert "step/ce" in curves and any("generate/clip_0" in tag for tag in sounds)
    clip = sf.info(solver.folder / "samples" / "epoch_1" / "clip_0.wav")
    assert clip.duration == 0.5


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(tmp_path):
    """Also where some rows are mostly padding."""
    store = make_store(tmp_path / "store", {"a": 400, "b": 9, "c": 23}, {"v": 60}).path
    plain = [r for r in RECIPE if "dropout" not in r] + ["dataset.batch_size=4", "optim.epochs=1",
                                                         "dataset.sample_on_duration=false"]
    one = state_of(run(tmp_path / "1", store, *plain))["model"]
    two = state_of(run(tmp_path / "2", store, *plain, "optim.accumulate=2"))["model"]
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-5, rtol=1e-3)  # sums in another order, then AdamW


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(store, tmp_path):
    with solver_of(tmp_path, store, *RECIPE) as solver:
        update = solver.optimizer.step

        def step(*args, **kwargs):
            update(*args, **kwargs)
            if solver.updates_done + 1 == 5:
                with torch.no_grad():
                    solver.model.emb[0].weight.fill_(float("nan"))

        solver.optimizer.step = step
        with pytest.raises(UserError, match=r"the loss is nan .* at update 6; .*checkpoint.th"):
            solver.run()
    state = state_of(solver)
    assert len(state["history"]) == 1 and all(torch.isfinite(w).all() for w in state["model"].values())


def test_going_on_under_other_settings_is_refused_by_name(store, tmp_path):
    run(tmp_path, store, *RECIPE)

    def edit(cfg):  # as if somebody had edited a default in configs/: the signature stays
        cfg.optim.lr = 7e-4
        cfg.transformer_lm.dropout = 0.2

    with pytest.raises(UserError, match="optim.lr was 0.001, is 0.0007; transformer_lm.dropout was 0.1, is 0.2"):
        run(tmp_path, store, *RECIPE, change=edit)


def test_going_on_with_other_data_is_refused(tmp_path):
    first = make_store(tmp_path / "store", {"a": 200}, {"v": 100})
    run(tmp_path, first.path, *RECIPE)
    for file in first.path.iterdir():
        file.unlink()
    make_store(first.path, {"a": 200}, {"v": 100}, seed=1)
    with pytest.raises(UserError, match="another token store"):
        run(tmp_path, first.path, *RECIPE)


@pytest.mark.parametrize("override, words", [
    ("codec=encodec_32khz", "was made by the codec debug, the config names codec=encodec_32khz"),
    ("transformer_lm.card=2048", "transformer_lm.card=2048, but the store .* has card=64"),
    ("transformer_lm.n_q=8", "transformer_lm.n_q=8, but the store .* has n_q=4"),
    ("codebooks_pattern.delay.delays=[0,1]", "expected 4 delays"),
    ("codebooks_pattern.modeling=unroll", "'delay' or 'parallel', got 'unroll'"),
    ("dataset.segment_duration=0.001", "shorter than one frame"),
    ("dataset.batch_size=1000000", "dataset.batch_size="),
    ("optim.optimizer=dadam", "optim.optimizer is adamw or adam or adamw8bit or muon here, got dadam"),
    ("optim.optimizer=sgd", "optim.optimizer is adamw or adam or adamw8bit or muon here, got sgd"),
    ("schedule.lr_scheduler=noam", "schedule.lr_scheduler is empty or step or cosine or linear_warmup here, got noam"),
    ("schedule.lr_scheduler=step", "needs a number for schedule.step.step_size"),
    ("device=tpu", "device is auto or cpu or cuda here, got tpu"),
    ("autocast_dtype=float8", "autocast_dtype is bfloat16 or float16 here, got float8"),
    ("fsdp.use=true", "fsdp.use is False here, got True"),
    ("profiler.enabled=true", "profiler.enabled is False here, got True"),
    ("benchmark_no_load=true", "benchmark_no_load is False here, got True"),
    pytest.param("device=cuda", "torch finds no CUDA device", marks=pytest.mark.skipif(torch.cuda.is_available(),
                                                                                     reason="there is one")),
])
def test_what_does_not_fit_the_data_or_the_machine_is_refused_at_once(store, tmp_path, override, words):
    with pytest.raises(UserError, match=words):
        run(tmp_path, store, override)


def test_the_batch_can_be_chosen_by_the_machine_and_stays_chosen(store, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: memory.GIB // 8)
    with pytest.raises(UserError, match="not even one clip fits"):
        run(tmp_path, store, "dataset.batch_size=auto", *RECIPE)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 32 * memory.GIB)
    first = run(tmp_path, store, "dataset.batch_size=auto", *RECIPE)
    assert first.cfg.dataset.batch_size == 64
    (first.folder / "auto_batch_size").write_text("3")
    with pytest.raises(UserError, match="dataset.batch_size was 64, is 3"):
        run(tmp_path, store, "dataset.batch_size=auto", *RECIPE)


def test_generation_has_a_switch_that_holds_in_the_last_epoch(store, tmp_path):
    assert not (run(tmp_path / "off", store, *RECIPE).folder / "samples").exists()
    on = run(tmp_path / "on", store, *RECIPE[:-1], "generate.every=1")
    assert {p.name for p in (on.folder / "samples").iterdir()} == {"epoch_1", "epoch_2"}


def test_the_parallel_pattern_trains_too(store, tmp_path):
    solver = run(tmp_path, store, *RECIPE, "codebooks_pattern.modeling=parallel")
    assert solver.spec.delays == (0, 0, 0, 0) and state_of(solver)["identity"]["spec"]["delays"] == [0, 0, 0, 0]


@pytest.mark.parametrize("n_q", [1, 2, 8])
def test_the_delays_are_the_stores(tmp_path, n_q):
    spec = Spec("audio", n_q, 64, 50.0, (0, *range(2, n_q + 1)), "debug", "0" * 16)
    solver = run(tmp_path, make_store(tmp_path / "store", {"a": 200}, {"v": 60}, spec).path, *RECIPE)
    assert solver.model.delays == spec.delays
    assert audiocraft.delays(checkpoint.config_of(state_of(solver)), n_q) == spec.delays


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing on its valid side"):
        run(tmp_path, make_store(tmp_path / "store", {"a": 200}, {}).path, *RECIPE)


def test_a_kept_copy_says_whose_it_is(store, tmp_path):
    solver = run(tmp_path, store, *RECIPE, "checkpoint.save_every=1", "checkpoint.keep_every_states=[best_state]")
    for epoch in (1, 2):
        kept = checkpoint.load(solver.epoch_checkpoint_path(epoch))
        assert kept.keys() == {"best_state", "xp.cfg", "xp.sig", "identity"}
        assert_same_weights(sources._weights_of(kept, tmp_path), kept["best_state"]["model"])


def test_it_learns_a_loop_far_below_what_frequencies_tell(tmp_path):
    """One loop of 16 frames, on both sides: the validation loss falls under half of the unigram loss."""
    from audiocraft_ext.store import baseline

    data = make_store(tmp_path / "store", {"a": 800}, {"b": 200}, loop=16, one_loop=True)
    solver = run(tmp_path, data.path, "optim.updates_per_epoch=60", "optim.epochs=1", "generate.use=false",
                 "optim.lr=3e-3", "optim.ema.use=false", "dataset.batch_size=4")
    assert solver.history[-1]["valid"]["ce"] < 0.5 * baseline.unigram_loss(data).mean()


def test_a_third_kind_is_trained_and_played(tmp_path, monkeypatch):
    """All that it takes is a module and a line in the table."""
    monkeypatch.setitem(kinds.KINDS, third_kind.NAME, third_kind.MODULES)
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", third_kind.SPEC, {}) as writer:
        for split in (TRAIN, VALID):
            writer.add(split, split, rng.integers(0, 8, (2, 200)).astype(np.uint16))
        writer.finish()
    solver = run(tmp_path / "runs", tmp_path / "store", "transformer_lm.dim=16", "dataset.segment_duration=10",
                 "optim.updates_per_epoch=2", "optim.epochs=1", "generate.num_samples=2", "generate.lm.gen_duration=3")
    texts = [path.read_text() for path in sorted((solver.folder / "samples" / "epoch_1").glob("clip_*.txt"))]
    assert [len(text) for text in texts] == [24, 24] and set("".join(texts)) <= set("abcdefgh")
    bundle.main([str(solver.checkpoint_path()), str(tmp_path / "bundle")])
    player = kinds.player(tmp_path / "bundle", threads=1)
    (clip,) = player.play(player.recipe(12, seed=1), [0])
    assert player.bundle.codec_config == third_kind.CONFIG and len(clip.text) == 24
