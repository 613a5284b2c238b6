"""How good a drum model is: every number beside one that was counted out by hand, on toys."""

import itertools
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.prompts import Field, Prompts
from audiocraft_ext.drums import kind
from audiocraft_ext.drums.codec.drum_map import DrumClass, DrumMap
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.store.reader import TokenStore
from benchmarks.drums import memory, quality, stats, steer
from benchmarks.drums.baselines import PRIORS, Odds, Positions, Unigram, folds_of, loss, measure
from benchmarks.drums.clips import Clip, Reader, bars_of, config_of, windows_of
from benchmarks.drums.model import Model
from benchmarks.drums.nearest import Copying, Follow, Nearest, around, follows, trust
from data_prep.midi import cli as midi

GROOVE = Path(__file__).parents[1] / "data" / "groove"
MAP = DrumMap("two", (DrumClass("kick", 36, (36,)), DrumClass("snare", 38, (38,))))
GRID = DrumGrid(MAP, 16, 3, 5)
SIZES = (3, 5)
READER = Reader({"type": "drum_grid", **GRID.to_dict()})


def codes(steps: int, seed: int, share: float = 0.4) -> np.ndarray:
    """Random codes ``[2C, T]`` of the grid."""
    rng = np.random.default_rng(seed)
    velocity = rng.integers(1, 4, (2, steps)) * (rng.random((2, steps)) < share)
    return np.concatenate([velocity, np.where(velocity, rng.integers(0, 5, (2, steps)), GRID.on_step)])


def clip(bars: int = 2, seed: int = 0, source: str = "", S: int = 4, share: float = 0.4) -> Clip:
    made = codes(bars * S, seed, share)
    return Clip(made, S, source or f"s{seed}", raw=made)


def played(source: str, *bars: np.ndarray) -> list[Clip]:
    """A performance, a row of the store for each bar."""
    return [Clip(bar, bar.shape[1], source, {"start": 100 + i * bar.shape[1], "frames": bar.shape[1]}, bar)
            for i, bar in enumerate(bars)]


def cells(some):
    """Class, step of the bar, velocity, offset of every cell of clips."""
    for one in some:
        for c, t in itertools.product(range(2), range(one.codes.shape[1])):
            yield c, t % one.bar_steps, int(one.codes[c, t]), int(one.codes[2 + c, t])


def spent(odds: Odds, made: np.ndarray) -> float:
    """The loss, cell by cell."""
    nats = 0.0
    for c, t in itertools.product(range(2), range(made.shape[1])):
        velocity, offset = made[c, t], made[2 + c, t]
        nats -= math.log(odds.hit[c, t, int(velocity > 0)])
        if velocity:
            nats -= math.log(odds.loud[c, t, velocity - 1]) + math.log(odds.when[c, t, offset])
    return nats


def check_sums_to_one(baseline, some: list[Clip]) -> None:
    """Over all that a cell can hold, at each place."""
    for one in some:
        odds = baseline.odds(one)
        for c, t in itertools.product(range(2), range(one.codes.shape[1])):
            all_of_it = odds.hit[c, t, 0] + sum(odds.hit[c, t, 1] * v * o for v in odds.loud[c, t]
                                                for o in odds.when[c, t])
            assert all_of_it == pytest.approx(1)


TRAIN = [clip(2, seed, f"s{seed // 2}") for seed in range(14)] + [clip(2, 20 + seed, S=3) for seed in range(3)]
VALID = [clip(2, 50), clip(3, 51), clip(1, 52, S=3), clip(1, 53, S=5)]


def test_unigram():
    unigram = Unigram(TRAIN, SIZES)
    for c in range(2):
        seen = [(v, o) for d, _, v, o in cells(TRAIN) if d == c]
        hits = [(v, o) for v, o in seen if v]
        assert unigram.table.hit[c].tolist() == pytest.approx([(len(seen) - len(hits) + 1) / (len(seen) + 2),
                                                               (len(hits) + 1) / (len(seen) + 2)])
        loud, when = Counter(v for v, _ in hits), Counter(o for _, o in hits)
        assert unigram.table.loud[c].tolist() == pytest.approx([(loud[v] + 1) / (len(hits) + 3) for v in (1, 2, 3)])
        assert unigram.table.when[c].tolist() == pytest.approx([(when[o] + 1) / (len(hits) + 5) for o in range(5)])
    check_sums_to_one(unigram, VALID)


def test_loss_and_its_units():
    unigram = Unigram(TRAIN, SIZES)
    told = measure(unigram, VALID)
    nats = sum(spent(unigram.odds(one), one.codes) for one in VALID)
    hits = sum(v > 0 for _, _, v, _ in cells(VALID))
    assert told["nats_a_hit"] == pytest.approx(nats / hits)
    assert told["nats_a_hit"] == pytest.approx(told["hit"] + told["loud"] + told["when"])
    assert told["bits_a_bar"] == pytest.approx(nats / math.log(2) / 7)
    silent = np.where(VALID[0].codes, 0, 0)
    other = silent.copy()
    other[2:] = 4  # an offset of no hit says nothing
    assert loss(unigram.odds(VALID[0]), silent) == loss(unigram.odds(VALID[0]), other)


def test_positions():
    table = Positions(TRAIN, SIZES, (2.0, 3.0, 4.0))
    uni, odds = table.unigram.table, table.odds(VALID[1])
    for c, s in itertools.product(range(2), range(4)):
        seen = [(v, o) for d, at, v, o in cells(TRAIN[:14]) if (d, at) == (c, s)]
        hits = [(v, o) for v, o in seen if v]
        for t in (s, s + 4, s + 8):
            assert odds.hit[c, t, 1] == pytest.approx((len(hits) + 2 * uni.hit[c, 1]) / (len(seen) + 2))
            for i in range(3):
                met = sum(v == i + 1 for v, _ in hits)
                assert odds.loud[c, t, i] == pytest.approx((met + 3 * uni.loud[c, i]) / (len(hits) + 3))
            for i in range(5):
                met = sum(o == i for _, o in hits)
                assert odds.when[c, t, i] == pytest.approx((met + 4 * uni.when[c, i]) / (len(hits) + 4))
    assert np.array_equal(table.odds(VALID[3]).hit, table.unigram.odds(VALID[3]).hit)  # no such bar was met
    check_sums_to_one(table, VALID)


def test_priors_are_those_that_predict_the_train_split_best():
    """Each part of the performances from the others, with every choice of one of the three."""
    chosen = Positions(TRAIN, SIZES).priors
    fold = folds_of(TRAIN)
    assert len(set(fold.tolist())) == 5 and len({(one.source, f) for one, f in zip(TRAIN, fold)}) == 10
    for part in range(3):
        costs = []
        for prior in PRIORS:
            priors = [1.0] * 3
            priors[part] = prior
            cost = 0.0
            for f in range(5):
                table = Positions([one for one, g in zip(TRAIN, fold) if g != f], SIZES, priors)
                cost += sum(loss(table.odds(one), one.codes)[part] for one, g in zip(TRAIN, fold)
                            if g == f and one.bar_steps in table.tables)
            costs.append(cost)
        assert chosen[part] == PRIORS[int(np.argmin(costs))]
    beats = [clip(8, seed, f"b{seed}", share=0.0) for seed in range(10)]
    for one in beats:
        one.codes[0, ::4] = 2  # always there: the table is to be believed
    assert Positions(beats, SIZES).priors[0] == PRIORS[0]


def test_clips_drawn_from_the_table_are_as_it_says():
    table = Positions(TRAIN, SIZES, (1.0,) * 3)
    drawn = table.sample(4000, 2, 4, np.random.default_rng(0), GRID.on_step)
    assert drawn.shape == (4000, 4, 8) and drawn[:, :2].max() == 3 and drawn[:, 2:].max() == 4
    odds, hit = table.tables[4], drawn[:, :2] > 0
    assert (drawn[:, 2:][~hit] == GRID.on_step).all()
    for t in range(8):
        assert hit[:, :, t].mean(0) == pytest.approx(odds.hit[:, t % 4, 1], abs=0.04)
        for c in range(2):
            loud = drawn[hit[:, c, t], c, t]
            assert np.bincount(loud, minlength=4)[1:] / len(loud) == pytest.approx(odds.loud[c, t % 4], abs=0.06)
            when = drawn[hit[:, c, t], 2 + c, t]
            assert np.bincount(when, minlength=5) / len(when) == pytest.approx(odds.when[c, t % 4], abs=0.06)


def test_bars_go_on_within_a_performance():
    a, b = played("a", codes(4, 0), codes(4, 1)), played("b", codes(4, 2), codes(4, 3), codes(4, 4))
    b[2].about["follows"] = False
    bars = bars_of([*a, *b, clip(2, 9, S=3)])
    assert bars[4].previous.tolist() == [-1, 0, -1, 2, -1] and bars[4].source.tolist() == [0, 0, 1, 1, 1]
    assert bars[3].previous.tolist() == [-1, 0]
    assert windows_of(bars[4], 2).tolist() == [[0, 1], [2, 3]] and len(windows_of(bars[4], 3)) == 0
    elsewhere = played("a", codes(4, 0), codes(4, 1))
    elsewhere[1].about["start"] += 4  # not side by side
    assert bars_of(elsewhere)[4].previous.tolist() == [-1, -1]


def test_the_nearest_bar_is_found():
    some = [one for seed in range(30) for one in played(f"p{seed}", *(codes(4, 3 * seed + i, 0.2) for i in range(3)))]
    bars = bars_of(some)[4]
    follow = Follow(bars)
    asked = np.stack([codes(4, 500 + seed, 0.2) for seed in range(40)])
    found, share = follow.of(asked)
    ties = 0
    for bar, got, far in zip(asked, found, share):
        best = []
        for i in np.flatnonzero(bars.previous >= 0):
            other = bars.codes[bars.previous[i]]
            apart = int(((bar[:2] > 0) != (other[:2] > 0)).sum())
            best.append((apart, int(np.abs(bar[:2] - other[:2]).sum()), int(i),
                         apart / max(1, int(((bar[:2] > 0) | (other[:2] > 0)).sum()))))
        ties += [one[0] for one in best].count(min(best)[0]) > 1
        assert (got, far) == (min(best)[2], pytest.approx(min(best)[3]))
    assert ties > 10


def test_trust_is_the_likeliest():
    rng = np.random.default_rng(0)
    copy, table, near = rng.random(300) ** 2, rng.random(300), rng.integers(0, 2, 300)
    weights = np.linspace(0.001, 0.999, 999)
    for i, got in enumerate(trust(copy, table, near, 3, rounds=500)[:2]):
        # the pretended cells: one that only the copy has, one that only the table has
        likely = [np.log(w * copy[near == i] + (1 - w) * table[near == i]).sum() + np.log(w) + np.log(1 - w)
                  for w in weights]
        assert got == pytest.approx(weights[np.argmax(likely)], abs=0.002)
    assert trust(copy, table, near, 3)[2] == 0.5  # never met


def test_nearest_copies_with_errors():
    """A copy of all that is certain but for a tenth, by hand."""
    one, two, three = codes(4, 0), codes(4, 1), codes(4, 2)
    table = Positions(TRAIN, SIZES, (1.0,) * 3)
    n = 8
    copying = Copying(np.stack([np.full(n, 0.9), np.full(n, 0.8)], 1), np.full(n, 0.7), np.full(n, 0.6), 1.0, 2.0)
    nearest = Nearest(played("x", one, two) + played("y", three, codes(4, 9)), table, SIZES, copying)
    asked = Clip(np.concatenate([one, codes(4, 77)], 1), 4)
    odds, plain = nearest.odds(asked), table.odds(asked)
    assert np.array_equal(odds.hit[:, :4], plain.hit[:, :4])  # the first bar
    for c, t in itertools.product(range(2), range(4)):
        was = two[c, t] > 0
        trusted = 0.8 if was else 0.9
        assert odds.hit[c, 4 + t, int(was)] == pytest.approx(trusted + (1 - trusted) * plain.hit[c, t, int(was)])
        loud, when = plain.loud[c, t], plain.when[c, t]
        if was:
            p, q = (np.array([math.exp(-abs(i - at) / width) for i in range(size)]) for at, size, width in
                    ((two[c, t] - 1, 3, 1.0), (two[2 + c, t], 5, 2.0)))
            loud, when = 0.7 * p / p.sum() + 0.3 * loud, 0.6 * q / q.sum() + 0.4 * when
        assert odds.loud[c, 4 + t] == pytest.approx(loud) and odds.when[c, 4 + t] == pytest.approx(when)
    check_sums_to_one(nearest, [asked])
    assert around(np.array([1]), 3, 1e-3)[0].tolist() == [0, 1, 0]


def test_nearest_predicts_and_never_peeks():
    """What repeats is predicted far better than by the table; a bar changes nothing of what is said of it."""
    loops = [one for i in range(20) for one in played(f"p{i}", *([codes(4, 1000 + i % 7), codes(4, 2000 + i % 7)] * 3))]
    table = Positions(loops, SIZES)
    nearest = Nearest(loops, table, SIZES)
    assert (nearest.copying.hit[0] > 0.9).all() and nearest.copying.when[0] > 0.9
    new = [Clip(np.concatenate([codes(4, 1000 + i), codes(4, 2000 + i)] * 2, 1), 4) for i in range(7)]
    assert measure(nearest, new)["nats_a_hit"] < 0.5 * measure(table, new)["nats_a_hit"]
    changed = Clip(np.concatenate([new[0].codes[:, :12], codes(4, 99)], 1), 4)
    assert all(np.array_equal(a[:, :16], b[:, :16]) for a, b in zip(nearest.odds(new[0]), nearest.odds(changed)))
    strangers = [clip(4, 3000 + i) for i in range(200)]
    unsure = Nearest(strangers, Positions(strangers, SIZES), SIZES)
    alone, copied = (measure(by, [clip(4, 900 + i) for i in range(20)])["nats_a_hit"] for by in (unsure.table, unsure))
    assert copied < 1.02 * alone and len(follows(strangers)) == 1


PROMPTS = Prompts((Field("genre", ("funk", "jazz")), Field("density", ("low", "high")), Field("meter", ("4/4",))),
                  max(GRID.sizes), 4)


@pytest.fixture(scope="module", params=[(0, 0, 0, 0), (0, 1, 2, 3)], ids=["parallel", "delay"])
def model(request, tmp_path_factory):
    spec = PROMPTS.extend(GRID.spec).with_delays(request.param)
    torch.manual_seed(1)
    cfg = LMConfig(n_q=4, card=spec.card, dim=32, num_heads=2, num_layers=1)
    lm = LM(cfg, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)
    for weight in lm.parameters():
        weight.mul_(4)  # random weights as they are hardly hear a prompt
    out = tmp_path_factory.mktemp("bundle") / "b"
    config = {"type": "drum_grid", **GRID.to_dict(), "prompts": PROMPTS.to_dict()}
    write_bundle(out, Trained(spec, cfg, lm.state_dict(), None, 65, codec_config=config))
    return Model(Engine(out, 1)), lm


def test_the_model_s_loss_is_that_of_training(model):
    """Sum for sum, by torch's cross entropy; a delayed stream's last frames are not in that one, so longer clips are
    shown to it."""
    model, lm = model
    clips = model.fit([clip(2, 1, S=16), clip(1, 2, S=12), clip(4, 3, S=16), clip(5, 4, S=16)])
    assert [one.codes.shape[1] for one in clips] == [32, 12, 64, 64] and clips[3].bars == 4
    for one in clips:
        one.about["prompt"] = {"genre": "jazz", "density": "high", "swing": "unheard of"}
    deep = max(model.spec.delays)
    for prompted, said in ((False, {}), (True, {"genre": "jazz", "density": "high"})):
        told, nats = model.losses(clips, prompted)
        want = []
        for one in clips:
            given = np.concatenate([PROMPTS.codes(said), one.raw], 1)
            known = torch.from_numpy(np.pad(given, ((0, 0), (0, deep)), constant_values=model.spec.special_id))[None]
            counts = lm.targets(known)
            want.append(float((lm.losses(known)[1] * counts).sum()))
        assert nats == pytest.approx(want, rel=1e-4)
        assert told["nats_a_hit"] == pytest.approx(sum(want) / sum(one.hits for one in clips), rel=1e-4)
        assert told["bits_a_bar"] == pytest.approx(sum(want) / math.log(2) / 11, rel=1e-4)
    assert model.losses(clips, False)[0]["nats_a_hit"] != told["nats_a_hit"]


def test_the_model_makes_what_is_asked_for(model):
    model, _ = model
    made = model.make(3, {"genre": "funk"}, 5, bars=2)
    again = model.make(3, [{"genre": word} for word in ("funk", "jazz", "funk")], 5, bars=2)
    same = [np.array_equal(a.codes, b.codes) for a, b in zip(made, again)]
    assert same == [True, False, True] and made[0].codes.shape == (4, 32) and made[0].bars == 2
    for one in made:
        assert one.hits and (one.codes[2:][one.codes[:2] == 0] == GRID.on_step).all()
    tame = Model(model.engine, 0.0).make(2, {"genre": "funk"}, 5, bars=1)
    assert np.array_equal(tame[0].codes, tame[1].codes) and not np.array_equal(made[0].codes, made[1].codes)


def grid_clip(*rows: str, bar_steps: int = 16) -> Clip:
    """A row a class: "x" is a hit."""
    velocity = np.array([[2 * (c == "x") for c in row] for row in rows])
    return Clip(np.concatenate([velocity, np.full_like(velocity, GRID.on_step)]), bar_steps)


def test_statistics():
    plain, other = "x...............", "x...x..........."
    one = grid_clip(plain + other + "." * 32, other * 2 + "." * 32)
    assert stats.similarity(one).tolist() == pytest.approx([3 / 4, 0])  # two empty bars say nothing
    told = stats.of(READER, [one, grid_clip(plain * 2, plain * 2)])
    assert told.hits.tolist() == [[1, 2], [2, 2], [0, 0], [0, 0], [1, 1], [1, 1]]
    assert told.where[1, :5].tolist() == pytest.approx([4 / 6, 0, 0, 0, 2 / 6])
    assert sorted(told.step.tolist()) == [0] * 8 + [4] * 3
    assert told.means()["density"] == pytest.approx((7 / 4 + 4 / 2) / 2)
    same = stats.distances(told, told)
    assert [name for name, value in same.items() if math.isfinite(value) and value != 0] == [] and len(same) == 9
    assert set(same) == set(stats.UNITS)
    empty = stats.of(READER, [grid_clip("." * 16, "." * 16)])
    assert all(math.isnan(stats.distances(empty, told)[name]) for name in ("offset", "where", "velocity by step"))


def test_distances_are_in_their_units():
    quiet, loud = (Clip(np.array([[v] + [0] * 15, [0] * 16, [o] + [2] * 15, [2] * 16]), 16)
                   for v, o in ((1, 1), (3, 4)))
    one, other = (stats.of(READER, [c] * 3) for c in (quiet, loud))
    far = stats.distances(one, other)
    assert far["offset"] == pytest.approx(60)  # three bins of five
    assert far["velocity by step"] == pytest.approx(other.velocity[0] - one.velocity[0]) and far["where"] == 0
    assert stats.distances(one, stats.of(READER, [grid_clip("." * 16, "x" + "." * 15)]))["where"] == 1
    more = stats.of(READER, [grid_clip("x.x.x..." * 2, "." * 16)])
    far = stats.distances(more, one)
    assert far["hits a bar"] == pytest.approx(5) and far["density"] == pytest.approx(5)


def test_memory_finds_every_stretch():
    train = [one for i in range(12) for one in played(f"p{i}", *(codes(8, 10 * i + b, 0.7) for b in range(4)))]
    bars = bars_of(train)[8]
    for length in (1, 2, 3):
        known = memory.TrainStretches(bars, length)
        assert len(known.hits) == 12 * (5 - length)
        asked = np.stack([np.stack([codes(8, 700 + 9 * i + b, 0.7) for b in range(length)]) for i in range(20)])
        far, which = known.nearest(asked)
        for one, d, w in zip(asked, far, which):
            apart = [int(((one[:, :2] > 0) != (bars.codes[place][:, :2] > 0)).sum()) for place in known.places]
            assert d == min(apart) == apart[w]
    known = memory.TrainStretches(bars, 2)
    heard = bars.codes[[[1, 2], [42, 43]]]
    assert known.nearest(heard)[0].tolist() == [0, 0] and known.same(heard).all()
    louder = heard.copy()
    louder[:, :, :2][louder[:, :, :2] > 0] = 1
    louder[:, 0, 0, 0] ^= 1
    assert known.nearest(louder)[0].max() <= 1 and not known.same(louder).any()
    across = bars.codes[[[3, 4]]]  # the end of one performance and the beginning of the next
    assert known.nearest(across)[0] > 0 and not known.same(across).any()
    told = memory.measure(known, np.concatenate([heard, louder]))
    assert told["clips"] == 4 and told["same"] == 0.5 and told["0%"] >= 0.5 and told["20%"] == 1
    sparse = np.zeros((5, 2, 4, 8), int)
    assert memory.measure(known, sparse) == {"clips": 0}
    told = memory.measure(memory.TrainStretches(bars, 1), heard)
    assert told["clips"] == 4 and told["same"] == 1


def test_bar_by_bar():
    made = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    assert np.array_equal(memory.in_bars(made, 4)[1, 1], made[1, :, 4:])


def test_words_that_steer_and_words_that_do_not():
    rng = np.random.default_rng(0)
    up = [np.array([i, i, i + 0.5]) for i in range(5)]
    assert steer.rho(up) == {"all": pytest.approx(0.98, abs=0.03), "medians": pytest.approx(1)}
    assert steer.rho(up[::-1])["medians"] == pytest.approx(-1)
    assert abs(steer.rho([rng.random(500) for _ in range(5)])["all"]) < 0.1
    assert steer.rho([np.array([0.0, np.nan]), np.array([1.0, np.nan])])["medians"] == pytest.approx(1)
    assert math.isnan(steer.rho([np.ones(3)] * 2)["all"])


def test_steering_asks_for_every_word():
    level = {"low": 0.2, "high": 0.6}
    rows = [Clip(codes(16, i, 0.3), 16, about={"prompt": {"density": "low"}}) for i in range(5)]
    rows += [Clip(codes(16, i, 0.3), 16, about={"prompt": {"genre": word}}) for i, word in enumerate(("funk", "jazz"))]
    told = steer.steer(READER, lambda said: rows[:1], {"genre": ("funk", "jazz")}, rows)["genre"]
    density = [int((codes(16, i, 0.3)[:2] > 0).sum()) for i in range(2)]
    assert told["rho_of_rows"]["density"]["all"] == pytest.approx(np.sign(density[1] - density[0])) != 0
    told = steer.steer(READER, lambda said: [Clip(codes(16, i, level[said["density"]]), 16) for i in range(30)],
                            {"density": ("low", "high")}, rows)["density"]
    low, high = told["words"]["low"], told["words"]["high"]
    assert low["clips"] == 30 and low["rows"] == 5 and high["rows"] == 0
    made = [int((codes(16, i, 0.2)[:2] > 0).sum()) for i in range(30)]
    assert low["density"]["quartiles"][1] == np.median(made) < high["density"]["quartiles"][1]
    assert low["density"]["of_rows"] == np.median([one.hits for one in rows[:5]])
    assert told["rho"]["density"]["all"] > 0.8 and math.isnan(high["density"]["of_rows"])
    assert any("Spearman of density" in line for line in steer.report({"density": told}))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Groove on the grid, and by its hits."""
    folder = tmp_path_factory.mktemp("drums")
    for file in GROOVE.glob("*.mid"):
        shutil.copy(file, folder)
    (folder / "split.csv").write_text("file,split\n" + "".join(
        f"{file.name},{'valid' if i < 3 else 'train'}\n" for i, file in enumerate(sorted(folder.glob("*.mid")))))
    out = {}
    for name, options in (("grid", []), ("hits", ["--codec", "drum_hits"])):
        midi.main([str(folder), str(folder / name), "--workers", "0", "--csv", str(folder / "split.csv"), *options])
        out[name] = folder / name
    return out


def tiny(store: TokenStore, out: Path) -> Path:
    spec = store.spec
    cfg = LMConfig(n_q=spec.n_q, card=spec.card, dim=16, num_heads=2, num_layers=1)
    torch.manual_seed(0)
    lm = LM(cfg, spec.delays, spec.sizes, spec.gates)
    write_bundle(out, Trained(spec, cfg, lm.state_dict(), None, spec.prompt + 64,
                              codec_config=kind.codec_config(store)))
    return out


def test_clips_of_either_codec_are_the_same(stores):
    grid, hits = (TokenStore(stores[name]) for name in ("grid", "hits"))
    one, other = (Reader(config_of(store)) for store in (grid, hits))
    assert one.exact and not other.exact
    same = total = 0
    for a, b in zip(one.of_store(grid, "train"), other.of_store(hits, "train"), strict=True):
        assert a.codes.shape == b.codes.shape and a.source == b.source
        some = (a.codes > 0)[:12]
        same, total = same + int((some & (b.codes > 0)[:12]).sum()), total + int((some | (b.codes > 0)[:12]).sum())
    assert same > 0.97 * total > 1000
    with pytest.raises(UserError, match="no rows in the split test"):
        one.of_store(grid, "test")


def test_the_command(stores, tmp_path, capsys):
    store = TokenStore(stores["grid"])
    bundle = tiny(store, tmp_path / "b")
    quality.main([str(bundle), str(store.path), "--samples", "6", "--setting", "4", "--threads", "1",
                        "--picture", str(tmp_path / "p.png"), "--save", str(tmp_path / "r.json")])
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)["drums_quality"]["results"]
    costs = results["loss"]
    assert costs["model, told nothing"]["nats_a_hit"] > costs["unigram"]["nats_a_hit"] > 0  # it learnt nothing
    assert costs["rows"]["valid"] > 5 and costs["model, told all"] != costs["model, told nothing"]
    assert set(results["prompts"]) >= {"density", "intensity", "swing", "genre"}
    assert results["memory"]["4 bars"]["samples"]["10%"] == 0 and results["statistics"]["clips"]["samples"] == 6
    for word in ("copy of the nearest bar", "self-similarity", "Spearman of density", "4 bars", "kick a bar"):
        assert word in printed
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG" and not list(tmp_path.glob(".p*"))


def test_the_command_with_hits_tells_the_loss(stores, tmp_path, capsys):
    store = TokenStore(stores["hits"])
    bundle = tiny(store, tmp_path / "b")
    quality.main([str(bundle), str(store.path), "--quick", "--threads", "1"])
    assert "do not compare" in capsys.readouterr().out
    with pytest.raises(UserError, match="its codes are not those of"):
        quality.main([str(bundle), str(stores["grid"])])
