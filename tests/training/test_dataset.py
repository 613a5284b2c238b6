"""Batches from a store: a function of (seed, epoch, index), whatever was asked before."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.store.writer import StoreWriter
from audiocraft_ext.training.dataset import StreamDataset, StreamLoader
from tests.helpers.stores import DEBUG_SPEC, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("s") / "s", tracks={"a": 90, "b": 40, "c": 7}, valid={"v": 33, "w": 12})


def test_a_window_depends_on_seed_epoch_and_index_alone(store):
    one = StreamDataset(store, TRAIN, 10, num_samples=100, seed=1)
    other = StreamDataset(store, TRAIN, 10, num_samples=100, seed=1)
    for i in range(50):
        one[1, i]
    assert all((one[3, i] == other[3, i]).all() for i in (0, 7, 49))
    differing = [sum(not (one[e, i] == ds[f, i]).all() for i in range(50))
                 for ds, e, f in ((other, 1, 2), (StreamDataset(store, TRAIN, 10, seed=2), 1, 1))]
    assert min(differing) > 40


def test_windows_are_what_the_store_holds_and_never_cross_a_track(store):
    data = StreamDataset(store, TRAIN, 10, seed=0)
    tracks = {t.source: store.read(t.start, t.frames).astype(np.int64) for t in store.tracks(TRAIN)}
    for i in range(60):
        window = data[1, i].numpy()
        n = int((window[0] != store.spec.special_id).sum())
        assert any((codes[:, s:s + n] == window[:, :n]).all()
                   for codes in tracks.values() for s in range(codes.shape[1] - n + 1))


def test_a_short_track_is_filled_with_the_special_id(store):
    data = StreamDataset(store, TRAIN, 50, num_samples=200, seed=0, sample_on_duration=False)
    padded = [data[1, i] for i in range(200)]
    lengths = {int((w[0] != store.spec.special_id).sum()) for w in padded}
    assert lengths == {50, 40, 7}


def test_tracks_are_drawn_by_length_or_alike(store):
    def share(by_duration: bool) -> float:
        data = StreamDataset(store, TRAIN, 7, num_samples=600, seed=0, sample_on_duration=by_duration)
        short = store.read(store.tracks(TRAIN)[2].start, 7).astype(np.int64)
        return np.mean([(data[1, i].numpy() == short).all() for i in range(600)])

    assert share(True) == pytest.approx(7 / 137, abs=0.03)
    assert share(False) == pytest.approx(1 / 3, abs=0.06)


def test_valid_windows_are_the_same_in_every_epoch_and_spread_over_the_tracks(store):
    data = StreamDataset(store, VALID, 10)
    assert len(data) == 4  # 33 frames give 3 windows (the rest is under half a window), 12 frames 1
    assert all((data[1, i] == data[9, i]).all() for i in range(4))
    few = StreamDataset(store, VALID, 10, num_samples=2)
    assert len(few) == 2 and (few[1, 1] == data[1, 2]).all()


def test_a_resumed_loader_gives_the_batches_that_were_left(store):
    whole = StreamLoader(StreamDataset(store, TRAIN, 10, seed=4), batch_size=3, batches=5)
    rest = StreamLoader(StreamDataset(store, TRAIN, 10, seed=4), batch_size=3, batches=5)
    whole.epoch = rest.epoch = 2
    rest.first = 2
    assert [b.tolist() for b in rest] == [b.tolist() for b in whole][2:]


def test_two_ranks_together_see_what_one_process_sees(store):
    def batches(size: int, rank: int, world: int):
        return list(StreamLoader(StreamDataset(store, TRAIN, 10, seed=4), size, 3, rank, world))

    for one, a, b in zip(batches(4, 0, 1), batches(2, 0, 2), batches(2, 1, 2)):
        assert one.tolist() == a.tolist() + b.tolist()


@pytest.mark.parametrize("world, then", [(1, 2), (2, 1), (2, 3), (6, 2), (3, 3)])
def test_every_index_of_an_epoch_is_read_once_whoever_reads(store, world, then):
    """Also by other processes from the fourth batch on."""
    read = []

    class Noting(StreamDataset):
        def batch(self, epoch, indices):
            read.extend((epoch, index) for index in indices)
            return super().batch(epoch, indices)

    for ranks, first, last in ((world, 0, 3), (then, 3, None)):
        for rank in range(ranks):
            loader = StreamLoader(Noting(store, TRAIN, 10, num_samples=40), 6 // ranks, None, rank, ranks)
            loader.epoch, loader.first, loader.batches = 2, first, last or loader.batches
            assert len(list(loader)) == loader.batches - first
    assert sorted(read) == [(2, index) for index in range(42)]  # seven whole batches


def test_all_ranks_have_as_many_batches_of_a_short_side(store):
    data = StreamDataset(store, VALID, 10)
    ranks = [list(StreamLoader(data, 3, None, rank, 3)) for rank in range(3)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[3], [1], [0]]
    assert torch.cat([batch for batches in ranks for batch in batches]).tolist() == [data[1, i].tolist()
                                                                                    for i in range(4)]


def test_what_cannot_be_sampled_is_refused(store, tmp_path):
    with pytest.raises(UserError, match="segment_duration"):
        StreamDataset(store, TRAIN, 0)
    empty = make_store(tmp_path / "e", tracks={"a": 30}, valid={})
    with pytest.raises(UserError, match="valid side"):
        StreamDataset(empty, VALID, 10)


def test_the_order_is_what_it_always_was(store):
    """A run of last year, resumed, goes on with the batches that it would have got."""
    data = StreamDataset(store, TRAIN, 10, num_samples=100, seed=1)
    starts = [(track.source, offset) for track, offset in (data._window(e, i) for e in (1, 2) for i in range(4))]
    assert starts == [("a", 29), ("b", 19), ("a", 3), ("a", 33), ("a", 76), ("b", 11), ("b", 27), ("b", 27)]
    windows = np.concatenate([data.batch(epoch, range(100)) for epoch in (1, 2, 3)])
    assert hashlib.sha256(windows.tobytes()).hexdigest()[:16] == "ef3abfbfa98dabb7"
    assert [batch.tolist() for batch in StreamLoader(data, 4, 1)] == [[data[1, i].tolist() for i in range(4)]]


def sliced(path, cut: str, lengths: dict[str, list[list[int]]]) -> TokenStore:
    """Sources in slices of so many frames, each list of which goes on without a gap; a frame's codes are its number in
    the store."""
    at = 0
    with StoreWriter(path, DEBUG_SPEC, {"cut": cut}) as writer:
        for name, runs in lengths.items():
            rows = []
            for run in runs:
                for n, frames in enumerate(run):
                    codes = np.tile(np.arange(at, at + frames), (DEBUG_SPEC.n_q, 1))
                    rows.append(("valid" if name == "v" else "train", codes, {"cut": cut, "follows": n > 0}))
                    at += frames
            writer.add_rows(name, rows)
        writer.finish()
    return TokenStore(path)


def seen(data: StreamDataset, n: int) -> set[tuple[int, int, bool]]:
    """First frame, number of frames, whether the rest is filled up, of ``n`` windows."""
    out = set()
    for window in (data[1, i].numpy() for i in range(n)):
        length = int((window[0] != DEBUG_SPEC.special_id).sum())
        assert (window[:, :length] == window[0, 0] + np.arange(length)).all()
        assert (window[:, length:] == DEBUG_SPEC.special_id).all()
        out.add((int(window[0, 0]), length, length < data.frames))
    return out


@pytest.mark.parametrize("cut", ["bars", "onsets"])
def test_windows_start_with_a_slice_and_go_on_into_those_that_follow(tmp_path, cut):
    store = sliced(tmp_path / "s", cut, {"a": [[8, 8, 7], [9]], "b": [[5]], "v": [[4, 4, 4, 4, 4], [3], [1]]})
    train = StreamDataset(store, TRAIN, 10, num_samples=300, seed=0)
    assert seen(train, 300) == {(0, 10, False), (8, 10, False), (16, 7, True), (23, 9, True), (32, 5, True)}
    assert (train[1, 7] == StreamDataset(store, TRAIN, 10, seed=0)[1, 7]).all()
    starts = [int(train[1, i][0, 0]) for i in range(300)]
    assert starts.count(32) / 300 == pytest.approx(5 / 37, abs=0.05)
    valid = StreamDataset(store, VALID, 10)
    assert [int(valid[1, i][0, 0]) for i in range(len(valid))] == [37, 45, 57, 60]  # 53 on is less than half a window
    assert seen(valid, len(valid)) == {(37, 10, False), (45, 10, False), (57, 3, True), (60, 1, True)}
    assert [int(w[0, 0]) for w in (StreamDataset(store, VALID, 3)[1, i] for i in range(7))] == [
        37, 41, 45, 49, 53, 57, 60]  # slices longer than a window


def test_pieces_between_silences_are_tracks_of_their_own(tmp_path):
    store = sliced(tmp_path / "s", "fixed", {"a": [[20, 20], [15]], "v": [[6]]})
    windows = seen(StreamDataset(store, TRAIN, 10, num_samples=400, seed=0), 400)
    assert {length for _, length, _ in windows} == {10}
    assert {start for start, *_ in windows} == {*range(31), *range(40, 46)}  # anywhere, but across no gap
