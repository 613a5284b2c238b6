"""The seed law across versions: one seed, bundle and settings, one result; and the same files make the same store.

Each golden value is the first 16 hex digits of a sha256. They were taken on 2026-11-30: of drums and of the microcodec
before the modules moved into their folders, of the embedded bundle when its clips became guided by the metronome. A
change that alters one of them changes what users get, and says so where the value is changed. Bitwise equality ends at
the processor: where ONNX Runtime computes, codes are compared and not samples, since another processor or version adds
up in another order; a code changes only where two are as good as equally likely.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import data_prep.audio.cli
import data_prep.midi.cli
import infer
from audiocraft_ext.audio.instrument import Instrument

ROOT = Path(__file__).resolve().parents[2]
WEIRD = "stutter:at=2b,len=1/4b,times=3; mutate:share=5%,books=1-3; reroll:keep=0"
LOOPS = ("loop_breakbeat.flac", "loop_compus.flac", "loop_perc1.flac")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@pytest.fixture(scope="module")
def embedded() -> Instrument:
    return Instrument.load("embedded", threads=1)


@pytest.mark.parametrize(("settings", "golden"), [
    ({"seconds": 3, "n": 2, "seed": 11}, "ff9a4e4021074c95"),
    ({"bpm": 140, "bars": 1, "n": 1, "seed": 5, "weird": WEIRD}, "3fb68ba2907ac954"),
    ({"bpm": 165, "bars": 1, "n": 1, "seed": 6, "loop": True}, "016419c83c01b099"),
], ids=["clips", "weird", "loop"])
def test_codes_of_clips(embedded, settings, golden):
    """Clips of the embedded bundle: plain, with weird tools, and as a loop."""
    clips = embedded.generate(**settings)
    assert digest(b"".join(np.ascontiguousarray(clip.codes, "<i8").tobytes() for clip in clips)) == golden


def test_beats(tmp_path, capsys):
    """The MIDI files of the bundle ``drums``."""
    infer.main(["drums", "-n", "3", "--bars", "2", "--bpm", "174", "--seed", "11", "-o", str(tmp_path)])
    files = sorted(tmp_path.glob("*.mid"))
    assert len(files) == 3 and digest(b"".join(file.read_bytes() for file in files)) == "7ead3ec1fa312882"


def test_store_of_drums(tmp_path, capsys):
    """The codes of the MIDI files in tests/data/groove."""
    data_prep.midi.cli.main([str(ROOT / "tests" / "data" / "groove"), str(tmp_path / "store"), "--workers", "0"])
    assert digest((tmp_path / "store" / "codes.u16").read_bytes()) == "34366b42e0326002"


def test_store_of_sound(tmp_path, capsys):
    """The codes of three drum loops, as the microcodec encodes them. Rounding decides one in 600 of the other codec,
    so they are not compared."""
    (tmp_path / "loops").mkdir()
    for name in LOOPS:
        shutil.copy(ROOT / "data_prep" / "breaks" / "cc0" / name, tmp_path / "loops")
    data_prep.audio.cli.main([str(tmp_path / "loops"), str(tmp_path / "store"), "--workers", "0", "--codec",
                              "microcodec"])
    assert digest((tmp_path / "store" / "codes.u16").read_bytes()) == "afa0c1ff4654ecf9"
