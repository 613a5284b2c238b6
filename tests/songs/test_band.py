"""Songs that lack drums or pitches are trained on with those of others."""

from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.songs.band import DRUMS, PITCHES, finer
from audiocraft_ext.songs.beepbox import as_json
from audiocraft_ext.songs.beepbox.song import Song, flat, song_of_bars
from audiocraft_ext.songs.codec.voices import FIRST, Voices, facts_of
from audiocraft_ext.songs.view import SongView
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.training.dataset import StreamDataset
from data_prep.midi import cli
from tests.helpers.songs import random_song

BARS = 8
TUNES = {f"tune{i}": i for i in range(6)}  # pitches alone
BEATS = {f"beat{i}": rhythm for i, rhythm in enumerate((4, 4, 4, 8, 3))}  # drums alone


def tune(seed: int) -> list[tuple]:
    """The bars of a channel."""
    rng = np.random.default_rng(seed)
    return [tuple(flat(i * 12, i * 12 + 6 * int(rng.integers(1, 3)), (int(rng.integers(20, 60)),)) for i in range(8))
            for _ in range(BARS)]


def hits(seed: int, rhythm: int = 4) -> list[tuple]:
    rng, step = np.random.default_rng(100 + seed), 24 // rhythm
    return [tuple(flat(i * step, i * step + step, (int(rng.integers(0, 12)),)) for i in range(4 * rhythm)
                  if rng.random() < 0.6) for _ in range(BARS)]


def songs(beats: dict[str, int]) -> dict[str, Song]:
    """Tunes, one song of pitches and drums, and ``beats``, drums in so many steps."""
    rest = [()] * BARS
    return ({name: song_of_bars([tune(seed)], 0, rhythm=4, tempo=100 + seed) for name, seed in TUNES.items()}
            | {"both": song_of_bars([tune(50), hits(50)], 1, rhythm=4)}
            | {name: song_of_bars([rest, hits(i, rhythm)], 1, rhythm=rhythm)
               for i, (name, rhythm) in enumerate(beats.items())})


def prepared(folder: Path, songs: dict[str, Song]) -> TokenStore:
    (folder / "songs").mkdir()
    for name, song in songs.items():
        (folder / "songs" / f"{name}.json").write_text(as_json.to_text(song))
    cli.main([str(folder / "songs"), str(folder / "store"), "--codec", "song", "--workers", "0", "--valid-share",
              "0.4"])
    return TokenStore(folder / "store")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TokenStore:
    return prepared(tmp_path_factory.mktemp("band"), songs(BEATS))


def firsts(view: SongView, what: str | None) -> list[int]:
    return [first for first in np.unique(view._first).tolist() if view._band.alone(first) == what]


def bars_of(view: SongView, first: int, channel: int) -> set[bytes]:
    """The bars of a channel of a song."""
    song, (facts, _) = view._song(first), view._facts(first)
    return {one.tobytes() for one in np.split(song[:, :, channel], song.shape[1] // (facts.beats * facts.rhythm), 1)}


def window(view: SongView, first: int, seed: int | None) -> np.ndarray:
    """The codes of eight bars of two channels, without the prompt: ``[4, steps, channels]``."""
    rng = None if seed is None else np.random.default_rng(seed)
    codes = view.window(None, view.store.rows[first]["start"], BARS * 4 * 4 * 2, rng)
    said = view.prompts.decode(codes[:4, : view.prompts.frames])
    return codes[:4, view.prompts.frames :].reshape(4, -1, int(said["channels"]) + int(said["drums"]))


@pytest.mark.parametrize("seed", range(8))
def test_finer_steps_are_the_same_song(seed):
    codec, song = Voices(), random_song(seed)
    facts = facts_of(song)
    for times in (2, 3):
        if facts.rhythm * times not in (6, 8, 24):
            continue
        codes = finer(codec.channels(song).astype(np.int64), times)
        again = codec.decode(codes.reshape(4, -1), facts._replace(rhythm=facts.rhythm * times))
        assert list(again.notes()) == list(codec.canonicalize(song).notes())


def test_it_knows_what_each_song_has(store):
    view = SongView(store)
    assert len(firsts(view, PITCHES)) == len(TUNES) and len(firsts(view, DRUMS)) == len(BEATS)
    assert len(firsts(view, None)) == 1, "the song that has both is left as it is"


def test_tunes_get_drums_and_keep_their_notes(store):
    view = SongView(store, {"drums": 1.0, "transpose": 0.0, "fewer": 0.0})
    fitting = {split: [bars_of(view, first, 1) for first in firsts(view, DRUMS)
                       if view._facts(first)[0].rhythm == 4 and store.rows[first]["split"] == split]
               for split in (TRAIN, VALID)}
    for first in firsts(view, PITCHES):
        mine, beats = bars_of(view, first, 0), fitting[store.rows[first]["split"]]
        for seed in range(12):
            found = window(view, first, seed)
            if not beats:
                assert found.shape[2] == 1
                continue
            tune, drums = (list(map(np.ndarray.tobytes, np.split(found[:, :, i], found.shape[1] // 16, 1)))
                           for i in range(2))
            assert set(tune) <= mine and any(set(drums) <= one for one in beats), "bars of one song of that side"


def test_drums_alone_always_get_pitches(store):
    view = SongView(store, {"drums": 0.0, "transpose": 0.0, "fewer": 0.0})
    for first in firsts(view, DRUMS):
        facts, there = view._facts(first)[0], store.rows[first]["split"]
        found = window(view, first, 1)
        fits = facts.rhythm in (4, 8) and any(store.rows[one]["split"] == there for one in firsts(view, PITCHES))
        assert (found[0, :, 0] >= FIRST[0]).any() == fits
        assert (found[0, :, -1] >= FIRST[0]).any()
    for first in firsts(view, PITCHES):
        assert window(view, first, 1).shape[2] == 1


def test_what_is_held_out_is_the_same_each_time(store):
    view, other = SongView(store), SongView(store, {"drums": 1.0})
    data, again = (StreamDataset(store, VALID, 128, view=one) for one in (view, other))
    np.testing.assert_array_equal(data.batch(1, range(len(data))), again.batch(2, range(len(again))))


def test_a_store_without_drums_alone_is_as_it_was(tmp_path):
    view = SongView(prepared(tmp_path, songs({})), {"transpose": 0.0, "fewer": 0.0, "drums": 1.0})
    assert not firsts(view, PITCHES) and not firsts(view, DRUMS)
    assert {window(view, first, 3).shape[2] for first in np.unique(view._first).tolist()} == {1, 2}
