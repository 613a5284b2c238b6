"""Breaks without end: the same from the same seed, whole bars that are known, treated but still drums."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.kit import DEFAULT, Kit
from data_prep.audio.analysis import labels as labelling
from data_prep.audio.beats.listener import BeatListener
from data_prep.audio.beats.renders import Take
from data_prep.breaks import effects
from data_prep.breaks import render as breaks

RATE = 32_000


@pytest.fixture(scope="module")
def sources() -> breaks.Sources:
    return breaks.read_sources(breaks.GROOVES, None, DEFAULT)


def test_a_file_is_a_function_of_seed_and_index(sources):
    one, again, other = (breaks.make(sources, 1, i, bars=4) for i in (3, 3, 4))
    np.testing.assert_array_equal(one.wav, again.wav)
    assert one.wav.shape != other.wav.shape or np.abs(one.wav - other.wav).max() > 0.01


def test_bars_and_tempo_are_exact_and_all_is_of_one_level(sources):
    made = [breaks.make(sources, 7, i, bars=8) for i in range(12)]
    for b in made:
        assert 158 <= b.bpm <= 176 and len(b.wav) == round(RATE * 8 * 240 / b.bpm)
        rms = 20 * np.log10(np.sqrt(np.mean(b.wav**2)))
        assert np.abs(b.wav).max() <= 0.951 and (abs(rms + 18) < 0.1 or np.abs(b.wav).max() > 0.94)
    assert {b.loop_bars for b in made} == {1, 2, 4} and len({b.take for b in made}) > 6


def test_the_bars_that_are_said_are_heard(sources):
    """Our own nets find the tempo of most, and where the bars begin of half of them. (One was trained on breaks, of
    other kits.)"""
    tempo, bars = [], []
    for i in range(10):
        made, ear = breaks.make(sources, 5, i), BeatListener(RATE)
        ear.push(made.wav)
        beats, bar = ear.result(whole_loop=False), 240 / made.bpm
        tempo.append(beats is not None and abs(beats.bpm / made.bpm - 1) < 0.02)
        off = (beats.downbeats / RATE + bar / 2) % bar - bar / 2 if tempo[-1] else np.ones(1)
        bars.append((np.abs(off) < 0.03).mean() > 0.8)
    assert np.mean(tempo) >= 0.6 and np.mean(bars) >= 0.5


def test_later_turns_are_chopped_and_the_first_is_not(sources):
    at = np.arange(65) * 3000
    loop = np.random.default_rng(0).normal(size=16 * 3000).astype(np.float32)
    turned = []
    for seed in range(12):
        out = breaks._arranged(np.random.default_rng(seed), loop, at, 1).reshape(4, 16, 3000)
        inside = slice(effects.EDGE, -effects.EDGE)
        first = loop.reshape(16, 3000)
        np.testing.assert_array_equal(out[0][:, inside][::2], first[:, inside][::2])
        turned.append(any(not np.array_equal(out[k][:, inside][::2], first[:, inside][::2]) for k in (1, 2, 3)))
    assert 3 <= sum(turned) < 12


def test_a_loop_begins_with_its_hit_though_the_drummer_is_ahead():
    """Of the click: moved as one to where the beats are; then what is just ahead of a sixteenth is on it."""
    rng = np.random.default_rng(0)
    notes = np.array([[i * 0.4 - 0.03 + rng.uniform(-0.008, 0.008), 36, 100] for i in range(40)] + [[2.22, 38, 20]])
    moved = breaks.on_its_hits(notes, 0.1)
    off = moved[:40, 0] - np.arange(40) * 0.4
    assert (off >= 0).all() and off.max() < 0.017 and (off < 1e-9).sum() >= 15
    assert moved[40, 0] == pytest.approx(2.25, abs=0.003) and (moved[:, 1:] == notes[:, 1:]).all()
    take = Take("ahead", "beat", 150.0, 4, notes[1:40], np.arange(4, 40) * 0.4)
    sources = breaks.Sources((), None, Kit.load())
    for seed in range(6):
        loop = breaks._played(np.random.default_rng(seed), sources, take, 1, round(1.6 * RATE))
        hits = np.abs(loop).reshape(4, -1)[:, : RATE // 50].max(1)
        assert hits.min() > 0.3 * np.abs(loop).max()  # each beat is struck, the first too


def test_a_loop_comes_round():
    """What is placed past the end is heard at the start; a room's tail as well."""
    out = np.zeros(100, np.float32)
    effects._place(out, 90, np.ones(20, np.float32))
    assert out[90:].sum() == 10 and out[:10].sum() == 10 and out[10:90].sum() == 0
    click = np.zeros(RATE, np.float32)
    click[-10] = 1
    assert np.abs(effects.room(np.random.default_rng(0), click)[:2000]).max() > 1e-3


def test_a_filter_that_moves_takes_highs_away():
    noise = np.random.default_rng(0).normal(size=RATE)
    for seed in range(4):
        wav = effects.moving_filter(np.random.default_rng(seed), noise)
        power = np.abs(np.fft.rfft(wav)) ** 2
        assert len(wav) == RATE and power[8000:].mean() < 0.7 * power[:200].mean() and np.isfinite(wav).all()


def test_the_command_makes_files_with_labels_and_goes_on(tmp_path, capsys):
    command = [str(tmp_path / "out"), "--hours", "0.004", "--bars", "4", "--workers", "0", "--seed", "9"]
    breaks.main(command)
    files = sorted((tmp_path / "out").glob("*.flac"))
    assert len(files) == 3 and len(list((tmp_path / "out").iterdir())) == 6
    wav, rate = sf.read(files[0])
    about = json.loads(files[0].with_suffix(".json").read_text())
    assert rate == RATE and len(wav) == round(RATE * 4 * 240 / about["bpm"]) and about["bars"] == 4
    labels = labelling.read(files[0])
    assert (labels.bpm, labels.key, labels.licence) == (about["bpm"], about["key"], "CC-BY-4.0")
    first = files[0].read_bytes()
    stamp = files[1].stat().st_mtime_ns
    files[0].unlink()
    breaks.main(command)
    assert files[0].read_bytes() == first and files[1].stat().st_mtime_ns == stamp
    assert "3 breaks of 4 bars" in capsys.readouterr().out


def test_what_it_cannot_play_is_said(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        breaks.main([str(tmp_path / "out"), "--midi", str(tmp_path / "nowhere")])
    (tmp_path / "midi").mkdir()
    with pytest.raises(UserError, match="expected drum performances"):
        breaks.main([str(tmp_path / "out"), "--midi", str(tmp_path / "midi")])
    file = mido.MidiFile()
    track = mido.MidiTrack([mido.MetaMessage("time_signature", numerator=3, denominator=4)])
    track += [mido.Message("note_on", note=36, velocity=100, time=480) for _ in range(12)]
    file.tracks.append(track)
    file.save(tmp_path / "midi" / "waltz.mid")
    with pytest.raises(UserError, match="in 4/4 of a bar or more, found none"):
        breaks.main([str(tmp_path / "out"), "--midi", str(tmp_path / "midi")])
    for wrong in (["--bars", "5"], ["--hours", "0"], ["--hits", "a", "--kit", "b"]):
        with pytest.raises(UserError):
            breaks.main([str(tmp_path / "out"), *wrong])
    assert not (tmp_path / "out").exists() or not list(Path(tmp_path / "out").iterdir())


def test_the_door():
    done = subprocess.run([sys.executable, "-m", "data_prep.breaks", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Make drum breaks to learn from" in done.stdout
