"""What a model in training sees of a store of drums: windows, what alters them, and their prompts."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.drums import augment, describe, kind
from audiocraft_ext.drums.augment import AUGMENTATIONS, Around
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.drums.midi import drums_of, stretches
from audiocraft_ext.drums.view import OPTIONS, DrumView
from audiocraft_ext.midi.file import read
from audiocraft_ext.midi.tempos import tempo_word
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.store.writer import StoreWriter
from audiocraft_ext.training.dataset import StreamDataset
from data_prep.midi.labels import of_name

GROOVE = sorted((Path(__file__).parents[1] / "data" / "groove").glob("*.mid"))
FRAMES = {"drum_grid": 64, "drum_hits": 90}
PLAIN = {"augment": False, "shorter": 0}
ALL = {"augment": dict.fromkeys(OPTIONS["augment"], 1.0)}
CODECS = {"drum_grid": DrumGrid(), "drum_hits": DrumHits()}


def write_store(path: Path, codec, performances: dict[str, list[tuple[str, dict, Pattern]]],
                prompted=True) -> TokenStore:
    """A store with prompts; of each source its split, its labels and its hits, in one metre each."""
    prompts = describe.prompts(sorted({describe.genre_of(about["style"]) for parts in performances.values()
                                       for _, about, _ in parts}), codec)
    settings = {"codec": {"type": codec.spec.codec, **codec.to_dict()}}
    settings |= {"prompts": prompts.to_dict()} if prompted else {}
    with StoreWriter(path, prompts.extend(codec.spec) if prompted else codec.spec, settings) as writer:
        for name, parts in performances.items():
            rows = []
            for side, about, pattern in parts:
                for bar in range(0, pattern.bars, 4):
                    part = pattern.take(range(bar, min(bar + 4, pattern.bars)))
                    row = {"follows": bar > 0, **about, "cut": "bars", "bar": bar, "bars": part.bars}
                    rows.append((side, codec.codes(part), row))
            writer.add_sources([(name, rows)])
        writer.finish()
    return TokenStore(path)


@pytest.fixture(scope="module", params=CODECS)
def store(request, tmp_path_factory) -> TokenStore:
    """The twelve performances that the tests have."""
    codec, performances = CODECS[request.param], {}
    for i, path in enumerate(GROOVE):
        played = read(path)
        (part,), _ = stretches(played, drums_of(played)[0], codec)
        style, kind, bpm = of_name(path.stem.split("-", 2)[2])
        about = {"style": style, "kind": kind, "bpm": bpm, "time_signature": "4/4"}
        performances[path.name] = [(VALID if i % 4 == 3 else TRAIN, about, codec.pattern(codec.encode(part.clip)))]
    return write_store(tmp_path_factory.mktemp("store") / request.param, codec, performances)


@pytest.fixture
def apart(tmp_path) -> TokenStore:
    """Performances that have a class each to themselves, so that it can be seen where a hit is from; the second source
    turns from 4/4 to 3/4, and after a rest it has another one in 3/4."""
    def part(drum: int, bar_steps: int, bars: int) -> Pattern:
        step = np.arange(0, bars * bar_steps, 2)
        same = np.ones(len(step))
        return Pattern(step, drum * same.astype(int), 64 * same, 0 * same, bars, bar_steps, 4)

    four, three = ({"style": "x", "kind": "beat", "bpm": 100.0, "time_signature": word} for word in ("4/4", "3/4"))
    after = three | {"follows": True}
    return write_store(tmp_path / "apart", DrumGrid(), {"a": [(TRAIN, four, part(0, 16, 9))], "b": [
        (TRAIN, four, part(1, 16, 8)), (TRAIN, after, part(2, 12, 8)), (TRAIN, three, part(4, 12, 4))],
        "c": [(VALID, four, part(3, 16, 4))]})


def windows(store: TokenStore, options: dict, n: int = 60, split: str = TRAIN, epoch: int = 1, frames: int = 0):
    """The view, and n windows through the data set that training has, ``[n, K, P + T]``."""
    view = DrumView(store, options)
    data = StreamDataset(store, split, frames or FRAMES[store.spec.codec], n, seed=7, view=view)
    return view, data.batch(epoch, range(len(data)))


def clip(window: np.ndarray, store: TokenStore) -> np.ndarray:
    """A window's codes, without its prompt and what it is filled up with."""
    codes = window[:, store.spec.prompt :]
    return codes[:, codes[0] != store.spec.special_id]


def pattern_of(view: DrumView, window: np.ndarray, meter=(4, 4)) -> Pattern:
    return view.codec.pattern(clip(window, view.store), meter)


# ---- Windows


def test_a_window_is_a_function_of_seed_epoch_and_index(store):
    _, one = windows(store, ALL)
    _, again = windows(store, ALL)
    _, later = windows(store, ALL, epoch=2)
    assert (one == again).all() and (one != later).any(axis=(1, 2)).mean() > 0.95
    assert len({window.tobytes() for window in one}) > 55


def test_validation_is_the_store_and_says_nothing(store):
    view, found = windows(store, {}, split=VALID)
    P, track_codes = store.spec.prompt, []
    for track in store.tracks(VALID):
        track_codes.append(store.read(track.start, track.frames).astype(int))
    for window in found:
        assert (window[:, :P] == view.prompts.codes({})).all()
        codes = clip(window, store)
        assert any((codes == whole[:, at : at + codes.shape[1]]).all() for whole in track_codes
                   for at in range(whole.shape[1] - codes.shape[1] + 1))
    assert store.spec.codec != "drum_grid" or (found[0] != store.spec.special_id).all()


def test_validation_can_say_everything(store):
    view, found = windows(store, {"say": True}, split=VALID)
    for window in found:
        said = view.prompts.decode(window[:, : store.spec.prompt])
        measured = describe.measured(pattern_of(view, window))
        assert {"genre", "kind", "tempo", "meter"} <= said.keys() and said["meter"] == "4/4"
        assert {name: word for name, word in measured.items() if word} == {
            name: word for name, word in said.items() if name in measured}


def test_the_prompt_describes_the_augmented_window(store):
    view, found = windows(store, ALL | {"drop": 0, "drop_all": 0})
    for window in found:
        said = view.prompts.decode(window[:, : store.spec.prompt])
        measured = describe.measured(pattern_of(view, window))
        assert all(said[name] == measured[name] for name in ("density", "bars", "intensity"))
        assert {"genre", "kind", "tempo", "meter"} <= said.keys()


@pytest.mark.parametrize("name", ["none", *OPTIONS["augment"]])
def test_every_window_is_legal(store, name):
    shares = dict.fromkeys(OPTIONS["augment"], 0) | ({} if name == "none" else {name: 1})
    view, found = windows(store, {"augment": shares, "strength": 2})
    spec, first = store.spec, view.prompts.first
    for window in found:
        prompt, codes = window[:, : spec.prompt], clip(window, store)
        assert (prompt >= first).all() and (window[:, spec.prompt + codes.shape[1] :] == spec.special_id).all()
        assert codes.shape[1] and codes.min() >= 0 and (codes < np.array(spec.sizes)[:, None]).all()
        for stream, gate, rest in (gate.to_list() for gate in spec.gates):
            assert (codes[stream][codes[gate] == 0] == rest).all()
        assert (view.codec.codes(view.codec.pattern(codes)) == codes).all()  # whole bars, sorted, each hit once


def test_a_window_has_whole_bars(store):
    view, found = windows(store, {"shorter": 0.5, "drop": 0, "drop_all": 0})
    bars = [pattern_of(view, window).bars for window in found]
    assert [view.prompts.decode(window[:, : store.spec.prompt])["bars"] for window in found] == list(map(str, bars))
    assert len(set(bars)) > 2
    _, found = windows(store, {"bars": 2})
    assert max(pattern_of(view, window).bars for window in found) == 2


def test_where_no_bar_fits_a_window_is_its_beginning(store):
    for options, split in ((ALL, TRAIN), ({}, VALID)):
        _, found = windows(store, options, frames=7, split=split)
        assert found.shape[-1] == store.spec.prompt + 7 and (found < store.spec.special_id).all(axis=1)[:, -1].any()


def test_a_window_begins_anywhere_in_its_performance(store):
    view = DrumView(store, PLAIN | {"augment": dict.fromkeys(AUGMENTATIONS, 0) | {"shift": 1}, "bars": 2})
    track = max(store.tracks(TRAIN), key=lambda track: track.frames)
    whole = view._performance(int(view._first[np.searchsorted(view._starts, track.start)]))
    places = {view.codec.codes(whole.pattern.take([bar, bar + 1])).astype(int).tobytes(): bar
              for bar in range(whole.pattern.bars - 1)}
    seen = set()
    for i in range(400):
        found = view.window(track, track.start, 200, np.random.default_rng(i))[:, store.spec.prompt :]
        assert found.tobytes() in places
        seen.add(places[found.tobytes()])
    assert len(seen) > 0.9 * len(places) > 20
    plain = DrumView(store, PLAIN | {"bars": 2})
    starts = {plain.window(track, track.slices[2], 64, np.random.default_rng(i))[:, store.spec.prompt :].tobytes()
              for i in range(5)}
    assert len(starts) == 1


def test_without_augmentation_codes_are_the_stores(store):
    """What went through a pattern and back is what it was."""
    view = DrumView(store, PLAIN)
    P, frames = store.spec.prompt, FRAMES[store.spec.codec]
    for track in store.tracks(TRAIN):
        for start in track.slices:
            assert np.array_equal(view.window(track, start, frames, np.random.default_rng(0))[:, P:],
                                  view.window(track, start, frames, None)[:, P:])


def test_performances_and_metres_never_meet(apart):
    shares = ALL["augment"] | {"substitute": 0}  # which would take them for each other
    view, found = windows(apart, {"augment": shares, "strength": 2}, 100, frames=80)
    counts = Counter()
    for window in found:
        said = view.prompts.decode(window[:, :1])
        drums = np.unique(pattern_of(view, window).drum)
        assert len(drums) == 1 and said.get("meter", "any") in ("any", "4/4" if drums[0] < 2 else "3/4")
        counts[int(drums[0])] += 1
    assert counts.keys() == {0, 1, 2, 4} and min(counts.values()) > 5
    track = apart.tracks(TRAIN)[1]
    plain = view.window(track, track.slices[1], 96, None)[:, 1:]
    assert track.frames > 128 and plain.shape[1] == 64 and not plain[2].any()  # up to where 3/4 begins


def test_fields_are_dropped_as_often_as_asked(store):
    view = DrumView(store, {"drop": 0.3, "drop_all": 0.2, "augment": {"dropout": 0}})
    track, n, counts, silent = store.tracks(TRAIN)[0], 1200, Counter(), 0
    for i in range(n):
        window = view.window(track, track.start, 96, np.random.default_rng(i))
        said = view.prompts.decode(window[:, : store.spec.prompt])
        counts.update(said.keys())
        silent += not said
    assert abs(silent / n - 0.2) < 0.03 and abs(counts["meter"] / n - 0.8) < 0.03
    for name in ("genre", "kind", "density", "intensity", "tempo", "bars"):
        assert abs(counts[name] / n - 0.8 * 0.7) < 0.04, name


def test_a_store_without_prompts(store, tmp_path):
    performance = [(TRAIN, {"style": "a", "time_signature": "4/4"}, DrumView(store)._performance(0).pattern)]
    plain = write_store(tmp_path / "plain", CODECS[store.spec.codec], {"a": performance}, prompted=False)
    _, found = windows(plain, ALL)
    assert found.shape[-1] == FRAMES[store.spec.codec] and plain.spec.prompt == 0
    assert kind.null_prompt(plain.spec, kind.codec_config(plain)) is None


@pytest.mark.parametrize("options, match", [
    ({"dorp": 1}, "no option is called 'dorp'; there are drop, drop_all, say"),
    ({"augment": {"reverse": 1}}, "none is called 'reverse'; there are shift, splice, rotate"),
    ({"augment": 0.5}, "a share for each, or false, got 0.5"), ({"drop": 2}, "drop: expected a number from 0 to 1"),
    ({"augment": {"splice": -1}}, "augment.splice: expected"), ({"say": 1}, "true or false"),
    ({"bars": 0}, "a number of bars"), ({"drop": True}, "got True"), ({"strength": "x"}, "from 0 to 2")])
def test_options_that_there_are_not(apart, options, match):
    with pytest.raises(UserError, match=match):
        DrumView(apart, options)


def test_options_are_changes_to_the_defaults(apart):
    view = DrumView(apart, {"augment": {"splice": 0.9}})
    assert view.options == OPTIONS | {"augment": OPTIONS["augment"] | {"splice": 0.9}} != OPTIONS
    assert DrumView(apart, {"augment": False}).options["augment"] == {}


# ---- Augmentations


@pytest.fixture(scope="module")
def performance(store) -> tuple[DrumView, Pattern]:
    """The longest."""
    view = DrumView(store)
    return view, max((view._performance(int(i)).pattern for i in np.unique(view._first)), key=len)


def altered(name: str, performance, seeds=range(20), names=None, bars=range(3, 7)) -> list[tuple[Pattern, Pattern]]:
    """Before and after, of those that changed."""
    view, whole = performance
    around, found = Around(view.names if names is None else names, whole), []
    for seed in seeds:
        before = whole.take(bars)
        kept = before.table().copy()
        after = AUGMENTATIONS[name](before, np.random.default_rng(seed), 1.0, around)
        again = AUGMENTATIONS[name](before, np.random.default_rng(seed), 1.0, around)
        assert np.array_equal(after.table(), again.table()) and np.array_equal(before.table(), kept)
        key = np.lexsort((after.offset, after.drum, after.step))
        assert (key == np.arange(len(key))).all() or not after.rolls  # sorted
        if before.table().tobytes() != after.table().tobytes():
            found.append((before, after))
    return found


def bars_of(pattern: Pattern) -> list[bytes]:
    return [pattern.take([bar]).table().tobytes() for bar in range(pattern.bars)]


def counts(pattern: Pattern) -> list[int]:
    return np.bincount(pattern.drum, minlength=12).tolist()


def test_rotate_keeps_the_bars_and_their_round(performance):
    pairs = altered("rotate", performance)
    assert len(pairs) == 20
    for before, after in pairs:
        old, new = bars_of(before), bars_of(after)
        assert new in [old[i:] + old[:i] for i in range(1, 4)]
    assert not altered("rotate", performance, bars=[2])


def test_splice_takes_bars_of_the_performance(performance):
    pairs, whole = altered("splice", performance), set(bars_of(performance[1]))
    assert len(pairs) > 15
    for before, after in pairs:
        assert set(bars_of(after)) <= whole and after.bars == before.bars
    assert any(old == new for before, after in pairs for old, new in zip(bars_of(before), bars_of(after)))


def test_velocity_changes_no_step_and_keeps_the_order(performance):
    pairs = altered("velocity", performance)
    assert len(pairs) == 20
    for before, after in pairs:
        assert np.array_equal(before.table()[:, [0, 1, 3]], after.table()[:, [0, 1, 3]])
        assert (np.diff(after.velocity[np.argsort(before.velocity)]) >= 0).all()
        assert after.velocity.min() >= 1 and after.velocity.max() <= 127
    louder = [(after.velocity.mean() > before.velocity.mean()) for before, after in pairs]
    assert 3 < sum(louder) < 17


def test_timing_scales_all_offsets_alike(performance):
    pairs = altered("timing", performance)
    assert len(pairs) == 20
    factors = []
    for before, after in pairs:
        assert np.array_equal(before.table()[:, :3], after.table()[:, :3])
        inside = (before.offset != 0) & (np.abs(after.offset) < 0.49)
        factor = after.offset[inside] / before.offset[inside]
        assert np.allclose(factor, factor[0])
        factors.append(factor[0])
    assert min(factors) < 0.8 and max(factors) > 1.1


def test_swing_moves_the_off_beats(performance):
    pairs = altered("swing", performance)
    assert len(pairs) > 15
    changes = []
    for before, after in pairs:
        changes.append(describe.swing(after) - describe.swing(before))
        if len(after) == len(before):  # none met another in its step
            assert counts(after) == counts(before)
            assert np.array_equal(np.sort(after.velocity), np.sort(before.velocity))
    assert min(changes) < -0.1 and max(changes) > 0.1


def test_swing_leaves_the_beats_and_what_is_behind_the_last(performance):
    """Eighths in 7/8, on the step: those on quarters stay, and so does the eighth that ends the bar, halved."""
    step = np.array([step for step in range(56) if step % 14 == 13 or step % 14 % 2 == 0])
    straight = Pattern(step, np.zeros(32, int), np.full(32, 80.0), np.zeros(32), 4, 14, 4)
    for seed in range(20):
        after = augment.swing(straight, np.random.default_rng(seed), 1.0, Around({}, straight))
        place, at = after.step + after.offset, step % 14
        beats = (at % 4 == 0) | (at == 13)
        assert np.allclose(place[beats], step[beats])
        late = place[~beats] - step[~beats]
        assert np.allclose(late, late[0]) and 0 <= late[0] <= 0.67


def test_dropout_leaves_one_class_out(performance):
    pairs = altered("dropout", performance)
    assert len(pairs) == 20
    for before, after in pairs:
        gone = [old for old, new in zip(counts(before), counts(after)) if old != new]
        assert len(gone) == 1 and len(after) == len(before) - gone[0]
        assert {row.tobytes() for row in after.table()} <= {row.tobytes() for row in before.table()}
    assert len({str(np.array(counts(after)) == 0) for _, after in pairs}) > 2


def test_substitute_exchanges_two_classes(performance):
    pairs = altered("substitute", performance)
    assert len(pairs) == 20
    allowed = [set(pair) for pair in augment.EXCHANGED]
    names = {i: name for name, i in performance[0].names.items()}
    for before, after in pairs:
        assert np.array_equal(np.sort(before.step), after.step) and sorted(counts(before)) == sorted(counts(after))
        assert {names[i] for i, (old, new) in enumerate(zip(counts(before), counts(after))) if old != new} in allowed
    assert len({str(counts(after)) for _, after in pairs}) > 2


def test_hands_lead_the_other_way_round(performance):
    toms = [performance[0].names[name] for name in augment.TOMS]
    strokes, mirrored = 0, 0
    for before, after in altered("hands", performance) + altered("hands", (performance[0], _with_toms(performance[1]))):
        if counts(before) == counts(after):
            assert np.array_equal(before.table()[:, [0, 1, 3]], after.table()[:, [0, 1, 3]])
            for drum in np.unique(before.drum):
                old, new = before.velocity[before.drum == drum], after.velocity[after.drum == drum]
                assert np.array_equal(np.sort(old), np.sort(new))
                pairs = old[: len(old) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
                assert np.array_equal(old, new) or np.array_equal(new[: len(pairs)], pairs)
            strokes += 1
        else:
            assert [counts(after)[tom] for tom in toms] == [counts(before)[tom] for tom in toms[::-1]]
            assert len(after) == len(before)
            mirrored += 1
    assert strokes > 10 and mirrored > 3


def _with_toms(pattern: Pattern) -> Pattern:
    """Kicks and snares played on toms."""
    drum = np.where(pattern.drum == 0, 6, np.where(pattern.drum == 1, 8, pattern.drum))
    return pattern.with_table(np.column_stack([pattern.step, drum, pattern.velocity, pattern.offset]))


@pytest.mark.parametrize("name", ["substitute", "hands"])
def test_a_map_of_other_names_is_left_alone(performance, name):
    assert not altered(name, performance, names=augment.named(["Bass", "Gong"]))


def test_names_of_classes_in_other_words():
    assert augment.named(["Closed Hi-Hat", "RIDE", "high-tom", "side stick"]) == {
        "closed_hat": 0, "ride": 1, "high_tom": 2, "side_stick": 3}


def test_nothing_falls_over_where_there_is_nothing(performance):
    view, whole = performance
    empty = whole.only(np.zeros(len(whole), bool))
    for name, alter in AUGMENTATIONS.items():
        after = alter(empty.take([0, 1]), np.random.default_rng(0), 1.0, Around(view.names, empty))
        assert len(after) == 0 and after.bars == 2, name


# ---- The end of the house


def test_clips_are_written(store, tmp_path):
    config = kind.codec_config(store)
    view, track = DrumView(store, {"say": True}), max(store.tracks(TRAIN), key=lambda track: track.frames)
    found = np.stack([view.window(track, start, 64, None)[:, : store.spec.prompt + 40] for start in track.slices[:2]])
    sounds = kind.write_samples(found, store.spec, config, tmp_path)
    for i, (wav, rate) in enumerate(sounds):
        assert rate == 44_100 and wav.dtype == np.float32 and wav.ndim == 1 and np.abs(wav).max() > 0.01
        midi = read(tmp_path / f"clip_{i}.mid")
        said = view.prompts.decode(found[i, :, : store.spec.prompt])
        assert tempo_word(midi.tempos[0][1]) == said["tempo"]
        assert len(midi.notes) == len(view.codec.decode(found[i, :, store.spec.prompt :]).notes) > 0
        assert (tmp_path / f"clip_{i}.wav").stat().st_size > 2 * len(wav)
    assert kind.null_prompt(store.spec, config).tolist() == view.prompts.codes({}).tolist()
    assert config["type"] == store.spec.codec and config["prompts"] == store.settings["prompts"]
