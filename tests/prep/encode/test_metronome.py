"""Stores with a metronome, with beats of whole frames, and with views that begin inside a frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio.metronome import places
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio.beats import steady
from data_prep.audio.cli import main
from data_prep.audio.cuts import Piece, locked

RATE, BARS = 32_000, 4
BEAT = 0.3  # seconds that a hit of the loops below rings


def clicks(bpm: float, bars: int = BARS) -> np.ndarray:
    """A decaying tone on each beat, the first of a bar higher."""
    n = round(bars * 240 / bpm * RATE)
    wav, t = np.zeros(n + RATE, np.float32), np.arange(round(BEAT * RATE)) / RATE
    for i in range(bars * 4):
        at = round(i * 60 / bpm * RATE)
        tone = np.sin(2 * np.pi * (440 if i % 4 else 880) * t)
        wav[at : at + len(t)] += (0.5 * np.exp(-12 * t) * tone).astype(np.float32)
    return wav[:n]


@pytest.fixture
def folder(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    for name, bpm in (("a", 165.0), ("b", 158.2), ("c", 193.5)):
        sf.write(src / f"{name}.wav", clicks(bpm), RATE)
        (src / f"{name}.json").write_text(json.dumps({"bpm": bpm, "bars": BARS}))
    return src


def prepare(src, store, *options) -> TokenStore:
    main([str(src), str(store), "--cut", "bars:2", "--duplicates", "off", "--workers", "0", *options])
    return TokenStore(store)


def test_a_beat_is_a_whole_number_of_frames_and_the_metronome_agrees(folder, tmp_path):
    store = prepare(folder, tmp_path / "store", "--metronome", "--lock-tempo")
    assert store.spec.controls == 1 and store.spec.n_q == 7
    found = {}
    for row in store.rows:
        codes = store.read(row["start"], row["frames"])
        found.setdefault(row["source"], []).append(row["frames"])
        assert (codes[-1] == places(row["frames"], 50.0, row["bpm"])).mean() > 0.97
    # 165 and 158.2 BPM become 18 and 19 frames a beat; 193.5 is too far from both 15 and 16
    assert found["a.wav"] == [144, 144] and found["b.wav"] == [152, 152]
    bpm = {row["source"]: row["bpm"] for row in store.rows}
    assert bpm == {"a.wav": pytest.approx(3000 / 18, abs=0.01), "b.wav": pytest.approx(3000 / 19, abs=0.01),
                   "c.wav": pytest.approx(193.5, abs=0.01)}


def test_without_them_a_store_is_as_before(folder, tmp_path):
    store = prepare(folder, tmp_path / "store")
    assert store.spec.controls == 0 and not {"metronome", "lock_tempo"} & store.settings.keys()


def test_a_view_begins_later_in_the_sound_and_in_the_bar(folder, tmp_path):
    store = prepare(folder, tmp_path / "store", "--metronome", "--variants", "1", "--augment", "shift=20")
    rows = {row["source"]: row for row in reversed(store.rows) if row["split"] == "train"}
    name = next(name for name in rows if name.endswith("#1"))
    row, of = rows[name], rows[name[:-2]]
    later = places(row["frames"], 50.0, row["bpm"], -row["variant"]["shift_ms"] / 1000)
    assert (store.read(row["start"], row["frames"])[-1] == later).mean() > 0.97
    assert (store.read(row["start"], 50)[:6] != store.read(of["start"], 50)[:6]).mean() > 0.2


def test_a_codec_with_too_few_codes_is_refused_before_anything_is_done(folder, tmp_path):
    with pytest.raises(UserError, match="--metronome needs a codec with a card of at least 97 .*, debug has 64"):
        main([str(folder), str(tmp_path / "store"), "--codec", "debug", "--metronome"])
    assert not (tmp_path / "store").exists()


def test_lock_tempo_wants_bars(folder, tmp_path):
    with pytest.raises(UserError, match="--lock-tempo goes with --cut bars"):
        main([str(folder), str(tmp_path / "store"), "--lock-tempo"])


def test_bars_that_a_sidecar_names_are_believed_where_the_length_agrees():
    assert steady.known(120.0, 2, 4 * RATE, RATE).downbeats.tolist() == [0, 2 * RATE]
    assert steady.known(120.0, 2, 5 * RATE, RATE) is None


def test_only_a_sure_and_steady_tempo_is_locked():
    beats = steady.known(165.0, 4, round(4 * 240 / 165 * RATE), RATE)
    piece = Piece(0, round(2 * 240 / 165 * RATE), cut="bars", bpm=165.0, bar_seconds=240 / 165, bars=2)
    assert locked(piece, beats, RATE, 50.0).frames == 144
    wavering = beats.beats + np.random.default_rng(0).integers(-2000, 2000, len(beats.beats))
    for other in (None, type(beats)(165.0, 0.5, 4, beats.beats, beats.downbeats),
                  type(beats)(165.0, 1.0, 4, np.sort(wavering), np.sort(wavering)[::4])):
        assert locked(piece, other, RATE, 50.0) is piece
