"""How well sound continues at a point: clicks and changes of spectrum, compared with those at other points.

Sound is taken as circular throughout: behind its end it begins again, so the join of a loop is the point 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiocraft_ext.sound.mel import mel

WIDTH = 0.03  # seconds before and after a point whose spectra are compared, or nearly
BANDS = 32
FLOOR_DB = -40.0  # below the mean of all bands; what is softer counts as that
AROUND = 0.005  # seconds around a point that a click there is compared with


@dataclass(frozen=True)
class Discontinuity:
    """What does not continue, at each point; 0 is none.

    Attributes:
        click: ``float64 [P]``, the largest second difference of the samples at the point, in RMS of those within 5 ms.
        flux: ``float64 [P]``, mean difference in dB of the mel bands 30 ms before and 30 ms after.
    """

    click: np.ndarray
    flux: np.ndarray


def discontinuity(wav: np.ndarray, at: int | Sequence[int] | np.ndarray, sample_rate: int) -> Discontinuity:
    """Measure circular ``float [N]`` between the samples ``at - 1`` and ``at``, for each of ``at [P]``."""
    wav, points = np.asarray(wav, np.float64), np.atleast_1d(np.asarray(at, np.int64))
    return Discontinuity(_click(wav, points, sample_rate), _flux(wav, points, sample_rate))


def percentile(value: float, inside: np.ndarray) -> float:
    """The share of ``inside`` that is below ``value`` (equal ones count half), 0 to 1."""
    inside = np.asarray(inside)
    return float(((inside < value).mean() + (inside <= value).mean()) / 2)


def _click(wav: np.ndarray, points: np.ndarray, sample_rate: int) -> np.ndarray:
    """A step has a large second difference on both of its sides; music, which is mostly low, a small one."""
    reach = max(8, round(AROUND * sample_rate))
    bend = np.abs(wav - 2 * np.roll(wav, 1) + np.roll(wav, 2))  # [n] of the samples n - 2, n - 1 and n
    around = bend[(points[:, None] + np.arange(-reach, reach)) % len(wav)]  # [P, 2 * reach]
    across = slice(reach, reach + 2)  # the two whose three samples lie on both sides of the point
    level = np.sqrt((np.delete(around, np.r_[across], axis=1) ** 2).mean(axis=1))
    return around[:, across].max(axis=1) / np.maximum(level, 2.0**-16)  # softer than 16 bits is nothing to hear


def _flux(wav: np.ndarray, points: np.ndarray, sample_rate: int) -> np.ndarray:
    n_fft = 2 ** round(np.log2(WIDTH * sample_rate))
    level = max(mel(wav, sample_rate, BANDS, n_fft, n_fft).mean(), 1e-9)
    # Windows of a piece that is 4 wide lie half a width apart; the 3rd ends in its middle, the 5th begins there.
    pieces = wav[(points[:, None] + np.arange(-2 * n_fft, 2 * n_fft)) % len(wav)]  # [P, 4 * n_fft]
    power = np.stack([mel(piece, sample_rate, BANDS, n_fft, n_fft // 2)[:, [3, 5]] for piece in pieces])
    db = 10 * np.log10(power / level + 10 ** (FLOOR_DB / 10))  # [P, BANDS, 2]
    return np.abs(db[..., 1] - db[..., 0]).mean(axis=1)
