"""All instruments of a SoundFont play what a file says."""

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.band import Band
from audiocraft_ext.midi.file import NOTE, PROGRAM, Midi, table
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
    assert not band.render(Midi(table(NOTE, 0, 100, 0, 10, 36, 100), end=480), RATE).any()  # it has no drums


def test_what_is_no_band_is_refused(tmp_path):
    (tmp_path / "drums.sf2").write_bytes(font())
    with pytest.raises(UserError, match="without instruments: nothing in bank 0"):
        Band.load(tmp_path / "drums.sf2")
    (tmp_path / "no.sf2").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="not a SoundFont that can be played"):
        Band.load(tmp_path / "no.sf2")
    with pytest.raises(UserError, match="cannot be read"):
        Band.load(tmp_path / "none.sf2")
