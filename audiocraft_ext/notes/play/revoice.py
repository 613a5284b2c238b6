"""Other instruments for the parts of a file: pitches, times and velocities stay.

Which instrument a part gets is said (``piano=organ``), or the model chooses (``piano``): the other programs of the
part's family are put in its place one by one, and ranked by how likely the model finds the music then. So the first
piece has the likeliest of them, the next one the second. Nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.names import program_named
from audiocraft_ext.notes.codec.multitrack import FIRST, INSTRUMENT, POSITION
from audiocraft_ext.notes.codec.score import DRUMS, VOICES, instrument, program_of
from audiocraft_ext.notes.midi import name_of
from audiocraft_ext.notes.play.recipe import CHOSEN
from audiocraft_ext.notes.play.source import Source, parts_named

FAMILY = 8  # programs


def wanted(text: str, found: Source) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The instruments of a file that are replaced, and by which, :data:`CHOSEN` where the model chooses, of a text such
    as ``bass=synth-bass,piano``.

    Raises:
        UserError: the file has no such part, there is no such instrument, or it is drums.
    """
    into: dict[int, int] = {}
    said = [one.partition("=") for one in text.split(",")]
    old = [(parts_named(part, found, "revoice"), new, equals) for part, equals, new in said]
    stay = set(found.instruments) - {part for parts, *_ in old for part in parts}
    for parts, new, equals in old:
        for part in parts:
            if part == DRUMS or new.strip().lower() == "drums":
                raise UserError("revoice: drums have sounds where others have pitches; --reroll drums makes them anew")
            if part in into:
                raise UserError(f"revoice: {name_of(part)} is named twice")
            into[part] = CHOSEN
            if equals:
                try:
                    into[part] = free(program_named(new), stay | set(into.values()))
                except ValueError as error:
                    raise UserError(f"revoice: {error}") from None
    return tuple(into), tuple(into.values())


def free(program: int, taken: Iterable[int]) -> int:
    """The instrument of a program that no other part plays.

    Raises:
        UserError: all are taken.
    """
    for voice in range(VOICES):
        if (one := instrument(program, voice)) not in taken:
            return one
    raise UserError(f"revoice: there are {VOICES} parts of {name_of(instrument(program))} already")


def left(found: Source, parts: Iterable[int], into: Iterable[int]) -> set[int]:
    """The instruments that play then; those that the model chooses are of the family that was there."""
    gone = {part for part, new in zip(parts, into) if new != CHOSEN}
    return set(found.instruments) - gone | set(into) - {CHOSEN}


def versions(codes: np.ndarray, parts: Iterable[int], into: Iterable[int],
             likely: Callable[[np.ndarray], float]) -> list[np.ndarray]:
    """Codes ``[5, T]`` with other instruments, the likeliest first. Part after part is chosen, each to those that are
    there: version i has the i-th likeliest program of each.

    Args:
        likely: how likely codes are.
    """
    note, was, codes = codes[POSITION] >= FIRST, codes[INSTRUMENT], codes.copy()
    ranks: list[tuple[np.ndarray, list[int]]] = []
    for part, new in zip(parts, into):
        if new != CHOSEN:
            codes[INSTRUMENT, note & (was == part)] = new
    for part, new in zip(parts, into):
        if new == CHOSEN:
            mine = note & (was == part)
            ranked = sorted(_kin(part), key=lambda program: -likely(_played(codes, mine, program)))
            ranks.append((mine, ranked))
            codes = _played(codes, mine, ranked[0])
    found = []
    for i in range(FAMILY - 1 if ranks else 1):
        version = codes
        for mine, ranked in ranks:
            version = _played(version, mine, ranked[i])
        found.append(version)
    return found


def _played(codes: np.ndarray, mine: np.ndarray, program: int) -> np.ndarray:
    """The codes with some of their notes, ``bool [T]``, on a program."""
    others = set(codes[INSTRUMENT, ~mine & (codes[POSITION] >= FIRST)].tolist())
    codes = codes.copy()
    codes[INSTRUMENT, mine] = free(program, others)
    return codes


def _kin(part: int) -> list[int]:
    """The other programs of its family."""
    own = int(program_of(part))
    return [program for program in range(own // FAMILY * FAMILY, own // FAMILY * FAMILY + FAMILY) if program != own]
