"""What stands in a chain of weird tools, from text to values and back: times, codebooks, shares, names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from audiocraft_ext.audio.weird.tools import PICKS
from audiocraft_ext.core.errors import UserError

BEATS_PER_BAR = 4
MAX_TIMES = 1000


@dataclass(frozen=True)
class Time:
    """A time as it was typed: exact, and a frame only once tempo and frame rate are known."""

    value: Fraction
    unit: str  # b, bar, s or f

    def __str__(self) -> str:
        decimal = str(float(self.value)).removesuffix(".0")
        plain = self.unit in "sf" and "e" not in decimal and Fraction(decimal) == self.value  # beats are fractions
        return f"{decimal if plain else self.value}{self.unit}"

    def frames(self, frame_rate: float, bpm: float | None) -> Fraction:
        """In frames, exactly.

        Raises:
            UserError: beats, and ``bpm`` is None.
        """
        if self.unit == "f":
            return self.value
        if self.unit == "s":
            return self.value * Fraction(frame_rate)
        if bpm is None:
            raise UserError(f"{self} is in beats and the clip has no tempo; give --bpm, or seconds (2s) or frames (9f)")
        if not 0 < bpm < float("inf"):
            raise UserError(f"expected a tempo above 0, got {bpm}")
        return self.value * (BEATS_PER_BAR if self.unit == "bar" else 1) * 60 / Fraction(bpm) * Fraction(frame_rate)


@dataclass(frozen=True)
class Books:
    """Codebooks as they were typed: ranges, the last of one may be None (to the last there is)."""

    ranges: tuple[tuple[int, int | None], ...]

    def __str__(self) -> str:
        return "+".join(str(a) if a == b else f"{a}-{'' if b is None else b}" for a, b in self.ranges)

    def of(self, n_q: int) -> list[int]:
        """Their numbers, each once."""
        for a, b in self.ranges:
            if max(a, b or 0) >= n_q:
                raise UserError(f"codebooks {self}: the clip has {n_q}, numbered 0 to {n_q - 1}")
        return sorted({k for a, b in self.ranges for k in range(a, n_q if b is None else b + 1)})


def read_time(text: str) -> Time:
    if re.fullmatch(r"[+-]?0+", text):
        return Time(Fraction(0), "f")
    found = re.fullmatch(r"([+-]?(?:\d{1,9}(?:/\d{1,9})?|\d{0,9}\.\d{1,9}))\s*(bars?|b|ms|s|f)", text)
    if not found:
        raise ValueError
    value, unit = Fraction(found[1]), found[2].replace("bars", "bar")  # 1/0 is a ZeroDivisionError
    return Time(value / 1000, "s") if unit == "ms" else Time(value, unit)


def read_length(text: str) -> Time:
    time = read_time(text)
    if time.value <= 0:
        raise ValueError
    return time


def read_books(text: str) -> Books:
    if text == "all":
        return Books(((0, None),))
    ranges = []
    for part in re.split(r"[+,]", text):
        found = re.fullmatch(r"\s*(\d{1,9})\s*(-\s*(\d{0,9}))?\s*", part)
        if not found:
            raise ValueError
        a = int(found[1])
        b = a if found[2] is None else int(found[3]) if found[3] else None
        if b is not None and b < a:
            raise ValueError
        ranges.append((a, b))
    return Books(tuple(ranges))


def read_share(text: str) -> float:
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def read_whole(text: str, least: int | None = None, most: int | None = None) -> int:
    value = int(text)
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError
    return value


def read_pick(text: str) -> str:
    if text not in PICKS:
        raise ValueError
    return text


def read_name(text: str) -> str:
    if not text:
        raise ValueError
    return text


TIME = "a time with its unit (2b beats, 1/4b, 1bar, 0.5s, 80ms or 10f frames)"
VALUES: dict[str, tuple[Callable, str]] = {  # what may stand in a link: how it is read, and what it is in words
    "with": (read_name, "another clip, the path of its WAV or JSON"),
    "model": (read_name, "another instrument, a bundle's name or folder"),
    "share": (read_share, "a share from 0 to 1 or 0% to 100%"),
    "pick": (read_pick, " or ".join(PICKS)),
    "by": (read_time, TIME),
    "add": (read_whole, "a whole number"),
    "keep": (read_books, "codebooks such as 0, 0-1 or 0+2"),
    "books": (read_books, "codebooks such as 0, 1-3, 1- or 0+2"),
    "at": (read_time, TIME),
    "from": (read_time, TIME),
    "len": (read_length, TIME + " above 0"),
    "every": (read_length, TIME + " above 0"),
    "times": (lambda text: read_whole(text, 1, MAX_TIMES), f"a number from 1 to {MAX_TIMES}"),
    "seed": (lambda text: read_whole(text, 0, 2**64 - 1), "a whole number from 0 to 2**64 - 1"),
}


def guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {close[0]!r}?" if close else ""


def split(text: str, mark: str) -> list[str]:
    """Cut at ``mark``, but not within quotes; a quote opens right after ``=`` only (don't.wav needs none)."""
    parts, quote, before = [""], "", ""
    for c in text:
        if quote:
            before, quote = ("closed", "") if c == quote else ("", quote)
        elif c in "'\"" and (before == "=" or (before == "closed" and parts[-1][-1:] == c)):  # a doubled one goes on
            quote = c
        elif c == mark:
            parts.append("")
            before = ""
            continue
        elif not c.isspace():
            before = c
        parts[-1] += c
    if quote:
        raise UserError(f"a quote is open: {parts[-1].strip()}")
    return parts


def assignments(text: str, tool: str, known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """``name=value, ...``; a part without ``=`` belongs to the value before it (``books=0,2``)."""
    joined: list[str] = []
    for part in split(text, ",") if text.strip() else []:
        if "=" in part:
            joined.append(part)
        elif joined:
            joined[-1] += "," + part
        else:
            raise UserError(f"{tool}: expected name=value, got {part.strip()!r}; it takes {', '.join(known)}")
    for part in joined:
        name, _, value = part.partition("=")
        value = value.strip()
        if value[:1] in ("'", '"'):
            if len(value) < 2 or value[-1] != value[0]:
                raise UserError(f"{tool}: {value} goes on after its quote; quotes go round the whole")
            value = value[1:-1].replace(value[0] * 2, value[0])
        yield name.strip(), value


def quoted(text: str) -> str:
    plain = text == text.strip() and not re.search(r"[;,'\"]", text)
    return text if plain else "'" + text.replace("'", "''") + "'"
