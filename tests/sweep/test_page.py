"""The page in a real browser: everything sounds, is drawn, sorts, obeys the keyboard, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sweep import page as paging
from audiocraft_ext.sweep import sounds
from audiocraft_ext.sweep.chart import HEIGHT, LABEL, MOST, WIDTH, chart, nice, smooth, spread, thinned
from audiocraft_ext.sweep.page import write_page
from audiocraft_ext.sweep.summary import Row, summary
from tests.helpers.browser import browser  # noqa: F401  a fixture
from tests.helpers.sweeps import make_run

ODD = "<b>\"a\" & 'b'</b><script>document.title='owned'</script>"
EVERY_AUDIO = """Promise.all([...document.querySelectorAll("audio")].map(a => new Promise(done => {
    a.addEventListener("loadeddata", () => done([a.readyState, a.duration]));
    a.addEventListener("error", () => done([0, a.error.message]));
    a.preload = "auto"; a.load(); })))"""
PLAYING = """[...document.querySelectorAll("audio")].map((a, i) => a.paused ? -1 : i).filter(i => i >= 0)"""
ORDER = """[...document.querySelectorAll("#runs tbody tr")].map(row => row.dataset.run)"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Row]:
    """Four: two with sounds (and a name that means harm), one that runs, one that failed at once."""
    folder = tmp_path_factory.mktemp("a <b> & 'c'")
    made = [make_run(folder / "first", best=3.5, clips=3), make_run(folder / "second", best=3.0, clips=2),
            make_run(folder / "third", best=4.0, state="training", done=60),
            make_run(folder / "fourth", done=0, state="failed", error=f"UserError: {ODD}")]
    settings = [{"lr": "0.01", "label": ODD}, {"lr": "0.002", "label": "x"}, {"lr": "0.1", "label": "x"},
                {"lr": "1", "label": "x"}]
    return [summary(path, i, given) for i, (path, given) in enumerate(zip(made, settings))]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    said = write_page(path, runs, ODD, {"solver": ODD})
    assert re.fullmatch(r"page: .*page\.html, 4 runs, 5 clips, 0\.\d MB", said)
    return path


@pytest.fixture
def opened(browser, page):  # noqa: F811
    browser.open(page)
    yield browser
    assert browser.requests() == [] and browser.complaints() == []
    assert browser.run("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0


def test_every_sound_can_be_decoded(opened):
    there = opened.run(EVERY_AUDIO)
    assert len(there) == 5 and all(ready >= 2 and abs(seconds - 0.5) < 0.05 for ready, seconds in there)


def test_a_sound_is_the_one_that_the_run_made(opened, runs):
    """Decoded by the browser, each has the pitch of its run and clip."""
    for index in (0, 1):
        peak = opened.run(f"""(async () => {{
            const url = document.querySelectorAll(".card[data-run={runs[index].sig}] audio")[1].src;
            const bytes = Uint8Array.from(atob(url.split(",")[1]), c => c.charCodeAt(0));
            const sound = await new OfflineAudioContext(1, 1, 32000).decodeAudioData(bytes.buffer);
            return Array.from(sound.getChannelData(0)); }})()""")
        spectrum = np.abs(np.fft.rfft(peak))
        assert np.argmax(spectrum) * 32000 / len(peak) == pytest.approx(220 * [3.5, 3.0][index] * 2, rel=0.01)


def test_there_is_a_curve_for_each_run_that_has_one(opened):
    drawn = opened.run("""[...document.querySelectorAll(".curve")].map(g => {
        const box = g.querySelector(".valid, .train")?.getBoundingClientRect();
        return [g.dataset.run, box ? box.width > 100 && box.height > 20 : false]; })""")
    assert dict(drawn) == {"first": True, "second": True, "third": True, "fourth": False}
    labels = opened.run("[...document.querySelectorAll('.plot .name')].map(e => e.dataset.run)")
    assert sorted(labels) == ["first", "second", "third"]


def test_the_table_is_sorted_and_sorts(opened):
    assert opened.run(ORDER) == ["second", "first", "third", "fourth"]  # by the lowest loss, none comes last
    lr = opened.run("[...document.querySelectorAll('#runs th')].findIndex(th => th.textContent === 'lr') + 1")
    for order in (["second", "first", "third", "fourth"], ["fourth", "third", "first", "second"]):
        opened.click(f"#runs th:nth-child({lr}) button")
        assert opened.run(ORDER) == order
    cards = opened.run("[...document.querySelector('.cards').children].map(card => card.dataset.run)")
    assert cards == ["first", "second"]  # the sounds go with it


def test_one_plays_at_a_time_by_mouse_and_by_keyboard(opened):
    """The order of the page: clip 0 of second and first, clip 1 of both, clip 2 of first."""
    opened.run("document.querySelectorAll('audio').forEach(a => { a.loop = true })")  # half a second is soon over

    def playing(index: list[int]) -> bool:
        return opened.run(f"""new Promise(done => {{ let n = 0; const look = () => {{
            const now = JSON.stringify({PLAYING}); if (now === "{index}") done(true);
            else if (n++ > 100) done(now); else setTimeout(look, 20); }}; look(); }})""".replace(", ", ","))

    opened.click(".card button")
    assert playing([0]) is True
    opened.click(".card:nth-child(2) .wave")  # in the middle: half of it is over
    assert playing([1]) is True
    for key, now in [(" ", []), (" ", [1]), ("ArrowDown", [3]), ("ArrowLeft", [2]), ("ArrowUp", [0]), ("ArrowUp", [0])]:
        opened.press(key)
        assert playing(now) is True, key
    opened.run("document.querySelectorAll('audio').forEach(a => { a.loop = false })")
    opened.click(".turn")
    assert playing([1]) is True  # the first is over, its neighbour follows
    assert playing([]) is True


@pytest.mark.parametrize("sort, order, said", [("lr", ["second", "first", "third", "fourth"], "lrascending"),
                                               ("-lr", ["fourth", "third", "first", "second"], "lrdescending")])
def test_the_page_begins_in_the_order_that_is_asked_for(sort, order, said, runs, browser, tmp_path):  # noqa: F811
    write_page(tmp_path / "page.html", runs, "x", sort=sort)
    browser.open(tmp_path / "page.html")
    assert browser.run(ORDER) == order
    assert browser.run("(th => th.textContent + th.ariaSort)(document.querySelector('[aria-sort]'))") == said


def test_pointing_at_a_run_brings_it_forward(opened):
    opened.click("#runs tbody tr:nth-child(2) td:nth-child(3)")
    assert opened.run("document.querySelector('.curve.on').dataset.run") == "first"
    assert "best validation loss 3.500" in opened.run("document.querySelector('#said').textContent")


def test_names_are_harmless_and_the_failed_says_why(opened):
    assert opened.run("document.title") == f"{ODD}: 2 done, 1 running, 1 failed; about 40 s left"
    assert opened.run("document.querySelectorAll('body b:not(.name b), body script').length") == 1  # the page's own
    assert opened.run("document.querySelector('.errors code').textContent") == f"UserError: {ODD}"
    assert ODD in opened.run("document.querySelector('.card:nth-child(2) .who').textContent")
    assert opened.run("[...document.querySelectorAll('a')].every(a => a.href.startsWith('file:///'))")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_in_the_window_and_can_be_read(browser, page, width, dark):  # noqa: F811
    browser.open(page, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") == width
    colours = browser.run("""[document.body,
        ...document.querySelectorAll("td, .quiet, .who, .state, .plot .x, .card time, .errors code")].map(e => [
            getComputedStyle(e).color, getComputedStyle(e.closest(".card") || document.body).backgroundColor])""")
    assert min(contrast(*pair) for pair in colours) > 4.5  # WCAG 2.2, 1.4.3
    curves = browser.run("""[0, 1, 2, 3, 4, 5, 6].map(i => [getComputedStyle(document.documentElement)
        .getPropertyValue("--c" + i), getComputedStyle(document.documentElement).getPropertyValue("--back")])""")
    assert min(contrast(*pair) for pair in curves) > 3  # 1.4.11


def contrast(a: str, b: str) -> float:
    light = sorted(luminance(colour) for colour in (a, b))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(colour: str) -> float:
    colour = colour.strip()
    if colour.startswith("#"):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    else:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear))


def test_a_page_before_anything_has_happened(browser, tmp_path):  # noqa: F811
    write_page(tmp_path / "page.html", [summary(make_run(tmp_path / "a", state=None))], "early")
    browser.open(tmp_path / "page.html")
    assert "No run has made an update yet" in browser.run("document.body.textContent")
    assert "No sounds yet" in browser.run("document.body.textContent") and browser.complaints() == []


def test_what_would_make_it_too_large_is_left_out_with_a_word(runs, tmp_path, monkeypatch):
    one = len(sounds.sound(runs[1].samples / "clip_0.wav").url)
    monkeypatch.setattr(paging, "LARGEST", int(2.5 * one))
    assert "4 runs, 2 clips" in write_page(tmp_path / "page.html", runs, "x")
    assert "3 more clips would make this page larger" in (tmp_path / "page.html").read_text("utf-8")


def test_a_page_is_written_aside_and_over_none_but_a_page(runs, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_page(path, runs[:1], "old")
    write_page(path, runs[:1], "new")
    before = path.read_bytes()
    assert b"<h1>new" in before
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError):
            write_page(path, runs[:1], "newer")
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["page.html"]
    path.write_text("<!doctype html>mine")
    with pytest.raises(UserError, match="no page of ours"):
        write_page(path, runs, "x")
    with pytest.raises(UserError, match="is a folder"):
        write_page(tmp_path, runs, "x")


def test_sounds_are_small_and_whole(tmp_path):
    """Half a minute in stereo at another rate: libsndfile would crash on it in one piece."""
    wav = np.random.default_rng(0).uniform(-1, 1, (30 * 44100, 2)).astype(np.float32)
    sf.write(tmp_path / "clip_0.wav", wav, 44100)
    made = sounds.sound(tmp_path / "clip_0.wav")
    assert made.seconds == 30 and made.wave.count("M") == sounds.BARS
    assert len(made.url) < 4 * 30 * 44100 / 4


def test_files_that_are_no_sounds_are_passed_over(tmp_path):
    for name in ("clip_0.mid", "clip_2.wav", "clip_x.wav", "clip_10.wav", "clip_1.wav.part"):
        (tmp_path / name).write_text("nothing")
    assert list(sounds.clips(tmp_path)) == [2, 10]
    assert sounds.sound(tmp_path / "clip_2.wav") is None and sounds.sound(tmp_path / "gone.wav") is None


def test_the_command_finds_runs_by_grid_folder_and_signature(tmp_path):
    for i, lr in enumerate(("1e-3", "1e-2")):
        make_run(tmp_path / "xps" / f"run{i}", best=3 + i, argv={"solver": "x", "optim.lr": lr})
    (tmp_path / "grids" / "lr").mkdir(parents=True)
    (tmp_path / "grids" / "lr" / "run0").symlink_to("../../xps/run0")

    def command(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-X", "importtime", "-m", "audiocraft_ext.sweep.page", *words],
                              env=os.environ | {"MICRO_OUTPUTS": str(tmp_path)}, capture_output=True, text=True)

    out = tmp_path / "page.html"
    for words, n in ((["lr"], 1), (["run1"], 1), ([str(tmp_path / "xps")], 2), (["lr", "run0", "run1"], 2)):
        done = command(*words, "-o", str(out))
        assert done.returncode == 0 and f"{n} runs" in done.stdout, done.stderr[-500:]
    assert not {"torch", "dora", "matplotlib"} & set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    text = out.read_text("utf-8")
    assert "lr=0.001" in text and "<dt>solver</dt><dd>x</dd>" in text
    for words, said in ((["none"], "grids in .* are: lr"), ([str(tmp_path / "grids")], "no runs in it"),
                        (["lr", "--sort", "speed"], "--sort speed: no such column")):
        done = command(*words, "-o", str(out))
        errors = [line for line in done.stderr.splitlines() if not line.startswith("import time")]
        assert done.returncode == 2 and len(errors) == 1 and re.search(said, errors[0]), errors


def curve(*losses: float, stage: str = "valid") -> dict:
    return {stage: [{"step": 10 * (i + 1), "ce": ce} for i, ce in enumerate(losses)]}


def test_lower_is_lower_and_later_is_further_right():
    made = chart([curve(5, 4, 3), curve(5, 4.5, 4.4)])
    points = [[tuple(map(float, p.split())) for p in c.valid[1:].split("L")] for c in made.curves]
    assert [x for x, _ in points[0]] == pytest.approx([WIDTH / 3, 2 * WIDTH / 3, WIDTH], abs=0.1)
    assert points[0][0] == points[1][0] and points[0][2][1] > points[1][2][1] > points[0][0][1]
    assert all(0 <= y <= HEIGHT for c in points for _, y in c)
    scale = {float(text): y for y, text in made.y_ticks}
    assert points[0][1][1] == pytest.approx(scale[4.0], abs=0.1)


def test_a_run_that_explodes_does_not_flatten_the_others():
    made = chart([curve(5, 4, 3), curve(5, 4.1, 3.2), curve(5, 1e9, float("nan"))])
    assert len(made.y_ticks) > 2 and float(made.y_ticks[-1][1]) < 20


@pytest.mark.parametrize("runs, curves", [([{}], None), ([], None), ([curve(float("nan"))], None), ([curve(3)], 1),
                                          ([curve(3), {}], 2), ([{"valid": [{"step": 0, "ce": 3}]}], 1),
                                          ([curve(3, 3, 3)], 1)])
def test_little_can_be_drawn_too(runs, curves):
    made = chart(runs)
    assert made is None if curves is None else len(made.curves) == curves


def test_long_curves_are_short_and_keep_their_mean():
    points = [(i, float(i % 7)) for i in range(10_000)]
    short = thinned(points)
    assert len(short) <= MOST and np.mean([y for _, y in short]) == pytest.approx(3, abs=0.1)
    assert thinned([]) == [] and smooth([(1, 2.0)]) == [(1, 2.0)]
    assert np.ptp([y for _, y in smooth(points)[500:-500]]) < 0.1


def test_labels_do_not_lie_on_each_other():
    at = spread([100, 100, 101, None, HEIGHT, HEIGHT, -50])
    assert at[3] is None and min(np.diff(sorted(y for y in at if y is not None))) >= LABEL
    assert all(0 <= y <= HEIGHT for y in at if y is not None)
    crowd = spread([200.0] * 50)
    assert sum(y is not None for y in crowd) == HEIGHT // LABEL and crowd[0] is not None
    assert spread([10, 300]) == [10, 300]


@pytest.mark.parametrize("low, high", [(0, 1), (4.9, 5.02), (0, 1e6), (-3, 7)])
def test_ticks_are_round(low, high):
    ticks = nice(low, high, 6)
    assert 2 <= len(ticks) <= 7 and all(low <= tick <= high for tick in ticks)


def test_somebody_elses_file_is_refused_before_anything_starts(tmp_path, monkeypatch):
    from audiocraft_ext.sweep import cli
    from audiocraft_ext.train import main

    monkeypatch.setattr("dora.grid.grid_action", lambda args, main: pytest.fail("started"))
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(UserError, match="no page of ours"):
        cli._grid(SimpleNamespace(grid="debug", html=tmp_path / "notes.html"), main)
