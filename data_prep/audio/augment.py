"""Variants of a sound, as a sampler would play it: another speed, level, polarity, channel, tone.

Off by default. A variant is decided by a seed, its number and the source's name, by nothing else, and is plain values
that stand in the manifest. Variants are made before encoding, and only of sources in the train split: one of a source
that is held out would be a second look at the same test. Each stays a source of its own, named as one of its original.

    varispeed=6   up to 6% slower or quicker, pitch with it (a semitone is 5.9%)
    gain=3        up to 3 dB quieter; never louder, for the sound may stand at full scale already
    shift=20      begun up to 20 ms later: the same sound, and other codes, for frames begin elsewhere in it
    polarity      upside down, half of them
    channel       the mean of the channels, the first or the second
    eq=3          two or three shelves and bells of up to 3 dB each
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import number_of

Variant = dict[str, Any]

MOST = {"varispeed": 50.0, "gain": 24.0, "eq": 12.0, "shift": 100.0}  # percent, dB, dB, ms
SWITCHES = ("polarity", "channel")
EXAMPLE = "varispeed=6,gain=3,polarity,channel,eq=3,shift=20"
BANDS = (("low shelf", 60, 250), ("bell", 300, 3000), ("high shelf", 3000, 9000))  # Hz, from and to
SHELF_Q = 0.707  # the steepest shelf that does not overshoot


@dataclass(frozen=True)
class Augment:
    """What variants may differ in; 0 and False leave it as it is."""

    varispeed: float = 0.0
    gain: float = 0.0
    eq: float = 0.0
    shift: float = 0.0
    polarity: bool = False
    channel: bool = False

    @classmethod
    def parse(cls, text: str) -> Augment:
        """``"varispeed=6,gain=3,polarity,channel,eq=3,shift=20"``, any of them.

        Raises:
            UserError: something that is none of them, twice, or out of range.
        """
        values: dict[str, Any] = {}
        for part in text.split(","):
            name, equals, number = (word.strip() for word in part.partition("="))
            if name in values:
                raise UserError(f"--augment: {name} is there twice in {text!r}")
            if name in SWITCHES and not equals:
                values[name] = True
            elif name in MOST and equals:
                values[name] = _number(name, number)
            else:
                raise UserError(f"--augment: expected something like {EXAMPLE}, got {part.strip()!r}")
        return cls(**values)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MOST[name]:
        raise UserError(f"--augment: expected {name} above 0 and up to {MOST[name]:g}, got {text!r}")
    return value


def variant(augment: Augment, seed: int, number: int, name: str, channels: int = 1, mix: str = "mid") -> Variant:
    """Variant ``number`` of the source ``name``. What one aspect becomes does not depend on which others are asked for.

    Args:
        channels: of the file; with one there is none to choose.
        mix: what its mono sound is. Where that is not "mid", the mid cancels and is not chosen.

    Returns:
        ``number``; ``speed`` (1.03 is 3% quicker and higher), ``gain_db`` (0 or below), ``polarity`` (1 or -1), ``mix``
        ("mid", "channel 1" or "channel 2", for whoever reads the file), ``eq`` (a list of ``kind``, ``hz``, ``db``,
        ``q``), ``shift_ms`` (for whoever reads the file), each only if asked for.
    """
    def chance(what: str) -> float:
        """From 0 to below 1."""
        return number_of(f"{seed} {number} {what} {name}")

    out: Variant = {"number": number}
    if augment.varispeed:
        out["speed"] = round((1 + augment.varispeed / 100) ** (2 * chance("speed") - 1), 6)  # as far up as down
    if augment.gain:
        out["gain_db"] = -round(augment.gain * chance("gain"), 3)
    if augment.shift:
        out["shift_ms"] = round(augment.shift * chance("shift"), 3)
    if augment.polarity:
        out["polarity"] = 1 if chance("polarity") < 0.5 else -1
    if augment.channel and channels > 1:
        mixes = ["mid", "channel 1", "channel 2"][mix != "mid" :]
        out["mix"] = mixes[int(chance("mix") * len(mixes))]
    if augment.eq:
        without = int(chance("eq") * 2 * len(BANDS))  # one of the bands, or half of the time none
        out["eq"] = [_band(kind, low, high, augment.eq, [chance(f"eq {kind} {what}") for what in ("hz", "db", "q")])
                     for i, (kind, low, high) in enumerate(BANDS) if i != without]
    return out


def _band(kind: str, low: float, high: float, most: float, chances: list[float]) -> dict[str, Any]:
    hz, db, q = chances
    return {"kind": kind, "hz": round(low * (high / low) ** hz, 1), "db": round(most * (2 * db - 1), 2),
            "q": round(0.5 + q, 2) if kind == "bell" else SHELF_Q}


def seconds_factor(variant: Variant) -> float:
    """How much longer a variant is than its source: positions in seconds and lengths of bars times this, tempo divided
    by it."""
    return 1 / variant.get("speed", 1.0)


def apply(variant: Variant, blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """The variant's sound, block by block in constant memory; the same bits whatever the blocks.

    Args:
        blocks: mono ``float32 [n]`` at ``rate`` Hz, of the channel that the variant is of.

    Yields:
        ``float32 [n]``, all of them together ``seconds_factor`` times as long, within -1 to 1.
    """
    if variant.get("speed", 1.0) != 1:
        blocks = _played_at(variant["speed"], blocks, rate)
    gain = 10 ** (variant.get("gain_db", 0.0) / 20) * variant.get("polarity", 1)
    sections, state = None, None
    if variant.get("eq"):
        from scipy.signal import sosfilt

        sections, headroom = _sections(variant["eq"], rate)
        state, gain = np.zeros((len(sections), 2)), gain * headroom
    for block in blocks:
        if not len(block):
            continue
        if sections is not None:
            block, state = sosfilt(sections, block, zi=state)
        # A filter turns phases and a resampler swings over: what was at full scale may be a little above.
        yield np.clip(block * gain, -1, 1).astype(np.float32)


def _played_at(speed: float, blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    import soxr

    stream = soxr.ResampleStream(rate * speed, rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        if len(out := stream.resample_chunk(np.ascontiguousarray(block))):
            yield out
    if len(out := stream.resample_chunk(np.zeros(0, np.float32), last=True)):
        yield out


def _sections(eq: list[dict[str, Any]], rate: int) -> tuple[np.ndarray, float]:
    """``[bands, 6]`` for ``scipy.signal.sosfilt``, and the factor that brings the loudest frequency down to 0 dB."""
    from scipy.signal import sosfreqz

    sections = np.array([_biquad(band["kind"], min(band["hz"], 0.4 * rate), band["db"], band["q"], rate)
                         for band in eq])
    response = np.abs(sosfreqz(sections, 2048, fs=rate)[1])
    return sections, 1 / max(1.0, float(response.max()))


def _biquad(kind: str, hz: float, db: float, q: float, rate: int) -> list[float]:
    """One filter as ``b0 b1 b2 1 a1 a2``.

    R. Bristow-Johnson, Cookbook formulae for audio EQ biquad filter coefficients, https://www.w3.org/TR/audio-eq-cookbook
    """
    a, w = 10 ** (db / 40), 2 * math.pi * hz / rate
    cos, alpha = math.cos(w), math.sin(w) / (2 * q)
    if kind == "bell":
        b = [1 + alpha * a, -2 * cos, 1 - alpha * a]
        c = [1 + alpha / a, -2 * cos, 1 - alpha / a]
    else:
        s = 1 if kind == "low shelf" else -1  # a high shelf is a low one with the circle turned by half
        up, down, slope = a + 1, a - 1, 2 * math.sqrt(a) * alpha
        b = [a * (up - s * down * cos + slope), s * 2 * a * (down - s * up * cos), a * (up - s * down * cos - slope)]
        c = [up + s * down * cos + slope, -s * 2 * (down + s * up * cos), up + s * down * cos - slope]
    return [value / c[0] for value in (*b, *c)]
