"""Where a MIDI file's tracks lie: behind its header, in a RIFF file, with a wrong count or size, with junk between."""

from __future__ import annotations

from typing import NamedTuple

HEADER, TRACK, END_OF_TRACK = b"MThd", b"MTrk", b"\xff\x2f\x00"
FURTHEST = 4096  # bytes in which a header is looked for: 128 of MacBinary, a mail's first lines


class Track(NamedTuple):
    """A chunk of events: the bytes from ``begin`` to ``end``, as its size says, and those of ``junk`` before it."""

    begin: int
    end: int
    junk: int


def unwrap(data: bytes) -> tuple[bytes, str]:
    """A file from its header on, and a remark where that is not its first byte ("" where it is).

    RIFF-RMID is Windows' wrapping (RP-029): the file is its chunk ``data``.
    """
    if data[:4] == HEADER:
        return data, ""
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        at = 12
        while at + 8 <= len(data):
            size = int.from_bytes(data[at + 4 : at + 8], "little")
            if data[at : at + 4] == b"data" and data[at + 8 : at + 12] == HEADER:
                return data[at + 8 : at + 8 + size], ""
            at += 8 + size + size % 2
    at = data.find(HEADER, 0, FURTHEST)
    return (data, "") if at < 0 else (data[at:], f"its first {at} bytes are no MIDI, left out")


def next_track(data: bytes, at: int) -> Track | None:
    """The first track from byte ``at`` on; None where there is none, or where another file begins.

    Chunks of other names are passed over, as the standard asks. What is no chunk is junk.
    """
    begin = at
    while at + 8 <= len(data) and (name := data[at : at + 4]) != HEADER:
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        if name == TRACK:
            return Track(at + 8, end, at - begin)
        if _is_name(name) and (end == len(data) or _is_name(data[end : end + 4])):
            at = begin = end
        elif (at := data.find(TRACK, at + 1)) < 0:
            return None
    return None


def ends_there(data: bytes, end: int) -> bool:
    """Whether a track's size can be believed: the file ends with it, or a chunk follows, or an end of track is before
    it."""
    if end >= len(data):
        return end == len(data)
    return _is_name(data[end : end + 4]) or data[end - 3 : end] == END_OF_TRACK


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)
