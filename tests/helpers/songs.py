"""Songs at random, as odd as BeepBox allows; and a tiny model of them with random weights."""

from __future__ import annotations

import random
from pathlib import Path

from audiocraft_ext.songs.beepbox.song import (
    CHORD,
    DRUMS,
    LOUDEST,
    PITCHES,
    RHYTHMS,
    SCALES,
    Channel,
    Note,
    Pattern,
    Point,
    Song,
    tidy,
)


def random_song(seed: int, bends: bool = True) -> Song:
    """A song of every size, with chords, ties, bends and volumes; half of them off every grid."""
    rng = random.Random(seed)
    pitched, noise = rng.choice([1, 1, 2, 3, 4, 10]), rng.choice([0, 0, 1, 1, 5])
    beats, rhythm = rng.choice([3, 4, 5, 7, 8, 16]), rng.choice(RHYTHMS)
    bars, patterns = rng.choice([1, 2, 5, 16]), rng.choice([1, 1, 2, 5])
    if rng.random() < 0.003:
        bars, patterns = 128, 128
    step = 1 if rng.random() < 0.5 else 24 // rhythm
    channels = []
    for i in range(pitched + noise):
        is_noise = i >= pitched
        channels.append(Channel(
            tuple(_pattern(rng, is_noise, beats * 24, step, bends) for _ in range(patterns)),
            tuple(rng.randint(0, patterns) for _ in range(bars)), is_noise, 0 if is_noise else rng.randint(0, 6)))
    intro = rng.randrange(bars)
    return Song(tuple(channels), beats, rhythm, rng.randint(30, 300), rng.randint(0, 11), rng.randrange(len(SCALES)),
                intro, rng.randint(1, bars - intro)).check()


def _pattern(rng: random.Random, noise: bool, parts: int, step: int, bends: bool) -> Pattern:
    notes: list[Note] = []
    at = rng.choice([0, 0, step])
    values = DRUMS if noise else PITCHES
    while at < parts and rng.random() < 0.9:
        length = min(step * rng.choice([1, 1, 2, 3, 4, 7]), parts - at)
        middle = rng.randrange(values)
        pitches = [min(max(middle + rng.randint(-14, 14), 0), values - 1) for _ in range(rng.randint(1, CHORD))]
        times = [0, length]
        if bends and rng.random() < 0.3:
            times = [0, *sorted(rng.sample(range(1, length), min(rng.randint(0, 4), length - 1))), length]
        points = [Point(time, rng.choice([0, 0, -3, 2, 12]) if bends and time else 0,
                        rng.randint(0, LOUDEST) if bends else LOUDEST) for time in times]
        if bends and rng.random() < 0.6:
            points = [point._replace(bend=0) for point in points]
        note = tidy(at, pitches, points, values, rng.random() < 0.5)
        notes.append(note)
        at = note.end + (step * rng.choice([0, 0, 1, 2]))
    return tuple(notes)


def tiny_sketcher(out: Path, context: int = 96, told: bool = True) -> Path:
    """Write a model with random weights as a bundle and return its folder; ``told``: of the places of frames."""
    import torch

    from audiocraft_ext.export.bundle import write_bundle
    from audiocraft_ext.export.sources import Trained
    from audiocraft_ext.model.lm import LM, LMConfig
    from audiocraft_ext.songs import describe
    from audiocraft_ext.songs.codec.voices import Voices
    from audiocraft_ext.songs.places import with_places

    codec = Voices()
    prompts = describe.prompts(codec)
    spec = prompts.extend(codec.spec)
    spec = with_places(spec) if told else spec
    cfg = LMConfig(n_q=spec.n_q, card=spec.card, dim=16, num_heads=2, num_layers=1, bias_proj=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LM(cfg, spec.delays, spec.sizes, spec.gates).eval().requires_grad_(False)
    model.linears[0].bias[:2] = 3.0  # rests and holds
    config = {"type": "song", **codec.to_dict(), "prompts": prompts.to_dict()}
    write_bundle(out, Trained(spec, cfg, model.state_dict(), None, context=spec.prompt + context,
                              sampling={"temperature": 1.0, "top_k": 0}, licence="CC0-1.0",
                              card="random weights, for tests", codec_config=config))
    return out
