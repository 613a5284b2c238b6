"""Frames that are in order by construction."""

from __future__ import annotations

import numpy as np
import pytest

from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine import sampler
from audiocraft_ext.engine.order import Order
from audiocraft_ext.engine.sampling import Sampling

ORDER = Order((0, 1, 2), first=2, never=(1,))


def spec(delays: list[int]) -> Spec:
    return Spec.from_dict({"kind": "notes", "n_q": 4, "card": 9, "delays": delays, "unit": "notes",
                           "sizes": [9, 3, 4, 9], "codec": {"name": "stand-in", "hash": "0"}})


class Flat:
    """A stepper to which all codes are equally likely, but for the mark 0."""

    def __init__(self, spec: Spec):
        self.spec = spec

    def start(self, batch: int, capacity: int) -> None:
        self.logits = np.zeros((batch, self.spec.n_q, self.spec.card), np.float32)
        self.logits[:, 0, 0] = -1
        for k in range(self.spec.n_q):
            self.logits[:, k, self.spec.size(k) :] = -np.inf

    def step(self, sequence: np.ndarray) -> np.ndarray:
        return self.logits


def made(delays: list[int], order: Order = ORDER, **how) -> np.ndarray:
    stepper = order.around(Flat(spec(delays)), spec(delays))
    return sampler.generate(stepper, spec(delays), range(8), 200, seed=1, sampling=Sampling(), **how)


@pytest.mark.parametrize("how", [{}, {"window": 30}, {"given": np.array([[8, 1], [2, 2], [3, 0], [5, 5]])}])
@pytest.mark.parametrize("delays", [[0, 1, 2, 3], [0, 2, 3, 1]])
def test_each_frame_comes_after_the_one_before_it(delays, how):
    codes = made(delays, **how)
    given = how.get("given", np.zeros((4, 0))).shape[1]
    for clip in codes[..., given:]:
        frames = clip[:3].T.tolist()
        assert len({tuple(frame) for frame in frames}) > 40
        for before, after in zip(frames, frames[1:]):
            last = before[2] == 3 and after[:2] == before[:2]  # nothing comes after it there, so anything may
            assert after[0] == 0 or before[0] == 0 or after > before or last
    assert (codes[:, 0, given:] != 1).all() and len(np.unique(codes[:, 3])) == 9


def test_what_is_given_may_be_out_of_order_and_is_followed_by_what_comes_after_it():
    given = np.array([[8, 5, -1], [1, 1, -1], [3, 2, -1], [0, 0, -1]])
    codes = made([0, 1, 2, 3], given=given)
    assert (codes[:, :, :2] == given[:, :2]).all()
    for clip in codes:
        assert clip[0, 2] == 0 or clip[:3, 2].tolist() > [5, 1, 2]


def test_streams_that_do_not_follow_each_other_are_free():
    """With these delays the third stream is made before the second."""
    codes = made([0, 2, 1, 3])
    falls = [(np.diff(clip[k]) < 0) & (np.diff(clip[0]) == 0) & (clip[0, 1:] > 1) for clip in codes for k in (1, 2)]
    assert all(((clip[0, 1:] >= clip[0, :-1]) | (clip[0, 1:] == 0)).all() for clip in codes)
    assert not np.concatenate(falls[::2]).any() and np.concatenate(falls[1::2]).any()


def test_no_row_touches_another():
    alone = sampler.generate(ORDER.around(Flat(spec([0, 1, 2, 3])), spec([0, 1, 2, 3])), spec([0, 1, 2, 3]), [5], 200,
                             seed=1, sampling=Sampling())
    assert (made([0, 1, 2, 3])[5] == alone[0]).all()


@pytest.mark.parametrize("most", [1, 2, 5])
def test_so_many_frames_at_a_place_and_no_more(most):
    codes = made([0, 1, 2, 3], ORDER._replace(most=most))
    runs = []
    for clip in codes:
        ends = np.flatnonzero(np.diff(clip[0], append=-1))
        lengths = np.diff(ends, prepend=-1)
        runs += lengths[(clip[0, ends] >= 2) & (clip[0, ends] < 8)].tolist()  # behind the last place there is none
    assert max(runs) == most and min(runs) == 1
