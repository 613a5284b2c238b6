"""How long an MP3 is: by its Xing, Info or VBRI header, which is its first frame, and by the frames that are there."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import NamedTuple

# The first frame of most MP3s: its head and its side information of one of these sizes, then how much follows.
TAG = re.compile(
    rb"\xff(?P<version>[\xe0-\xff])..(?:.{9}|.{11}|.{17}|.{19}|.{32}|.{34})"
    rb"(?:(?:Xing|Info)...(?P<flags>.)(?P<frames>.{4})(?P<bytes>.{4})"
    rb"|VBRI.{6}(?P<vbri_bytes>.{4})(?P<vbri_frames>.{4}))", re.DOTALL)
EXTRA = 2**12  # bytes behind the sound that may be tags
# Of layer III, by the four bits of a frame's head: thousands of bits a second in MPEG 1, and in 2 and 2.5
BIT_RATES = ((0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
             (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0))
RATES = {3: (44_100, 48_000, 32_000, 0), 2: (22_050, 24_000, 16_000, 0), 0: (11_025, 12_000, 8000, 0)}  # by version


class Length(NamedTuple):
    """Of an MP3.

    Attributes:
        least: samples that it has to hold by its header, 0 for one without.
        trusted: whether a decoder that stops where that says reads all of it: there is such a header, and nothing was
            put behind what it knows of.
        note: what is wrong with the header, or "".
    """

    least: int
    trusted: bool
    note: str = ""


def length(path: Path, guess: int) -> Length:
    """Of the file, where ``guess`` is libsndfile's number of samples, at which it stops.

    A hundredth, or the start and the end that decoders treat differently, may be missing.
    """
    with path.open("rb") as raw:
        head = raw.read(10)
        while head[:3] == b"ID3" and len(head) == 10:  # its size has 7 bits a byte
            raw.seek(sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0))), 1)
            head = raw.read(10)
        start = raw.tell() - len(head)
        tag = TAG.search(head + raw.read(4096))
    counted = int.from_bytes(tag["frames"] or tag["vbri_frames"], "big") if tag else 0
    if not counted or (tag["flags"] and tag["flags"][0] & 3 != 3):  # it has to count both frames and bytes
        return Length(0, False)
    size = int.from_bytes(tag["bytes"] or tag["vbri_bytes"], "big")
    samples = 1152 if tag["version"][0] >> 3 & 3 == 3 else 576  # a frame: MPEG 1; 2 and 2.5
    said = min(guess, counted * samples)
    least = max(0, said - max(2 * samples, said // 100))
    if path.stat().st_size - start >= 1.01 * size + EXTRA:
        return Length(least, False)
    there = frames(path, start + tag.start()) - 1
    if there > counted + max(2, counted // 100):
        return Length(0, False, f"its header counts {counted} frames, it has {there}")
    return Length(least, True)


def frames(path: Path, at: int) -> int:
    """How many whole frames of layer III follow each other from byte ``at`` on."""
    count = 0
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while at + 4 <= len(data) and data[at] == 0xFF:
            version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
            if data[at + 1] < 0xE0 or version == 1 or layer != 1:
                break
            rate, bits = RATES[version][data[at + 2] >> 2 & 3], BIT_RATES[version != 3][data[at + 2] >> 4]
            if not rate or not bits:
                break
            at += (144_000 if version == 3 else 72_000) * bits // rate + (data[at + 2] >> 1 & 1)
            count += at <= len(data)
    return count
