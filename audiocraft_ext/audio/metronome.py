"""A metronome for a model of sound: one more stream of codes, always given and never predicted, which says where in the
bar a frame lies. So a model need not keep time itself, and ``--bpm`` means what it says.

Of ``spec.controls`` streams it is the only one. Its code 0 is "unknown"; 1 to :data:`STEPS` are places in a bar of 4/4.
At 50 frames a second a beat of 176.47, 166.67 or 157.89 BPM is 17, 18 or 19 frames, so a loop repeats the same codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.sound.bars import BEATS

if TYPE_CHECKING:
    from audiocraft_ext.store.reader import TokenStore

STEPS = 96  # places in a bar
USUAL = 18  # frames a beat where nobody names a tempo


def has_metronome(spec: Spec) -> bool:
    """Whether models of this spec hear one; ``spec`` is the LM's."""
    return spec.controls == 1


def with_metronome(spec: Spec) -> Spec:
    """``spec`` of a codec with the metronome's stream.

    Raises:
        UserError: its ``card`` has no room for the metronome's codes.
    """
    if spec.card <= STEPS:
        raise UserError(f"--metronome needs a codec with a card of at least {STEPS + 1} (codes a stream), {spec.codec} "
                        f"has {spec.card}; take another codec, or leave --metronome out")
    return spec.with_controls(1)


def locked_bpm(bpm: float, frame_rate: float) -> float:
    """The tempo nearest to ``bpm`` whose beat is a whole number of frames."""
    return 60 * frame_rate / max(1, round(60 * frame_rate / bpm))


def usual_bpm(frame_rate: float, codec_config: dict | None = None) -> float:
    """The tempo of a clip for which none is named: that of the data, as :func:`beat_of` found it."""
    return 60 * frame_rate / (codec_config or {}).get("beat_frames", USUAL)


def beat_of(store: TokenStore) -> float | None:
    """The usual beat in frames of what a model is trained on, the median over the frames that the metronome knows the
    place of; None where it knows none."""
    found = [(60 * store.spec.frame_rate / row["bpm"], row["frames"]) for row in store.rows
             if row["split"] == TRAIN and row.get("bpm") and store.read(row["start"], 1)[-1, 0]]
    if not found:
        return None
    beats, frames = np.array(sorted(found)).T
    beat = beats[np.searchsorted(np.cumsum(frames), frames.sum() / 2)]
    return float(round(beat) if abs(beat - round(beat)) < 0.01 else round(beat, 3))


def codes(spec: Spec, frames: int, bpm: float | None) -> np.ndarray | None:
    """The controls ``[1, frames]`` of a clip that begins on a downbeat; None where models of this spec hear no
    metronome, or nobody knows the tempo."""
    if bpm is None or not has_metronome(spec):
        return None
    return places(frames, spec.frame_rate, bpm)[None]


def places(frames: int, frame_rate: float, bpm: float, first: float = 0.0) -> np.ndarray:
    """The metronome's codes ``int64 [frames]`` of a steady tempo.

    Args:
        first: seconds from the first frame to a downbeat; may be negative.
    """
    bars = (np.arange(frames) / frame_rate - first) * bpm / 60 / BEATS
    return np.floor((bars % 1) * STEPS + 0.02).astype(np.int64) % STEPS + 1
