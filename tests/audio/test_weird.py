"""Weird tools: the law of each on random codes, what lies outside stays, chains as text, random numbers, errors."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from audiocraft_ext.audio.weird import tools
from audiocraft_ext.audio.weird.chain import TOOLS, Chain, Context
from audiocraft_ext.audio.weird.tools import UNKNOWN
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.engine import UNKNOWN as ENGINE_UNKNOWN
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampling import clip_rng
from tests.helpers.tiny import tiny_bundle

SHAPES = [(1, 1), (4, 1), (1, 7), (2, 50), (4, 403), (8, 64)]
CARD = 40


def some_codes(K, T, seed=0):
    return np.random.default_rng([seed, K, T]).integers(CARD, size=(K, T))


def some_books(K):
    return sorted({0, K - 1, K // 2})


def some_spans(T):
    return [(0, 1), (T // 3, max(T // 3 + 1, T // 2)), (T - 1, T)] if T > 5 else [(0, T)]


def context(K=4, seed=1, index=0, bpm=None, **more):
    return Context(Spec("audio", K, CARD, 50.0, tuple(range(K)), "some", "00"), seed, index, bpm, **more)


def fake_resample(given, seed):
    """Every unknown code is drawn anew, as an engine would."""
    return np.where(given == UNKNOWN, np.random.default_rng(seed).integers(CARD, size=given.shape), given)


# Laws.

@pytest.mark.parametrize("K, T", SHAPES)
def test_what_does_nothing_does_nothing(K, T):
    codes, other = some_codes(K, T), some_codes(K, T + 3, seed=1)
    books, spans = some_books(K), some_spans(T)
    half = Fraction(T, 2) if T > 1 else 1
    for same in (
        tools.swap(*tools.swap(codes, other, books, spans), books, spans)[0],
        tools.shift(tools.shift(codes, 5, books, spans), -5, books, spans),
        tools.shift(codes, 0, books),
        tools.recode(tools.recode(codes, 17, CARD, books, spans), -17, CARD, books, spans),
        tools.mutate(codes, 0.0, clip_rng(0, 0), CARD),
        tools.reverse(tools.reverse(codes, books, spans), books, spans),
        tools.stutter(codes, 0, half, 1),
        tools.repeat(codes, 0, half, 1),
        tools.splice(codes, codes, T // 2, T // 2),
        tools.forget(codes, books=[]),
    ):
        assert same.dtype == np.int64
        np.testing.assert_array_equal(same, codes)
    np.testing.assert_array_equal(tools.swap(*tools.swap(codes, other, books, spans), books, spans)[1], other)


@pytest.mark.parametrize("K, T", SHAPES)
def test_outside_is_untouched_and_codes_stay_codes(K, T):
    codes, before = some_codes(K, T), some_codes(K, T)
    books, spans = some_books(K), some_spans(T)
    outside = ~tools.where(codes, books, spans)
    for out in (
        tools.swap(codes, some_codes(K, T, 1), books, spans)[0],
        tools.shift(codes, 3, books, spans),
        tools.recode(codes, 10**30, CARD, books, spans),
        tools.mutate(codes, 1.0, clip_rng(0, 0), CARD, books, spans, "any"),
        tools.mutate(codes, 1.0, clip_rng(0, 0), CARD, books, spans, "clip"),
        tools.reverse(codes, books, spans),
    ):
        assert out.shape == codes.shape and out.min() >= 0 and out.max() < CARD
        np.testing.assert_array_equal(out[outside], codes[outside])
    np.testing.assert_array_equal(tools.forget(codes, books, spans) == UNKNOWN, ~outside)
    np.testing.assert_array_equal(tools.forget(codes, books, spans)[outside], codes[outside])
    np.testing.assert_array_equal(codes, before)  # what went in is as it was


def test_each_tool_by_hand():
    codes = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    other = np.array([[11, 12, 13], [16, 17, 18]])
    assert tools.swap(codes, other, [1])[0].tolist() == [[1, 2, 3, 4, 5], [16, 17, 18, 9, 10]]
    assert tools.swap(codes, other, [1])[1].tolist() == [[11, 12, 13], [6, 7, 8]]
    assert tools.shift(codes, 1, [1]).tolist() == [[1, 2, 3, 4, 5], [10, 6, 7, 8, 9]]
    assert tools.shift(codes, -1, [0], [(1, 4)]).tolist() == [[1, 3, 4, 2, 5], [6, 7, 8, 9, 10]]
    assert tools.recode(codes, 2, 11, [1]).tolist() == [[1, 2, 3, 4, 5], [8, 9, 10, 0, 1]]
    assert tools.reverse(codes, [0], [(1, 5)]).tolist() == [[1, 5, 4, 3, 2], [6, 7, 8, 9, 10]]
    assert tools.stutter(codes, 1, 1, 3).tolist() == [[1, 2, 2, 2, 5], [6, 7, 7, 7, 10]]
    assert tools.stutter(codes, 1, 2, 9, [0]).tolist() == [[1, 2, 3, 2, 3], [6, 7, 8, 9, 10]]
    assert tools.repeat(codes, 1, 2, 2).tolist() == [[1, 2, 3, 2, 3, 4, 5], [6, 7, 8, 7, 8, 9, 10]]
    assert tools.splice(codes, other, 4, 1).tolist() == [[1, 2, 3, 4, 12, 13], [6, 7, 8, 9, 17, 18]]
    assert tools.forget(codes, [1], [(0, 2)]).tolist() == [[1, 2, 3, 4, 5], [-1, -1, 8, 9, 10]]


def test_unknown_is_the_engines():
    assert UNKNOWN == ENGINE_UNKNOWN


@pytest.mark.parametrize("pick", tools.PICKS)
def test_mutate_replaces_its_share(pick):
    codes = np.zeros((4, 5000), np.int64) if pick == "any" else np.tile(np.arange(5000) % CARD, (4, 1))
    for share in (0.05, 0.5, 1.0):
        changed = (tools.mutate(codes, share, clip_rng(3, 0), CARD, pick=pick) != codes).mean()
        expected = share * (1 - 1 / CARD)  # one in CARD is drawn as it was
        assert abs(changed - expected) < 5 * np.sqrt(0.25 / codes.size)  # five standard deviations


def test_mutate_with_a_larger_share_or_other_books_keeps_its_choice():
    codes = some_codes(4, 400)
    few, many = (tools.mutate(codes, share, clip_rng(3, 0), CARD) for share in (0.1, 0.4))
    assert (many == few)[few != codes].all() and (many != codes).sum() > (few != codes).sum()
    one = tools.mutate(codes, 0.4, clip_rng(3, 0), CARD, books=[2])
    np.testing.assert_array_equal(one[2], many[2])


def test_mutate_keeps_the_palette_of_each_codebook():
    codes = some_codes(4, 60)
    out = tools.mutate(codes, 1.0, clip_rng(3, 0), CARD)
    for k in range(4):
        assert set(out[k]) <= set(codes[k])
    wild = tools.mutate(codes % 3, 1.0, clip_rng(3, 0), CARD, pick="any")
    assert len(set(wild[0])) > 3


# On the beat.

def test_repeats_do_not_drift():
    """At 130 BPM a sixteenth is 5.77 frames: each start is the nearest frame to its exact time, also the 200th."""
    length = Fraction(50 * 60, 130 * 4)
    codes = np.arange(3000)[None]
    out = tools.stutter(codes, 0, length, 200)[0]
    starts = np.flatnonzero(out[: tools.nearest(200 * length)] == 0)
    assert starts.tolist() == [tools.nearest(i * length) for i in range(200)]
    assert (np.abs(starts - np.arange(200) * float(length)) <= 0.5).all()
    assert (out[tools.nearest(200 * length) :] == codes[0, tools.nearest(200 * length) :]).all()
    longer = tools.repeat(codes, 10 * length, length, 100)
    assert longer.shape[1] == 3000 + tools.nearest(110 * length) - tools.nearest(11 * length)
    marks = np.flatnonzero(longer[0] == tools.nearest(10 * length))
    assert marks.tolist() == [tools.nearest((10 + i) * length) for i in range(100)]
    np.testing.assert_array_equal(longer[0, tools.nearest(110 * length) :], codes[0, tools.nearest(11 * length) :])


def test_repeat_at_the_very_end_holds_the_last_frame():
    out = tools.repeat(np.arange(5)[None], Fraction(5, 2), Fraction(5, 2), 3)  # frame 3 to 5, then 5 to 8, 8 to 10
    assert out.tolist() == [[0, 1, 2, 3, 4, 3, 4, 4, 3, 4]]


@pytest.mark.parametrize("text, frames", [("4b", 100), ("1bar", 100), ("1s", 50), ("100ms", 5), ("7f", 7), ("0", 0),
                                          ("1/4b", 6), ("-1b", 375), ("-1s", 350), (".5s", 25), ("1/3s", 17)])
def test_times(text, frames):
    codes = np.arange(400)[None].repeat(4, 0) % CARD
    out = Chain.parse(f"recode:add=1,at={text},len=1f").apply(codes, context(bpm=120))
    assert np.flatnonzero((out != codes).any(0)).tolist() == [frames]


def test_every_repeats_a_span_to_the_end():
    codes = np.zeros((4, 105), np.int64)
    out = Chain.parse("recode:add=1,books=1,at=1b,len=1/4b,every=1b").apply(codes, context(bpm=150))  # 20, 5 frames
    assert np.flatnonzero(out[1]).tolist() == [t for a in range(20, 105, 20) for t in range(a, a + 5)]
    assert not out[[0, 2, 3]].any()
    out = Chain.parse("stutter:at=0,len=2f,times=2,every=10f").apply(np.arange(26)[None] % CARD, context(1))[0]
    assert out.tolist() == [0, 1, 0, 1, *range(4, 10), 10, 11, 10, 11, *range(14, 20), 20, 21, 20, 21, 24, 25]


# Chains.

ALL = [
    "swap:with=a.wav,books=1-3", "swap:with='a;b,''c.wav',books=0+2,at=1b,len=1/2b,every=2b",
    "shift:by=-3f,books=1-", "recode:add=-7,books=0",
    "mutate:share=0.1,books=2-3", "mutate:share=0.5,pick=any,at=0.25s,seed=9",
    "reverse", "reverse:books=0,at=1bar,len=1b", "stutter:at=2b,len=1/4b,times=4", "repeat:at=0f,len=1/3s",
    "splice:with=my loop.wav,at=4b,from=-1bar", "through:model=embedded,at=2s",
    "reroll:keep=0", "reroll:books=1-3,seed=18446744073709551615", "infill:at=2b,len=1b,every=4b,books=0",
]


def test_every_tool_is_in_the_list():
    assert {text.partition(":")[0] for text in ALL} == set(TOOLS)


@pytest.mark.parametrize("text", [*ALL, "", "; ".join(ALL)])
def test_text_and_back(text):
    chain = Chain.parse(text)
    assert str(chain) == text  # these are written as they come out
    assert Chain.parse(str(chain)) == chain


@pytest.mark.parametrize("typed, canonical", [
    ("  mutate : books = 0,2 , share=10% ;; reverse;", "mutate:share=0.1,books=0+2; reverse"),
    ("swap:books=all,with=\"it's\"", "swap:with='it''s',books=0-"),
    ("swap:with=it's here.wav,books=0", "swap:with='it''s here.wav',books=0"),
    ("swap:with=a,b=c.wav,books=1-1", None),
    ("swap:with='a,b=c.wav',books=1-1", "swap:with='a,b=c.wav',books=1"),
    (r"swap:with=C:\clips\a.wav,books=1", r"swap:with=C:\clips\a.wav,books=1"),
    ("stutter:at=2.50b,len=250ms,times=02", "stutter:at=5/2b,len=0.25s,times=2"),
])
def test_as_it_is_typed(typed, canonical):
    if canonical is None:
        with pytest.raises(UserError, match="quote|no 'b'"):
            Chain.parse(typed)
        return
    chain = Chain.parse(typed)
    assert str(chain) == canonical and Chain.parse(canonical) == chain


def test_names_of_any_kind_come_back():
    rng = np.random.default_rng(0)
    for _ in range(300):
        name = "".join(rng.choice(list("ab;,=:'\" +-\\"), size=rng.integers(1, 9))).strip() or "x"
        chain = Chain.parse("swap:books=0,with='" + name.replace("'", "''") + "'")
        assert chain.links[0].get("with") == name
        assert Chain.parse(str(chain)) == chain


def whole_context(**more):
    return context(bpm=130, other=lambda name: some_codes(4, 300, 5), resample=fake_resample,
                   model=lambda name: (context().spec.with_delays((0, 2, 4, 6)), fake_resample), **more)


@pytest.mark.parametrize("text", ALL)
def test_every_link_is_a_function_of_its_seed(text):
    codes, chain = some_codes(4, 400), Chain.parse(text)
    out = chain.apply(codes, whole_context())
    assert out.dtype == np.int64 and out.min() >= 0 and out.max() < CARD and (out.shape != codes.shape
                                                                             or (out != codes).any())
    np.testing.assert_array_equal(out, chain.apply(codes, whole_context()))
    assert chain.check(400, whole_context()) == out.shape[1]
    drawn = "seed" in TOOLS[text.partition(":")[0]][1]
    another_index = chain.apply(codes, whole_context(index=1))
    assert (another_index != out).any() == drawn
    own = chain.links[0].get("seed") is not None
    assert (chain.apply(codes, whole_context(seed=2)) != out).any() == (drawn and not own)


def test_a_link_draws_by_its_place_unless_it_has_a_seed():
    codes = some_codes(4, 200)
    first = Chain.parse("mutate:share=0.5").apply(codes, context())
    second = Chain.parse("shift:by=0;mutate:share=0.5").apply(codes, context())
    assert (first != second).any()
    first = Chain.parse("mutate:share=0.5,seed=1").apply(codes, context(seed=5))
    second = Chain.parse("shift:by=0;mutate:share=0.5,seed=1").apply(codes, context(seed=6))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, Chain.parse("mutate:share=0.5").apply(codes, context(seed=1)))


def test_what_is_sampled_again():
    codes, seen = some_codes(4, 400), []

    def resample(given, seed):
        seen.append((given.copy(), seed))
        return fake_resample(given, seed)

    made = context(bpm=120, resample=resample, model=lambda name: (context().spec, resample))
    Chain.parse("reroll:keep=0; reroll:books=1-3; infill:at=2b,len=1b; through:model=x,at=1s").apply(codes, made)
    rerolled, again, infilled, through = (given == UNKNOWN for given, _ in seen)
    assert rerolled[1:].all() and not rerolled[0].any() and (again == rerolled).all()
    assert infilled[:, 50:75].all() and infilled.sum() == 4 * 25
    assert through[:, 50:].all() and not through[:, :50].any()
    seeds = [seed for _, seed in seen]
    assert len({*seeds, made.seed}) == 5  # the clip's own would give the clip itself again


def test_resampling_that_changes_what_is_known_is_a_bug():
    made = context(resample=lambda given, seed: np.zeros_like(given))
    with pytest.raises(AssertionError, match="known codes"):
        Chain.parse("reroll:keep=0").apply(some_codes(4, 20), made)


def test_with_an_engine(tmp_path):
    engine = Engine(tiny_bundle(tmp_path / "tiny"), threads=1)
    codes = engine.generate([3], 60, seed=1)[0]
    made = Context(engine.spec, 1, 3, resample=lambda given, seed: engine.generate([3], given.shape[1], seed=seed,
                                                                                  given=given)[0])
    out = Chain.parse("reroll:keep=0; infill:at=20f,len=10f; stutter:at=40f,len=5f").apply(codes, made)
    np.testing.assert_array_equal(out, Chain.parse("reroll:keep=0; infill:at=20f,len=10f; stutter:at=40f,len=5f").apply(
        codes, made))
    np.testing.assert_array_equal(out[0, :20], codes[0, :20])
    assert (out[1:, :20] != codes[1:, :20]).mean() > 0.5 and (out[:, 20:30] != codes[:, 20:30]).mean() > 0.5
    np.testing.assert_array_equal(out[:, 40:45], out[:, 45:50])


def test_links_compose():
    codes, other = some_codes(4, 400), some_codes(4, 300, 5)
    out = Chain.parse("swap:with=x,books=0; shift:by=5f,books=1; repeat:at=1s,len=1s; reverse").apply(
        codes, context(other=lambda name: other))
    expected = tools.repeat(tools.shift(tools.swap(codes, other, [0])[0], 5, [1]), 50, 50, 2)[:, ::-1]
    np.testing.assert_array_equal(out, expected)


# Errors.

@pytest.mark.parametrize("text, words", [
    ("mutat:share=1", "link 1: no tool 'mutat', did you mean 'mutate'.*there are swap, shift"),
    ("reverse; mutate:shore=1", "link 2: mutate has no 'shore', did you mean 'share'.*it takes share, pick"),
    ("mutate", "mutate needs share="),
    ("mutate:share=2", "share from 0 to 1.*got '2'"),
    ("mutate:share=nan", "share from 0 to 1"),
    ("mutate:0.1", "expected name=value, got '0.1'"),
    ("mutate:share=0.1,share=0.2", "share= twice"),
    ("mutate:share=1,pick=some", "pick is clip or any, got 'some'"),
    ("mutate:share=1,seed=-1", "seed is a whole number"),
    ("mutate:share=1,books=3-1", "books is codebooks"),
    ("mutate:share=1,books=", "books is codebooks"),
    ("reverse:at=2", "at is a time with its unit.*got '2'"),
    ("reverse:at=1/0b", "at is a time"),
    ("reverse:len=0b", "above 0, got '0b'"),
    ("stutter:at=1b", "stutter needs len="),
    ("stutter:at=1b,len=1b,times=0", "times is a number from 1 to"),
    ("stutter:at=1b,len=1b,times=1.5", "times is a number"),
    ("reroll", "needs either keep="),
    ("reroll:keep=0,books=1", "needs either keep="),
    ("swap:with=,books=0", "with is another clip"),
    ("swap:with='a,books=0", "quote is open"),
    ("swap:with='a' b,books=0", "quotes go round the whole"),
])
def test_what_cannot_be_read(text, words):
    with pytest.raises(UserError, match=words) as error:
        Chain.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text, words, more", [
    ("reverse; mutate:share=1,books=4", r"link 2 \(mutate:.*codebooks 4: the clip has 4, numbered 0 to 3", {}),
    ("reverse:at=2b", "2b is in beats and the clip has no tempo", {}),
    ("reverse:at=2b", "tempo above 0, got 0", {"bpm": 0}),
    ("reverse:at=9s", "at=9s is frame 450, and the clip has the frames 0 to 399", {}),
    ("reverse:at=-9s", "at=-9s is frame -50", {}),
    ("reverse:at=7s,len=2s", "ends at frame 450, and the clip at frame 400", {}),
    ("stutter:at=0,len=1/64b", "0.39 of a frame, and 1 frame is the least", {"bpm": 120}),
    ("stutter:at=0,len=1s,times=4,every=2s", "every=2s is less than the 200 frames", {}),
    ("repeat:at=0,len=8s,times=1000; repeat:at=0,len=10000f,times=1000", "frames, 1048576 is the most", {}),
    ("swap:with=a,books=0", "another clip .a. cannot be had", {}),
    ("swap:with=a,books=0", r"a: expected codes \[4, T\].*got \[3, 9\]", {"other": lambda name: some_codes(3, 9)}),
    ("swap:with=a,books=0", "a: expected codes from 0 to 39", {"other": lambda name: some_codes(4, 9) + 9}),
    ("splice:with=a,at=4s", "from=4s is frame 200, and the other clip has the frames 0 to 8",
     {"other": lambda name: some_codes(4, 9)}),
    ("reroll:keep=0", "it needs a model", {}),
    ("through:model=m,at=1s", "another instrument .m. cannot be had", {}),
    ("through:model=m,at=1s", "the clip has card=40, but m has card=41",
     {"model": lambda name: (Spec("audio", 4, 41, 50.0, (0, 1, 2, 3), "some", "00"), fake_resample)}),
    ("through:model=m,at=1s", "the clip has codec_hash=00, but m has codec_hash=01",
     {"model": lambda name: (Spec("audio", 4, 40, 50.0, (0, 1, 2, 3), "some", "01"), fake_resample)}),
])
def test_what_does_not_fit_the_clip(text, words, more):
    with pytest.raises(UserError, match=words):
        Chain.parse(text).apply(some_codes(4, 400), context(**more))
    with pytest.raises(UserError, match=words):
        Chain.parse(text).check(400, context(**more))


@pytest.mark.parametrize("codes, words", [
    (np.zeros((3, 5), int), r"codes \[4, T\]"), (np.zeros((4, 0), int), "T > 0"),
    (np.full((4, 5), -1), "from 0 to 39, got -1"), (np.full((4, 5), 40), "to 40"),
])
def test_codes_that_are_none(codes, words):
    with pytest.raises(UserError, match=words):
        Chain().apply(codes, context())


def test_imports_nothing_heavy():
    run = "import sys, audiocraft_ext.audio.weird.chain\n" \
          "print({'torch', 'onnxruntime', 'soundfile', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
