"""Soups: the ends are the models themselves to the last bit, the middle is where it should be, what does not fit."""

import json
from dataclasses import replace

import pytest
import torch

from audiocraft_ext.audio.codec.codec import Codec
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.export import soup, sources
from audiocraft_ext.export.soup import mix
from tests.helpers.tiny import LM_SIZE, tiny_bundle, tiny_codec, tiny_lm, tiny_trained


@pytest.fixture(scope="module")
def models():
    return [tiny_trained(tiny_lm(seed=seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soup")
    return [str(tiny_bundle(folder / name, lm=tiny_lm(seed=seed))) for seed, name in enumerate("ab")]


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.int32), b[k].view(torch.int32)) for k in a)


@pytest.mark.parametrize("way", soup.WAYS)
def test_the_ends_are_the_models_to_the_last_bit(models, way):
    models = [replace(m, state={k: v.clone() for k, v in m.state.items()}) for m in models[:2]]
    models[0].state["linears.0.weight"][0, :2] = torch.tensor([-0.0, 1e-42])  # what a sum of two would lose
    assert same_bits(mix(models, "ab", [1, 0], way).state, models[0].state)
    assert same_bits(mix(models, "ab", [0, 1], way).state, models[1].state)
    for t in (1e-3, 1 - 1e-3):
        assert not same_bits(mix(models, "ab", [1 - t, t], way).state, models[round(t)].state)


def test_a_mean_of_equals_is_what_they_are(models):
    a = models[0]
    for weights in ([0.7, 0.3], [0.9, 0.1], [1.5, -0.5]):
        for way in soup.WAYS:
            out = mix([a, a], "ab", weights, way, extrapolate=True).state
            assert all(torch.equal(out[k], a.state[k]) for k in out)


def test_the_straight_line(models):
    out = mix(models, "abc", [0.5, 0.3, 0.2]).state
    for key, value in out.items():
        a, b, c = (m.state[key] for m in models)
        torch.testing.assert_close(value, 0.5 * a + 0.3 * b + 0.2 * c)  # float32 against float64
    beyond = mix(models[:2], "ab", [-0.5, 1.5], extrapolate=True).state
    torch.testing.assert_close(beyond["out_norm.weight"], 1.5 * models[1].state["out_norm.weight"]
                               - 0.5 * models[0].state["out_norm.weight"])


def test_the_arc_keeps_the_length():
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    for t in (0.1, 0.5, 0.8):
        point = soup.slerp(a, b, t)
        assert point.norm().item() == pytest.approx(3.0, rel=1e-6)
        assert torch.atan2(point[1], point[0]).item() == pytest.approx(t * torch.pi / 2, rel=1e-6)
    for end in (torch.zeros(2), 2 * a, -a):  # no arc: the straight line
        torch.testing.assert_close(soup.slerp(a, end, 0.25), 0.75 * a + 0.25 * end)


def test_likeness(models):
    a, b = models[0].state, models[1].state
    near = {k: v + 0.01 * b[k] for k, v in a.items()}
    assert soup.likeness(a, a) == pytest.approx(1) and soup.likeness(a, near) > 0.999
    assert abs(soup.likeness(a, b)) < 0.05


def test_what_it_says_of_itself(models):
    a = replace(models[0], licence="CC0-1.0", run={"segment_duration": 30.0}, context=900)
    b = replace(models[1], licence="CC-BY-4.0", run={"segment_duration": 12.0, "signature": "1a2b"})
    out = mix([a, b, a], ["rain", "wind", "rain"], [0.5, 0.25, 0.25])
    assert out.licence == "CC0-1.0 AND CC-BY-4.0" and out.context == 900
    assert out.card == "A mixture (lerp) of 0.5 of rain, 0.25 of wind, 0.25 of rain."
    assert out.run["segment_duration"] == 12.0 and out.run["soup"][1]["run"]["signature"] == "1a2b"


def test_a_bundle_comes_out(bundles, tmp_path, capsys):
    out = tmp_path / "soup"
    soup.main([*bundles, str(out), "--weight", "0.3"])
    said = capsys.readouterr().out
    assert "0.7 of a, 0.3 of b" in said and "mostly noise" in said
    bundle = Bundle(out)
    bundle.verify()
    info = json.loads((out / "model.json").read_text("utf-8"))
    assert [(p["model"], p["weight"]) for p in info["run"]["soup"]] == [("a", 0.7), ("b", 0.3)]
    a, b, mixed = (sources.read(source).state for source in (*bundles, out))
    torch.testing.assert_close(mixed["emb.0.weight"], 0.7 * a["emb.0.weight"] + 0.3 * b["emb.0.weight"])
    with pytest.raises(UserError, match="replace it with --force"):
        soup.main([*bundles, str(out)])
    soup.main([bundles[0], bundles[1], str(out), "--weights", "0,1", "--force", "--way", "slerp"])
    assert same_bits(sources.read(out).state, b)
    assert (out / "lm.safetensors").read_bytes() == Bundle(bundles[1]).file("lm.safetensors").read_bytes()
    soup.main([bundles[0], bundles[0], str(out), "--force"])
    assert "mostly noise" not in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("other, words", [
    (lambda: tiny_trained(tiny_lm(replace(LM_SIZE, num_layers=3))), "different sizes: num_layers=2 and 3"),
    (lambda: tiny_trained(tiny_lm(replace(LM_SIZE, bias_ff=True))), "bias_ff=False and True"),
    (lambda: tiny_trained(tiny_lm(delays=(0, 2, 4, 6))), r"delays \[0, 1, 2, 3\], b has \[0, 2, 4, 6\]"),
    (lambda: tiny_trained(codec=Codec("tiny", tiny_codec().model, "ff")), "a has codec_hash=0123456789abcdef, but b"),
    (lambda: tiny_trained(codec=Codec("huge", tiny_codec().model, "0123456789abcdef")), "codec=tiny, but b has codec="),
])
def test_models_that_do_not_fit(models, other, words):
    with pytest.raises(UserError, match=words):
        mix([models[0], other()], "ab", [0.5, 0.5])


def test_dropout_is_no_difference(models):
    assert mix([models[0], tiny_trained(tiny_lm(replace(LM_SIZE, dropout=0.1)))], "ab", [0.5, 0.5])


@pytest.mark.parametrize("arguments, words", [
    (["A", "B", "OUT", "--weight", "1.5"], "from 0 to 1, got -0.5, 1.5; --extrapolate allows it"),
    (["A", "B", "OUT", "--weight", "nan"], "must add up to 1"),
    (["A", "B", "OUT", "--weights", "0.5,0.6"], "0.5, 0.6 must add up to 1, and are 1.1 together"),
    (["A", "B", "OUT", "--weights", "0.5"], "expected 2 weights, one per model, got 1"),
    (["A", "B", "OUT", "--weights", "half"], "numbers with commas"),
    (["A", "B", "OUT", "--weights", "0.5,0.5", "--weight", "1"], "not both"),
    (["A", "B", "C", "OUT", "--weight", "0.5"], "got 3 models; use --weights"),
    (["A", "B", "C", "OUT", "--way", "slerp"], "slerp is between two models, got 3"),
    (["A", "OUT"], "two models or more to mix, got 1"),
    (["A"], "required: out"),
    (["A", "B", "OUT", "--weight", "0.5"], "A: no such file or folder"),
])
def test_wrong_options(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        soup.main(arguments)
    assert not list(tmp_path.iterdir())
