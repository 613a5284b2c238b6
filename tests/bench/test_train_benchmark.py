"""The training benchmark, on toys: both solvers are real, the table is whole, what it counts is right."""

from __future__ import annotations

import json

import pytest
import torch

import audiocraft_ext.compat  # noqa: F401  isort: skip
from audiocraft.solvers.musicgen import MusicGenSolver

from audiocraft_ext.audio.codec.encodec import EncodecConfig
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.lm import LM, LMConfig
from benchmarks.common import audiocraft_solver, products
from benchmarks.training import train

# audiocraft says sorry in its training step, and averages a loss that still has its graph
pytestmark = pytest.mark.filterwarnings("ignore:Up to version 1.0.1", "ignore:Converting a tensor with requires_grad")
TINY = EncodecConfig(n_filters=2, dimension=8, lstm=1)  # 4 codebooks of 2048 at 50 Hz, as the public one


peers = pytest.mark.peers  # audiocraft's solver is at work


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What ``--quick`` saves and prints at debug scale, and how often each part of audiocraft's was at work."""
    calls: list[tuple[str, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CODEC", TINY)
        patch.setitem(products.SIDE, "cpu", 64)
        step = MusicGenSolver.run_step

        def counted(self, idx, batch, metrics):
            encode, encoded = self.compression_model.encode, []
            self.compression_model.encode = lambda wav: encoded.append(wav.shape) or encode(wav)
            metrics = step(self, idx, batch, metrics)
            del self.compression_model.encode
            calls.append(("from audio", *encoded) if encoded else ("from the cache", float(metrics["ce"].detach())))
            return metrics

        patch.setattr(MusicGenSolver, "run_step", counted)
        saved = tmp_path_factory.mktemp("bench") / "bench.json"
        train.main(["--device", "cpu", "--quick", "--scales", "debug", "--save", str(saved)])
    return json.loads(saved.read_text())["train"]["results"], calls


@peers
def test_all_ways_are_measured(ran):
    results, _ = ran
    (block,) = results["scales"]["debug"]
    assert [name for name in block["update_s"] if name != train.OURS_HALF] == [train.FLOOR, train.OURS, train.CACHED,
                                                                                train.ENCODING]
    assert all(0 < s["min"] <= s["median"] <= s["max"] for s in block["update_s"].values())
    assert (block["tokens"], block["parameters"], results["precision"]) == (2 * 50 * 4, 1147776, "fp32")
    median = {name: s["median"] for name, s in block["update_s"].items()}
    assert block["ratios"]["encoding"] == pytest.approx(median[train.ENCODING] / median[train.OURS])
    assert block["ratios"]["floor"] == pytest.approx(median[train.OURS] / median[train.FLOOR])


@peers
def test_audiocrafts_solver_encodes_or_reads_its_cache(ran):
    """In two turns of two updates each way; a model that trained on what the cache holds has a finite loss near that
    of chance."""
    _, calls = ran
    assert [call for call in calls if call[0] == "from audio"] == [("from audio", (2, 1, 32_000))] * 4
    cached = [loss for kind, loss in calls if kind == "from the cache"]
    assert len(cached) == 4 and all(6 < loss < 9 for loss in cached)


def test_the_table(capsys):
    ms = {"min": 0.1, "median": 0.2, "max": 0.3}
    block = {"parameters": 134_200_000, "batch": 3, "seconds": 5.0, "tokens": 3000, "at_peak_s": 0.05,
             "update_s": {train.FLOOR: {"min": 0.1, "median": 0.1, "max": 0.1}, train.OURS: ms,
                          train.CACHED: None, train.ENCODING: {"min": 0.3, "median": 0.5, "max": 0.6}}}
    plan = train.Plan("cpu", ("micro",), (3,), 5.0, 1, 2)
    train.report("micro", block, plan)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "micro, 134.2 M parameters, 3 x 5 s: 3000 tokens an update"
    assert lines[4].split() == "ours, token store 15000 100.0 200.0 300.0 25.0 % 2.00".split()
    assert lines[5].endswith("does not fit") and lines[7] == "ours is 2.50x audiocraft with EnCodec in the loop"
    assert lines[8] == "target: at least 2x audiocraft with EnCodec in the loop; 2.50, reached"
    assert lines[9] == "target: at most 1.3x the time of the matrix products; 2.00, missed"
    gpu = train.Plan("cuda", ("micro",), (3,), 30.0, 1, 2)
    words = [*train.targets("micro", block, train.ratios(block), gpu),
             *train.targets("micro", block | {"largest": True}, train.ratios(block), gpu)]
    assert words == ["target: at least 5x audiocraft with EnCodec in the loop; 2.50, missed",
                     "target: at least 0.4 of the bf16 peak at the largest batch; 0.25, missed"]
    assert not [*train.targets("nano", block, train.ratios(block), plan)]


def test_the_arithmetic_is_that_of_the_products():
    """Counted by torch in a forward and a backward pass. It counts all of attention's square; the mask needs half."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    size, frames = LMConfig(n_q=4, card=64, dim=32, num_heads=2, num_layers=2), 40
    model = LM(size, (0, 0, 0, 0))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.randint(0, 64, (2, 4, frames))).sum().backward()
    attention = 6 * 2 * frames * frames * size.dim * size.num_layers
    norms = 6 * 2 * frames * (2 * size.num_layers + 1) * 2 * size.dim  # weights that no product has
    assert products.arithmetic(size, 2, frames) == counter.get_total_flops() - attention + norms


@peers
def test_the_cache_is_what_was_written(tmp_path, monkeypatch):
    """Its codes are those of the clips that they came with, and an update leaves no trace of the way it was fed."""
    monkeypatch.setattr(train, "CODEC", TINY)
    plan = train.Plan("cpu", ("debug",), (2,), 0.4, 1, 2)
    audiocraft_solver.write_data(tmp_path, TINY, 1.0)
    ours = train.our_solver(tmp_path, "debug", 2, plan)
    size = train.size_of("debug")
    theirs = audiocraft_solver.build(tmp_path, audiocraft_solver.config(tmp_path, size, ours.cfg, 1))
    audiocraft_solver.write_cache(theirs, tmp_path / "cache", 2)
    audiocraft_solver.use_cache(theirs, tmp_path / "cache")
    theirs.dataloaders["train"].start_epoch(7)  # any epoch has the same
    batches = list(theirs.dataloaders["train"])
    assert len(batches) == 2 and all(len(infos) == 2 for (infos,) in batches)
    for (infos,) in batches:
        for info in infos:
            assert info.audio_tokens.shape == (4, 20) and info.audio_tokens.max() < 2048 and info.self_wav is None
    assert sum(p.numel() for p in theirs.model.parameters()) == sum(p.numel() for p in ours.model.parameters())
    audiocraft_solver.use_cache(theirs, None)
    assert set(theirs.dataloaders) == {"train", "valid"} and theirs._cached_batch_loader is None


def test_the_largest_batch_is_looked_for(monkeypatch, tmp_path):
    """Beyond 45 clips the device has no room, beyond 60 the solver refuses."""
    def turn(batch: int, plan: train.Plan) -> float:
        if batch > 45:
            raise UserError("it does not fit") if batch > 60 else torch.cuda.OutOfMemoryError()
        return 0.1

    monkeypatch.setattr(train, "our_solver", lambda folder, scale, batch, plan: batch)
    monkeypatch.setattr(train, "clean", lambda: None)
    monkeypatch.setattr(train, "turn", turn)
    plan = train.Plan("cpu", ("debug",), (3,), 30.0, 1, 10)
    assert 40 <= train.largest(tmp_path, "debug", plan) <= 45
    monkeypatch.setattr(train, "turn", lambda batch, plan: 0.1)
    assert train.largest(tmp_path, "debug", plan) == train.MOST
    monkeypatch.setattr(train, "turn", lambda batch, plan: turn(100, plan))
    assert train.largest(tmp_path, "debug", plan) == 0


@peers
def test_what_does_not_fit_is_reported(monkeypatch, tmp_path, capsys):
    """audiocraft's solver beside ours; all of a batch."""
    def too_large(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(train, "CODEC", TINY)
    monkeypatch.setitem(products.SIDE, "cpu", 64)
    monkeypatch.setattr(train, "their_ways", too_large)
    plan = train.Plan("cpu", ("debug",), (1,), 0.4, 1, 2)
    (block,) = train.run(plan, tmp_path)["scales"]["debug"]
    assert block["update_s"][train.ENCODING] is None and "encoding" not in block["ratios"]
    monkeypatch.setattr(train, "our_solver", too_large)
    (tmp_path / "more").mkdir()
    assert train.run(plan, tmp_path / "more")["scales"]["debug"] == []
    out = capsys.readouterr().out
    assert "EnCodec in the loop   does not fit" in out and "debug, 1 x 0.4 s: CUDA out of memory." in out


@pytest.mark.parametrize("args, what", [
    (["--scales", "debug,huge"], "--scale is one of"), (["--batches", "1,x"], "--batches is a list"),
    (["--batches", "0"], "--batches is a list"), (["--seconds", "0.1"], "--seconds is from"),
])
def test_bad_values(args, what):
    with pytest.raises(UserError, match=what):
        train.main(["--device", "cpu", *args])


def test_says_what_it_needs():
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="needs a GPU with CUDA"):
            train.main(["--device", "cuda"])


@pytest.mark.gpu
def test_on_a_gpu(capsys):
    """All of the path on CUDA, the search for the largest batch too, at debug scale."""
    train.main(["--device", "cuda", "--quick", "--scales", "debug"])
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    first, most = results["scales"]["debug"]
    assert results["precision"] == "bf16" and most["largest"] and most["batch"] > first["batch"]
    assert set(first["update_s"]) - {train.OURS_HALF} == {train.FLOOR, train.OURS, train.CACHED, train.ENCODING}
