"""What decides a store of MIDI besides the files: one frozen object, which the store keeps and compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.base import DrumCodec
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.songs.beepbox.song import NOISE_CHANNELS, PITCH_CHANNELS, RHYTHMS
from audiocraft_ext.songs.codec.voices import Voices
from audiocraft_ext.songs.from_midi import Settings as ConvertSettings
from data_prep.shared.cut import MOST_BARS, Cut

ENDINGS = frozenset({".mid", ".midi", ".smf", ".kar", ".rmi"})  # of MIDI files


@dataclass(frozen=True)
class MidiSettings:
    """How MIDI files become a store.

    Attributes:
        codec: what drums are told with, all instruments, or songs of BeepBox.
        cut: "bars:4", rows of so many bars.
        valid_share: of the files, held out.
        min_bars: rows of fewer are left out.
        empty_bars: more empty bars than these in a row are cut out, as are those at both ends.
        duplicates: "drop" all but one of a group of copies, "keep" them all (in one split), "off": look for none.
        channel: of the drums, 1 to 16; 0 is all; None is to be guessed.
        prompts: whether rows are told in words (audiocraft_ext/drums/describe.py, notes/describe.py).
        convert: how MIDI files become songs of BeepBox.
    """

    codec: DrumCodec | Multitrack | Voices = field(default_factory=DrumGrid)
    cut: str = "bars:4"
    valid_share: float = 0.1
    min_bars: int = 1
    empty_bars: int = 2
    duplicates: str = "drop"
    channel: int | None = None
    prompts: bool = True
    convert: ConvertSettings = ConvertSettings()

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UserError: naming the option.
        """
        if Cut.parse(self.cut).kind != "bars":
            raise UserError(f"--cut: MIDI is cut into bars:N (1 to {MOST_BARS}), got {self.cut!r}")
        if not 0 <= self.valid_share < 1:
            raise UserError(f"--valid-share: expected a share from 0 to below 1, got {self.valid_share:g}")
        if not 1 <= self.min_bars <= self.bars:
            raise UserError(f"--min-bars: expected 1 to {self.bars}, the bars of a row (--cut), got {self.min_bars}")
        if not 0 <= self.empty_bars <= 10_000:
            raise UserError(f"--empty-bars: expected 0 to 10000, got {self.empty_bars}")
        if self.channel is not None and not 0 <= self.channel <= 16:
            raise UserError(f"--channel: expected 1 to 16, got {self.channel}")
        if not 1 <= self.convert.channels <= PITCH_CHANNELS:
            raise UserError(f"--channels: expected 1 to {PITCH_CHANNELS}, got {self.convert.channels}")
        if not 0 <= self.convert.drums <= NOISE_CHANNELS:
            raise UserError(f"--drums: expected 0 to {NOISE_CHANNELS}, got {self.convert.drums}")
        if self.convert.rhythm not in (None, *RHYTHMS):
            raise UserError(f"--rhythm: expected one of {', '.join(map(str, RHYTHMS))}, got {self.convert.rhythm}")

    @property
    def kind(self) -> str:
        """Of the codes: "drums", "notes" (several instruments) or "song" (of BeepBox)."""
        return self.codec.spec.kind

    @property
    def songs(self) -> bool:
        """Whether it is of several instruments, and not of drums alone."""
        return self.kind != "drums"

    @property
    def bars(self) -> int:
        """Of a row."""
        return int(Cut.parse(self.cut).size)

    def to_dict(self) -> dict:
        """JSON values; ``codec`` is what :func:`audiocraft_ext.drums.codec.codec_of` takes. Prompts are the store's."""
        found = {"codec": {"type": self.codec.spec.codec, **self.codec.to_dict()}, "cut": self.cut,
                 "valid_share": self.valid_share, "min_bars": self.min_bars, "empty_bars": self.empty_bars,
                 "duplicates": self.duplicates, "channel": self.channel}
        return found | {"convert": asdict(self.convert)} if self.kind == "song" else found
