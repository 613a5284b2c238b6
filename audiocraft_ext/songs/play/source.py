"""From a file to the codes that a sketch begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import plain_stem
from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.songs.beepbox import files
from audiocraft_ext.songs.beepbox.song import Song, song_of_bars
from audiocraft_ext.songs.codec.voices import Facts, Voices, facts_of
from audiocraft_ext.songs.from_midi import Settings, song_of


@dataclass(frozen=True, eq=False)
class Source:
    """A song of a file: ``codes int64 [4, T]`` of ``bars`` whole bars."""

    codes: np.ndarray
    facts: Facts
    bars: int
    title: str


def read_source(path: str | Path, codec: Voices, say: Callable[[str], object],
                asked: Mapping[str, int | None]) -> Source:
    """The song of BeepBox's JSON, of its URL in a text file, or of a MIDI file, up to its last bar with a note.

    Args:
        asked: settings of a recipe. Channels that a file has not are silent in it.

    Raises:
        UserError: no song, or one that is not what is asked for.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_midi = file.read(4) in (b"MThd", b"RIFF")
        if is_midi:
            usual = Settings(3, 1)
            song, remarks = song_of(midi_file.read(path), Settings(
                asked.get("channels") or usual.channels, usual.drums if asked.get("drums") is None else asked["drums"],
                asked.get("rhythm")))
        else:
            song, remarks = files.read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except midi_file.BrokenMidi as error:
        raise UserError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    last = max((bar for _, bar, _ in song.notes()), default=None)
    if last is None:
        raise UserError(f"{path}: has no notes")
    if remarks:
        say(f"note: {path}: {'; '.join(remarks)}")
    song = _widened(song, asked.get("channels") or 0, asked.get("drums") or 0)
    facts = facts_of(song)
    known = {"channels": facts.pitched, "drums": facts.noise, "rhythm": facts.rhythm, "beats": facts.beats}
    for name, value in known.items():
        if asked.get(name) not in (None, value):
            raise UserError(f"{name}: the file has {value}, got {asked[name]}; leave it out")
    codes = codec.encode(song).astype(np.int64)[:, : (last + 1) * facts.bar]
    return Source(codes, facts, last + 1, f"continue-{plain_stem(path)}")


def _widened(song: Song, pitched: int, noise: int) -> Song:
    """The song with so many channels at least, those that are new of rests."""
    if pitched <= song.pitched and noise <= len(song.channels) - song.pitched:
        return song
    bars = [[channel.bar(bar) for bar in range(song.bars)] for channel in song.channels]
    rests = [()] * song.bars
    tuned = bars[: song.pitched] + [rests] * (pitched - song.pitched)
    hits = bars[song.pitched :] + [rests] * (noise - len(song.channels) + song.pitched)
    return song_of_bars(tuned + hits, len(hits), beats=song.beats, rhythm=song.rhythm, tempo=song.tempo, key=song.key,
                        scale=song.scale)
