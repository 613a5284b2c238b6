"""Instruments for songs that have none: a plain chip wave for each channel by how high it plays, retro noise for drums;
as BeepBox's JSON and URLs say them, and the program of General MIDI that is most like it."""

from __future__ import annotations

from typing import NamedTuple

from audiocraft_ext.songs.beepbox.bits import DIGITS
from audiocraft_ext.songs.beepbox.song import Channel

LOW, HIGH = 30, 48  # a channel whose middle is below the first is a bass, from the second on a lead


class Sound(NamedTuple):
    """A wave by its name and its place in BeepBox's list, and a program."""

    wave: str
    number: int
    program: int


BASS, MIDDLE, LEAD, NOISE = (Sound("triangle", 1, 38), Sound("rounded", 0, 81), Sound("square", 2, 80),
                             Sound("retro", 0, 118))


def sound_of(channel: Channel) -> Sound:
    """For a channel."""
    if channel.noise:
        return NOISE
    pitches = sorted(pitch for pattern in channel.patterns for note in pattern for pitch in note.pitches)
    middle = pitches[len(pitches) // 2] if pitches else HIGH
    return BASS if middle < LOW else MIDDLE if middle < HIGH else LEAD


def as_json(channel: Channel) -> dict:
    """The instrument of BeepBox's JSON."""
    plain = {"volume": 100, "eqFilter": [], "effects": [], "fadeInSeconds": 0, "fadeOutTicks": -1,
             "wave": sound_of(channel).wave, "envelopes": []}
    return {"type": "noise", **plain} if channel.noise else {"type": "chip", **plain, "unison": "none"}


def as_digits(channel: Channel) -> str:
    """The same in a URL of version 9: type, volume, preset, filter, effects, fades, wave, unison, envelopes."""
    wave = DIGITS[sound_of(channel).number]
    return f"T2v0u00f0q00d04w{wave}E0" if channel.noise else f"T0v0u00f0q00d04w{wave}h0E0"
