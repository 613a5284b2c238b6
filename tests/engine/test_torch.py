"""The torch backend: its loop against the plain one, its sampling against numpy's, what a CUDA graph may hold."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.sampling import Sampling, sample
from audiocraft_ext.engine.torch import loop as loop_module
from audiocraft_ext.engine.torch import static_lm
from audiocraft_ext.engine.torch.loop import TorchLoop, TorchStepper, load, pick_device, pick_precision
from audiocraft_ext.engine.torch.sampling import TorchSampler
from audiocraft_ext.engine.torch.static_lm import span_of
from audiocraft_ext.model.lm import LMConfig
from tests.helpers import tiny

GREEDY, DRAWN = Sampling(temperature=0), Sampling(top_k=50)
MIXED = Sampling(temperature=(1.0, 0.0, 1.3, 0.7), top_k=(30, 0, 3, 1000), top_p=(1.0, 0.5, 0.9, 0.6), min_p=0.02)
BIASED = LMConfig(n_q=3, card=50, dim=48, num_heads=3, num_layers=1, bias_attn=True, bias_ff=True, bias_proj=True)


def task(batch=2, frames=30, delays=(0, 1, 2, 3), known=0, holes=False, seed=0, card=96):
    """A sequence to fill with its uniforms; ``known`` frames are given, and with ``holes`` some of the others too."""
    random = np.random.default_rng(seed)
    codes = np.full((batch, len(delays), frames), -1)
    codes[..., :known] = random.integers(0, card, (batch, len(delays), known))
    if holes:
        given = random.random(codes.shape) < 0.3
        codes[given] = random.integers(0, card, given.sum())
        codes[0, 1] = random.integers(0, card, frames)  # a whole stream
    sequence = delay(codes, delays, card)
    first = 1 + int(np.flatnonzero((sequence == -1).any((0, 1)))[0]) - 1
    return sequence, random.random((batch, sequence.shape[-1], len(delays))), first


def plain(model, sequence, uniforms, first, sampling):
    """Step by step, with the logits on the host."""
    sequence, stepper = sequence.copy(), TorchStepper(model)
    stepper.start(len(sequence), sequence.shape[-1])
    logits = stepper.step(sequence[..., :first])
    for s in range(first, sequence.shape[-1]):
        drawn, frame = sample(logits, sampling, uniforms[:, s]), sequence[..., s]
        frame[frame == -1] = drawn[frame == -1]
        logits = stepper.step(sequence[..., s : s + 1])
    return sequence


def looped(loop, sequence, uniforms, first, sampling):
    sequence = sequence.copy()
    *_, last = loop.run(sequence, uniforms, first, sampling)
    assert last == sequence.shape[-1] - 1
    return sequence


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm()


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, MIXED], ids=str)
@pytest.mark.parametrize("how", [dict(batch=1), dict(batch=3), dict(batch=3, holes=True), dict(known=12),
                                 dict(known=5, holes=True, delays=(0, 0, 4, 7)), dict(delays=(0, 0, 0, 0)),
                                 dict(frames=1)], ids=str)
def test_the_loop_gives_what_the_plain_one_gives(lm, how, sampling):
    job = task(**how)
    want = plain(lm, *job, sampling)
    assert want.min() >= 0
    np.testing.assert_array_equal(looped(TorchLoop(lm, "cpu"), *job, sampling), want)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_clip_is_the_same_alone_and_in_a_batch_when_idle_rows_fill_it_up(lm, precision):
    sequence, uniforms, first = task(batch=10, frames=140, known=20)
    loop = TorchLoop(lm, "cpu", precision, rows=10)
    whole = looped(loop, sequence, uniforms, first, DRAWN)
    for clips in (slice(0, 1), slice(7, 10), slice(2, 8)):
        np.testing.assert_array_equal(looped(loop, sequence[clips], uniforms[clips], first, DRAWN), whole[clips])
    loop.start(3, 10)
    assert loop.step(sequence[:3, :, :10]).shape == (3, 4, 96) and loop._room[0] == 10


def test_more_clips_than_rows(lm):
    job, loop = task(batch=6), TorchLoop(lm, "cpu", rows=4)
    np.testing.assert_array_equal(looped(loop, *job, DRAWN), plain(lm, *job, DRAWN))
    assert loop._room[0] == 8


def test_another_size_with_every_bias():
    model = tiny.tiny_lm(BIASED, (0, 1, 2))
    job = task(delays=(0, 1, 2), card=50, holes=True)
    np.testing.assert_array_equal(looped(TorchLoop(model, "cpu"), *job, DRAWN), plain(model, *job, DRAWN))


def test_many_spans_and_chunks_of_a_prompt(lm, monkeypatch):
    monkeypatch.setattr(static_lm, "SMALLEST", 8)
    monkeypatch.setattr(static_lm, "LARGEST", 32)
    monkeypatch.setattr(loop_module, "PREFILL", 10)
    assert [span_of(n) for n in (1, 8, 9, 16, 17, 33, 64, 65)] == [8, 8, 16, 16, 32, 64, 64, 96]
    for known in (0, 1, 10, 11, 45):
        job = task(frames=70, known=known)
        np.testing.assert_array_equal(looped(TorchLoop(lm, "cpu"), *job, DRAWN), plain(lm, *job, DRAWN))


def test_a_span_holds_every_step_before_it():
    spans = [span_of(n) for n in range(1, 5000)]
    assert all(span >= n for n, span in enumerate(spans, 1)) and spans == sorted(spans)
    assert sorted(set(spans)) == [128, 256, 512, 1024, 2048, 3072, 4096, 5120]


def test_one_loop_for_one_batch_after_another(lm):
    """Larger, smaller, longer, shorter, other settings: nothing of what was before is left."""
    loop = TorchLoop(lm, "cpu")
    for seed, (batch, frames, sampling) in enumerate([(2, 30, DRAWN), (2, 30, DRAWN), (2, 20, MIXED), (3, 20, MIXED),
                                                      (3, 140, MIXED), (1, 10, GREEDY), (1, 10, DRAWN)]):
        job = task(batch, frames, seed=seed)
        np.testing.assert_array_equal(looped(loop, *job, sampling), looped(TorchLoop(lm, "cpu"), *job, sampling))


def test_fills_chunk_by_chunk(lm):
    sequence, uniforms, first = task(frames=80)
    want = looped(TorchLoop(lm, "cpu"), sequence, uniforms, first, DRAWN)
    last = 0
    for s in TorchLoop(lm, "cpu").run(sequence, uniforms, first, DRAWN):
        assert last < s <= last + loop_module.CHUNK
        np.testing.assert_array_equal(sequence[..., : s + 1], want[..., : s + 1])
        assert s + 1 == sequence.shape[-1] or (sequence[..., s + 1 :] == -1).any()
        last = s


def test_is_a_stepper_too(lm):
    sequence = plain(lm, *task(), DRAWN)
    a, b = TorchStepper(lm), TorchLoop(lm, "cpu")
    for stepper in (a, b):
        stepper.start(2, sequence.shape[-1])
    for start, end in ((0, 7), (7, 8), (8, 20)):
        x, y = (stepper.step(sequence[..., start:end]) for stepper in (a, b))
        assert x.dtype == y.dtype == np.float32 and np.abs(x - y).max() < 1e-5  # two orders of adding up
    assert b.cache_bytes(100) == 4 * 2 * 2 * 64 * 128


@torch.inference_mode()
def test_logits_of_many_steps(lm):
    sequence = plain(lm, *task(), DRAWN)
    want = lm(torch.from_numpy(sequence)).transpose(1, 2).numpy()  # [B, S, K, card]
    for stepper in (TorchStepper(lm), TorchLoop(lm, "cpu"), TorchLoop(lm, "cpu", rows=3)):
        stepper.start(2, sequence.shape[-1])
        got = np.concatenate([stepper.logits(sequence[..., :10]), stepper.logits(sequence[..., 10:])], axis=1)
        assert got.shape == want.shape and got.dtype == np.float32 and np.abs(got - want).max() < 1e-5


@pytest.mark.parametrize("precision, most", [("bf16", 0.06), ("fp16", 0.01)])  # measured: 0.018 and 0.0028
def test_lower_precisions_are_near(lm, precision, most):
    sequence = plain(lm, *task(), DRAWN)
    a, b = TorchLoop(lm, "cpu", "fp32"), TorchLoop(lm, "cpu", precision)
    for loop in (a, b):
        loop.start(2, sequence.shape[-1])
    x, y = a.step(sequence), b.step(sequence)
    assert 0 < np.abs(x - y).max() / x.std() < most
    assert b.cache_bytes(100) == a.cache_bytes(100) // 2
    codes = looped(b, *task(), DRAWN)
    assert codes.min() >= 0 and codes[:, :, 4:-4].max() < 96


def test_weights_that_are_no_numbers_are_refused():
    model = tiny.tiny_lm()
    model.linears[2].weight[5, 3] = torch.nan
    loop = TorchLoop(model, "cpu")
    with pytest.raises(UserError, match="not finite in fp32"):
        looped(loop, *task(), DRAWN)
    model.linears[2].weight[5, 3] = 0  # and a NaN in the cache of a clip is not in the next
    with torch.inference_mode():
        loop.lm.cache.fill_(torch.nan)
        loop.lm.heads.copy_(torch.cat([head.weight for head in model.linears]))
    np.testing.assert_array_equal(looped(loop, *task(), DRAWN), plain(model, *task(), DRAWN))


@pytest.mark.parametrize("sampling", [
    DRAWN, GREEDY, MIXED, Sampling(), Sampling(top_k=0), Sampling(top_p=0.8), Sampling(top_k=0, top_p=0.9),
    Sampling(min_p=0.05), Sampling(top_k=(0, 5, 9, 2), top_p=(0.9, 1, 1, 0.5)), Sampling(0.5, 40, 0.7, 0.01),
    Sampling(temperature=1e-50), Sampling(top_k=1)], ids=str)
@pytest.mark.parametrize("card", [7, 96, 2048])
def test_draws_as_numpy_does(sampling, card):
    random = np.random.default_rng(card)
    logits = (random.standard_normal((200, 4, card)) * 2).astype(np.float32)
    logits[::3] = logits[::3].round()  # many ties
    logits[1::3, :, card // 2 :] = -np.inf
    uniforms = random.random((200, 4))
    uniforms[:3], uniforms[3:6] = 0, np.nextafter(1, 0)
    sampler = TorchSampler(sampling, 4, card, torch.device("cpu"))
    codes = sampler.sample(torch.from_numpy(logits), torch.from_numpy(uniforms))
    assert codes.dtype == torch.int64
    np.testing.assert_array_equal(codes.numpy(), sample(logits, sampling, uniforms))


def test_draws_as_numpy_does_on_the_borders():
    """Uniforms that are the border of two codes to the last bit, and codes that have top_p to the last bit."""
    def both(logits, sampling, uniforms):
        sampler = TorchSampler(sampling, logits.shape[1], logits.shape[2], torch.device("cpu"))
        codes = sampler.sample(torch.from_numpy(logits), torch.from_numpy(uniforms))
        np.testing.assert_array_equal(codes.numpy(), sample(logits, sampling, uniforms))
        return codes.flatten().tolist()

    uniforms = np.arange(8)[:, None] / 8
    assert both(np.zeros((8, 1, 4), np.float32), Sampling(top_k=0), uniforms) == [0, 0, 1, 1, 2, 2, 3, 3]
    row = np.array([[[0, -1]]], np.float32)
    enough = 1 / float(np.exp(row).sum())
    assert both(np.repeat(row, 8, 0), Sampling(top_p=enough), uniforms) == [0] * 8


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("sampling", [DRAWN, GREEDY, MIXED, Sampling(top_k=0, top_p=0.5, min_p=0.1)], ids=str)
def test_a_step_has_nothing_that_a_cuda_graph_cannot_hold(lm, sampling):
    """No number read back, none sent over, no shape that depends on values; on a GPU the capture would fail."""
    loop = TorchLoop(lm, "cpu", "bf16")
    looped(loop, *task(frames=5), sampling)
    with torch.inference_mode():
        loop._at.fill_(3)
        with Operations() as seen:
            loop._loop_step(128)
    forbidden = ("_local_scalar_dense", "item", "lift", "scalar_tensor", "nonzero", "masked_select", "to.device",
                 "_to_copy", "where.Scalar", "index.Tensor", "index_put", "multinomial", "arange", "unique")
    assert len(seen.names) > 20 and not [n for n in seen.names if any(f in n for f in forbidden)], seen.names


@pytest.mark.parametrize("options", [
    dict(positional_embedding="rope", window=16, attention="gqa", kv_heads=1, norm="rms", ffn="swiglu"),
    dict(positional_embedding="rope", window=16, attention="mla", ffn="moe", moe=dict(routed=3, top_k=2, width=32)),
], ids=["window", "latents and experts"])
def test_a_step_of_other_blocks_has_nothing_either(options):
    """Beside what becomes another type or counts up, on the device."""
    lm = tiny.tiny_lm(LMConfig(n_q=4, card=96, dim=32, num_heads=2, num_layers=1, **options))
    loop = TorchLoop(lm, "cpu", "bf16")
    looped(loop, *task(frames=5), GREEDY)
    with torch.inference_mode():
        loop._at.fill_(3)
        with Operations() as seen:
            loop._loop_step(loop.lm.span(128))
    forbidden = ("_local_scalar_dense", "item", "lift", "scalar_tensor", "nonzero", "masked_select", "to.device",
                 "where.Scalar", "index.Tensor", "index_put", "multinomial", "unique")
    assert len(seen.names) > 20 and not [n for n in seen.names if any(f in n for f in forbidden)], seen.names


def test_graphs_are_captured_behind_a_warm_up_and_played(lm, monkeypatch):
    """The bookkeeping, with graphs that are none: what runs under capture is undone, a replay runs it."""
    loop = TorchLoop(lm, "cpu")
    eager, captured, played = [], [], []

    class Graph:
        def replay(self):
            played.append(self.span)
            real(self.span)

        def pool(self):
            return "the pool"

    @contextlib.contextmanager
    def capture(graph, pool, stream, capture_error_mode):
        assert pool == ("the pool" if loop._graphs else None) and capture_error_mode == "thread_local"
        buffers = [loop._at, loop._sequence, loop.lm.cache]
        before = [buffer.clone() for buffer in buffers]
        yield
        graph.span = eager.pop()
        captured.append(graph.span)
        for buffer, value in zip(buffers, before):
            buffer.copy_(value)

    real = loop._loop_step
    monkeypatch.setattr(loop, "_loop_step", lambda span: (eager.append(span), real(span)))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(static_lm, "SMALLEST", 8)
    loop.capture = True
    want = plain(lm, *task(frames=40), DRAWN)
    np.testing.assert_array_equal(looped(loop, *task(frames=40), DRAWN), want)
    assert captured == [8, 16, 32, 64] and eager == [8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    assert len(eager) + len(played) == 43
    eager.clear(), played.clear()
    np.testing.assert_array_equal(looped(loop, *task(frames=40), DRAWN), want)
    assert not eager and len(played) == 43 and len(captured) == 4  # a second batch has only replays
    np.testing.assert_array_equal(looped(loop, *task(frames=40), GREEDY), plain(lm, *task(frames=40), GREEDY))
    assert len(captured) == 8  # other settings are other graphs


@pytest.mark.parametrize("half", [False, True])
def test_loads_a_bundle(tmp_path, lm, half):
    loop = load(Bundle(tiny.tiny_bundle(tmp_path / "tiny", half=half)), "cpu")
    assert loop.precision == "fp32" and loop.device.type == "cpu" and not loop.capture
    if not half:
        np.testing.assert_array_equal(looped(loop, *task(), DRAWN), plain(lm, *task(), DRAWN))


def test_refuses_another_model(tmp_path, lm):
    bundle = Bundle(tiny.tiny_bundle(tmp_path / "tiny"))
    bundle.lm = replace(bundle.lm, num_layers=3)
    with pytest.raises(UserError, match="not the weights that model.json describes, 8 tensors differ"):
        load(bundle, "cpu")


@pytest.mark.parametrize("device, what", [("mps", "never been tried"), ("gpu", "expected the device"),
                                          ("meta", "expected the device"), ("cuda:99", "CUDA devices here")])
def test_refuses_devices(device, what):
    with pytest.raises(UserError, match=what):
        pick_device(device)


def test_picks_a_device_and_a_precision():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_precision(None, torch.device("cpu")) == "fp32" and pick_precision("bf16", torch.device("cpu")) == "bf16"
    with pytest.raises(UserError, match="fp32, bf16, fp16, got 'int8'"):
        pick_precision("int8", torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, MIXED], ids=str)
def test_captured_is_as_step_by_step(lm, sampling, precision):
    for how in (dict(batch=1, frames=300), dict(batch=3, known=40, frames=150), dict(batch=3, holes=True, frames=300)):
        job = task(**how)
        eager = looped(TorchLoop(lm, "cuda", precision, capture=False), *job, sampling)
        loop = TorchLoop(lm, "cuda", precision)
        for _ in range(2):  # the second has only replays
            np.testing.assert_array_equal(looped(loop, *job, sampling), eager)
        assert loop._graphs


@pytest.mark.gpu
@pytest.mark.parametrize("precision, most", [("fp32", 1e-4), ("bf16", 0.08), ("fp16", 0.01)])
def test_the_gpu_is_near_the_cpu(lm, precision, most):
    sequence = plain(lm, *task(), DRAWN)
    a, b = TorchLoop(lm, "cpu"), TorchLoop(lm, "cuda", precision)
    for loop in (a, b):
        loop.start(2, sequence.shape[-1])
    x, y = a.step(sequence), b.step(sequence)
    assert np.abs(x - y).max() / x.std() < most


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_one_seed_is_one_clip_on_the_gpu(precision):
    """Of a size whose products have kernels to choose from."""
    model = tiny.tiny_lm(LMConfig(n_q=4, card=2048, dim=1024, num_heads=8, num_layers=2))
    loop = TorchLoop(model, "cuda", precision)
    sequence, uniforms, first = task(batch=10, frames=300, known=20, card=2048)
    whole = looped(loop, sequence, uniforms, first, DRAWN)
    for clips in (slice(0, 1), slice(9, 10), slice(3, 7)):
        np.testing.assert_array_equal(looped(loop, sequence[clips], uniforms[clips], first, DRAWN), whole[clips])
