"""A drum kit plays what General MIDI says, chokes its hats and ships with its sources."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.kit import DEFAULT, Kit

RATE = 32_000
KICK, SNARE, CLOSED, OPEN, CRASH = 36, 38, 42, 46, 49


@pytest.fixture(scope="module")
def kit() -> Kit:
    return Kit.load()


def energy(wav: np.ndarray, begin: float = 0.0, end: float = 9.0, rate: int = RATE) -> float:
    return float(np.square(wav[round(begin * rate): round(end * rate)], dtype=np.float64).sum())


def test_notes_sound_where_they_are(kit):
    """In any order, at any rate, and added up."""
    for rate in (22_050, RATE, 44_100):
        wav = kit.render([(0.5, SNARE, 100), (0.25, KICK, 100)], 1.0, rate)
        assert wav.dtype == np.float32 and wav.shape == (rate,)
        assert energy(wav, 0, 0.249, rate) < 1e-3 < 1 < energy(wav, 0.25, 0.3, rate)
        alone = kit.render([(0.5, SNARE, 100)], 1.0, rate) + kit.render([(0.25, KICK, 100)], 1.0, rate)
        assert np.allclose(wav, alone, atol=1e-6)


def test_nothing_to_play(kit):
    assert not kit.render([], 0.5, RATE).any() and kit.render(np.zeros((0, 3)), 0, RATE).shape == (0,)
    assert not kit.render([(0.1, 3, 100), (-0.1, KICK, 100), (0.5, KICK, 100), (0.1, KICK, 0)], 0.5, RATE).any()


def test_a_tail_ends_with_the_time(kit):
    whole = kit.render([(0.0, CRASH, 127)], 2.0, RATE)
    assert np.array_equal(kit.render([(0.0, CRASH, 127)], 0.1, RATE), whole[: RATE // 10])


def test_the_closed_hat_chokes_the_open_one(kit):
    free, choked = (kit.render(notes, 1.0, RATE) for notes in
                    ([(0, OPEN, 100)], [(0, OPEN, 100), (0.1, CLOSED, 1)]))
    assert energy(free, 0.35) > 1e-3
    assert energy(choked - kit.render([(0.1, CLOSED, 1)], 1.0, RATE), 0.112) == 0
    assert np.array_equal(free[: RATE // 10], choked[: RATE // 10])
    both = kit.render([(0, OPEN, 100), (0.1, KICK, 1)], 1.0, RATE)  # another group leaves it alone
    assert energy(both, 0.35) > 1e-3


def test_hits_at_once_do_not_choke_each_other(kit):
    wav = kit.render([(0, OPEN, 100), (0, CLOSED, 100)], 1.0, RATE)
    assert energy(wav, 0.35) > 1e-3


def test_louder_with_velocity(kit):
    for pitch in kit.hits:
        loud = [kit.amplitude(pitch, v) for v in range(1, 128)]
        assert (np.diff(loud) > 0).all() and loud[-1] == pytest.approx(kit.hits[pitch].gain)
        assert 0.01 < loud[0] / loud[-1] < 0.1
        wavs = [kit.render([(0, pitch, v)], 1.0, RATE) for v in (1, 50, 63, 64, 90, 127)]
        assert (np.diff([np.abs(w).max() for w in wavs]) > 0).all()  # over the layers' borders too


def test_a_plain_beat_stays_below_full_scale(kit):
    wav = kit.render([(0, KICK, 110), (0, CLOSED, 100), (0, CRASH, 100), (0.5, SNARE, 110)], 1.0, RATE)
    assert 0.3 < np.abs(wav).max() < 1.0


def test_the_kit_that_ships(kit):
    """All of General MIDI that drummers play, small, mono, and every file named with its source."""
    assert {35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 55, 56, 57, 59} <= set(kit.hits)
    assert {22, 26, 58} <= set(kit.hits)  # Roland's pads, as in the Groove MIDI Dataset
    used = {path.name for hit in kit.hits.values() for _, path in hit.layers}
    readme = (DEFAULT / "README.md").read_text()
    assert {p.name for p in DEFAULT.glob("*.flac")} == used == {n for n in used if f"| {n} |" in readme}
    assert "Creative Commons 0" in readme and sum(p.stat().st_size for p in DEFAULT.iterdir()) <= 400_000
    for name in used:
        wav, rate = sf.read(DEFAULT / name)
        assert rate == 44_100 and wav.ndim == 1 and 0.9 < np.abs(wav).max() < 1 and np.abs(wav[-1]) < 1e-3
        assert np.flatnonzero(np.abs(wav) > 0.02)[0] < 0.001 * rate  # starts at once


def write(folder, **changes):
    hit = {"pitches": [36], "gain_db": 0, "layers": [{"file": "a.wav", "from": 1}], **changes}
    sf.write(folder / "a.wav", np.ones(4410) * 0.5, 44_100)
    (folder / "kit.json").write_text(json.dumps({"name": "x", "velocity_db": 30, "hits": {"kick": hit}}))


def test_own_kits(tmp_path):
    write(tmp_path)
    assert Kit.load(tmp_path).render([(0, 36, 127)], 0.05, 44_100)[100] == pytest.approx(0.5, abs=1e-4)
    write(tmp_path, tune=12)  # an octave up is half as long
    wav = Kit.load(tmp_path).render([(0, 36, 127)], 0.2, 44_100)
    assert wav[1_000] == pytest.approx(0.5, abs=1e-3) and abs(np.flatnonzero(np.abs(wav) > 0.25)[-1] - 2_205) < 5


@pytest.mark.parametrize("changes, said", [
    ({"layers": [{"file": "b.wav", "from": 1}]}, "b.wav is not there"), ({"pitches": [36, 36]}, "of its own"),
    ({"pitches": [128]}, "0 to 127"), ({"layers": []}, "needs layers"), ({"gain_db": None}, "not a drum kit"),
    ({"layers": [{"file": "a.wav"}]}, "'from'")])
def test_broken_kits_are_refused(tmp_path, changes, said):
    write(tmp_path, **changes)
    with pytest.raises(UserError, match=said):
        Kit.load(tmp_path)


def test_no_kit(tmp_path):
    with pytest.raises(UserError, match="not a drum kit"):
        Kit.load(tmp_path / "none")
    (tmp_path / "kit.json").write_text("[]")
    with pytest.raises(UserError, match="not a drum kit"):
        Kit.load(tmp_path)
