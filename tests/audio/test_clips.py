"""Clips as files: the sidecar, what is in the WAV for a DAW, and that no file is ever lost."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext import Instrument
from audiocraft_ext.audio import clips
from audiocraft_ext.audio.clips import Output, Sounds, codes_of, find_place, read_sidecar, write_clip
from audiocraft_ext.core.errors import UserError
from tests.helpers import tiny


@pytest.fixture(scope="module")
def instrument(tmp_path_factory):
    return Instrument.load(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", context=100), threads=1)


@pytest.fixture(scope="module")
def clip(instrument):
    return instrument.generate(seconds=1, seed=1)[0]


def hits(clip, starts=(0.1, 0.3, 0.35, 0.7)):
    """The clip with another sound: hits that cannot be missed."""
    rng, wav = np.random.default_rng(0), np.zeros(len(clip.wav), np.float32)
    for start in starts:
        at = round(start * clip.sample_rate)
        tail = np.arange(len(wav) - at) / clip.sample_rate
        wav[at:] += (0.3 * np.exp(-tail / 0.02) * rng.standard_normal(len(tail))).astype(np.float32)
    return replace(clip, wav=np.clip(wav, -0.9, 0.9))


def extra(path):
    with sf.SoundFile(path) as f:
        return f.extra_info


def number(text, name):
    return float(re.search(rf"{name}\s*:\s*([-\d.]+)", text)[1])


@pytest.mark.parametrize("output", [Output(), Output(48_000, 24, lufs=-20.0, cues=True), Output(bits=32, peak=-3.0)])
def test_the_sidecar_says_all(clip, tmp_path, output):
    path = clip.save(tmp_path, output)
    sidecar = read_sidecar(path.with_suffix(".json"))
    assert (sidecar.recipe, sidecar.index, sidecar.output, sidecar.spec) == (clip.recipe, 0, output, clip.spec)
    assert (sidecar.codes == clip.codes).all()
    info, about = sf.info(path), json.loads(path.with_suffix(".json").read_text())
    assert (about["file"], about["sample_rate"], about["samples"]) == (path.name, info.samplerate, info.frames)
    assert info.samplerate == (output.rate or 32_000)
    assert clips.read_comment(path)["clip"] == about["clip"] and "prompt" not in clips.read_comment(path)


def test_a_clip_is_its_codes_until_somebody_edits_it(clip, tmp_path):
    path = clip.save(tmp_path)
    for file in (path, path.with_suffix(".json")):
        assert (codes_of(file, clip.spec) == clip.codes).all()
    other = replace(clip.spec, codec_hash="another")
    assert codes_of(path, other) is None
    with pytest.raises(UserError, match="codec_hash"):
        codes_of(path.with_suffix(".json"), other)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert codes_of(path, clip.spec) is None
    path.with_suffix(".json").unlink()
    assert codes_of(path, clip.spec) is None


def test_what_is_there_stays(clip, tmp_path):
    """Somebody's WAV, JSON or folder under a clip's name, and a clip that was edited since, are left alone."""
    name, output = "tiny_seed1_0", Output(slices=True)
    kept = {f"{name}.wav": "mine", f"{name}_v2.json": "{}", f"{name}_v3.json": "no json", f"{name}_v4/loop.wav": "mine"}
    for file, text in kept.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    path = clip.save(tmp_path, output)
    assert path.name == f"{name}_v5.wav" and clip.save(tmp_path, Output()).name == f"{name}_v4.wav"
    assert {file: (tmp_path / file).read_text() for file in kept} == kept

    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)  # edited, and its comment is still there
    path.with_suffix(".json").unlink()
    place = find_place(tmp_path, clip.recipe, 0, output)
    assert place.path == path and place.there


def test_what_an_interruption_left_is_made_again_in_its_place(clip, tmp_path):
    output = Output(slices=True)
    path = hits(clip).save(tmp_path, output)
    files = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    path.unlink()  # the WAV comes last, so this is what is there when it did not come to it
    place = find_place(tmp_path, clip.recipe, 0, output)
    assert place.path == path and not place.there
    hits(clip).save(tmp_path, output)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == files


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_disk_that_fills_leaves_no_half_of_a_clip(clip, tmp_path, monkeypatch, after):
    hits(clip).save(tmp_path / "whole", Output(slices=True))
    before = sorted(tmp_path.rglob("*"))
    room, write_wav = [after], clips.write_wav

    def full(*args, **how):
        room[0] -= 1
        if room[0] < 0:
            raise UserError("cannot write: No space left on device")
        write_wav(*args, **how)

    monkeypatch.setattr(clips, "write_wav", full)
    with pytest.raises(UserError, match="No space left"):
        replace(hits(clip), index=1).save(tmp_path / "whole", Output(slices=True))
    assert sorted(tmp_path.rglob("*")) == before


def test_slices_are_the_cues(clip, tmp_path):
    """As many one-shots as cues, in the file, the JSON and the folder; together they are all from the first on."""
    made = hits(clip)
    path = made.save(tmp_path, Output(slices=True, bits=32))
    about = json.loads(path.with_suffix(".json").read_text())
    cues = about["cues"]
    assert len(cues) == 4 and number(extra(path), "Count") == 4
    names = [tmp_path / name for name in about["about"]["slices"]]
    assert names == sorted(path.with_suffix("").iterdir()) and len(names) == len(cues)
    pieces = [sf.read(name, dtype="float32")[0] for name in names]
    assert [len(p) for p in pieces] == np.diff([*cues, len(made.wav)]).tolist()
    whole = sf.read(path, dtype="float32")[0]
    for piece, cue in zip(pieces, cues):
        middle = slice(64, len(piece) - 160)  # without the fades
        assert (piece[middle] == whole[cue:][middle]).all()
    assert "OneShot" in extra(names[0]) or "0x0001" in extra(names[0])


@pytest.mark.parametrize("bpm, bars, rate", [(120, 0.5, None), (174, 0.5, 44_100), (97.3, 0.25, 48_000),
                                             (400, 0.1, None)])
def test_bars_in_the_file(instrument, tmp_path, bpm, bars, rate):
    made = instrument.generate(bpm=bpm, bars=bars, seed=1)[0]
    assert len(made.wav) == round(bars * 240 / bpm * 32_000)
    path = made.save(tmp_path, Output(rate=rate))
    assert sf.info(path).frames == round(len(made.wav) * (rate or 32_000) / 32_000) and f"_{bpm:g}bpm" in path.name
    text = extra(path)
    assert number(text, "Tempo") == pytest.approx(bpm) and number(text, "Beats") == max(1, round(bars * 4))
    assert "smpl" not in text and "cue " not in text


def test_a_loop_in_the_file(instrument, tmp_path):
    made = instrument.generate(bpm=150, bars=0.5, loop=True, seed=1)[0]
    path = made.save(tmp_path, Output(rate=44_100))
    text, frames = extra(path), sf.info(path).frames
    assert frames == round(0.8 * 44_100) == number(text, "End") + 1 and number(text, "Start") == 0
    assert number(text, "Beats") == 2 and "flux_percentile" in path.with_suffix(".json").read_text()


def test_beats_after_a_chain_that_adds_some(instrument, tmp_path):
    made = instrument.generate(bpm=160, bars=0.5, weird="repeat:at=0b,len=1b,times=2", seed=1, loop=True)[0]
    assert len(made.wav) == 3 * 12_000  # a beat is 18.75 frames
    assert number(extra(made.save(tmp_path)), "Beats") == 3


def test_what_would_clip_is_made_quieter(clip, tmp_path):
    loud = replace(clip, wav=clip.wav * (2 / np.abs(clip.wav).max()))
    path = loud.save(tmp_path)
    about = json.loads(path.with_suffix(".json").read_text())["about"]
    assert about["gain_db"] == pytest.approx(-6.1, abs=0.05) and "full scale" in about["level"]
    assert 0.98 < np.abs(sf.read(path)[0]).max() < 0.99
    quiet = replace(clip, index=1, wav=clip.wav * (0.5 / np.abs(clip.wav).max()))
    path = quiet.save(tmp_path)
    assert "gain_db" not in path.with_suffix(".json").read_text()
    assert np.abs(sf.read(path)[0] - quiet.wav).max() <= 2**-16


@pytest.mark.parametrize("change, what", [
    ({"format": "x"}, "got one of 'x'"), ({"version": 2}, "this reads version 1"), ({"index": "x"}, "whole"),
    ({"codes": "4:!"}, "codes"),
    ({"output": {"bits": 8}}, "8 bits"), ({"output": {"loud": 1}}, "loud"), ({"output": {"rate": "x"}}, "whole"),
    ({"spec": {}}, "spec"), ({"recipe": {}}, "recipe"), ({"about": 3}, "whole"),
])
def test_a_sidecar_that_is_none_is_refused(clip, tmp_path, change, what):
    path = clip.save(tmp_path).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=what) as error:
        read_sidecar(path)
    assert str(path) in str(error.value)


def test_a_sheets_sounds_are_read_one_by_one(clip, tmp_path):
    paths = [replace(clip, index=i).save(tmp_path) for i in range(3)]
    sounds = Sounds(paths)
    assert len(sounds) == 3 and [name for name, _ in sounds[1:]] == [p.stem for p in paths[1:]]
    assert len(sounds[0][1]) == 32_000 and sounds.sample_rate == 32_000
    shutil.rmtree(tmp_path)
    with pytest.raises(sf.LibsndfileError):
        sounds[0]


def test_a_folder_that_cannot_be(clip, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        clip.save(tmp_path / "file")
    with pytest.raises(UserError, match="cannot write"):
        write_clip(tmp_path / "no" / "clip.wav", clip, Output())


@pytest.mark.parametrize("seed", [31, 203, 236])
def test_hits_too_near_for_a_slice_each_get_one_cue(clip, tmp_path, seed):
    rng = np.random.default_rng(seed)
    wav = np.zeros(32_000, np.float32)
    for start in np.sort(rng.uniform(0, 1, 25)):
        at = round(start * 32_000)
        tail = np.arange(len(wav) - at) / 32_000
        loud = rng.uniform(0.05, 1) * np.exp(-tail / 0.005)
        wav[at:] += (loud * rng.standard_normal(len(tail))).astype(np.float32)
    path = replace(clip, wav=wav).save(tmp_path, Output(slices=True))
    cues = json.loads(path.with_suffix(".json").read_text())["cues"]
    assert len(cues) == len(list(path.with_suffix("").iterdir())) > 5 and min(np.diff(cues)) >= 0.03 * 32_000
