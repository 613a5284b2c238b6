"""``python -m audiocraft_ext.evaluate``: what is compared with what, what is written, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.audio import codec as codecs
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.evaluate import judge, sounds
from audiocraft_ext.evaluate.cli import main, parse
from audiocraft_ext.evaluate.copies import Place
from audiocraft_ext.evaluate.judge import HELD_OUT, MADE, NOISE, Judged, Result
from audiocraft_ext.evaluate.sounds import RATE, Clip
from audiocraft_ext.evaluate.words import words
from audiocraft_ext.sound.wav import write_wav
from audiocraft_ext.store.writer import StoreWriter
from tests.evaluate.synthetic import beat, white
from tests.helpers.drum_bundle import tiny_drummer
from tests.helpers.programs import run_here
from tests.helpers.tiny import tiny_bundle


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(4):
        write_wav(folder / f"beat{i}.wav", beat(8, 115 + 5 * i, i), RATE)
    return folder


def result(made: dict, real: dict, noise: dict, places: int = 160) -> Result:
    def judged(figures: dict) -> Judged:
        found = {"kad_msd": 2.0, "kad_msd_error": 1.0, "pulse": 0.8, "copied": 0.01, "windows": places} | figures
        return Judged([Clip(0, "clip 0", 0.0, np.zeros(1))], [], [Place(0.9, 0, 1.5, "song.wav", 62.0)], found)

    return Result({MADE: judged(made), HELD_OUT: judged(real), NOISE: judged(noise)}, 0.5, places, [], 10)


def test_a_folder_beside_a_folder(music, tmp_path, monkeypatch):
    made, out = tmp_path / "<made>", tmp_path / "out"
    made.mkdir()
    write_wav(made / "copy.wav", beat(8, 115, 0), RATE)
    write_wav(made / "noise.wav", white(5), RATE)
    monkeypatch.setattr(judge, "noise", lambda: sounds.noise(1))
    code, text, err = run_here("-m", "audiocraft_ext.evaluate", made, "--like", music, "--out", out)
    assert code == 0, err
    about = json.loads((out / "evaluation.json").read_text())
    assert [len(about["clips"][name]) for name in ("made", "held-out")] == [2, 2]
    figures = about["sets"]
    assert figures["made"]["clips"] == 2 and figures["noise"]["kad_msd"] > figures["held-out"]["kad_msd"]
    copy = about["clips"]["made"][0]
    assert copy["name"] == "copy.wav" and copy["nearest"]["source"] == "beat0.wav" and copy["nearest"]["score"] > 0.95
    page = (out / "index.html").read_text()
    files = [clip["file"] for clips in about["clips"].values() for clip in clips]
    assert all(f'src="{file}"' in page and (out / file).is_file() for file in [*files, "picture.png"])
    assert "&lt;made&gt;" in page and "<made>" not in page
    assert "KAD, msd" in text and "beat:" in text and "copied:" in text


def test_a_bundle_is_sampled_and_drums_are_refused(tmp_path):
    found = sounds.of_bundle(tiny_bundle(tmp_path / "sound"), 2)
    assert [s.name for s in found] == ["clip 0", "clip 1"] and all(len(s.wav) == 10 * RATE for s in found)
    drums = tiny_drummer(tmp_path / "drums")
    with pytest.raises(UserError, match="makes? .*audible.*--wav"):
        main([str(drums), "--like", str(tmp_path)])


def test_a_store_is_heard_through_its_codec_without_controls(tmp_path):
    codec = codecs.get_codec("debug")
    spec, rng = codec.spec.with_controls(1), np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", spec, {}) as writer:
        for name, split, frames in (("a", TRAIN, 100), ("b", TRAIN, 50), ("c", VALID, 60)):
            codes = rng.integers(0, codec.spec.card, (spec.n_q, frames))
            codes[-1] = 0
            writer.add(name, split, codes.astype(np.uint16))
        writer.finish()
    real, held_out, known = sounds.real(tmp_path / "store", None)
    assert {s.name: len(s.wav) for s in real} == {"a": 2 * RATE, "b": RATE} and not known
    assert [(s.name, len(s.wav)) for s in held_out] == [("c", round(1.2 * RATE))]


def test_a_folder_is_split_by_file(music):
    real, held_out, known = sounds.real(music, None)
    names = [s.name for s in real + held_out]
    assert known and len(real) == len(held_out) == 2 and len(set(names)) == 4
    real, held_out, known = sounds.real(music, music)
    assert not known and len(real) == len(held_out) == 4


def test_an_hour_of_a_folder_is_enough(music, monkeypatch, capsys):
    monkeypatch.setattr(sounds, "MOST_MINUTES", 0.2)
    found = sounds.of_folder(music)
    assert sum(len(s.wav) for s in found) == 12 * RATE and "2 of its 4 files" in capsys.readouterr().err


def test_what_cannot_be_compared(music, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        parse(["x", "--like", str(tmp_path / "nothing")])
    with pytest.raises(UserError, match="--clips"):
        parse(["x", "--like", str(music), "--clips", "0"])
    with pytest.raises(UserError, match="found none"):
        sounds.of_folder(tmp_path)
    write_wav(tmp_path / "only.wav", beat(5), RATE)
    with pytest.raises(UserError, match="--held-out"):
        sounds.real(tmp_path, None)


@pytest.mark.parametrize(("made", "verdict"), [(0.7, "steady"), (0.35, "loose"), (0.1, "none"), (math.nan, "unknown")])
def test_the_beat_in_words(made, verdict):
    assert words(result({"pulse": made}, {}, {"pulse": 0.08}), "x")[0][1] == verdict


@pytest.mark.parametrize(("made", "verdict"), [(3, "as much as your own"), (6, "closely"), (12, "related"),
                                               (30, "distantly"), (55, "no"), (math.nan, "unknown")])
def test_the_resemblance_in_words(made, verdict):
    what, said, _ = words(result({"kad_msd": made}, {}, {"kad_msd": 61}), "jungle")[1]
    assert (what, said) == ("like jungle", verdict)


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "no"), (0.1, "in places"), (0.6, "much of it")])
def test_copies_in_words(share, verdict):
    _, said, why = words(result({"copied": share}, {}, {}), "x")[2]
    assert said == verdict and ("song.wav at 62.0 s" in why) == (share > 0.04)


def test_too_little_held_out_sound_tells_no_copies():
    assert words(result({"copied": 0.9}, {}, {}, places=20), "x")[2][1] == "unknown"
