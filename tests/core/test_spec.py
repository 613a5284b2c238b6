"""What a spec says of its streams (sizes, gates, prompt frames), kept by the loss, the sampling and the bundle."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from audiocraft_ext.core.delay import delay
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import as_gates
from audiocraft_ext.core.prompts import Field, Prompts
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.sampler import SOME, UNKNOWN, generate
from audiocraft_ext.engine.sampling import Sampling, sample
from audiocraft_ext.engine.torch.loop import TorchLoop, TorchStepper
from audiocraft_ext.engine.torch.sampling import TorchSampler
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained, read
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.runs.identity import flatten
from audiocraft_ext.training.dataset import window_frames
from tests.helpers.third_kind import kind_called_test  # noqa: F401  a fixture

SIZES, GATES, CARD, P = (5, 5, 3, 4), ((2, 0, 1), (3, 1, 2)), 9, 2
DELAYS = [(0, 0, 0, 0), (0, 1, 1, 3)]
CFG = LMConfig(n_q=4, card=CARD, dim=32, num_heads=2, num_layers=2)


def spec_of(delays=(0, 0, 0, 0)) -> Spec:
    return Spec("test", 4, CARD, 10.0, delays, "none", "0", SIZES, GATES, P)


def model_of(spec: Spec, seed: int = 0) -> LM:
    torch.manual_seed(seed)
    return LM(CFG, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)


def clip(seed: int, frames: int = 12) -> np.ndarray:
    """Codes ``[K, P + T]`` as a store has them: a prompt, and rests behind closed gates."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, np.array(SIZES)[:, None], (4, P + frames))
    codes[:2] *= rng.random((2, P + frames)) < 0.5
    for stream, gate, rest in GATES:
        codes[stream][codes[gate] == 0] = rest
    codes[:, :P] = rng.integers(max(SIZES), CARD, (4, P))
    return codes


def legal(codes: np.ndarray, prompt: np.ndarray) -> None:
    """The laws of what is sampled."""
    assert (codes[..., :P] == prompt).all()
    rest = codes[..., P:]
    assert rest.min() >= 0 and (rest < np.array(SIZES)[:, None]).all()
    for stream, gate, at in GATES:
        shut = rest[:, gate] == 0
        assert shut.any() and not shut.all() and (rest[:, stream][shut] == at).all()
        assert len(np.unique(rest[:, stream][~shut])) > 1


@pytest.fixture(scope="module", params=DELAYS, ids=["parallel", "delay"])
def bundle(request, tmp_path_factory):
    spec = spec_of(request.param)
    config = {"type": "none", "what": [1, 2]}
    folder = tmp_path_factory.mktemp("streams") / "b"
    write_bundle(folder, Trained(spec, CFG, model_of(spec).state_dict(), None, 20, codec_config=config))
    return folder


@pytest.mark.parametrize("delays", DELAYS)
def test_the_loss_counts_what_can_be_predicted(delays):
    spec = spec_of(delays)
    lm = model_of(spec)
    codes = torch.from_numpy(np.stack([clip(0), clip(1)]))
    codes[1, :, -3:] = spec.special_id
    sequence = delay(codes, delays, spec.special_id)[..., : codes.shape[-1]]
    hidden, total = lm.hidden(sequence), []
    for k, d in enumerate(delays):
        nats, count = 0.0, 0
        gate = {stream: gate for stream, gate, _ in GATES}.get(k)
        for b in range(2):
            for t in range(codes.shape[-1] - d):
                if codes[b, k, t] >= SIZES[k]:
                    continue
                count += 1
                if gate is None or codes[b, gate, t] != 0:
                    logits = lm.linears[k](hidden[b, t + d])[: SIZES[k]]
                    nats -= F.log_softmax(logits, dim=-1)[codes[b, k, t]]
        total.append(nats / count)
    ce, each = lm.losses(codes)
    assert torch.allclose(each, torch.stack(total), atol=1e-5) and torch.allclose(ce, each.mean())


def test_weights_of_what_is_never_predicted_are_never_moved():
    spec = spec_of()
    lm = model_of(spec).requires_grad_(True)
    lm.losses(torch.from_numpy(clip(0)[None]))[0].backward()
    for linear, size in zip(lm.linears, SIZES):
        assert (linear.weight.grad[size:] == 0).all() and (linear.weight.grad[:size] != 0).any()


@pytest.mark.parametrize("delays", DELAYS)
def test_what_is_sampled_keeps_the_laws(delays):
    spec = spec_of(delays)
    prompt = clip(0)[:, :P]
    codes = generate(TorchStepper(model_of(spec)), spec, range(4), 60, seed=1, sampling=Sampling(3.0), given=prompt)
    legal(codes, prompt)


def test_some_is_never_nothing_and_what_is_given_stays():
    spec = spec_of()
    given = np.concatenate([clip(0)[:, :P], np.full((4, 40), UNKNOWN)], axis=1)
    given[0, P::2], given[0, P + 1 :: 2] = SOME, 0
    codes = generate(TorchStepper(model_of(spec)), spec, range(3), P + 40, seed=1, sampling=Sampling(3.0), given=given)
    legal(codes, given[:, :P])
    assert (codes[:, 0, P::2] > 0).all() and (codes[:, 0, P + 1 :: 2] == 0).all()
    assert (codes[:, 1, P:] == 0).any()


def test_a_prompt_must_be_given():
    with pytest.raises(UserError, match="first 2 frames"):
        generate(TorchStepper(model_of(spec_of())), spec_of(), [0], 20, seed=1, sampling=Sampling())


def test_the_bundle_is_the_model(bundle):
    spec, how = Bundle(bundle).spec, dict(seed=5, sampling=Sampling(1.5))
    prompt = clip(3)[:, :P]
    mine = generate(TorchStepper(model_of(spec)), spec, range(3), 50, given=prompt, window=20, **how)
    engine = Engine(bundle)
    assert (engine.generate(3, 50, given=prompt, **how) == mine).all()
    assert (engine.generate([2], 50, given=prompt, **how) == mine[2:]).all()
    legal(mine, prompt)


def test_the_loop_on_a_device_is_the_loop_here(bundle):
    spec = Bundle(bundle).spec
    lm, how = model_of(spec), dict(seed=5, sampling=Sampling(1.5), window=20)
    given = np.concatenate([clip(3)[:, :P], np.full((4, 40), UNKNOWN)], axis=1)
    given[1, 10:30:3] = SOME
    mine = generate(TorchStepper(lm), spec, range(3), P + 40, given=given, **how)
    assert (generate(TorchLoop(lm, "cpu"), spec, range(3), P + 40, given=given, **how) == mine).all()


def test_each_window_begins_with_the_prompt():
    """A model that says nothing but the first frame it was shown."""
    class First:
        def start(self, batch, capacity):
            self.seen = []

        def step(self, sequence):
            self.seen += list(sequence.transpose(2, 0, 1))
            logits = np.zeros((sequence.shape[0], 4, CARD), np.float32)
            logits[:, np.arange(4), self.seen[1][0] - max(SIZES)] = 50
            return logits

    spec = Spec("test", 4, CARD, 10.0, (0,) * 4, "none", "0", (5, 5, 5, 5), (), 1)
    prompt = np.array([[5], [6], [7], [8]])
    codes = generate(First(), spec, [0], 60, seed=1, sampling=Sampling(1.0), given=prompt, window=9)
    assert (codes[0, :, 1:] == prompt - 5).all()


def test_a_window_goes_on_from_the_second_half_of_the_clip_in_the_one_before():
    """What the model is shown at the beginning of each window, frame by frame."""
    class Shown:
        def __init__(self):
            self.windows = []

        def start(self, batch, capacity):
            self.windows.append([])

        def step(self, sequence):
            self.windows[-1] += [int(column) for column in sequence[0, 0]]
            return np.random.default_rng(sum(map(len, self.windows))).random((1, 1, 20)).astype(np.float32)

    spec = Spec("test", 1, 20, 10.0, (0,), "none", "0", (15,), (), 2)
    shown = Shown()
    class Model:
        def start(self, *args):
            shown.start(*args)

        def step(self, sequence):
            logits = shown.step(sequence)
            logits[..., 15:] = -np.inf
            return logits

    codes = generate(Model(), spec, [0], 2 + 20, seed=1, sampling=Sampling(1.0), given=np.array([[15, 16]]), window=10)
    clip = codes[0, 0, 2:].tolist()
    assert shown.windows[0] == [20, 15, 16, *clip[:7]]
    assert shown.windows[1] == [20, 15, 16, *clip[4:11]] and shown.windows[2][:7] == [20, 15, 16, *clip[8:12]]


def test_a_bundle_knows_what_its_codes_mean_and_is_read_back(bundle, tmp_path):
    found = Bundle(bundle)
    assert found.codec_config == {"type": "none", "what": [1, 2]}
    assert (found.spec.sizes, found.spec.gates, found.spec.prompt) == (SIZES, as_gates(GATES), P)
    again = read(bundle)
    assert again.codec_config == found.codec_config and again.spec == found.spec
    write_bundle(tmp_path / "again", again)
    assert Bundle(tmp_path / "again").spec == found.spec


@pytest.mark.parametrize(("change", "said"), [
    (dict(sizes=(5, 5, 3)), "4 sizes"), (dict(sizes=(5, 5, 0, 4)), "sizes"), (dict(sizes=(5, 5, 10, 4)), "card=9"),
    (dict(gates=((2, 4, 0),)), "gates"), (dict(gates=((2, 0, 9),)), "gates"),
    (dict(gates=((2, 0, 1), (2, 1, 1))), "gates"), (dict(gates=((2, 0, 1, (3, 9)),)), "card=9"),
    (dict(gates=((2, 0, 1, ()),)), "one at least"), (dict(gates=((2, 0),)), "one at least"),
    (dict(gates=((2, 2, 1),)), "circle"), (dict(gates=((2, 0, 1), (1, 2, 0), (0, 1, 1))), "circle"),
    (dict(gates=((0, 1, 0),), delays=(0, 1, 1, 3)), "gates"),
    (dict(prompt=-1), "prompt"),
])
def test_a_spec_refuses_what_cannot_be(change, said):
    values = dict(kind="test", n_q=4, card=9, frame_rate=1.0, delays=(0,) * 4, codec="c", codec_hash="h") | change
    with pytest.raises(UserError, match=said):
        Spec(**values)


def test_a_spec_goes_through_json_and_an_old_one_stays_as_it_was():
    spec = spec_of((0, 1, 1, 3))
    assert Spec.from_dict(spec.to_dict()) == spec
    plain = Spec("audio", 2, 4, 50.0, (0, 1), "c", "h", (4, 4))
    assert plain.to_dict().keys() == {"kind", "n_q", "card", "frame_rate", "delays", "codec"}
    with pytest.raises(UserError, match="sizes"):
        spec.check_same_stream(Spec("test", 4, CARD, 10.0, (0,) * 4, "none", "0", (4,) * 4, GATES, P), "a", "b")


def test_prompts_are_codes_that_no_stream_takes():
    prompts = Prompts((Field("genre", ("funk", "jazz")), Field("size", ("1", "2", "3")), Field("x", ("a",))), 5, 2)
    assert prompts.frames == 2 and prompts.card == 9
    said = {"size": "3", "x": "a"}
    codes = prompts.codes(said)
    assert codes.tolist() == [[5, 6], [8, 5]] and prompts.decode(codes) == said
    assert prompts.codes({}).tolist() == [[5, 5], [5, 5]] and prompts.decode(prompts.codes({})) == {}
    assert Prompts.from_dict(prompts.to_dict()) == prompts
    spec = prompts.extend(Spec("test", 2, 5, 1.0, (0, 0), "c", "h"))
    assert (spec.card, spec.sizes, spec.prompt) == (9, (5, 5), 2)
    for said, message in (({"genre": "ska"}, "funk, jazz, got 'ska'"), ({"mood": "low"}, "no prompt is called 'mood'")):
        with pytest.raises(UserError, match=message):
            prompts.codes(said)


def test_many_streams_are_the_same_model(tmp_path):
    """They have one table and one matrix in the graph."""
    gates = tuple((k + 6, k, 1) for k in range(6))
    spec = Spec("test", 12, CARD, 10.0, (0,) * 12, "none", "0", (5,) * 6 + (3,) * 6, gates, 1)
    cfg = LMConfig(n_q=12, card=CARD, dim=32, num_heads=2, num_layers=2)
    torch.manual_seed(0)
    lm = LM(cfg, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)
    prompt, how = np.full((12, 1), 7), dict(seed=5, sampling=Sampling(1.5))
    mine = generate(TorchStepper(lm), spec, range(7), 40, given=prompt, window=20, **how)
    for half in (False, True):
        write_bundle(tmp_path / f"b{half}", Trained(spec, cfg, lm.state_dict(), None, 20), half=half)
        engine = Engine(tmp_path / f"b{half}")
        codes = engine.generate(7, 40, given=prompt, **how)
        assert half or (codes == mine).all()
        assert all((engine.generate([i], 40, given=prompt, **how)[0] == codes[i]).all() for i in range(7))


def test_a_guided_clip_heeds_its_prompt_more(bundle):
    """Logits by hand: those of the twin, and ``weight`` times what the prompt adds; alone as in a batch."""
    spec, weight = Bundle(bundle).spec, 3.0
    prompt, silent = clip(3)[:, :P], np.full((4, P), max(SIZES))
    guide, how = Guide(weight, silent), dict(seed=5, sampling=Sampling(1.5), given=prompt)
    engine = Engine(bundle)
    codes = engine.generate(3, 40, guide=guide, **how)
    legal(codes, prompt)
    assert (engine.generate([1], 40, guide=guide, **how)[0] == codes[1]).all()
    assert (engine.generate(3, 40, guide=Guide(1.0, silent), **how) == engine.generate(3, 40, **how)).all()
    assert (engine.generate(3, 40, guide=Guide(9.0, prompt), **how) == engine.generate(3, 40, **how)).all()
    lm = model_of(spec)

    class Slow:
        def start(self, batch, capacity):
            self.seen = np.zeros((batch, 4, 0), np.int64)

        def step(self, sequence):
            self.seen = np.concatenate([self.seen, sequence], axis=-1)
            twin = self.seen.copy()
            for k, d in enumerate(spec.delays):
                said = twin[:, k, d + 1 : d + 1 + P]
                said[:] = silent[k, : said.shape[1]]
            conditional, unconditional = (lm(torch.from_numpy(seen))[:, :, -1].numpy() for seen in (self.seen, twin))
            possible = np.arange(CARD) < np.array(SIZES)[:, None]
            conditional, unconditional = (np.where(possible, x, -99) for x in (conditional, unconditional))
            out = unconditional + np.float32(weight) * (conditional - unconditional)
            return np.where(np.arange(CARD) < np.array(SIZES)[:, None], out, -np.inf)

    assert (generate(Slow(), spec, range(3), 40, window=20, **how) == codes).all()


@pytest.mark.parametrize("how", [Sampling(0.5), Sampling(0.0), Sampling(1.0, 2), Sampling(1.0, 0, 0.6),
                                 Sampling(2.0, 0, 1.0, 0.3), Sampling((1.0, 0.0, 0.5, 1.0))], ids=str)
def test_whether_comes_before_what(how):
    """The share of 0, and of each other code, by hand; and the same codes in torch."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 4, 6)).astype(np.float32) * 2
    logits[0, :, 5] = -np.inf
    n, gates = 20_000, np.array([0, 2])
    u = (np.arange(n)[:, None] + 0.5) / n * np.ones(4)
    many = np.repeat(logits, n, axis=0)
    codes = sample(many, how, u, gates)
    for k in range(4):
        plain = sample(many[:, k : k + 1], Sampling(*(how.rows(name, 4)[k] for name in
                       ("temperature", "top_k", "top_p", "min_p"))), u[:, :1])[:, 0]
        if k not in gates:
            assert (codes[:, k] == plain).all()
            continue
        T, p = how.rows("temperature", 4)[k], np.exp(logits[0, k].astype(np.float64))
        some = p[1:].sum()
        share = float(p[0] > some) if T == 0 else p[0] ** (1 / T) / (p[0] ** (1 / T) + some ** (1 / T))
        assert np.isclose((codes[:, k] == 0).mean(), share, atol=2e-4)
        rest = many[:, k : k + 1].copy()
        rest[..., 0] = -np.inf
        alone = Sampling(*(how.rows(name, 4)[k] for name in ("temperature", "top_k", "top_p", "min_p")))
        kinds = sample(rest, alone, u[:, :1])[:, 0]
        hits = codes[codes[:, k] > 0, k]
        if len(hits):
            there = np.bincount(hits, minlength=6) / len(hits)
            assert np.allclose(there, np.bincount(kinds, minlength=6) / n, atol=2e-3)
    other = TorchSampler(how, 4, 6, torch.device("cpu"), [0, 2]).sample(torch.from_numpy(many), torch.from_numpy(u))
    assert (other.numpy() != codes).mean() < 1e-3


def test_as_likely_as_the_model_has_it_nothing_changes():
    rng = np.random.default_rng(1)
    logits, u = rng.normal(size=(500, 4, 9)).astype(np.float32), rng.random((500, 4))
    assert (sample(logits, Sampling(1.0, 0), u, np.array([0, 1])) == sample(logits, Sampling(1.0, 0), u)).all()


def test_an_empty_setting_is_none():
    """A run that was begun before there were views goes on."""
    assert flatten({"a": {"b": 1, "view": {}}}) == {"a.b": 1}


UNITS = [("audio", 50.0, "", "seconds"), ("test", 8.0, "", "steps"), ("test", 50.0, "seconds", "seconds"),
         ("test", None, "notes", "notes")]


@pytest.mark.parametrize(("kind", "rate", "unit", "meant"), UNITS)
def test_a_spec_says_what_a_frame_is(kind, rate, unit, meant):
    spec = Spec(kind, 2, 4, rate, (0, 0), "c", "h", unit=unit)
    assert spec.unit == meant and Spec.from_dict(spec.to_dict()) == spec
    assert ("unit" in spec.to_dict()) == bool(unit) and ("frame_rate" in spec.to_dict()) == spec.timed
    assert spec.length(12) == ("0.24 s" if meant == "seconds" else f"12 {meant}")
    if spec.timed:
        assert spec.frames(spec.seconds(13)) == 13 == window_frames(spec, 13 / rate, None, "a.b")
    assert window_frames(spec, None, 7, "a.b") == 7


def test_frames_that_are_no_time_are_not_asked_for_in_seconds():
    spec = Spec("test", 2, 4, None, (0, 0), "c", "h", unit="notes")
    with pytest.raises(UserError, match="set dataset.segment_frames instead of dataset.segment_duration"):
        window_frames(spec, 8.0, None, "dataset.segment")
    with pytest.raises(UserError, match="no length of time"):
        spec.seconds(3)
    with pytest.raises(UserError, match="set a.b_duration, in seconds, or a.b_frames"):
        window_frames(spec_of(), None, None, "a.b")


@pytest.mark.parametrize(("unit", "rate"), [("bars", 8.0), ("notes", 8.0), ("steps", None), ("seconds", 0.0)])
def test_a_unit_and_a_rate_go_together(unit, rate):
    with pytest.raises(UserError, match="unit|frame_rate"):
        Spec("test", 2, 4, rate, (0, 0), "c", "h", unit=unit)
