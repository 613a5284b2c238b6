"""Which drum a MIDI pitch is: a map from pitches to classes, read from JSON.

    {"name": "mine", "unmapped": "drop",
     "classes": [{"name": "kick", "write": 36, "pitches": [35, 36]},
                 {"name": "snare", "write": 38, "pitches": [38, 40]}]}

The order of the classes is that of the codec's streams. ``write`` is the pitch with which a class is written, one of
its own, so that what was written is read as the same. ``unmapped`` says where all other pitches go: "drop", or the name
of a class.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError

SHIPPED = Path(__file__).parents[2] / "maps"
DROP = "drop"
PITCHES = 128
MOST_CLASSES = 64


@dataclass(frozen=True)
class DrumClass:
    """A stream of its own: its ``name``, the ``pitches`` that are read as it, and the one that it is written with."""

    name: str
    write: int
    pitches: tuple[int, ...]


@dataclass(frozen=True)
class DrumMap:
    """Classes of drums.

    Attributes:
        name: for people; two maps of the same classes are the same map.
        unmapped: the name of the class that takes all other pitches, or "drop".

    Raises:
        UserError: pitches that are none or are in two classes, a ``write`` that is not among its own, names twice.
    """

    name: str
    classes: tuple[DrumClass, ...]
    unmapped: str = DROP

    def __post_init__(self) -> None:
        names = [one.name for one in self.classes]
        if not 1 <= len(names) <= MOST_CLASSES:
            raise UserError(f"map {self.name}: expected 1 to {MOST_CLASSES} classes, got {len(names)}")
        if twice := [name for name in names if names.count(name) > 1 or name == DROP]:
            raise UserError(f"map {self.name}: {twice[0]!r} cannot be the name of a class" if twice[0] == DROP else
                            f"map {self.name}: two classes are called {twice[0]!r}")
        owner: dict[int, str] = {}
        for one in self.classes:
            for pitch in one.pitches:
                if not 0 <= pitch < PITCHES:
                    raise UserError(f"map {self.name}: pitches are 0 to {PITCHES - 1}, {one.name!r} has {pitch}")
                if pitch in owner:
                    where = f"in {owner[pitch]!r} and in" if owner[pitch] != one.name else "twice in"
                    raise UserError(f"map {self.name}: pitch {pitch} is {where} {one.name!r}; a pitch is one drum")
                owner[pitch] = one.name
            if one.write not in one.pitches:
                raise UserError(f"map {self.name}: {one.name!r} is written as {one.write}, which is not among its "
                                f"pitches {list(one.pitches)}; what is written must be read as the same")
        if self.unmapped not in (DROP, *names):
            raise UserError(f"map {self.name}: unmapped is {DROP!r} or one of {', '.join(names)}, "
                            f"got {self.unmapped!r}")

    def table(self) -> np.ndarray:
        """The class of each pitch, ``int64 [128]``; -1 is dropped."""
        names = [one.name for one in self.classes]
        table = np.full(PITCHES, names.index(self.unmapped) if self.unmapped != DROP else -1)
        for i, one in enumerate(self.classes):
            table[list(one.pitches)] = i
        return table

    def known(self) -> np.ndarray:
        """Whether a pitch is in a class by its own right, ``bool [128]``."""
        known = np.zeros(PITCHES, bool)
        known[[pitch for one in self.classes for pitch in one.pitches]] = True
        return known

    def to_dict(self) -> dict:
        return {"name": self.name, "unmapped": self.unmapped, "classes": [
            {"name": one.name, "write": one.write, "pitches": list(one.pitches)} for one in self.classes]}

    @classmethod
    def from_dict(cls, values: object, where: str = "a map of drums") -> DrumMap:
        """Raises a :class:`UserError` where the values are none; ``where`` they come from is in the message."""
        try:
            name, unmapped = values.get("name", "unnamed"), values.get("unmapped", DROP)
            classes = tuple(DrumClass(one["name"], one["write"], tuple(one["pitches"])) for one in values["classes"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: expected classes with name, write and pitches ({error!r})") from None
        texts = [name, unmapped, *(one.name for one in classes)]
        numbers = [number for one in classes for number in (one.write, *one.pitches)]
        if not all(isinstance(text, str) and text for text in texts) or not all(type(n) is int for n in numbers):
            raise UserError(f"{where}: names are texts and pitches whole numbers")
        return cls(name, classes, unmapped)


def load(name: str | Path) -> DrumMap:
    """A map by its name, ``drums9`` or ``drums12``, or by the path of a JSON.

    Raises:
        UserError: there is none, or it is not a map.
    """
    path = SHIPPED / f"{name}.json"
    if str(name) not in shipped():
        path = Path(name)
        if not path.is_file():
            raise UserError(f"no map of drums {str(name)!r}: expected one of {', '.join(shipped())}, or the path of a "
                            "JSON file")
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a map of drums, which is a JSON file ({error})") from None
    return DrumMap.from_dict(values, str(path))


def shipped() -> list[str]:
    """Names of the maps that are there."""
    return sorted((path.stem for path in SHIPPED.glob("*.json")), key=lambda name: (len(name), name))
