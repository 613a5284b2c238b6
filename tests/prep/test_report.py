"""The report: what it says, that nothing in it runs or reaches out, that it stays small."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from audiocraft_ext.core.html import csp
from data_prep.report import report
from data_prep.report.charts import WAVE, WAVE_HEIGHT, chart, strips, wave
from data_prep.report.numbers import Sums, flag_kind, quantiles
from data_prep.report.words import clock, done, headline, share, shown, span

OVERVIEW = np.stack([-np.arange(240) // 2, np.arange(240) // 2], 1).astype(np.int8)


def source(name: str, **more) -> dict:
    return {"name": name, "seconds": 10.0, "status": "kept", "why": None, "kept": 8.0, "silence": 1.5, "slices": 2,
            "split": "train", "bpm": 174.0, "bpm_said": False, "confidence": 0.9, "key": None, "title": None,
            "licence": "CC0-1.0", "format": "WAV PCM_16", "rate": 44_100, "channels": 2, "mix": "mid", "dc": 0.0,
            "lufs": -17.0, "gain_db": 3.0, "cut": "bars", "bars": 4, "flags": [], "group": None, "overview": OVERVIEW,
            "spans": [[0.0, 4.0, "train"], [4.0, 8.0, "train"]]} | more


def given(*sources: dict, **more) -> dict:
    return {"folder": "pack", "codec": "microcodec", "rate": 32_000, "cut": "bars:4", "level": "lufs:-14",
            "settings": {"cut": "bars:4"}, "command": "python -m data_prep.audio pack store", "store_hash": "ab" * 32,
            "sure": 0.5, "notes": [], "refused": [], "duplicates": [], "slice_seconds": [(4.0, 2)],
            "sources": list(sources)} | more


class Page(HTMLParser):
    """Tags with their attributes, and all text outside of style and script."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.words, self.inside = [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"style", "script"} & set(self.inside):
            self.words.append(data)


def page(place: Path, *sources: dict, **more) -> Page:
    report.write(place, given(*sources, **more))
    return Page((place / "report.html").read_text("utf-8"))


def numbers(*sources: dict) -> dict:
    sums = Sums()
    for one in sources:
        sums.add(one, 0.5)
    return {"totals": sums.totals(), "tempo": sums.tempo()}


def test_what_a_page_says(tmp_path):
    html = page(tmp_path, source("a.wav"), source("b.wav", split="valid", kept=2.0, slices=1, flags=["clipped (3%)"]),
                source("c.mp3", status="duplicate", why="a copy of a.wav", kept=0.0, slices=0, split=None, spans=[]),
                refused=[("d.wav", "truncated")], notes=["a note"],
                duplicates=[{"group": 1, "files": [{"name": "a.wav", "relation": "", "kept": True},
                                                   {"name": "c.mp3", "relation": "copy", "kept": False}]}])
    for words in ("10.0 s of sound from 2 files, in 3 slices.", "The tempo is mostly 170 to 180 BPM (100%).",
                  "20% is held out", "30.0 s in, from 4 files", "kept (33%), from 2 files", "d.wav truncated", "a note",
                  "set aside: 1 copy, 0 unusable, 1 broken", "c.mp3 left out, a copy", "b.wav clipped (3%)",
                  "mixed to mono, resampled from 44.1 kHz, 1.5 s of silence cut out, +3.0 dB, cut into 2 slices of 4",
                  "copies of others 10.0 s", "python -m data_prep.audio pack store"):
        assert words in html.text, words
    assert [tag for tag, about in html.tags if tag == "tr"] == ["tr"] * 4


def test_the_json_has_all_and_the_same_is_the_same(tmp_path):
    sources = [source("b \udcff.wav"), source("a.wav", lufs=float("nan"), confidence=np.float32(0.123456))]
    report.write(tmp_path, given(*sources))
    text = (tmp_path / "report.json").read_text("ascii")
    data = json.loads(text)
    assert [one["name"] for one in data["sources"]] == ["b \udcff.wav", "a.wav"]
    assert data["sources"][0]["done"][0] == "mixed to mono" and "overview" not in data["sources"][0]
    assert data["sources"][1]["lufs"] is None and data["sources"][1]["confidence"] == 0.1235
    assert data["totals"]["kept_seconds"] == 16 and data["headline"] and data["settings"] == {"cut": "bars:4"}
    assert sum(data["histograms"]["tempo"]["after"]) == 16 and sum(data["histograms"]["length"]["after"]) == 2
    assert sum(line.startswith('{"bars"') for line in text.splitlines()) == 2
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    report.write(tmp_path, given(*sources))
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before
    assert sorted(before) == ["report.html", "report.json"]


HOSTILE = ["<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "a\nb\0c", "\udcff\udc80",
           "\u202egnp.wav", "javascript:alert(1)", "</title></style></script><b>x", "https://example.org/x.png"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_stranger_runs(tmp_path, text):
    """The same tags and attributes as with harmless names, and each name as text."""
    def made(place: Path, word: str) -> Page:
        one = source(word, title=word, key=word, licence=word, flags=[f"odd: {word}"])
        return page(place, one, folder=word, notes=[word],
                    command=word, refused=[(word, word)], settings={"x": word}, duplicates=[
                        {"group": 1, "files": [{"name": word, "relation": word, "kept": True}]}])

    def bones(html: Page) -> list:
        return [(tag, sorted(about)) for tag, about in html.tags]

    hostile = made(tmp_path / "hostile", text)
    assert bones(hostile) == bones(made(tmp_path / "harmless", "x"))
    assert hostile.text.count(" ".join(shown(text).split())) >= 8
    assert not any(c in hostile.text for c in "\0\u202e")


def test_the_page_reaches_out_for_nothing(tmp_path):
    html = page(tmp_path, source("a.wav"))
    assert not any(name in ("src", "href", "srcset", "action") for _, about in html.tags for name in about)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "//" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S) and "url(" not in text
    (policy,) = [about["content"] for tag, about in html.tags if about.get("http-equiv") == "Content-Security-Policy"]
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    assert policy.startswith("default-src 'none';") and f"script-src '{csp(script)}'" in policy


def test_of_many_files_those_worth_a_look_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_ROWS", 5)
    html = page(tmp_path, *(source(f"{n:03}.wav", flags=["odd"] if n in (77, 88) else []) for n in range(100)))
    names = [about["data-v"] for tag, about in html.tags if tag == "td" and about.get("class") == "name"]
    assert names == ["077.wav", "088.wav", "000.wav", "001.wav", "002.wav"]
    assert "5 of 100 are shown" in html.text
    assert len(json.loads((tmp_path / "report.json").read_text())["sources"]) == 100


def test_sources_are_gone_through_one_by_one(tmp_path):
    class Sources:
        def __iter__(self):
            return (source(f"{n}.wav") for n in range(3))

    page(tmp_path, sources=Sources())
    assert len(json.loads((tmp_path / "report.json").read_text())["sources"]) == 3


def test_a_source_that_says_as_little_as_it_may(tmp_path):
    least = {"name": "a.wav", "seconds": 3.0, "status": "kept", "why": None, "kept": 3.0, "slices": 1, "split": "train",
             "format": "WAV", "rate": 32_000, "channels": 1, "flags": []}
    assert "no tempo" not in page(tmp_path, least).text
    assert done(least, "32 kHz") == ["whole"]


def test_nothing_kept(tmp_path):
    html = page(tmp_path, source("a.wav", status="left out", why="silent", kept=0.0, slices=0, split=None, bpm=None,
                                 lufs=None, overview=None, spans=[]), slice_seconds=[], store_hash=None)
    assert "Nothing is kept" in html.text and "silent" in html.text
    assert "from 0 files" in page(tmp_path, slice_seconds=[]).text


def test_the_lines_for_a_terminal(tmp_path):
    sums = report.write(tmp_path, given(
        source("a.wav", flags=["clipped (3%)"]), source("b.wav", split="valid"), refused=[("x\udcff", "y")] * 3,
        notes=["n"]))
    text = report.lines(sums)
    assert 9 <= len(text) <= 15
    for line in ("in      5 files, 20.0 s that can be read", "valid   1 file, 2 slices, 8.0 s", "look at clipped (1)",
                 "refused 3 files: x\\xff: y; x\\xff: y ...",
                 "tempo   median 174 BPM, half within 174 to 174, sure for 100%",
                 "licence CC0-1.0 100%", "note    n", "cut out 3.0 s of silence, 1.0 s that did not fill a slice"):
        assert line in text


@pytest.mark.parametrize("sources, words", [
    ([source("a"), source("b", bpm=90.0, kept=2.0)], "The tempo is mostly 170 to 180 BPM (80%)."),
    ([source("a"), source("b", bpm=90.0, kept=7.0), source("c", bpm=120.0, kept=0.5)],
     "The tempo is 170 to 180 BPM (52%) and 85 to 95 BPM (45%)."),
    ([source(str(n), bpm=60.0 + 12 * n) for n in range(11)],
     "The tempo is spread, half of it from 84 to 156 BPM."),
    ([source("a"), source("b", bpm=None)], "Where a tempo is known (50%), it is mostly 170 to 180 BPM (100%)."),
    ([source("a", bpm=None)], "Its tempo is not known."),
    ([source("a", confidence=0.1)], "BPM (100%); most of that is a guess."),
    ([source("a", seconds=0.5, kept=0.5, slices=1), source("b", slices=9)], "10% of the slices are one-shots, 6% of"),
    ([source("a", cut="onsets")], "All of it is one-shots."),
    ([source("a", kept=80.0, seconds=80.0), source("b"), source("c")], "83% of it is one file, a."),
    ([source("a")], "Nothing is held out"),
    ([source("a", split="both", valid_seconds=2.0, valid_slices=1)], "25% is held out"),
    ([source("a", key="Am"), source("b")], "Keys are known for 50% of it, most often Am.")])
def test_headlines(sources, words):
    sums = numbers(*sources)
    assert words in " ".join(headline(sums["totals"], sums["tempo"]))


def test_totals_add_up():
    t = numbers(source("a"), source("b", silence=99.0), source("c", split="both", valid_seconds=2.0, valid_slices=1),
                source("d", status="duplicate", kept=0.0), source("e", status="left out", kept=0.0))["totals"]
    assert t["seconds"] == 50 == sum(t[f"{name}_seconds"] for name in (
        "kept", "silence", "remainder", "duplicate", "left_out"))
    assert t["train"] == {"files": 3, "slices": 5, "seconds": 22.0}
    assert t["valid"] == {"files": 1, "slices": 1, "seconds": 2.0}


def test_quantiles():
    assert quantiles(np.array([3.0, 1, 2]), np.array([1.0, 1, 8])) == [2, 2, 2]
    assert quantiles(np.arange(1, 101.0), np.ones(100)) == [25, 50, 75]
    assert quantiles(np.zeros(0), np.zeros(0)) is None and quantiles(np.ones(1), np.zeros(1)) is None


def test_charts_hold_what_lies_outside():
    sums = Sums()
    for bpm in (20.0, 100.0, 400.0):
        sums.add(source("a", bpm=bpm, lufs=-90.0), 0.5)
    histograms = sums.histograms([(0.1, 3), (7200.0, 1)])
    assert [w for w in histograms["tempo"]["before"] if w] == [10, 10, 10]
    assert histograms["loudness"]["before"][0] == 30
    assert histograms["length"]["after"][0] == 3 and histograms["length"]["after"][-1] == 1
    for kind, histogram in histograms.items():
        drawn = chart(histogram, kind)
        for panel in drawn["panels"]:
            for x, y, width, height, said in panel["bars"]:
                assert drawn["left"] <= x and x + width <= drawn["right"] and height > 0 and said
                assert y + height == pytest.approx(panel["y"], abs=0.11) and y >= panel["top"] - 0.01


def test_waveforms():
    points = [tuple(map(int, point)) for point in re.findall(r"(\d+) (\d+)", wave(OVERVIEW).partition("L")[2])]
    assert len(points) == 2 * WAVE and {x for x, _ in points} == set(range(WAVE))
    assert min(y for _, y in points) == 1 and max(y for _, y in points) == WAVE_HEIGHT - 1
    upper = [y for _, y in points[:WAVE]]
    assert upper == sorted(upper, reverse=True)
    assert wave(None) == "" and "nan" not in wave(np.zeros((240, 2), np.int8))
    assert strips(source("a", spans=[[0, 2, "train"], [2.01, 5, "train"], [5, 12, "valid"]])) == [
        (0, 60, "train"), (60, 60, "valid")]


def test_words():
    assert [span(s) for s in (0, 59.94, 59.96, 3596, 3600, 4680)] == ["0.0 s", "59.9 s", "1.0 min", "59.9 min", "1.0 h",
                                                                      "1.3 h"]
    assert [clock(s) for s in (3.25, 61, 3600, 39_601.4)] == ["3.2 s", "1:01", "1:00:00", "11:00:01"]
    assert [share(*pair) for pair in ((0, 1), (1, 1), (1, 1000), (999, 1000), (1, 0))] == [
        "0%", "100%", "under 1%", "99%", "0%"]
    flags = ("clipped (3.1%)", "clipped: 3%", "odd", "peak 3 dB over", "3 dB over", "")
    assert [flag_kind(flag) for flag in flags] == ["clipped", "clipped", "odd", "peak ...", "3 dB over", ""]
    assert shown("a\udcff\u202e\n\u200dÖ") == "a\\xff\\u202e\\n\u200dÖ"


@pytest.mark.parametrize("more, words", [
    ({"mix": "channel 2"}, "channel 2 of 2 taken, the others cancel it"), ({"dc": 0.01}, "DC removed"),
    ({"gain_db": -2.0}, "−2.0 dB"), ({"cut": "whole", "slices": 1}, "no sure beat, so not cut into bars"),
    ({"cut": "whole", "slices": 1, "seconds": 0.5}, "whole"), ({"cut": "onsets"}, "cut into 2 one-shots"),
    ({"cut": "fixed"}, "in 2 pieces"),
    ({"variants": 2}, "2 variants made"),
    ({"status": "left out", "why": "too short"}, "too short")])
def test_what_was_done(more, words):
    assert words in done(source("a", **more), "44.1 kHz")
