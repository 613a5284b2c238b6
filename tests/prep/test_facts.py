"""What is known of files: kept whole, given back as it was, forgotten when the file changes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from data_prep.audio.analysis.facts import Facts, FactsFile, Level, Refused
from data_prep.audio.beats.grid import Beats
from data_prep.shared.naming import Labels

NAMES = ["a.wav", "b/ü 音.flac", os.fsdecode(b"bytes \xff\xfe.wav"), "quote'\"; DROP TABLE facts; --.mp3"]


def facts(name: str, seed: int = 0, **more) -> Facts:
    rng = np.random.default_rng(seed)
    base = dict(name=name, size=100, mtime_ns=5, heard_at=32_000, file_sha256="f" * 64, sound_sha256="s" * 64,
                format="WAV PCM_16", lossy=False, seconds=2.5, rate=44_100, amplitude=0.5, samples=80_000,
                level=Level(lufs=-14.2, peak_db=-1.0), labels=Labels(title=name, bpm=170.0),
                beats=Beats(170.0, 0.9, 4, np.arange(8) * 11_000, np.arange(2) * 44_000), spectrum=[-10.0, -20.5],
                texture={"crest": 4.5}, envelope=rng.integers(0, 255, 250, np.uint8),
                overview=rng.integers(-127, 127, (240, 2)).astype(np.int8),
                fingerprint=rng.integers(0, 2**32, 20, np.uint32), onsets=np.array([0, 2**40]))
    return Facts(**(base | more))


def same(a: Facts, b: Facts) -> bool:
    def flat(f: Facts) -> dict:
        values = dict(vars(f))
        values["beats"] = vars(f.beats) if f.beats else None
        return {k: v.tolist() if isinstance(v, np.ndarray) else
                {i: x.tolist() if isinstance(x, np.ndarray) else x for i, x in v.items()} if isinstance(v, dict) else v
                for k, v in values.items()}

    return flat(a) == flat(b) and a.fingerprint.dtype == b.fingerprint.dtype and a.overview.shape == b.overview.shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("more", [{}, {"beats": None, "onsets": None}, {"onsets": np.zeros(0, np.int64)}])
def test_facts_come_back_as_they_were(tmp_path, name, more):
    there = facts(name, **more)
    with FactsFile(tmp_path / "facts.sqlite", "x") as file:
        file.put(there)
    with FactsFile(tmp_path / "facts.sqlite", "x") as file:
        assert same(file.get(name, 100, 5), there)
        assert same(file.named(name), there)


def test_a_changed_file_and_another_way_of_analysis_are_not_known(tmp_path):
    with FactsFile(tmp_path / "facts.sqlite", "x") as file:
        file.put(facts("a"))
        assert file.knows("a", 100, 5)
        assert not file.knows("a", 101, 5) and not file.knows("a", 100, 6) and not file.knows("b", 100, 5)
        assert file.get("a", 101, 5) is None and file.get("a", 100, 6) is None
    with FactsFile(tmp_path / "facts.sqlite", "y") as file:
        assert file.get("a", 100, 5) is None and not file.knows("a", 100, 5)


def test_refusals_are_remembered_and_passing_ones_can_be_forgotten(tmp_path):
    with FactsFile(tmp_path / "facts.sqlite", "x") as file:
        file.put(Refused("a", 1, 2, "not audio"))
        file.put(Refused("b", 1, 2, "took too long", passing=True))
        assert file.get("a", 1, 2) == Refused("a", 1, 2, "not audio")
        assert file.forget_passing() == 1
        assert file.get("b", 1, 2) is None and file.get("a", 1, 2) is not None


def test_a_kill_loses_only_the_last_few(tmp_path):
    path = tmp_path / "facts.sqlite"
    code = ("import os; from pathlib import Path; from data_prep.audio.analysis.facts import *\n"
            f"f = FactsFile(Path({str(path)!r}), 'x')\n"
            "for i in range(130): f.put(Refused(str(i), 1, 2, 'r'))\nos._exit(9)")
    subprocess.run([sys.executable, "-c", code], check=False)
    with FactsFile(path, "x") as file:
        assert sum(file.knows(str(i), 1, 2) for i in range(130)) == 128


def test_a_damaged_file_is_refused_in_a_line(tmp_path):
    path = tmp_path / "facts.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="is damaged .* delete it"):
        FactsFile(path, "x")
