"""What a sound file promises and what is there: one rule for all formats.

A header that promises a little more than there is costs nothing: programs count wrongly, players cut the start of a
lossy coding off, a recorder lost its last block. So a file is read, with a note, that lacks at most :data:`SHARE` of
its length and :data:`SLACK` seconds; one that lacks more is truncated, and refused. What was never filled in (a size of
0), or says nothing, is no promise: as much is read as there is. Length is counted in samples; a clock that jumps, forth
or back, is no loss.
"""

from __future__ import annotations

from pathlib import Path

from audiocraft_ext.core.errors import UserError

SHARE, SLACK = 0.01, 0.05  # of the length, and s


class BrokenAudio(UserError):
    """A sound file that cannot be used; the message names it and says why."""


def check(path: Path, got: float, said: float, seconds: float | None, unit: str, notes: list[str],
          least: bool = False) -> None:
    """Compare what is there with what was promised.

    Args:
        got, said: in ``unit``.
        seconds: how long ``got`` lasts; None where that is not known, then the share alone counts.
        notes: takes up what lacks a little.
        least: ``said`` is the least that is expected; nothing of it may be missing.

    Raises:
        BrokenAudio: more than a little is missing.
    """
    if got >= said:
        return
    form = ".2f" if unit == "seconds" else ".0f"
    found = f"{got:{form}} of {said:{form}} {unit} are there"
    slack = SLACK * got / seconds if seconds else 0.0  # in units
    if least or said - got > SHARE * said + slack:
        raise BrokenAudio(f"{path}: truncated, {found}")
    notes.append(f"a little short: {found}")
