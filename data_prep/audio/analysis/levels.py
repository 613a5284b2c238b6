"""How loud a sound is, how its channels become one, and the gain that brings it to a level.

Listeners take blocks of any size and keep what is bounded: a few numbers, and for an 11-hour file 3 MB of 100 ms sums.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import soxr
from pyloudnorm.iirfilter import IIRfilter
from scipy import signal

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound.level import BLOCK, SILENCE, TRUE_PEAK, check, resample
from data_prep.audio.analysis.blocks import Blocks
from data_prep.audio.analysis.facts import Level

CANCELS = -7.0  # dB below the mean of channels that have nothing to do with each other: -10 dB, r = -0.8, for two
FLAT = 3  # equal samples in a flat top
CEILINGS = (-24.0, 12.0, 0.05)  # dBFS from, to, step: where flat tops are looked for
STRAY = 3.0  # dB by which a few samples may lie above the ceiling at which the others are cut
GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
EDGE = 512  # samples at either end; taking away the mean changes what lies between them
MOST = 40.0  # dB; more makes noise of a file, not music


@dataclass(frozen=True)
class Channels:
    """What :class:`Level` says of the channels of a file; ``amplitude`` is the largest magnitude in any of them."""

    channels: int
    amplitude: float
    clipped: float
    mid_db: float
    mix: str


class ChannelListener:
    """Analyses a file as it is, ``[n, C]`` at its own rate."""

    def __init__(self, channels: int):
        self.channels = channels
        self._blocks = Blocks(2**15, channels=channels)
        self._samples = 0
        self._sums, self._squares = np.zeros((2, channels + 1))  # of the channels and of their mean
        self._largest = np.zeros(channels)
        self._tops = np.zeros((channels, 2, round((CEILINGS[1] - CEILINGS[0]) / CEILINGS[2]) + 1), np.int64)

    def push(self, block: np.ndarray) -> None:
        """Take ``float32 [n, C]``."""
        for whole in self._blocks.push(block):
            self._analyse(whole)

    def result(self) -> Channels:
        """To be called once, at the end."""
        self._analyse(self._blocks.rest())
        mid_db = self._mid_db()
        return Channels(self.channels, float(self._largest.max()), self._clipped(), mid_db, self._mix(mid_db))

    def _analyse(self, block: np.ndarray) -> None:
        if not len(block):
            return
        x = np.ascontiguousarray(block.T)  # [C, n]
        both = np.concatenate([x, x.mean(0, keepdims=True)]).astype(np.float64)  # [C + 1, n]
        self._samples += len(block)
        self._sums += both.sum(1)
        self._squares += np.einsum("cn,cn->c", both, both)
        self._largest = np.maximum(self._largest, np.maximum(x.max(1), -x.min(1)))
        for tops, channel in zip(self._tops, x):
            _count_flat_tops(channel, tops)

    def _energies(self) -> np.ndarray:
        """Without the means, ``[C + 1]``."""
        n = max(self._samples, 1)
        return np.maximum(self._squares / n - (self._sums / n) ** 2, 0)

    def _mid_db(self) -> float:
        *channels, mid = self._energies()
        mean = float(np.mean(channels))
        if self.channels == 1 or mean <= SILENCE**2:
            return 0.0
        return round(min(0.0, 10 * math.log10(max(mid / mean, 1e-12))), 3)

    def _mix(self, mid_db: float) -> str:
        if mid_db >= CANCELS - 10 * math.log10(self.channels):
            return "mid"
        return f"channel {1 + int(np.argmax(self._energies()[:-1]))}"

    def _clipped(self) -> float:
        """In each channel and on each side, samples at the one ceiling that has most of them."""
        low, _, step = CEILINGS
        total = 0
        for tops, largest in zip(self._tops, self._largest):
            if largest > 0:
                first = max(0, math.floor((20 * math.log10(largest) - STRAY - low) / step))
                total += int(tops[:, first:].max(1, initial=0).sum())
        return total / max(self._samples * self.channels, 1)


def _count_flat_tops(x: np.ndarray, tops: np.ndarray) -> None:
    """Add to ``tops [2, bins]`` (above, below; by level) the samples of ``x [n]`` that lie in flat tops.

    A wave's round top is flat too once it is quantised; a flat top stands out from its neighbours by more quanta than
    the parabola which just fits into one quantum. A run that touches an end of the block is left out.
    """
    low, high, step = CEILINGS
    same = x[1:] == x[:-1]
    inner = np.flatnonzero(same[1:] & same[:-1])  # x[i] to x[i + 2] are equal
    inner = inner[np.abs(x[inner]) >= 10 ** (low / 20)]
    if not len(inner):
        return
    starts = inner[np.diff(inner, prepend=-2) > 1]
    ends = inner[np.diff(inner, append=len(x) + 1) > 1] + FLAT  # exclusive
    whole = (starts > 0) & (ends < len(x))
    starts, ends = starts[whole], ends[whole]
    steps = np.abs(np.diff(x))
    quantum = steps[steps > 0].min(initial=1.0)
    top = np.abs(x[starts])
    sign = np.sign(x[starts])
    falls = np.stack([top - sign * x[starts - 1], top - sign * x[ends]])
    length = ends - starts
    is_top = (falls.min(0) > 0) & (falls.max(0) > quantum * (1 + ((length + 1) / (length - 1)) ** 2))
    bins = np.round((20 * np.log10(top[is_top]) - low) / step).astype(int)
    np.add.at(tops, ((sign[is_top] < 0).astype(int), np.minimum(bins, tops.shape[1] - 1)), length[is_top])


class LevelListener:
    """Analyses the mono sound: loudness by ITU-R BS.1770-4, peaks, its mean. All but the mean are without the mean."""

    def __init__(self, rate: int):
        self.rate, self._hop = rate, round(BLOCK / 4 * rate)
        self._blocks = Blocks(10 * self._hop)
        self._weighting = k_weighting(rate)
        self._state = np.zeros((len(self._weighting), 2))
        self._loudness: list[np.ndarray] = []  # sums of squares in 100 ms each
        self._first = np.zeros(0)  # 100 ms, weighted: the mean is audible there, until the filter has forgotten it
        self._samples, self._sum, self._squares = 0, 0.0, 0.0
        self._finer = soxr.ResampleStream(rate, 4 * rate, 1, dtype="float32", quality="HQ")
        self._held, self._skip = np.zeros(0, np.float32), 2 * EDGE
        self._range, self._finer_range = (math.inf, -math.inf), (math.inf, -math.inf)
        self._head, self._tail = np.zeros(0, np.float32), np.zeros(0, np.float32)

    def push(self, wav: np.ndarray) -> None:
        """Take ``float32 [n]``."""
        for block in self._blocks.push(wav):
            self._analyse(block)

    def result(self, channels: Channels | None = None) -> Level:
        """To be called once, at the end."""
        self._analyse(self._blocks.rest())
        self._hear_between(np.zeros(0, np.float32), last=True)
        dc = self._sum / max(self._samples, 1)
        about = asdict(channels) if channels else {}
        about.pop("amplitude", None)
        peak = _reach(self._range, dc)
        if peak <= SILENCE:
            return Level(dc=dc, **about)
        power = self._squares / self._samples - dc**2
        between = max(peak, _reach(self._finer_range, dc), self._edges(dc))
        return Level(self._lufs(dc), _db(peak), _db(between), _db(math.sqrt(max(power, SILENCE**2))), dc, **about)

    def _analyse(self, block: np.ndarray) -> None:
        if not len(block):
            return
        x = block.astype(np.float64)
        self._samples += len(x)
        self._sum += float(x.sum())
        self._squares += float(np.dot(x, x))
        self._range = _wider(self._range, block)
        self._hear_between(block)
        if len(self._head) < EDGE:
            self._head = np.concatenate([self._head, block[:EDGE]])[:EDGE]
        self._tail = np.concatenate([self._tail, block[-EDGE:]])[-EDGE:]
        y, self._state = signal.sosfilt(self._weighting, x, zi=self._state)
        if np.abs(self._state).max() < 1e-30:
            self._state[:] = 0  # silence; numbers too small for the processor's fast path are a hundred times slower
        if not self._loudness:
            self._first = y[: self._hop].copy()
        y = np.pad(y, (0, -len(y) % self._hop)).reshape(-1, self._hop)
        self._loudness.append(np.einsum("ij,ij->i", y, y))

    def _hear_between(self, block: np.ndarray, last: bool = False) -> None:
        """What lies between the samples, but for half an ``EDGE`` at either end."""
        finer = np.concatenate([self._held, self._finer.resample_chunk(block, last=last)])
        self._held = finer[max(0, len(finer) - 2 * EDGE):]
        inner = finer[self._skip: max(0, len(finer) - 2 * EDGE)]
        self._skip = max(0, self._skip - max(0, len(finer) - 2 * EDGE))
        self._finer_range = _wider(self._finer_range, inner)

    def _edges(self, dc: float) -> float:
        """The largest magnitude there: a sound cut off within a wave ends in another step without its mean."""
        head, tail = (resample(edge - np.float32(dc), self.rate, 4 * self.rate) for edge in (self._head, self._tail))
        outer = np.concatenate([head[: 2 * EDGE], tail[-2 * EDGE:]])  # not where the inner end was cut
        return float(np.abs(outer).max())

    def _lufs(self, dc: float) -> float | None:
        """Gated as the recommendation says; a last 100 ms that is half there counts, as it does in pyloudnorm."""
        blocks = round((self._samples / self.rate - BLOCK) / (BLOCK / 4)) + 1
        if self._samples < BLOCK * self.rate or not blocks:
            return None
        sums = np.concatenate(self._loudness)
        offset = signal.sosfilt(self._weighting, np.full(len(self._first), dc))
        sums[0] = np.sum((self._first - offset) ** 2)
        sums = np.pad(sums, (0, 4))
        power = (sums[:-3] + sums[1:-2] + sums[2:-1] + sums[3:])[:blocks] / (BLOCK * self.rate)
        loud = power[_lufs(power) >= GATE]
        if len(loud):
            loud = loud[_lufs(loud) > _lufs(loud.mean()) + RELATIVE_GATE]
        return float(_lufs(loud.mean())) if len(loud) else None


def k_weighting(rate: int) -> np.ndarray:
    """The two filters of BS.1770-4, annex 1, at any rate, ``[2, 6]`` for ``sosfilt``; pyloudnorm's, 0.04 dB low."""
    shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, rate, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, rate, "high_pass")
    return np.array([[*one.b, *one.a] for one in (shelf, high_pass)])


def parse_target(text: str) -> tuple[str, float]:
    """"lufs:-14", "peak:-1" or "off" as its kind and its number.

    Raises:
        UserError: it is none of these, or a level that makes no sense.
    """
    kind, colon, number = text.strip().partition(":")
    if kind == "off" and not colon:
        return kind, 0.0
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if kind not in ("lufs", "peak") or math.isnan(value):
        raise UserError(f"a level is lufs:NUMBER (such as lufs:-14), peak:NUMBER (peak:-1) or off, got {text!r}")
    check(**{kind: value})
    return kind, value


def gain_db(level: Level, target: str, dc: bool = True) -> tuple[float, str]:
    """The one gain that brings a whole file to ``target``, and what is worth saying, or "".

    A loudness is approached as far as a true peak of -1 dBTP allows; "peak" is the true peak too.

    Args:
        dc: the mean is taken away first.
    """
    kind, aim = parse_target(target)
    if kind == "off":
        return 0.0, ""
    if level.peak_db is None or level.true_peak_db is None:
        return 0.0, "silent, left as it is"
    loudest = level.true_peak_db if dc else _db(10 ** (level.true_peak_db / 20) + abs(level.dc))
    room, note = TRUE_PEAK - loudest, ""
    if kind == "peak":
        gain = aim - loudest
    elif level.lufs is None:
        gain, note = room, f"too short or too quiet for a loudness, brought to a true peak of {TRUE_PEAK:g} dBTP"
    else:
        gain = min(aim - level.lufs, room)
        if (short := aim - level.lufs - gain) >= 0.05:
            note = (f"{level.lufs + gain:.1f} LUFS, {short:.1f} dB short of {aim:g}: more would push its true peak "
                    f"above {TRUE_PEAK:g} dBTP")
    if gain > MOST:
        return MOST, f"so quiet that {gain:.0f} dB would be needed; {MOST:g} dB is the most that is given"
    return gain, note


def _wider(had: tuple[float, float], wav: np.ndarray) -> tuple[float, float]:
    return (min(had[0], float(wav.min())), max(had[1], float(wav.max()))) if len(wav) else had


def _reach(lowest_highest: tuple[float, float], dc: float) -> float:
    """The largest magnitude without the mean."""
    return max(lowest_highest[1] - dc, dc - lowest_highest[0])


def _lufs(power: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -0.691 + 10 * np.log10(power)


def _db(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
