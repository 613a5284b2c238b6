"""Drums as codes ``[K, T]`` and back: a grid of steps, and two streams for each class of drums.

    stream            codes
    0 ... C - 1       velocity of class c: 0 is no hit, then ``velocities`` bins, the softest first
    C ... 2C - 1      where in its step the hit of class c lies: ``offsets`` bins from half a step before to half a
                      step behind, the middle one is on the step; the middle one too where there is no hit

A step has one hit of a class at most. :meth:`DrumGrid.canonicalize` is the one place that quantises, clips, merges and
sorts; the law is ``decode(encode(x)) == canonicalize(x)``, and canonicalising twice is once. Any codes in range decode.

Positions are ticks, which count beats and not seconds: tempo is not in the codes, and its changes are lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums.codec import drum_map
from audiocraft_ext.drums.codec.base import KIND, SPEC_BPM, STEPS, DrumCodec
from audiocraft_ext.drums.codec.clip import DrumClip, Hits
from audiocraft_ext.drums.codec.drum_map import DrumMap
from audiocraft_ext.drums.codec.pattern import Pattern

NAME = "drum_grid"
__all__ = ["KIND", "NAME", "SPEC_BPM", "STEPS", "DrumGrid"]


@dataclass(frozen=True)
class DrumGrid(DrumCodec):
    """The codec ``drum_grid``.

    Args:
        drums: the classes.
        steps: in a bar of 4/4: 12, 16, 24, 32 or 48. Another bar has as many as its length asks for.
        velocities: bins for 1 to 127.
        offsets: bins in a step, an odd number.

    Raises:
        UserError: naming what is out of range.
    """

    drums: DrumMap = field(default_factory=lambda: drum_map.load("drums12"))
    steps: int = 16
    velocities: int = 32
    offsets: int = 25
    reach: ClassVar[Fraction] = Fraction(1, 2)

    def __post_init__(self) -> None:
        self.check_steps()
        if not 1 <= self.velocities <= 127:
            raise UserError(f"velocities: expected 1 to 127 bins, got {self.velocities}")
        if not (1 <= self.offsets < self.step_ticks and self.offsets % 2):  # a bin is more than a tick wide
            raise UserError(f"offsets: expected an odd number of bins from 1 to {self.step_ticks - 1} (a step has "
                            f"{self.step_ticks} ticks), got {self.offsets}")

    @property
    def on_step(self) -> int:
        """The offset code of a hit exactly on its step, and of no hit."""
        return self.offsets // 2

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each stream uses, ``[K]``; what lies from there up to ``card`` never occurs."""
        return (self.velocities + 1,) * self.classes + (self.offsets,) * self.classes

    @property
    def spec(self) -> Spec:
        """K = two streams a class, ``card`` that of the largest stream. An offset counts only where there is a hit.

        A frame is a step, which is no fixed time: ``frame_rate`` is the steps a second at 120 BPM (8 for 16 a bar), so
        what counts in it (hours of a store, a training segment) is time at that tempo.
        """
        gates = tuple((self.classes + drum, drum, self.on_step) for drum in range(self.classes))
        return Spec(KIND, 2 * self.classes, max(self.sizes), self.steps / 4 * SPEC_BPM / 60, (0,) * 2 * self.classes,
                    NAME, self.hash, self.sizes, gates)

    def to_dict(self) -> dict:
        return {"steps": self.steps, "velocities": self.velocities, "offsets": self.offsets,
                "map": self.drums.to_dict()}

    @classmethod
    def from_dict(cls, values: dict) -> DrumGrid:
        try:
            return cls(DrumMap.from_dict(values["map"]), values["steps"], values["velocities"], values["offsets"])
        except (KeyError, TypeError) as error:
            raise UserError(f"not a drum_grid: {error!r} in {values}") from None

    def place(self, clip: DrumClip) -> tuple[np.ndarray, np.ndarray]:
        """The step that each note is nearest to, of two the later, and in which bin of it it lies."""
        at, whole = clip.notes[:, 0] * self.steps, 4 * clip.ticks_per_beat  # a step is whole / steps: all in integers
        step = (2 * at + whole) // (2 * whole)
        return step, (2 * (at - step * whole) + whole) * self.offsets // (2 * whole)

    def same(self, step: np.ndarray, drum: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
        return [step, drum]

    def ticks(self, hits: Hits) -> np.ndarray:
        """The middle of their bin."""
        shift = 2 * (hits.offset - self.on_step) * self.step_ticks + self.offsets
        return np.maximum(hits.step * self.step_ticks + shift // (2 * self.offsets), 0)

    def table(self, hits: Hits, steps: int) -> np.ndarray:
        """Hits in ``[0, steps)`` as codes ``uint16 [K, steps]``."""
        codes = np.zeros((2 * self.classes, steps), np.uint16)
        codes[self.classes :] = self.on_step
        codes[hits.drum, hits.step] = hits.velocity
        codes[self.classes + hits.drum, hits.step] = hits.offset
        return codes

    def codes_of(self, hits: Hits, bars: int, bar_steps: int) -> np.ndarray:
        return self.table(hits, bars * bar_steps)

    def decode(self, codes: np.ndarray, bpm: float = 120.0, meter: tuple[int, int] = (4, 4)) -> DrumClip:
        """A clip of any codes ``[K, T]`` in range; where T ends inside a bar, that bar is filled up with rests.

        Raises:
            ValueError: codes that are not in range.
        """
        codes = self.checked(codes)
        step, drum = np.nonzero(codes[: self.classes].T)
        hits = Hits(step, drum, codes[drum, step], codes[self.classes + drum, step], np.arange(len(step)))
        bars = max(1, -(-codes.shape[1] // self.steps_per_bar(meter)))
        return self.clip(hits, bars, DrumClip(np.zeros((0, 3)), bpm=bpm, meter=meter))

    def pattern(self, codes: np.ndarray, meter: tuple[int, int] = (4, 4)) -> Pattern:
        """The hits of codes ``[K, T]``; velocities and offsets are the middle of their bins."""
        steps = self.steps_per_bar(meter)
        step, drum = np.nonzero(np.asarray(codes)[: self.classes].T)
        velocity = codes[drum, step].astype(np.int64)
        offset = (codes[self.classes + drum, step].astype(np.int64) - self.on_step) / self.offsets
        hits = Hits(step, drum, velocity, velocity, step)
        return Pattern(step, drum, self.loudness(hits).astype(np.float64), offset,
                       max(1, -(-np.shape(codes)[1] // steps)), steps, self.steps // 4)

    def codes(self, pattern: Pattern) -> np.ndarray:
        """Codes ``uint16 [K, T]`` of a pattern on this grid, T the steps of all its bars: ``codes(pattern(x)) == x``
        for any codes of whole bars that rest where there is no hit."""
        velocity = np.clip(np.round(pattern.velocity), 1, 127).astype(np.int64)
        offset = np.clip(np.round(pattern.offset * self.offsets).astype(np.int64) + self.on_step, 0, self.offsets - 1)
        return self.table(Hits(pattern.step, pattern.drum, 1 + (velocity - 1) * self.velocities // 127, offset,
                               pattern.step), pattern.steps)

    def hits_of(self, codes: np.ndarray) -> tuple[slice, slice, np.ndarray]:
        """The streams of velocities and those of offsets, and where in them hits are, ``bool [C, T]``."""
        return slice(0, self.classes), slice(self.classes, 2 * self.classes), codes[: self.classes] > 0
