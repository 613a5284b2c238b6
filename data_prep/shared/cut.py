"""What ``--cut`` asks for: ``fixed:30`` seconds, ``bars:4`` on downbeats, or ``onsets`` for one-shots."""

from __future__ import annotations

import math
from dataclasses import dataclass

from audiocraft_ext.core.errors import UserError

KINDS = ("fixed:SECONDS", "bars:N", "onsets")
MOST_BARS = 64
ROW = 30.0  # seconds of a row of what is taken whole


@dataclass(frozen=True)
class Cut:
    """What ``--cut`` asks for: ``kind`` "fixed", "bars" or "onsets", and its number (seconds, bars, 0)."""

    kind: str
    size: float

    def __str__(self) -> str:
        return self.kind if self.kind == "onsets" else f"{self.kind}:{self.size:g}"

    @property
    def row_seconds(self) -> float:
        """Of the rows into which the codes of a piece are cut that is "fixed" or "whole"."""
        return self.size if self.kind == "fixed" else ROW

    @classmethod
    def parse(cls, text: str) -> Cut:
        """Raises a :class:`UserError` where the text is none."""
        kind, colon, number = text.strip().partition(":")
        if kind == "onsets" and not colon:
            return cls(kind, 0)
        try:
            size = float(number)
        except ValueError:
            size = math.nan
        if kind == "fixed" and 0.1 <= size <= 3600:
            return cls(kind, size)
        if kind == "bars" and size == int(size if math.isfinite(size) else 0) and 1 <= size <= MOST_BARS:
            return cls(kind, int(size))
        raise UserError(f"--cut is one of {', '.join(KINDS)} (0.1 to 3600 seconds, 1 to {MOST_BARS} bars), "
                        f"got {text!r}")
