"""The patterns in a song's URL: rests and notes in bits.

A note says its shape (how many pitches, when it bends and changes its volume), new or as a place among the last ten,
and its pitches, each as a place among the last eight or as a distance that passes over those.
"""

from __future__ import annotations

from dataclasses import dataclass

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.songs.beepbox.bits import Reader, Writer
from audiocraft_ext.songs.beepbox.song import CHORD, DRUMS, OCTAVES, PITCHES, Note, Pattern, Point, tidy

SHAPES, RECENT = 10, 8  # that are remembered
FIRST, FIRST_NOISE = (0, 7, 12, 19, 24, -5, -12), (4, 6, 7, 2, 3, 8, 0, 10)  # pitches that are, before any note
FAR = 12 * OCTAVES * 2  # an interval that no song has
VOLUME_BITS = 2


class Pitches:
    """The pitches that a channel had last."""

    def __init__(self, noise: bool, octave: int):
        root = 0 if noise else 12 * octave
        self.last = FIRST_NOISE[0] if noise else root
        self.recent = [root + pitch for pitch in (FIRST_NOISE if noise else FIRST)]

    def used(self, pitch: int) -> None:
        if pitch in self.recent:
            self.recent.remove(pitch)
        self.recent.insert(0, pitch)
        del self.recent[RECENT:]

    def distance(self, pitch: int) -> int:
        """From the last one, in pitches that are not among the recent ones."""
        step = 1 if self.last < pitch else -1
        return step * sum(one not in self.recent for one in range(self.last + step, pitch + step, step))

    def at(self, distance: int) -> int:
        """The pitch that is so far."""
        if not 0 < abs(distance) <= FAR:
            raise UserError(f"has an interval of {distance} semitones, which no song has")
        step, pitch = (1 if distance > 0 else -1), self.last
        for _ in range(abs(distance)):
            pitch += step
            while pitch in self.recent:
                pitch += step
        return pitch


@dataclass(frozen=True)
class Shape:
    """A note without its place and its pitches: how many of these, the first volume, and of each further point when it
    is, whether the bend is another one, and the volume."""

    pitches: int
    volume: int
    points: tuple[tuple[int, bool, int], ...]

    def write(self) -> str:
        out = Writer()
        for _ in range(self.pitches - 1):
            out.write(1, 1)
        if self.pitches < CHORD:
            out.write(1, 0)
        out.tail(1, 0, len(self.points))
        out.write(VOLUME_BITS, self.volume)
        before = 0
        for time, bends, volume in self.points:
            out.write(1, bends)
            out.tail(1, 3, time - before)
            out.write(VOLUME_BITS, volume)
            before = time
        return "".join(out.bits)


class PatternWriter:
    """Writes the patterns of one channel after another."""

    def __init__(self, parts: int):
        self.parts, self.out = parts, Writer()

    def begin(self, noise: bool, octave: int) -> None:
        """Another channel."""
        self.pitches, self.shapes = Pitches(noise, octave), []

    def pattern(self, pattern: Pattern) -> None:
        self.out.write(1, bool(pattern))
        at = 0
        for note in pattern:
            self._rest(note.start - at)
            self._note(note)
            at = note.end
        if pattern:
            self._rest(self.parts - at)

    def _rest(self, parts: int) -> None:
        if parts:
            self.out.write(2, 0)
            self.out.tail(1, 3, parts)

    def _note(self, note: Note) -> None:
        bends = [b.bend != a.bend for a, b in zip(note.points, note.points[1:])]
        shape = Shape(len(note.pitches), note.points[0].volume,
                      tuple((point.time, bend, point.volume) for point, bend in zip(note.points[1:], bends)))
        if shape in self.shapes:
            self.out.write(1, 1)
            self.out.tail(0, 0, self.shapes.index(shape))
            self.shapes.remove(shape)
        else:
            self.out.write(2, 1)
            self.out.bits.append(shape.write())
        self.shapes.insert(0, shape)
        del self.shapes[SHAPES:]
        targets = [note.pitches[0] + point.bend for point, bend in zip(note.points[1:], bends) if bend]
        for i, pitch in enumerate([*note.pitches, *targets]):
            if pitch in self.pitches.recent:
                self.out.write(1, 1)
                self.out.write(3, self.pitches.recent.index(pitch))
            else:
                self.out.write(1, 0)
                self.out.interval(self.pitches.distance(pitch))
            self.pitches.used(pitch)
            self.pitches.last = note.pitches[0] if i == len(note.pitches) - 1 else pitch
        if not note.start:
            self.out.write(1, note.continues)


@dataclass(frozen=True)
class Layout:
    """How a URL's patterns are written.

    Attributes:
        version: of the URL.
        parts: of a bar.
        step: parts of a step of its rhythm, in which versions before 7 count.
    """

    version: int
    parts: int
    step: int


class PatternReader:
    """Reads the patterns of one channel."""

    def __init__(self, bits: Reader, layout: Layout, noise: bool, octave: int):
        self.bits, self.layout, self.values = bits, layout, DRUMS if noise else PITCHES
        self.pitches, self.shapes = Pitches(noise, octave), []

    def pattern(self) -> Pattern:
        """The next one; what no channel can play is left out of it.

        Raises:
            UserError: the bits are those of no pattern.
        """
        bits, notes, at = self.bits, [], 0
        if self.layout.version >= 3 and not bits.read(1):
            return ()
        while at < self.layout.parts:
            if bits.read(1):
                shape = self._old_shape()
            elif bits.read(1):
                shape = self._new_shape()
            else:
                at += self._duration()
                continue
            self.shapes.insert(0, shape)
            del self.shapes[SHAPES:]
            note = self._note(shape, at)
            at += shape.points[-1][0]
            if at > self.layout.parts:
                raise UserError(f"has a note that ends at part {at} of a bar of {self.layout.parts}")
            notes += [note] if note else []
        return tuple(notes)

    def _duration(self) -> int:
        return self.bits.tail(1, 3) if self.layout.version >= 7 else self.bits.tail(1, 2) * self.layout.step

    def _old_shape(self) -> Shape:
        index = self.bits.tail(0, 0)
        if index >= len(self.shapes):
            raise UserError(f"has a note like its {index + 1}th last, where there are {len(self.shapes)}")
        return self.shapes.pop(index)

    def _new_shape(self) -> Shape:
        pitches = 1
        while pitches < CHORD and self.bits.read(1):
            pitches += 1
        count, volume, time, points = self.bits.tail(1, 0), self.bits.read(VOLUME_BITS), 0, []
        if count > self.layout.parts:
            raise UserError(f"has a note of {count} points in a bar of {self.layout.parts} parts")
        for _ in range(count):
            bends = bool(self.bits.read(1))
            time += self._duration()
            points.append((time, bends, self.bits.read(VOLUME_BITS)))
        return Shape(pitches, volume, tuple(points))

    def _note(self, shape: Shape, start: int) -> Note | None:
        found: list[int] = []
        for i in range(shape.pitches + sum(bends for _, bends, _ in shape.points)):
            if self.bits.read(1):
                index = self.bits.read(3)
                if index >= len(self.pitches.recent):
                    raise UserError(f"has a note like its {index + 1}th last, where there are "
                                    f"{len(self.pitches.recent)}")
                pitch = self.pitches.recent[index]
            else:
                pitch = self.pitches.at(self.bits.interval())
            self.pitches.used(pitch)
            found.append(pitch)
            self.pitches.last = found[0] if i == shape.pitches - 1 else pitch
        targets, bend = iter(found[shape.pitches :]), 0
        points = [Point(0, 0, shape.volume)]
        for time, bends, volume in shape.points:
            bend = next(targets) - found[0] if bends else bend
            points.append(Point(time, bend, volume))
        continues = self.layout.version >= 9 and start == 0 and bool(self.bits.read(1))
        return tidy(start, found[: shape.pitches], points, self.values, continues)
