"""A song as BeepBox's JSON: read from versions 5 to 9 and from what mods export as far as it is the same, written as
version 9."""

from __future__ import annotations

import json
import math
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.songs.beepbox import sounds
from audiocraft_ext.songs.beepbox.song import (
    BARS,
    BEATS,
    CHORD,
    DRUMS,
    KEYS,
    LOUDEST,
    OCTAVES,
    PARTS,
    PITCHES,
    RHYTHMS,
    SCALES,
    TEMPOS,
    Channel,
    Note,
    Pattern,
    Point,
    Song,
    check_channels,
    tidy,
)

FORMAT, OLDEST, LATEST = "BeepBox", 5, 9
MODS = ("JummBox", "GoldBox", "UltraBox", "AbyssBox", "Dogebox2", "Slarmoo's Box", "SlarmoosBox", "SomethingBox",
        "TheepBox")  # formats that are read as far as they are the same
OLD_SCALES = {"romani :)": 8, "romani :(": 9, "dbl harmonic :)": 8, "dbl harmonic :(": 9, "enigma": 10}
LETTERS, SIGNS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}, {"#": 1, "♯": 1, "b": -1, "♭": -1}
OLD_PITCHED = 3  # channels before those of noise, where they do not say what they are
LARGE = 2**31  # no number of a song is as large


def to_json(song: Song) -> dict[str, Any]:
    """The JSON object of version 9.

    Raises:
        UserError: a song that BeepBox has not.
    """
    song.check()
    return {"format": FORMAT, "version": LATEST, "scale": SCALES[song.scale], "key": KEYS[song.key],
            "introBars": song.intro, "loopBars": song.loop, "beatsPerBar": song.beats, "ticksPerBeat": song.rhythm,
            "beatsPerMinute": song.tempo, "layeredInstruments": False, "patternInstruments": False,
            "channels": [_channel(channel, song.rhythm) for channel in song.channels]}


def to_text(song: Song) -> str:
    """The same as text."""
    return json.dumps(to_json(song), ensure_ascii=False) + "\n"


def _channel(channel: Channel, rhythm: int) -> dict[str, Any]:
    found = {"type": "drum" if channel.noise else "pitch", "instruments": [sounds.as_json(channel)],
             "patterns": [{"notes": [_note(note, rhythm) for note in pattern]} for pattern in channel.patterns],
             "sequence": list(channel.sequence)}
    return found if channel.noise else found | {"octaveScrollBar": channel.octave - 1}


def _note(note: Note, rhythm: int) -> dict[str, Any]:
    points = [{"tick": _tick(note.start + point.time, rhythm), "pitchBend": point.bend,
               "volume": round(point.volume * 100 / LOUDEST)} for point in note.points]
    found = {"pitches": list(note.pitches), "points": points}
    return found if note.start else found | {"continuesLastPattern": note.continues}


def _tick(part: int, rhythm: int) -> int | float:
    tick = part * rhythm / PARTS
    return int(tick) if tick.is_integer() else tick


def from_text(text: str) -> tuple[Song, list[str]]:
    """The song of a JSON text, and what is to be said of it.

    Raises:
        UserError: it is none of BeepBox or lacks something; names it.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is no JSON ({str(error)[:80]})") from None
    if not isinstance(found, dict):
        raise UserError("is no JSON of a song: expected an object")
    return from_json(found)


def from_json(found: dict[str, Any]) -> tuple[Song, list[str]]:
    """The song of a JSON object, and what is to be said of it.

    Raises:
        UserError: it is none of BeepBox or lacks something; names it.
    """
    remarks: list[str] = []
    mod = _mod(found, remarks)
    beats = _whole(found, "beatsPerBar")
    if not BEATS[0] <= beats <= BEATS[1]:
        raise UserError(f"has bars of {beats} beats; BeepBox has {BEATS[0]} to {BEATS[1]}")
    steps = _whole(found, "ticksPerBeat")
    if not 1 <= steps <= 1000:
        raise UserError(f"has {steps} ticks a beat: expected 1 to 1000")
    given = _list(found, "channels")
    noise = [_is_noise(one, i) for i, one in enumerate(given)]
    if None in noise:
        remarks.append(f"channels of modulations are left out: {noise.count(None)}")
    order = [i for is_noise in (False, True) for i, one in enumerate(noise) if one is is_noise]
    check_channels(noise.count(False), noise.count(True))
    bars = max(len(_list(given[i], "sequence")) for i in order)
    patterns = max(len(_list(given[i], "patterns")) for i in order)
    if max(bars, patterns) > BARS and not mod:
        raise UserError(f"has {bars} bars and {patterns} patterns a channel; BeepBox has up to {BARS}")
    if bars > BARS:
        remarks.append(f"the first {BARS} of its {bars} bars are taken")
    bars, lost = min(max(bars, 1), BARS), _Lost()
    sequences = {i: _sequence(given[i], patterns, bars) for i in order}
    if patterns > BARS:
        used = max(map(max, sequences.values()))
        if used > BARS:
            raise UserError(f"plays a pattern {used}, and BeepBox has up to {BARS} a channel")
    patterns = min(max(patterns, 1), BARS)
    channels = [_read_channel(given[i], bool(noise[i]), sequences[i], patterns, steps, beats * PARTS, lost)
                for i in order]
    remarks += lost.remarks()
    intro = min(max(_number(found.get("introBars", 0)), 0), bars - 1)
    song = Song(tuple(channels), beats, steps if steps in RHYTHMS else RHYTHMS[-1],
                min(max(_number(found.get("beatsPerMinute", 150)), TEMPOS[0]), TEMPOS[1]), _key(found.get("key", 0)),
                _scale(found.get("scale")), intro, min(max(_number(found.get("loopBars", bars)), 1), bars - intro))
    return song.check(), remarks


class _Lost:
    """Counts what BeepBox passes over in a JSON."""

    def __init__(self) -> None:
        self.notes, self.pitches = 0, 0

    def remarks(self) -> list[str]:
        return [f"{what} that BeepBox has no room for are left out: {count}"
                for count, what in ((self.notes, "notes"), (self.pitches, "pitches")) if count]


def _mod(found: dict[str, Any], remarks: list[str]) -> bool:
    """Whether it is a mod's."""
    format, version = found.get("format"), found.get("version")
    if format in MODS:
        remarks.append(f"made by {format}: read as far as it is BeepBox's")
        return True
    if format != FORMAT:
        raise UserError(f"is no song of BeepBox: expected the format {FORMAT!r}, got {str(format)[:40]!r}")
    if isinstance(version, bool) or not isinstance(version, int):
        raise UserError(f"has no 'version' that is a number, got {str(version)[:40]!r}")
    channels = found.get("channels")
    if isinstance(channels, list) and any(isinstance(one, dict) and one.get("type") == "mod" for one in channels):
        remarks.append("made by JummBox: read as far as it is BeepBox's")
        return True
    if not OLDEST <= version <= LATEST:
        raise UserError(f"is BeepBox's JSON of version {version}: versions {OLDEST} to {LATEST} are read")
    return False


def _is_noise(channel: Any, number: int) -> bool | None:
    """None for a mod's channel of modulations."""
    kind = _get(channel, "type", default="drum" if number >= OLD_PITCHED else "pitch")
    return {"pitch": False, "drum": True, "mod": None}.get(kind if isinstance(kind, str) else "", False)


def _sequence(channel: dict, patterns: int, bars: int) -> tuple[int, ...]:
    found = [min(max(_number(one), 0), patterns) for one in _list(channel, "sequence")[:bars]]
    return tuple(found + [0] * (bars - len(found)))


def _read_channel(channel: dict, noise: bool, sequence: tuple[int, ...], patterns: int, steps: int, parts: int,
                  lost: _Lost) -> Channel:
    found = [_pattern(one, noise, steps, parts, lost) for one in _list(channel, "patterns")[:patterns]]
    octave = 0 if noise else min(max(_number(channel.get("octaveScrollBar", 3)) + 1, 0), OCTAVES - 1)
    return Channel(tuple(found + [()] * (patterns - len(found))), sequence, noise, octave)


def _pattern(pattern: Any, noise: bool, steps: int, parts: int, lost: _Lost) -> Pattern:
    notes: list[Note] = []
    for one in _list(pattern, "notes"):
        note = _read_note(one, notes[-1].end if notes else 0, noise, steps, parts, lost)
        if note is None or len(notes) >= parts:
            lost.notes += 1
        else:
            notes.append(note)
    return tuple(notes)


def _read_note(note: Any, begin: int, noise: bool, steps: int, parts: int, lost: _Lost) -> Note | None:
    """None where it lies before the one before it ends, or has no pitch or no length."""
    pitches, points, before, start, first = [_number(one) for one in _list(note, "pitches")], [], begin, 0, 0
    for point in _list(note, "points"):
        tick = _get(point, "tick")
        if isinstance(tick, bool) or not isinstance(tick, (int, float)) or not abs(tick) < LARGE:
            raise UserError(f"has a note at a tick {str(tick)[:40]!r}, which is no number")
        part = math.floor(tick * PARTS / steps + 0.5)
        if part > parts or part < before or (points and part == before):
            continue
        bend = _number(point.get("pitchBend", 0))
        if not points:
            start, first = part, bend
        volume = math.floor(min(max(_number(point.get("volume", 100)), 0), 100) * LOUDEST / 100 + 0.5)
        points.append(Point(part - start, bend - first, volume))
        before = part
    if len(points) < 2:
        return None
    values = DRUMS if noise else PITCHES
    made = tidy(start, [pitch + first for pitch in dict.fromkeys(pitches)][:CHORD], points, values,
                note.get("continuesLastPattern") is True)
    if made:
        lost.pitches += len(set(pitches)) - len(made.pitches)
    return made


def _key(key: Any) -> int:
    if isinstance(key, str) and key:
        index = LETTERS.get(key[0].upper())
        return 0 if index is None else (index + SIGNS.get(key[1:2].lower(), 0)) % 12
    return _number(key) % 12


def _scale(scale: Any) -> int:
    if isinstance(scale, str) and scale in SCALES:
        return SCALES.index(scale)
    return OLD_SCALES.get(scale, len(SCALES) - 1) if isinstance(scale, str) else len(SCALES) - 1


def _get(found: Any, key: str, default: Any = None) -> Any:
    """A value of an object that has to be there, if no default is given."""
    if not isinstance(found, dict):
        raise UserError(f"expected an object with {key!r}, got {str(found)[:40]!r}")
    if key not in found and default is None:
        raise UserError(f"has no {key!r} where BeepBox's JSON has one")
    return found.get(key, default)


def _list(found: Any, key: str) -> list:
    value = _get(found, key)
    if not isinstance(value, list):
        raise UserError(f"has no list for {key!r}, got {str(value)[:40]!r}")
    return value


def _whole(found: dict, key: str) -> int:
    return _number(_get(found, key))


def _number(value: Any) -> int:
    """A whole number of moderate size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGE:
        raise UserError(f"expected a number, got {str(value)[:40]!r}")
    return int(value)
