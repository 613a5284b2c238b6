"""A song as BeepBox has it: channels of patterns, and the bars in which these are played.

Times are parts, 24 a beat. A channel plays one note at a time, of up to four pitches that begin and end together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from audiocraft_ext.core.errors import UserError

PARTS = 24  # of a beat
RHYTHMS = (3, 4, 6, 8, 24)  # steps of a beat that an editor offers, by their numbers
PITCHES, DRUMS = 85, 12  # values of a pitch: of a pitch channel, of a noise channel
PITCH_CHANNELS, NOISE_CHANNELS = 10, 5  # at most
BEATS, TEMPOS = (3, 16), (30, 300)  # of a bar, a minute: from, to
BARS = 128  # at most; as many patterns
CHORD = 4  # pitches of a note
LOUDEST = 3  # a volume
OCTAVES = 7
KEYS = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
SCALES = ("easy :)", "easy :(", "island :)", "island :(", "blues :)", "blues :(", "normal :)", "normal :(",
          "double harmonic :)", "double harmonic :(", "strange", "expert")
MIDI_PITCH = 12  # of pitch 0 in C


class Point(NamedTuple):
    """Where a note is at a time: ``time`` in parts from its start, ``bend`` in semitones, ``volume`` 0 to 3."""

    time: int
    bend: int
    volume: int


class Note(NamedTuple):
    """A note or a chord.

    Attributes:
        start: in parts from the start of the bar.
        pitches: one to four, each once; the first is the one that an arpeggio begins with.
        points: two or more, from time 0 and bend 0 to the note's end; between them bend and volume go in a line.
        continues: whether a note that starts its bar goes on from the one that ended the bar before.
    """

    start: int
    pitches: tuple[int, ...]
    points: tuple[Point, ...]
    continues: bool = False

    @property
    def end(self) -> int:
        """In parts from the start of the bar."""
        return self.start + self.points[-1].time


Pattern = tuple[Note, ...]  # a bar


@dataclass(frozen=True)
class Channel:
    """What one voice plays.

    Attributes:
        patterns: bars, each one's notes in order.
        sequence: of each bar of the song the number of its pattern, from 1; 0 is a rest.
        noise: whether it is a noise channel.
        octave: that an editor shows first, 0 to 6; of a noise channel 0.
    """

    patterns: tuple[Pattern, ...]
    sequence: tuple[int, ...]
    noise: bool = False
    octave: int = 0

    def bar(self, number: int) -> Pattern:
        """The notes of a bar of the song."""
        pattern = self.sequence[number]
        return self.patterns[pattern - 1] if pattern else ()


@dataclass(frozen=True)
class Song:
    """All of it.

    Attributes:
        channels: those of pitches, then those of noise; all have as many bars and patterns.
        beats: of a bar, 3 to 16.
        rhythm: steps of a beat that an editor shows, of :data:`RHYTHMS`; notes may lie between them.
        tempo: beats a minute, 30 to 300.
        key: semitones above C, 0 to 11; pitch p is MIDI's p + 12 + key.
        scale: the place in :data:`SCALES`.
        intro, loop: bars before the loop, and of it.
    """

    channels: tuple[Channel, ...]
    beats: int = 4
    rhythm: int = 4
    tempo: int = 120
    key: int = 0
    scale: int = len(SCALES) - 1
    intro: int = 0
    loop: int = 1

    @property
    def bars(self) -> int:
        return len(self.channels[0].sequence)

    @property
    def parts(self) -> int:
        """Of a bar."""
        return self.beats * PARTS

    @property
    def pitched(self) -> int:
        """How many channels are no noise."""
        return sum(not channel.noise for channel in self.channels)

    @property
    def seconds(self) -> float:
        return self.bars * self.beats * 60 / self.tempo

    def notes(self) -> Iterator[tuple[int, int, Note]]:
        """Number of the channel, bar, note: all that are heard, channel by channel."""
        for number, channel in enumerate(self.channels):
            for bar in range(self.bars):
                for note in channel.bar(bar):
                    yield number, bar, note

    def check(self) -> Song:
        """The song itself.

        Raises:
            UserError: something that BeepBox has not; names it.
        """
        pitched, noise = self.pitched, len(self.channels) - self.pitched
        check_channels(pitched, noise)
        if any(a.noise and not b.noise for a, b in zip(self.channels, self.channels[1:])):
            raise UserError("expected the noise channels of a song behind the others")
        patterns = len(self.channels[0].patterns)
        if any((len(one.sequence), len(one.patterns)) != (self.bars, patterns) for one in self.channels):
            raise UserError("expected as many bars and as many patterns in each channel of a song")
        for what, value, (low, high) in (
                ("bars", self.bars, (1, BARS)), ("patterns a channel", patterns, (1, BARS)),
                ("beats a bar", self.beats, BEATS), ("beats a minute", self.tempo, TEMPOS), ("key", self.key, (0, 11)),
                ("scale", self.scale, (0, len(SCALES) - 1)), ("bars before the loop", self.intro, (0, self.bars - 1)),
                ("bars of the loop", self.loop, (1, self.bars - self.intro))):
            if not low <= value <= high:
                raise UserError(f"a song has {low} to {high} {what}, got {value}")
        if self.rhythm not in RHYTHMS:
            raise UserError(f"a rhythm of BeepBox is {', '.join(map(str, RHYTHMS))} steps a beat, got {self.rhythm}")
        for channel in self.channels:
            if not 0 <= min(channel.sequence) <= max(channel.sequence) <= patterns:
                raise UserError(f"the bars of a song name patterns from 0 to {patterns}, got "
                                f"{min(channel.sequence)} to {max(channel.sequence)}")
            if not 0 <= channel.octave < (1 if channel.noise else OCTAVES):
                raise UserError(f"the octave of a channel is 0 to {OCTAVES - 1}, of noise 0, got {channel.octave}")
            for pattern in channel.patterns:
                _check_pattern(pattern, DRUMS if channel.noise else PITCHES, self.parts)
        return self


def check_channels(pitched: int, noise: int) -> None:
    """Raise a :class:`UserError` unless a song has such channels."""
    if not (1 <= pitched <= PITCH_CHANNELS and 0 <= noise <= NOISE_CHANNELS):
        raise UserError(f"a song of BeepBox has 1 to {PITCH_CHANNELS} pitch channels and up to {NOISE_CHANNELS} noise "
                        f"channels, got {pitched} and {noise}")


def _check_pattern(pattern: Pattern, values: int, parts: int) -> None:
    before = 0
    for note in pattern:
        times, bends = [point.time for point in note.points], [point.bend for point in note.points]
        right = (before <= note.start < note.end <= parts and 1 <= len(note.pitches) <= CHORD and times[0] == 0
                 and all(a < b for a, b in zip(times, times[1:])) and len(set(note.pitches)) == len(note.pitches)
                 and bends[0] == 0 and 0 <= min(note.pitches) + min(bends)
                 and max(note.pitches) + max(bends) < values
                 and all(0 <= point.volume <= LOUDEST for point in note.points)
                 and not (note.continues and note.start))
        if not right:
            raise UserError(f"expected notes one after the other in a bar of {parts} parts, of 1 to {CHORD} pitches "
                            f"below {values}, got {note}")
        before = note.end


def flat(start: int, end: int, pitches: tuple[int, ...], continues: bool = False, volume: int = LOUDEST) -> Note:
    """A note that neither bends nor changes its volume."""
    return Note(start, pitches, (Point(0, 0, volume), Point(end - start, 0, volume)), continues)


def tidy(start: int, pitches: list[int], points: list[Point], values: int, continues: bool) -> Note | None:
    """A note as BeepBox keeps it: pitches of the channel alone, bends that stay within it, no point that says what the
    two before it say. None where no pitch is left.

    Args:
        pitches: as at the first point, whose bend is 0.
        values: how many pitches the channel has.
    """
    pitches = [pitch for pitch in dict.fromkeys(pitches[:CHORD]) if 0 <= pitch < values]
    if not pitches:
        return None
    low, high = min(pitches), max(pitches)
    kept: list[Point] = []
    for time, bend, volume in points:
        point = Point(time, min(max(bend, -low), values - 1 - high), volume)
        if len(kept) > 1 and kept[-1][1:] == kept[-2][1:] == point[1:]:
            kept.pop()
        kept.append(point)
    return Note(start, tuple(pitches), tuple(kept), continues and start == 0)


def deduplicated(bars: list[Pattern], patterns: int | None = None) -> tuple[tuple[Pattern, ...], tuple[int, ...]]:
    """Patterns and sequence of a channel's bars: each that is not empty once, in the order in which they come.

    Args:
        patterns: fill up with empty ones to so many; one at least.
    """
    number: dict[Pattern, int] = {}
    sequence = tuple(number.setdefault(bar, len(number) + 1) if bar else 0 for bar in bars)
    found = tuple(number)
    return found + ((),) * ((patterns or 1) - len(found)), sequence


def song_of_bars(channels: list[list[Pattern]], noise: int, octaves: list[int] | None = None, **facts) -> Song:
    """A song of each channel's bars, the last ``noise`` of them noise; ``facts`` as in :class:`Song`. By itself all of
    it is the loop, and an octave is that of the channel's middle."""
    found = [deduplicated(bars) for bars in channels]
    most = max(len(patterns) for patterns, _ in found)
    made = []
    for i, (patterns, sequence) in enumerate(found):
        is_noise = i >= len(channels) - noise
        octave = 0 if is_noise else octaves[i] if octaves else _octave(patterns)
        made.append(Channel(patterns + ((),) * (most - len(patterns)), sequence, is_noise, octave))
    return Song(tuple(made), **{"loop": len(channels[0])} | facts)


def _octave(patterns: tuple[Pattern, ...]) -> int:
    """The one that shows most of a channel's notes, of the three that are seen at once."""
    pitches = sorted(pitch for pattern in patterns for note in pattern for pitch in note.pitches)
    return min(max(pitches[len(pitches) // 2] // 12 - 1, 0), OCTAVES - 1) if pitches else OCTAVES // 2
