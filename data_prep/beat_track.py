"""From what the beat net hears to a grid of beats and bars.

Three steps: a tempo curve (the strongest line through a Fourier tempogram of the beats, P. Grosche, M. Müller,
"Extracting predominant local pulse information from music recordings", IEEE TASLP 2011); the likeliest bars at that
curve and at its multiples, in three or four, by dynamic programming over steps and places in the bar, which is the
bar-pointer model of F. Krebs, S. Böck, G. Widmer, ISMIR 2013, with the tempo held near the curve; and a grid through
those beats, straight where they allow it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SLOWEST, FASTEST = 55.0, 215.0  # BPM
TEMPI = 60 / np.geomspace(60 / FASTEST, 60 / SLOWEST, 300)[::-1]  # BPM, ascending, half a per cent apart
WINDOW, EVERY = 12.0, 3.0  # seconds, of the tempogram
MULTIPLES = (1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0)
METRES = (4, 3)
USUAL, SPREAD = 125.0, 0.6  # BPM, octaves: of the tempi that music has
TEMPO_WEIGHT, WALTZ = 6.0, 12.0  # nats: of that; against three in a bar
SLIP = 12.0  # nats, against a bar that does not end after its last beat
RARE = 0.6 * np.log(np.array([0.055, 0.018], np.float32) / 0.927)  # odds of a beat, a downbeat at any step
LEAST, MOST = -3.0, 5.0  # nats, that one step can say
HINTED, HINT_SHARE = 0.035, 0.3  # how near a tempo is to a hint; how much has to speak for it, of what does for another
PROBE = 180.0  # seconds that decide between multiples and metres
STRAIGHT = 0.03  # seconds that beats may lean away from a straight grid
# Measured on what the net was not trained on: beats of a machine are heard late by this, and drummers, whose hits lie
# 15 ms before their click, early; seconds. They are told apart by how far single beats lie from the grid.
MACHINE, PLAYER, TIGHT = -0.0035, 0.006, 0.006
LONGEST, EVENLY = 600.0, 0.75  # seconds in which one is looked for; how much of the beats it has to have


@dataclass
class Grid:
    """Beats as tracked.

    Attributes:
        times: of the beats, seconds.
        first: the place in the bar of the first of them; 0 is a downbeat.
        metre: beats in a bar.
        bpm: the most common tempo.
        straight: whether the beats are evenly spaced.
        facts: numbers that tell how sure this is, by name.
    """

    times: np.ndarray
    first: int
    metre: int
    bpm: float
    straight: bool
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def downbeats(self) -> np.ndarray:
        return self.times[(np.arange(len(self.times)) + self.first) % self.metre == 0]


def odds(says: np.ndarray) -> np.ndarray:
    """Log probabilities ``[T, 3]`` to ``[T, 2]``: what the sound at a step speaks for a beat that is no downbeat, and
    for a downbeat, against none; the odds over those of any step."""
    return np.clip(says[:, 1:] - says[:, :1] - RARE, LEAST, MOST)


def tempogram(says: np.ndarray, rate: float) -> np.ndarray:
    """How strongly the beats pulse at each of TEMPI around each EVERY seconds, ``[windows, len(TEMPI)]``."""
    beat = 1 - np.exp(says[:, 0])
    size, hop = round(WINDOW * rate), round(EVERY * rate)
    padded = np.pad(beat, (size // 2, size))
    count = len(beat) // hop + 1
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:count]
    window = np.hanning(size).astype(np.float32)
    t = np.arange(size) / rate
    waves = np.exp(-2j * np.pi * t[:, None] * TEMPI / 60).astype(np.complex64) * window[:, None]
    level = window / window.sum()
    blocks = np.array_split(frames, len(frames) // 512 + 1)  # 11 hours are many
    return np.concatenate([np.abs((b - (b @ level)[:, None]).astype(np.float32) @ waves) for b in blocks])


def tempo_curve(power: np.ndarray) -> np.ndarray:
    """The strongest line through a tempogram that seldom bends, BPM ``[windows]``."""
    prior = np.exp(-0.5 * (np.log2(TEMPI / USUAL) / (2 * SPREAD)) ** 2)
    score = power * prior / max(float(power.max()), 1e-9)
    reach = 4  # tempi, to either side, between windows: two per cent
    bend = 0.02 * np.abs(np.arange(-reach, reach + 1))
    best, back = score[0], np.zeros(score.shape, np.int32)
    for i in range(1, len(score)):
        near = np.lib.stride_tricks.sliding_window_view(np.pad(best, reach, constant_values=-np.inf), 2 * reach + 1)
        come = (near - bend).argmax(1)
        held = near[np.arange(len(best)), come] - bend[come]
        top = int(best.argmax())
        jump = best[top] - 0.5 > held
        back[i] = np.where(jump, top, np.arange(len(best)) + come - reach)
        best = np.where(jump, best[top] - 0.5, held) + score[i]
    path = [int(best.argmax())]
    for i in range(len(score) - 1, 0, -1):
        path.append(int(back[i][path[-1]]))
    return TEMPI[np.array(path[::-1])]


def bars(says: np.ndarray, periods: np.ndarray, metres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The likeliest bars for each of H hypotheses.

    Args:
        says: log odds ``[T, 2]``.
        periods: steps from beat to beat, ``[H, T]``.
        metres: beats in a bar, ``[H]``.

    Returns:
        Scores (nats against no beats at all) ``[H, T, K]`` of the best path that ends with a beat at a step and place
        in the bar; how many steps before was the beat before it (0: none), ``int16``, and its place, ``int8``.
    """
    H, T = periods.shape
    K = int(metres.max())
    place = np.arange(K)
    gain = np.where(place == 0, says[:, 1:], says[:, :1])  # [T, K]
    legal = place < metres[:, None]
    before = (place - 1) % metres[:, None]  # [H, K]
    block = max(1, int(0.85 * periods.min()))
    widest = int(np.ceil(1.15 * periods.max())) + 1
    score = np.full((H, widest + T, K), -np.inf, np.float32)  # with a lead of nothing
    back, whence = np.zeros((H, T, K), np.int16), np.zeros((H, T, K), np.int8)
    rows = np.arange(H)[:, None, None]
    for start in range(0, T, block):
        n, period = min(block, T - start), periods[:, start]
        low = np.maximum(block, np.floor(0.85 * period)).astype(int)  # [H]
        spans = low[:, None] + np.arange(int(np.ceil(0.3 * period.max())) + 2)  # [H, W]
        off = (spans - period[:, None]) / np.maximum(0.04 * period, 0.7)[:, None]
        cost = (0.5 * off**2).astype(np.float32)
        at = widest + start + np.arange(n)[None, :, None] - spans[:, None, :]  # [H, n, W]
        came = score[rows, np.maximum(at, 0)] - cost[:, None, :, None]  # [H, n, W, K]
        which = came.argmax(2)  # [H, n, K]
        most = np.take_along_axis(came, which[:, :, None], 2)[:, :, 0]
        other = most.argmax(2)  # any place, at the cost of a slip
        slipped = np.take_along_axis(most, other[..., None], 2) - SLIP  # [H, n, 1]
        prev = np.broadcast_to(before[:, None, :], most.shape)
        straight = np.take_along_axis(most, prev, 2)
        slip = slipped > straight
        prev = np.where(slip, other[..., None], prev)
        value = np.maximum(straight, slipped)
        span = np.take_along_axis(np.broadcast_to(spans[:, None, :], (H, n, spans.shape[1])),
                                  np.take_along_axis(which, prev, 2), 2)
        begins = value <= 0
        total = np.where(begins, 0, value) + gain[start: start + n]
        score[:, widest + start: widest + start + n] = np.where(legal[:, None], total, -np.inf)
        back[:, start: start + n] = np.where(begins, 0, span)
        whence[:, start: start + n] = prev
    return score[:, widest:], back, whence


def backtrack(score: np.ndarray, back: np.ndarray, whence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best path of one hypothesis, ``[T, K]`` each: steps and places in the bar, ascending."""
    t, k = (int(i) for i in np.unravel_index(score.argmax(), score.shape))
    steps, places = [t], [k]
    while back[t, k]:
        t, k = t - int(back[t, k]), int(whence[t, k])
        steps.append(t)
        places.append(k)
    return np.array(steps[::-1]), np.array(places[::-1])


def track(says: np.ndarray, rate: float, hint_bpm: float | None = None) -> Grid | None:
    """Beats and bars of log probabilities ``[T, 3]`` at ``rate`` steps a second; None where there are none."""
    if len(says) < 2 * rate:
        return None
    said = odds(says)
    curve = tempo_curve(tempogram(says, rate))  # BPM at each EVERY seconds
    at = np.arange(len(says)) / rate / EVERY
    bpm = np.interp(at, np.arange(len(curve)), curve)
    factors, metres = _hypotheses(float(np.median(curve)))
    part = _liveliest(said, round(PROBE * rate))
    periods = 60 * rate / (bpm[part] * factors[:, None])
    score, back, whence = bars(said[part], periods, metres)
    usual = np.log2(np.median(bpm[part]) * factors / USUAL) / SPREAD
    seconds = (part.stop - part.start) / rate
    totals = score.max((1, 2)) - min(1.0, seconds / 20) * (TEMPO_WEIGHT * 0.5 * usual**2 + WALTZ * (metres == 3))
    best = int(totals.argmax())
    if hint_bpm:
        agree = np.abs(np.log(np.median(curve) * factors / hint_bpm)) < HINTED
        likely = np.where(agree, totals, -np.inf)
        if likely.max() > HINT_SHARE * totals[best]:
            best = int(likely.argmax())
    if part.stop - part.start < len(says):
        periods = (60 * rate / (bpm * factors[best]))[None]
        score, back, whence = bars(said, periods, metres[best: best + 1])
        steps, places = backtrack(score[0], back[0], whence[0])
    else:
        steps, places = backtrack(score[best], back[best], whence[best])
    if len(steps) < 4:
        return None
    rivals = totals[np.abs(np.log2(factors / factors[best])) > 0.1]
    margin = (totals[best] - rivals.max(initial=0.0)) / seconds
    return grid(says, said, rate, steps, places, int(metres[best]), {"tempo_margin": float(margin)})


def _hypotheses(bpm: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors on the tempo curve and beats in a bar, ``[H]`` each."""
    pairs = [(f, m) for f in MULTIPLES for m in METRES if SLOWEST - 5 <= bpm * f <= FASTEST + 5]
    factors, metres = zip(*pairs)
    return np.array(factors), np.array(metres)


def _liveliest(said: np.ndarray, steps: int) -> slice:
    """The ``steps`` in which most beats are heard; all, if there are no more."""
    if len(said) <= steps:
        return slice(0, len(said))
    heard = np.concatenate([[0.0], np.cumsum(np.maximum(said.max(1), 0), dtype=np.float64)])
    start = int((heard[steps:] - heard[:-steps]).argmax())
    return slice(start, start + steps)


def grid(says: np.ndarray, said: np.ndarray, rate: float, steps: np.ndarray, places: np.ndarray, metre: int,
         facts: dict[str, float]) -> Grid:
    """A grid through tracked beats, and what tells how sure it is."""
    exact, heard = _centres(says, steps)
    times, curve = _line(exact, heard), _smooth(exact, heard + 1e-3)
    straight = bool(np.abs(curve - times).max() < STRAIGHT * rate)
    if not straight and len(says) < LONGEST * rate:
        even = _even(said, float(np.median(np.diff(exact))))
        if _speaks(said, even).sum() > EVENLY * _speaks(said, steps).sum():
            steps, straight = even, True
            exact, heard = _centres(says, steps)
            times = _line(exact, heard)
    times = times if straight else curve
    votes = _speaks(said, np.round(times).astype(int))  # [n, 2]
    number = np.arange(len(times))
    sums = np.array([np.where((number + s) % metre == 0, votes[:, 1], votes[:, 0]).sum() for s in range(metre)])
    first = int(sums.argmax()) if straight else int(places[0])
    rival = np.delete(sums, first).max()
    middle = np.round((times[:-1] + times[1:]) / 2).astype(int)
    tempi = 60 * rate / np.diff(times)
    facts = {**facts, "bar_margin": float((sums[first] - rival) * metre / len(times)), "bars": len(times) / metre,
             "beat": float(votes.max(1).mean()), "off_beat": float(_speaks(said, middle).max(1).mean()),
             "spread": float(np.sqrt(np.average((exact - times) ** 2, weights=heard + 1e-6)) / rate),
             "straight": float(straight)}
    exact_times = (times + 0.25) / rate + (MACHINE if facts["spread"] < TIGHT else PLAYER)
    bpm = float(tempi.mean() if straight else np.median(tempi))
    return Grid(exact_times, first, metre, bpm, straight, facts)


def _speaks(said: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What speaks most for a beat and a downbeat within a step, ``[n, 2]``."""
    return said[np.clip(steps[:, None] + np.arange(-1, 2), 0, len(said) - 1)].max(1)


def _centres(says: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where beats are heard around ``steps``, to a fraction of a step, and how clearly."""
    near = np.clip(steps[:, None] + np.arange(-2, 3), 0, len(says) - 1)
    weight = 1 - np.exp(says[near, 0])
    heard = weight.sum(1)
    return steps + ((near - steps[:, None]) * weight).sum(1) / np.maximum(heard, 1e-6), heard


def _even(said: np.ndarray, period: float) -> np.ndarray:
    """The evenly spaced beats, within 2% of ``period`` steps, that most speaks for."""
    T, bins = len(said), 32
    speaks = said.max(1)
    speaks = np.maximum(speaks, np.maximum(np.append(speaks[1:], 0), np.append(0, speaks[:-1])))
    t = np.arange(T)
    best, at = -np.inf, (period, 0.0)
    for p in np.arange(period * 0.98, period * 1.02, 0.5 * period**2 / T):
        place = (t % p * (bins / p)).astype(np.int64)
        sums = np.bincount(place, speaks, bins) / np.bincount(place, minlength=bins)
        if sums.max() > best:
            best, at = sums.max(), (p, (sums.argmax() + 0.5) * p / bins)
    return np.round(np.arange(at[1], T, at[0])).astype(int)


def _line(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A straight line through ``y``, what lies far off counting less."""
    x, w = np.arange(len(y)), weight + 1e-6
    for _ in range(8):
        mx, my = np.average(x, weights=w), np.average(y, weights=w)
        slope = (w * (x - mx) * (y - my)).sum() / (w * (x - mx) ** 2).sum()
        fit = my + slope * (x - mx)
        w = (weight + 1e-6) / np.maximum(1, np.abs(y - fit) / 0.6)
    return fit


def _smooth(y: np.ndarray, weight: np.ndarray, stiffness: float = 300.0) -> np.ndarray:
    """``y`` with small second differences (E. T. Whittaker, "On a new method of graduation", 1923)."""
    from scipy.linalg import solveh_banded

    n = len(y)
    if n < 3:
        return y
    banded = np.zeros((3, n))
    for offset, value in ((0, (1, 4, 1)), (1, (-2, -2)), (2, (1,))):
        for i, v in enumerate(value):  # the products of rows (1, -2, 1) with themselves
            banded[2 - offset, offset + i: n - 2 + i + offset] += stiffness * v
    banded[2] += weight
    return solveh_banded(banded, weight * y)
