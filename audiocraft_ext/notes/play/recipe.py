"""What a piece is a function of, besides its index: kept beside every piece, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import RecipeBase
from audiocraft_ext.engine.guidance import MOST as MOST_GUIDANCE
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.notes.codec.score import INSTRUMENTS as MOST_INSTRUMENTS
from audiocraft_ext.notes.describe import INSTRUMENTS, LEVELS, MEASURED, NO, YES

CONTINUE, ADD, REROLL, INFILL, REVOICE, BUILD = "continue", "add", "reroll", "infill", "revoice", "build"
AS_IT_IS = "as it is"
EDITS = (CONTINUE, ADD, REROLL, INFILL, REVOICE, AS_IT_IS)  # of a file
CHOSEN = -1  # in place of an instrument: the model chooses
MOST_BARS, MOST_TAKES = 256, 100
SLOWEST, FASTEST = 20.0, 400.0  # BPM
UNITS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class PieceRecipe(RecipeBase):
    """Everything but the piece's index. What came from a file is in here as codes, not as the file's name.

    Attributes:
        bundle, bundle_hash: the composer's name, and which one of that name (:attr:`Bundle.hash`, 16 digits).
        seed: with the index it decides all random numbers.
        bars: how many, with those that the piece begins with.
        bpm: quarter notes a minute; ``meter``, the time signature.
        precision, backend: of the LM; another one makes other pieces.
        said: the words of the prompt, one for each field.
        guidance: the weight of classifier-free guidance; 1 is no guidance.
        takes: how many candidates of each piece are sampled; the best is kept.
        edit: what is done with ``source``, packed codes of a file: one of :data:`EDITS`; :data:`BUILD` for a new piece
            of chosen parts, one after the other; "" for a new piece.
        parts: of "add", "reroll" and "build", the instruments that are made; of "revoice", those that are replaced.
        into: of "revoice", by which, or :data:`CHOSEN`.
        span: of "infill", the first bar and the one behind the last, from 0.
        title: of the file it came from, for the name of those that become of it; no part of what the piece is.
    """

    bundle: str
    bundle_hash: str
    seed: int
    bars: int
    bpm: float
    meter: tuple[int, int]
    sampling: Sampling
    precision: str = "fp32"
    backend: str = "onnx"
    said: dict[str, str] = field(default_factory=dict)
    guidance: float = 1.0
    takes: int = 1
    edit: str = ""
    source: str = ""
    parts: tuple[int, ...] = ()
    span: tuple[int, int] | None = None
    into: tuple[int, ...] = ()
    title: str = field(default="", compare=False)

    OF = "piece"


def words_of(asked: Mapping[str, Any]) -> dict[str, str]:
    """The words of a prompt that are asked for.

    Args:
        asked: by name: ``instruments`` (these and no others), ``having`` and ``without``, each names of families and
            "drums" or one text with commas; a level for ``density``, ``polyphony`` and ``register``, by its word, the
            beginning of one, or its number from 1 on.

    Raises:
        UserError: an unknown name; says which there are.
    """
    said: dict[str, str] = {}
    if chosen := families_named(asked.get("instruments")):
        said |= {name: YES if name in chosen else NO for name in INSTRUMENTS}
    said |= dict.fromkeys(families_named(asked.get("having")), YES)
    for name in families_named(asked.get("without")):
        if said.get(name) == YES:
            raise UserError(f"{name} is asked for and left out as well; take one of them")
        said[name] = NO
    for name in MEASURED:
        if (text := asked.get(name)) is not None:
            said[name] = level_named(name, str(text), LEVELS)
    return said


def families_named(text: str | Sequence[str] | None) -> list[str]:
    """Names of families, and "drums", of a text with commas."""
    names = [] if text is None else text.split(",") if isinstance(text, str) else list(text)
    return [_one_of("instruments", name, INSTRUMENTS) for name in names]


def level_named(what: str, text: str, levels: Sequence[str]) -> str:
    """A level by its word, the beginning of one, or its number from 1 on."""
    if text.isdecimal() and 1 <= int(text) <= len(levels):
        return levels[int(text) - 1]
    return _one_of(what, text, levels)


def _one_of(what: str, text: str, words: Sequence[str]) -> str:
    text = text.strip().lower()
    found = [word for word in words if word == text] or [word for word in words if text and word.startswith(text)]
    if len(found) != 1:
        raise UserError(f"{what}: expected one of {', '.join(words)}, got {text!r}" +
                        (f", which may be {' or '.join(found)}" if found else ""))
    return found[0]


def check(what: str, value: Any) -> Any:
    """The value, if the field ``what`` of a recipe can have it.

    Raises:
        UserError: it cannot; says what could be.
    """
    rules = {"bars": f"1 to {MOST_BARS}, a whole number", "bpm": f"{SLOWEST:g} to {FASTEST:g} quarter notes a minute",
             "meter": "a time signature such as 4/4, 3/4 or 6/8", "seed": "a whole number from 0 to 2**64 - 1",
             "guidance": f"0 to {MOST_GUIDANCE:g}, 1 is the model by itself",
             "takes": f"1 to {MOST_TAKES}, a whole number"}
    if not PieceRecipe.GOOD[what](value):
        raise UserError(f"{what}: expected {rules[what]}, got {value!r}")
    return value


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _tuple(value: Any) -> tuple | None:
    return None if value is None else tuple(value)


PieceRecipe.GOOD = {
    "bundle": _text, "bundle_hash": _text, "seed": lambda v: _whole(v, 0, 2**64 - 1),
    "bars": lambda v: _whole(v, 1, MOST_BARS), "bpm": lambda v: _number(v, SLOWEST, FASTEST),
    "meter": lambda v: isinstance(v, tuple) and len(v) == 2 and _whole(v[0], 1, 64) and v[1] in UNITS,
    "precision": _text, "backend": _text, "said": lambda v: isinstance(v, dict) and all(map(_text, v.values())),
    "guidance": lambda v: _number(v, 0, MOST_GUIDANCE), "takes": lambda v: _whole(v, 1, MOST_TAKES),
    "edit": lambda v: v in ("", BUILD, *EDITS), "source": _text,
    "parts": lambda v: all(_whole(one, 0, MOST_INSTRUMENTS - 1) for one in v),
    "into": lambda v: all(_whole(one, CHOSEN, MOST_INSTRUMENTS - 1) for one in v),
    "span": lambda v: v is None or len(v) == 2 and _whole(v[0], 0, MOST_BARS) and _whole(v[1], v[0] + 1, MOST_BARS),
}
PieceRecipe.PARTS = {"sampling": Sampling.from_dict, **dict.fromkeys(("meter", "parts", "span", "into"), _tuple)}
