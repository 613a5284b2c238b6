"""All instruments of a General MIDI SoundFont (.sf2), played as a file says: ``Band.load(path).render(midi, rate)``.

The player and the look at the file before it are those of :mod:`audiocraft_ext.midi.soundfont`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import known_sha256
from audiocraft_ext.midi.file import DRUMS, Midi
from audiocraft_ext.midi.kit import Kit
from audiocraft_ext.midi.soundfont import BANK, VOICES, player_module, presets_of
from audiocraft_ext.midi.waves import PATH

TAIL = 2.0  # seconds that the last notes may ring
PEAK = 0.9
KIT_GAIN = np.float32(1.5)  # of the kit beside a bank without drums
OFF, ON = 0, 1


@dataclass(frozen=True, eq=False)
class Band:
    """A file's instruments: ``presets``, names by bank and number."""

    path: Path
    presets: dict[tuple[int, int], str]

    @classmethod
    def load(cls, path: Path | str = PATH) -> Band:
        """Go through a file without reading its sound; by default that which ships.

        Raises:
            UserError: it is not there, no SoundFont, broken, or without an instrument in bank 0; or nothing is
                installed to play it.
        """
        presets = presets_of(Path(path))
        if not any(bank == 0 for bank, _ in presets):
            raise UserError(f"{path}: a SoundFont without instruments: nothing in bank 0, but "
                            f"{len(presets)} other presets; give one of General MIDI")
        player_module()
        return cls(Path(path), presets)

    @cached_property
    def hash(self) -> str:
        """16 hex digits of the file."""
        return known_sha256(self.path)[:16]

    @property
    def drums(self) -> list[int]:
        """The numbers in bank 128."""
        return [number for bank, number in sorted(self.presets) if bank == BANK]

    def program(self, wanted: int) -> int:
        """The number in bank 0 that plays a program: its own, else the nearest."""
        return min((number for bank, number in self.presets if bank == 0), key=lambda number: abs(number - wanted))

    def render(self, midi: Midi, sample_rate: int) -> np.ndarray:
        """Play a file up to its end and a little on: ``float32 [N]``, left and right as one, its peak at 0.9 of full
        scale unless it is silent. Where the file has no drums in bank 128 they are played by the kit that ships.

        Raises:
            UserError: the player does not take the file.
        """
        synth = self._synth(midi, sample_rate)
        out = np.zeros((round((float(midi.seconds(midi.end)) + TAIL) * sample_rate), 2), np.float32)
        at = 0
        for when, what, channel, pitch, velocity in [*self._events(midi, sample_rate), (len(out), OFF, 0, 0, 0)]:
            if (when := min(when, len(out))) > at:
                synth.generate_simple(when - at, memoryview(out[at:when]).cast("B"))
                at = when
            if what == ON:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        wav = out.sum(1)
        if not self.drums:
            wav += KIT_GAIN * self._kit(midi, len(wav), sample_rate)
        peak = float(np.abs(wav).max(initial=0.0))
        return wav * np.float32(PEAK / peak) if peak else wav

    def _events(self, midi: Midi, sample_rate: int) -> list[tuple[int, int, int, int, int]]:
        """Ends and begins of notes by sample, the ends first."""
        starts, ends = (np.round(midi.seconds(midi.notes[name]) * sample_rate).astype(np.int64).tolist()
                        for name in ("start", "end"))
        events = []
        for start, end, (*_, channel, pitch, velocity) in zip(starts, ends, midi.notes.tolist()):
            events += [(start, ON, channel - 1, pitch, velocity), (max(end, start + 1), OFF, channel - 1, pitch, 0)]
        return sorted(events)

    def _kit(self, midi: Midi, samples: int, sample_rate: int) -> np.ndarray:
        """The drums of the kit that ships, ``float32 [samples]``."""
        rows = midi.notes[midi.notes["channel"] == DRUMS]
        notes = np.stack([midi.seconds(rows["start"]), rows["pitch"], rows["velocity"]], 1)
        return Kit.load().render(notes, samples / sample_rate, sample_rate)

    def _synth(self, midi: Midi, sample_rate: int):
        """A player with a preset on each channel that is used."""
        tinysoundfont = player_module()
        synth = tinysoundfont.Synth(samplerate=sample_rate)
        programs = dict(zip(midi.programs["channel"].tolist(), midi.programs["program"].tolist()))
        try:
            sound = synth.sfload(self.path.read_bytes(), max_voices=VOICES)  # as a name it has to be Unicode
            for channel in np.unique(midi.notes["channel"]).tolist():
                if channel == DRUMS and self.drums:
                    synth.program_select(channel - 1, sound, BANK, self.drums[0], True)
                elif channel == DRUMS:
                    synth.control_change(channel - 1, 7, 0)  # its volume
                else:
                    synth.program_select(channel - 1, sound, 0, self.program(programs.get(channel, 0)))
        except (RuntimeError, OSError, tinysoundfont.SoundFontException) as error:
            raise UserError(f"{self.path}: the SoundFont cannot be played ({error})") from None
        return synth
