"""Onsets of a long sound are those of its windows, whatever the blocks."""

import numpy as np
import pytest

from audiocraft_ext.sound.onsets import onsets
from data_prep.audio.analysis import onsets as hits
from data_prep.audio.analysis.onsets import OnsetListener

RATE = 8_000


@pytest.fixture
def clicks(monkeypatch):
    """Five seconds with a decaying click each 0.3 s, in windows of one second."""
    monkeypatch.setattr(hits, "WINDOW", 1)
    monkeypatch.setattr(hits, "AROUND", 0.5)
    wav = np.zeros(5 * RATE, np.float32)
    rng, fall = np.random.default_rng(0), np.exp(-np.arange(800, dtype=np.float32) / 90)
    for at in range(1000, len(wav) - 800, 2400):
        wav[at : at + 800] += rng.standard_normal(800).astype(np.float32) * fall
    return wav


def analysed(wav, *sizes) -> np.ndarray:
    listener, at = OnsetListener(RATE), 0
    listener._around, listener._window = int(listener._around), int(listener._window)
    for size in sizes or [len(wav)]:
        listener.push(wav[at : at + size])
        at += size
    listener.push(wav[at:])
    return listener.result()


def test_windows_find_what_the_whole_does(clicks):
    whole = onsets(clicks, RATE)
    assert len(whole) == 16
    found = analysed(clicks)
    assert len(found) == 16 and np.abs(found - whole).max() <= 16  # a window's own loudest band moves a peak a little


def test_blocks_do_not_matter(clicks):
    assert np.array_equal(analysed(clicks, *[777] * 40), analysed(clicks))
    assert np.array_equal(analysed(clicks, 1, 30_000), analysed(clicks))


def test_nothing():
    assert len(analysed(np.zeros(0, np.float32))) == 0
