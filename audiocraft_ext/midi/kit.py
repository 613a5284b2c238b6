"""A drum kit: General MIDI notes to sound, with a folder of hits.

``Kit.load().render([(0.0, 36, 110), (0.25, 42, 80)], seconds=1.0, sample_rate=44_100)`` is a kick and a hat. A kit is a
folder of mono FLACs and a ``kit.json`` that says which hit a pitch plays:

    {"name": ..., "velocity_db": 32, "hits": {"snare": {"pitches": [38, 40], "gain_db": -3, "choke": "", "tune": 0,
     "layers": [{"file": "snare_soft.flac", "from": 1}, {"file": "snare_hard.flac", "from": 70}]}, ...}}

A layer plays from its velocity up to the next one's. Hits of one choke group cut each other off, as the closed hat
does the open one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.core.errors import UserError

DEFAULT = Path(__file__).parents[1] / "kits" / "cc0"
CHOKE = 0.012  # seconds in which a choked hit fades; at once, it would click
LOUDEST, PITCHES = 127, 128


@dataclass(frozen=True)
class Hit:
    """One sound of a kit.

    Attributes:
        name: what it is, such as "open hat".
        gain: amplitude at velocity 127.
        choke: its group; "" is none.
        layers: ``(lowest velocity, file)``, ascending.
        tune: semitones up, as a sampler does it: higher is shorter.
    """

    name: str
    gain: float
    choke: str
    layers: tuple[tuple[int, Path], ...]
    tune: float = 0.0

    def file(self, velocity: int) -> Path:
        """The layer that ``velocity`` plays."""
        return [path for lowest, path in self.layers if lowest <= max(velocity, self.layers[0][0])][-1]


@dataclass(frozen=True)
class Kit:
    """Hits by General MIDI pitch; ``velocity_db`` is how far below velocity 127 the softest note lies."""

    name: str
    hits: dict[int, Hit]
    velocity_db: float

    @classmethod
    def load(cls, folder: Path | str = DEFAULT) -> Kit:
        """Read ``kit.json``; the hits are read when first played.

        Raises:
            UserError: there is no such kit, a file or a key is missing, or two hits claim one pitch.
        """
        path = Path(folder) / "kit.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            hits: dict[int, Hit] = {}
            for name, h in values["hits"].items():
                layers = tuple(sorted((int(layer["from"]), path.parent / layer["file"]) for layer in h["layers"]))
                for pitch in h["pitches"]:
                    if pitch in hits or not 0 <= pitch < PITCHES or not layers:
                        raise UserError(f"{path}: {name!r} needs layers and pitches 0 to 127 of its own, not {pitch}")
                    hits[pitch] = Hit(name, 10 ** (h["gain_db"] / 20), h.get("choke", ""), layers,
                                      float(h.get("tune", 0)))
            kit = cls(values["name"], hits, float(values["velocity_db"]))
        except FileNotFoundError:
            raise UserError(f"{folder}: not a drum kit, there is no kit.json in it") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not a drum kit ({error!r})") from None
        for missing in (file for hit in hits.values() for _, file in hit.layers if not file.is_file()):
            raise UserError(f"{path}: {missing.name} is not there")
        return kit

    def amplitude(self, pitch: int, velocity: float) -> float:
        """Of a note: even steps of velocity are even steps in dB."""
        return self.hits[pitch].gain * 10 ** (self.velocity_db * (min(velocity / LOUDEST, 1.0) - 1) / 20)

    def render(self, notes: Sequence[Sequence[float]] | np.ndarray, seconds: float,
               sample_rate: int) -> np.ndarray:
        """Play ``(seconds, pitch, velocity 1-127)`` in any order; ``float32 [round(seconds * sample_rate)]``.

        Pitches that the kit lacks are silent, so are notes outside of the time; tails end with it. Nothing is limited:
        many loud hits at once can pass 1.
        """
        out = np.zeros(round(seconds * sample_rate), np.float32)
        table = np.asarray(notes, np.float64).reshape(-1, 3)
        table = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
        audible = (table[:, 0] >= 0) & (table[:, 0] * sample_rate < len(out) - 0.5) & (table[:, 2] > 0)
        table = table[audible & np.isin(table[:, 1], list(self.hits))]
        starts = np.round(table[:, 0] * sample_rate).astype(np.int64)
        ends = self._ends(starts, table[:, 1].astype(int), len(out))
        fade = max(1, round(CHOKE * sample_rate))
        for start, end, (_, pitch, velocity) in zip(starts, ends, table):
            hit = self.hits[int(pitch)]
            sound = _read(hit.file(int(velocity)), round(sample_rate * 2 ** (-hit.tune / 12)))[: len(out) - start]
            if end - start + fade < len(sound):  # choked
                sound = sound[: end - start + fade].copy()
                sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
            out[start: start + len(sound)] += np.float32(self.amplitude(int(pitch), velocity)) * sound
        return out

    def _ends(self, starts: np.ndarray, pitches: np.ndarray, total: int) -> np.ndarray:
        """Where each note is choked: at the next later one of its group; ``total`` if by none."""
        groups = np.array([self.hits[p].choke for p in pitches], dtype=str)
        ends = np.full(len(starts), total, np.int64)
        for group in set(groups) - {""}:
            at = np.flatnonzero(groups == group)
            after = np.searchsorted(starts[at], starts[at], "right")  # those at the same time do not choke each other
            ends[at[after < len(at)]] = starts[at[after[after < len(at)]]]
        return ends


@cache
def _read(path: Path, sample_rate: int) -> np.ndarray:
    """A hit as mono ``float32 [N]`` at ``sample_rate``."""
    wav, rate = sf.read(path, dtype="float32", always_2d=True)
    mono = wav.mean(axis=1)
    if rate != sample_rate:
        from audiocraft_ext.sound.files import resample

        mono = resample(mono, rate, sample_rate)
    mono.flags.writeable = False  # shared by all who ask
    return mono
