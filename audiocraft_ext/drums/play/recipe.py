"""What a beat is a function of, besides its index: kept beside every beat, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import plain_stem
from audiocraft_ext.core.packing import RecipeBase
from audiocraft_ext.engine.guidance import MOST as MOST_GUIDANCE
from audiocraft_ext.engine.sampling import Sampling

CONTINUE, KEEP, HUMANISE, VARY, INFILL = "continue", "keep", "humanise", "vary", "infill"
TO, AS_IT_IS = "to", "as it is"
EDITS = (CONTINUE, KEEP, HUMANISE, VARY, INFILL, TO, AS_IT_IS)
PARTS = BOTH, VELOCITIES, OFFSETS = "both", "velocities", "offsets"  # what humanising makes anew
SCALES = ("density", "intensity", "swing")  # fields of prompts whose words are levels, the lowest first
MOST_BARS = 256
MOST_TAKES = 100
SLOWEST, FASTEST = 20.0, 400.0  # BPM
LONGEST = 3600  # seconds
FACTS = ("bars", "tempo", "meter")  # fields of prompts that are always given


@dataclass(frozen=True)
class BeatRecipe(RecipeBase):
    """Everything but the beat's index. What came from a file is in here as codes, not as the file's name.

    Attributes:
        bundle, bundle_hash: the drummer's name, and which one of that name (:attr:`Bundle.hash`, 16 digits).
        seed: with the index it decides all random numbers.
        bars: how many, with what the beat begins with.
        bpm: quarter notes a minute; ``meter``, the time signature.
        precision, backend: of the LM; another one makes other beats.
        said: the words of the prompt, one for each field.
        guidance: the weight of classifier-free guidance; 1 is no guidance.
        takes: how many candidates of each beat are sampled; the one nearest to the prompt is kept.
        edit: what is done with ``source``, packed codes of a file's drums: one of :data:`EDITS`, or "" for a new beat.
        keep: of "keep", the classes that stay; of "to", the one that plays the rhythm.
        humanise: what "humanise" makes anew; ``amount``, of "vary".
        groove: packed codes whose velocities and offsets the hits take over, in ``groove_meter``.
        span: of "infill", the first bar that is made anew and the one behind the last, from 0.
        title: of the files it came from, for the name of those that become of it; no part of what the beat is, and
            not in :meth:`to_dict`.
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
    edit: str = ""
    source: str = ""
    keep: tuple[str, ...] = ()
    humanise: str = ""
    amount: float | None = None
    groove: str = ""
    groove_meter: tuple[int, int] | None = None
    guidance: float = 1.0
    takes: int = 1
    span: tuple[int, int] | None = None
    title: str = field(default="", compare=False)

    OF = "beat"

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> BeatRecipe:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: something is missing or not known, or the beat would last too long.
        """
        recipe = super().from_dict(d)
        check_seconds(recipe.bars, recipe.bpm, recipe.meter)
        return recipe


def check_bpm(bpm: float) -> float:
    """Raises a :class:`UserError` where it is no tempo for drums."""
    if not _number(bpm) or not SLOWEST <= bpm <= FASTEST:
        raise UserError(f"bpm: a tempo is {SLOWEST:g} to {FASTEST:g} quarter notes a minute, got {bpm}")
    return float(bpm)


def check_bars(bars: int) -> int:
    """Raises a :class:`UserError` where a beat cannot have so many."""
    if not _whole(bars) or not 1 <= bars <= MOST_BARS:
        raise UserError(f"bars: a beat has 1 to {MOST_BARS}, a whole number, got {bars}")
    return int(bars)


def check_seconds(bars: int, bpm: float, meter: tuple[int, int]) -> None:
    """Raises a :class:`UserError` where a beat would last too long."""
    seconds = bars * meter[0] * 4 / meter[1] * 60 / bpm
    if seconds > LONGEST:
        raise UserError(f"bars: a beat lasts an hour at most, and {bars} of {meter[0]}/{meter[1]} at {bpm:.4g} BPM are "
                        f"{seconds / 3600:.1f} hours")


def check_takes(takes: int) -> int:
    """Raises a :class:`UserError` where it is no number of candidates."""
    if not _whole(takes) or not 1 <= takes <= MOST_TAKES:
        raise UserError(f"takes: 1 to {MOST_TAKES}, a whole number, got {takes}")
    return int(takes)


def check_seed(seed: int) -> int:
    """Raises a :class:`UserError` where it is none."""
    if not _whole(seed) or not 0 <= seed < 2**64:
        raise UserError(f"seed: a whole number from 0 to 2**64 - 1, got {seed}")
    return seed


def check_meter(meter: tuple[int, int]) -> tuple[int, int]:
    """Raises a :class:`UserError` where it is no time signature that a MIDI file can say."""
    if not _meter(tuple(meter)):
        raise UserError(f"meter: a time signature is such as 4/4, 3/4 or 6/8, got {'/'.join(map(str, meter))}")
    return tuple(meter)


def title(change: str, file: str | Path | None, groove: str | Path | None) -> str:
    """What a beat that came from files is called by, such as ``vary-mine`` or ``mine-groove-other``."""
    words = ["" if change == AS_IT_IS else change, file and plain_stem(file), groove and "groove",
             groove and plain_stem(groove)]
    return "-".join(word for word in words if word)


def one_of(what: str, text: str, words: Sequence[str]) -> str:
    """The word that ``text`` is, or is the beginning of.

    Raises:
        UserError: of none or of several; says which there are.
    """
    text = text.strip().lower()
    found = [word for word in words if word.lower() == text] or \
        [word for word in words if text and word.lower().startswith(text)]
    if len(found) != 1:
        raise UserError(f"{what}: expected one of {', '.join(words)}, got {text!r}" +
                        (f", which may be {' or '.join(found)}" if found else ""))
    return found[0]


def prompt_of(asked: Mapping[str, Any], facts: Mapping[str, str], words: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The words of the prompt, by field.

    Args:
        asked: by field a word, its beginning, or for a level its number from 1 on; None leaves the field out.
        facts: words that hold in any case, left out where the model has no such word.
        words: those of each field of the model's prompts.

    Raises:
        UserError: a field or a word that the model does not have.
    """
    prompt = {name: word for name, word in facts.items() if word in words.get(name, ())}
    for name, text in asked.items():
        if text is None:
            continue
        if name not in words:
            raise UserError(f"{name}: this model's prompts have no such field; they have {', '.join(words) or 'none'}")
        level = int(text) if name in SCALES and str(text).isdecimal() else 0
        levels = words[name]
        if not levels:
            raise UserError(f"{name}: this model knows no {name}s; leave it out")
        prompt[name] = levels[level - 1] if 1 <= level <= len(levels) else one_of(name, str(text), levels)
    return {name: prompt[name] for name in words if name in prompt}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _meter(value: Any) -> bool:
    return len(value) == 2 and all(map(_whole, value)) and 1 <= value[0] <= 64 and value[1] in (1, 2, 4, 8, 16, 32, 64)


def _tuple(value: Any) -> tuple | None:
    return None if value is None else tuple(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


BeatRecipe.GOOD = {
    "bundle": _text, "bundle_hash": _text, "seed": lambda v: _whole(v) and 0 <= v < 2**64,
    "bars": lambda v: _whole(v) and 1 <= v <= MOST_BARS, "bpm": lambda v: _number(v) and SLOWEST <= v <= FASTEST,
    "meter": _meter, "precision": _text, "backend": _text,
    "said": lambda v: isinstance(v, dict) and all(map(_text, v.values())), "edit": lambda v: v in ("", *EDITS),
    "source": _text, "keep": lambda v: all(map(_text, v)), "humanise": lambda v: v in ("", *PARTS),
    "amount": lambda v: v is None or _number(v) and 0 <= v <= 1, "groove": _text,
    "groove_meter": lambda v: v is None or _meter(v), "guidance": lambda v: _number(v) and 0 <= v <= MOST_GUIDANCE,
    "takes": lambda v: _whole(v) and 1 <= v <= MOST_TAKES,
    "span": lambda v: v is None or len(v) == 2 and all(map(_whole, v)) and 0 <= v[0] < v[1] <= MOST_BARS,
}
BeatRecipe.PARTS = {"sampling": Sampling.from_dict, **dict.fromkeys(("meter", "keep", "groove_meter", "span"), _tuple)}
