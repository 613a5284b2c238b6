"""The table of a grid on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sweep.summary import DONE, FAILED, KINDS, RUNNING, Row, left_of_all

WIDEST = 24  # characters of a setting
ESCAPE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\x1b\]8;;.*?\x1b\\")
COLOURS = {DONE: "32", RUNNING: "36", "waiting": "2", FAILED: "31", "timeout": "31", "out of memory": "31"}
ATTENTION = "33"  # stopped, interrupted, cancelled


@dataclass(frozen=True)
class Column:
    """One column: ``value`` sorts, ``text`` is shown; ``keep``: the lowest goes first where the line is too short."""

    name: str
    value: Callable[[Row], object]
    text: Callable[[Row], str]
    right: bool = True
    keep: int = 100


def span(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3.4 h``, ``2.1 d``."""
    if seconds is None:
        return ""
    for unit, size, below in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if round(seconds / size) * size < below:
            return f"{seconds / size:.1f} {unit}" if unit == "h" and seconds < 36000 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} d"


def count(number: float | None) -> str:
    """``950``, ``12.3k``, ``4.56M``."""
    if number is None:
        return ""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _progress(row: Row) -> str:
    return "" if row.step is None else f"{count(row.step)}/{count(row.steps)}" if row.steps else count(row.step)


def _epochs(row: Row) -> str:
    return "" if row.epoch is None else f"{row.epoch}/{row.epochs}" if row.epochs else str(row.epoch)


def _sounds(row: Row) -> str:
    return shown(row.samples) if row.samples else ""


def shown(path: Path) -> str:
    """As one would type it here."""
    path = Path(os.path.abspath(path))
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def columns(rows: Sequence[Row]) -> list[Column]:
    """All there are: of the settings, those in which the runs differ."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    made = [Column("#", lambda row: row.index, lambda row: str(row.index))]
    made += [Column(key, lambda row, key=key: number(row.settings.get(key, "")),
                    lambda row, key=key: _shortened(row.settings.get(key, "")), keep=95 - i,
                    right=all(isinstance(number(row.settings.get(key, "")), float) for row in rows))
             for i, key in enumerate(keys)]
    judged = [Column(name, lambda row, name=name: row.judged.get(name), keep=45,
                     text=lambda row, name=name: loss(row.judged.get(name)))
              for name in dict.fromkeys(name for row in rows for name in row.judged)]
    return made + [
        Column("state", lambda row: row.state, lambda row: row.state, right=False),
        Column("epoch", lambda row: row.epoch, _epochs, keep=20),
        Column("step", lambda row: row.step, _progress, keep=90),
        Column("train", lambda row: row.train, lambda row: loss(row.train), keep=70),
        Column("valid", lambda row: row.valid, lambda row: loss(row.valid), keep=40),
        Column("best", lambda row: row.best, lambda row: loss(row.best)),
        *judged,
        Column("tok/s", lambda row: row.tokens_s, lambda row: count(row.tokens_s), keep=60),
        Column("left", lambda row: row.left_s, lambda row: span(row.left_s), keep=80),
        Column("tries", lambda row: row.tries, lambda row: str(row.tries) if (row.tries or 0) > 1 else "", keep=10),
        Column("sig", lambda row: row.sig, lambda row: row.sig, right=False, keep=50),
        Column("sounds", lambda row: row.samples and str(row.samples), _sounds, right=False, keep=30),
    ]


def number(text: str) -> float | str:
    """For sorting: the number that a text is, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def _shortened(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def ordered(rows: Sequence[Row], by: str | None = None) -> list[Row]:
    """Sorted by a column, ``best`` unless told otherwise; with ``-`` before its name the largest first. Runs without a
    value come last, in the order of the grid.

    Raises:
        UserError: there is no such column.
    """
    by = by or "best"
    down, name = by.startswith("-"), by.removeprefix("-")
    there = {column.name: column for column in columns(rows)}
    if name not in there:
        raise UserError(f"--sort {by}: no such column; there are {', '.join(there)}")
    value = there[name].value
    has = [row for row in rows if value(row) not in (None, "")]
    has.sort(key=lambda row: (isinstance(value(row), str), value(row)), reverse=down)
    return has + [row for row in rows if value(row) in (None, "")]


def table(rows: Sequence[Row], sort: str | None = None, width: int = 80, terminal: bool = False) -> str:
    """The whole picture: rows, a line for each that failed, and the sum.

    Args:
        terminal: with colours and links.
    """
    rows = ordered(rows, sort)
    picked = [column for column in columns(rows) if any(column.text(row) for row in rows)]
    links = terminal and any(row.samples for row in rows)
    cells = {column.name: [_link_text(row) if links and column.name == "sounds" else column.text(row) for row in rows]
             for column in picked}
    wide = {name: max(len(name), *map(len, texts)) for name, texts in cells.items()}
    while sum(wide[column.name] + 2 for column in picked) - 2 > width and len(picked) > 1:
        least = min(picked, key=lambda column: column.keep)
        if least.keep == 100:
            break
        picked.remove(least)
    best = min((row.best for row in rows if row.best is not None), default=None)
    lines = [_paint("  ".join(_aligned(column.name, wide, column) for column in picked).rstrip(), "1", terminal)]
    for i, row in enumerate(rows):
        line = [_painted(_aligned(cells[column.name][i], wide, column), column, row, best, terminal)
                for column in picked]
        lines.append("  ".join(line).rstrip())
    for row in rows:
        if row.error:
            where = f" ({shown(row.log)})" if row.log and row.log.exists() else ""
            lines.append(_paint(f"#{row.index}: {row.error}{where}", "31", terminal))
    return "\n".join([*lines, total(rows)])


def _link_text(row: Row) -> str:
    return row.samples.name if row.samples else ""


def _aligned(text: str, wide: dict[str, int], column: Column) -> str:
    return text.rjust(wide[column.name]) if column.right else text.ljust(wide[column.name])


def _painted(text: str, column: Column, row: Row, best: float | None, terminal: bool) -> str:
    if not terminal:
        return text
    if column.name == "state":
        return _paint(text, COLOURS.get(row.state, ATTENTION))
    if column.name == "best" and row.best is not None and row.best == best:
        return _paint(text, "1;32")
    target = {"sounds": row.samples, "sig": row.folder}.get(column.name)
    return _link(text, target) if target else text


def _paint(text: str, code: str, terminal: bool = True) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if terminal else text


def _link(text: str, path: Path) -> str:
    """A hyperlink where the terminal knows them (OSC 8); elsewhere the text alone is seen."""
    return f"\x1b]8;;{Path(os.path.abspath(path)).as_uri()}\x1b\\{text}\x1b]8;;\x1b\\"


def total(rows: Sequence[Row]) -> str:
    """``2 done, 1 running, 1 waiting; 12 min left``."""
    counts = {kind: sum(row.state in states for row in rows) for kind, states in KINDS.items()}
    words = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    left = left_of_all(rows)
    return words + (f"; about {span(left)} left" if left is not None else "")


class Screen:
    """Where the table goes: on a terminal each takes the place of the last; elsewhere it is printed when a run began,
    ended or made sounds, and every ``every_s`` seconds if a validation is new."""

    def __init__(self, write: Callable[..., None] = print, terminal: bool | None = None, every_s: float = 300.0):
        self.write, self.every_s = write, every_s
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" if terminal is None else terminal
        self._lines, self._states, self._losses, self._printed = 0, None, None, 0.0

    def show(self, rows: Sequence[Row], sort: str | None = None, note: str = "") -> bool:
        """Draw the table, and on a terminal ``note`` below it; whether there were such news."""
        size = shutil.get_terminal_size((120, 40))
        states, losses = [(row.state, row.samples, row.error) for row in rows], [row.valid for row in rows]
        late = time.monotonic() - self._printed >= self.every_s
        fresh = states != self._states or late and losses != self._losses
        if fresh:
            self._states, self._losses, self._printed = states, losses, time.monotonic()
        if self.terminal:
            lines = [fitted(line, size.columns) for line in table(rows, sort, size.columns, True).split("\n")]
            lines += [fitted(note, size.columns)] if note else []
            if len(lines) > size.lines - 1 and size.lines > 4:  # what has left the screen cannot be drawn over
                hidden = len(lines) - (size.lines - 3)
                lines = [*lines[: size.lines - 3], f"... {hidden} more lines; a higher window shows them", lines[-1]]
            up = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
            self.write(up + "\n".join(lines), flush=True)  # the cursor is below, where a message may come
            self._lines = len(lines)
        elif fresh:
            self.write(table(rows, sort, size.columns) + "\n", flush=True)
        return fresh

    def end(self, note: str = "") -> None:
        """The last word; ``note`` may be new since the table was shown."""
        if note:
            self.write(note, flush=True)


def fitted(line: str, width: int) -> str:
    """Cut to ``width`` characters that are seen, so that no line takes two."""
    if len(ESCAPE.sub("", line)) <= width:
        return line
    out, seen, at = [], 0, 0
    while at < len(line):
        if escape := ESCAPE.match(line, at):
            out.append(escape.group())
            at = escape.end()
            continue
        if seen < width - 1:
            out.append(line[at])
        elif seen == width - 1:
            out.append("…")
        seen, at = seen + 1, at + 1
    return "".join(out)
