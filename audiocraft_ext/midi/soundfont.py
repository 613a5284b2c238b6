"""The drums of a SoundFont (.sf2), played as a kit is: ``Font.load(path).render(notes, seconds, rate)``.

General MIDI has drums in bank 128. The player is TinySoundFont (https://github.com/schellingb/TinySoundFont), which is
C and believes what a file says; so the file is gone through here first, as the `SoundFont 2.04 specification
<https://www.synthfont.com/sfspec24.pdf>`_ (sections 5 to 7) lays it out, and one whose parts do not fit is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import known_sha256
from audiocraft_ext.midi.file import NOTE_TICKS

BANK = 128  # of drums
CHANNEL = 9  # channel 10, from 0
VOICES = 512  # at once; one hit may be several
HELD = 0.0625 * NOTE_TICKS / 60  # seconds until a key is let go: what a note of our files lasts at 120 BPM
SIZES = {"phdr": 38, "pbag": 4, "pmod": 10, "pgen": 4, "inst": 22, "ibag": 4, "imod": 10, "igen": 4, "shdr": 46}
INSTRUMENT, SAMPLE = 41, 53  # generators: where a zone leads
COMPRESSED = 0x10  # a sample's type in .sf3
INSTALL = "pip install --no-deps tinysoundfont"


@dataclass(frozen=True, eq=False)
class Font:
    """A file's drums: presets of bank 128 by number, with their names. The first one plays, "Standard" as a rule."""

    path: Path
    presets: dict[int, str]

    tail = 6.0  # seconds that a cymbal may ring: no file says

    @classmethod
    def load(cls, path: Path | str) -> Font:
        """Go through a file without reading its sound.

        Raises:
            UserError: it is not there, no SoundFont, broken, or without drums; or nothing is installed to play it.
        """
        path = Path(path)
        presets = presets_of(path)
        drums = {number: name for (bank, number), name in sorted(presets.items()) if bank == BANK}
        if not drums:
            names = ", ".join(list(presets.values())[:3]) + (", ..." if len(presets) > 3 else "")
            raise UserError(f"{path}: a SoundFont without drums: nothing in bank {BANK}, but {len(presets)} other "
                            f"preset{'s' * (len(presets) != 1)} ({names}); give one of General MIDI, or of drums")
        player_module()
        return cls(path, drums)

    @property
    def name(self) -> str:
        return next(iter(self.presets.values()))

    def lacks(self, pitch: int) -> bool:
        """Not known: keys are up to each preset's zones."""
        return False

    @cached_property
    def hash(self) -> str:
        """16 hex digits of the file."""
        return known_sha256(self.path)[:16]

    def render(self, notes: Sequence[Sequence[float]] | np.ndarray, seconds: float,
               sample_rate: int) -> np.ndarray:
        """Play ``(seconds, pitch, velocity 1-127)`` in any order; ``float32 [round(seconds * sample_rate)]``, left and
        right as one. What lies outside of the time is silent.

        Raises:
            UserError: the player does not take the file.
        """
        out = np.zeros((round(seconds * sample_rate), 2), np.float32)
        synth = _synth(self, sample_rate)
        at = 0
        for when, pitch, velocity in [*_events(notes, sample_rate, len(out)), (len(out), 0, 0)]:
            if when > at:
                synth.generate_simple(when - at, memoryview(out[at:when]).cast("B"))
                at = when
            if velocity:
                synth.noteon(CHANNEL, pitch, velocity)
            else:
                synth.noteoff(CHANNEL, pitch)
        synth.sounds_off(CHANNEL)
        synth.generate_simple(sample_rate)  # what is cut off fades, and not into the next beat
        return out.sum(1) * np.float32(0.5**0.5)  # as loud as it was, where it was in the middle


@lru_cache(maxsize=2)
def _synth(font: Font, sample_rate: int):
    """A player with the drums on channel 10, and nothing sounding. Each has the file's sound in memory."""
    tinysoundfont = player_module()
    synth = tinysoundfont.Synth(samplerate=sample_rate)
    try:
        sound = synth.sfload(font.path.read_bytes(), max_voices=VOICES)  # as a name it has to be Unicode
        synth.program_select(CHANNEL, sound, BANK, next(iter(font.presets)), True)
    except (RuntimeError, OSError, tinysoundfont.SoundFontException) as error:
        raise UserError(f"{font.path}: the SoundFont cannot be played ({error})") from None
    return synth


def _events(notes, sample_rate: int, samples: int) -> list[tuple[int, int, int]]:
    """Ons, and offs with velocity 0, by sample; at one sample the offs come first."""
    table = np.asarray(notes, np.float64).reshape(-1, 3)
    starts = np.round(table[:, 0] * sample_rate).astype(np.int64)
    audible = (starts >= 0) & (starts < samples) & (table[:, 2] > 0)
    ons = [(int(at), int(pitch), int(velocity)) for at, (_, pitch, velocity) in zip(starts[audible], table[audible])]
    held = max(1, round(HELD * sample_rate))
    offs = [(at + held, pitch, 0) for at, pitch, _ in ons if at + held < samples]
    return sorted(ons + offs, key=lambda event: (event[0], event[2] > 0, event[1]))


def player_module():
    """The library; a :class:`UserError` where it is not installed."""
    try:
        import tinysoundfont
    except ImportError:
        raise UserError(f"a SoundFont is played by tinysoundfont, which is not installed; '{INSTALL}', or do "
                        "without: drums alone are played by the kit that ships, which needs nothing") from None
    return tinysoundfont


def presets_of(path: Path) -> dict[tuple[int, int], str]:
    """Bank and number of all presets of a file, and their names; its sound is not read.

    Raises:
        UserError: it cannot be read, or it is broken.
    """
    try:
        with path.open("rb") as file:
            return _presets(file, path.stat().st_size)
    except OSError as error:
        raise UserError(f"{path}: the SoundFont cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not a SoundFont that can be played, {error}") from None


def _presets(file, size: int) -> dict[tuple[int, int], str]:
    """Bank and number of all presets, and their names.

    Raises:
        ValueError: what is wrong with the file.
    """
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise ValueError("it is empty (0 bytes)" if not head else f"it begins with {head[:4]!r}")
    tables, samples = _chunks(file, size)
    if missing := [name for name in (*SIZES, "smpl") if name not in tables | {"smpl": samples}] or samples is None:
        raise ValueError(f"it has no {missing[0] if missing is not True else 'smpl'}")
    rows = {name: np.frombuffer(tables[name], np.uint8).reshape(-1, wide) for name, wide in SIZES.items()}
    _check(rows, samples)
    return {(_word(row, 22), _word(row, 20)): _name(row) for row in rows["phdr"][:-1]}


def _chunks(file, size: int) -> tuple[dict[str, bytes], int | None]:
    """The tables of a file, and how many bytes of sound it has."""
    tables, samples, at = {}, None, 12
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if at + 8 + length > size:
            raise ValueError(f"it ends inside its chunk {kind.decode('latin-1')!r}, "
                             f"{at + 8 + length - size} bytes too early")
        if kind == b"LIST":  # go into it
            at += 12
            continue
        name = kind.decode("latin-1")
        if name == "smpl":
            samples = length
        elif name in SIZES:
            if length % SIZES[name] or not length or name in tables:
                raise ValueError(f"its table {name} has {length} bytes, not {SIZES[name]} a row")
            tables[name] = file.read(length)
        at += 8 + length + length % 2
    return tables, samples


def _check(rows: dict[str, np.ndarray], samples: int) -> None:
    """Raises ValueError unless each table leads to rows that the next one has."""
    for table, column, to in (("phdr", 24, "pbag"), ("pbag", 0, "pgen"), ("pbag", 2, "pmod"), ("inst", 20, "ibag"),
                              ("ibag", 0, "igen"), ("ibag", 2, "imod")):
        first = _words(rows[table], column)
        if (np.diff(first) < 0).any() or first[-1] >= len(rows[to]):
            raise ValueError(f"its table {table} points outside of {to}")
    for table, generator, to in (("pgen", INSTRUMENT, "inst"), ("igen", SAMPLE, "shdr")):
        value = _words(rows[table], 2)[_words(rows[table], 0) == generator]
        if len(value) and value.max() >= len(rows[to]) - 1:
            raise ValueError(f"its table {table} points outside of {to}")
    start, end = (rows["shdr"][:-1, at: at + 4].copy().view("<u4")[:, 0] for at in (20, 24))
    if (_words(rows["shdr"][:-1], 44) & COMPRESSED).any():
        raise ValueError("its samples are compressed (.sf3); one with plain samples (.sf2) is needed")
    if ((end < start) | (end.astype(np.int64) * 2 > samples)).any():
        raise ValueError("a sample lies outside of its sound")


def _words(rows: np.ndarray, at: int) -> np.ndarray:
    """The 16 bits at byte ``at`` of each row, ``int64 [n]``."""
    return rows[:, at].astype(np.int64) + (rows[:, at + 1].astype(np.int64) << 8)


def _word(row: np.ndarray, at: int) -> int:
    return int(row[at]) + (int(row[at + 1]) << 8)


def _name(row: np.ndarray) -> str:
    return row[:20].tobytes().split(b"\0")[0].decode("latin-1").strip() or "without a name"
