"""From what the beat net finds to a grid of beats and bars.

Three steps: a tempo curve (the strongest line through a Fourier tempogram of the beats, P. Grosche, M. Müller,
"Extracting predominant local pulse information from music recordings", IEEE TASLP 2011); the likeliest bars at that
curve and at its multiples, in three or four, by dynamic programming over steps and places in the bar, which is the
bar-pointer model of F. Krebs, S. Böck, G. Widmer, ISMIR 2013, with the tempo held near the curve; and a grid through
those beats (data_prep/audio/beats/grid.py).
"""

from __future__ import annotations

import numpy as np

from data_prep.audio.beats.grid import Grid, grid

SLOWEST, FASTEST = 55.0, 215.0  # BPM
TEMPI = 60 / np.geomspace(60 / FASTEST, 60 / SLOWEST, 300)[::-1]  # BPM, ascending, half a per cent apart
WINDOW, EVERY = 12.0, 3.0  # seconds, of the tempogram
MULTIPLES = (1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0)
METRES = (4, 3)
USUAL, SPREAD = 125.0, 0.6  # BPM, octaves: of the tempi that music has
TEMPO_WEIGHT, WALTZ = 6.0, 12.0  # nats: of that; against three in a bar
SLIP = 12.0  # nats, against a bar that does not end after its last beat
# Log odds of a beat and of a downbeat at any step, as far as they are taken off: all of them and a beat is followed
# wherever one might be, at twice the tempo too; none and it is lost where the net is in doubt.
RARE = 0.5 * np.log(np.array([0.055, 0.018], np.float32) / 0.927)
LEAST, MOST = -3.0, 5.0  # nats, that one step can say
HINTED, HINT_SHARE = 0.035, 0.3  # how near a tempo is to a hint; how much has to speak for it, of what does for another
PROBE = 180.0  # seconds that decide between multiples and metres


def odds(says: np.ndarray) -> np.ndarray:
    """Log probabilities ``[T, 3]`` to ``[T, 2]``: what the sound at a step speaks for a beat that is no downbeat, and
    for a downbeat, against none: log odds less those of any step."""
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
    beat_odds = odds(says)
    curve = tempo_curve(tempogram(says, rate))  # BPM at each EVERY seconds
    at = np.arange(len(says)) / rate / EVERY
    bpm = np.interp(at, np.arange(len(curve)), curve)
    factors, metres = _hypotheses(float(np.median(curve)))
    part = _liveliest(beat_odds, round(PROBE * rate))
    periods = 60 * rate / (bpm[part] * factors[:, None])
    score, back, whence = bars(beat_odds[part], periods, metres)
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
        score, back, whence = bars(beat_odds, periods, metres[best: best + 1])
        steps, places = backtrack(score[0], back[0], whence[0])
    else:
        steps, places = backtrack(score[best], back[best], whence[best])
    if len(steps) < 4:
        return None
    rivals = totals[np.abs(np.log2(factors / factors[best])) > 0.1]
    margin = (totals[best] - rivals.max(initial=0.0)) / seconds
    found = grid(says, beat_odds, rate, steps, places, int(metres[best]), {"tempo_margin": float(margin)})
    return found if SLOWEST - 10 < found.bpm < FASTEST + 10 else None


def _hypotheses(bpm: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors on the tempo curve and beats in a bar, ``[H]`` each."""
    pairs = [(f, m) for f in MULTIPLES for m in METRES if SLOWEST - 5 <= bpm * f <= FASTEST + 5]
    factors, metres = zip(*pairs)
    return np.array(factors), np.array(metres)


def _liveliest(beat_odds: np.ndarray, steps: int) -> slice:
    """The ``steps`` with most beats; all, if there are no more."""
    if len(beat_odds) <= steps:
        return slice(0, len(beat_odds))
    total = np.concatenate([[0.0], np.cumsum(np.maximum(beat_odds.max(1), 0), dtype=np.float64)])
    start = int((total[steps:] - total[:-steps]).argmax())
    return slice(start, start + steps)
