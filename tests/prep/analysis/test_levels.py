"""What is found of a sound's level: loudness and peaks as other tools measure them, channels that cancel, clipping,
the outline; the same in blocks of any size. And the gain, which keeps its promise once the mean is taken away."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound import level as clip_level
from data_prep.audio.analysis.facts import Level
from data_prep.audio.analysis.levels import ChannelListener, LevelListener, gain_db, parse_target
from data_prep.audio.analysis.outline import EnvelopeListener, decibels, encode

RATE = 32_000


def tone(hz: float, seconds: float = 1.0, rate: int = RATE, amplitude: float = 0.5, phase: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)).astype(np.float32)


def noise(seconds: float, amplitude: float = 0.1, seed: int = 0, rate: int = RATE) -> np.ndarray:
    return (amplitude * np.random.default_rng(seed).normal(size=round(seconds * rate))).astype(np.float32)


def hits(seconds: float = 6.0, rate: int = RATE) -> np.ndarray:
    """Decaying noise twice a second over a quiet bass: inner dynamics, much gated away."""
    wav = tone(55, seconds, rate, 0.02)
    for i in range(int(2 * seconds)):
        at = i * rate // 2
        part = noise(0.2, 0.5, i, rate)[: len(wav) - at]
        wav[at: at + len(part)] += part * np.exp(-np.arange(len(part)) / (0.03 * rate)).astype(np.float32)
    return wav / 2


def analysed(wav: np.ndarray, rate: int = RATE) -> Level:
    listener = LevelListener(rate)
    listener.push(wav)
    return listener.result()


def channels(block: np.ndarray):
    listener = ChannelListener(block.shape[1])
    listener.push(block.astype(np.float32))
    return listener.result()


def in_pieces(wav: np.ndarray, seed: int) -> list[np.ndarray]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(wav) + 1, 60))
    return np.split(wav, cuts)


SOUNDS = {
    "tone": lambda r: tone(997, 2.0, r), "noise": lambda r: noise(3.3, rate=r), "hits": lambda r: hits(6, r),
    "bass": lambda r: tone(40, 1.7, r), "0.4 s": lambda r: noise(0.4, rate=r), "0.44 s": lambda r: hits(0.44, r),
    "0.47 s": lambda r: hits(0.47, r), "1.08 s": lambda r: hits(1.08, r),
    "loud, then quiet": lambda r: np.concatenate([noise(3, 0.2, rate=r), noise(3, 0.01, rate=r)]),
    "with an offset": lambda r: hits(1.3, r) / 10 + np.float32(0.5),
    "with silence": lambda r: np.concatenate([noise(2, rate=r), np.zeros(5 * r, np.float32), noise(1, rate=r)]),
}


@pytest.mark.parametrize("rate", [24_000, 32_000, 44_100])
@pytest.mark.parametrize("name", SOUNDS)
def test_loudness_is_pyloudnorms(name, rate):
    wav = SOUNDS[name](rate)
    level = analysed(wav, rate)
    assert level.lufs == pytest.approx(clip_level.loudness(wav - np.float32(level.dc), rate), abs=0.001)


def test_loudness_of_the_reference_tone():
    """EBU Tech 3341: a tone of 1 kHz at -20 dBFS (peak) in one channel has -23 LUFS."""
    assert analysed(tone(997, 5, amplitude=0.1)).lufs == pytest.approx(-23.0, abs=0.1)


def test_loudness_is_gated():
    """What is 20 LU below the rest does not count; without the gate this would be 4.7 LU quieter."""
    loud, quiet = tone(997, 5, amplitude=0.1), tone(997, 5, amplitude=0.01)
    assert analysed(np.concatenate([quiet, loud, quiet])).lufs == pytest.approx(-23.0, abs=0.4)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to compare with")
@pytest.mark.parametrize("name", ["noise", "hits", "loud, then quiet", "with silence"])
def test_loudness_is_ffmpegs(name, tmp_path):
    wav = SOUNDS[name](48_000)
    sf.write(tmp_path / "a.wav", wav, 48_000, subtype="FLOAT")
    command = ["ffmpeg", "-nostats", "-i", tmp_path / "a.wav", "-af", "ebur128=dualmono=false", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    theirs = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", told)[-1])  # with one decimal
    assert analysed(wav, 48_000).lufs == pytest.approx(theirs, abs=0.1)


@pytest.mark.parametrize("wav", [noise(1.3), hits(), tone(RATE / 4, phase=np.pi / 4), tone(11_000), noise(0.01),
                                 noise(1) + np.float32(0.2), noise(0.003), tone(RATE / 2044, 2044 / RATE, phase=0)])
def test_true_peak_is_that_of_a_whole_clip(wav):
    level = analysed(wav)
    still = wav - np.float32(level.dc)
    assert level.true_peak_db == pytest.approx(clip_level.true_peak(still, RATE), abs=0.05)
    assert level.peak_db == pytest.approx(20 * np.log10(np.abs(still).max()), abs=1e-4)
    assert level.true_peak_db >= level.peak_db


def test_a_peak_between_the_samples():
    level = analysed(tone(RATE / 4, amplitude=0.5, phase=np.pi / 4))
    assert level.peak_db == pytest.approx(-9.03, abs=0.01) and level.true_peak_db >= -6.05


def test_mean_and_rms():
    level = analysed(tone(100, 1.0, amplitude=0.5) + np.float32(0.25))
    assert level.dc == pytest.approx(0.25, abs=1e-6)
    assert level.rms_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1e-3)
    assert level.peak_db == pytest.approx(20 * np.log10(0.5), abs=1e-3)


@pytest.mark.parametrize("wav", [np.zeros(RATE, np.float32), np.full(RATE, 0.3, np.float32), np.zeros(0, np.float32)])
def test_nothing_to_measure(wav):
    level = analysed(wav)
    assert level.lufs is level.peak_db is level.true_peak_db is level.rms_db is None
    assert level.dc == pytest.approx(0.3 if wav.any() else 0.0)
    assert gain_db(level, "lufs:-14") == (0.0, "silent, left as it is")


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.399])
def test_too_short_for_a_loudness(seconds):
    wav = noise(seconds)
    level = analysed(wav)
    gain, note = gain_db(level, "lufs:-14")
    assert level.lufs is None and "too short" in note
    out = (wav - level.dc) * 10 ** (gain / 20)
    assert clip_level.true_peak(out, RATE) == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("make", [ChannelListener, LevelListener, EnvelopeListener])
@pytest.mark.parametrize("seconds", [0.001, 0.8, 3.7])
def test_blocks_do_not_matter(make, seconds):
    wav = noise(seconds, 0.4).clip(-0.6, 0.6)
    wav = np.stack([wav, noise(seconds, seed=1)], axis=1) if make is ChannelListener else wav

    def result(pieces):
        listener = make(2 if make is ChannelListener else RATE)
        for piece in pieces:
            listener.push(piece)
        return listener.result()

    whole = result([wav])
    for seed in range(3):
        pieces = result(in_pieces(wav, seed))
        assert all(np.array_equal(a, b) for a, b in zip(whole, pieces)) if isinstance(whole, tuple) else pieces == whole


def test_channels_of_one_and_of_the_same():
    wav = noise(1)
    for count in (1, 2, 6):
        found = channels(np.repeat(wav[:, None], count, axis=1))
        assert (found.channels, found.mix) == (count, "mid") and found.mid_db == pytest.approx(0, abs=1e-3)
        assert found.amplitude == pytest.approx(np.abs(wav).max())


@pytest.mark.parametrize("count", [2, 6, 16])
def test_channels_that_have_nothing_to_do_with_each_other_do_not_cancel(count):
    found = channels(np.stack([noise(1, seed=seed) for seed in range(count)], axis=1))
    assert found.mix == "mid" and found.mid_db == pytest.approx(-10 * np.log10(count), abs=0.2)


def test_sound_in_one_channel_is_the_mid():
    assert channels(np.stack([noise(1), np.zeros(RATE)], axis=1)).mix == "mid"


@pytest.mark.parametrize("other, mix", [(-1.0, "channel 1"), (-0.9, "channel 1"), (-1.1, "channel 2"),
                                        (-0.7, "channel 1"), (-0.4, "mid"), (0.5, "mid")])
def test_channels_that_cancel(other, mix):
    wav = noise(1)
    found = channels(np.stack([wav, other * wav], axis=1))
    assert found.mix == mix
    assert found.mid_db == pytest.approx(10 * np.log10(max(((1 + other) / 2) ** 2 / ((1 + other**2) / 2), 1e-12)),
                                         abs=0.1)


def test_an_offset_is_no_energy():
    """Two offsets that cancel, or not, say nothing of the sound."""
    wav = noise(1)
    assert channels(np.stack([wav + 0.5, -0.9 * wav + 0.5], axis=1)).mix == "channel 1"
    assert channels(np.stack([wav + 0.5, wav - 0.5], axis=1)).mid_db == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("ceiling", [1.0, 0.966, 0.5])
@pytest.mark.parametrize("bits", [8, 16, 24])
def test_clipping_is_counted(ceiling, bits):
    wav = sum(tone(hz, 4, 44_100, 0.5, hz) for hz in (110, 157, 610)) * 1.5  # peaks of 2.25
    step = 2.0 ** (1 - bits)
    cut = np.round(wav.clip(-1, 1 - step) * ceiling / step) * step
    at_ceiling = np.mean((wav >= 1) | (wav <= -1))
    assert at_ceiling > 0.1
    found = channels(cut[:, None])
    assert found.clipped == pytest.approx(at_ceiling, rel=0.1 if bits > 8 else 0.3)
    stray = cut.copy()
    stray[1000] *= 1.3  # one sample above the ceiling hides nothing
    assert channels(stray[:, None]).clipped == pytest.approx(found.clipped, rel=0.01)


def test_a_shoulder_is_no_top():
    wav = np.tile(np.array([0, 0.5, 0.9, 0.9, 0.9, 0.9, 1, 0.3, -0.5, -0.2]), 3000)
    assert channels(wav[:, None]).clipped == 0


def test_one_clipped_channel_of_two():
    wav = hits()
    cut = (30 * wav).clip(-1, 1)
    both = channels(np.stack([cut, cut], axis=1)).clipped
    assert both > 0.01 and channels(np.stack([wav, cut], axis=1)).clipped == pytest.approx(both / 2)


@pytest.mark.parametrize("hz", [20, 50, 441, 5000])
@pytest.mark.parametrize("bits", [8, 16, 24])
def test_a_round_top_is_not_clipped(hz, bits):
    step = 2.0 ** (1 - bits)
    wav = np.round(tone(hz, 2, 44_100, 0.99) / step) * step
    assert channels(wav[:, None]).clipped == 0


@pytest.mark.parametrize("wav", [np.zeros(RATE), np.full(RATE, 0.9), np.repeat(noise(0.2), 5)])
def test_silence_offsets_and_steps_are_not_clipped(wav):
    assert channels(wav[:, None]).clipped < 0.002


@pytest.mark.parametrize("target", ["lufs:-14", "lufs:-30", "peak:-1", "peak:-6"])
@pytest.mark.parametrize("offset", [0.0, 0.2, -0.4])
@pytest.mark.parametrize("wav", [hits(3), noise(2), tone(RATE / 4, 2, phase=np.pi / 4), tone(60, 0.2)])
def test_the_gain_keeps_its_promise(target, offset, wav):
    wav = wav + np.float32(offset)
    level = analysed(wav)
    gain, note = gain_db(level, target)
    out = (wav - np.float32(level.dc)) * np.float32(10 ** (gain / 20))
    peak = clip_level.true_peak(out, RATE)
    assert peak <= -1 + 0.02
    kind, aim = parse_target(target)
    if kind == "peak":
        assert peak == pytest.approx(aim, abs=0.05)
    elif not note:
        assert clip_level.loudness(out, RATE) == pytest.approx(aim, abs=0.05)
    else:
        assert peak == pytest.approx(-1, abs=0.05)
    kept, _ = gain_db(level, target, dc=False)  # the mean stays
    assert clip_level.true_peak(wav[1000:-1000] * 10 ** (kept / 20), RATE) <= -1 + 0.5


def test_the_note_says_what_is_missing():
    level = Level(lufs=-20.0, peak_db=-4.5, true_peak_db=-3.8, rms_db=-20)
    assert gain_db(level, "lufs:-14") == (pytest.approx(2.8), "-17.2 LUFS, 3.2 dB short of -14: more would push its "
                                          "true peak above -1 dBTP")
    assert gain_db(level, "lufs:-23") == (-3.0, "")
    assert gain_db(level, "off") == (0.0, "")


def test_noise_is_not_made_of_nearly_nothing():
    level = analysed(noise(1, 1e-4))
    gain, note = gain_db(level, "lufs:-14")
    assert gain == 40 and "the most that is given" in note


@pytest.mark.parametrize("text, target", [("lufs:-14", ("lufs", -14.0)), ("peak:-1", ("peak", -1.0)),
                                          (" off ", ("off", 0.0)), ("peak:0", ("peak", 0.0))])
def test_targets(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "loud", "lufs", "lufs:", "lufs:x", "lufs:nan", "off:3", "rms:-3", "peak:3",
                                  "lufs:-90", "peak:-inf"])
def test_what_is_no_target(text):
    with pytest.raises(UserError, match="level|can be had"):
        parse_target(text)


@pytest.mark.parametrize("rate", [32_000, 22_050])
@pytest.mark.parametrize("seconds", [0.004, 0.5, 2.345])
def test_envelope_and_overview_of_a_short_sound(rate, seconds):
    wav = noise(seconds, rate=rate)
    listener = EnvelopeListener(rate)
    listener.push(wav)
    envelope, overview = listener.result()
    frames = [wav[i * rate // 100: (i + 1) * rate // 100] for i in range(int(np.ceil(len(wav) * 100 / rate)))]
    frames = [frame for frame in frames if len(frame)]
    assert np.abs(decibels(envelope) - [20 * np.log10(np.abs(frame).max()) for frame in frames]).max() <= 0.26
    for i, (low, high) in enumerate(overview):
        part = wav[i * len(wav) // 240: max((i + 1) * len(wav) // 240, i * len(wav) // 240 + 1)]
        assert (low, high) == (round(127 * float(part.min())), round(127 * float(part.max())))


def test_overview_of_a_long_sound():
    """Beyond ten seconds it is read from the 10 ms frames: a piece's edges are off by one of them at most."""
    rate = 8000
    wav = np.repeat(np.linspace(0.1, 0.9, 40), rate // 2).astype(np.float32) * tone(500, 20, rate, 1)
    listener = EnvelopeListener(rate)
    listener.push(wav)
    envelope, overview = listener.result()
    assert len(envelope) == 2000
    whole = wav.reshape(240, -1) if len(wav) % 240 == 0 else np.stack(np.array_split(wav[:len(wav) // 240 * 240], 240))
    assert np.abs(overview[:, 1] - 127 * whole.max(1)).max() < 127 * 0.8 / 40 + 1
    assert np.abs(overview[:, 0] - 127 * whole.min(1)).max() < 127 * 0.8 / 40 + 1


def test_an_offset_is_not_in_the_outline():
    listener = EnvelopeListener(RATE)
    listener.push(np.concatenate([tone(100, 1, amplitude=0.1), np.zeros(RATE, np.float32)]) + np.float32(0.3))
    envelope, overview = listener.result(0.3)
    assert decibels(envelope)[:100].mean() == pytest.approx(-20, abs=0.5) and decibels(envelope)[100:].max() < -70
    assert np.abs(overview).max() <= 13 and np.abs(overview[130:]).max() == 0


def test_coding_of_the_envelope():
    assert encode(np.array([0, 1e-8, 1, 4, 0.5, 10 ** (-127 / 20)])).tolist() == [0, 0, 255, 255, 243, 1]
    assert decibels(np.array([255, 243, 1, 0], np.uint8)).tolist() == [0, -6, -127, -127.5]


def test_the_outline_of_nothing():
    envelope, overview = EnvelopeListener(RATE).result()
    assert len(envelope) == 0 and overview.shape == (240, 2) and overview.dtype == np.int8
