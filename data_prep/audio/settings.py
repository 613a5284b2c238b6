"""What decides a store besides the files: one frozen object, which the store keeps and compares."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from audiocraft_ext.core.errors import UserError
from data_prep.shared.cut import Cut

TEMPOS = ("net", "beat_this", "off")


@dataclass(frozen=True)
class Settings:
    """How sound becomes a store.

    Attributes:
        cut: see :mod:`data_prep.audio.cuts`.
        valid_share: of the sources, held out.
        min_seconds: shorter pieces are left out.
        level: "lufs:-18", "peak:-1" or "off".
        dc: take the mean away.
        silence: inner silence longer than this many seconds is cut out, as are both ends; 0 leaves all silence in.
        silence_db: what counts as silence, dB beside the sound's own level.
        duplicates: "drop" all but one of a group of copies, "keep" them all (in one split), "off": look for none.
        tempo: what finds the beats, see :mod:`data_prep.audio.beats.listener`: "net", "beat_this" where that is
            installed, or "off".
        variants: how many are made of each train source.
        augment: what they may differ in, see :mod:`data_prep.audio.augment`.
        seed: of the variants.
        runtime: what ran the codec; its codes may differ in the last place from another's.
        metronome: a stream more, which says where in the bar a frame lies (audiocraft_ext/audio/metronome.py).
        lock_tempo: the codec's frames a second, where what has a sure and steady tempo is to be played up to 3% faster
            or slower, so that its beat is a whole number of frames; else 0.
    """

    cut: str = "fixed:30"
    valid_share: float = 0.1
    min_seconds: float = 1.0
    level: str = "lufs:-18"
    dc: bool = True
    silence: float = 2.0
    silence_db: float = -60.0
    duplicates: str = "drop"
    tempo: str = "net"
    variants: int = 0
    augment: str = ""
    seed: int = 0
    runtime: str = "onnxruntime"
    metronome: bool = False
    lock_tempo: float = 0.0

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UserError: naming the option.
        """
        Cut.parse(self.cut)
        from data_prep.audio import augment
        from data_prep.audio.analysis import levels
        from data_prep.audio.beats import beat_this

        try:
            levels.parse_target(self.level)
        except UserError as error:
            raise UserError(f"--level: {error}") from None
        if not 0 <= self.valid_share < 1:
            raise UserError(f"--valid-share: expected a share from 0 to below 1, got {self.valid_share:g}")
        if not 0 <= self.min_seconds < math.inf:
            raise UserError(f"--min-seconds: expected 0 or more, got {self.min_seconds:g}")
        if not 0 <= self.silence < math.inf or not -120 <= self.silence_db <= -20:
            raise UserError(f"expected --silence of 0 (off) or more seconds and --silence-db from -120 to -20, "
                            f"got {self.silence:g} and {self.silence_db:g}")
        if not 0 <= self.variants <= 100:
            raise UserError(f"--variants: expected 0 to 100, got {self.variants}")
        if bool(self.variants) != bool(self.augment):
            raise UserError("--variants and --augment go together: how many, and what they differ in")
        if self.tempo == "beat_this" and not beat_this.there():
            raise UserError("--tempo beat_this: it is not installed, or its weights are not at "
                            f"{beat_this.weights()}; see data_prep/audio/beats/beat_this.py, or use --tempo net")
        if self.augment:
            augment.Augment.parse(self.augment)

    def to_dict(self) -> dict:
        values = asdict(self)
        return {key: value for key, value in values.items() if value or key not in ("metronome", "lock_tempo")}
