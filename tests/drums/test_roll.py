"""Piano rolls: each hit in its row, at its very time, the louder the brighter."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.play import cli, output
from audiocraft_ext.drums.play import roll as rolls
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.roll import roll, sheet
from audiocraft_ext.sound.picture import MARGIN, WIDTH
from tests.helpers.drum_bundle import tiny_drummer

NAMES = {36: "kick", 38: "snare", 42: "closed_hat"}
LEFT, RIGHT = MARGIN + 124, WIDTH - MARGIN - rolls.SCALE  # of the bars
BAR = (RIGHT - LEFT) / 2  # pixels, of two in a line
FIRST, HIGH = MARGIN + 96, 24  # the top of the first row, and how high one is


def beat(*notes: tuple[float, int, int], bars: int = 2, meter: tuple[int, int] = (4, 4), **recipe) -> Beat:
    """(tick, pitch, velocity) ..."""
    clip = DrumClip(np.array(notes).reshape(-1, 3), 480, 95.0, meter, bars)
    return Beat(np.zeros((6, bars * 16 * meter[0] // meter[1]), np.int64), clip, 3,
                {"bundle": "drums", "seed": 5} | recipe, NAMES)


def row(one: Beat, folder: Path, number: int) -> np.ndarray:
    """How colourful each pixel in the middle of a row is, from the first bar line on; ``[RIGHT - LEFT]``."""
    roll(one, folder / "r.png")
    line = imread(folder / "r.png")[round(FIRST + (number + 0.5) * HIGH), LEFT:RIGHT, :3]
    return np.ptp(line, axis=1)


def starts(line: np.ndarray) -> list[int]:
    """Where wedges begin."""
    bright = line > 0.3
    return np.flatnonzero(bright & ~np.concatenate([[False], bright[:-1]])).tolist()


def test_hits_are_drawn_in_their_row_at_their_very_time(tmp_path):
    ticks = {36: (0, 490, 1920), 38: (480, 1430), 42: (37, 3800)}
    one = beat(*[(tick, pitch, 100) for pitch, at in ticks.items() for tick in at])
    for number, pitch in enumerate((42, 38, 36)):  # the first class at the bottom
        assert starts(row(one, tmp_path, number)) == pytest.approx([tick / 1920 * BAR for tick in ticks[pitch]], abs=1)


def test_a_line_has_two_bars(tmp_path):
    one = beat((3840 + 960, 36, 100), bars=3)
    assert not starts(row(one, tmp_path, 2))
    image = imread(tmp_path / "r.png")
    second = FIRST + 3 * HIGH + 42  # the top of the second line
    line = np.ptp(image[round(second + 2.5 * HIGH), LEFT:RIGHT, :3], axis=1)
    assert starts(line) == pytest.approx([BAR / 2], abs=1)
    below = image[round(second + 0.5 * HIGH), LEFT:RIGHT, :3]
    assert np.ptp(below[int(BAR) + 4:], axis=0).max() == 0 < np.ptp(below[: int(BAR)], axis=0).max()


def test_a_hit_just_before_a_line_is_in_it(tmp_path):
    """Its mark stands out to the left; at the end of all it stays where it is."""
    one = beat((3840 - 40, 36, 100), (3840 - 70, 38, 100), (2 * 3840 - 20, 42, 100), bars=4)
    roll(one, tmp_path / "r.png")
    image = imread(tmp_path / "r.png")
    second = FIRST + 3 * HIGH + 42

    def marks(top: float, number: int) -> list[int]:
        return starts(np.ptp(image[round(top + (number + 0.5) * HIGH), LEFT - 30 : RIGHT, :3], axis=1))

    assert marks(FIRST, 2) == marks(second, 1) == marks(FIRST, 0) == []
    assert marks(second, 2) == pytest.approx([30 - 40 / 1920 * BAR], abs=1)
    assert marks(FIRST, 1) == pytest.approx([30 + (3840 - 70) / 1920 * BAR], abs=1)
    assert marks(second, 0) == pytest.approx([30 + (3840 - 20) / 1920 * BAR], abs=1)


def test_velocity_is_colour_and_height(tmp_path):
    loudness = (1, 40, 80, 127)
    one = beat(*[(480 * i, 36, velocity) for i, velocity in enumerate(loudness)])
    roll(one, tmp_path / "r.png")
    image = imread(tmp_path / "r.png")[..., :3]
    middle, tall = round(FIRST + 2.5 * HIGH), []
    for i, velocity in enumerate(loudness):
        x = round(LEFT + BAR * i / 4) + 2
        shade = rolls.DARKEST + (1 - rolls.DARKEST) * (velocity - 1) / 126
        assert image[middle, x] == pytest.approx(colormaps[rolls.COLOURS](shade)[:3], abs=0.02)
        column = image[middle - HIGH // 2: middle + HIGH // 2, x]
        tall.append(int((np.ptp(column, axis=1) > 0.3).sum()))
    assert (np.diff(tall) > 2).all() and tall[-1] <= HIGH


def lines(one: Beat, folder: Path) -> int:
    """How many lines an empty row is divided by, in a bar."""
    roll(one, folder / "r.png")
    image = imread(folder / "r.png")[round(FIRST + 0.5 * HIGH), LEFT - 2: RIGHT + 2, :3].sum(1)
    panel = np.median(image)
    return (len(starts(np.abs(image - panel) * 10)) - 1) // one.clip.bars


@pytest.mark.parametrize("meter, steps, said", [((4, 4), 16, 16), ((4, 4), 24, 24), ((7, 8), 14, 14), ((6, 8), 12, 12)])
def test_the_grid_is_that_of_the_codes(tmp_path, meter, steps, said):
    one = beat(meter=meter)
    assert lines(Beat(np.zeros((6, 2 * steps), int), one.clip, 0, one.recipe, NAMES), tmp_path) == said
    other = Beat(np.zeros((4, 77), int), one.clip, 0, one.recipe, NAMES)  # hits, not a grid: sixteenths
    assert lines(other, tmp_path) == 16 * meter[0] // meter[1]


@pytest.mark.parametrize("bars", [1, 256])
def test_any_length_and_any_words(tmp_path, bars):
    rng = np.random.default_rng(0)
    notes = np.stack([rng.integers(0, 1920 * bars, 300), rng.integers(0, 128, 300), rng.integers(1, 128, 300)], 1)
    one = beat(*notes[:20], *notes[20:] * [1, 0, 1] + [0, 36, 0], bars=bars, bundle="$\\nope$ 鼓" + "x" * 200,
               said={"genre": "x" * 300})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roll(one, tmp_path / "r.png")
    image = imread(tmp_path / "r.png")[..., :3]
    assert image.shape[1] == WIDTH and np.ptp(image[:, -MARGIN + 2:], axis=(0, 1)).max() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["r.png"]


@pytest.mark.parametrize("n, pages", [(0, 1), (3, 1), (8, 1), (9, 2)])
def test_a_sheet(tmp_path, n, pages):
    beats = [beat((480 * i, 36, 127), bars=4) for i in range(n)]
    files = sheet(beats, tmp_path / "s.png", "a title")
    assert files == [tmp_path / "s.png", tmp_path / "s_2.png"][:pages] and sorted(tmp_path.iterdir()) == files
    yellow = [(imread(file)[:, : -rolls.SCALE - MARGIN, :3] @ [1, 1, -1] > 1.6).sum() for file in files]
    assert all(yellow) == (n > 0)  # the loudest hits, apart from the scale
    if n == 8:
        image = imread(files[0])[..., :3]
        half = (WIDTH - rolls.SCALE) // 2
        each = [(part @ [1, 1, -1] > 1.6).sum() for cell in np.array_split(image[60:, : -rolls.SCALE - MARGIN], 4)
                for part in (cell[:, :half], cell[:, half:])]
        assert min(each) > 10


def test_a_picture_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot write .*No such file"):
        roll(beat((0, 36, 100)), tmp_path / "none" / "r.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.collections", None)
    with pytest.raises(UserError, match="pip install matplotlib"):
        roll(beat((0, 36, 100)), tmp_path / "r.png")
    assert not list(tmp_path.iterdir())


def test_without_pyplot(tmp_path):
    script = ("import sys, numpy as np; from pathlib import Path; from audiocraft_ext.drums.play.roll import sheet\n"
              f"sheet([], Path({str(tmp_path / 's.png')!r})); print(*sys.modules)")
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           timeout=60).stdout.split()
    assert "matplotlib" in names and not {"librosa", "scipy", "torch", "matplotlib.pyplot"} & set(names)


def test_the_command_line_draws_beats_side_by_side(tmp_path, capsys):
    bundle = tiny_drummer(tmp_path / "tiny")
    for number in ("2", "3"):
        cli.main([str(bundle), "-n", number, "--seed", "1", "--bars", "1", "-o", str(tmp_path / "o"), "--sheet"])
    assert [path.name for path in sorted((tmp_path / "o").glob("*.png"))] == ["tiny_seed1.png", "tiny_seed1_v2.png"]
    assert str(tmp_path / "o" / "tiny_seed1_v2.png") in capsys.readouterr().out
    beside = next((tmp_path / "o").glob("*.json"))
    drummer = Drummer.load(bundle, threads=1)
    (made,) = drummer.play(drummer.recipe(bars=1, seed=1), [output.read_sidecar(beside).index])
    assert output.read(beside, drummer.codec).clip == made.clip
    with pytest.raises(UserError, match="--from takes everything from the file; leave out --sheet"):
        cli.main(["--from", str(beside), "--sheet"])
