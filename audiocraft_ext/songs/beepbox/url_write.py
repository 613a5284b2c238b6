"""A song as a URL of BeepBox's version 9."""

from __future__ import annotations

from audiocraft_ext.songs.beepbox import sounds
from audiocraft_ext.songs.beepbox.bits import DIGITS, Writer, number
from audiocraft_ext.songs.beepbox.patterns import PatternWriter
from audiocraft_ext.songs.beepbox.song import RHYTHMS, Song

SITE = "https://www.beepbox.co/#"
VERSION = 9


def to_digits(song: Song) -> str:
    """What stands behind the ``#`` of the URL.

    Raises:
        UserError: a song that BeepBox has not.
    """
    channels = song.check().channels
    patterns = len(channels[0].patterns)
    head = [DIGITS[VERSION], "n", DIGITS[song.pitched], DIGITS[len(channels) - song.pitched], "s", DIGITS[song.scale],
            "k", DIGITS[song.key], "l", number(song.intro), "e", number(song.loop - 1), "t", number(song.tempo),
            "a", DIGITS[song.beats - 1], "g", number(song.bars - 1), "j", number(patterns - 1),
            "r", DIGITS[RHYTHMS.index(song.rhythm)], "i0", "o",
            *(DIGITS[channel.octave] for channel in channels if not channel.noise)]
    bars = Writer()
    for channel in channels:
        for pattern in channel.sequence:
            bars.write(patterns.bit_length(), pattern)
    notes = PatternWriter(song.parts)
    for channel in channels:
        notes.begin(channel.noise, channel.octave)
        for pattern in channel.patterns:
            notes.pattern(pattern)
    data, size = notes.out.digits(), ""
    left = len(data)
    while left:
        size, left = DIGITS[left & 63] + size, left >> 6
    return "".join([*head, *map(sounds.as_digits, channels), "b", bars.digits(), "p", DIGITS[len(size)], size, data])


def to_url(song: Song) -> str:
    """A URL that beepbox.co opens.

    Raises:
        UserError: a song that BeepBox has not.
    """
    return SITE + to_digits(song)
