"""The engine: a clip is a function of (bundle, seed, index, settings); the loop against a plain twin."""

import numpy as np
import pytest

from audiocraft_ext import engine as engine_module
from audiocraft_ext.engine import Engine, generate
from audiocraft_ext.errors import UserError
from audiocraft_ext.lm import LMConfig
from audiocraft_ext.sampling import clip_rng, sample
from audiocraft_ext.spec import Spec
from tests import tiny

FRAMES = 40


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


class Echo:
    """A model without weights whose logits depend on all that it was shown, in order."""

    def __init__(self, card):
        self.card = card

    def start(self, batch, capacity):
        self.seen = np.zeros((batch, 0), np.int64)
        self.capacity = capacity

    def step(self, sequence):
        for s in range(sequence.shape[-1]):
            self.seen = np.concatenate([self.seen, sequence[..., s] @ np.array([[1], [3], [7]])], axis=1)
        assert self.seen.shape[1] <= self.capacity
        total = (self.seen * (1 + np.arange(self.seen.shape[1]))).sum(axis=1)  # [B]
        rows = np.arange(self.card) * (1 + total[:, None, None]) + np.arange(3)[:, None] * 5
        return np.sin(rows).astype(np.float32) * 3  # [B, 3, card]


def plain_generate(model, spec, index, frames, seed, prompt):
    """One clip, cell by cell, in words: known cells stay, cells of no frame are special, the rest is drawn."""
    K, S = spec.n_q, frames + max(spec.delays) + 1
    uniforms = clip_rng(seed, index).random((S, K))
    sequence = np.full((K, S), spec.card)
    model.start(1, S)
    for s in range(S):
        logits = model.step(sequence[None, :, s - 1 : s]) if s else None
        for k, d in enumerate(spec.delays):
            t = s - 1 - d
            if 0 <= t < prompt.shape[1]:
                sequence[k, s] = prompt[k, t]
            elif 0 <= t < frames:
                sequence[k, s] = sample(logits, 1.0, 5, uniforms[None, s])[0, k]
    return np.stack([sequence[k, d + 1 : d + 1 + frames] for k, d in enumerate(spec.delays)])


@pytest.mark.parametrize("delays", [(0, 1, 2), (0, 0, 0), (0, 3, 1), (2, 0, 5)])
@pytest.mark.parametrize("frames, prompt_frames", [(1, 0), (2, 1), (9, 0), (9, 4), (90, 70)])
def test_the_loop_equals_a_plain_twin(delays, frames, prompt_frames):
    spec = Spec("audio", 3, 11, 50.0, delays, "none", "")
    prompt = np.random.default_rng(0).integers(0, 11, (3, prompt_frames))
    codes = generate(Echo(11), spec, [4, 9], frames, seed=3, temperature=1.0, top_k=5, prompt=prompt)
    for row, index in zip(codes, [4, 9]):
        np.testing.assert_array_equal(row, plain_generate(Echo(11), spec, index, frames, 3, prompt))
    np.testing.assert_array_equal(codes[..., :prompt_frames], [prompt, prompt])


@pytest.mark.parametrize("temperature, top_k", [(1.0, 50), (0.0, 0), (1.3, 0)])
def test_a_clip_is_the_same_alone_and_in_any_batch(engine, temperature, top_k):
    settings = dict(seed=5, temperature=temperature, top_k=top_k)
    whole = engine.generate(12, FRAMES, **settings)  # two batches
    assert whole.shape == (12, 4, FRAMES) and whole.min() >= 0 and whole.max() < 96
    for batch in ([0], [11], [3, 1], [9, 10, 11], [2, 4, 6, 8, 10]):
        np.testing.assert_array_equal(engine.generate(batch, FRAMES, **settings), whole[batch])
    if temperature:
        assert len({row.tobytes() for row in whole}) == 12
        assert (engine.generate(1, FRAMES, **settings | {"seed": 6}) != whole[0]).any()


@pytest.mark.parametrize("dim, heads", [(72, 3), (40, 1), (192, 4)])
def test_sizes_that_fill_no_vector_register_keep_the_law(tmp_path, dim, heads):
    lm = tiny.tiny_lm(LMConfig(n_q=4, card=96, dim=dim, num_heads=heads, num_layers=2))
    engine = Engine(tiny.tiny_bundle(tmp_path / "tiny", lm=lm))
    rows = np.random.default_rng(0).integers(0, 97, (10, 4, 8))

    def logits(rows):
        engine.stepper.start(len(rows), 8)
        return np.stack([engine.stepper.step(rows[..., s : s + 1]).copy() for s in range(8)])

    whole = logits(rows)
    for size in (1, 2, 3, 5, 7):
        np.testing.assert_array_equal(logits(rows[:size]), whole[:, :size])


def test_a_longer_clip_begins_as_the_shorter(engine):
    """All but the last frames, where the short one's later streams are shown the end of the clip."""
    short, long = (engine.generate(2, frames, seed=1) for frames in (20, 33))
    np.testing.assert_array_equal(short[..., :17], long[..., :17])


def test_a_small_cache_budget_changes_nothing(engine, monkeypatch):
    whole = engine.generate(5, FRAMES, seed=2)
    monkeypatch.setattr(engine_module, "CACHE_BYTES", 2 * engine.stepper.cache_bytes(FRAMES + 4))
    assert [len(b) for b in engine.batches(range(5), FRAMES)] == [2, 2, 1]
    np.testing.assert_array_equal(engine.generate(5, FRAMES, seed=2), whole)


def test_prompt_of_sound_and_progress(engine):
    wav = engine.decode(engine.generate(1, 20, seed=1))
    assert wav.shape == (1, 1, 20 * 640) and wav.dtype == np.float32 and np.isfinite(wav).all()
    prompt = engine.encode(wav[..., :-100])
    assert prompt.shape == (1, 4, 20)
    seen = []
    codes = engine.generate(1, FRAMES, seed=1, prompt=prompt[0], progress=lambda at, of: seen.append((at, of)))
    np.testing.assert_array_equal(codes[..., :20], prompt)
    assert seen == [(i + 1, 23) for i in range(23)]  # 20 new frames and the longest delay


def test_threads_change_no_code(engine):
    """The decoder's convolutions are cut up differently: 4e-7 was the largest difference seen."""
    one, three = (Engine(engine.bundle, threads=n) for n in (1, 3))
    codes = one.generate(3, FRAMES, seed=1)
    np.testing.assert_array_equal(three.generate(3, FRAMES, seed=1), codes)
    assert np.abs(three.decode(codes) - one.decode(codes)).max() < 1e-5


def test_decoding_is_the_same_alone_and_in_a_batch(engine):
    codes = engine.generate(3, FRAMES, seed=1)
    whole = engine.decode(codes)
    for i in range(3):
        np.testing.assert_array_equal(engine.decode(codes[i : i + 1])[0], whole[i])


@pytest.mark.parametrize("arguments, what", [
    (dict(clips=0), "at least 1 clip"), (dict(frames=1501), "at most 30 s"), (dict(frames=0), "at most 30 s"),
    (dict(temperature=-1.0), "temperature"), (dict(top_k=-1), "top_k"), (dict(seed=-1), "seed"),
    (dict(prompt=np.zeros((4, 40), int)), "shorter than the clip"),
    (dict(prompt=np.zeros((3, 4), int)), "prompt codes"), (dict(prompt=np.full((4, 4), 96)), "from 0 to 95"),
])
def test_refusals(engine, arguments, what):
    with pytest.raises(UserError, match=what):
        engine.generate(**{"clips": 1, "frames": FRAMES, "seed": 1} | arguments)


def test_a_bundle_without_a_codec_has_no_sound(tmp_path):
    from audiocraft_ext.export import write_bundle

    model = tiny.tiny_trained()
    model.codec = None
    write_bundle(tmp_path / "drums", model)
    engine = Engine(tmp_path / "drums")
    codes = engine.generate(1, 5, seed=1)
    with pytest.raises(UserError, match="no audio codec"):
        engine.decode(codes)


def test_a_head_size_that_the_kernel_does_not_take_is_refused_at_export(tmp_path):
    lm = tiny.tiny_lm(LMConfig(n_q=4, card=96, dim=36, num_heads=3, num_layers=1))
    with pytest.raises(UserError, match="multiple of 8"):
        tiny.tiny_bundle(tmp_path / "tiny", lm=lm)
    assert not list(tmp_path.iterdir())
