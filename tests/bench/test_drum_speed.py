"""The benchmark of drums' speed runs, on toys, and its peers have the published shapes."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from audiocraft_ext.core.errors import UserError
from benchmarks.common.machine import describe
from benchmarks.drums import peers, speed

TOY = peers.NanoSize(n_layer=2, n_head=2, n_embd=16, block_size=64)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return peers.random_drummer(tmp_path_factory.mktemp("drums") / "random", tiny=True)


@pytest.fixture(scope="module")
def results(bundle):
    threads = torch.get_num_threads()
    try:
        return speed.measure(bundle, None, 1, 2, 1, quick=True)
    finally:
        torch.set_num_threads(threads)


def test_nanompc_shape():
    """About 2 M weights, room for its longest text, and the whole text in front of it for each token."""
    model = peers.NanoMPC()
    assert sum(p.numel() for block in model.blocks for p in block.parameters()) == 4 * (12 * 196**2 + 2 * 196)
    assert 2.0e6 < sum(p.numel() for p in model.parameters()) < 2.2e6
    assert len(peers.PROMPT) + peers.BEAT_TOKENS == 2 + peers.HITS * peers.LINE - 1 < 1152


def test_nanompc_reads_everything_again():
    torch.manual_seed(0)
    model, seen = peers.NanoMPC(TOY).eval(), []
    model.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    plain = model.generate(9)
    assert seen == list(range(2, 11))
    seen.clear()
    assert torch.equal(model.generate(9, cached=True), plain) and seen == [2] + [1] * 8
    assert len(plain) == 2 + 9 and int(plain.max()) < TOY.vocab_size


def test_nanompc_is_causal():
    torch.manual_seed(0)
    model = peers.NanoMPC(TOY).eval()
    text, states = torch.arange(12)[None], []
    model.blocks[-1].register_forward_hook(lambda *a: states.append(a[-1].detach()))
    model(text), model(torch.cat([text[:, :6], 50 - text[:, 6:]], 1))
    assert torch.allclose(states[0][:, :6], states[1][:, :6], atol=1e-6)
    assert not torch.allclose(states[0][:, 6:], states[1][:, 6:], atol=1e-6)


def test_autobeat_shape():
    """Four answers; with the words that ask they fit into GPT-2, and two bars have half the hits of four."""
    tokens = peers.autobeat_text()
    assert len(tokens) == 4 and sum(tokens) - 4 == 4 * round(peers.HITS / 2)
    assert sum(peers.autobeat_text(4)) - 4 == 4 * peers.HITS
    pytest.importorskip("transformers")
    peer = peers.AutoBeat(tiny=True)
    assert [len(text) - peers.GROUP_PROMPT for text in peer.generate(bars=1)] == peers.autobeat_text(1)
    config = type(peer.model.config)()
    assert (config.n_layer, config.n_head, config.n_embd) == (12, 12, 768)  # what tiny leaves alone


def test_music21_is_not_ours(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(UserError, match="pip install music21"):
        peers.music21_text(tmp_path / "a.mid")


def test_music21_text(monkeypatch, tmp_path):
    """Notes by step and pitch, rests between them, chords of drums without a pitch; by a music21 of cardboard."""
    def note(offset, long, pitch, velocity, drum=False):
        place = types.SimpleNamespace(midi=pitch)
        one = types.SimpleNamespace(offset=offset, quarterLength=long, volume=types.SimpleNamespace(velocity=velocity))
        one.__dict__.update({"displayPitch": lambda: place} if drum else {"pitch": place})
        return one

    chord = note(1.0, 0.5, 0, 80)
    chord.notes = [note(0, 0, 38, 0, True), note(0, 0, 42, 0)]
    part = types.SimpleNamespace(notes=[chord, note(0.02, 0.25, 36, None)])
    part.flatten = lambda: part
    stream = types.SimpleNamespace(parts=[part], flatten=lambda: types.SimpleNamespace(highestTime=1.5))
    file = types.SimpleNamespace(open=lambda path: None, read=lambda: None, close=lambda: None)
    midi = types.SimpleNamespace(MidiFile=lambda: file,
                                 translate=types.SimpleNamespace(midiFileToStream=lambda midi: stream))
    monkeypatch.setitem(sys.modules, "music21", types.SimpleNamespace(midi=midi))
    assert peers.music21_text(tmp_path / "a.mid") == "START n36 d1 v64 sepxx d4 n38 d2 v80 n42 d2 v80"


def test_random_drummer_plays_like_people(bundle):
    """As many hits as nanoMPC's text has lines, more or less: what a beat costs depends on them."""
    from audiocraft_ext.drums.play.drummer import Drummer

    drummer = Drummer.load(bundle, threads=1)
    hits = [len(beat.clip.notes) for beat in drummer.play(drummer.recipe(seed=0), range(20))]
    assert 0.8 < np.mean(hits) / peers.HITS < 1.2


def test_measures_and_reports(results, capsys):
    names = list(results["one_beat"])
    assert names[:4] == [speed.OURS, speed.ASKED, speed.SLOW, speed.CACHED]
    assert speed.AUTOBEAT in names or speed.AUTOBEAT in results["failed"]
    spreads = [*results["one_beat"].values(), *results["cold"].values(), *results["bulk"].values(),
               *results["bulk_asked"].values(),
               *(s for by_batch in results["alone"].values() for s in by_batch.values())]
    assert all(0 < s["min"] <= s["median"] <= s["max"] for s in spreads)
    assert results["cold"]["first"]["median"] <= results["cold"]["end"]["median"]
    made = {name: {"seconds": dict(min=1.0, median=2.0, max=3.0), "files": 4, "ms_a_file": ms}
            for name, ms in (("to a store, no workers", 4.0), (speed.READ, 2.0), (speed.MUSIC21, 500.0))}
    speed.report(results | {"prepare": made, "failed": {"a peer": "gone"}})
    printed = capsys.readouterr().out
    assert " 125x" in printed and " 250x" in printed and "a peer: could not run (gone)" in printed
    assert "2 beats of a genre" in printed and "1 thread " in printed
    assert describe("music21")["music21"]


def test_prepares(tmp_path, monkeypatch):
    """A folder to a store, and some of its files alone; music21 is missed and said."""
    data = Path(__file__).parents[1] / "data" / "groove"
    paths = sorted(data.rglob("*.mid"))
    monkeypatch.setitem(sys.modules, "music21", None)
    failed = {}
    made = speed.prepare(paths, data, 1, 2, failed)
    assert [m["files"] for m in made.values()][-2:] == [len(paths), 2] and list(made)[-1] == speed.READ
    assert list(failed) == [speed.MUSIC21] and min(m["ms_a_file"] for m in made.values()) > 0
    assert sum(map(len, speed.read(paths[0]))) == 24


def test_a_process_that_fails_is_no_time(bundle, tmp_path):
    with pytest.raises(UserError, match="0 of 2 beats, exit code 2"):
        speed.process(tmp_path / "nothing", 2, tmp_path / "out")


def test_refuses(tmp_path):
    with pytest.raises(UserError, match="1 or more"):
        speed.main(["--beats", "0"])
    with pytest.raises(UserError, match="no .mid"):
        speed.measure(tmp_path, tmp_path, 1, 1, 1, quick=True)
