"""Titles in the codes of thirty years, dates beyond reason, names that are no text: none costs more than itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.store.reader import TokenStore
from data_prep.audio.analysis import tags
from data_prep.audio.analysis.facts import FactsFile, Refused
from data_prep.audio.cli import main
from data_prep.shared.naming import text_of

RATE = 32_000
# A text, its code, and what is shown of it.
TITLES = [("Jóga", "latin-1", "Jóga"), ("Größe ÄÖÜ", "latin-1", "Größe ÄÖÜ"), ("Jóga", "utf-8", "Jóga"),
          ("テスト", "shift-jis", "テスト"), ("音楽", "shift-jis", "音楽"), ("Don’t “go”", "cp1252", "Don’t “go”"),
          ("Café déjà", "mac_roman", "Caf\ufffd d\ufffdj\ufffd"), ("Привет", "cp1251", "\ufffd" * 6)]


def noise(seed: int, seconds: float = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("text, code, shown", TITLES)
def test_a_title_is_readable_or_replaced(tmp_path, text, code, shown):
    assert text_of(text.encode(code).decode("latin-1")) == shown
    sf.write(tmp_path / "x.mp3", noise(0), RATE)
    with (tmp_path / "x.mp3").open("ab") as file:
        file.write(b"TAG" + text.encode(code).ljust(30, b"\0") + bytes(95))
    assert tags.read(tmp_path / "x.mp3").title == shown


@pytest.mark.parametrize("text", ["Jóga", "ÄÖÜß Straße", "テスト", "Ωμέγα", "\U0001f600"])
def test_text_that_is_text_stays_as_it_is(text):
    assert text_of(text) == text


def test_a_date_beyond_reason_is_a_date(tmp_path):
    """The year 2446 is the last one of ext4; in nanoseconds it does not fit into 64 bits."""
    late = 15_032_385_535 * 10**9
    with FactsFile(tmp_path / "facts", "how") as known:
        for name, time in (("late", late), ("early", -late), ("now", 10**18)):
            known.put(Refused(name, 1, time, "reason"))
            assert known.knows(name, 1, time) and not known.knows(name, 1, time + 1)
            assert known.get(name, 1, time).reason == "reason"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_odd_dates_and_names_are_prepared_and_sliced(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    sf.write(folder / "late.wav", noise(1), RATE)
    os.utime(folder / "late.wav", ns=(15_032_385_535 * 10**9,) * 2)
    sf.write(tmp_path / "odd.wav", noise(2), RATE)
    (tmp_path / "odd.wav").rename(Path(os.fsdecode(os.fsencode(folder) + b"/Jo\xffga.wav")))
    sf.write(folder / "plain.wav", noise(3), RATE)
    for _ in range(2):  # again: the slices are known
        main([str(folder), str(tmp_path / "store"), "--codec", "debug", "--slices", str(tmp_path / "slices"),
              "--workers", "1", "--tempo", "off"])
    assert len({row["source"] for row in TokenStore(tmp_path / "store").rows}) == 3
    assert len(list((tmp_path / "slices").rglob("*.flac"))) == 3


def test_what_is_odd_about_a_file_is_in_the_report(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    sf.write(folder / "unfinished.wav", noise(1), RATE)
    data = bytearray((folder / "unfinished.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    (folder / "unfinished.wav").write_bytes(data)
    main([str(folder), str(tmp_path / "store"), "--codec", "debug", "--workers", "1", "--tempo", "off", "--dry-run"])
    assert "never finished" in capsys.readouterr().out
    assert "never finished" in (tmp_path / "store/report.json").read_text("utf-8")
