"""BeepBox's own class, under node, reads what we write to the same notes, and we what it writes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from audiocraft_ext.midi.file import read
from audiocraft_ext.songs.beepbox import as_json, files, url_write
from audiocraft_ext.songs.beepbox.song import RHYTHMS, Channel, Note, Point, Song
from audiocraft_ext.songs.from_midi import Settings, songs_of
from tests.helpers.songs import random_song

pytestmark = pytest.mark.peers
ORACLE = Path(__file__).with_name("oracle.mjs")
MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
SONGS = 150


def heard(texts: list[str], tmp_path: Path) -> list[dict]:
    """What BeepBox makes of JSONs and of URLs' digits."""
    node = shutil.which("node") or pytest.skip("no node")
    lines, out = "\n".join(map(json.dumps, texts)) + "\n", tmp_path / "told"
    with out.open("wb") as told:
        subprocess.run([node, str(ORACLE)], input=lines.encode(), stdout=told, check=True, timeout=120)
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def as_song(told: dict) -> Song:
    beats, rhythm, tempo, key, scale, intro, loop = told["facts"]
    channels = tuple(Channel(tuple(tuple(Note(start, tuple(pitches), tuple(Point(*pin) for pin in pins), continues)
                                         for start, pitches, pins, continues in pattern)
                                   for pattern in one["patterns"]), tuple(one["sequence"]), i >= told["pitched"],
                             one["octave"]) for i, one in enumerate(told["channels"]))
    return Song(channels, beats, RHYTHMS[rhythm], tempo, key, scale, intro, loop)


@pytest.mark.parametrize("write", [as_json.to_text, url_write.to_digits], ids=["json", "url"])
def test_what_we_write_it_reads_to_the_same_notes(write, tmp_path):
    songs = [random_song(seed) for seed in range(SONGS)]
    for song, told in zip(songs, heard([write(song) for song in songs], tmp_path), strict=True):
        assert as_song(told) == song
        assert all(one["instruments"] == 1 for one in told["channels"])
        assert files.parse(told["json"].encode())[0] == song
        assert files.parse(told["digits"].encode())[0] == song


@pytest.mark.parametrize("write", [as_json.to_text, url_write.to_digits], ids=["json", "url"])
def test_songs_made_from_midi_too(write, tmp_path):
    songs = [one.song for path in sorted(MIDI.glob("*.mid")) for one in songs_of(read(path), Settings(10, 2))[0]]
    for song, told in zip(songs, heard([write(song) for song in songs], tmp_path), strict=True):
        assert as_song(told) == song


def test_old_songs_are_the_same_to_both(tmp_path):
    """Patterns are the same from version 7 on, but for ties, which came with 9."""
    songs = [song for song in map(random_song, range(160)) if not any(
        note.start == 0 for channel in song.channels for pattern in channel.patterns for note in pattern)
             and all(channel.octave or channel.noise for channel in song.channels)]  # theirs begin with the second
    texts = []
    for song in songs:
        head, instruments, rest = re.fullmatch(r"9(.*?)i0o\w*?((?:T\dv0u00f0q00d04w\d(?:h0)?E0)+)(b.*)",
                                               url_write.to_digits(song)).groups()
        instruments = re.sub("f0q00d04(w.)(h.)?E0", r"f9y0z1q0d0C0\1\2", instruments)
        octaves = "".join(str(max(channel.octave - 1, 0)) for channel in song.channels)
        texts.append(f"8{head}m0i0o{octaves}{instruments}{rest}")
    assert len(texts) > 8
    for text, told in zip(texts, heard(texts, tmp_path), strict=True):
        assert files.parse(text.encode())[0] == as_song(told)
