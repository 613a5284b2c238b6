"""Drums as codes ``[4, T]`` and back: a frame for each hit and one for each bar line, one after the other.

    stream          codes
    0  position     0: here a bar begins; else 1 + the step of the bar
    1  instrument   the class
    2  velocity     one less than itself, 1 to 127
    3  offset       from the step, in 1/24 of it: 12 is on it, 0 half a step before

Each bar begins with its line, so T = hits + bars; at a line the other streams rest at 0. Hits are sorted by time and
then class. Rolls, flams and ghost notes stay: what is lost is time below 1/24 step (1/96 of a beat with 16 steps, an
error of at most 2.6 ms at 120 BPM), and of hits of one class in the same 1/24 all but the loudest.

The law is ``decode(encode(x)) == canonicalize(x)``, and canonicalising twice is once. Any codes in range decode: in
any order, hits before the first line into the first bar, and those at steps that the bar has not are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import ClassVar

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums.codec import drum_map
from audiocraft_ext.drums.codec.base import KIND, SPEC_BPM, DrumCodec
from audiocraft_ext.drums.codec.clip import DrumClip, Hits
from audiocraft_ext.drums.codec.drum_map import DrumMap
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.midi.file import TICKS

NAME = "drum_hits"
POSITION, INSTRUMENT, VELOCITY, OFFSET = range(4)
OFFSETS, ON_STEP = 24, 12  # parts of a step, and which of them is on it
LONGEST = 2  # bars of 4/4 that a bar may have


@dataclass(frozen=True)
class DrumHits(DrumCodec):
    """The codec ``drum_hits``.

    Args:
        drums: the classes.
        steps: in a bar of 4/4: 12, 16, 24, 32 or 48. Bars may be up to 8/4 long.

    Raises:
        UserError: other steps.
    """

    drums: DrumMap = field(default_factory=lambda: drum_map.load("drums12"))
    steps: int = 16
    velocities: ClassVar[int] = 127
    offsets: ClassVar[int] = OFFSETS
    reach: ClassVar[Fraction] = Fraction(ON_STEP, OFFSETS) + Fraction(1, 2 * OFFSETS)  # with what rounds up to it

    def __post_init__(self) -> None:
        self.check_steps()

    @property
    def sizes(self) -> tuple[int, ...]:
        return (1 + LONGEST * self.steps, self.classes, self.velocities, OFFSETS)

    @property
    def spec(self) -> Spec:
        """K = 4, each stream later by one than the one before it: it is chosen knowing those.

        A frame is a hit or a bar line, and no time at all: ``frame_rate`` is that of a grid with as many steps.
        """
        return Spec(KIND, 4, max(self.sizes), self.steps / 4 * SPEC_BPM / 60, (0, 1, 2, 3), NAME, self.hash,
                    self.sizes, tuple((stream, POSITION, 0) for stream in (INSTRUMENT, VELOCITY, OFFSET)))

    def to_dict(self) -> dict:
        return {"steps": self.steps, "map": self.drums.to_dict()}

    @classmethod
    def from_dict(cls, values: dict) -> DrumHits:
        try:
            return cls(DrumMap.from_dict(values["map"]), values["steps"])
        except (KeyError, TypeError) as error:
            raise UserError(f"not a drum_hits: {error!r} in {values}") from None

    def steps_per_bar(self, meter: tuple[int, int]) -> int:
        steps = super().steps_per_bar(meter)
        if steps > LONGEST * self.steps:
            raise UserError(f"{NAME} has bars up to {4 * LONGEST}/4, and {meter[0]}/{meter[1]} is longer; drum_grid "
                            "has it")
        return steps

    def place(self, clip: DrumClip) -> tuple[np.ndarray, np.ndarray]:
        """The step of the nearest 1/24 of a step, of two the later."""
        whole = 4 * clip.ticks_per_beat  # a step is whole / steps ticks: all in integers
        at = (2 * OFFSETS * clip.notes[:, 0] * self.steps + whole) // (2 * whole) + ON_STEP
        return at // OFFSETS, at % OFFSETS

    def same(self, step: np.ndarray, drum: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
        return [step, offset, drum]

    def ticks(self, hits: Hits) -> np.ndarray:
        at = OFFSETS * hits.step + hits.offset - ON_STEP  # a part is 4 * TICKS / (OFFSETS * steps) ticks
        whole = OFFSETS * self.steps
        return np.maximum((8 * TICKS * at + whole) // (2 * whole), 0)

    def inside(self, clip: DrumClip) -> tuple[Hits, int]:
        hits, bars = super().inside(clip)
        return self._begun(hits), bars

    def codes_of(self, hits: Hits, bars: int, bar_steps: int) -> np.ndarray:
        bar = hits.step // bar_steps
        codes = np.zeros((4, len(hits) + bars), np.uint16)  # [4, T]
        codes[:, np.arange(len(hits)) + bar + 1] = (1 + hits.step % bar_steps, hits.drum, hits.velocity - 1,
                                                    hits.offset)
        return codes

    def decode(self, codes: np.ndarray, bpm: float = 120.0, meter: tuple[int, int] = (4, 4)) -> DrumClip:
        """A clip of any codes ``[4, T]`` in range, of as many bars as there are lines, one at least.

        Raises:
            ValueError: codes that are not in range.
        """
        hits, bars = self._hits(self.checked(codes), self.steps_per_bar(meter))
        return self.clip(self._begun(hits), bars, DrumClip(np.zeros((0, 3)), bpm=bpm, meter=meter))

    def pattern(self, codes: np.ndarray, meter: tuple[int, int] = (4, 4)) -> Pattern:
        """The hits of codes ``[4, T]``, as :meth:`decode` reads them; a class may hit several times in a step."""
        bar_steps = self.steps_per_bar(meter)
        hits, bars = self._hits(np.asarray(codes).astype(np.int64), bar_steps)
        hits = hits.at(np.lexsort((hits.offset, hits.drum, hits.step)))
        return Pattern(hits.step, hits.drum, hits.velocity.astype(np.float64), (hits.offset - ON_STEP) / OFFSETS, bars,
                       bar_steps, self.steps // 4, rolls=True)

    def codes(self, pattern: Pattern) -> np.ndarray:
        """Codes ``uint16 [4, T]`` of a pattern on these steps: ``codes(pattern(x)) == x`` for what was encoded."""
        velocity = np.clip(np.round(pattern.velocity), 1, 127).astype(np.int64)
        offset = np.clip(np.round(pattern.offset * OFFSETS).astype(np.int64) + ON_STEP, 0, OFFSETS - 1)
        hits = self.merged(Hits(pattern.step, pattern.drum, velocity, offset, np.arange(len(pattern))))
        return self.codes_of(hits, pattern.bars, pattern.bar_steps)

    def hits_of(self, codes: np.ndarray) -> tuple[slice, slice, np.ndarray]:
        """The stream of velocities and that of offsets, and where in them hits are, ``bool [1, T]``."""
        return slice(VELOCITY, VELOCITY + 1), slice(OFFSET, OFFSET + 1), codes[POSITION : POSITION + 1] > 0

    def _hits(self, codes: np.ndarray, bar_steps: int) -> tuple[Hits, int]:
        """The hits of codes ``int64 [4, T]``, and how many bars there are."""
        line = codes[POSITION] == 0
        at = np.flatnonzero(~line & (codes[POSITION] <= bar_steps))
        bar = np.maximum(np.cumsum(line)[at] - 1, 0)
        hits = Hits(bar * bar_steps + codes[POSITION, at] - 1, codes[INSTRUMENT, at], codes[VELOCITY, at] + 1,
                    codes[OFFSET, at], at)
        return self.merged(hits), max(1, int(line.sum()))

    def _begun(self, hits: Hits) -> Hits:
        """What is before the first bar line, on it."""
        before = (hits.step == 0) & (hits.offset < ON_STEP)
        return self.merged(replace(hits, offset=np.where(before, ON_STEP, hits.offset))) if before.any() else hits
