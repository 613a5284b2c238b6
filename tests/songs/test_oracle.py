"""BeepBox's own class, under node, reads what we write to the same notes, and we what it writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from audiocraft_ext.songs.beepbox import as_json, files, url_write
from audiocraft_ext.songs.beepbox.song import RHYTHMS, Channel, Note, Point, Song
from tests.helpers.songs import random_song

pytestmark = pytest.mark.peers
ORACLE = Path(__file__).with_name("oracle.mjs")
REAL = Path(__file__).with_name("real.txt")
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


def test_real_songs_are_the_same_to_both(tmp_path):
    """Old ones too, of every version that BeepBox reads."""
    urls = REAL.read_text("utf-8").split()
    for url, told in zip(urls, heard(urls, tmp_path), strict=True):
        assert files.parse(url.encode())[0] == as_song(told)
        assert files.parse(told["digits"].encode())[0] == as_song(told)
