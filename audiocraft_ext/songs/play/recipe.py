"""What a sketch is a function of, besides its index: kept beside every sketch, so that it can be made again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import RecipeBase
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.songs.beepbox.song import BARS, BEATS, KEYS, NOISE_CHANNELS, PITCH_CHANNELS, RHYTHMS, TEMPOS
from audiocraft_ext.songs.codec.voices import Facts

FLATS = {"Db": 1, "Eb": 3, "Gb": 6, "Ab": 8, "Bb": 10}


@dataclass(frozen=True)
class SongRecipe(RecipeBase):
    """Everything but the sketch's index. What came from a file is in here as codes, not as the file's name.

    Attributes:
        bundle, bundle_hash: the sketcher's name, and which one of that name (:attr:`Bundle.hash`, 16 digits).
        seed: with the index it decides all random numbers.
        bars: how many, with those that the sketch begins with.
        bpm: beats a minute.
        precision, backend: of the LM; another one makes other sketches.
        beats: of a bar; ``rhythm``, steps of a beat.
        channels: of pitches; ``drums``, of noise.
        key: semitones above C.
        source: packed codes of the file that it goes on from; "" for a new one.
        title: of that file, for the sketch's name; no part of what it is.
    """

    bundle: str
    bundle_hash: str
    seed: int
    bars: int
    bpm: int
    sampling: Sampling
    precision: str = "fp32"
    backend: str = "onnx"
    beats: int = 4
    rhythm: int = 4
    channels: int = 3
    drums: int = 1
    key: int = 0
    source: str = ""
    title: str = field(default="", compare=False)

    OF = "sketch"
    ALWAYS = ("precision", "backend", "beats", "rhythm", "channels", "drums")

    @property
    def facts(self) -> Facts:
        """What its codes do not say."""
        return Facts(self.beats, self.rhythm, self.channels, self.drums, self.bpm, self.key)


def check(what: str, value: Any) -> Any:
    """The value, if the field ``what`` of a recipe can have it.

    Raises:
        UserError: it cannot; says what could be.
    """
    rules = {"bars": f"1 to {BARS}, a whole number", "bpm": f"{TEMPOS[0]} to {TEMPOS[1]} whole beats a minute",
             "beats": f"{BEATS[0]} to {BEATS[1]} of a bar", "rhythm": f"{', '.join(map(str, RHYTHMS))} steps of a beat",
             "channels": f"1 to {PITCH_CHANNELS} of pitches", "drums": f"0 to {NOISE_CHANNELS} channels of them",
             "key": "0 to 11 semitones above C", "seed": "a whole number from 0 to 2**64 - 1"}
    if not SongRecipe.GOOD[what](value):
        raise UserError(f"{what}: expected {rules[what]}, got {value!r}")
    return value


def key_named(text: str | int) -> int:
    """Semitones above C, of a name such as C, F#, Bb, or of themselves.

    Raises:
        UserError: it is none.
    """
    if isinstance(text, int):
        return check("key", text)
    name = text.strip().capitalize().replace("#", "♯")
    if name in FLATS:
        return FLATS[name]
    if name not in KEYS:
        raise UserError(f"key: expected one of {', '.join(KEYS).replace('♯', '#')}, got {text!r}")
    return KEYS.index(name)


def _whole(low: int, high: int):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str)


SongRecipe.GOOD = {
    "bundle": _text, "bundle_hash": _text, "seed": _whole(0, 2**64 - 1), "bars": _whole(1, BARS),
    "bpm": _whole(*TEMPOS), "precision": _text, "backend": _text, "beats": _whole(*BEATS),
    "rhythm": lambda value: _whole(1, 24)(value) and value in RHYTHMS, "channels": _whole(1, PITCH_CHANNELS),
    "drums": _whole(0, NOISE_CHANNELS), "key": _whole(0, 11), "source": _text}
SongRecipe.PARTS = {"sampling": Sampling.from_dict}
