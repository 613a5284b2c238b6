"""The engine: a clip is a function of (bundle, seed, index, settings), in every precision."""

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine import engine as engine_module
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampler import UNKNOWN
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.model.lm import LMConfig
from tests.helpers import tiny

FRAMES = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", precisions=["int8", "int4"])


@pytest.fixture(scope="module", params=["fp32", "int8", "int4"])
def any_engine(bundle, request):
    return SoundEngine(bundle, precision=request.param)


@pytest.fixture(scope="module")
def engine(bundle):
    return SoundEngine(bundle, precision="fp32")


@pytest.mark.parametrize("temperature, top_k", [(1.0, 50), (0.0, 0), (1.3, 0)])
def test_a_clip_is_the_same_alone_and_in_any_batch(any_engine, temperature, top_k):
    engine = any_engine
    settings = dict(seed=5, sampling=Sampling(temperature, top_k))
    whole = engine.generate(12, FRAMES, **settings)  # two batches
    assert whole.shape == (12, 4, FRAMES) and whole.min() >= 0 and whole.max() < 96
    for batch in ([0], [11], [3, 1], [9, 10, 11], [2, 4, 6, 8, 10]):
        np.testing.assert_array_equal(engine.generate(batch, FRAMES, **settings), whole[batch])
    if temperature:
        assert len({row.tobytes() for row in whole}) == 12
        assert (engine.generate(1, FRAMES, **settings | {"seed": 6}) != whole[0]).any()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("dim, heads", [(72, 3), (40, 1), (192, 4)])
def test_sizes_that_fill_no_vector_register_keep_the_law(tmp_path, dim, heads, precision):
    lm = tiny.tiny_lm(LMConfig(n_q=4, card=96, dim=dim, num_heads=heads, num_layers=2))
    engine = SoundEngine(tiny.tiny_bundle(tmp_path / "tiny", lm=lm, precisions=[precision]))
    assert engine.precision == precision
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
    codes = engine.generate(1, FRAMES, seed=1, given=prompt[0], progress=lambda at, of: seen.append((at, of)))
    np.testing.assert_array_equal(codes[..., :20], prompt)
    assert seen == [(i + 1, 23) for i in range(23)]  # 20 new frames and the longest delay


def test_threads_change_neither_code_nor_sound(any_engine):
    one, three = (SoundEngine(any_engine.bundle, threads=n, precision=any_engine.precision) for n in (1, 3))
    codes = one.generate(3, FRAMES, seed=1)
    np.testing.assert_array_equal(three.generate(3, FRAMES, seed=1), codes)
    np.testing.assert_array_equal(three.decode(codes), one.decode(codes))


def test_a_prompt_keeps_the_law(any_engine):
    """What is known is read many steps at once, and still it must not matter who else is read."""
    rng = np.random.default_rng(3)
    given = rng.integers(0, 96, (3, 4, 150))  # three readings of PREFILL steps
    whole = any_engine.generate(3, 170, seed=1, given=given)
    np.testing.assert_array_equal(whole[..., :150], given)
    for i in range(3):
        np.testing.assert_array_equal(any_engine.generate([i], 170, seed=1, given=given[i])[0], whole[i])
    holes = given.copy()
    for i, begin in enumerate((20, 90, 0)):
        holes[i, :, begin : begin + 30] = UNKNOWN  # each has another first code to sample
    whole = any_engine.generate(3, 150, seed=1, given=holes)
    np.testing.assert_array_equal(np.where(holes == UNKNOWN, UNKNOWN, whole), holes)
    for i in range(3):
        np.testing.assert_array_equal(any_engine.generate([i], 150, seed=1, given=holes[i])[0], whole[i])


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_holes_in_one_codebook_keep_the_law(tmp_path, precision):
    """A hole in the last codebook is seen by the model later than one in the first: a row whose hole was sampled from
    an earlier step, for a neighbour's sake, differed in 16 of 25 clips of this size in int4."""
    lm = tiny.tiny_lm(LMConfig(n_q=4, card=96, dim=256, num_heads=2, num_layers=3))
    engine = SoundEngine(tiny.tiny_bundle(tmp_path / "tiny", lm=lm, precisions=[precision]))
    given = np.random.default_rng(0).integers(0, 96, (4, 4, 60))
    for row in range(4):
        given[row, row, 20:] = UNKNOWN
    for seed in range(4):
        whole = engine.generate(4, 60, seed=seed, given=given)
        for row in range(4):
            np.testing.assert_array_equal(engine.generate([row], 60, seed=seed, given=given[row])[0], whole[row])
    with pytest.raises(UserError, match="first unknown code at different steps"):
        next(engine.stream(range(4), 60, seed=0, given=given))


def test_a_long_sound_is_encoded_in_pieces(engine):
    """As at once, but for a code here and there where the pieces meet."""
    wav = np.random.default_rng(0).standard_normal((1, 1, 40 * 32_000)).astype(np.float32)
    whole = engine.session("encoder.onnx").run(None, {"wav": wav})[0]
    codes = engine.encode(wav)
    assert codes.shape == whole.shape and (codes == whole).mean() > 0.999


def test_a_clip_longer_than_the_context_keeps_the_law(tmp_path):
    engine = SoundEngine(tiny.tiny_bundle(tmp_path / "tiny", context=24))
    whole = engine.generate(3, 100, seed=4)
    for i in range(3):
        np.testing.assert_array_equal(engine.generate([i], 100, seed=4)[0], whole[i])
    np.testing.assert_array_equal(engine.generate(3, 60, seed=4)[..., :57], whole[..., :57])
    assert engine.stepper._shape[2] == 28  # the cache is as long as the context, not as the clip


def test_playing_is_sampling_and_decoding(any_engine):
    codes, wav = any_engine.play([0, 3], 130, seed=2)
    np.testing.assert_array_equal(codes, any_engine.generate([0, 3], 130, seed=2))
    np.testing.assert_array_equal(wav, any_engine.decode(codes))


def test_precisions_are_near_each_other_and_not_the_same(bundle):
    """Rounding of weights to 7 or 4 bits and of rows to 8: 2% and 17% of the logits' size, measured."""
    sequence = np.random.default_rng(0).integers(0, 96, (1, 4, 60))
    logits = {}
    for precision in ("fp32", "int8", "int4"):
        stepper = SoundEngine(bundle, precision=precision).stepper
        stepper.start(1, 60)
        logits[precision] = stepper.logits(sequence).copy()
    for precision, least, most in (("int8", 0.002, 0.04), ("int4", 0.04, 0.3)):
        error = np.abs(logits[precision] - logits["fp32"]).mean() / np.abs(logits["fp32"]).mean()
        assert least < error < most, f"{precision}: {error}"


def test_int8_is_exact_integer_arithmetic(bundle):
    """Products of a row's 8 bits and a weight's 7 fit where AVX2 adds two of them: 2 * 255 * 63 < 2**15."""
    from audiocraft_ext.audio.codec.codec import read_safetensors
    from audiocraft_ext.export import onnx_lm, quantize

    weights = read_safetensors(bundle / "lm.int8.safetensors")
    largest = max(int(w.abs().max()) for name, w in weights.items() if name.endswith(".int8"))
    assert largest == quantize.WEIGHT_MAX and 2 * (2 * onnx_lm.ROW_MAX + 1) * largest < 2**15


def test_score_is_the_mean_log_probability(engine):
    codes = engine.generate(2, 90, seed=1)
    model = tiny.tiny_lm()
    with torch.no_grad():
        logits = model(torch.from_numpy(delay(codes, engine.spec.delays, 96)))[..., :-1, :]  # [B, K, S - 1, card]
    p = logits.log_softmax(-1).numpy()
    for first in (0, 37, 89):
        wanted = [np.mean([p[b, k, t + d, codes[b, k, t]] for k, d in enumerate(engine.spec.delays)
                           for t in range(first, 90)]) for b in range(2)]
        np.testing.assert_allclose(engine.score(codes, first), wanted, atol=1e-4)


def test_decoding_is_the_same_alone_and_in_a_batch(engine):
    codes = engine.generate(3, FRAMES, seed=1)
    whole = engine.decode(codes)
    for i in range(3):
        np.testing.assert_array_equal(engine.decode(codes[i : i + 1])[0], whole[i])


@pytest.mark.parametrize("arguments, what", [
    (dict(clips=0), "at least 1 clip"), (dict(frames=0), "at least 1 frame"),
    (dict(sampling=Sampling(-1.0)), "temperature"), (dict(sampling=Sampling(1.0, -1)), "top_k"),
    (dict(seed=-1), "seed"),
    (dict(given=np.zeros((4, 41), int)), "longer than the clip"),
    (dict(given=np.zeros((3, 4), int)), "given codes"), (dict(given=np.full((4, 4), 96)), "from 0 to 95"),
    (dict(given=np.full((4, 4), -3)), "from 0 to 95"),
])
def test_refusals(engine, arguments, what):
    with pytest.raises(UserError, match=what):
        engine.generate(**{"clips": 1, "frames": FRAMES, "seed": 1} | arguments)


def test_a_bundle_without_a_codec_has_no_sound(tmp_path):
    from audiocraft_ext.export.bundle import write_bundle

    model = tiny.tiny_trained()
    model.codec = None
    write_bundle(tmp_path / "drums", model)
    assert Engine(tmp_path / "drums").generate(1, 5, seed=1).shape == (1, 4, 5)
    with pytest.raises(UserError, match="no audio codec"):
        SoundEngine(tmp_path / "drums")


def test_a_head_size_that_the_kernel_does_not_take_is_refused_at_export(tmp_path):
    lm = tiny.tiny_lm(LMConfig(n_q=4, card=96, dim=36, num_heads=3, num_layers=1))
    with pytest.raises(UserError, match="multiple of 8"):
        tiny.tiny_bundle(tmp_path / "tiny", lm=lm)
    assert not list(tmp_path.iterdir())
