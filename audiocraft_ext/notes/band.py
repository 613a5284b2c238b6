"""Songs played by more than they were written for. Most collections of MIDI are pianos, and a model can only play
together what it has heard together.

Each function takes whole bars, ``codes int64 [5, T]``, and gives the same bars, their notes in order.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.midi.names import INSTRUMENTS
from audiocraft_ext.notes.augment import tuned
from audiocraft_ext.notes.codec.multitrack import (
    FIRST,
    INSTRUMENT,
    LENGTH,
    LINE,
    PITCH,
    POSITION,
    Multitrack,
    bars_of,
    ordered,
)
from audiocraft_ext.notes.codec.score import DRUMS, instrument, program_of
from audiocraft_ext.notes.describe import NO, YES

PIANOS, BASSES = range(8), range(32, 40)  # programs of General MIDI
LOW = 50  # below this pitch a piano's lowest note is the bass of the song
CHORDS = (*range(4, 8), *range(16, 20), *range(24, 29), *range(48, 52), *range(88, 96))  # electric pianos to pads
LEADS = (11, 12, 22, 26, 40, 42, 56, 59, 64, 65, 66, 68, 71, 73, 75, *range(80, 88))  # vibraphone to synth leads
SEVERAL = 1.5  # notes at a place, on average: a part that plays more plays chords


def with_bass(codes: np.ndarray, codec: Multitrack, meter: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The lowest notes of a piano, where they are low, played by a bass, each up to the next; as it is where there is a
    bass already."""
    programs, bar = _programs(codes), np.cumsum(codes[POSITION] == LINE)
    if np.isin(programs, BASSES).any():
        return codes
    low = np.flatnonzero(np.isin(programs, PIANOS) & (codes[PITCH] < LOW))
    start = bar[low] * codec.bar_parts(meter) + codes[POSITION, low]
    rising = np.lexsort((codes[PITCH, low], start))
    start, first = np.unique(start[rising], return_index=True)
    moved, out = low[rising[first]], codes.copy()
    out[INSTRUMENT, moved] = instrument(int(rng.choice(BASSES)))
    until_next = np.append(np.diff(start), codec.lengths[-1])
    out[LENGTH, moved] = np.minimum(out[LENGTH, moved], np.searchsorted(codec.lengths, until_next, side="right") - 1)
    return ordered(out)


def cast(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some of the pianos played by other instruments: parts with chords by what plays chords, others by what leads."""
    out, programs = codes.copy(), _programs(codes)
    for part in np.unique(codes[INSTRUMENT, np.isin(programs, PIANOS)]):
        which = (codes[INSTRUMENT] == part) & (programs >= 0)
        places = np.unique(np.stack([np.cumsum(codes[POSITION] == LINE)[which], codes[POSITION, which]]), axis=1)
        free = np.setdiff1d(CHORDS if which.sum() > SEVERAL * places.shape[1] else LEADS, _programs(out))
        program, drawn = rng.choice(free), rng.random()
        if drawn < 0.5:
            out[INSTRUMENT, which] = instrument(int(program))
    return ordered(out)


def with_drums(codes: np.ndarray, drums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With the bars of ``drums``, codes as well, from any of them on and round again."""
    beats, bars = bars_of(drums), int((codes[POSITION] == LINE).sum())
    first = int(rng.integers(len(beats)))
    notes = [beats[(first + bar) % len(beats)][:, 1:] for bar in range(bars)]
    bar = np.repeat(np.arange(1, bars + 1), [piece.shape[1] for piece in notes])
    both, bar = np.concatenate([codes, *notes], axis=1), np.append(np.cumsum(codes[POSITION] == LINE), bar)
    return ordered(both[:, np.argsort(bar, kind="stable")])


def lacks_drums(codes: np.ndarray) -> bool:
    """Whether something plays, and no drums."""
    notes = codes[INSTRUMENT, codes[POSITION] >= FIRST]
    return bool(len(notes)) and not (notes == DRUMS).any()


def drummers(rows: list[dict], firsts: np.ndarray) -> dict[str, list[int]]:
    """The first rows of the songs of the train split that have drums and nothing else, as their words say, by time
    signature.

    Args:
        rows: of a manifest.
        firsts: the first row of the song of each row.
    """
    alone = {name: YES if name == "drums" else NO for name in INSTRUMENTS}
    found = defaultdict(list)
    for first in np.unique(firsts).tolist():
        row = rows[first]
        if row["split"] == TRAIN and alone.items() <= (row.get("prompt") or {}).items():
            found[row["time_signature"]].append(first)
    return dict(found)


def _programs(codes: np.ndarray) -> np.ndarray:
    """Of each frame; below 0 where it is no note, or drums."""
    return np.where(tuned(codes), program_of(codes[INSTRUMENT]), -1)
