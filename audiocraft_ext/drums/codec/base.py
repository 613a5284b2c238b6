"""What the codecs of drums have in common: bars and steps, which notes are hits, and what quantising loses.

A codec defines where on its grid a note lies (``place``), which hits are one and the same (``same``), when a hit sounds
that lies there (``ticks``), and how hits are codes. Positions are ticks, which count beats and not seconds: tempo is
not in the codes, and its changes are lost.
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from typing import ClassVar

import numpy as np

from audiocraft_ext.core.codes import in_range
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums.codec.clip import Cost, DrumClip, Hits
from audiocraft_ext.drums.codec.drum_map import DrumMap
from audiocraft_ext.midi.file import TICKS

KIND = "drums"
STEPS = (12, 16, 24, 32, 48)  # a bar of 4/4; each divides TICKS * 4
SPEC_BPM = 120.0  # the tempo of a spec's frame_rate


class DrumCodec:
    """The base of both.

    Attributes:
        drums: the classes.
        steps: in a bar of 4/4. Another bar has as many as its length asks for.
        velocities: bins for 1 to 127.
        offsets: how many places in a step; ``offsets // 2`` is on it.
        reach: how far before a step a hit still belongs to it, in steps.
    """

    drums: DrumMap
    steps: int
    velocities: int
    offsets: int
    reach: ClassVar[Fraction]

    # ---- What a codec defines

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each stream uses, ``[K]``; what lies from there up to ``card`` never occurs."""
        raise NotImplementedError

    @property
    def spec(self) -> Spec:
        raise NotImplementedError

    def to_dict(self) -> dict:
        """All of it as JSON values: what a store or a bundle needs to decode its codes."""
        raise NotImplementedError

    def place(self, clip: DrumClip) -> tuple[np.ndarray, np.ndarray]:
        """The step that each note is nearest to, and the code of where in it it lies: ``int64 [n]``."""
        raise NotImplementedError

    def same(self, step: np.ndarray, drum: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
        """What hits are sorted by, the weightiest first; of those in which all is the same there is one."""
        raise NotImplementedError

    def ticks(self, hits: Hits) -> np.ndarray:
        """Where hits are written: a whole tick, not before the first bar line."""
        raise NotImplementedError

    def codes_of(self, hits: Hits, bars: int, bar_steps: int) -> np.ndarray:
        """Hits of whole bars, sorted, as codes ``uint16 [K, T]``; their offsets stay what they are."""
        raise NotImplementedError

    def hits_of(self, codes: np.ndarray) -> tuple[slice, slice, np.ndarray]:
        """The streams of velocities and those of offsets in codes ``[K, T]``, and where in them hits are."""
        raise NotImplementedError

    # ---- What follows from it

    @property
    def classes(self) -> int:
        return len(self.drums.classes)

    @property
    def step_ticks(self) -> int:
        return 4 * TICKS // self.steps

    @property
    def hash(self) -> str:
        """Of the grid, the bins and the map, not of the map's name."""
        values = self.to_dict()
        del values["map"]["name"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def check_steps(self) -> None:
        """Raises a :class:`UserError` for steps that are not in :data:`STEPS`."""
        if self.steps not in STEPS:
            raise UserError(f"steps: expected one of {', '.join(map(str, STEPS))} a bar, got {self.steps}")

    def steps_per_bar(self, meter: tuple[int, int]) -> int:
        """Steps in a bar.

        Raises:
            UserError: a bar that the codec cannot represent.
        """
        steps, rest = divmod(self.steps * meter[0], meter[1])
        if rest or steps < 1:
            fit = [str(n) for n in STEPS if n * meter[0] % meter[1] == 0 and n * meter[0] >= meter[1]]
            raise UserError(f"a bar of {meter[0]}/{meter[1]} does not end on a step of a grid with {self.steps} steps "
                            "to 4/4; " + (f"one with {', '.join(fit)} has it" if fit else "no grid has it"))
        return steps

    def quantise(self, clip: DrumClip) -> Hits:
        """The hits of a clip on the grid, also those before and behind it. Of those that are one and the same the
        loudest stays, of two as loud the first."""
        tick, pitch, velocity = clip.notes.T
        step, offset = self.place(clip)
        drum = self.drums.table()[pitch]
        mapped = np.flatnonzero(drum >= 0)
        mapped = mapped[np.argsort(tick[mapped], kind="stable")]
        return self.merged(Hits(step[mapped], drum[mapped], 1 + (velocity[mapped] - 1) * self.velocities // 127,
                                offset[mapped], mapped), velocity[mapped])

    def merged(self, hits: Hits, loudness: np.ndarray | None = None) -> Hits:
        """Hits in any order, sorted; of those that are one and the same the loudest, of two as loud the first.

        Args:
            loudness: default: their velocity codes.
        """
        keys = self.same(hits.step, hits.drum, hits.offset)
        order = np.lexsort((-(hits.velocity if loudness is None else loudness), *keys[::-1]))
        first = np.ones(len(order), bool)
        first[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
        return hits.at(order[first])

    def canonicalize(self, clip: DrumClip) -> DrumClip:
        """The clip as its codes give it, with 480 ticks a beat: each hit on the tick, with the velocity and the pitch
        that stand for its codes, sorted; what is before the first bar line by less than half a step is on it. The
        tempo is the nearest that a file can say, in whole microseconds a beat.

        Raises:
            UserError: a time signature that the codec cannot represent.
        """
        return self.clip(*self.inside(clip), clip)

    def encode(self, clip: DrumClip) -> np.ndarray:
        """Codes ``uint16 [K, T]`` of all bars.

        Raises:
            UserError: a time signature that the codec cannot represent.
        """
        clip = self.canonicalize(clip)
        return self.codes_of(self.quantise(clip), clip.bars, self.steps_per_bar(clip.meter))

    def checked(self, codes: np.ndarray) -> np.ndarray:
        """The codes as ``int64 [K, T]``.

        Raises:
            ValueError: codes that are not in range.
        """
        return in_range(codes, self.sizes)

    def cost(self, clip: DrumClip) -> Cost:
        """What :meth:`canonicalize` changes.

        Raises:
            UserError: a time signature that the codec cannot represent.
        """
        hits, bars = self.inside(clip)
        velocity, timing = self.errors(clip, hits)
        mapped = self.drums.table()[clip.notes[:, 1]] >= 0
        step, _ = self.place(clip)
        outside = int((mapped & ((step < 0) | (step >= bars * self.steps_per_bar(clip.meter)))).sum())
        unmapped = int((~mapped).sum())
        return Cost(len(clip.notes), len(hits), unmapped, len(clip.notes) - len(hits) - unmapped - outside, outside,
                    float(velocity.mean()) if len(hits) else 0.0, float(timing.mean()) if len(hits) else 0.0,
                    float(np.percentile(timing, 95)) if len(hits) else 0.0)

    def errors(self, clip: DrumClip, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
        """Of each of a clip's hits on the grid: how far its velocity is off, of 127, and how many ms its time is."""
        velocity = np.abs(self.loudness(hits) - clip.notes[hits.note, 2])
        beats = self.ticks(hits) / TICKS - clip.notes[hits.note, 0] / clip.ticks_per_beat
        return velocity, np.abs(beats) * 60_000 / clip.bpm

    def inside(self, clip: DrumClip) -> tuple[Hits, int]:
        """The hits within a clip, and how many bars it has."""
        hits, bar_steps = self.quantise(clip), self.steps_per_bar(clip.meter)
        bars = clip.bars if clip.bars is not None else max(0, int(hits.step.max(initial=0))) // bar_steps + 1
        return hits.between(0, bars * bar_steps), bars

    def loudness(self, hits: Hits) -> np.ndarray:
        """The velocity in the middle of each one's bin, 1 to 127."""
        first = -(-127 * (hits.velocity - 1) // self.velocities) + 1
        last = -(-127 * hits.velocity // self.velocities)
        return (first + last) // 2

    def clip(self, hits: Hits, bars: int, like: DrumClip) -> DrumClip:
        """Hits as notes, with the tempo and the time signature of another clip."""
        write = np.array([one.write for one in self.drums.classes])
        notes = np.stack([self.ticks(hits), write[hits.drum], self.loudness(hits)], 1)  # [n, 3]
        order = np.lexsort((notes[:, 1], notes[:, 0]))
        beat_us = min(max(round(60e6 / like.bpm), 1), 2**24 - 1)
        return DrumClip(notes[order], TICKS, 60e6 / beat_us, like.meter, bars)
