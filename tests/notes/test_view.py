"""What a model of notes sees: augmentation by (seed, epoch, index), prompts of what is heard, divided bars."""

from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.notes import augment
from audiocraft_ext.notes.codec.multitrack import DIVIDE, FIRST, LINE, Multitrack
from audiocraft_ext.notes.describe import describe
from audiocraft_ext.notes.view import NotesView
from audiocraft_ext.store.reader import TokenStore
from data_prep.midi import cli

SONGS = Path(__file__).resolve().parents[1] / "data" / "midi"
CODEC = Multitrack()
NEVER = dict.fromkeys(("transpose", "velocity", "tempo", "bass", "cast", "drums", "divided", "drop_all"), 0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TokenStore:
    path = tmp_path_factory.mktemp("view") / "store"
    cli.main([str(SONGS), str(path), "--codec", "notes", "--workers", "0"])
    return TokenStore(path)


def windows(view: NotesView, frames: int = 300, n: int = 60):
    track = max(view.store.tracks("train"), key=lambda track: track.frames)
    for seed in range(n):
        codes = view.window(track, track.start, frames, np.random.default_rng(seed))
        yield codes[:, : view.store.spec.prompt], codes[:, view.store.spec.prompt :]


def test_without_random_numbers_it_is_the_store(store):
    view, P = NotesView(store), store.spec.prompt
    for track in store.tracks("valid"):
        for start in track.slices:
            codes = view.window(track, start, 200, None)
            n = codes.shape[1] - P
            assert 0 < n <= 200 and codes[0, P] == LINE
            np.testing.assert_array_equal(codes[:, P:], store.read(start, n))
            np.testing.assert_array_equal(codes[:, :P], view.prompts.codes({}))
    said = NotesView(store, {"say": True}).window(track, start, 200, None)
    assert view.prompts.decode(said[:, :P])["meter"] == "4/4"


def test_the_same_numbers_give_the_same_window(store):
    for (_, a), (_, b) in zip(windows(NotesView(store)), windows(NotesView(store))):
        np.testing.assert_array_equal(a, b)
    starts = {codes[:, :9].tobytes() for _, codes in windows(NotesView(store, NEVER), 60)}
    assert len(starts) > 5  # from any bar


def test_windows_are_legal_and_begin_with_a_bar(store):
    for _, codes in windows(NotesView(store)):
        CODEC.checked(codes)
        assert codes[0, 0] == LINE and codes.shape[1] <= 300


def test_prompts_say_what_is_heard(store):
    view = NotesView(store, NEVER | {"transpose": 1.0})
    for prompt, codes in windows(view):
        said = view.prompts.decode(prompt)
        heard = describe(codes, CODEC, meter=(4, 4))
        assert said["meter"] == "4/4" and all(heard[name] == word for name, word in said.items() if name != "tempo")
    lengths = [len(view.prompts.decode(prompt)) for prompt, _ in windows(view)]
    assert min(lengths) < 6 and max(lengths) > 17  # any share of them is left out


def test_keys_loudness_and_tempo_change_within_range(store):
    plain = list(windows(NotesView(store, NEVER)))
    for (_, before), (_, after) in zip(plain, windows(NotesView(store, NEVER | {"transpose": 1.0}))):
        shift = np.unique((after - before)[2, augment.tuned(before)])
        assert len(shift) <= 1 and (np.abs(shift) <= 6).all()
        drums = ~augment.tuned(before)
        np.testing.assert_array_equal(after[:, drums], before[:, drums])
        down, up = augment.room(before)
        assert not len(shift) or -down <= shift[0] <= up
    assert len({after[2].sum() - before[2].sum() for (_, before), (_, after)
                in zip(plain, windows(NotesView(store, NEVER | {"transpose": 1.0})))}) > 3
    for (_, before), (_, after) in zip(plain, windows(NotesView(store, NEVER | {"velocity": 1.0}))):
        np.testing.assert_array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))
        assert (after[3][before[0] < FIRST] == 0).all()
    assert {round(augment.tempo(100.0, np.random.default_rng(seed))) for seed in range(99)} == set(range(90, 111 + 1))


def test_a_divided_window_has_some_parts_and_one_that_goes_with_them(store):
    """All notes of these and no others; the division names the one."""
    found = set()
    for (_, before), (_, after) in zip(windows(NotesView(store, NEVER), 2000),
                                       windows(NotesView(store, NEVER | {"divided": 1.0}), 2000)):
        bars = np.split(after, np.flatnonzero(after[0] == LINE), axis=1)[1:]
        at = [np.flatnonzero(bar[0] == DIVIDE) for bar in bars]
        if after.shape[1] == 2000 or not (before[0] >= FIRST).any():  # something was cut off, or nothing plays
            continue
        assert set(map(len, at)) == {1} and len({bar[1, i[0]] for bar, i in zip(bars, at)}) == 1
        part, given = bars[0][1, at[0][0]], {int(one) for bar, i in zip(bars, at) for one in bar[1, 1 : i[0]]}
        assert part not in given and all((bar[1, i[0] :] == part).all() for bar, i in zip(bars, at))
        kept = (before[0] == LINE) | np.isin(before[1], [part, *given])
        assert CODEC.decode(after) == CODEC.decode(before[:, kept])
        found.add(len(given))
    assert {0, 1} <= found


@pytest.mark.parametrize("options, why", [({"swing": 1}, "no option is called 'swing'"),
                                          ({"divided": 2}, "expected a share from 0 to 1, got 2"),
                                          ({"say": 1}, "expected true or false")])
def test_what_is_wrong_is_refused(store, options, why):
    with pytest.raises(UserError, match=why):
        NotesView(store, options)
