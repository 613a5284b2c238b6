"""Two fingerprints laid along each other: which part of two sounds is the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.audio.analysis.fingerprint import DEPTH, FRAMES, WAVE, WAVE_RATE, Head, Print

NEAR_BITS = 7  # of 24 signs, that may differ in an anchor; 1 in 30 of those that have nothing to do with each other do
CLOSE_BITS = 4  # where a line is looked for; 1 in 900
DRIFT = 0.015  # how much faster or slower one sound may be
LATE = 2.5  # frames that an anchor may lie beside the line
SEARCH, LOOSE = 10 * FRAMES, 20  # frames around a hit in which a line is looked for, and those that the hit may be off
STEP = 10 * FRAMES  # after which a line is found anew
GIVE_UP = 6  # steps without a thing in common
AROUND = 9  # anchors over which it is judged whether two sounds go on being the same
SAME = 0.5  # of them must agree
EVENTS, DISTINCT = 8, 5  # anchors in a shared part, at least, and how many of them unlike each other
SHORTEST = 1.5  # seconds of a shared part
# Two takes of one groove on one kit come near for a few seconds. But their signs are further off, on average, or one
# hit is earlier and the next later: frames from anchor to anchor, standard deviation.
BITS_OFF, UNEVEN, UNEVEN_HEARD = 2.2, 0.95, 1.17  # the last where heads agree: a copy of ours does by 1.15
WHOLE, WHOLE_HEARD = 0.65, 0.5  # of the anchors of two copies agree; of those whose heads do
STRETCH = 4  # anchors in a row without a partner, above which something else is there
SPARE, SPARE_SHARE = 0.35, 0.04  # seconds, and share of it, that a copy may lack

SLICES_OFF, TONES_OFF = 1.6, 3.3  # dB on average between heads of the same sound, at most
TUNING, BETTER = 1, 0.85  # eighths of a tone: what fits that much better further off is another note
# Correlation of their waves: of copies (MP3 and Opus at 48k and more, 1% faster) rarely less, of other settings of a
# sound rarely more; benchmarks/prep/variants.py.
WAVES_ALIKE = 0.85
SPEEDS, OTHER_SPEEDS = np.arange(-15, 16) / 1000, np.concatenate([np.arange(-75, -20), np.arange(21, 76)]) / 1000
NEAR_SPEEDS = np.arange(-6, 7) / 10_000  # around the best of those
TUNED, SURE = 0.2, 0.998  # share of what a copy's speed leaves unlike that one of a tuning does; nobody would hear it
WAVE_LATE = WAVE_RATE // 50  # samples
LOW_BANDS, LOW_OFF = 12, 4.5  # below 900 Hz; dB that codecs change none of them by
CLOSE = 0.985  # correlation of waves above which a band that differs holds no more than the skirt of a tone
ANOTHER_DECAY = 3.0  # dB between heads of sounds that share anchors
LIVELY = 3  # anchors a second of a loop; a tone or a cymbal has fewer, and they are weak
FEW_AGREE = 0.5  # of those of the latter
_BITS = np.array([bin(i).count("1") for i in range(2**12)], np.uint8)


@dataclass(frozen=True)
class Match:
    """What two sounds share: how many seconds, the share of the anchors there that agree, whether it is all of both."""

    seconds: float
    score: float
    whole: bool


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In how many of their 24 signs words ``uint32`` differ."""
    x = a ^ b
    return _BITS[x & 0xFFF] + _BITS[x >> 12]


def align(a: Print, b: Print, at: int, offset: int, short: bool = False) -> Match | None:
    """What both share if frame ``at`` of ``a`` is about ``at + offset`` of ``b``; None if too little to tell.

    Args:
        short: their heads agree, so that a part may be short and made of the same few hits.
    """
    line = _line(a, b, at, offset)
    if line is None:
        return None
    partner = _partners(a, b, at, line)
    ours = np.flatnonzero(partner >= 0)
    if len(ours) < (STRETCH if short else EVENTS):
        return None
    parts = [part for part in _parts(a, b, partner) if _tells(a, b, part, partner, short)]
    whole = _whole(a, b, partner, WHOLE_HEARD if short else WHOLE) and not (
        short and _uneven(a, b, ours, partner) > UNEVEN_HEARD)
    if not parts and not (short and whole):
        return None
    parts = parts or [(int(ours[0]), int(ours[-1]))]
    seconds = sum(float(a.frames[last] - a.frames[first]) for first, last in parts) / FRAMES
    agree = sum(int((partner[first: last + 1] >= 0).sum()) for first, last in parts)
    anchors = sum(last - first + 1 + abs(int(partner[last] - partner[first])) + 1 for first, last in parts) - agree
    return Match(seconds, agree / anchors, whole)


def heads_agree(a: Print, b: Print) -> Match | None:
    """Whether two short sounds are the same from their attack on to their end."""
    for mine, other in zip(a.heads, b.heads):
        if abs(mine.lasts - other.lasts) > 4 + 0.1 * max(mine.lasts, other.lasts):
            continue
        off = slices_off(mine.slices, other.slices)
        if off > SLICES_OFF or tones_off(mine, other) > TONES_OFF:
            continue
        if not same_setting(mine, other):
            continue
        if not _rest_agrees(a, b, mine, other):
            continue
        return Match(mine.lasts / FRAMES, float(1 - off / 10), True)
    return None


def slices_off(a: np.ndarray, b: np.ndarray) -> float:
    """dB between two heads' levels on average, where either sounds."""
    sounds = np.maximum(a, b) > 1 - DEPTH
    return float(np.abs(a - b)[sounds].mean()) if sounds.any() else 0.0


def tones_off(a: Head, b: Head) -> float:
    """dB between two heads' spectra on average, or infinity where they fit better as different notes."""
    at = np.arange(0, len(a.tones), 0.5)
    x, y = (np.interp(at, np.arange(len(h.tones)), h.tones) for h in (a, b))
    off = {}
    for shift in range(-6, 7):
        p, q = x[max(0, shift): len(x) + shift], y[max(0, -shift): len(y) - shift]
        sounds = np.maximum(p, q) > 5 - DEPTH
        off[shift] = float(np.abs(p - q)[sounds].mean()) if sounds.any() else 0.0
    near = min(off[shift] for shift in off if abs(shift) <= TUNING)
    return near if min(off.values()) >= BETTER * near else float("inf")


def another_setting(a: Print, b: Print, at: int, offset: int) -> bool:
    """Whether sounds whose anchors agree, frame ``at`` with ``at + offset``, have other heads there: another filter,
    decay or tuning, say."""
    same = [(x, y) for x, y in zip(a.heads, b.heads)
            if abs(y.attack - x.attack - offset) <= 2 * LATE + 2 * DRIFT * abs(at - x.attack)]
    return bool(same) and not any(slices_off(x.slices, y.slices) <= ANOTHER_DECAY and same_setting(x, y)
                                  for x, y in same)


def same_setting(a: Head, b: Head) -> bool:
    """Whether two heads have the same wave, and neither lacks low bands."""
    alike = waves_alike(a, b)
    return alike >= CLOSE or alike >= WAVES_ALIKE and low_off(a, b) <= LOW_OFF


def low_off(a: Head, b: Head) -> float:
    """dB by which one of the low bands of two heads differs more than their bands do: where somebody filtered."""
    sounds = np.maximum(a.slices, b.slices) > 1 - DEPTH
    counts = sounds.sum(axis=0)
    off = np.where(counts > 1, ((b.slices - a.slices) * sounds).sum(axis=0) / np.maximum(counts, 1), 0)
    return float(np.abs(off - np.median(off))[:LOW_BANDS].max())


def waves_alike(a: Head, b: Head) -> float:
    """The correlation of two heads' waves, the largest over lags and the speeds of a copy; 0 where a speed that no copy
    has fits far better: that is another tuning."""
    size, between = 2 * WAVE, 8  # points that are interpolated between two samples, so that a straight line will do
    dense = np.fft.irfft(np.fft.rfft(b.wave, size), size * between)[: WAVE * between] * between

    def best(speeds: np.ndarray) -> float:
        speed = speeds[np.argmax(_correlations(a.wave, dense, between, speeds))]
        return float(_correlations(a.wave, dense, between, speed + NEAR_SPEEDS, lags=4).max())

    alike = best(SPEEDS)
    tuned = WAVES_ALIKE <= alike < SURE and 1 - best(OTHER_SPEEDS) < TUNED * (1 - alike)
    return 0.0 if tuned else alike


def _correlations(wave: np.ndarray, dense: np.ndarray, between: int, speeds: np.ndarray, lags: int = 1) -> np.ndarray:
    """``[speeds]``, of ``wave`` with each speed of ``dense``, the largest over lags of a sample / ``lags``."""
    size, at = 2 * WAVE, np.arange(WAVE * between)
    faster = np.stack([np.interp(at[::between] * (1 + speed), at, dense, right=0) for speed in speeds])
    both = np.fft.irfft(np.fft.rfft(faster, size) * np.fft.rfft(wave, size).conj(), size * lags) * lags
    late = WAVE_LATE * lags
    near = np.abs(np.concatenate([both[:, :late], both[:, -late:]], axis=1)).max(axis=1)
    return near / np.sqrt(np.maximum((wave @ wave) * (faster**2).sum(axis=1), 1e-9))


def _line(a: Print, b: Print, at: int, offset: int) -> tuple[float, float] | None:
    """(c, s): frame t of ``a`` is t + c + s (t - at) of ``b``, for most of the anchors near ``at``; None if few fit."""
    i0, i1 = np.searchsorted(a.frames, (at - SEARCH, at + SEARCH))
    j0, j1 = np.searchsorted(b.frames, (at + offset - SEARCH - LOOSE, at + offset + SEARCH + LOOSE))
    ta = a.frames[i0:i1, None] - at
    late = b.frames[None, j0:j1] - at - offset - ta
    i, j = np.nonzero(np.abs(late) <= LOOSE + DRIFT * np.abs(ta))
    near = distance(a.signs[i0:i1][i], b.signs[j0:j1][j]) <= CLOSE_BITS
    x, y = ta[i[near], 0], late[i[near], j[near]]
    if len(x) < 4:
        return None
    speeds = np.linspace(-DRIFT, DRIFT, 31)
    speeds = speeds[np.argsort(np.abs(speeds), kind="stable")]  # of those that fit as well, the least
    left = np.round(y - speeds[:, None] * x).astype(np.int64)
    low = left.min() - 1
    counts = np.stack([np.bincount(row - low, minlength=left.max() - low + 2) for row in left])
    counts[:, 1:-1] = counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:]
    speed, most = divmod(int(np.argmax(counts)), counts.shape[1])
    fits = np.abs(left[speed] - (most + low)) <= 1
    if fits.sum() < 4:
        return None
    c, s = _fit(x[fits], y[fits], float(speeds[speed]))
    return c + offset, s


def _fit(x: np.ndarray, y: np.ndarray, speed: float) -> tuple[float, float]:
    """Least squares of y = c + s x; over less than 2 s the speed is taken as given."""
    if x.max() - x.min() >= 2 * FRAMES:
        x0 = x - x.mean()
        speed = float(np.clip((x0 * y).sum() / (x0 * x0).sum(), -DRIFT, DRIFT))
    return float(np.mean(y - speed * x)), speed


def _partners(a: Print, b: Print, at: int, line: tuple[float, float]) -> np.ndarray:
    """For each anchor of ``a`` the one of ``b`` that agrees with it, or -1, ``int64 [A]``."""
    partner = np.full(len(a.frames), -1, np.int64)
    for ahead in (1, -1):
        (c, s), begin, nothing = line, at, 0
        while nothing < GIVE_UP:
            low, high = sorted((begin, begin + ahead * STEP))
            i0, i1 = np.searchsorted(a.frames, (low, high))
            if (i0 == len(a.frames) if ahead > 0 else i1 == 0):
                break
            want = a.frames[i0:i1] + c + s * (a.frames[i0:i1] - at)
            j = np.clip(np.searchsorted(b.frames, want), 1, len(b.frames) - 1)
            j -= want - b.frames[j - 1] < b.frames[j] - want
            ok = (np.abs(b.frames[j] - want) <= LATE) & (distance(a.signs[i0:i1], b.signs[j]) <= NEAR_BITS)
            partner[i0:i1] = np.where(ok, j, -1)
            nothing = 0 if ok.sum() >= 4 else nothing + 1
            if ok.sum() >= EVENTS:
                wide = slice(*np.searchsorted(a.frames, (low - STEP, high + STEP)))
                found = np.flatnonzero(partner[wide] >= 0) + wide.start
                x = a.frames[found] - at
                c, s = _fit(x, b.frames[partner[found]] - a.frames[found], s)
            begin += ahead * STEP
    return partner


def _parts(a: Print, b: Print, partner: np.ndarray) -> list[tuple[int, int]]:
    """Runs of ``a`` that ``b`` has too, as the first and last anchor, both of which agree.

    Along both sounds at once: an anchor of either that has no partner speaks against a run.
    """
    ours = np.flatnonzero(partner >= 0)
    between = np.diff(ours) - 1 + np.abs(np.diff(partner[ours])) - 1  # without a partner, in either
    place = np.concatenate([[0], np.cumsum(1 + np.maximum(between, 0))])
    agree = np.zeros(place[-1] + 1)
    agree[place] = 1
    density = np.convolve(np.pad(agree, AROUND // 2, mode="edge"), np.full(AROUND, 1 / AROUND), "valid")
    inside = np.concatenate([[False], density >= SAME, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    parts = []
    for begin, end in edges.reshape(-1, 2):
        first, last = np.searchsorted(place, (begin, end))
        if last - first >= 2:
            parts.append((int(ours[first]), int(ours[last - 1])))
    return parts


def _whole(a: Print, b: Print, partner: np.ndarray, share: float) -> bool:
    """Whether nearly all of both agrees, with no stretch of either that lacks a partner."""
    ours = np.flatnonzero(partner >= 0)
    if len(ours) < share * (len(a.frames) + len(b.frames) - len(ours)):
        return False
    for p, places in ((a, ours), (b, np.sort(partner[ours]))):
        edges = np.concatenate([[-1], places, [len(p.frames)]])
        frames = np.concatenate([p.frames[:1], p.frames[places], p.frames[-1:]])
        lacking = np.diff(frames)[np.diff(edges) > STRETCH].sum()
        if lacking > FRAMES * SPARE + SPARE_SHARE * (p.frames[-1] - p.frames[0]):
            return False
    return True


def _tells(a: Print, b: Print, part: tuple[int, int], partner: np.ndarray, short: bool) -> bool:
    """Whether a run has enough that agrees, as closely as one sound does, and not the same few hits over and over."""
    if short:
        return True
    found = np.flatnonzero(partner[part[0]: part[1] + 1] >= 0) + part[0]
    if len(found) < EVENTS or a.frames[found[-1]] - a.frames[found[0]] < SHORTEST * FRAMES:
        return False
    theirs = partner[found]
    if distance(a.signs[found], b.signs[theirs]).mean() > BITS_OFF:
        return False
    if _uneven(a, b, found, partner) > UNEVEN:
        return False
    left = a.signs[found[:500]]
    for _ in range(DISTINCT - 1):
        left = left[distance(left, left[0]) > NEAR_BITS]
        if not len(left):
            return False
    return True


def _uneven(a: Print, b: Print, found: np.ndarray, partner: np.ndarray) -> float:
    return float(np.diff(b.frames[partner[found]] - a.frames[found]).std())


def _rest_agrees(a: Print, b: Print, mine: Head, other: Head) -> bool:
    """Whether two sounds with like heads are alike before them and go on alike."""
    offset = other.attack - mine.attack
    spans = [np.searchsorted(p.frames, (h.attack - 3, h.attack + h.lasts)) for p, h in ((a, mine), (b, other))]
    if max(first for first, _ in spans) <= STRETCH:  # before the attack and after the end there is noise at most
        if min(mine.lasts, other.lasts) <= FRAMES:
            return True
        a, b = (Print(p.frames[slice(*span)], p.signs[slice(*span)]) for p, span in zip((a, b), spans))
    many = min(len(a.frames), len(b.frames))
    if many < max(EVENTS, LIVELY * max(mine.lasts, other.lasts) / FRAMES):
        return many < STRETCH or _few_agree(a, b, offset) >= FEW_AGREE
    match = align(a, b, mine.attack, offset, short=True)
    return match is not None and match.whole


def _few_agree(a: Print, b: Print, offset: int) -> float:
    """Share of the anchors of two short sounds that agree; 1 if neither has any."""
    if not len(a.frames) or not len(b.frames):
        return float(len(a.frames) == len(b.frames))
    late = np.abs(b.frames[None] - offset - a.frames[:, None])
    ok = (late <= LATE + DRIFT * (a.frames[:, None] - a.frames[0])) & (
        distance(a.signs[:, None], b.signs[None]) <= NEAR_BITS)
    return float(min(ok.any(axis=1).sum() / len(a.frames), ok.any(axis=0).sum() / len(b.frames)))
