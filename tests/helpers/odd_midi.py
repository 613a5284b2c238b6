"""MIDI files with one fault each, made here: eight kicks and snares in a track or two, or a piano on channel 1."""

from __future__ import annotations

import random
import struct

END = b"\0\xff\x2f\0"
HEAD = b"\0\xff\x51\x03\x07\xa1\x20\0\xff\x58\x04\x04\x02\x18\x08"  # 120 BPM, 4/4
KICK, SNARE = 36, 38


def hits(*pitches: int, times: int) -> bytes:
    """Quarter notes of 480 ticks on channel 10, ``pitches`` in turn."""
    one = b"".join(bytes([0, 0x99, pitch, 100, 60, 0x89, pitch, 0, 0x83, 0x24, 0xB9, 7, 100]) for pitch in pitches)
    return one * times


def track(events: bytes, size: int | None = None) -> bytes:
    return b"MTrk" + struct.pack(">I", len(events) if size is None else size) + events


def whole(*tracks: bytes, count: int | None = None) -> bytes:
    return struct.pack(">4sIHHH", b"MThd", 6, len(tracks) > 1, len(tracks) if count is None else count, 480) + b"".join(
        tracks)


def _piano() -> bytes:
    rng = random.Random(5)
    pitches = [rng.randrange(28, 96) for _ in range(256)]
    played = b"".join(bytes([0, 0x90, pitch, rng.randrange(30, 110), 60, 0x90, pitch, 0]) for pitch in pitches)
    return whole(track(HEAD + b"\0\xff\x03\x05Piano" + played + END))


_BEAT = HEAD + hits(KICK, SNARE, times=8)
_KICKS, _SNARES = track(HEAD + hits(KICK, times=16) + END), track(hits(SNARE, times=16) + END)
_WRAPPED = whole(track(_BEAT + END))
FAULTS: dict[str, bytes] = {
    "count_too_low.mid": whole(_KICKS, _SNARES, count=1),
    "count_too_high.mid": whole(_KICKS, _SNARES, count=9),
    "junk_between.mid": whole(_KICKS, b"\x85\0\xff\x51\x03\x07\xa1\x20", _SNARES, count=2),
    "track_length_0.mid": whole(track(_BEAT + END, size=0)),
    "end_inside.mid": whole(track(_BEAT + END + hits(KICK, times=4) + END)),
    "rmid.rmi": b"RIFF" + struct.pack("<I", len(_WRAPPED) + 12) + b"RMIDdata" + struct.pack("<I", len(_WRAPPED))
                + _WRAPPED,
    "clock_inside.mid": whole(track(HEAD + hits(KICK, SNARE, times=4) + b"\0\xf8" + hits(KICK, SNARE, times=4) + END)),
    "controller_168.mid": whole(track(HEAD + b"\0\xb9\x07\xa8" + hits(KICK, SNARE, times=8) + END)),
    "piano_ch1.mid": _piano(),
}
