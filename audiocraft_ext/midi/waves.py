"""The bank of instruments that ships, ``kits/waves.sf2``: plain waves, one for each family of General MIDI.

It is there so that pitched parts can be heard without a SoundFont of one's own, and sounds like a toy. Each wave is a
period with overtones that fall off, in three registers with ever fewer of them, and an envelope; all 128 programs of
bank 0 are there, eight alike. The layout is that of the `SoundFont 2.04 specification
<https://www.synthfont.com/sfspec24.pdf>`_. ``python -m audiocraft_ext.midi.waves`` writes the file; CC0.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audiocraft_ext.core.files import write
from audiocraft_ext.midi.names import FAMILIES

PATH = Path(__file__).parents[1] / "kits" / "waves.sf2"
ROOT, PERIOD, LEAD, SILENCE = 60, 256, 32, 46  # key of the waves; samples of a period, before it and behind it
REGISTERS = ((0, 59, 40), (60, 79, 16), (80, 127, 6))  # first key, last key, overtones
LOUD = 0.12  # root mean square of a wave
KEYS, ATTACK, DECAY, SUSTAIN, RELEASE, INSTRUMENT, SAMPLE, LOOPS = 43, 34, 36, 37, 38, 41, 53, 54  # generators
SILENT = 1000  # centibels


class Voice(NamedTuple):
    """How fast overtones fall off (a power), how loud the even ones are, and the envelope in seconds; a note with a
    ``decay`` of 0 lasts as long as its key is held."""

    slope: float
    even: float
    attack: float
    decay: float
    release: float


VOICES = dict(zip(FAMILIES, (
    Voice(1.7, 0.8, 0.002, 3.0, 0.2), Voice(2.6, 0.3, 0.002, 1.5, 0.4), Voice(1.3, 1.0, 0.01, 0, 0.06),
    Voice(1.4, 0.9, 0.002, 2.0, 0.1), Voice(1.6, 0.7, 0.004, 2.5, 0.08), Voice(1.1, 1.0, 0.08, 0, 0.2),
    Voice(1.2, 0.9, 0.12, 0, 0.3), Voice(1.0, 0.9, 0.03, 0, 0.1), Voice(1.1, 0.2, 0.02, 0, 0.08),
    Voice(2.6, 0.4, 0.04, 0, 0.1), Voice(1.0, 0.0, 0.005, 0, 0.05), Voice(1.8, 0.8, 0.35, 0, 0.6),
    Voice(1.5, 0.3, 0.2, 0, 0.8), Voice(1.3, 0.5, 0.002, 1.2, 0.1), Voice(2.0, 0.3, 0.002, 0.4, 0.2),
    Voice(1.2, 1.0, 0.01, 0.8, 0.2))))


def build() -> bytes:
    """The whole file."""
    sound, samples, zones, presets = [], [], [], []
    at = 0
    for voice in VOICES.values():
        for *_, overtones in REGISTERS:
            wave = _wave(voice, overtones)
            samples.append((at, at + len(wave), at + LEAD, at + LEAD + PERIOD))
            sound.append(np.concatenate([wave, np.zeros(SILENCE, np.int16)]))
            at += len(sound[-1])
    for i, voice in enumerate(VOICES.values()):
        for j, (first, last, _) in enumerate(REGISTERS):
            zones.append(_generators((KEYS, first | last << 8), (ATTACK, _timecents(voice.attack)),
                                     (DECAY, _timecents(voice.decay or 1.0)),
                                     (SUSTAIN, SILENT if voice.decay else 0), (RELEASE, _timecents(voice.release)),
                                     (LOOPS, 1), (SAMPLE, i * len(REGISTERS) + j)))
    names, per = [*FAMILIES], len(REGISTERS)
    presets = [struct.pack("<20s3H3I", f"{names[p // 8]} {p % 8 + 1}".encode(), p, 0, p, 0, 0, 0) for p in range(128)]
    rate = round(440 * 2 ** ((ROOT - 69) / 12) * PERIOD)
    heads = [struct.pack("<20s5IBbHH", f"wave {i}".encode(), *where, rate, ROOT, 0, 0, 1)
             for i, where in enumerate(samples)]
    size = len(zones[0]) // 4
    tables = {
        "phdr": [*presets, struct.pack("<20s3H3I", b"EOP", 0, 0, 128, 0, 0, 0)],
        "pbag": [struct.pack("<2H", p, 0) for p in range(129)], "pmod": [bytes(10)],
        "pgen": [*(_generators((INSTRUMENT, p // 8)) for p in range(128)), bytes(4)],
        "inst": [*(struct.pack("<20sH", name.encode(), i * per) for i, name in enumerate(names)),
                 struct.pack("<20sH", b"EOI", len(zones))],
        "ibag": [struct.pack("<2H", zone * size, 0) for zone in range(len(zones) + 1)], "imod": [bytes(10)],
        "igen": [*zones, bytes(4)], "shdr": [*heads, struct.pack("<20s5IBbHH", b"EOS", *[0] * 9)]}
    info = _chunk(b"ifil", struct.pack("<2H", 2, 4)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"waves\0")
    body = b"".join((_chunk(b"LIST", b"INFO" + info),
                     _chunk(b"LIST", b"sdta" + _chunk(b"smpl", np.concatenate(sound).astype("<i2").tobytes())),
                     _chunk(b"LIST", b"pdta" + b"".join(_chunk(name.encode(), b"".join(rows))
                                                        for name, rows in tables.items()))))
    return _chunk(b"RIFF", b"sfbk" + body)


def _wave(voice: Voice, overtones: int) -> np.ndarray:
    """``int16``: a period, with the end of one before it."""
    n = np.arange(1, overtones + 1)
    loud = n**-voice.slope * np.where(n % 2 == 0, voice.even, 1.0)
    phase = 2 * np.pi * np.outer(n, np.arange(-LEAD, PERIOD + LEAD)) / PERIOD
    wave = (loud[:, None] * np.sin(phase + n[:, None] ** 2)).sum(axis=0)  # phases apart keep the peaks low
    return np.round(32767 * LOUD * wave / np.sqrt((wave[LEAD : LEAD + PERIOD] ** 2).mean())).astype(np.int16)


def _timecents(seconds: float) -> int:
    return round(1200 * math.log2(seconds))


def _generators(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<2H", kind, value & 0xFFFF) for kind, value in pairs)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


if __name__ == "__main__":
    write(PATH, build())
