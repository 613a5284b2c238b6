"""Beats are found where drummers and drum machines put them, loops are loops, and what has no beat has none."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.kit import Kit
from data_prep.audio.beats import beat_this
from data_prep.audio.beats import grid as beat_grid
from data_prep.audio.beats import listener as beat_listener
from data_prep.audio.beats import net as beat_net
from data_prep.audio.beats import track as beat_track
from data_prep.audio.beats.grid import SURE, Beats, Grid
from data_prep.audio.beats.listener import BeatListener, bounced
from data_prep.audio.beats.net import BANDS, Bands, Net, NetEar
from data_prep.audio.beats.renders import PATTERNS, Take, read_take
from data_prep.audio.beats.track import odds, track
from data_prep.audio.settings import Settings

RATE = 32_000
GROOVE = Path(__file__).parents[2] / "data" / "groove"
BREAK = 5  # of PATTERNS


def listen(wav: np.ndarray, rate: int = RATE, block: int = 2**17, ear: str = "net", **how) -> Beats | None:
    listener = BeatListener(rate, ear)
    for i in range(0, len(wav), block):
        listener.push(wav[i: i + block])
    return listener.result(**how)


def pattern(bpm: float, bars: float, which: int = BREAK, begin: float = 0.0) -> np.ndarray:
    """Notes of a drum machine from ``begin`` seconds on."""
    step = 15 / bpm
    notes = [(begin + i * step, pitch, 115 if line[i % 16].isupper() else 60)
             for pitch, line in zip((36, 38, 42), PATTERNS[which].split()) for i in range(round(bars * 16))
             if line[i % 16] != "."]
    return np.array(sorted(notes))


def play(notes: np.ndarray, seconds: float, rate: int = RATE) -> np.ndarray:
    return Kit.load().render(notes, seconds, rate)


def off(found: np.ndarray, take: Take, every: float) -> np.ndarray:
    """Seconds from each to the nearest true one."""
    return (found / RATE - take.beats[0] + every / 2) % every - every / 2


@pytest.fixture(scope="module")
def found() -> list[tuple[Take, Beats | None]]:
    takes = [read_take(path) for path in sorted(GROOVE.glob("*.mid"))]
    return [(take, listen(play(take.notes, take.seconds + 1))) for take in takes]


def test_truth_is_read_from_midi():
    take = read_take(GROOVE / "drummer3-2-25_hiphop_92_beat_4-4.mid")
    assert take.bpm == pytest.approx(92, abs=1e-3) and take.beats_per_bar == 4
    assert np.allclose(np.diff(take.beats), 60 / 92, atol=1e-6) and take.beats[0] == 0
    assert take.notes[0].tolist()[1:] == [36.0, 82.0] or take.notes[0, 1] > 0
    assert np.allclose(take.faster(2).beats * 2, take.beats) and take.faster(2).bpm == 2 * take.bpm
    part = take.part(10, 20)
    assert part.seconds < 10 and part.beats[0] == -10 and (part.notes[:, 0] >= 0).all()


def test_drummers_tempo(found):
    """Within 2% on most, twice or half of it on nearly all others."""
    ratio = np.array([beats.bpm / take.bpm if beats else 9.0 for take, beats in found])
    assert (np.abs(ratio - 1) < 0.02).sum() >= 9
    octaves = np.abs(np.log2(ratio))
    assert (np.minimum(octaves, np.abs(octaves - 1)) < 0.03).sum() >= 11


def test_drummers_cuts_where_sure(found):
    errors = [off(b.downbeats[::4], t, t.beats_per_bar * 60 / t.bpm) for t, b in found if b and b.confidence >= SURE]
    assert len(errors) >= 3
    assert (np.abs(np.concatenate(errors)) < 0.02).mean() >= 0.8


def test_beats_are_sound(found):
    """What the contract says of positions."""
    for take, beats in ((t, b) for t, b in found if b):
        assert beats.beats.dtype == beats.downbeats.dtype == np.int64
        assert (np.diff(beats.beats) > 0).all() and beats.beats[0] >= 0
        assert beats.beats[-1] < (take.seconds + 1) * RATE
        assert set(beats.downbeats) <= set(beats.beats)
        assert (np.diff(np.searchsorted(beats.beats, beats.downbeats)) == beats.beats_per_bar).all()
        assert 0 <= beats.confidence <= 1 and beats.beats_per_bar in (3, 4)
        assert np.median(np.diff(beats.beats)) / RATE == pytest.approx(60 / beats.bpm, rel=0.01)


@pytest.mark.parametrize("bpm", [90, 128, 165, 174])
def test_a_drum_machine_is_found_to_the_millisecond(bpm):
    """Jungle is not folded to half of its tempo."""
    beats = listen(play(pattern(bpm, 12, begin=0.5), 0.5 + 12 * 240 / bpm))
    assert beats.bpm == pytest.approx(bpm, rel=0.002)
    error = (beats.beats / RATE - 0.5 + 30 / bpm) % (60 / bpm) - 30 / bpm
    assert np.abs(error).max() < 0.02


@pytest.mark.parametrize("bpm, bars", [(172.3, 2), (140, 4), (96.5, 2), (126.001, 1)])
def test_a_loop_is_as_long_as_its_bars(bpm, bars):
    """Tempo to the sample, the first downbeat at 0."""
    samples = round(bars * 240 / bpm * RATE)
    wav = play(pattern(bpm, bars), samples / RATE)
    beats = listen(wav)
    assert beats.bpm == pytest.approx(240 * bars * RATE / samples, abs=1e-3)
    assert np.abs(beats.downbeats - np.arange(bars) * samples / bars).max() <= 1 and beats.downbeats[0] == 0
    assert len(beats.beats) == 4 * bars


def test_a_file_that_is_bars_long_starts_on_one():
    """Unless too much speaks for another beat, or it is not that long, or no beat is at its start."""
    times = 0.5 + np.arange(62) * 0.5  # 120 BPM, the first beat was not tracked

    def first(seconds: float, turns: list[float], times: np.ndarray = times) -> tuple[int, bool]:
        found = bounced(Grid(times, 3, 4, 120.0, True, {"bar_margin": 1.0}, np.array(turns)), seconds)
        return found.first, "bounced" in found.facts

    assert first(32.0, [0, 3, 0, 4]) == (1, True)  # the second beat of the bar, so 0 is the first
    assert first(32.0, [0, 4, 0, 3]) == (1, True)
    assert first(32.0, [0, 1, 0, 4]) == (3, False)
    assert first(33.0, [0, 3, 0, 4]) == first(12.0, [0, 3, 0, 4]) == (3, False)
    assert first(32.0, [0, 3, 0, 4], times + 0.1) == (3, False)


def test_a_hint_settles_the_octave():
    wav = play(pattern(87, 8), 8 * 240 / 87)
    for hint in (87, 174):
        assert listen(wav, hint_bpm=hint, whole_loop=False).bpm == pytest.approx(hint, rel=0.01)
        assert listen(wav, hint_bpm=hint).bpm == pytest.approx(hint, rel=0.01)
    assert listen(wav, hint_bpm=131).bpm in (pytest.approx(87, rel=0.01), pytest.approx(174, rel=0.01))  # a wrong one


def nothing(kind: str, seconds: float = 10.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(0)
    return {"empty": t[:0], "silence": 0 * t, "tone": 0.5 * np.sin(2 * np.pi * 110 * t),
            "noise": 0.1 * rng.normal(size=len(t)), "chord": sum(np.sin(2 * np.pi * f * t) for f in (98, 147, 233)) / 4,
            "hit": play(np.array([(0.0, 36, 120)]), 1.5), "crash": play(np.array([(0.0, 49, 120)]), 3.0),
            "short": play(pattern(140, 1), 0.4)}[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["empty", "silence", "tone", "noise", "chord", "hit", "crash", "short"])
def test_what_has_no_beat(kind):
    assert listen(nothing(kind)) is None


def test_blocks_do_not_matter():
    wav = play(pattern(150, 6, begin=0.3), 12)
    whole = listen(wav, block=len(wav))
    for block in (777, 32_000, 100_001):
        other = listen(wav, block=block)
        assert other.bpm == whole.bpm and other.confidence == whole.confidence
        assert np.array_equal(other.beats, whole.beats) and np.array_equal(other.downbeats, whole.downbeats)
    rng, bands = np.random.default_rng(0), Bands(RATE)
    cuts = np.sort(rng.integers(0, len(wav), 40))
    pieces = np.concatenate([*[bands.push(part) for part in np.split(wav, cuts)], bands.finish()])
    bands = Bands(RATE)
    assert np.array_equal(pieces, np.concatenate([bands.push(wav), bands.finish()]))
    assert len(pieces) == len(wav) // 320 + 1


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_any_rate(rate):
    beats = listen(play(pattern(140, 8, begin=0.25), 14, rate), rate)
    assert beats.bpm == pytest.approx(140, rel=0.005)
    error = (beats.beats / rate - 0.25 + 30 / 140) % (60 / 140) - 30 / 140
    assert np.abs(error).max() < 0.025


def test_level_does_not_matter():
    wav = play(pattern(150, 6), 9.6)
    loud, soft = listen(wav), listen(wav * 0.03)
    assert loud.bpm == pytest.approx(soft.bpm, rel=1e-3)
    assert np.abs(loud.downbeats - soft.downbeats).max() < 0.002 * RATE


def test_a_long_sound_is_analysed_in_stretches(monkeypatch):
    """Each hears enough of its neighbours: beats go on over the seams."""
    monkeypatch.setattr(beat_net, "STRETCH", 500)
    wav = play(pattern(140, 40), 40 * 240 / 140)
    beats = listen(wav)
    assert beats.bpm == pytest.approx(140, rel=0.001) and len(beats.beats) == pytest.approx(160, abs=1)
    assert np.ptp(np.diff(beats.beats)[1:]) <= 1
    ear, whole = NetEar(RATE), Bands(RATE)
    ear.push(wav)
    said = np.exp(ear.finish())
    direct = np.exp(beat_net.net()(np.concatenate([whole.push(wav), whole.finish()])))
    assert said.shape == direct.shape and np.abs(said - direct)[:-100].mean() < 0.01


def test_a_mix_changes_its_tempo():
    notes = np.concatenate([pattern(120, 20), pattern(150, 30, begin=40.0)])
    beats = listen(play(notes, 88))
    step = np.diff(beats.beats) / RATE
    middle = beats.beats[:-1] / RATE
    assert np.median(step[middle < 35]) == pytest.approx(0.5, rel=0.02)
    assert np.median(step[middle > 45]) == pytest.approx(0.4, rel=0.02)
    assert beats.bpm == pytest.approx(150, rel=0.02)  # the most common


def test_the_likeliest_bars_are_those_of_a_slow_loop():
    """All paths of three in a bar, one step at a time."""
    rng = np.random.default_rng(3)
    said = rng.normal(size=(60, 2)).astype(np.float32)
    score, back, whence = beat_track.bars(said, np.full((1, 60), 10.0), np.array([3]))
    best = np.full((60, 3), -np.inf)
    for t in range(60):
        for k in range(3):
            come = [0.0]
            for span in range(8, 13):  # as far as the fast one looks, about
                if t >= span:
                    cost = 0.5 * ((span - 10) / 0.7) ** 2
                    come.append(best[t - span, (k - 1) % 3] - cost)
                    come.append(best[t - span].max() - cost - beat_track.SLIP)
            best[t, k] = max(come) + said[t, int(k == 0)]
    assert np.allclose(score[0], best, atol=1e-3)
    steps, places = beat_track.backtrack(score[0], back[0], whence[0])
    gains = said[steps, (places == 0).astype(int)].sum() - (0.5 * ((np.diff(steps) - 10) / 0.7) ** 2).sum()
    assert gains == pytest.approx(float(score.max()), abs=1e-3)


def test_smoothing_solves_its_equations():
    rng = np.random.default_rng(0)
    y, w = np.cumsum(rng.uniform(20, 30, 40)), rng.uniform(0.1, 1, 40)
    D = np.diff(np.eye(40), 2, axis=0)
    expected = np.linalg.solve(np.diag(w) + 7 * D.T @ D, w * y)
    assert np.allclose(beat_grid._smooth(y, w, 7), expected)
    line = np.arange(40) * 25.0 + 3
    assert np.allclose(beat_grid._smooth(line, w, 300), line)
    bent = line + (rng.random(40) < 0.1) * 40
    assert np.abs(beat_grid._line(bent, np.ones(40)) - line).max() < 0.5


def test_no_beats_said_no_beats_found():
    says = np.log(np.tile(np.float32([0.98, 0.015, 0.005]), (1000, 1)))
    assert track(says, 50.0) is None and (odds(says) <= beat_track.MOST).all()


def test_the_surer_of_two_nets_is_believed(monkeypatch):
    wav = play(pattern(150, 8, begin=0.3), 14)
    monkeypatch.setattr(beat_listener, "DOUBTS", (0.0, 0.0))
    both, alone = listen(wav), []
    for weights in (beat_net.WEIGHTS, beat_net.BREAKS):
        monkeypatch.setattr(beat_listener, "WEIGHTS", weights)
        monkeypatch.setattr(beat_listener, "BREAKS", weights)
        alone.append(listen(wav))
    surer = max(alone, key=lambda beats: beats.confidence)
    assert alone[0].confidence != alone[1].confidence and both.confidence == surer.confidence
    assert np.array_equal(both.downbeats, surer.downbeats)


def test_the_net_is_the_one_that_was_trained(tmp_path):
    """numpy says what torch says."""
    torch = pytest.importorskip("torch")
    from data_prep.audio.beats.train import TemporalNet

    torch.manual_seed(0)
    model = TemporalNet().eval()
    for mix in model.mix:
        torch.nn.init.normal_(mix.weight, std=0.1)
    np.savez(tmp_path / "w.npz", **model.export())
    model = TemporalNet.restore(tmp_path / "w.npz").eval()
    bands = np.random.default_rng(0).normal(size=(700, BANDS)).astype(np.float32) * 20 - 60
    with torch.no_grad():
        x = torch.from_numpy(beat_net.pairs(beat_net.levels(bands)))[None]
        expected = torch.log_softmax(model(x), dim=2)[0].numpy()
    assert np.allclose(Net(tmp_path / "w.npz")(bands), expected, atol=1e-3)


def test_the_weights_are_small():
    for path in (beat_net.WEIGHTS, beat_net.BREAKS):
        net = beat_net.net(path)
        assert path.stat().st_size < 150_000 and net(np.zeros((0, BANDS))).shape == (0, 3)
        assert sum(w.size for w in net.weights.values()) < 100_000


class FakeFrames:
    """beat_this as far as we use it: logits 50 a second, of clicks at every half second, each fourth a downbeat."""

    lengths: list[float] = []

    def __init__(self, checkpoint_path, device):
        assert (checkpoint_path, device) == ("final0", "cpu")

    def __call__(self, signal, rate):
        assert rate == 22_050 and signal.dtype == np.float32 and signal.ndim == 1
        self.lengths.append(len(signal) / rate)
        said = np.abs(signal[: len(signal) // 441 * 441]).reshape(-1, 441).max(1)
        return np.where(said > 0.2, 4.0, -6.0), np.where(said > 0.7, 3.0, -6.0)


@pytest.fixture
def with_beat_this(monkeypatch, tmp_path):
    module = types.ModuleType("beat_this.inference")
    module.Audio2Frames = FakeFrames
    package = types.ModuleType("beat_this")
    package.__spec__ = types.SimpleNamespace(name="beat_this")
    monkeypatch.setitem(sys.modules, "beat_this", package)
    monkeypatch.setitem(sys.modules, "beat_this.inference", module)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    FakeFrames.lengths = []
    return tmp_path / "hub" / "checkpoints"


def test_beat_this_is_used_where_its_weights_are(with_beat_this):
    assert not beat_this.there()  # installed, but nothing may be downloaded
    with_beat_this.mkdir(parents=True)
    (with_beat_this / "beat_this-final0.ckpt").touch()
    wav = np.zeros(300 * RATE, np.float32)
    for i in range(600):
        wav[i * RATE // 2 + 200: i * RATE // 2 + 300] = 0.9 if i % 4 == 0 else 0.5
    assert beat_this.there()
    beats = listen(wav, ear="beat_this")
    assert beats.bpm == pytest.approx(120, rel=1e-3) and beats.beats_per_bar == 4
    assert np.abs((beats.downbeats / RATE + 1) % 2 - 1).max() < 0.03 and len(beats.beats) == pytest.approx(600, abs=1)
    assert max(FakeFrames.lengths) <= beat_this.STRETCH + 2 * beat_this.REACH + 1  # never the whole of a long file
    short = listen(wav[: 8 * RATE], ear="beat_this")
    assert short.bpm == 120 and short.downbeats.tolist() == [0, 64_000, 128_000, 192_000]


def test_without_beat_this():
    assert not beat_this.there()
    with pytest.raises(UserError, match="not installed"):
        Settings(tempo="beat_this").check()


def test_nothing_heavy_is_imported():
    script = ("import sys, numpy as np; from data_prep.audio.beats.listener import BeatListener;"
              "b = BeatListener(32000); b.push(np.ones(99999, np.float32)); b.result(); print(*sys.modules)")
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           timeout=120).stdout.split()
    assert not {"torch", "librosa", "numba", "mido", "soundfile"} & set(names)
