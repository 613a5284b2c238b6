"""Drums as a stream of hits: the laws of the codec over made-up and real clips, and codes that must never change."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums.codec import codec_of, drum_map
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.grid import STEPS
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.midi import drums_of, stretches, to_bytes
from audiocraft_ext.midi.file import parse
from tests.drums.test_grid import GROOVE, check_golden, golden, made_up, performances

GOLDEN = Path(__file__).parents[1] / "data" / "drum_hits.npz"  # made by: python -m tests.drums.test_hits
CODECS = [DrumHits(drum_map.load(drums), steps) for steps in STEPS for drums in ("drums9", "drums12")]


def check_laws(codec: DrumHits, clip: DrumClip) -> None:
    canonical, codes = codec.canonicalize(clip), codec.encode(clip)
    assert codes.dtype == np.uint16 and codes.shape == (4, len(canonical.notes) + canonical.bars)
    assert codec.decode(codes, clip.bpm, clip.meter) == canonical
    assert codec.canonicalize(canonical) == canonical
    assert (codec.encode(canonical) == codes).all()
    assert (codes.max(axis=1) < codec.sizes).all() and max(codec.sizes) <= codec.spec.card
    assert not codes[:, codes[0] == 0].any() and codes[0, 0] == 0
    assert (codec.codes(codec.pattern(codes, clip.meter)) == codes).all()
    cost = codec.cost(canonical)
    assert cost.kept == len(canonical.notes) and cost.velocity == cost.timing_ms == 0


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: f"{codec.steps}-{codec.classes}")
def test_decoding_what_was_encoded_is_canonicalising(codec):
    for seed in range(25):
        check_laws(codec, made_up(seed))


@pytest.mark.parametrize("steps", [16, 48])
def test_the_laws_hold_for_performances(steps):
    codec = DrumHits(steps=steps)
    clips = performances(codec)
    assert len(clips) == len(GROOVE)
    for clip in clips:
        check_laws(codec, clip)
        again = parse(to_bytes(codec.canonicalize(clip)))  # and a file is another way to say the same
        (part,), lost = stretches(again, drums_of(again)[0], codec)
        assert not lost and codec.canonicalize(part.clip) == codec.canonicalize(clip)


def test_nothing_of_a_performance_is_lost_but_exact_doubles():
    codec, unit = DrumHits(), Fraction(1, 96)
    for clip in performances(codec):
        cost = codec.cost(clip)
        notes = clip.notes[codec.drums.table()[clip.notes[:, 1]] >= 0]
        parts = {(max(0, (Fraction(int(tick), clip.ticks_per_beat) / unit + Fraction(1, 2)) // 1),
                  codec.drums.table()[pitch]) for tick, pitch, _ in notes}
        assert cost.kept == len(parts) > 0.99 * len(notes) and cost.outside == cost.unmapped == 0
        assert cost.velocity == 0
        _, late = codec.errors(clip, codec.inside(clip)[0])
        assert late[clip.notes[codec.inside(clip)[0].note, 0] > 0].max() <= 60_000 / clip.bpm * (1 / 192 + 0.5 / 480)


def twin(codec: DrumHits, clip: DrumClip) -> list[tuple[int, int, int, int]]:
    """The same frames by a plain loop in fractions."""
    bar_steps = codec.steps_per_bar(clip.meter)
    best: dict = {}
    for tick, pitch, velocity in sorted(clip.notes.tolist(), key=lambda note: (note[0], -note[2])):
        drum = next((i for i, one in enumerate(codec.drums.classes) if pitch in one.pitches), None)
        at = int((Fraction(24 * tick * codec.steps, 4 * clip.ticks_per_beat) + Fraction(1, 2)) // 1)
        if drum is not None and at >= -12:
            cell = max(at, 0), drum
            best[cell] = max(velocity, best.get(cell, 0))
    bars = clip.bars or max((at + 12) // 24 for at, _ in best) // bar_steps + 1
    frames = [((bar * bar_steps * 24 - 12, -1), (0, 0, 0, 0)) for bar in range(bars)]
    for (at, drum), velocity in best.items():
        step = (at + 12) // 24
        if step < bars * bar_steps:
            frames.append(((at, drum), (1 + step % bar_steps, drum, velocity - 1, (at + 12) % 24)))
    return [frame for _, frame in sorted(frames)]


def test_the_codes_are_those_of_a_plain_loop():
    for codec in CODECS[::3]:
        for seed in range(20):
            clip = made_up(seed)
            assert codec.encode(clip).T.tolist() == [list(frame) for frame in twin(codec, clip)], seed


def test_a_flam_and_a_roll_stay():
    codec = DrumHits()
    clip = DrumClip([[0, 38, 30], [20, 38, 110], [45, 38, 20], [50, 36, 90], [470, 36, 80]], bars=1)
    assert codec.encode(clip).T.tolist() == [[0, 0, 0, 0], [1, 1, 29, 12], [1, 1, 109, 16], [1, 1, 19, 21],
                                             [1, 0, 89, 22], [5, 0, 79, 10]]
    pattern = codec.pattern(codec.encode(clip))
    assert pattern.rolls and len(pattern) == 5 and pattern.velocity[pattern.drum == 1].tolist() == [30, 110, 20]
    cost = codec.cost(DrumClip([[0, 38, 30], [2, 38, 31], [0, 36, 9], [1, 7, 9], [-300, 38, 1], [2000, 38, 9]], bars=1))
    assert (cost.hits, cost.kept, cost.merged, cost.unmapped, cost.outside) == (6, 2, 1, 1, 2)


def test_a_hit_just_before_a_bar_line_belongs_to_it():
    codec = DrumHits()
    clip = DrumClip([[-3, 36, 90], [0, 36, 80], [1910, 36, 70]], bars=2)
    assert codec.encode(clip).T.tolist() == [[0] * 4, [1, 0, 89, 12], [0] * 4, [1, 0, 69, 10]]
    midi = parse(to_bytes(DrumClip([[0, 36, 9], [1858, 36, 70]])))  # nearer to the step before, but for the rounding
    (part,), _ = stretches(midi, drums_of(midi)[0], codec)
    assert part.clip.bars == 2 and codec.cost(part.clip).kept == 2


def test_any_codes_in_range_are_a_file():
    for seed, codec in enumerate(CODECS):
        rng = np.random.default_rng(seed)
        for meter in ((4, 4), (3, 4), (7, 4)):
            codes = np.stack([rng.integers(0, size, 80) for size in codec.sizes])  # [4, T]
            clip = codec.decode(codes, 97.0, meter)
            midi = parse(to_bytes(clip))
            assert set(midi.notes["channel"]) <= {10} and midi.meters[-1:] == [(0, *meter)] and len(clip.notes)
            assert drums_of(midi)[0].tolist() == clip.notes.tolist()
            assert clip.bars == max(1, (codes[0] == 0).sum())
            check_laws(codec, clip)


def test_what_is_out_of_place_is_put_right():
    codec = DrumHits()
    early, late, beyond = [3, 0, 9, 12], [5, 1, 9, 12], [17, 2, 9, 12]
    codes = np.array([late, early, [0] * 4, beyond, late, late, [0] * 4], np.int64).T
    clip = codec.decode(codes)
    assert clip.bars == 2 and clip.notes[:, 0].tolist() == [240, 480]  # doubles are one, and steps behind the bar none
    assert codec.decode(codes, meter=(6, 4)).notes[:, 0].tolist() == [240, 480, 1920]
    assert codec.decode(np.zeros((4, 0), np.int64)) == codec.canonicalize(DrumClip([]))
    with pytest.raises(ValueError, match=r"codes \[4, T\]"):
        codec.decode(codes[:3])
    codes[2, 1] = 127
    with pytest.raises(ValueError, match="stream 2 go from 0 to 126, got 0 to 127"):
        codec.decode(codes)


def test_bars_that_are_too_long():
    codec = DrumHits()
    assert codec.steps_per_bar((8, 4)) == 32 and codec.steps_per_bar((12, 8)) == 24
    with pytest.raises(UserError, match=r"bars up to 8/4, and 9/4 is longer"):
        codec.encode(DrumClip([[0, 36, 9]], meter=(9, 4)))
    with pytest.raises(UserError, match="does not end on a step"):
        DrumHits(steps=12).steps_per_bar((7, 8))
    with pytest.raises(UserError, match="expected one of 12, 16"):
        DrumHits(steps=20)


def test_a_spec_says_what_the_codes_are():
    codec = DrumHits()
    spec = codec.spec
    assert (spec.kind, spec.n_q, spec.card, spec.codec) == ("drums", 4, 127, "drum_hits")
    assert spec.sizes == (33, 12, 127, 24) and spec.delays == (0, 1, 2, 3)
    assert [gate.to_list() for gate in spec.gates] == [[1, 0, 0], [2, 0, 0], [3, 0, 0]]
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert len({codec.hash for codec in CODECS}) == len(CODECS)
    again = codec_of(json.loads(json.dumps({"type": "drum_hits", **CODECS[0].to_dict()})))
    assert again == CODECS[0] and again.spec == CODECS[0].spec
    with pytest.raises(UserError, match="not a drum_hits"):
        DrumHits.from_dict({"steps": 16})


def test_importing_the_codec_imports_no_torch():
    code = ("import sys; from audiocraft_ext.drums.codec.hits import DrumHits; DrumHits(); "
            "print([m for m in ('torch', 'mido', 'scipy', 'onnxruntime', 'soundfile') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=GOLDEN.parent.parent.parent).stdout.strip() == "[]"


def test_codes_of_three_performances_are_what_they_were():
    check_golden(GOLDEN, DrumHits())


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden(DrumHits()))
