"""Whether a model of drums makes anew what it learnt or plays it back: how near clips are to the train split.

The distance of a clip from a stretch of as many training bars, at any bar of a performance: how many hits have to be
put in or taken away on the grid to make the one the other (velocities and offsets do not count), as a share of the
clip's hits. A clip is *near* the train split if its nearest stretch is at :data:`NEAR` or less. Clips with fewer than
:data:`LEAST` hits a bar are left out: everybody plays them. Also reported: the share of clips whose
codes are those of a training stretch altogether.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.drums.clips import Bars, windows_of

NEAR = 0.1
SHARES = (0.0, 0.05, NEAR, 0.2, 0.3)
LEAST = 4  # hits a bar
QUERIES = 256  # clips that are compared at once


class TrainStretches:
    """All stretches of ``length`` bars of the train split.

    Attributes:
        hits: ``float32 [n, length * C * S]``, 1 for a hit.
        places: ``int64 [n, length]``, which bars they are.
    """

    def __init__(self, bars: Bars, length: int):
        self.length, self.bars = length, bars
        self.places = windows_of(bars, length)
        self.hits = bars.hits[self.places].reshape(len(self.places), -1)
        self._sizes = self.hits.sum(1)
        self._codes = {_bytes(bars.codes[place]) for place in self.places}

    def nearest(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of ``clips [m, length, 2C, S]``: hits to put in or take away, ``int64 [m]``, and from which stretch."""
        hits = _hits(clips)
        far, which = np.zeros(len(hits), np.int64), np.zeros(len(hits), np.int64)
        for at in range(0, len(hits), QUERIES):
            some = hits[at : at + QUERIES]
            # |a xor b| = |a| + |b| - 2 |a and b|; small whole numbers, so float32 is exact
            distance = self._sizes - 2 * (some @ self.hits.T)
            which[at : at + QUERIES] = distance.argmin(1)
            far[at : at + QUERIES] = distance.min(1) + some.sum(1)
        return far, which

    def same(self, clips: np.ndarray) -> np.ndarray:
        """Which of ``clips [m, length, 2C, S]`` are one to the velocities and offsets: ``bool [m]``."""
        return np.array([_bytes(clip) in self._codes for clip in clips], bool)


def _hits(clips: np.ndarray) -> np.ndarray:
    m, _, K, _ = clips.shape
    return (clips[:, :, : K // 2] > 0).reshape(m, -1).astype(np.float32)


def _bytes(clip: np.ndarray) -> bytes:
    return clip.astype(np.uint16).tobytes()


def in_bars(codes: np.ndarray, bar_steps: int) -> np.ndarray:
    """``codes [m, 2C, T]`` bar by bar, ``[m, T / bar_steps, 2C, bar_steps]``."""
    m, K, T = codes.shape
    return codes.reshape(m, K, T // bar_steps, bar_steps).transpose(0, 2, 1, 3)


def measure(known: TrainStretches, clips: np.ndarray) -> dict[str, float | int]:
    """Of ``clips [m, bars, 2C, S]``: those as long as what is known, or each stretch of theirs of one bar if that is
    one bar long.

    Returns:
        ``clips``, how many counted; ``median``, their distance; ``same``; for each of :data:`SHARES` the share that
        is as near.
    """
    m, bars, K, S = clips.shape
    if known.length == 1:
        clips = clips.reshape(m * bars, 1, K, S)
    hits = _hits(clips).sum(1)
    clips, hits = clips[hits >= LEAST * known.length], hits[hits >= LEAST * known.length]
    if not len(clips):
        return {"clips": 0}
    share = known.nearest(clips)[0] / hits
    return {"clips": len(clips), "median": float(np.median(share)), "same": float(known.same(clips).mean()),
            **{f"{most:.0%}": float((share <= most).mean()) for most in SHARES}}


def report(results: dict[str, dict[str, dict]], row) -> list[str]:
    """Lines of a table: lengths by name, of each the sets of clips by name, of each what :func:`measure` gave."""
    lines = []
    for length, sets in results.items():
        lines.append(row(f"hits to change, {length}", ["clips", "median", "same", *(f"<={most:.0%}"
                                                                                   for most in SHARES)]))
        for name, measured in sets.items():
            values: Sequence[str] = ["0"] if not measured["clips"] else [
                str(measured["clips"]), f"{measured['median']:.0%}", f"{measured['same']:.1%}",
                *(f"{measured[f'{most:.0%}']:.1%}" for most in SHARES)]
            lines.append(row(f"  {name}", values))
    return lines
