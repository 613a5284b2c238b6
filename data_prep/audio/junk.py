"""What a person should look at before a model learns it: a file's faults, and the odd ones of a corpus.

Nothing here is a reason to drop a file; all of it is listed for review. Every threshold lies between what was measured
of music (breaks, one-shots, game music) and of what is none (tones, hum, noise, clicks), with room on either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from data_prep.audio import silence
from data_prep.audio.analysis.facts import ENVELOPE_RATE, Facts

CLIPPED = 0.005  # share in flat tops: music driven 3 dB into clipping has 0.1 to 4%, other music 0.01%
QUIET = -50.0  # dBFS, the peak of what is nearly silent
OFFSET = 0.05  # of full scale
SPARSE = 0.05  # share of a sound that is audible, below which it is mostly silence
LONG = 4.0  # seconds; a one-shot may be one tone or one burst of noise
STEADY = 0.9  # dB of movement: noise has 0.6 to 0.75, a tone up to 0.35, a drone from 1.2, music from 3
NOISE = -25.0  # dB of flatness: brown noise has -18, hum in noise -38
WHITE = -9.0  # dB of flatness, from which a sound without a hit is noise even if it swells: white -2.5, pink -6
TONE = 0.9  # share of the power in the strongest bins
LOW_TOP, CLIFF = (2_900.0, 8_100.0), 40.0  # Hz and dB: resampled from a low rate it falls by 58 or more, a bass by 25
FEWEST = 12  # files, of which one can be odd
ODD = 6.0  # robust standard deviations
MOST_TRAITS = 3  # traits of an odd one
RARE = 0.1  # share of the files, at least two: what more of them have in common is another kind, and nothing odd


def flags(facts: Facts) -> list[str]:
    """What is wrong with one file, in words; usually nothing."""
    return facts.notes + _heard(facts)


def _heard(facts: Facts) -> list[str]:
    """What is wrong with its sound."""
    level = facts.level
    if level.peak_db is None:
        what = f"constant: nothing but an offset of {level.dc:.3g}" if abs(level.dc) > 1e-4 else "silent"
        return [what] if facts.samples else ["empty"]
    if level.peak_db < QUIET:
        return [f"nearly silent: its peak is {level.peak_db:.0f} dBFS"]
    found = []
    if level.clipped >= CLIPPED:
        found.append(f"clipped: {100 * level.clipped:.1f}% of its samples are in flat tops")
    if abs(level.dc) >= OFFSET:
        found.append(f"an offset of {100 * abs(level.dc):.0f}% of full scale")
    if level.mix != "mid":
        found.append(f"its channels cancel ({level.mid_db:.0f} dB are left in their mean); {level.mix} is taken")
    return found + [reason for check in (_sparse, _steady, _dull) if (reason := check(facts))]


def _sparse(facts: Facts) -> str:
    audible = float(np.mean(silence.audible(facts.envelope)))
    if facts.seconds < LONG or audible >= SPARSE:
        return ""
    return f"mostly silence: {audible * len(facts.envelope) / ENVELOPE_RATE:.2f} of its {facts.seconds:.0f} s "\
        "are audible"


def _steady(facts: Facts) -> str:
    texture = facts.texture
    if facts.seconds < LONG or not texture:
        return ""
    if texture["movement"] < STEADY:
        if texture["flatness"] > NOISE:
            return "noise without events"
        return "one steady tone" if texture["tone"] > TONE else "a steady hum"
    return "noise without events" if texture["hits"] == 0 and texture["flatness"] > WHITE else ""


def _dull(facts: Facts) -> str:
    top, cliff, tone = (facts.texture.get(key, 0) for key in ("top_hz", "cliff", "tone"))
    if not LOW_TOP[0] <= top <= LOW_TOP[1] or cliff < CLIFF or tone > TONE:
        return ""
    return f"nothing above {top / 1000:g} kHz, as if made at a lower rate"


# What sets a file apart from its corpus: name, number of one file, the least spread that counts, words for less and
# for more.
Trait = tuple[Callable[[Facts], float], float, str, str]


def _part(low: int, high: int) -> Callable[[Facts], float]:
    """dB by which some bands of the spectrum stand out from the rest."""
    return lambda facts: float(np.mean(facts.spectrum[low:high]) - np.mean(facts.spectrum))


TRAITS: list[Trait] = [
    (_part(22, 32), 2.0, "much duller", "much brighter"),
    (_part(0, 6), 2.0, "much less bass", "much more bass"),
    (_part(10, 20), 2.0, "much less in the middle", "much more in the middle"),
    (lambda facts: math.sqrt(facts.texture["hits"]), 0.05, "hardly any hits", "far more hits"),
    (lambda facts: facts.texture["flatness"], 2.0, "more of a tone", "more of a noise"),
    (lambda facts: math.log2(0.1 + facts.texture["movement"]), 0.25, "moves less", "moves more"),
    (lambda facts: facts.level.rms_db or 0.0, 2.0, "much quieter", "much louder"),
]


def outliers(corpus: Iterable[Facts]) -> dict[str, str]:
    """The odd ones of a corpus, by name, each with what sets it apart most, such as "unlike the rest: much brighter".

    Robust z-scores: distance from the median in units of the median absolute deviation (B. Iglewicz, D. Hoaglin, "How
    to detect and handle outliers", 1993), where a corpus that is all alike counts as if it varied a little. What many
    files have in common is no oddity. Seven numbers a file are kept; fewer than twelve files have no odd ones.
    """
    names, rows = [], []
    for facts in corpus:
        if facts.level.peak_db is not None and facts.texture and facts.spectrum:
            names.append(facts.name)
            rows.append(np.array([number(facts) for number, *_ in TRAITS], np.float32))
    if len(names) < FEWEST:
        return {}
    table = np.array(rows)
    away = table - np.median(table, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(away), axis=0), [least for _, least, *_ in TRAITS])
    scores = np.concatenate([-away / spread, away / spread], axis=1)  # [files, 2 * traits], less and more
    scores[:, (scores > ODD).sum(0) > max(2, RARE * len(names))] = 0
    words = [less for *_, less, _ in TRAITS] + [more for *_, more in TRAITS]
    found = {}
    for name, row in zip(names, scores):
        if most := [words[i] for i in np.argsort(-row, kind="stable")[:MOST_TRAITS] if row[i] > ODD]:
            found[name] = f"unlike the rest: {', '.join(most)}"
    return found
