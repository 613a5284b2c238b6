"""Pieces and songs on the page as a person makes them, in Chromium: made, heard, changed, kept, taken away as files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.page import build
from audiocraft_ext.songs.beepbox import files as song_files
from tests.helpers.songs import tiny_sketcher
from tests.page.conftest import CACHE
from tests.page.person import STATUS, Quiet, downloaded, infer, visit
from tests.page.test_browser import NAMELESS, SIZES


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("scores")
    return build.build(top / "page", ["notes", str(tiny_sketcher(top / "songs"))], CACHE)


@pytest.fixture
def tabs(shown, scores):
    shown.server.RequestHandlerClass = partial(Quiet, directory=scores)
    return shown


def make_one(shown, kind: str, button: str = "", **numbers: int) -> None:
    """Press a button, by itself "make", and wait for what it makes."""
    shown.browser.run(f"document.getElementById('{kind}-seed').value = '3'; {STATUS} = ''")
    for name, value in numbers.items():
        shown.browser.run(f"[...document.querySelectorAll('#{'songs' if kind == 'song' else kind} label')].find("
                          f"one => one.textContent === '{name}').control.value = {value}")
    shown.browser.click(button or f"#{kind}-make")
    shown.browser.wait(f"/bars in/.test({STATUS}) && document.getElementById('{kind}-stop').hidden", 120)


def pressed(browser, *keys: str) -> None:
    browser.run("document.activeElement.blur()")
    for key in keys:
        browser.press(key)


def test_a_piece(tabs):
    browser = tabs.browser
    visit(tabs, "#notes")
    for part in ("drums", "bass"):
        browser.click(f"#part-{part}")
    make_one(tabs, "notes", Bars=2)
    pressed(browser, "d", "j", "w")
    midi, recipe = (downloaded(tabs, f"notes_seed3_0_120bpm.{ending}") for ending in ("mid", "json"))
    infer("notes", "--from", str(recipe), "-o", str(tabs.downloads / "again"))
    assert next((tabs.downloads / "again").glob("*.mid")).read_bytes() == midi.read_bytes()
    names = midi_file.read(midi).names
    assert set(names.values()) == {"drums", "finger bass"}
    wav, rate = sf.read(downloaded(tabs, "notes_seed3_0_120bpm.wav"))
    assert rate == 44100 and len(wav) == 4 * rate and 0.05 < np.abs(wav).max() <= 1
    browser.run("""window.begun = {}; for (const node of [OscillatorNode, AudioBufferSourceNode]) {
        const start = node.prototype.start, name = node.name;
        node.prototype.start = function (...when) {
            begun[name] = 1 + (begun[name] || 0); start.apply(this, when); }; }""")
    browser.click("#notes-play")
    head = "document.querySelector('#notes .roll i').style.left"
    first = browser.wait(head)
    browser.wait(f"{head} !== {json.dumps(first)}")
    browser.wait("begun.OscillatorNode && begun.AudioBufferSourceNode")
    pressed(browser, "Escape")
    browser.wait("document.getElementById('notes-play').textContent === 'Play'")
    notes = json.loads(recipe.read_text())["notes"]
    assert sum(browser.run("begun").values()) < notes, "some notes sound more than once"
    recipe.unlink()
    make_one(tabs, "notes", "[aria-label='finger bass anew']")
    pressed(browser, "j", "k")
    browser.wait("document.querySelectorAll('#notes .card.kept').length === 1")
    again = json.loads(downloaded(tabs, recipe.name).read_text())
    assert again["recipe"]["edit"] == "reroll" and again["recipe"]["parts"] == [34]
    assert browser.run("document.querySelectorAll('#notes ol li').length") == 2
    visit(tabs, "#notes")
    browser.wait("document.querySelectorAll('#notes ol li').length === 1")
    browser.click("#notes ol .open")
    assert "Piano roll of 2 bars" in browser.run("document.querySelector('#notes .roll canvas').ariaLabel")
    browser.click("#notes ol .delete")
    browser.wait("!document.querySelector('#notes ol li')")
    assert not browser.complaints()


def test_what_cannot_be_of_a_piece_is_said(tabs):
    browser = tabs.browser
    visit(tabs, "#notes")
    make_one(tabs, "notes", Bars=1)
    for label, value, button, words in (
            ("First bar that is made anew", 2, "#piece-fill", "expected bars such as 3 to 4"),
            ("How many", 99, "#notes-make", "1 to 32 at once"), ("Bars", 0, "#notes-make", "expected 1 to 256 bars")):
        browser.run(f"""[...document.querySelectorAll('#notes input')].find(
            one => (one.ariaLabel || one.labels[0]?.textContent) === '{label}').value = {value}""")
        browser.click(button)
        assert words in browser.run(STATUS) and browser.run("document.getElementById('status').className") == "wrong"
        browser.run("document.getElementById('notes-n').value = 1")


def test_a_song(tabs):
    browser = tabs.browser
    visit(tabs, "#songs")
    make_one(tabs, "song", Bars=2, Channels=2)
    browser.ask("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.click("#song-url")
    url = browser.run("document.getElementById('song-open').href")
    browser.wait(f"/copied/.test({STATUS})")
    assert browser.run("navigator.clipboard.readText()") == url
    browser.click("#song-file")
    song, remarks = song_files.read(downloaded(tabs, "songs_seed3_0_120bpm.beepbox.json"))
    (tabs.downloads / "url.txt").write_text(url)
    assert not remarks and song_files.read(tabs.downloads / "url.txt")[0] == song
    assert (song.bars, song.pitched, len(song.channels)) == (2, 2, 3)
    make_one(tabs, "song", "#song-more")
    pressed(browser, "d")
    assert midi_file.read(downloaded(tabs, "songs_seed3_0_120bpm.mid")).end == 6 * 4 * 480
    assert not browser.complaints()


def test_sizes_and_axe(tabs, axe):
    browser = tabs.browser
    for size, (width, height) in SIZES.items():
        for tab, kind in (("notes", "notes"), ("songs", "song")):
            visit(tabs, f"#{tab}", width=width, height=height)
            make_one(tabs, kind, Bars=1)
            browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run(NAMELESS) == []
            browser.picture(tabs.downloads / f"{tab}_{size}.png")
            browser.run(axe + "; 1")
            found = "axe.run().then(r => r.violations.map(v => [v.id, v.impact, v.nodes[0].html.slice(0, 150)]))"
            assert browser.run(found) == []
