"""Where a frame of a song lies: two streams that are always given and never predicted (controls of the spec). A model
need not count steps and channels then; it reads which step of the bar a frame is, and which channel.

    stream    codes
    place     0 nobody says; 1 to 98: the step of the bar, from 1 (those behind that, of longer bars, are 0)
    channel   0 nobody says; 1 to 10: a channel of pitches, 11 to 15: one of noise
"""

from __future__ import annotations

import numpy as np

from audiocraft_ext.core.spec import Spec
from audiocraft_ext.songs.beepbox.song import PITCH_CHANNELS
from audiocraft_ext.songs.codec.voices import Facts

CONTROLS, MOST = 2, 98  # MOST: the last step of a bar that has a code


def with_places(spec: Spec) -> Spec:
    """``spec`` of a codec with room for both."""
    return spec.with_controls(CONTROLS)


def places(facts: Facts, frames: int) -> np.ndarray:
    """Codes ``int64 [2, frames]`` of a song from a bar on."""
    step, channel = np.divmod(np.arange(frames), facts.channels)
    place = step % (facts.beats * facts.rhythm) + 1
    noise = channel >= facts.pitched
    return np.stack([np.where(place <= MOST, place, 0), 1 + channel + noise * (PITCH_CHANNELS - facts.pitched)])


def controls(spec: Spec, facts: Facts, frames: int) -> np.ndarray:
    """Of a prompt, of which nothing is said, and of a song from a bar on: ``int64 [C, P + frames]``. C is 0 for a model
    that is told nothing; ``spec`` is the LM's."""
    return np.pad(places(facts, frames), ((0, 0), (spec.prompt, 0)))[: spec.controls]
