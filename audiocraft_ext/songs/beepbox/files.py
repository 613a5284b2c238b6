"""Songs from files and texts: JSON or URL, whichever it is."""

from __future__ import annotations

from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.songs.beepbox import as_json, url_read
from audiocraft_ext.songs.beepbox.song import Song

ENDINGS = frozenset({".json", ".txt", ".url"})
MOST_BYTES = 32 * 2**20  # of a file


class BrokenSong(UserError):
    """What cannot be read as a song; the message says why."""


def parse(data: bytes) -> tuple[Song, list[str]]:
    """The song of a file's bytes, and what is to be said of it. A text may have lines before its URL, as a ``.url``
    file has.

    Raises:
        BrokenSong: it is none.
    """
    if len(data) > MOST_BYTES:
        raise BrokenSong(f"is no song: it has {len(data)} bytes")
    text = data.decode("utf-8-sig", "replace").strip()
    if not text:
        raise BrokenSong("is empty")
    try:
        if text.lstrip("# ")[:1] == "{" or (text[0] == "[" and "://" not in text):
            return as_json.from_text(text.lstrip("# "))
        return url_read.from_url(_line(text)), []
    except UserError as error:
        raise BrokenSong(str(error)) from None


def read(path: str | Path) -> tuple[Song, list[str]]:
    """The song of a file, and what is to be said of it.

    Raises:
        BrokenSong: it is none.
        OSError: it cannot be read.
    """
    try:
        return parse(Path(path).read_bytes())
    except BrokenSong as error:
        raise BrokenSong(f"{path}: {error}") from None


def _line(text: str) -> str:
    """The one with the URL: the first that has a song, else the last."""
    lines = text.split()
    return next((line for line in lines if "#" in line), lines[-1])
