"""The benchmarks run, on toys: what they print and save is whole, and a peer that cannot run is said and left out."""

import json
import subprocess
import sys

import numpy as np
import pytest

import audiocraft_ext.compat  # noqa: F401  isort: skip  (audiocraft cannot be imported before it)
from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import sources
from benchmarks.common import machine, peers, plots
from benchmarks.sampling import cold_boot, decode, precision
from tests.helpers import stores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    peers.make(folder, tiny=True)
    return folder


@pytest.fixture(scope="module")
def cold(folder):
    """Ours alone: a process of a peer takes seconds to import what it needs."""
    there = [way for way in cold_boot.ways(folder) if way.streams]
    broken = cold_boot.Way("broken", lambda n, d, o: ["-c", "import sys; sys.exit('no such wheel')"], 32_000)
    silent = cold_boot.Way("silent", lambda n, d, o: ["-c", "pass"], 32_000)
    results = cold_boot.measure([broken, silent, *there[1:]], [1, 2], 0.6, 1, [0.8])
    return results | {"sizes_mb": cold_boot.sizes(folder)}


@pytest.fixture(scope="module")
def steps(folder):
    return decode.measure(folder, 0.2, 1, 0.6, quick=True)


def check_spreads(tree) -> int:
    """Every ``min, median, max`` in the tree is in order and above 0; returns how many there are."""
    if not isinstance(tree, dict):
        return 0
    if "median" in tree:
        assert 0 < tree["min"] <= tree["median"] <= tree["max"]
        return 1
    return sum(map(check_spreads, tree.values()))


@pytest.mark.processes
def test_cold_boot(cold, capsys):
    names = ["ours, int8", "ours, int4", cold_boot.EMBEDDED]
    assert list(cold["runs"]) == names and list(cold["first_sound_s"]) == names
    assert all(list(by_clips) == ["1", "2"] for by_clips in cold["runs"].values())
    assert check_spreads(cold) == 3 * 2 * 2 + 3
    assert cold["long"]["0.8"]["memory_mb"] > 10
    assert cold["sizes_mb"]["ours, fp32"] > cold["sizes_mb"]["ours, int8"] > cold["sizes_mb"]["ours, int4"] > 0.7
    cold_boot.report(cold)
    printed = capsys.readouterr().out
    assert "cold process to 2 x 0.6 s" in printed and "broken: could not run (no such wheel)" in printed


@pytest.mark.processes
def test_what_cannot_run_is_reported_and_not_tried_again(cold):
    assert cold["failed"] == {"broken": "no such wheel", "silent": "0 clips of 0.5 s on the disk, expected 1"}


def test_an_end_before_the_first_sound_is_a_failure():
    short = cold_boot.Way("short", lambda n, d, o: ["-c", "print('x' * 100)"], 32_000, True)
    with pytest.raises(cold_boot.Failed, match="101 bytes of sound came, expected 64000"):
        cold_boot.first_sound(short, 10.0)


def test_memory_is_the_childs_own():
    """Of a small process after a large one; from a process that is small itself, as the benchmark is."""
    code = """if True:
        from pathlib import Path
        from benchmarks.sampling.cold_boot import ended, start
        print(*(ended(start(["-c", f"x = b'1' * {size}"]), Path()) for size in (200_000_000, 1)))"""
    said = subprocess.run([sys.executable, "-c", code], cwd=machine.ROOT, capture_output=True, text=True, check=True)
    large, small = map(int, said.stdout.split())
    assert large > 200_000_000 and small < 80_000_000


@pytest.mark.peers
def test_transformers_has_the_same_weights(folder):
    """Greedy codes and the sound of them are ours."""
    import torch

    transformers = peers.import_transformers()
    lm = transformers.MusicgenForCausalLM.from_pretrained(folder / "transformers/lm").eval()
    codec = transformers.EncodecModel.from_pretrained(folder / "transformers/codec").eval()
    codes = peers.generate_transformers(lm, 2, 30, sample=False)
    engine = SoundEngine(folder / "bundle", precision="fp32")
    np.testing.assert_array_equal(codes.numpy(), engine.generate(2, 30, seed=0, sampling=Sampling(temperature=0.0)))
    with torch.inference_mode():
        wav = codec.decode(codes[None], [None]).audio_values.numpy()
    np.testing.assert_allclose(engine.decode(codes.numpy()), wav, atol=1e-4 * np.abs(wav).max())


@pytest.mark.peers
@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_writes_its_clips(folder, tmp_path, name):
    import soundfile as sf

    peers.main([name, str(folder), "-n", "2", "-d", "0.4", "-o", str(tmp_path)])
    wavs = [sf.read(tmp_path / f"{i}.wav")[0] for i in range(2)]
    assert [wav.shape for wav in wavs] == [(12_800,)] * 2 and not np.array_equal(*wavs)
    assert min(np.abs(wav).max() for wav in wavs) > 0


@pytest.mark.peers
def test_decode(steps, capsys):
    names = {"audiocraft", "our loop, plain torch", "ours, fp32", "ours, int8", "ours, int4"}
    assert all(set(ways) == names for ways in steps["step_s"].values()) and list(steps["step_s"]) == ["1", "2"]
    assert set(steps["codec_s"]["1"]) == {"audiocraft", "transformers", "ours"}
    assert check_spreads(steps) == 2 * 5 + 3
    assert list(steps["batch_s"]) == ["1", "3"] and len(steps["along_s"]["window"]) == 1
    decode.report(steps)
    assert "x floor" in capsys.readouterr().out


@pytest.mark.peers
def test_the_weights_of_a_step_are_all_but_the_embeddings(folder, steps):
    model = sources.read(folder / "bundle")
    read = [value for name, value in model.state.items() if not name.startswith("emb.")]
    assert steps["weights_read_mb"]["fp32"] == pytest.approx(sum(4 * value.numel() for value in read) / 1e6)
    quarter = sum(value.numel() for value in read if value.ndim == 2) / 1e6
    assert quarter < steps["weights_read_mb"]["int8"] < 1.2 * quarter
    floor = steps["floor_s"]["ours, int8"]
    assert 0 < floor["1"] < floor["2"]  # of two clips, two pasts are read


def test_bandwidth_reads_all_of_it():
    speeds = [machine.read_bandwidth(1 << 26, 1, huge, repeats=2) for huge in (False, True)]
    assert all(1e8 < speed < 1e12 for speed in speeds)


def test_precision(folder, tmp_path, capsys):
    model = sources.read(folder / "bundle")
    store = stores.make_store(tmp_path / "store", {"a": 60}, {"b": 130, "c": 40}, spec=model.spec)
    assert precision.windows(store, "valid", 60) == [(60, 60), (120, 60)]  # 10 and 40 frames are too few
    assert precision.windows(store, "valid", 20, most=2) == [(60, 20), (140, 20)]
    precision.main([str(folder / "bundle"), str(store.path), "--frames", "60", "--save", str(tmp_path / "r.json")])
    found = json.loads((tmp_path / "r.json").read_text())["precision"]["results"]
    assert found["windows"] == 2 and found["codes"] == 2 * 60 * 4 and found["failed"] == {}
    by = found["precisions"]
    assert list(by) == ["fp32", "int8", "int4"] and by["fp32"]["percent"] == 0 and by["fp32"]["greedy"] == 1
    assert 0 < abs(by["int8"]["percent"]) < abs(by["int4"]["percent"]) < 3
    assert 1 > by["int8"]["greedy"] > by["int4"]["greedy"] > 0.5
    assert "+0.5 %" in capsys.readouterr().out


def test_cross_entropy_is_that_of_the_reference(folder):
    """Beside the model in torch, which reads the whole window at once."""
    import torch

    from audiocraft_ext.core.delay import delay, valid_mask
    from audiocraft_ext.model.lm import LM

    model = sources.read(folder / "bundle")
    lm = LM(model.cfg, model.spec.delays).eval()
    lm.load_state_dict(model.state)
    codes = np.random.default_rng(1).integers(0, model.spec.card, (4, 50))
    found = precision.judged(Engine(folder / "bundle", precision="fp32"), codes)
    sequence = torch.from_numpy(delay(codes[None], model.spec.delays, model.spec.special_id))
    with torch.inference_mode():
        logits = lm(sequence)[0, :, :-1]  # [K, S - 1, card]
    there = torch.from_numpy(valid_mask(50, model.spec.delays)[:, 1:])
    surprise = torch.nn.functional.cross_entropy(logits[there], sequence[0, :, 1:][there], reduction="none")
    np.testing.assert_allclose(found[0].ravel(), surprise.numpy(), atol=1e-4)
    np.testing.assert_array_equal(found[1].ravel(), logits[there].argmax(dim=-1).numpy())


def test_precision_of_another_codec_is_refused(folder, tmp_path):
    store = stores.make_store(tmp_path / "store", {"a": 60}, {"b": 60})
    with pytest.raises(UserError, match="has card=256, but the store .* has card=64"):
        precision.main([str(folder / "bundle"), str(store.path)])


@pytest.mark.peers
@pytest.mark.processes
def test_plots(cold, steps, tmp_path):
    import matplotlib.image

    results = {name: {"machine": machine.describe("torch"), "results": r}
               for name, r in (("cold_boot", cold), ("decode", steps))}
    for name, r in results.items():
        machine.finish(name, r["machine"], r["results"], tmp_path / "bench.json")
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert list(saved) == ["cold_boot", "decode"] and saved["decode"]["results"] == json.loads(json.dumps(steps))
    plots.main([str(tmp_path / "bench.json"), "-o", str(tmp_path / "docs")])
    assert sorted(p.name for p in (tmp_path / "docs").iterdir()) == ["bench.png", "scaling.png"]
    for path in (tmp_path / "docs").iterdir():
        picture = matplotlib.image.imread(path)[..., :3]
        assert picture.shape[1] == 1800 and picture.std() > 0.02
        border = np.concatenate([picture[:2].ravel(), picture[-2:].ravel(), picture[:, :2].ravel()])
        assert (border == 1).all(), "something is cut off"


def test_plots_of_nothing(tmp_path):
    (tmp_path / "r.json").write_text('{"precision": {}}')
    with pytest.raises(UserError, match="found precision"):
        plots.main([str(tmp_path / "r.json"), "-o", str(tmp_path / "docs")])
    with pytest.raises(UserError, match="no such file"):
        plots.main([str(tmp_path / "none.json")])


def test_an_absent_package_is_reported():
    facts = machine.describe("numpy", "no-such-package", threads=3)
    assert facts["no-such-package"] == "absent" and facts["numpy"] == np.__version__ and facts["threads"] == "3"


def test_in_turn():
    order = []
    found = machine.in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b", "a", "b"] and list(found) == ["a", "b"] and check_spreads(found) == 2


@pytest.mark.parametrize("main, args, what", [
    (cold_boot.main, ["--clips", "1,x"], "--clips is a list"), (cold_boot.main, ["--clips", "0"], "--clips is a list"),
    (cold_boot.main, ["--repeats", "0"], "--repeats"), (cold_boot.main, ["--without", "me"], "--without"),
    (cold_boot.main, ["--long", "nan"], "--long is a list"), (decode.main, ["--seconds", "0"], "--seconds"),
    (precision.main, ["a", "b", "--windows", "0"], "--windows"), (peers.main, ["audiocraft", "x"], "-o is a folder"),
    (plots.main, ["a", "--wrong"], "--wrong; see python -m benchmarks.common.plots --help"),
])
def test_bad_values(main, args, what):
    with pytest.raises(UserError, match=what):
        main(args)


@pytest.mark.slow
def test_all_of_it_as_a_person_types_it(tmp_path, capsys):
    """Two peers and ours, in processes of their own."""
    cold_boot.main(["--quick", "--save", str(tmp_path / "r.json")])
    results = json.loads((tmp_path / "r.json").read_text())["cold_boot"]["results"]
    assert results["failed"] == {} and list(results["runs"])[:2] == ["audiocraft", "transformers"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"] == results
    assert "torch" in sys.modules
