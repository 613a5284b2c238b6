"""From a MIDI file to the given codes of a new beat: read, quantised, and masked where it is to be sampled anew.

The model then fills in what is masked. So continuing, re-rolling some drums, humanising and varying are one mechanism,
the ``given`` codes of :mod:`audiocraft_ext.engine.sampler`, and what is kept is kept code by code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import rereadable
from audiocraft_ext.drums.codec import HITS
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.drum_map import DrumMap
from audiocraft_ext.drums.midi import Stretch, drums_of, onsets_of, stretches
from audiocraft_ext.drums.play.recipe import (
    CONTINUE,
    EDITS,
    HUMANISE,
    INFILL,
    KEEP,
    MOST_BARS,
    OFFSETS,
    TO,
    VARY,
    VELOCITIES,
    BeatRecipe,
)
from audiocraft_ext.engine.sampler import SOME, UNKNOWN
from audiocraft_ext.midi.file import BrokenMidi, parse

MORE = 4  # bars, where a file is continued
BY_CLASS = (KEEP, VARY, TO)  # edits that need a stream for each class


@dataclass(frozen=True, eq=False)
class Source:
    """Drums of a file: ``codes int64 [K, T]`` of ``bars`` whole bars."""

    codes: np.ndarray
    bpm: float
    meter: tuple[int, int]
    bars: int


def read_source(path: str | Path, codec, say: Callable[[str], object], *, bars: int | None = None,
                meter: tuple[int, int] | None = None, channel: int | None = None, last: bool = False,
                lane: str | None = None) -> Source:
    """The drums of a MIDI file on the codec's grid; the losses are reported in one line. Empty bars before the first
    hit and behind the last are left out. Of several time signatures it is the one with the most hits.

    Args:
        bars: only so many, the first.
        meter: read it in this time signature, whatever the file says.
        channel: see :func:`audiocraft_ext.drums.midi.drums_of`.
        last: the last time signature and the last bars instead.
        lane: its notes need not be drums: all onsets are hits of this class; see
            :func:`audiocraft_ext.drums.midi.onsets_of`.

    Raises:
        UserError: no MIDI file, none of its notes is known to the map, bars that the grid does not have.
    """
    try:
        with rereadable(path, f"{path}:", "a MIDI file") as file:
            midi = parse(file.read_bytes())
        if lane is None:
            notes, guess = drums_of(midi, channel)
        else:
            notes, guess = onsets_of(midi, next(one.write for one in codec.drums.classes if one.name == lane), channel)
    except BrokenMidi as error:
        raise UserError(f"{path}: {error}") from None
    if meter is not None:
        midi.meters = [(0, *meter)]
    parts, lost = stretches(midi, notes, codec)
    if not parts and lost:
        raise UserError(f"{path}: {lost[0]}")
    mapped = codec.drums.table() >= 0
    playing = [part for part in parts if mapped[part.clip.notes[:, 1]].any()]
    if not playing:
        raise UserError(f"{path}: none of its {len(notes)} hits is in a class of the map {codec.drums.name}, they have "
                        f"{_pitches(notes[:, 1])}; another model, or other pitches, are needed")
    part = playing[-1] if last else max(playing, key=lambda one: mapped[one.clip.notes[:, 1]].sum())
    remarks = [guess, *midi.remarks, *lost]
    if len(parts) > 1:
        remarks.append(f"it has several time signatures, and only the {len(part.clip.notes)} hits in "
                       f"{part.clip.meter[0]}/{part.clip.meter[1]} are taken")
    clip, remark = _played(part, mapped, float(4 * midi.ticks_per_beat * codec.reach / codec.steps),
                           bars, last)
    cost = codec.cost(clip)
    remarks += [remark, _unmapped(clip, codec.drums), _cost(cost)]
    if text := "; ".join(filter(None, remarks)):
        say(f"note: {path}: {text}")
    codes = codec.encode(clip).astype(np.int64)
    return Source(codes, round(clip.bpm, 6), clip.meter, clip.bars)


def _played(part: Stretch, mapped: np.ndarray, half: float, bars: int | None, last: bool) -> tuple[DrumClip, str]:
    """The bars from the first hit to the last, at most ``bars``; and what there is to say of it.

    Args:
        mapped: which pitches count as hits, ``bool [128]``.
        half: ticks; a hit that is so little before a bar line belongs to it.
    """
    clip, whole = part.clip, part.clip.meter[1]  # as many ticks for each: then bars end on ticks
    notes, ticks = clip.notes * [whole, 1, 1], clip.ticks_per_beat * whole
    bar, half = 4 * clip.ticks_per_beat * clip.meter[0], half * whole
    at = np.floor((notes[:, 0] + half) / bar).astype(np.int64)  # the bar of each
    hits = at[mapped[notes[:, 1]]]
    first, end = max(0, int(hits.min())), int(hits.max()) + 1
    limit, remark = bars or (MOST_BARS - MORE if last else MOST_BARS), ""
    if end - first > limit:
        first, end = (end - limit, end) if last else (first, first + limit)
        remark = f"the {'last' if last else 'first'} {limit} bars of it" if bars is None else ""
    if first and not last:
        remark = "; ".join(filter(None, [f"the first hit is in bar {first + 1}, where the beat begins", remark]))
    notes = notes[(at >= first) & (at < end)] - [first * bar, 0, 0]
    return DrumClip(notes, ticks, clip.bpm, clip.meter, end - first), remark


def _pitches(pitches: Iterable[int]) -> str:
    """The most frequent, for a message."""
    found, counts = np.unique(np.asarray(pitches), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    names = ", ".join(str(found[i]) for i in sorted(order[:6]))
    return f"pitch {names}" if len(found) == 1 else f"pitches {names}" + (" ..." if len(found) > 6 else "")


def _unmapped(clip: DrumClip, drums: DrumMap) -> str:
    unknown = clip.notes[~drums.known()[clip.notes[:, 1]], 1]
    if not len(unknown):
        return ""
    where = "left out" if drums.unmapped == "drop" else f"taken as {drums.unmapped}"
    return f"{len(unknown)} hits with {_pitches(unknown)} are in no class of the map, they are {where}"


def _cost(cost) -> str:
    """What the grid does to the hits, where it does anything audible."""
    kept, of = cost.kept, cost.hits - cost.unmapped
    text = f"{of - kept} of {of} hits give way to louder ones of their class in the same step" if kept < of else ""
    if cost.timing_p95_ms >= 1 or cost.velocity >= 1:
        text += (", and " if text else "") + (
            f"the grid moves hits by {cost.timing_ms:.1f} ms on average (19 of 20 by less than "
            f"{cost.timing_p95_ms:.1f} ms) and velocities by {cost.velocity:.1f}")
    return text


def given(recipe: BeatRecipe, source: np.ndarray, codec, rng: np.random.Generator) -> np.ndarray:
    """The given codes of a beat, ``int64 [K, T]``, with the sampler's marks where it is to be sampled.

    Args:
        source: codes ``[K, T]``.
        rng: the beat's own, for what chance decides here.
    """
    if recipe.edit == HUMANISE:
        return _humanised(recipe.humanise, source, codec)
    out = source.copy()
    if recipe.edit in (KEEP, TO):
        kept = [one.name in recipe.keep for one in codec.drums.classes]
        out[~np.array([*kept, *kept])] = UNKNOWN
    elif recipe.edit == VARY:
        out[np.tile(_rerolled(recipe, source, codec, rng), (2, 1))] = UNKNOWN
    elif recipe.edit == INFILL:
        bar = codec.steps_per_bar(recipe.meter)
        out[:, recipe.span[0] * bar : recipe.span[1] * bar] = UNKNOWN
    return out


def bars_of(change: str, source: Source, bars: int | None) -> int:
    """How many bars a beat from a file has: as many as the file, or four more when it is continued.

    Raises:
        UserError: it has not so many, or there are none to be made.
    """
    if change != CONTINUE:
        if bars is not None and bars > source.bars:
            raise UserError(f"bars: the file has {source.bars} bars of drums, got {bars}; --continue makes more of it")
        return source.bars
    bars = source.bars + MORE if bars is None else bars
    if bars <= source.bars:
        raise UserError(f"bars: the beat begins with the {source.bars} bars of the file; ask for more than those, up "
                        f"to {MOST_BARS}, got {bars}")
    return bars


def check_span(span: tuple[int, int] | None, change: str, bars: int | None = None) -> tuple[int, int] | None:
    """The first bar that is made anew and the one behind the last, from 0.

    Args:
        span: the first and the last one, from 1.
        bars: how many the file has; None before it is read.

    Raises:
        UserError: no such bars; or they were given without a change that needs them, or the other way round.
    """
    if (span is not None) != (change == INFILL):
        raise UserError("infill: say which bars of a file are made anew, such as 3-4")
    if span is None:
        return None
    first, last = span
    if not 1 <= first <= last <= (MOST_BARS if bars is None else bars):
        of = "" if bars is None else f", of which the file has {bars}"
        raise UserError(f"infill: expected bars such as 3-4, counted from 1{of}; got {first}-{last}")
    return first - 1, last


def check_change(change: str, file: object, codec: str) -> None:
    """Raises a :class:`UserError` where there is no such change, no file for it, or the codec cannot do it."""
    if change not in ("", *EDITS):
        raise UserError(f"change: expected one of {', '.join(EDITS)}, got {change!r}")
    if bool(change) != (file is not None):
        got = f"{change!r} alone" if change else "a file"
        raise UserError(f"a file and what to do with it go together, got {got}")
    if codec == HITS and change == INFILL:
        raise UserError(f"a model of the codec {HITS} does not know where a bar ends that it has not played, so that "
                        "--infill needs one of drum_grid; --continue, --humanise and --swap go")
    if codec == HITS and change in BY_CLASS:
        raise UserError(f"a model of the codec {HITS} plays hit after hit and has no stream for each drum, so that "
                        "--keep, --reroll, --vary and --to need one of drum_grid; --continue, --humanise and --swap go")


def _humanised(what: str, source: np.ndarray, codec) -> np.ndarray:
    """Hits stay where they are."""
    out = source.copy()
    velocity, offset, hit = codec.hits_of(source)
    loud = UNKNOWN if codec.spec.codec == HITS else SOME  # the softest hit is 0 there, and here that is none
    if what != OFFSETS:
        out[velocity][hit] = loud
    if what != VELOCITIES:
        out[offset][hit] = UNKNOWN
    return out


def _rerolled(recipe: BeatRecipe, source: np.ndarray, codec, rng: np.random.Generator) -> np.ndarray:
    """``bool [C, T]``: which cells are made anew.

    What is chosen are a class's cells of one beat, together, so that a hit may move within its beat. Of those with
    hits and of those without the same share, ``amount``; a larger amount has those of a smaller one among them.
    """
    C, T = len(source) // 2, source.shape[1]
    bar = codec.steps_per_bar(recipe.meter)
    step = np.arange(T)
    beat = step // bar * bar + step % bar // (codec.steps // 4)  # a number for each beat, of those there are
    beat = np.unique(beat, return_inverse=True)[1]
    full = np.zeros((C, beat[-1] + 1), bool)
    drum, at = np.nonzero(source[:C])
    full[drum, beat[at]] = True
    chosen = np.zeros(full.size, bool)
    for group in (np.flatnonzero(full), np.flatnonzero(~full)):
        chosen[rng.permutation(group)[: round(recipe.amount * len(group))]] = True
    return chosen.reshape(full.shape)[:, beat]
