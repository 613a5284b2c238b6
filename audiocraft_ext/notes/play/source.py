"""From a MIDI file to the codes that a piece is made from, and what is to be made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.file import BrokenMidi, read
from audiocraft_ext.midi.names import FAMILIES, program_named
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.notes.codec.score import DRUMS, VOICES, instrument, program_of
from audiocraft_ext.notes.midi import name_of, stretches
from audiocraft_ext.notes.play.recipe import ADD, AS_IT_IS, CONTINUE, INFILL, MOST_BARS, REVOICE


@dataclass(frozen=True, eq=False)
class Source:
    """Music of a file: ``codes int64 [5, T]`` of ``bars`` whole bars, and the instruments that play."""

    codes: np.ndarray
    bpm: float
    meter: tuple[int, int]
    bars: int
    instruments: tuple[int, ...]


def read_source(path: str | Path, codec: Multitrack, say: Callable[[str], object], meter: tuple[int, int] | None = None,
                bars: int | None = None) -> Source:
    """The music of a MIDI file, from the first bar with a note to the last. Of several time signatures it is the one
    with the most notes.

    Args:
        meter: read it in this time signature, whatever the file says.
        bars: only so many, the first.

    Raises:
        UserError: no MIDI file, or one without notes.
    """
    midi = read(path)
    if meter is not None:
        midi.meters = [(0, *meter)]
    try:
        parts, remarks = stretches(midi, codec)
    except BrokenMidi as error:
        raise UserError(f"{path}: {error}") from None
    score = max((part.score for part in parts), key=len)
    remarks = [*midi.remarks, *remarks]
    if len(parts) > 1:
        remarks.append(f"it has several time signatures, and only the {len(score)} notes in {score.meter[0]}/"
                       f"{score.meter[1]} are taken")
    rows, _, there = codec.inside(score)
    bar = codec.bar_parts(score.meter)
    first, end = int(rows[:, 0].min()) // bar, int(rows[:, 0].max()) // bar + 1
    if end - first > (limit := min(bars or MOST_BARS, MOST_BARS)):
        end = first + limit
        remarks.append(f"the first {limit} of its bars are taken")
    rows = rows[(rows[:, 0] >= first * bar) & (rows[:, 0] < end * bar)] - [first * bar, 0, 0, 0, 0]
    if remarks:
        say(f"note: {path}: {'; '.join(remarks)}")
    return Source(codec.codes_of(rows, end - first, bar).astype(np.int64), round(min(max(score.bpm, 20), 400), 6),
                  score.meter, end - first, tuple(np.unique(rows[:, 1]).tolist()))


def what_to_make(change: str, found: Source, bars: int | None, part: str | None, span: tuple[int, int] | None,
                 more: int) -> tuple[int, tuple[int, ...], tuple[int, int] | None]:
    """How many bars the piece has, the instruments that are made, and the bars that are.

    Raises:
        UserError: there is nothing to be made, or no such part.
    """
    if (part is not None) != (change not in (CONTINUE, INFILL, AS_IT_IS)) or (span is not None) != (change == INFILL):
        raise UserError("add, reroll and revoice need a part, infill a span of bars, and nothing else has them")
    if change == CONTINUE:
        bars = found.bars + more if bars is None else bars
        if bars <= found.bars:
            raise UserError(f"bars: the piece begins with the {found.bars} bars of the file; ask for more than those, "
                            f"up to {MOST_BARS}, got {bars}")
        return bars, (), None
    if change == INFILL:
        first, last = span
        if not 1 <= first <= last <= found.bars:
            raise UserError(f"infill: expected bars from 1 to {found.bars}, the first one first, got {first}-{last}")
        return found.bars, (), (first - 1, last)
    if change in (REVOICE, AS_IT_IS):
        return found.bars, (), None
    return found.bars, (new_part(part, found.instruments) if change == ADD else parts_named(part, found)), None


def parts_chosen(texts: str | Sequence[str]) -> tuple[int, ...]:
    """The instruments of a new piece, in the order in which they are made; of a program that is named twice two parts.

    Raises:
        UserError: none, or an unknown one.
    """
    parts: tuple[int, ...] = ()
    for text in texts.split(",") if isinstance(texts, str) else texts:
        parts += new_part(text, parts, "parts")
    if not parts:
        raise UserError("parts: expected such as drums,bass,piano, got none")
    return parts


def new_part(text: str, there: Sequence[int], what: str = "add") -> tuple[int, ...]:
    """The instrument that is added: of a program that plays already another part."""
    if text.strip().lower() == "drums":
        if DRUMS in there:
            raise UserError(f"{what}: there are drums already; --reroll makes those of a file anew")
        return (DRUMS,)
    program = _program(text, what)
    free = [one for voice in range(VOICES) if (one := instrument(program, voice)) not in there]
    if not free:
        raise UserError(f"{what}: there are {VOICES} parts of {name_of(instrument(program))} already")
    return (free[0],)


def parts_named(text: str, found: Source, what: str = "reroll") -> tuple[int, ...]:
    """Those of the file's instruments that are meant.

    Raises:
        UserError: none, or all there are.
    """
    word = text.strip().lower()
    if word == "drums":
        parts = [one for one in found.instruments if one == DRUMS]
    elif word in FAMILIES:
        parts = [one for one in found.instruments if one != DRUMS and program_of(one) // 8 == FAMILIES.index(word)]
    else:
        parts = [one for one in found.instruments if name_of(one) == word] or [
            one for one in found.instruments if one != DRUMS and program_of(one) == _program(word, what)]
    if not parts:
        raise UserError(f"{what}: the file has no {text}; it has {', '.join(map(name_of, found.instruments))}")
    return tuple(sorted(parts))


def _program(text: str, what: str) -> int:
    try:
        return program_named(text)
    except ValueError as error:
        raise UserError(f"{what}: {str(error).replace('expected ', 'expected drums, ')}") from None

