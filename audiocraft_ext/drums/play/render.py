"""A beat as sound: exactly its bars, as a loop. What rings on behind the end is mixed into the start, as it is when a
sampler plays the file round and round; and the hats of the start choke what was open at the end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.midi.kit import DEFAULT, Kit

CEILING = 10 ** (-1 / 20)  # -1 dBFS, for what would clip


class Player(Protocol):
    """What plays notes: a kit, or the drums of a SoundFont. ``tail``: seconds that its longest sound may ring."""

    name: str
    hash: str
    tail: float

    def render(self, notes: np.ndarray, seconds: float, sample_rate: int) -> np.ndarray: ...

    def lacks(self, pitch: int) -> bool: ...


@dataclass(frozen=True, eq=False)
class Sound:
    """``wav float32 [N]`` at ``rate`` (Hz), in -1 to 1; ``gain_db``, below 0 where it would have clipped; the pitches
    that there is no sound for."""

    wav: np.ndarray
    rate: int
    gain_db: float
    silent: list[int]


def play(clip: DrumClip, player: Player, rate: int) -> Sound:
    """Render a clip, whose ``bars`` are known."""
    tick_s = 60 / clip.bpm / clip.ticks_per_beat
    samples = round(clip.bars * clip.ticks_per_beat * 4 * clip.meter[0] / clip.meter[1] * tick_s * rate)
    at = np.round(np.maximum(clip.notes[:, 0], 0) * tick_s * rate)  # in whole samples: each time round is the same
    inside = at < samples
    at, notes = at[inside], clip.notes[inside]
    lead = round(player.tail * rate)  # what was played so long ago may still ring
    rounds = -(-lead // samples)
    when = np.concatenate([at - back * samples for back in range(rounds, -1, -1)]) + lead
    table = np.column_stack([when / rate, np.tile(notes[:, 1:], (rounds + 1, 1))])
    wav = player.render(table[when >= 0], (lead + samples) / rate, rate)[lead:]
    peak = float(np.abs(wav).max(initial=0))
    gain = CEILING / peak if peak > 1 else 1.0
    silent = [pitch for pitch in np.unique(notes[:, 1]).tolist() if player.lacks(pitch)]
    return Sound(wav * np.float32(gain) if gain < 1 else wav, rate, 20 * float(np.log10(gain)), silent)


@dataclass(frozen=True, eq=False)
class KitPlayer:
    """A kit as a player; ``hash`` covers ``kit.json`` and the sizes of its files."""

    kit: Kit
    hash: str
    tail: float

    @classmethod
    def load(cls, folder: Path) -> KitPlayer:
        """Raises a :class:`UserError` where the folder is no kit, or a sound in it is none."""
        try:
            kit = Kit.load(folder)
            sounds = {(path, hit.tune) for hit in kit.hits.values() for _, path in hit.layers}
            tail = max((sf.info(path).duration * 2 ** (-tune / 12) for path, tune in sounds), default=0.0)
            sizes = sorted((path.name, path.stat().st_size) for path, _ in sounds)
            content = repr(sizes).encode() + (folder / "kit.json").read_bytes()
        except UserError:
            raise
        except (ValueError, OverflowError, sf.LibsndfileError) as error:
            raise UserError(f"{folder}: not a drum kit ({error})") from None
        return cls(kit, hashlib.sha256(content).hexdigest()[:16], tail)

    @property
    def name(self) -> str:
        return self.kit.name

    def lacks(self, pitch: int) -> bool:
        return pitch not in self.kit.hits

    def render(self, notes: np.ndarray, seconds: float, sample_rate: int) -> np.ndarray:
        return self.kit.render(notes, seconds, sample_rate)


@lru_cache
def player(soundfont: Path | None = None, kit: Path | None = None) -> Player:
    """The SoundFont's drums, the kit of a folder, or the one that ships.

    Raises:
        UserError: there is none, or it is not whole.
    """
    if soundfont is None:
        return KitPlayer.load(DEFAULT if kit is None else kit)
    from audiocraft_ext.midi.soundfont import Font

    return Font.load(soundfont)
