"""Contact sheets: a page for any number of clips, each clip at its place, and a mel spectrogram as librosa's."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import librosa
import numpy as np
import pytest
from matplotlib.image import imread

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound import picture
from audiocraft_ext.sound.mel import mel

RATE = 16_000


def clip(hz: float = 440, seconds: float = 0.25) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("rate, n_mels, n_fft, hop", [
    (32_000, 96, 2048, 512), (16_000, 48, 512, 64), (32_000, 96, 512, 128)
])
def test_mel_is_librosas(rate, n_mels, n_fft, hop):
    wav = np.random.default_rng(0).normal(size=20_001).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bands too narrow to hold a bin
        theirs = librosa.feature.melspectrogram(y=wav, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels, htk=True,
                                                norm=1)
    ours = mel(wav, rate, n_mels, n_fft, hop)
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    full = theirs.max(axis=1) > 0  # librosa leaves those bands black, ours take the nearest bin
    assert full.mean() > 0.8 and np.abs(ours - theirs)[full].max() < 1e-4 * theirs.max()
    assert (ours.max(axis=1) > 0).all()


def test_mel_of_a_long_clip_is_that_of_its_parts():
    """Frames are worked on in blocks; where one ends cannot be seen."""
    wav = np.random.default_rng(0).normal(size=3000 * 16).astype(np.float32)
    whole, part = mel(wav, RATE, 20, 256, 16), mel(wav[8_000:40_000], RATE, 20, 256, 16)
    assert whole.shape == (20, 3001) and np.allclose(whole[:, 520:2480], part[:, 20:1980], rtol=1e-4)


def test_db():
    db = picture.mel_db(clip(1000), RATE)
    assert db.max() == 0 and db.min() >= -120.01
    centres = librosa.mel_frequencies(98, fmin=0, fmax=RATE / 2, htk=True)[1:-1]
    assert abs(centres[db.max(axis=1).argmax()] - 1000) < 50
    assert (picture.mel_db(np.zeros(9999), RATE) < -100).all()


@pytest.mark.parametrize("n, pages", [(0, 1), (1, 1), (2, 1), (7, 1), (64, 1), (65, 2)])
def test_any_number_of_clips(tmp_path, n, pages):
    clips = [(f"clip_{i}.wav", clip(200 + 50 * i, 0.05)) for i in range(n)]
    files = picture.sheet(clips, RATE, tmp_path / "sheet.png", "a title")
    assert files == [tmp_path / "sheet.png", tmp_path / "sheet_2.png"][:pages]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    shapes = [imread(f).shape for f in files]
    assert all(shape[1] == picture.WIDTH and shape[0] <= 1400 for shape in shapes)
    assert len({shape[0] for shape in shapes}) == 1  # 33 and 32 are as even as 65 can be


def cells(tmp_path, clips) -> list[np.ndarray]:
    """The cut-outs of a sheet, clip by clip."""
    image = imread(picture.sheet(clips, RATE, tmp_path / "s.png")[0])[..., :3]
    columns = math.ceil(math.sqrt(len(clips)))
    rows = math.ceil(len(clips) / columns)
    width = (image.shape[1] - 2 * picture.MARGIN + picture.GAP) // columns
    height = (image.shape[0] - 2 * picture.MARGIN + 2 * picture.GAP) // rows
    return [image[picture.MARGIN + r * height: picture.MARGIN + (r + 1) * height - 2 * picture.GAP,
                  picture.MARGIN + c * width: picture.MARGIN + (c + 1) * width - picture.GAP]
            for r in range(rows) for c in range(columns)][:len(clips)]


def blue(image: np.ndarray) -> np.ndarray:
    """Where the waveform is."""
    return (image[..., 2] > 0.8) & (image[..., 0] < 0.6)


def test_each_clip_is_drawn_at_its_place_and_length(tmp_path):
    loud, silent, half, none = cells(tmp_path, [("a", clip()), ("b", clip() * 0), ("c", clip(seconds=0.125)),
                                                ("d", clip()[:0])])
    width = loud.shape[1]
    assert blue(loud).any(axis=0).mean() > 0.98 and blue(loud).sum() > 30 * blue(silent).sum() / 2
    assert np.flatnonzero(blue(half).any(axis=0)).max() == pytest.approx(width / 2, abs=4)
    assert not blue(none).any()
    bright = lambda image: (image[-60:, :, 0] > 0.7).any(axis=0)  # in the spectrogram
    assert bright(loud).mean() > 0.95 and not bright(silent).any() and not bright(none).any()
    assert bright(half)[: width // 2 - 8].all() and not bright(half)[width // 2 + 8:].any()


def test_treble_is_above_bass(tmp_path):
    low, high = cells(tmp_path, [("a", clip(200)), ("b", clip(6000))])
    row = lambda image: image[-150:, 40:-40, 0].sum(axis=1).argmax()  # 0 is the top
    assert row(low) > row(high) + 80


def test_what_goes_beyond_full_scale_stays_in_its_panel(tmp_path):
    loud, = cells(tmp_path, [("a", clip() * 6)])
    rows = np.flatnonzero(blue(loud).any(axis=1))
    assert rows.min() >= 20 and rows.max() - rows.min() > 150


def test_names_of_any_kind(tmp_path):
    """Too long, mathematics, letters that the font lacks: no warning, and no text beyond its place."""
    names = ["x" * 300, "$\\nope$ {", "鼓", "", "a\nb"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = picture.sheet([(name, clip()) for name in names], RATE, tmp_path / "s.png", "$t" * 200)
    image = imread(files[0])[..., :3]
    assert np.ptp(image[:, -picture.MARGIN + 2:], axis=(0, 1)).max() == 0  # the margin on the right is empty
    assert picture.fitted("0123456789", 5 * 10 * picture.FONT + 1, 10) == "01…89"
    assert picture.fitted("two\nlines", 1000, 10) == "two lines"


def test_a_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="cannot write .*none/s.png: No such file"):
        picture.sheet([("a", clip())], RATE, tmp_path / "none" / "s.png")
    (tmp_path / "s.png").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        picture.sheet([("a", clip())], RATE, tmp_path / "s.png")
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]


def test_compare_draws_columns(tmp_path):
    picture.compare([("real", [("a", clip()), ("b", clip())]), ("made", [("c", clip())])], RATE, tmp_path / "c.png")
    assert imread(tmp_path / "c.png").shape[1] == 1260 and [p.name for p in tmp_path.iterdir()] == ["c.png"]


def test_without_librosa(tmp_path):
    script = ("import sys, numpy as np; from pathlib import Path; from audiocraft_ext.sound.picture import sheet\n"
              f"sheet([('a', np.zeros(999))], 8000, Path({str(tmp_path / 's.png')!r})); print(*sys.modules)")
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           timeout=60).stdout.split()
    assert "matplotlib" in names and not {"librosa", "scipy", "torch", "matplotlib.pyplot"} & set(names)
