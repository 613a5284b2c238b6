"""Songs described in words: the fields of a prompt. All but the tempo are what codes cannot be read without
(BeepBrain's static inputs), so they are always said.

    field     words
    rhythm    3 4 6 8 24                       steps a beat
    channels  1 to 10                          of pitches
    drums     0 to 5                           channels of noise
    beats     3 to 16                          of a bar
    tempo     <60 60-70 ... 190-200 >=200      beats a minute
"""

from __future__ import annotations

from collections.abc import Mapping

from audiocraft_ext.core.prompts import Field, Prompts
from audiocraft_ext.midi.tempos import TEMPOS, bpm_of, tempo_word
from audiocraft_ext.songs.beepbox.song import BEATS, NOISE_CHANNELS, PITCH_CHANNELS, RHYTHMS
from audiocraft_ext.songs.codec.voices import Facts, Voices

ALWAYS = ("rhythm", "channels", "drums", "beats")


def fields() -> tuple[Field, ...]:
    """All fields in the order of their streams."""
    return (Field("rhythm", tuple(map(str, RHYTHMS))),
            Field("channels", tuple(str(n) for n in range(1, PITCH_CHANNELS + 1))),
            Field("drums", tuple(str(n) for n in range(NOISE_CHANNELS + 1))),
            Field("beats", tuple(str(n) for n in range(BEATS[0], BEATS[1] + 1))), Field("tempo", TEMPOS))


def prompts(codec: Voices) -> Prompts:
    """The prompts of a store."""
    return Prompts(fields(), max(codec.sizes), codec.spec.n_q)


def describe(facts: Facts, tempo: float | None = None) -> dict[str, str]:
    """A word for each field, of facts; without a tempo none for that."""
    words = {"rhythm": str(facts.rhythm), "channels": str(facts.pitched), "drums": str(facts.noise),
             "beats": str(facts.beats)}
    return words if tempo is None else words | {"tempo": tempo_word(tempo)}


def facts_of(words: Mapping[str, str]) -> Facts:
    """The facts of a prompt; what it does not say is as :class:`Facts` has it."""
    usual = Facts()
    return Facts(int(words.get("beats", usual.beats)), int(words.get("rhythm", usual.rhythm)),
                 int(words.get("channels", usual.pitched)), int(words.get("drums", usual.noise)),
                 int(bpm_of(words["tempo"])) if "tempo" in words else usual.tempo)
