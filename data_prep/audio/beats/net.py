"""Where beats and downbeats lie, frame by frame: log mel bands and a small temporal convolution net, in numpy.

The net is that of M. Davies, S. Böck, "Temporal convolutional networks for musical audio beat tracking", EUSIPCO 2019,
made smaller: a frame's bands, then dilated convolutions whose reach doubles from layer to layer. It tells apart no
beat, a beat and a downbeat. data_prep/audio/beats/train.py trains it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from scipy.fft import rfft

WEIGHTS = Path(__file__).parent / "beat_net.npz"  # heard drummers and drum machines
BREAKS = Path(__file__).parent / "break_net.npz"  # went on with chopped breaks at jungle tempi
FRAMES = 100  # a second, or nearly: of the bands; the net takes two at once
STEPS = FRAMES // 2  # a second: of what the net says
BANDS, LOWEST, HIGHEST = 24, 30.0, 14_000.0  # Hz
BLOCK = 256  # frames that are transformed at once: always as many, so that the same sound gives the same bits
QUIET = 1e-10  # power, below which it is silent
RANGE = 60.0  # dB below the loud parts that the net sees
DILATIONS = tuple(2**i for i in range(9))
TAPS = 5
STRETCH = 120 * STEPS  # steps that the net takes at once, with REACH more on either side
LOOP = 45.0  # seconds, the longest that may be one loop
REACH = 2 * sum(DILATIONS) + 2  # steps on either side that a step depends on


class Bands:
    """Sound in blocks of any size to log mel bands: ``push`` and ``finish`` give ``float32 [n, BANDS]``, in dB."""

    def __init__(self, rate: int):
        self.rate = rate
        self.hop = max(1, round(rate / FRAMES))
        self._size = 2 ** round(np.log2(0.032 * rate))
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        self._bands = _bands(rate, self._size)
        self._left = np.zeros(self._size // 2, np.float32)  # frames are centred, the first on sample 0
        self._samples = self._frames = 0

    @property
    def rate_of_steps(self) -> float:
        return self.rate / self.hop / 2

    def push(self, wav: np.ndarray) -> np.ndarray:
        self._samples += len(wav)
        self._left = np.concatenate([self._left, np.asarray(wav, np.float32)])
        whole, out = BLOCK * self.hop, []
        at = 0
        while len(self._left) - at >= whole - self.hop + self._size:
            out.append(self._transform(self._left[at: at + whole - self.hop + self._size]))
            at += whole
        self._left = self._left[at:]
        self._frames += BLOCK * len(out)
        return np.concatenate(out) if out else np.zeros((0, BANDS), np.float32)

    def finish(self) -> np.ndarray:
        """What is left: frames up to the last that is centred in the sound."""
        more = self._samples // self.hop + 1 - self._frames if self._samples else 0
        padded = np.pad(self._left, (0, 2 * BLOCK * self.hop + self._size))
        blocks = [self._transform(padded[i * BLOCK * self.hop:][: (BLOCK - 1) * self.hop + self._size])
                  for i in range(-(-more // BLOCK))]
        self._frames += more
        return np.concatenate([*blocks, np.zeros((0, BANDS), np.float32)])[:more]

    def _transform(self, wav: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(wav, self._size)[:: self.hop] * self._window
        spectrum = rfft(frames)
        power = spectrum.real**2 + spectrum.imag**2
        return 10 * np.log10(power @ self._bands + np.float32(QUIET))


@cache
def _bands(rate: int, size: int) -> np.ndarray:
    """Triangles of weight 1, evenly spaced in mel, ``float32 [bins, BANDS]``; one above half the rate is empty."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(size, 1 / rate)[:, None]
    weights = np.clip(np.minimum((hz - edges[:-2]) / (edges[1:-1] - edges[:-2]),
                                 (edges[2:] - hz) / (edges[2:] - edges[1:-1])), 0, None)
    power = (size / 4) ** 2  # of a full-scale sine in its bin, under the window
    return (weights / np.maximum(weights.sum(0), 1) / power).astype(np.float32)


def levels(bands: np.ndarray) -> np.ndarray:
    """Bands in dB to what the net sees, about 0 to 1.5: relative to the loud parts, so that no level matters."""
    loud = np.percentile(bands.max(1), 98) if len(bands) else 0.0
    return np.maximum((bands - loud) / np.float32(RANGE) + 1, 0, dtype=np.float32)


def pairs(level: np.ndarray) -> np.ndarray:
    """Two frames to a step, ``[n, BANDS]`` to ``[(n + 1) // 2, 2 * BANDS]``."""
    level = np.pad(level, ((0, len(level) % 2), (0, 0)), mode="edge") if len(level) else level
    return level.reshape(-1, 2 * BANDS)


class Net:
    """The trained net; ``weights`` by the names that train.py gives them."""

    def __init__(self, path: Path = WEIGHTS):
        with np.load(path, allow_pickle=False) as file:
            self.weights = {name: file[name].astype(np.float32) for name in file.files}

    def __call__(self, bands: np.ndarray) -> np.ndarray:
        """Bands in dB, ``[n, BANDS]``, to log probabilities of no beat, beat, downbeat, ``float32 [(n + 1) // 2, 3]``.
        A step's two frames lie at it and half a step later."""
        w = self.weights
        if not len(bands):
            return np.zeros((0, 3), np.float32)
        h = np.maximum(_conv(pairs(levels(bands)), w["front.weight"], w["front.bias"], 1), 0)
        h = h @ w["narrow.weight"] + w["narrow.bias"]
        for i, dilation in enumerate(DILATIONS):
            a = np.maximum(_conv(h, w[f"wide.{i}.weight"], w[f"wide.{i}.bias"], dilation), 0)
            h = h + a @ w[f"mix.{i}.weight"] + w[f"mix.{i}.bias"]
        out = np.maximum(h, 0) @ w["out.weight"] + w["out.bias"]
        out = out - out.max(1, keepdims=True)
        return out - np.log(np.exp(out).sum(1, keepdims=True))


@cache
def net(path: Path = WEIGHTS) -> Net:
    """One that ships."""
    return Net(path)


def _conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, dilation: int) -> np.ndarray:
    """``[T, C]`` through ``weight [taps, C, D]`` with silence around it, ``[T, D]``."""
    taps = len(weight)
    side = dilation * (taps // 2)
    padded = np.pad(x, ((side, side), (0, 0)))
    out = np.broadcast_to(bias, (len(x), len(bias))).copy()
    for k in range(taps):
        out += padded[k * dilation: k * dilation + len(x)] @ weight[k]
    return out


class NetEar:
    """Sound in blocks of any size to what the net says of it, in stretches that overlap by as much as a step can
    depend on: 11 hours are 24 MB. The loudness that it goes by is that of a stretch."""

    def __init__(self, rate: int, weights: Path = WEIGHTS):
        self.bands, self.net = Bands(rate), net(weights)
        self.rate = self.bands.rate_of_steps
        self.samples = 0
        self._left = np.zeros((0, BANDS), np.float32)  # from REACH before the next stretch on
        self._lead = 0  # steps of it before that
        self._said: list[np.ndarray] = []
        self._start: list[np.ndarray] = []  # bands of the first LOOP seconds
        self._kept = 0

    def push(self, wav: np.ndarray) -> None:
        self.samples += len(wav)
        self._take(self.bands.push(wav))

    def finish(self) -> np.ndarray:
        """Log probabilities of all steps, ``[T, 3]``."""
        self._take(self.bands.finish())
        if len(self._left) > 2 * self._lead:
            self._said.append(self.net(self._left)[self._lead:])
        self._left = self._left[:0]
        return np.concatenate([*self._said, np.zeros((0, 3), np.float32)])

    def repeated(self, times: int) -> np.ndarray:
        """The same of the sound played ``times`` over without a gap, for sounds up to LOOP seconds."""
        bands, hop = np.concatenate(self._start), self.bands.hop
        at = np.arange(self.samples * times // hop) * hop % self.samples
        return self.net(bands[np.minimum(np.round(at / hop).astype(int), len(bands) - 1)])

    def _take(self, bands: np.ndarray) -> None:
        if self._kept < LOOP * FRAMES and len(bands):
            self._start.append(bands)
            self._kept += len(bands)
        self._left = np.concatenate([self._left, bands])
        while len(self._left) >= 2 * (self._lead + STRETCH + REACH):
            part = self._left[: 2 * (self._lead + STRETCH + REACH)]
            self._said.append(self.net(part)[self._lead: self._lead + STRETCH])
            keep = min(REACH, self._lead + STRETCH)
            self._left = self._left[2 * (self._lead + STRETCH - keep):]
            self._lead = keep
