"""What people would rather see than read: waveforms and mel spectrograms of clips, side by side or a sheet full."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import atomic
from audiocraft_ext.sound.mel import mel

PER_PAGE = 64
FLOOR = -70.0  # dB below the loudest: black
BACKGROUND, PANEL, WAVE, TEXT, FAINT = "#16181d", "#0d0e11", "#6fb7ff", "#e8e8ea", "#8a8d96"
WIDTH, MARGIN, GAP = 1600, 24, 12  # pixels, of a page
FONT = 0.602  # width of a character of DejaVu Sans Mono, matplotlib's own font, for its height


def mel_db(wav: np.ndarray, sample_rate: int, n_mels: int = 96, n_fft: int = 2048, hop: int = 512) -> np.ndarray:
    """``float [N]`` to a log mel spectrogram ``[n_mels, frames]`` in dB below its loudest, -120 in silence."""
    power = mel(wav, sample_rate, n_mels, n_fft, hop)
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-10), 1e-12))


def sheet(clips: Sequence[tuple[str, np.ndarray]], sample_rate: int, path: Path, title: str = "") -> list[Path]:
    """Draw a batch as a contact sheet, a waveform over a mel spectrogram for each clip, into PNGs.

    All clips share one scale of time and one of amplitude (full scale, more if a clip goes beyond), so that they can be
    compared; each spectrogram has its own loudest as 0 dB. 64 clips fill a page; more become pages of as even a number
    as can be, the first at ``path``, others at ``NAME_2.png``, ``NAME_3.png``, ...

    Args:
        clips: ``[(name, wav [N]), ...]``; a name too long for its place loses its middle.

    Returns:
        The files that were written.

    Raises:
        UserError: one cannot be written, or matplotlib is not there.
    """
    pages = max(1, math.ceil(len(clips) / PER_PAGE))
    size = math.ceil(len(clips) / pages)
    seconds = max((len(wav) for _, wav in clips), default=0) / sample_rate or 1.0
    amplitude = max((float(np.abs(wav).max(initial=0)) for _, wav in clips), default=0.0)
    out = []
    for page in range(pages):
        out.append(path if page == 0 else path.with_name(f"{path.stem}_{page + 1}{path.suffix}"))
        heading = f"{title}  {page + 1}/{pages}".strip() if pages > 1 else title
        _page(clips[page * size: (page + 1) * size], sample_rate, out[-1], heading, seconds, max(1.0, amplitude))
    return out


def _page(clips, sample_rate: int, path: Path, title: str, seconds: float, amplitude: float) -> None:
    """One axes in pixels holds it all: a small one for each picture is what takes matplotlib its time."""
    try:
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("a contact sheet is drawn by matplotlib; 'pip install matplotlib', or leave it out") from None

    columns = max(1, math.ceil(math.sqrt(len(clips))))
    rows = math.ceil(len(clips) / columns)
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    text = 15 if columns <= 4 else 12 if columns <= 6 else 10  # pixels high
    wave_high = max(36, width // 8)
    mel_high = max(64, min(320, width // 4))
    cell = text + 8 + wave_high + mel_high
    top = MARGIN + (44 if title else 0)
    height = top + rows * cell + (rows - 1) * 2 * GAP + MARGIN

    fig = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor=BACKGROUND)
    axes = fig.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))  # y downwards, as one reads
    axes.axis("off")
    points = 72 / 100  # of a pixel, in type
    style = {"family": "DejaVu Sans Mono", "parse_math": False}  # a dollar in a file's name is a dollar
    if title:
        axes.text(MARGIN, MARGIN + 14, fitted(title, WIDTH - 2 * MARGIN, 20), color=TEXT, size=20 * points,
                  va="center", **style)
    image = np.empty((height, WIDTH, 3), np.float32)
    image[:] = _rgb(BACKGROUND)
    waves = []
    for i, (name, wav) in enumerate(clips):
        x, y = MARGIN + i % columns * (width + GAP), top + i // columns * (cell + 2 * GAP)
        length = f"{len(wav) / sample_rate:.{1 if len(wav) >= sample_rate else 2}f} s"
        room = width - (len(length) + 1) * text * FONT
        axes.text(x, y + text / 2, fitted(name, room, text), color=TEXT, size=text * points, va="center", **style)
        axes.text(x + width, y + text / 2, length, color=FAINT, size=text * points, va="center", ha="right", **style)
        y += text + 8
        image[y: y + wave_high + mel_high, x: x + width] = _rgb(PANEL)
        used = min(width, max(1, round(len(wav) / sample_rate / seconds * width)))
        if len(wav):
            waves.append(_outline(wav, used, x, y + wave_high / 2, wave_high / 2 * 0.94 / amplitude))
            image[y + wave_high: y + wave_high + mel_high, x: x + used] = _spectrogram(wav, sample_rate, mel_high, used)
    axes.imshow(image, extent=(0, WIDTH, height, 0), interpolation="none", aspect="auto")
    axes.add_collection(PolyCollection(waves, facecolors=WAVE, edgecolors=WAVE, linewidths=0.4))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    save(fig, path, dpi=100, facecolor=BACKGROUND)


def save(fig, path: Path, **how) -> None:
    """A picture that is there is whole."""
    try:
        with atomic(path) as part, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in letters that the font has not
            fig.savefig(part, format="png", **how)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i: i + 2], 16) / 255 for i in (1, 3, 5))


def fitted(text: str, width: float, high: float) -> str:
    """``text`` with as much of its middle left out as does not fit into ``width`` pixels at ``high``."""
    text, room = " ".join(text.split()), max(1, int(width / (high * FONT)))
    if len(text) <= room:
        return text
    head = (room - 1) // 2
    return f"{text[:head]}…{text[len(text) - (room - 1 - head):]}"


def _outline(wav: np.ndarray, columns: int, x: float, middle: float, scale: float) -> np.ndarray:
    """The polygon around the extremes of each pixel's samples, ``[2 * columns, 2]`` of (x, y)."""
    edges = np.linspace(0, len(wav), columns + 1).astype(int)
    starts = np.minimum(edges[:-1], len(wav) - 1)
    high, low = np.maximum.reduceat(wav, starts), np.minimum.reduceat(wav, starts)
    xs = x + np.arange(columns) + 0.5
    upper, lower = np.stack([xs, middle - high * scale], 1), np.stack([xs, middle - low * scale], 1)
    return np.concatenate([upper, lower[::-1]])


def _spectrogram(wav: np.ndarray, sample_rate: int, high: int, columns: int) -> np.ndarray:
    """Colours ``[high, columns, 3]``, the treble on top; each pixel the loudest of its frames, so that no hit is
    lost."""
    from matplotlib import colormaps

    hop = max(64, min(512, len(wav) // max(1, columns)))
    db = mel_db(wav, sample_rate, n_mels=min(high, 96), hop=hop)
    frames = np.linspace(0, db.shape[1], columns + 1)
    starts = np.minimum(frames[:-1].astype(int), db.shape[1] - 1)
    db = np.maximum.reduceat(db, starts, axis=1)  # [n_mels, columns]
    db = db[(np.arange(high) * len(db) // high)[::-1]]  # [high, columns]
    return colormaps["magma"](np.clip(1 - db / FLOOR, 0, 1))[..., :3]


def compare(columns: list[tuple[str, list[tuple[str, np.ndarray]]]], sample_rate: int, path: Path) -> None:
    """Draw columns of clips, a waveform over a spectrogram each, into a PNG.

    Args:
        columns: ``[(heading, [(name, wav [N]), ...]), ...]``, each column with as many clips.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = max(len(clips) for _, clips in columns)
    fig, axes = plt.subplots(2 * rows, len(columns), figsize=(7 * len(columns), 3.4 * rows), squeeze=False,
                             gridspec_kw={"height_ratios": [1, 2] * rows}, layout="constrained")
    for axis in axes.flat:
        axis.set_visible(False)
    for column, (heading, clips) in enumerate(columns):
        for row, (name, wav) in enumerate(clips):
            wave, spec = axes[2 * row, column], axes[2 * row + 1, column]
            wave.set_visible(True)
            spec.set_visible(True)
            seconds = len(wav) / sample_rate
            wave.plot(np.arange(len(wav)) / sample_rate, wav, linewidth=0.4, color="#205080")
            wave.set(xlim=(0, seconds), ylim=(-1, 1), xticks=[], yticks=[-1, 0, 1])
            wave.set_title(f"{heading}: {name}", fontsize=10, loc="left")
            image = spec.imshow(mel_db(wav, sample_rate), origin="lower", aspect="auto", vmin=FLOOR, vmax=0,
                                extent=(0, seconds, 0, 96), cmap="magma")
            spec.set(xlabel="seconds" if row == rows - 1 else "", ylabel="mel band")
    fig.colorbar(image, ax=axes[:, -1], label="dB", shrink=0.5)
    save(fig, path, dpi=90)
    plt.close(fig)
