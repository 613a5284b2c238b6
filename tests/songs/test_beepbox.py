"""BeepBox's JSON and URLs: what is written is read again, and what is wrong with a file is said in a line."""

from __future__ import annotations

import json
import random
import time

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.songs.beepbox import as_json, files, url_write
from audiocraft_ext.songs.beepbox.files import BrokenSong
from audiocraft_ext.songs.beepbox.song import Channel, Note, Point, Song, flat, song_of_bars
from tests.helpers.songs import random_song

SECONDS = 10.0  # a mutated song is read or refused in


def read(text: str) -> Song:
    song, remarks = files.parse(text.encode())
    assert not remarks
    return song


@pytest.mark.parametrize("write", [as_json.to_text, url_write.to_url], ids=["json", "url"])
def test_what_is_written_is_read_again(write):
    for seed in range(60):
        assert read(write(random_song(seed))) == random_song(seed)


def test_the_largest_song():
    bar = tuple(flat(i * 24, i * 24 + 24, (i, i + 1, i + 2, i + 3)) for i in range(16))
    song = song_of_bars([[bar[i % 16 :] or bar for i in range(128)]] * 10 + [[bar[:4]] * 128] * 5, 5, beats=16)
    assert read(url_write.to_url(song)) == read(as_json.to_text(song)) == song


def test_texts_around_a_url():
    song = random_song(3)
    digits = url_write.to_digits(song)
    for text in (digits, f"#{digits}", f" https://beepbox.co/#{digits}\n", f"my song:\nhttps://www.beepbox.co/#{digits}",
                 f"https://www.beepbox.co/player/#song={digits}", f"[InternetShortcut]\nURL=https://beepbox.co/#{digits}"):
        assert read(text) == song
    assert read(digits.replace("-", ".")) == song  # as older URLs have it


def test_the_editors_empty_songs_of_old_versions():
    """What beepbox.co wrote when nothing was played yet."""
    bars = "b" + "4h" * 21 + "4p16000000"
    for text, version in (
            (f"5s0kbl00e03t7m0a7g0fj7i0r1w1111f0000d1111c0000h0000v0000o3210{bars}", 5),
            (f"6n31s0kbl00e03t7m0a7g0fj7i0r1o3210{'T0w1f1d1c0h0v0' * 3}T2w1d1v0{bars}", 6)):
        song = read(text)
        assert (song.beats, song.bars, song.key, song.tempo, song.rhythm) == (8, 16, 0, 151, 4), version
        assert song.pitched == 3 and len(song.channels) == 4 and len(song.channels[0].patterns) == 8
        assert [channel.octave for channel in song.channels] == [4, 3, 2, 0] and not list(song.notes())


def test_old_jsons_are_read():
    notes = [{"pitches": [10, 14], "points": [{"tick": 0, "pitchBend": 2, "volume": 66},
                                              {"tick": 3.5, "pitchBend": 5, "volume": 0}]}]
    old = {"format": "BeepBox", "version": 5, "scale": "romani :(", "key": "Bb", "beatsPerBar": 6, "ticksPerBeat": 4,
           "beatsPerMinute": 900, "reverb": 2, "channels": [{"patterns": [{"notes": notes}], "sequence": [1, 0]}] * 4}
    old["channels"][3] = {"patterns": [{"notes": [{"pitches": [3], "points": [{"tick": 1}, {"tick": 2}]}]}],
                          "sequence": [0, 1]}
    song = read(json.dumps(old))
    assert (song.key, song.tempo, song.scale, song.beats) == (10, 300, 9, 6) and song.pitched == 3
    assert song.channels[0].patterns[0] == (Note(0, (12, 16), (Point(0, 0, 2), Point(21, 3, 0))),)
    assert song.channels[3].patterns[0] == (flat(6, 12, (3,)),)


def test_what_a_mod_exports_is_read_as_far_as_it_is_the_same():
    found = as_json.to_json(random_song(1, bends=False))
    found |= {"format": "UltraBox", "version": 5}
    found["channels"].append({"type": "mod", "patterns": [{"notes": []}], "sequence": [1]})
    song, remarks = files.parse(json.dumps(found).encode())
    assert song == random_song(1, bends=False)
    assert remarks == ["made by UltraBox: read as far as it is BeepBox's",
                       "channels of modulations are left out: 1"]


SONG = random_song(8)
CHANNEL = {"type": "pitch", "patterns": [], "sequence": [0]}


def without(*keys: str) -> str:
    found = as_json.to_json(SONG)
    at = found
    for key in keys[:-1]:
        at = at[int(key) if isinstance(at, list) else key]
    del at[keys[-1]]
    return json.dumps(found)


def altered(**values) -> str:
    return json.dumps(as_json.to_json(SONG) | values)


@pytest.mark.parametrize("text, why", [
    ("", "is empty"), ("{", "is no JSON"), ("[" * 100_000, "is no JSON"), ("[]", "expected an object"),
    ("{}", "expected the format 'BeepBox', got 'None'"), (altered(format="Bosca"), "got 'Bosca'"),
    (altered(version=10), "version 10: versions 5 to 9"), (altered(version="9"), "no 'version' that is a number"),
    (without("beatsPerBar"), "has no 'beatsPerBar'"), (without("ticksPerBeat"), "has no 'ticksPerBeat'"),
    (without("channels"), "has no 'channels'"), (without("channels", "0", "patterns"), "has no 'patterns'"),
    (without("channels", "0", "sequence"), "has no 'sequence'"),
    (without("channels", "0", "patterns", "0", "notes"), "has no 'notes'"),
    (altered(channels=[CHANNEL] * 200), "1 to 10 pitch channels and up to 5 noise channels, got 200 and 0"),
    (altered(channels=[CHANNEL | {"type": "drum"}]), "got 0 and 1"), (altered(channels=[]), "got 0 and 0"),
    (altered(channels=[None]), "expected an object with 'type'"), (altered(channels=3), "no list for 'channels'"),
    (altered(channels=[CHANNEL | {"sequence": [0] * 129}]), "has 129 bars"),
    (altered(channels=[CHANNEL | {"patterns": [{"notes": [{"points": []}]}]}]), "has no 'pitches'"),
    (altered(channels=[CHANNEL | {"patterns": [{"notes": [{"pitches": [1], "points": [{}, {}]}]}]}]), "has no 'tick'"),
    (altered(beatsPerBar=99), "bars of 99 beats"), (altered(ticksPerBeat=0), "0 ticks a beat"),
    (altered(beatsPerMinute="fast"), "expected a number, got 'fast'"), (altered(key=1e300), "expected a number"),
    ("j5n31s0k0l00e00", "is a song of JummBox (its URL begins with 'j')"),
    ("https://ultraabox.github.io/#u5n31s0k0", "is a song of UltraBox"),
    ("https://www.beepbox.co/", "is a link without a song"), ("hello world", "is no song of BeepBox|is of version"),
    ("9n31T0T0T0T0n10T0", "speaks of its channel 4, and has 1"),
    ("https://beepbox.co/#1n31", "is of version '1'"), ("9", "ends early"), ("9nz1", "got 35 and 1"),
    ("9n31s0k0!", "a setting '!' at its digit 9"), ("9n31s0k$", "has a '$' at its digit 8"), ("\0\0\0", "is no song")])
def test_what_is_wrong_is_said(text, why):
    with pytest.raises(BrokenSong, match=why.replace("(", r"\(").replace(")", r"\)").replace("$", r"\$")):
        files.parse(text.encode())


def test_a_url_that_was_cut_off_says_so():
    digits = url_write.to_digits(SONG)
    for length in range(1, len(digits), 7):
        with pytest.raises(BrokenSong):
            files.parse(digits[:length].encode())


@pytest.mark.parametrize("song, why", [
    (Song((Channel(((),), (0,)),) * 11), "got 11 and 0"), (Song((Channel(((),), (2,)),)), "name patterns from 0 to 1"),
    (Song((Channel(((),), (0,)),), beats=2), "3 to 16 beats a bar, got 2"),
    (Song((Channel(((),), (0,)),), tempo=10), "30 to 300 beats a minute"),
    (Song((Channel(((),), (0,)),), rhythm=5), "3, 4, 6, 8, 24 steps a beat"),
    (Song((Channel(((flat(0, 24, (90,)),),), (1,)),)), "pitches below 85"),
    (Song((Channel(((flat(0, 200, (9,)),),), (1,)),)), "in a bar of 96 parts"),
    (Song((Channel(((flat(24, 48, (9,)), flat(30, 60, (9,))),), (1,)),)), "one after the other")])
def test_what_beepbox_has_not_is_not_written(song, why):
    for write in (as_json.to_text, url_write.to_url):
        with pytest.raises(UserError, match=why):
            write(song)


def mutated(seed: int) -> bytes:
    """A song with a damage: digits changed, cut, doubled, taken out; of a JSON also values changed and taken away."""
    rng = random.Random(seed)
    song = random_song(rng.randrange(40))
    is_json = seed % 2
    data = bytearray((as_json.to_text(song) if is_json else url_write.to_url(song)).encode())
    if is_json and seed % 4 == 1:
        found = json.loads(data)
        for _ in range(rng.randint(1, 4)):
            _damage(found, rng)
        return json.dumps(found).encode()
    for _ in range(rng.randint(1, 5)):
        at, much = rng.randrange(len(data)), rng.randint(1, 40)
        how = rng.randrange(5)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            data[at] = rng.choice(b"0123456789abcdefnopqrstTEAZ_-{}[],:\"")
        elif how == 2:
            del data[at : at + much]
        elif how == 3:
            data[at:at] = data[at : at + much]
        elif len(data) > 50:
            del data[rng.randrange(50, len(data) + 1) :]
    return bytes(data)


def _damage(found: object, rng: random.Random) -> None:
    """One value anywhere in a JSON gone, or another one."""
    while True:
        keys = list(found) if isinstance(found, dict) else list(range(len(found)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(found[key], dict | list) and rng.random() < 0.8:
            found = found[key]
            continue
        if rng.random() < 0.3:
            del found[key]
        else:
            found[key] = rng.choice([None, -1, 0, 1e9, 10**30, 1.5, "x", [], {}, True, float("nan"), [[]], -5.5])
        return


def survives(seed: int) -> bool:
    """Whether a mutated song can be read; then it is a song."""
    data, started = mutated(seed), time.perf_counter()
    try:
        song, _ = files.parse(data)
    except BrokenSong as error:
        assert str(error) and "\n" not in str(error)
        return False
    finally:
        assert time.perf_counter() - started < SECONDS, seed
    assert song.check() and read(url_write.to_url(song)) == song
    return True


def test_mutated_songs_are_read_or_refused():
    read_again = [survives(seed) for seed in range(200)]
    assert 10 < sum(read_again) < 190
