"""What a sound is made of, in a few dozen numbers: a mel spectrum and its texture.

:mod:`data_prep.audio.junk` judges by them. Power is such that the bins of a spectrum add up to the mean square.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from audiocraft_ext.sound.mel import _bands
from data_prep.audio.analysis.blocks import Blocks

N_FFT, HOP = 1024, 512
FRAMES, SPAN = 64, 8  # in a block; over which sound is taken together to see whether it moves: 128 ms at 32 kHz
BANDS = 32
FLOOR = 1e-12  # power of a bin: 16 bits' rounding has 2e-13
RISE, LAG = 3.0, 2  # dB, the mean rise over the bands, from two frames before, that makes a hit
PRESENT = 40.0  # dB below the loudest band: what is there
SLICES = 32  # equal parts of the spectrum, in which a cliff is looked for
EMPTY = 75.0  # dB below the loudest slice: nothing


class SpectrumListener:
    """Analyses the mono sound."""

    def __init__(self, rate: int):
        self.rate = rate
        self._blocks = Blocks(FRAMES * HOP, N_FFT - HOP)
        self._window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
        self._window *= np.float32(np.sqrt(2 / (N_FFT * np.sum(self._window**2, dtype=np.float64))))
        self._mel = _bands(rate, N_FFT, BANDS).T  # [bins, bands]
        self._bins = np.zeros(N_FFT // 2 + 1)
        self._frames = self._spans = self._sounding = self._hits = 0
        self._flatness = 0.0
        self._moves = np.zeros((2, BANDS))  # sums over spans of dB and of its square
        self._before = np.zeros((0, BANDS), np.float32)  # dB of the last frames

    def push(self, wav: np.ndarray) -> None:
        """Take ``float32 [n]``."""
        for block in self._blocks.push(wav):
            self._analyse(block)

    def result(self) -> tuple[list[float], dict[str, float]]:
        """``spectrum`` and ``texture`` of :class:`data_prep.audio.analysis.facts.Facts`. To be called once, at the end.

        The spectrum is the mean power of a bin in each of 32 mel bands, in dB. The texture:

        - ``flatness``: dB of the geometric mean of the bins over their mean, in the mean of all frames; -2.5 is white
          noise, below -40 a tone
        - ``movement``: dB by which a band that is there varies from one 128 ms to the next (standard deviation)
        - ``hits``: share of the frames in which something begins
        - ``tone``: share of the power in the strongest 5 bins
        - ``top_hz``: what is above is 75 dB below the rest or less
        - ``cliff``: dB by which the spectrum falls there, within a sixteenth of its width
        """
        rest = self._blocks.rest()
        if len(rest) >= N_FFT or not self._frames:
            mean = rest.mean() if len(rest) else 0.0  # no step where a very short sound ends
            self._analyse(np.pad(rest, (0, max(0, N_FFT - len(rest))), constant_values=mean))
        frames = max(self._frames, 1)
        bins = self._bins / frames
        spectrum = _db(bins.astype(np.float32) @ self._mel)
        strongest = int(np.argmax(bins))
        top_hz, cliff = self._top(bins)
        texture = {
            "flatness": self._flatness / max(self._sounding, 1), "movement": self._movement(spectrum),
            "hits": self._hits / frames, "top_hz": top_hz, "cliff": cliff,
            "tone": float(bins[max(0, strongest - 2): strongest + 3].sum() / max(bins.sum(), FLOOR))}
        return [round(float(x), 2) for x in spectrum], {k: round(float(v), 4) for k, v in texture.items()}

    def _analyse(self, block: np.ndarray) -> None:
        frames = np.lib.stride_tricks.sliding_window_view(block, N_FFT)[::HOP]
        spectrum = fft.rfft(frames * self._window, axis=1)  # [frames, bins]
        spectrum[:, 1] += spectrum[:, 0] / 2  # without the frame's mean: a Hann window has no more bins than these
        spectrum[:, 0] = 0
        power = spectrum.real**2 + spectrum.imag**2
        bands = power @ self._mel  # [frames, bands]
        self._bins += power.sum(0)
        self._frames += len(power)
        self._analyse_flatness(power)
        self._analyse_hits(_db(bands))
        spans = len(bands) // SPAN
        moves = _db(bands[: spans * SPAN].reshape(spans, SPAN, BANDS).mean(1))
        self._moves += moves.sum(0), (moves**2).sum(0)
        self._spans += spans

    def _analyse_flatness(self, power: np.ndarray) -> None:
        mean = power[:, 2:].mean(1)
        sounding = mean > 10 * FLOOR
        flatness = _db(power[sounding, 2:]).mean(1) - _db(mean[sounding])
        self._flatness += float(flatness.sum())
        self._sounding += int(sounding.sum())

    def _analyse_hits(self, db: np.ndarray) -> None:
        db = np.concatenate([self._before, db])
        rise = np.maximum(db[LAG:] - db[:-LAG], 0).mean(1)
        self._hits += int((rise > RISE).sum())
        self._before = db[-LAG:]

    def _movement(self, spectrum: np.ndarray) -> float:
        """0 where there is less than two spans."""
        if self._spans < 2:
            return 0.0
        mean, square = self._moves / self._spans
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        return float(deviation[spectrum > spectrum.max() - PRESENT].mean())

    def _top(self, bins: np.ndarray) -> tuple[float, float]:
        slices = _db(bins[1:].reshape(SLICES, -1).mean(1))
        there = np.flatnonzero(slices > slices.max() - EMPTY)
        top = int(there[-1]) + 1  # slices
        if top == SLICES:
            return self.rate / 2, 0.0
        return top * self.rate / 2 / SLICES, float(slices[top - 1] - slices[min(top + 1, SLICES - 1)])


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, FLOOR))
