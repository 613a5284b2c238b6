"""The sampling loop against a plain twin: what is given, holes, windows, and frames as they come."""

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.sampler import UNKNOWN, generate, stream
from audiocraft_ext.engine.sampling import Sampling, clip_rng, sample


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


def plain_generate(spec, index, frames, seed, given, window=None):
    """One clip, cell by cell, in words: known cells stay, cells of no frame are special, the rest is drawn. The model
    reads the whole past anew for each step: the last window of it, in which frames before its origin are special."""
    K, S = spec.n_q, frames + max(spec.delays) + 1
    uniforms = clip_rng(seed, index).random((S, K))
    sequence = np.full((K, S), spec.card)
    size = S if window is None else window + max(spec.delays) + 1
    origin = 0
    for s in range(S):
        while s + 1 - origin > size:
            origin += size // 2
        past = sequence[:, origin:s].copy()
        for k, d in enumerate(spec.delays):
            past[k, : d + 1] = spec.card
        model = Echo(spec.card)
        model.start(1, S)
        logits = model.step(past[None])
        for k, d in enumerate(spec.delays):
            t = s - 1 - d
            if 0 <= t < given.shape[1] and given[k, t] != UNKNOWN:
                sequence[k, s] = given[k, t]
            elif 0 <= t < frames:
                sequence[k, s] = sample(logits, Sampling(1.0, 5), uniforms[None, s])[0, k]
    return np.stack([sequence[k, d + 1 : d + 1 + frames] for k, d in enumerate(spec.delays)])


DELAYS = [(0, 1, 2), (0, 0, 0), (0, 3, 1), (2, 0, 5)]
SETTINGS = dict(seed=3, sampling=Sampling(1.0, 5))


def spec_of(delays):
    return Spec("audio", 3, 11, 50.0, delays, "none", "")


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("frames, prompt_frames", [(1, 0), (1, 1), (2, 1), (9, 0), (9, 4), (9, 9), (90, 70)])
def test_the_loop_equals_a_plain_twin(delays, frames, prompt_frames):
    prompt = np.random.default_rng(0).integers(0, 11, (3, prompt_frames))
    codes = generate(Echo(11), spec_of(delays), [4, 9], frames, given=prompt, **SETTINGS)
    for row, index in zip(codes, [4, 9]):
        np.testing.assert_array_equal(row, plain_generate(spec_of(delays), index, frames, 3, prompt))
    np.testing.assert_array_equal(codes[..., :prompt_frames], [prompt, prompt])


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("where", ["a row", "a hole", "here and there", "all"])
def test_what_is_given_stays_and_the_rest_is_drawn(delays, where):
    rng = np.random.default_rng(1)
    given = rng.integers(0, 11, (3, 30))
    if where == "a row":
        given[1:] = UNKNOWN
    elif where == "a hole":
        given[:, 10:15] = UNKNOWN
    elif where == "here and there":
        given[rng.random(given.shape) < 0.3] = UNKNOWN
    codes = generate(Echo(11), spec_of(delays), [0, 1], 30, given=given, **SETTINGS)
    np.testing.assert_array_equal(np.where(given == UNKNOWN, UNKNOWN, codes), [given, given])
    np.testing.assert_array_equal(codes[1], plain_generate(spec_of(delays), 1, 30, 3, given))


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("window", [14, 20, 33])
@pytest.mark.parametrize("prompt_frames", [0, 30])
def test_windows_equal_a_plain_twin(delays, window, prompt_frames):
    """Also where a prompt is longer than a window, and where what is given ends inside of one."""
    prompt = np.random.default_rng(0).integers(0, 11, (3, prompt_frames))
    codes = generate(Echo(11), spec_of(delays), [7], 75, given=prompt, window=window, **SETTINGS)
    np.testing.assert_array_equal(codes[0], plain_generate(spec_of(delays), 7, 75, 3, prompt, window))


@pytest.mark.parametrize("delays", DELAYS)
@pytest.mark.parametrize("window", [None, 20])
def test_frames_are_handed_out_when_they_are_known(delays, window):
    codes = generate(Echo(11), spec_of(delays), [7], 60, window=window, **SETTINGS)
    steps, pieces = [], []
    for piece in stream(Echo(11), spec_of(delays), [7], 60, window=window,
                        progress=lambda done, of: steps.append(done), **SETTINGS):
        pieces.append(piece)
        assert sum(p.shape[-1] for p in pieces) == len(steps) - max(delays)  # each at once
    np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), codes)
    assert len(pieces) == 60


def test_a_window_shorter_than_the_delays_is_refused():
    with pytest.raises(UserError, match="window of 5 frames is too short"):
        generate(Echo(11), spec_of((2, 0, 5)), [0], 50, window=5, **SETTINGS)
