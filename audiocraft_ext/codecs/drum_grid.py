"""Drums as codes ``[K, T]`` and back: a grid of steps, and two streams for each class of drums.

    stream            codes
    0 ... C - 1       velocity of class c: 0 is no hit, then ``velocities`` bins, the softest first
    C ... 2C - 1      where in its step the hit of class c lies: ``offsets`` bins from half a step before to half a
                      step behind, the middle one is on the step; the middle one too where there is no hit

A step has one hit of a class at most. :meth:`DrumGrid.canonicalize` is the one place that quantises, clips, merges and
sorts; the law is ``decode(encode(x)) == canonicalize(x)``, and canonicalising twice is once. Any codes in range decode.

Positions are ticks, which count beats and not seconds: tempo is nothing to the codes, and changes of it go unseen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from audiocraft_ext.codecs import drum_map
from audiocraft_ext.codecs.drum_clip import TICKS, Cost, DrumClip, Hits
from audiocraft_ext.codecs.drum_map import DrumMap
from audiocraft_ext.drums.pattern import Pattern
from audiocraft_ext.errors import UserError
from audiocraft_ext.spec import Spec

KIND, NAME = "drums", "drum_grid"
STEPS = (12, 16, 24, 32, 48)  # a bar of 4/4; each divides TICKS * 4
SPEC_BPM = 120.0  # at which a spec's frame_rate is told


@dataclass(frozen=True)
class DrumGrid:
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

    def __post_init__(self) -> None:
        if self.steps not in STEPS:
            raise UserError(f"steps: expected one of {', '.join(map(str, STEPS))} a bar, got {self.steps}")
        if not 1 <= self.velocities <= 127:
            raise UserError(f"velocities: expected 1 to 127 bins, got {self.velocities}")
        if not (1 <= self.offsets < self.step_ticks and self.offsets % 2):  # a bin is more than a tick wide
            raise UserError(f"offsets: expected an odd number of bins from 1 to {self.step_ticks - 1} (a step has "
                            f"{self.step_ticks} ticks), got {self.offsets}")

    @property
    def classes(self) -> int:
        return len(self.drums.classes)

    @property
    def step_ticks(self) -> int:
        return 4 * TICKS // self.steps

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
        """K = two streams a class, ``card`` that of the largest stream. An offset says something where there is a hit.

        A frame is a step, which is no fixed time: ``frame_rate`` is the steps a second at 120 BPM (8 for 16 a bar), so
        what counts in it (hours of a store, a training segment) is time at that tempo.
        """
        gates = tuple((self.classes + drum, drum, self.on_step) for drum in range(self.classes))
        return Spec(KIND, 2 * self.classes, max(self.sizes), self.steps / 4 * SPEC_BPM / 60, (0,) * 2 * self.classes,
                    NAME, self.hash, self.sizes, gates)

    @property
    def hash(self) -> str:
        """Of the grid, the bins and the map, not of the map's name."""
        values = self.to_dict()
        del values["map"]["name"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        """All of it as JSON values: what a store or a bundle needs to decode its codes."""
        return {"steps": self.steps, "velocities": self.velocities, "offsets": self.offsets,
                "map": self.drums.to_dict()}

    @classmethod
    def from_dict(cls, values: dict) -> DrumGrid:
        try:
            return cls(DrumMap.from_dict(values["map"]), values["steps"], values["velocities"], values["offsets"])
        except (KeyError, TypeError) as error:
            raise UserError(f"not a drum_grid: {error!r} in {values}") from None

    def steps_per_bar(self, meter: tuple[int, int]) -> int:
        """Steps in a bar.

        Raises:
            UserError: a bar that does not end on a step.
        """
        steps, rest = divmod(self.steps * meter[0], meter[1])
        if rest or steps < 1:
            fit = [str(n) for n in STEPS if n * meter[0] % meter[1] == 0 and n * meter[0] >= meter[1]]
            raise UserError(f"a bar of {meter[0]}/{meter[1]} does not end on a step of a grid with {self.steps} steps "
                            "to 4/4; " + (f"one with {', '.join(fit)} has it" if fit else "no grid has it"))
        return steps

    def place(self, clip: DrumClip) -> tuple[np.ndarray, np.ndarray]:
        """The step that each note is nearest to, of two the later, and in which bin of it it lies: ``int64 [n]``."""
        at, whole = clip.notes[:, 0] * self.steps, 4 * clip.ticks_per_beat  # a step is whole / steps: all in integers
        step = (2 * at + whole) // (2 * whole)
        return step, (2 * (at - step * whole) + whole) * self.offsets // (2 * whole)

    def quantise(self, clip: DrumClip) -> Hits:
        """The hits of a clip on the grid, also those before and behind it. Of two of a class in one step the louder
        stays, of two as loud the first."""
        tick, pitch, velocity = clip.notes.T
        drum = self.drums.table()[pitch]
        step, offset = self.place(clip)
        order = np.lexsort((tick, -velocity, drum, step))
        order = order[drum[order] >= 0]
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(step[order]) != 0) | (np.diff(drum[order]) != 0)
        kept = order[first]
        return Hits(step[kept], drum[kept], 1 + (velocity[kept] - 1) * self.velocities // 127, offset[kept], kept)

    def canonicalize(self, clip: DrumClip) -> DrumClip:
        """The clip as its codes say it, with 480 ticks a beat: each hit on the tick, with the velocity and the pitch
        that stand for its bins, sorted; what is before the first bar line by less than half a step is on it. The tempo
        is the nearest that a file can say, in whole microseconds a beat.

        Raises:
            UserError: a time signature whose bars do not end on a step.
        """
        return self._clip(*self._inside(clip), clip)

    def encode(self, clip: DrumClip) -> np.ndarray:
        """Codes ``uint16 [K, T]``, T the steps of all bars.

        Raises:
            UserError: a time signature whose bars do not end on a step.
        """
        clip = self.canonicalize(clip)
        return self.table(self.quantise(clip), clip.bars * self.steps_per_bar(clip.meter))

    def table(self, hits: Hits, steps: int) -> np.ndarray:
        """Hits in ``[0, steps)`` as codes ``uint16 [K, steps]``."""
        codes = np.zeros((2 * self.classes, steps), np.uint16)
        codes[self.classes :] = self.on_step
        codes[hits.drum, hits.step] = hits.velocity
        codes[self.classes + hits.drum, hits.step] = hits.offset
        return codes

    def codes_of(self, hits: Hits, bars: int, bar_steps: int) -> np.ndarray:
        """Hits of whole bars as codes ``uint16 [K, T]``, with offsets as they are."""
        return self.table(hits, bars * bar_steps)

    def decode(self, codes: np.ndarray, bpm: float = 120.0, meter: tuple[int, int] = (4, 4)) -> DrumClip:
        """A clip of any codes ``[K, T]`` in range; where T ends inside a bar, that bar is filled up with rests.

        Raises:
            ValueError: codes that are not in range.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or len(codes) != 2 * self.classes or codes.dtype.kind not in "iu":
            raise ValueError(f"expected integer codes [{2 * self.classes}, T], got {codes.dtype} {list(codes.shape)}")
        codes = codes.astype(np.int64)
        if codes.size and (codes.min() < 0 or (codes.max(axis=1) >= self.sizes).any()):
            raise ValueError(f"codes are out of range: velocities go up to {self.velocities}, offsets to "
                             f"{self.offsets - 1}")
        step, drum = np.nonzero(codes[: self.classes].T)
        hits = Hits(step, drum, codes[drum, step], codes[self.classes + drum, step], np.arange(len(step)))
        bars = max(1, -(-codes.shape[1] // self.steps_per_bar(meter)))
        return self._clip(hits, bars, DrumClip(np.zeros((0, 3)), bpm=bpm, meter=meter))

    def pattern(self, codes: np.ndarray, meter: tuple[int, int] = (4, 4)) -> Pattern:
        """The hits of codes ``[K, T]``; velocities and offsets are the middle of their bins."""
        steps = self.steps_per_bar(meter)
        step, drum = np.nonzero(np.asarray(codes)[: self.classes].T)
        velocity = codes[drum, step].astype(np.int64)
        offset = (codes[self.classes + drum, step].astype(np.int64) - self.on_step) / self.offsets
        hits = Hits(step, drum, velocity, velocity, step)
        return Pattern(step, drum, self._velocity(hits).astype(np.float64), offset,
                       max(1, -(-np.shape(codes)[1] // steps)), steps, self.steps // 4)

    def codes(self, pattern: Pattern) -> np.ndarray:
        """Codes ``uint16 [K, T]`` of a pattern on this grid, T the steps of all its bars: ``codes(pattern(x)) == x``
        for any codes of whole bars that rest where there is no hit."""
        velocity = np.clip(np.round(pattern.velocity), 1, 127).astype(np.int64)
        offset = np.clip(np.round(pattern.offset * self.offsets).astype(np.int64) + self.on_step, 0, self.offsets - 1)
        return self.table(Hits(pattern.step, pattern.drum, 1 + (velocity - 1) * self.velocities // 127, offset,
                               pattern.step), pattern.steps)

    def cost(self, clip: DrumClip) -> Cost:
        """What :meth:`canonicalize` changes.

        Raises:
            UserError: a time signature whose bars do not end on a step.
        """
        hits, _ = self._inside(clip)
        velocity, timing = self.errors(clip, hits)
        unmapped, outside = self._lost(clip)
        return Cost(len(clip.notes), len(hits), unmapped, len(clip.notes) - len(hits) - unmapped - outside, outside,
                    float(velocity.mean()) if len(hits) else 0.0, float(timing.mean()) if len(hits) else 0.0,
                    float(np.percentile(timing, 95)) if len(hits) else 0.0)

    def errors(self, clip: DrumClip, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
        """Of each of a clip's hits on the grid: how far its velocity is off, of 127, and how many ms its time is."""
        velocity = np.abs(self._velocity(hits) - clip.notes[hits.note, 2])
        beats = self._ticks(hits) / TICKS - clip.notes[hits.note, 0] / clip.ticks_per_beat
        return velocity, np.abs(beats) * 60_000 / clip.bpm

    def _lost(self, clip: DrumClip) -> tuple[int, int]:
        """How many notes the map drops, and how many of the others lie outside."""
        mapped = self.drums.table()[clip.notes[:, 1]] >= 0
        step, _ = self.place(clip)
        steps = self._bars(clip, step[mapped]) * self.steps_per_bar(clip.meter)
        return int((~mapped).sum()), int((mapped & ((step < 0) | (step >= steps))).sum())

    def _bars(self, clip: DrumClip, step: np.ndarray) -> int:
        last = int(step.max(initial=0))
        return clip.bars if clip.bars is not None else max(0, last) // self.steps_per_bar(clip.meter) + 1

    def _inside(self, clip: DrumClip) -> tuple[Hits, int]:
        """The hits within a clip, and how many bars it has."""
        hits = self.quantise(clip)
        bars = self._bars(clip, hits.step)
        return hits.between(0, bars * self.steps_per_bar(clip.meter)), bars

    def _ticks(self, hits: Hits) -> np.ndarray:
        """Where hits are written: the middle of their bin, as a whole tick, not before the first bar line."""
        aside = 2 * (hits.offset - self.on_step) * self.step_ticks + self.offsets
        return np.maximum(hits.step * self.step_ticks + aside // (2 * self.offsets), 0)

    def _velocity(self, hits: Hits) -> np.ndarray:
        """The middle of each one's bin."""
        first = -(-127 * (hits.velocity - 1) // self.velocities) + 1
        last = -(-127 * hits.velocity // self.velocities)
        return (first + last) // 2

    def _clip(self, hits: Hits, bars: int, like: DrumClip) -> DrumClip:
        write = np.array([one.write for one in self.drums.classes])
        notes = np.stack([self._ticks(hits), write[hits.drum], self._velocity(hits)], 1)  # [n, 3]
        order = np.lexsort((notes[:, 1], notes[:, 0]))
        beat_us = min(max(round(60e6 / like.bpm), 1), 2**24 - 1)
        return DrumClip(notes[order], TICKS, 60e6 / beat_us, like.meter, bars)
