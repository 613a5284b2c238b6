"""How music on paper is written besides its main files: what the outputs of pieces and of sketches have in common."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from audiocraft_ext.core.errors import UserError

if TYPE_CHECKING:
    from audiocraft_ext.midi.file import Midi

W = TypeVar("W", bound="Written")


@dataclass(frozen=True)
class Written:
    """What is asked for.

    Attributes:
        picture: as a piano roll, ``NAME.png``.
        wav: as sound, ``NAME.wav``; a ``soundfont`` asks for it too.
        soundfont: a General MIDI SoundFont that plays; None is the plain waves and the drum kit that ship.
        rate: of the WAV, in Hz.
    """

    picture: bool = False
    wav: bool = False
    soundfont: Path | None = None
    rate: int = 44_100

    OF: ClassVar[str]  # what is written, in messages

    @property
    def sounds(self) -> bool:
        return self.wav or self.soundfont is not None

    def band(self):
        """What plays."""
        from audiocraft_ext.midi.band import Band

        return Band.load(*(() if self.soundfont is None else (self.soundfont,)))

    def sound(self, midi: Midi, path: Path, comment: str, title: str) -> None:
        """Write the WAV.

        Raises:
            UserError: it cannot be played, or not written.
        """
        from audiocraft_ext.sound.wav import write_wav

        write_wav(path, self.band().render(midi, self.rate), self.rate, comment=comment, title=title)

    def check(self) -> None:
        """Raise a :class:`UserError` for what cannot be, before anything is made."""
        if self.sounds:
            from audiocraft_ext.sound import level

            level.check(self.rate)
            self.band()
        if self.picture:
            from audiocraft_ext.midi import roll

            roll.check()

    def has(self, other: Written) -> bool:
        """Whether what is written so has all that ``other`` asks for."""
        switches = [one.name for one in fields(self) if isinstance(one.default, bool) and one.name != "wav"]
        return all(getattr(self, name) >= getattr(other, name) for name in switches) and (
            not other.sounds or (self.sounds, self.soundfont, self.rate) == (True, other.soundfont, other.rate))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"soundfont": None if self.soundfont is None else os.fspath(self.soundfont)}

    @classmethod
    def from_dict(cls: type[W], values: dict[str, Any]) -> W:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: an unknown option, or a value of another type.
        """
        try:
            font = values.get("soundfont")
            output = cls(**values | {"soundfont": None if font is None else Path(font)})
        except TypeError as error:
            raise UserError(f"not how a {cls.OF} was written ({error})") from None
        if any(type(getattr(output, one.name)) is not type(one.default) for one in fields(cls)
               if one.name != "soundfont"):
            raise UserError(f"not how a {cls.OF} was written: {values}")
        return output
