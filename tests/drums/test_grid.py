"""Drums as codes: the laws of the codec over made-up and real clips, its maps, and codes that must never change."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.drums.codec import drum_map
from audiocraft_ext.drums.codec.base import DrumCodec
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.codec.drum_map import DrumMap
from audiocraft_ext.drums.codec.grid import STEPS, DrumGrid
from audiocraft_ext.drums.midi import drums_of, stretches, to_bytes
from audiocraft_ext.midi.file import parse, read

DATA = Path(__file__).parents[1] / "data"
GROOVE = sorted((DATA / "groove").glob("*.mid"))
GOLDEN = DATA / "drum_codes.npz"  # made by: python -m tests.drums.test_grid
GRIDS = [DrumGrid(drum_map.load(drums), steps, velocities, offsets) for drums, steps, velocities, offsets in
         (("drums12", 16, 32, 25), ("drums9", 16, 32, 25), ("drums9", 12, 8, 5), ("drums12", 24, 127, 79),
          ("drums9", 32, 1, 1), ("drums12", 48, 64, 39))]


def made_up(seed: int, n: int = 150) -> DrumClip:
    rng = np.random.default_rng(seed)
    ticks = int(rng.choice([24, 96, 120, 480, 960, 1000]))
    notes = np.stack([rng.integers(-ticks // 2, 9 * ticks, n), rng.integers(0, 128, n), rng.integers(1, 128, n)], 1)
    meter = [(4, 4), (3, 4), (6, 8), (5, 4), (12, 8)][seed % 5]
    return DrumClip(notes, ticks, float(rng.uniform(50, 220)), meter, [None, 1, 3][seed % 3])


def performances(codec: DrumCodec) -> list[DrumClip]:
    out = []
    for path in GROOVE:
        midi = read(path)
        out += [part.clip for part in stretches(midi, drums_of(midi)[0], codec)[0]]
    return out


def check_laws(grid: DrumGrid, clip: DrumClip) -> None:
    canonical, codes = grid.canonicalize(clip), grid.encode(clip)
    assert codes.dtype == np.uint16 and codes.shape == (grid.spec.n_q,
                                                        canonical.bars * grid.steps_per_bar(clip.meter))
    assert grid.decode(codes, clip.bpm, clip.meter) == canonical
    assert grid.canonicalize(canonical) == canonical
    assert (grid.encode(canonical) == codes).all()
    assert (codes.max(axis=1) < grid.sizes).all() and max(grid.sizes) == grid.spec.card
    assert grid.cost(canonical).kept == len(canonical.notes)
    assert grid.cost(canonical).velocity == grid.cost(canonical).timing_ms == 0


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.steps}-{grid.velocities}-{grid.offsets}")
def test_decoding_what_was_encoded_is_canonicalising(grid):
    for seed in range(30):
        check_laws(grid, made_up(seed))


@pytest.mark.parametrize("grid", GRIDS[:4:3], ids=["16", "24"])
def test_the_laws_hold_for_performances(grid):
    clips = performances(grid)
    assert len(clips) == len(GROOVE)
    for clip in clips:
        check_laws(grid, clip)
        again = parse(to_bytes(grid.canonicalize(clip)))  # and a file is another way to say the same
        (part,), lost = stretches(again, drums_of(again)[0], grid)
        assert not lost and part.clip.bars == grid.canonicalize(clip).bars
        assert grid.canonicalize(part.clip) == grid.canonicalize(clip)


def twin(grid: DrumGrid, clip: DrumClip) -> np.ndarray:
    """The same codes by a plain loop in fractions."""
    from fractions import Fraction

    steps = grid.steps_per_bar(clip.meter)
    best: dict = {}
    for tick, pitch, velocity in sorted(clip.notes.tolist(), key=lambda note: (note[0], -note[2])):
        drum = next((i for i, one in enumerate(grid.drums.classes) if pitch in one.pitches), None)
        at = Fraction(tick * grid.steps, 4 * clip.ticks_per_beat)
        step = int((at + Fraction(1, 2)) // 1)
        if drum is not None and velocity > best.get((step, drum), (0, 0))[0]:
            best[step, drum] = velocity, int((at - step + Fraction(1, 2)) * grid.offsets // 1)
    bars = clip.bars or max(0, max(step for step, _ in best)) // steps + 1
    codes = np.zeros((2 * grid.classes, bars * steps), np.uint16)
    codes[grid.classes :] = grid.on_step
    for (step, drum), (velocity, offset) in best.items():
        if 0 <= step < bars * steps:
            codes[drum, step] = 1 + (velocity - 1) * grid.velocities // 127
            codes[grid.classes + drum, step] = max(offset, grid.on_step) if step == 0 else offset
    return codes


def test_the_codes_are_those_of_a_plain_loop():
    for grid in GRIDS[:4]:
        for seed in range(20):
            clip = made_up(seed)
            assert (grid.encode(clip) == twin(grid, clip)).all(), seed


def test_any_codes_in_range_are_a_file():
    for seed, grid in enumerate(GRIDS):
        rng = np.random.default_rng(seed)
        codes = np.stack([rng.integers(0, size, 50) for size in grid.sizes])  # [K, T], T ends inside a bar
        clip = grid.decode(codes, 97.0, (3, 4))
        midi = parse(to_bytes(clip))
        assert set(midi.notes["channel"]) == {10} and midi.meters == [(0, 3, 4)] and midi.ticks_per_beat == 480
        assert drums_of(midi)[0].tolist() == clip.notes.tolist()
        check_laws(grid, clip)


def test_codes_out_of_range_are_refused():
    grid = DrumGrid()
    codes = grid.table(grid.quantise(DrumClip(np.zeros((0, 3)))), 16)
    with pytest.raises(ValueError, match=r"codes \[24, T\]"):
        grid.decode(codes[:-1])
    codes[20, 3] = 25
    with pytest.raises(ValueError, match="stream 20 go from 0 to 24, got 12 to 25"):
        grid.decode(codes)


def test_merging_keeps_the_louder_and_cost_counts_the_rest():
    grid = DrumGrid()
    clip = DrumClip([[0, 36, 100], [10, 35, 90], [-300, 36, 99], [130, 38, 1], [5000, 42, 50], [7, 0, 9]], bars=2)
    cost = grid.cost(clip)
    assert (cost.hits, cost.kept, cost.merged, cost.outside, cost.unmapped) == (6, 2, 1, 2, 1)
    assert grid.canonicalize(clip).notes.tolist() == [[0, 36, 98], [130, 38, 2]]
    assert cost.velocity == 1.5 and cost.timing_ms == 0
    late = DrumClip([[2, 36, 100], [122, 36, 100]], bpm=60.0)  # 480 ticks a second, bins of 4.8
    assert grid.cost(late).timing_ms == pytest.approx(1000 * 2 / 480)
    assert grid.cost(late).timing_p95_ms == pytest.approx(1000 * 2 / 480)


def test_bars_of_all_kinds():
    assert [DrumGrid().steps_per_bar(m) for m in ((4, 4), (3, 4), (6, 8), (7, 8), (2, 2), (5, 16))] == [
        16, 12, 12, 14, 16, 5]
    with pytest.raises(UserError, match=r"bar of 7/8 does not end on a step .* one with 16, 24, 32, 48 has it"):
        DrumGrid(steps=12).encode(DrumClip([[0, 36, 100]], meter=(7, 8)))
    with pytest.raises(UserError, match="no grid has it"):
        DrumGrid().steps_per_bar((1, 64))


@pytest.mark.parametrize("values, said", [({"steps": 17}, "steps: expected one of 12, 16"), ({"velocities": 0}, "1 to"),
                                          ({"velocities": 128}, "1 to 127"), ({"offsets": 24}, "odd"),
                                          ({"offsets": 121}, "1 to 119")])
def test_grids_that_make_no_sense(values, said):
    with pytest.raises(UserError, match=said):
        DrumGrid(**values)


def test_an_empty_clip_is_a_bar_of_rests():
    grid = DrumGrid()
    codes = grid.encode(DrumClip(np.zeros((0, 3)), bars=None))
    assert codes.shape == (24, 16) and not codes[:12].any() and (codes[12:] == grid.on_step).all()
    assert grid.cost(DrumClip([])).kept == 0


def test_a_spec_says_what_the_codes_are():
    spec = DrumGrid().spec
    assert (spec.kind, spec.n_q, spec.card, spec.frame_rate, spec.codec) == ("drums", 24, 33, 8.0, "drum_grid")
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec and set(spec.delays) == {0}
    hashes = {grid.hash for grid in GRIDS} | {DrumGrid(velocities=31).hash, DrumGrid(offsets=23).hash}
    assert len(hashes) == len(GRIDS) + 2
    again = DrumGrid.from_dict(json.loads(json.dumps(GRIDS[2].to_dict())))
    assert again == GRIDS[2] and again.spec == GRIDS[2].spec


def test_each_steps_option_divides_a_beat():
    for steps in STEPS:
        assert DrumGrid(steps=steps).step_ticks * steps == 4 * 480


def a_map(*classes: tuple, unmapped: str = "drop") -> dict:
    return {"name": "mine", "unmapped": unmapped,
            "classes": [{"name": name, "write": write, "pitches": pitches} for name, write, pitches in classes]}


@pytest.mark.parametrize("values, said", [
    (a_map(("kick", 36, [36]), ("snare", 38, [36, 38])), "pitch 36 is in 'kick' and in 'snare'"),
    (a_map(("kick", 36, [36, 36])), "pitch 36 is twice in 'kick'"),
    (a_map(("kick", 36, [36, 128])), "'kick' has 128"), (a_map(("kick", -1, [-1])), "'kick' has -1"),
    (a_map(("kick", 35, [36])), "written as 35, which is not among"),
    (a_map(("kick", 36, [36]), ("kick", 38, [38])), "two classes are called 'kick'"),
    (a_map(("kick", 36, [36]), unmapped="snare"), "unmapped is 'drop' or one of kick"),
    (a_map(("kick", 36.0, [36])), "whole numbers"), (a_map(("kick", True, [1])), "whole numbers"),
    (a_map(), "1 to 64 classes"), ([], "expected classes"), ({"classes": [{"name": "kick"}]}, "expected classes"),
    (a_map(("drop", 36, [36])), "'drop' cannot be")])
def test_maps_that_are_refused(values, said, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=said):
        drum_map.load(path)


def test_maps_by_name_and_path(tmp_path):
    assert [len(drum_map.load(name).classes) for name in drum_map.shipped()] == [9, 12]
    with pytest.raises(UserError, match="expected one of drums9, drums12"):
        drum_map.load("drums10")
    (tmp_path / "not.json").write_text("{")
    with pytest.raises(UserError, match="not a map of drums"):
        drum_map.load(tmp_path / "not.json")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(a_map(("pad", 60, [60]), ("rest", 61, [61]), unmapped="rest")))
    grid = DrumGrid(drum_map.load(str(mine)))
    assert grid.canonicalize(DrumClip([[0, 60, 64], [0, 5, 64]])).notes[:, 1].tolist() == [60, 61]


def test_every_pitch_of_the_dataset_is_mapped():
    for name in drum_map.shipped():
        known = drum_map.load(name).known()
        for path in GROOVE:
            assert known[read(path).notes["pitch"]].all()


def test_maps_go_by_their_classes_not_their_names():
    one, other = DrumMap.from_dict(a_map(("a", 1, [1]))), DrumMap.from_dict(a_map(("a", 1, [1])) | {"name": "b"})
    assert DrumGrid(one).hash == DrumGrid(other).hash


def test_importing_the_codec_imports_no_torch():
    code = ("import sys; from audiocraft_ext.drums.codec.grid import DrumGrid; DrumGrid(); "
            "import audiocraft_ext.drums.midi; "
            "print([m for m in ('torch', 'mido', 'scipy', 'onnxruntime', 'soundfile') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=DATA.parent.parent).stdout.strip() == "[]"


def golden(codec: DrumCodec) -> dict[str, np.ndarray]:
    """The codes of three performances, by the names of their files."""
    clips = dict(zip([path.stem for path in GROOVE], performances(codec)))
    return {name: codec.encode(clips[name]) for name in list(clips)[:9:4]}


def check_golden(path: Path, codec: DrumCodec) -> None:
    """The codes of three performances are those in ``path``."""
    with np.load(path) as kept:
        for name, codes in golden(codec).items():
            assert (kept[name] == codes).all(), name
        assert len(kept.files) == 3


def test_codes_of_three_performances_are_what_they_were():
    check_golden(GOLDEN, DrumGrid())


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden(DrumGrid()))
