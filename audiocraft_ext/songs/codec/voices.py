"""Songs of BeepBox as codes ``[4, T]`` and back: a frame for each channel at each step, channel by channel. T = steps x
channels, a step of three channels is abc, and so is the next.

    stream      codes
    0  voice 1  0: a rest; 1: what sounds goes on; 2 + pitch of a pitch channel, 87 + pitch of a noise channel
    1-3         0: no further pitch; 1 + pitch, 86 + pitch

A channel plays one note or chord at a time, so holding and resting are said once, by the first voice: where it does
not begin a note the others rest, and behind the last pitch of a chord the others do (gates of the spec). Each voice is
later by one than the one before it (the delay pattern of MusicGen, https://arxiv.org/abs/2306.05284 section 2.2), so a
pitch is chosen knowing those below it. A note that is held over a bar line is BeepBox's ``continuesLastPattern``.

How many steps a beat has, how many beats a bar, and which channels there are is not in the codes: :class:`Facts`,
which a prompt says (BeepBrain's static inputs). The steps of a song are those of its own rhythm if all its notes begin
and end on them, else the fewest of BeepBox's rhythms on which they do, so no note is lost and none is moved.

The law is ``decode(encode(x), facts) == canonicalize(x)``, and canonicalising twice is once. What it costs: bends and
volumes, and ties of notes that are not the same (:class:`Cost`). Any codes in range decode: a hold of nothing is a
rest, and so is a pitch of the other sort of channel.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from audiocraft_ext.core.codes import in_range
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.gates import Gate
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.songs.beepbox.song import (
    CHORD,
    DRUMS,
    LOUDEST,
    PARTS,
    PITCHES,
    RHYTHMS,
    SCALES,
    Note,
    Pattern,
    Song,
    check_channels,
    flat,
    song_of_bars,
)

KIND, NAME = "song", "song"
VALUES = PITCHES + DRUMS
REST, HOLD = 0, 1  # of the first voice
FIRST = (2, 1, 1, 1)  # the code of pitch 0, by voice


class Facts(NamedTuple):
    """What codes do not say: of a bar, of the channels, and of the whole."""

    beats: int = 4
    rhythm: int = 4
    pitched: int = 3
    noise: int = 1
    tempo: int = 120
    key: int = 0
    scale: int = len(SCALES) - 1

    @property
    def channels(self) -> int:
        return self.pitched + self.noise

    @property
    def bar(self) -> int:
        """Frames of a bar."""
        return self.beats * self.rhythm * self.channels


@dataclass(frozen=True)
class Cost:
    """What :meth:`Voices.canonicalize` changes.

    Attributes:
        notes: all that are heard; ``bent``, those that bend; ``louder``, those that are not as loud as can be all the
            time; ``untied``, those that went on from another note than the one before them.
        rhythm: the steps a beat that it takes.
    """

    notes: int
    bent: int
    louder: int
    untied: int
    rhythm: int


@dataclass(frozen=True)
class Voices:
    """The codec ``song``."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each stream takes."""
        return tuple(first + VALUES for first in FIRST)

    @property
    def spec(self) -> Spec:
        """K = 4; a frame is a channel at a step, no length of time."""
        begins = tuple(range(FIRST[0], self.sizes[0]))
        gates = (Gate(1, 0, 0, begins), *(Gate(voice, voice - 1, 0) for voice in range(2, CHORD)))
        return Spec(KIND, CHORD, max(self.sizes), None, tuple(range(CHORD)), NAME, self.hash, self.sizes, gates,
                    unit="notes")

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps([NAME, VALUES, FIRST]).encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        """All of it as JSON values."""
        return {}

    def encode(self, song: Song) -> np.ndarray:
        """Codes ``uint16 [4, T]`` of all bars and channels."""
        return joined(self.channels(song))

    def channels(self, song: Song) -> np.ndarray:
        """The codes of a song by channel, ``uint16 [4, steps, channels]``."""
        rhythm = rhythm_of(song)
        codes = np.zeros((CHORD, song.bars * song.beats * rhythm, len(song.channels)), np.uint16)
        for number, channel in enumerate(song.channels):
            before, base = None, PITCHES if channel.noise else 0
            for bar in range(song.bars):
                at = bar * song.beats * rhythm
                pattern = channel.bar(bar)
                for note in pattern:
                    begin, end = (at + part * rhythm // PARTS for part in (note.start, note.end))
                    codes[0, begin:end, number] = HOLD
                    if not _tied(note, before):
                        for voice, pitch in enumerate(note.pitches):
                            codes[voice, begin, number] = FIRST[voice] + base + pitch
                before = pattern[-1] if pattern and pattern[-1].end == song.parts else None
        return codes

    def canonicalize(self, song: Song) -> Song:
        """The song as its codes give it: notes without bends, as loud as can be; each bar that is another one is a
        pattern, in the order in which they come; all of it the loop."""
        return self.decode(self.encode(song), facts_of(song))

    def decode(self, codes: np.ndarray, facts: Facts) -> Song:
        """A song of any codes ``[4, T]`` in range; of a bar that is not whole the rest are rests.

        Raises:
            ValueError: codes that are not in range.
            UserError: facts of no song.
        """
        codes = in_range(codes, self.sizes).astype(np.int64)
        check_channels(facts.pitched, facts.noise)
        bars = max(1, -(-codes.shape[1] // facts.bar))
        codes = np.pad(codes, ((0, 0), (0, bars * facts.bar - codes.shape[1])))
        split = codes.reshape(CHORD, bars * facts.beats * facts.rhythm, facts.channels)
        channels = [_bars(split[:, :, i], facts, i >= facts.pitched) for i in range(facts.channels)]
        return song_of_bars(channels, facts.noise, **_song_facts(facts)).check()

    def cost(self, song: Song) -> Cost:
        """What :meth:`canonicalize` changes."""
        notes = bent = louder = untied = 0
        for channel in song.channels:
            before = None
            for bar in range(song.bars):
                pattern = channel.bar(bar)
                for note in pattern:
                    notes += 1
                    bent += any(point.bend for point in note.points)
                    louder += any(point.volume < LOUDEST for point in note.points)
                    untied += note.continues and not _tied(note, before)
                before = pattern[-1] if pattern and pattern[-1].end == song.parts else None
        return Cost(notes, bent, louder, untied, rhythm_of(song))


def codec_of(config: dict) -> Voices:
    """The codec of ``{"type": "song"}``.

    Raises:
        UserError: it is another one.
    """
    if config.get("type") != NAME:
        raise UserError(f"expected the codec {NAME}, got {config.get('type')!r}")
    return Voices()


def joined(channels: np.ndarray) -> np.ndarray:
    """``[4, steps, channels]`` as frames, ``[4, T]``."""
    return channels.reshape(len(channels), -1)


def pitches_of(codes: np.ndarray) -> int:
    """How many pitches begin in codes ``[4, T]``."""
    return int((codes >= np.array(FIRST)[:, None]).sum())


def facts_of(song: Song) -> Facts:
    """What the codes of a song do not say."""
    return Facts(song.beats, rhythm_of(song), song.pitched, len(song.channels) - song.pitched, song.tempo, song.key,
                 song.scale)


def rhythm_of(song: Song) -> int:
    """Steps a beat on which all notes that are played begin and end: the song's own, else the fewest."""
    edges = {part for channel in song.channels for number in set(channel.sequence) if number
             for note in channel.patterns[number - 1] for part in (note.start, note.end)}
    return next(rhythm for rhythm in (song.rhythm, *RHYTHMS) if all(part * rhythm % PARTS == 0 for part in edges))


def _song_facts(facts: Facts) -> dict[str, int]:
    return {name: getattr(facts, name) for name in ("beats", "rhythm", "tempo", "key", "scale")}


def _tied(note: Note, before: Note | None) -> bool:
    """Whether a note is the same one as that which ended the bar before."""
    return note.continues and before is not None and before.pitches == note.pitches


def _bars(codes: np.ndarray, facts: Facts, noise: bool) -> list[Pattern]:
    """The bars of a channel's codes ``[4, steps]``."""
    low, high = (PITCHES, VALUES) if noise else (0, PITCHES)
    per_bar, step = facts.beats * facts.rhythm, PARTS // facts.rhythm
    bars: list[Pattern] = []
    pitches: tuple[int, ...] = ()  # that sound
    rows = codes.T.tolist()
    for at in range(0, len(rows), per_bar):
        notes: list[Note] = []
        begin, tied = 0, bool(pitches)
        for i, (first, *others) in enumerate([*rows[at : at + per_bar], (REST,)]):
            if first == HOLD:
                continue
            if pitches and i > begin:
                notes.append(flat(begin * step, i * step, pitches, tied))
            if i < per_bar:
                pitches, begin, tied = _pitches(first, others, low, high), i, False
        bars.append(tuple(notes))
    return bars


def _pitches(first: int, others: list[int], low: int, high: int) -> tuple[int, ...]:
    """Of a frame that holds nothing: those from ``low`` to below ``high``, none if the first is not."""
    values = [first - FIRST[0]]
    for voice, code in enumerate(others, 1):
        if not code:
            break
        values.append(code - FIRST[voice])
    return tuple(dict.fromkeys(value - low for value in values if low <= value < high)) if (
        first >= FIRST[0] and low <= values[0] < high) else ()
