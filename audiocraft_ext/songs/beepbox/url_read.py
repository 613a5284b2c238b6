"""A song of a URL, versions 2 to 9.

Behind the version come settings, each a letter and digits; how many digits depends on the version, and of some on what
was read before. Instruments are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.songs.beepbox.bits import CUT, VALUES, Reader
from audiocraft_ext.songs.beepbox.patterns import Layout, PatternReader
from audiocraft_ext.songs.beepbox.song import (
    BARS,
    BEATS,
    OCTAVES,
    PARTS,
    RHYTHMS,
    SCALES,
    TEMPOS,
    Channel,
    Pattern,
    Song,
    check_channels,
)

OLDEST, LATEST = 2, 9
MODS = {"j": "JummBox", "g": "GoldBox", "u": "UltraBox", "d": "Dogebox2", "a": "AbyssBox", "s": "Slarmoo's Box",
        "b": "SomethingBox", "t": "TheepBox"}  # what stands before the version in their URLs
MOST_INSTRUMENTS = 10
SPECTRUM, DRUMSET = 3, 4  # types of instruments
OLD_TEMPOS = ((95, 120, 151, 190), (88, 95, 103, 111, 120, 130, 140, 151, 163, 176, 190, 206, 222, 240, 259))
OLD_BEATS = (6, 7, 8, 9, 10)
SEVERAL = {5: 4, 6: 4, 12: 8, 13: 8}  # targets of envelopes that there are several of, and how many


def digits_of(text: str) -> str:
    """What says the song in a URL, or in what stands behind its ``#``."""
    text = text.strip()
    if "#" in text:
        text = text.partition("#")[2]
    elif "://" in text:
        raise UserError("is a link without a song: expected a #, and the song behind it")
    return re.sub(r"^.*\bsong=", "", text)


def from_url(text: str) -> Song:
    """The song of a URL of BeepBox, or of what stands behind its ``#``.

    Raises:
        UserError: it was cut off, is a mod's, or is none; says which.
    """
    digits = digits_of(text)
    if digits[:1] in MODS:
        raise UserError(f"is a song of {MODS[digits[0]]} (its URL begins with {digits[0]!r}), and only BeepBox's URLs "
                        "are read; export it there as JSON")
    if not digits or digits[0] not in VALUES:
        raise UserError(f"is no song of BeepBox: expected its JSON, or a URL whose song begins with {OLDEST} to "
                        f"{LATEST}, got {digits[:12]!r}")
    if not OLDEST <= VALUES[digits[0]] <= LATEST:
        raise UserError(f"is of version {digits[0]!r}: expected a URL of BeepBox, {OLDEST} to {LATEST}")
    return _UrlReader(digits).song()


class _UrlReader:
    """Goes through the settings."""

    def __init__(self, digits: str):
        self.digits, self.at, self.version = digits, 1, VALUES[digits[0]]
        self.pitched, self.noise = 3, 1
        self.scale, self.key, self.tempo, self.beats, self.rhythm = 0, 0, 150, 8, 1
        self.bars, self.patterns, self.intro, self.loop = 16, 8, 0, 4
        self.octaves = [4, 3, 2, 0]
        self.counts, self.layered, self.by_pattern = [1] * 4, False, False  # of instruments
        self.type, self.channel, self.instrument = 0, 0, -1
        self.sequences: dict[int, list[int]] = {}
        self.found: dict[int, list[Pattern]] = {}

    def song(self) -> Song:
        while self.at < len(self.digits):
            tag = self.digits[self.at]
            self.at += 1
            known = _TAGS.get(tag)
            if known is None:
                raise UserError(f"has a setting {tag!r} at its digit {self.at} that BeepBox has not")
            known(self)
        if not self.found:
            raise UserError(CUT)
        channels = []
        for i in range(self.pitched + self.noise):
            noise = i >= self.pitched
            sequence = (self.sequences.get(i, []) + [1] * self.bars)[: self.bars]
            patterns = (self.found.get(i, []) + [()] * self.patterns)[: self.patterns]
            if max(sequence) > self.patterns:
                raise UserError(f"plays its pattern {max(sequence)}, and has {self.patterns}")
            channels.append(Channel(tuple(patterns), tuple(sequence), noise, 0 if noise else self.octaves[i]))
        intro = min(self.intro, self.bars - 1)
        return Song(tuple(channels), self.beats, RHYTHMS[self.rhythm], self.tempo, self.key, self.scale, intro,
                    min(max(self.loop, 1), self.bars - intro)).check()

    def digit(self) -> int:
        if self.at >= len(self.digits):
            raise UserError(CUT)
        digit = self.digits[self.at]
        self.at += 1
        if digit not in VALUES:
            raise UserError(f"has a {digit!r} at its digit {self.at}, which no URL of a song has")
        return VALUES[digit]

    def number(self) -> int:
        return self.digit() * 64 + self.digit()

    def skip(self, digits: int) -> None:
        for _ in range(digits):
            self.digit()

    def bits(self, bits: int) -> Reader:
        """Of the next digits, as many as have so many bits."""
        return Reader([self.digit() for _ in range(-(-bits // 6))])

    # Settings

    def channel_counts(self) -> None:
        self.pitched, self.noise = self.digit(), self.digit()
        check_channels(self.pitched, self.noise)
        count = self.pitched + self.noise
        self.octaves, self.counts = (self.octaves + [0] * count)[:count], (self.counts + [1] * count)[:count]

    def scale_is(self) -> None:
        self.scale = self.digit()
        if self.version < 3 and self.scale == 10:
            self.scale = 11
        self.scale = min(self.scale, len(SCALES) - 1)

    def key_is(self) -> None:
        key = self.digit()
        self.key = min(max(11 - key if self.version < 7 else key, 0), 11)

    def loop_start(self) -> None:
        self.intro = self.digit() if self.version < 5 else self.number()

    def loop_length(self) -> None:
        self.loop = self.digit() if self.version < 5 else self.number() + 1

    def tempo_is(self) -> None:
        if self.version < 7:
            tempos, tempo = OLD_TEMPOS[self.version >= 4], self.digit()
            if tempo >= len(tempos):
                raise UserError(f"has a tempo {tempo} where version {self.version} has {len(tempos)}")
            tempo = tempos[tempo]
        else:
            tempo = self.number()
        self.tempo = min(max(tempo, TEMPOS[0]), TEMPOS[1])

    def beats_are(self) -> None:
        beats = self.digit()
        if self.version < 3 and beats >= len(OLD_BEATS):
            raise UserError(f"has bars {beats} where version {self.version} has {len(OLD_BEATS)}")
        beats = OLD_BEATS[beats] if self.version < 3 else beats + 1
        self.beats = min(max(beats, BEATS[0]), BEATS[1])

    def bars_are(self) -> None:
        self.bars = self.number() + 1
        if self.bars > BARS:
            raise UserError(f"has {self.bars} bars, and BeepBox up to {BARS}")

    def patterns_are(self) -> None:
        self.patterns = (self.digit() if self.version < 8 else self.number()) + 1
        if self.patterns > BARS:
            raise UserError(f"has {self.patterns} patterns a channel, and BeepBox up to {BARS}")

    def instruments_are(self) -> None:
        count = self.pitched + self.noise
        if self.version < 9:
            self.counts = [self.digit() + 1] * count
            self.by_pattern = self.counts[0] > 1
        else:
            flags = self.digit()
            self.layered, self.by_pattern = bool(flags & 2), bool(flags & 1)
            self.counts = [self.digit() + 1 if flags & 3 else 1 for _ in range(count)]
        if max(self.counts) > MOST_INSTRUMENTS:
            raise UserError(f"has {max(self.counts)} instruments in a channel, and BeepBox up to {MOST_INSTRUMENTS}")

    def rhythm_is(self) -> None:
        self.rhythm = self.digit()
        if self.rhythm >= len(RHYTHMS):
            raise UserError(f"has a rhythm {self.rhythm}, and BeepBox {len(RHYTHMS)} of them")

    def octaves_are(self) -> None:
        if self.version < 3:
            channel = self.digit()
            self._check_channel(channel)
            channels = [channel]
        else:
            channels = range(self.pitched + (self.noise if self.version < 9 else 0))
        for channel in channels:
            octave = self.digit() + (self.version < 9)
            self.octaves[channel] = min(octave, OCTAVES - 1) if channel < self.pitched else 0

    def instrument_begins(self) -> None:
        self.instrument += 1
        if self.channel < len(self.counts) and self.instrument >= self.counts[self.channel]:  # there may be fewer since
            self.channel, self.instrument = self.channel + 1, 0
        self._check_channel(self.channel)
        self.type = self.digit()

    def sequence(self) -> None:
        if self.version < 3:
            channel, bars = self.digit(), self.digit()
            self._check_channel(channel)
            bits = Reader([self.digit() for _ in range(-(-bars // 2))])
            self.sequences[channel] = [bits.read(3) + 1 for _ in range(bars)]
            return
        added = self.version < 5  # they have no rest
        size, count = (self.patterns - added).bit_length(), self.pitched + self.noise
        bits = self.bits(count * self.bars * size)
        for channel in range(count):
            self.sequences[channel] = [bits.read(size) + added for _ in range(self.bars)]

    def notes(self) -> None:
        step = PARTS // RHYTHMS[self.rhythm]
        layout = Layout(self.version, self.beats * PARTS, step)
        if self.version < 3:
            channel, _, length = self.digit(), self.digit(), self.number()
            self._check_channel(channel)
            channels = [channel]
        else:
            channels, length, size = range(self.pitched + self.noise), 0, self.digit()
            if not 1 <= size <= 4:
                raise UserError(f"has {size} digits for the length of its notes: expected 1 to 4")
            for _ in range(size):
                length = length * 64 + self.digit()
        if length > len(self.digits) - self.at:
            raise UserError(CUT)
        bits = self.bits(6 * length)
        for channel in channels:
            noise = channel >= self.pitched
            reader = PatternReader(bits, layout, noise, self.octaves[channel])
            self.found[channel] = []
            for _ in range(self.patterns):
                self._instruments_of_pattern(bits, channel)
                self.found[channel].append(reader.pattern())

    def _instruments_of_pattern(self, bits: Reader, channel: int) -> None:
        instruments = self.counts[channel]
        if self.version < 9:
            bits.read((instruments - 1).bit_length())
        elif self.by_pattern:
            most = min(4, instruments) if self.layered else 1
            for _ in range(bits.read((most - 1).bit_length()) + 1):
                bits.read((instruments - 1).bit_length())

    def _check_channel(self, channel: int) -> None:
        if channel >= self.pitched + self.noise:
            raise UserError(f"speaks of its channel {channel + 1}, and has {self.pitched + self.noise}")

    # Instruments, passed over

    def effects(self) -> None:
        if self.version < 9:
            return self.skip(1)
        there = self.number()
        if there >> 5 & 1:
            self.skip(3 * self.digit())
        for effect, digits in ((10, 1), (11, 1), (7, 1), (8, 1), (9, 1), (3, 1), (4, 2), (2, 1), (1, 1), (6, 2),
                               (0, 1)):
            self.skip(digits * (there >> effect & 1))

    def envelopes(self) -> None:
        if self.version < 9:
            return self.skip(4)
        for _ in range(min(self.digit(), 12)):
            self.skip(SEVERAL.get(min(self.digit(), 16), 1) > 1)
            self.skip(1)

    def eq_filter(self) -> None:
        if self.version < 9:
            return self._of_old_instruments()
        self.skip(3 * self.digit())

    def fades(self) -> None:
        if self.version < 9:
            return self._of_old_instruments()
        self.skip(2)

    def spectrum(self) -> None:
        if self.type not in (SPECTRUM, DRUMSET):
            raise UserError("has a spectrum for an instrument that has none")
        self.skip(15 if self.type == SPECTRUM else 180)

    def drumset_envelopes(self) -> None:
        self.skip(12 if self.version >= 9 or self.type == DRUMSET else 1)

    def vibrato(self) -> None:
        if self.version < 9:
            self._of_old_instruments()

    def _of_old_instruments(self) -> None:
        """One setting: of a channel that is named, of every instrument of all channels, of the last instrument."""
        self.skip(2 if self.version < 3 else sum(self.counts) if self.version < 6 else 1)


def _skip(digits: int, before_nine: int | None = None) -> Callable[[_UrlReader], None]:
    return lambda reader: reader.skip(before_nine if reader.version < 9 and before_nine is not None else digits)


_TAGS: dict[str, Callable[[_UrlReader], None]] = {
    "n": _UrlReader.channel_counts, "s": _UrlReader.scale_is, "k": _UrlReader.key_is, "l": _UrlReader.loop_start,
    "e": _UrlReader.loop_length, "t": _UrlReader.tempo_is, "a": _UrlReader.beats_are, "g": _UrlReader.bars_are,
    "j": _UrlReader.patterns_are, "i": _UrlReader.instruments_are, "r": _UrlReader.rhythm_is,
    "o": _UrlReader.octaves_are, "T": _UrlReader.instrument_begins, "b": _UrlReader.sequence, "p": _UrlReader.notes,
    "q": _UrlReader.effects, "E": _UrlReader.envelopes, "f": _UrlReader.eq_filter, "d": _UrlReader.fades,
    "S": _UrlReader.spectrum, "z": _UrlReader.drumset_envelopes, "c": _UrlReader.vibrato,
    "h": _UrlReader._of_old_instruments, "v": _UrlReader._of_old_instruments, "w": _UrlReader._of_old_instruments,
    "m": _skip(0, 1), "y": _skip(0, 1), "C": _skip(0, 1), "L": _skip(0, 1), "V": _skip(0, 1), "W": _skip(1, 2),
    "u": _skip(2), "x": _skip(3), "I": _skip(1), "A": _skip(1), "F": _skip(1), "B": _skip(1), "Q": _skip(4),
    "P": _skip(4), "H": _skip(14)}
