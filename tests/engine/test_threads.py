"""One instrument in many threads gives each its clip; in a fork it is opened again, or says so."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from audiocraft_ext import Instrument
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.engine.engine import Engine
from tests.helpers import tiny

FORK = multiprocessing.get_context("fork") if "fork" in multiprocessing.get_all_start_methods() else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def clips(instrument: Instrument, seed: int) -> list[bytes]:
    """Of each way to ask for one: plain, two of them, through a chain, a loop, streamed."""
    what = [dict(n=1), dict(n=2), dict(weird="mutate:share=20%"), dict(loop=True, seconds=2)]
    made = [clip for one in what for clip in instrument.generate(**{"seconds": 1, "seed": seed} | one)]
    stream = instrument.stream(instrument.recipe(1, seed=seed))
    return [clip.codes.tobytes() + clip.wav.tobytes() for clip in made] + [np.concatenate(list(stream)).tobytes()]


def beats(drummer: Drummer, seed: int) -> list[bytes]:
    made = [*drummer.play(drummer.recipe(1, seed=seed), range(2)),
            *drummer.play(drummer.recipe(2, seed=seed, genre="funk", density="high"), [seed])]
    return [beat.codes.tobytes() for beat in made]


@pytest.mark.parametrize("threads", [2, 5])
def test_sound_in_threads_is_that_of_one_after_the_other(folder, threads):
    alone, shared = Instrument.load(folder), Instrument.load(folder)  # loaded by whoever comes first
    expected = [clips(alone, seed) for seed in range(5)]
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(lambda seed: clips(shared, seed), range(5))) == expected


def test_beats_in_threads_are_those_of_one_after_the_other():
    alone, shared = Drummer.load("drums"), Drummer.load("drums")
    expected = [beats(alone, seed) for seed in range(4)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda seed: beats(shared, seed), range(4))) == expected


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_two_streams_of_one_engine_do_not_touch_each_other(folder, backend):
    engine = Engine(folder, backend=backend, device="cpu" if backend == "torch" else None)
    expected = [engine.generate([index], 40, seed=1) for index in (0, 1)]
    codes = np.random.default_rng(0).integers(0, 96, (1, 4, 30))
    score = engine.score(codes, 10)
    streams, got = [engine.stream([index], 40, seed=1) for index in (0, 1)], ([], [])
    for pieces in zip(*streams):  # by turns, in one thread, and something else between them
        for kept, piece in zip(got, pieces):
            kept.append(piece)
        assert engine.score(codes, 10) == score
    for kept, stream, whole in zip(got, streams, expected):
        np.testing.assert_array_equal(np.concatenate([*kept, *stream], axis=-1), whole)


def test_a_stream_that_is_left_gives_its_state_back(folder):
    engine = Engine(folder)
    for _ in range(3):
        stream = engine.stream([0], 40, seed=1)
        next(stream)
        stream.close()
    assert len(engine._free) == 1


def in_a_fork(ask, *args):
    """What ``ask`` gives there; fails where it hangs."""
    there, here = FORK.Pipe()
    process = FORK.Process(target=lambda: there.send(ask(*args)))
    process.start()
    try:
        assert here.poll(60), "the fork hangs"
        return here.recv()
    finally:
        process.kill()


@pytest.mark.processes
@pytest.mark.skipif(FORK is None, reason="this system has no forks")
@pytest.mark.parametrize("load, ask", [(Instrument.load, clips), (Drummer.load, beats)], ids=["sound", "drums"])
def test_a_fork_opens_the_bundle_again(folder, load, ask):
    instrument = load(*([folder] if ask is clips else ["drums"]), threads=2)
    expected = ask(instrument, 3)
    assert in_a_fork(ask, instrument, 3) == expected
    assert ask(instrument, 3) == expected  # and here it goes on


@pytest.mark.processes
@pytest.mark.skipif(FORK is None, reason="this system has no forks")
def test_an_engine_says_that_this_is_a_fork(folder):
    engine = Engine(folder, threads=2)
    engine.generate(1, 20, seed=0)

    def ask() -> str:
        try:
            engine.generate(1, 20, seed=0)
        except UserError as error:
            return str(error)
        return "no error"

    assert "is a fork" in in_a_fork(ask)
