"""All instruments of a SoundFont play what a file says."""

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi import waves
from audiocraft_ext.midi.band import Band
from audiocraft_ext.midi.file import NOTE, PROGRAM, Midi, table
from audiocraft_ext.midi.kit import Kit
from tests.drums.test_output import font

pytest.importorskip("tinysoundfont")
RATE = 16_000
MIDI = Midi(table(NOTE, [480, 960], [600, 1000], 0, 1, [60, 62], 100), end=1440,
            programs=table(PROGRAM, 0, 0, 1, 40))


def test_notes_sound_where_they_are(tmp_path):
    path = tmp_path / "band.sf2"
    path.write_bytes(font(bank=0, names=("Piano", "Organ")))
    band = Band.load(path)
    assert band.program(40) == 1  # the nearest there is
    wav = band.render(MIDI, RATE)
    assert wav.shape == (round(3.5 * RATE),) and wav.dtype == np.float32
    assert np.abs(wav).max() == pytest.approx(0.9) and not wav[: RATE // 2 - 1].any()
    assert np.abs(wav[RATE // 2 : RATE // 2 + 800]).max() > 0.1 < np.abs(wav[RATE : RATE + 800]).max()
    np.testing.assert_array_equal(wav, Band.load(path).render(MIDI, RATE))
    drums = band.render(Midi(table(NOTE, 480, 580, 0, 10, 36, 100), end=480), RATE)  # it has none: the kit plays
    kick = Kit.load().render([(0.5, 36, 100)], len(drums) / RATE, RATE)
    np.testing.assert_allclose(drums, kick * 0.9 / np.abs(kick).max(), atol=1e-6)


def test_what_is_no_band_is_refused(tmp_path):
    (tmp_path / "drums.sf2").write_bytes(font())
    with pytest.raises(UserError, match="without instruments: nothing in bank 0"):
        Band.load(tmp_path / "drums.sf2")
    (tmp_path / "no.sf2").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="not a SoundFont that can be played"):
        Band.load(tmp_path / "no.sf2")
    with pytest.raises(UserError, match="cannot be read"):
        Band.load(tmp_path / "none.sf2")


def test_the_waves_that_ship_play_every_program_in_tune():
    band = Band.load()
    one, two = (np.frombuffer(data, np.uint8) for data in (waves.build(), waves.PATH.read_bytes()))
    assert len(one) == len(two) < 60_000 and (one != two).mean() < 0.01  # a rounding may differ elsewhere
    assert [number for bank, number in sorted(band.presets) if bank == 0] == list(range(128)) and not band.drums
    levels = []
    for program in range(0, 128, 8):
        for pitch in (40, 69, 88):
            midi = Midi(table(NOTE, 0, 960, 0, 1, pitch, 100), end=960, programs=table(PROGRAM, 0, 0, 1, program))
            wav = band.render(midi, 44_100)
            part = wav[2000:24_050] * np.hanning(22_050)
            heard = np.abs(np.fft.rfft(part, 2**18)) * (np.arange(2**17 + 1) * 44_100 / 2**18 < 2000)
            hertz = np.argmax(heard) * 44_100 / 2**18
            tone = 440 * 2 ** ((pitch - 69) / 12)
            assert abs(1200 * np.log2(hertz / tone)) < 5, (program, pitch, hertz)
            levels.append(np.abs(wav).max())
    assert np.allclose(levels, 0.9)
