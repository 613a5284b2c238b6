"""Junk is told from music: faults of one file, the odd ones of a corpus; and music is left in peace."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from scipy import signal

from audiocraft_ext.sound.mel import _bands
from data_prep.audio import junk
from data_prep.audio.analysis.facts import Facts
from data_prep.audio.analysis.levels import ChannelListener, LevelListener
from data_prep.audio.analysis.outline import EnvelopeListener
from data_prep.audio.analysis.spectra import SpectrumListener
from data_prep.shared.naming import Labels

RATE = 32_000
BREAKS = Path(__file__).parents[3] / "data_prep" / "breaks" / "cc0"


def facts(wav: np.ndarray, name: str = "x.wav", channels: np.ndarray | None = None) -> Facts:
    """What the listeners find; ``channels [n, C]`` are the file's, else it is mono."""
    wav = np.asarray(wav, np.float32)
    whole, level, envelope, spectrum = (ChannelListener(1 if channels is None else channels.shape[1]),
                                        LevelListener(RATE), EnvelopeListener(RATE), SpectrumListener(RATE))
    whole.push(wav[:, None] if channels is None else channels.astype(np.float32))
    for listener in (level, envelope, spectrum):
        listener.push(wav)
    found = level.result(whole.result())
    env, overview = envelope.result(found.dc)
    bands, texture = spectrum.result()
    return Facts(name, 0, 0, RATE, "", "", "WAV", False, len(wav) / RATE, RATE, float(np.abs(wav).max(initial=0)),
                 len(wav), found, Labels(), None, bands, texture, env, overview)


def tone(hz: float, seconds: float = 8.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def noise(seconds: float = 8.0, amplitude: float = 0.1, seed: int = 0) -> np.ndarray:
    return amplitude * np.random.default_rng(seed).normal(size=round(seconds * RATE))


def pink(seconds: float = 8.0) -> np.ndarray:
    series = np.fft.rfft(noise(seconds))
    series[1:] /= np.sqrt(np.arange(1, len(series)))
    wav = np.fft.irfft(series, round(seconds * RATE))
    return 0.5 * wav / np.abs(wav).max()


def beat(seed: int = 0, seconds: float = 8.0, bpm: float = 150.0, treble: float = 0.15) -> np.ndarray:
    """Kicks, hats and a bass line: enough of music for these measures."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE // 4) / RATE
    kick = np.sin(2 * np.pi * (50 * t + 10 * (1 - np.exp(-30 * t)))) * np.exp(-12 * t)
    wav = np.zeros(round(seconds * RATE) + RATE)
    for step in range(int(seconds * bpm / 15)):
        at = round(step * 15 / bpm * RATE)
        if rng.random() < 0.3 or step % 8 == 0:
            wav[at: at + len(t)] += 0.6 * kick
        if step % 2 == 0:
            wav[at: at + len(t)] += treble * rng.normal(size=len(t)) * np.exp(-60 * t)
        if step % 4 == 1:
            wav[at: at + len(t)] += 0.2 * signal.sawtooth(2 * np.pi * 55 * 2 ** (rng.integers(0, 12) / 12) * t)
    wav = wav[: round(seconds * RATE)]
    return 0.8 * wav / np.abs(wav).max() + 1e-4 * rng.normal(size=len(wav))


HUM = sum(tone(50 * k, amplitude=0.3 / k) for k in range(1, 12))


@pytest.mark.parametrize("wav, words", [
    (np.zeros(RATE), "silent"),
    (np.zeros(0), "empty"),
    (np.full(RATE, 0.3), "constant: nothing but an offset of 0.3"),
    (beat() * 1e-3, "nearly silent: its peak is -62 dBFS"),
    (tone(440), "one steady tone"),
    (tone(50), "one steady tone"),
    (HUM, "a steady hum"),
    (HUM + noise(amplitude=0.003), "a steady hum"),
    (noise(), "noise without events"),
    (pink(), "noise without events"),
    (signal.lfilter([1], [1, -0.999], noise(amplitude=0.003)), "noise without events"),
    (noise() * (1.2 + np.sin(2 * np.pi * np.arange(8 * RATE) / RATE / 4)), "noise without events"),  # wind
    (np.where(np.arange(20 * RATE) == 333_333, 0.9, 0), "mostly silence: 0.01 of its 20 s are audible"),
    (beat().clip(-0.1, 0.1) * 9, "clipped: "),
    (beat() + 0.15, "an offset of 15% of full scale"),
    (soxr.resample(soxr.resample(beat(), RATE, 8000), 8000, RATE), "nothing above 4 kHz"),
    (soxr.resample(soxr.resample(beat(), RATE, 11_025), 11_025, RATE), "nothing above 5.5 kHz"),
])
def test_faults_of_one_file(wav, words):
    found = junk.flags(facts(wav))
    assert len(found) == 1 and found[0].startswith(words)


def test_the_share_that_is_clipped_is_reported():
    wav = (4 * beat()).clip(-1, 1)
    told = float(junk.flags(facts(wav))[0].split()[1].rstrip("%"))
    assert told == pytest.approx(100 * np.mean(np.abs(wav) == 1), rel=0.15) and told > 1


def test_channels_that_cancel():
    left = beat()
    found = junk.flags(facts(0.025 * left, channels=np.stack([left, -0.95 * left], axis=1)))
    assert found == ["its channels cancel (-32 dB are left in their mean); channel 1 is taken"]


@pytest.mark.parametrize("wav", [beat(), beat(1), 0.02 * beat(2), tone(60, 0.4) * np.geomspace(1, 1e-3, 12_800),
                                 signal.sosfilt(signal.butter(4, 800, fs=RATE, output="sos"), beat(3)),  # muffled
                                 np.concatenate([beat(), np.zeros(10 * RATE)]),
                                 tone(3050) * (1 + np.sin(np.arange(8 * RATE) / RATE * 4)),  # a whistle
                                 noise(0.2), tone(440, 2.0), noise(3) * np.geomspace(1, 1e-3, 3 * RATE),
                                 sum(tone(110 * k) * np.sin(np.arange(8 * RATE) / RATE * k) / k for k in (1, 2, 3))])
def test_music_and_one_shots_have_none(wav):
    assert junk.flags(facts(wav)) == []


def test_the_breaks_have_none():
    for path in sorted(BREAKS.glob("*.flac")):
        block, rate = sf.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(block.mean(1), rate, RATE)
        assert junk.flags(facts(mono, path.name, block)) == []


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.05, 4.3])
def test_blocks_do_not_matter(seconds):
    wav = beat(seconds=8)[: round(seconds * RATE)].astype(np.float32)

    def result(pieces):
        listener = SpectrumListener(RATE)
        for piece in pieces:
            listener.push(piece)
        return listener.result()

    whole = result([wav])
    for seed in range(3):
        assert result(np.split(wav, np.sort(np.random.default_rng(seed).integers(0, len(wav) + 1, 50)))) == whole


def test_spectrum_of_white_noise():
    """Power adds up to the mean square; white noise has as much in each bin."""
    listener = SpectrumListener(RATE)
    listener.push(noise(20).astype(np.float32))
    bands, texture = listener.result()
    assert len(bands) == 32 and np.abs(np.array(bands[3:]) - 10 * np.log10(0.01 / 512)).max() < 0.7
    assert texture["flatness"] == pytest.approx(-10 * np.log10(math.exp(0.5772)), abs=0.1)  # of an exponential variable
    assert texture["top_hz"] == RATE / 2


def twin(wav: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Spectrum, hits and movement, frame by frame."""
    window = np.hanning(1025)[:-1]
    wav = np.pad(wav, (0, max(0, 1024 - len(wav))), mode="mean")
    frames = [wav[at: at + 1024] for at in range(0, len(wav) - 1023, 512)]
    frames = [frame - np.sum(frame * window) / window.sum() for frame in frames]
    power = [2 * np.abs(np.fft.rfft(frame * window)) ** 2 / (1024 * np.sum(window**2)) for frame in frames]
    mel = np.stack(power) @ _bands(RATE, 1024, 32).T.astype(float)
    db = 10 * np.log10(np.maximum(mel, 1e-12))
    hits = sum(np.maximum(db[i] - db[i - 2], 0).mean() > 3 for i in range(2, len(db)))
    spectrum = 10 * np.log10(np.maximum(mel.mean(0), 1e-12))
    spans = [10 * np.log10(np.maximum(mel[i: i + 8].mean(0), 1e-12)) for i in range(0, len(mel) - 7, 8)]
    moves = np.std(spans, axis=0)[spectrum > spectrum.max() - 40].mean() if len(spans) > 1 else 0
    return spectrum, hits / len(frames), moves


@pytest.mark.parametrize("samples", [500, 1024, 20_000, 100_000])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_spectrum_is_that_of_a_plain_twin(samples, offset):
    muffled = signal.sosfilt(signal.butter(4, 1500, fs=RATE, output="sos"), beat(3))
    wav = (muffled[2000: 2000 + samples] + offset).astype(np.float32)
    listener = SpectrumListener(RATE)
    listener.push(wav)
    found, texture = listener.result()
    assert texture["tone"] == pytest.approx(facts(wav - offset).texture["tone"], abs=1e-3)
    spectrum, hits, moves = twin(wav.astype(float))
    assert np.abs(found - spectrum)[spectrum > -100].max() < 0.05
    assert texture["hits"] == pytest.approx(hits, abs=2e-3) and texture["movement"] == pytest.approx(moves, abs=0.02)


def test_texture_of_a_tone_and_of_hits():
    texture = facts(tone(1000)).texture
    assert texture["tone"] > 0.999 and texture["movement"] < 0.1 and texture["hits"] == 0 and texture["flatness"] < -60
    rare, often = facts(beat(bpm=60)).texture["hits"], facts(beat(bpm=180)).texture["hits"]
    assert 0.01 < rare < often < 0.5


def corpus(count: int = 24) -> list[Facts]:
    return [facts(beat(i, 5, 140 + i), f"beat{i}.wav") for i in range(count)]


CORPUS = corpus()


@pytest.mark.parametrize("wav, words", [
    (noise(5), "moves less"), (tone(3000, 5), "more of a tone"), (beat(99, 5) * 0.003, "quieter"),
    (signal.lfilter([1, -0.97], [1], beat(98, 5)), "much less bass"),
    (signal.lfilter([0.02], [1, -0.98], beat(97, 5)), "much more bass"),
    (np.sin(np.arange(5 * RATE) / RATE * 3) * HUM[: 5 * RATE], "more of a tone"),
])
def test_the_odd_one_is_found(wav, words):
    found = junk.outliers([*CORPUS, facts(wav, "odd.wav")])
    assert set(found) == {"odd.wav"} and words in found["odd.wav"] and found["odd.wav"].startswith("unlike the rest: ")


def test_a_corpus_that_is_alike_has_no_odd_ones():
    assert junk.outliers(CORPUS) == {}
    assert junk.outliers(iter([replace(CORPUS[0], name=str(i)) for i in range(20)])) == {}


def test_two_kinds_are_two_kinds():
    """Half of the files being hats is no oddity; one sound in a thousand of its kind would be."""
    hats = [facts(noise(0.3, seed=i) * np.geomspace(1, 1e-3, round(0.3 * RATE)), f"hat{i}.wav") for i in range(16)]
    assert junk.outliers([*CORPUS, *hats]) == {}


def test_few_files_and_silent_ones():
    assert junk.outliers([*CORPUS[:10], facts(noise(5), "odd.wav")]) == {}
    assert junk.outliers([*CORPUS, facts(np.zeros(RATE), "silent.wav")]) == {}
    assert junk.outliers([]) == {}
