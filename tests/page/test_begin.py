"""Files that a person drops on the page or chooses, in Chromium: a bass line to a break, a beat in the grid, a song."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.notes.play.composer import Composer
from audiocraft_ext.songs.beepbox import as_json, url_write
from tests.helpers.songs import random_song
from tests.page.person import ROOT, STATUS, beep, downloaded, drop, infer, visit

pytestmark = pytest.mark.browser
BREAK = ROOT / "data_prep/grooves/drummer7/session3/50_funk_112_fill_4-4.mid"
BUSY = "document.getElementById('notes-stop').hidden"


def pressed(browser, *keys: str) -> None:
    browser.run("document.activeElement.blur()")
    for key in keys:
        browser.press(key)


def said(shown, words: str, wrong: bool = False) -> None:
    shown.browser.wait(f"{STATUS}.includes({json.dumps(words)})")
    assert (shown.browser.run("document.getElementById('status').className") == "wrong") == wrong


def test_a_bass_line_to_a_break(shown, tmp_path):
    browser = shown.browser
    visit(shown, "#notes")
    drop(shown, "body", "my break.mid", BREAK.read_bytes())
    said(shown, "my break.mid: 1 bar of 4/4 at 112 BPM, 8 notes")
    assert browser.run("document.querySelectorAll('#notes ol li').length") == 1
    assert "1 bars, 8 notes: drums" in browser.run("document.querySelector('#notes .roll canvas').ariaLabel")
    pressed(browser, "d")
    composer = Composer.load("notes", threads=1)
    piece = next(composer.play(composer.recipe(file=BREAK, change="as it is", seed=0), [0]))
    assert downloaded(shown, "my-break.mid").read_bytes() == composer.save(piece, tmp_path / "python")[0].read_bytes()
    browser.run("document.getElementById('notes-seed').value = '3'")
    assert browser.run("document.getElementById('piece-add').previousSibling.value") == "bass"
    browser.click("#piece-add")
    browser.wait(f"/bars in/.test({STATUS}) && {BUSY}")
    pressed(browser, "d", "j")
    stem = "notes_seed3_0_112bpm"
    midi, recipe = (downloaded(shown, f"{stem}.{ending}") for ending in ("mid", "json"))
    assert set(midi_file.read(midi).names.values()) == {"drums", "finger bass"}
    infer("notes", "--from", str(recipe), "-o", str(tmp_path / "again"))
    assert next((tmp_path / "again").glob("*.mid")).read_bytes() == midi.read_bytes()
    browser.click("#notes ol li:last-child .keep")
    browser.wait("document.querySelectorAll('#notes .card.kept').length === 1")
    visit(shown, "#notes")
    browser.wait("document.querySelector('#notes ol .name')?.value === 'my break'")
    assert not browser.complaints()


def chosen(browser, selector: str, *paths: Path) -> None:
    """Files that a person chooses where the browser asks for them."""
    root = browser.ask("DOM.getDocument")["root"]["nodeId"]
    node = browser.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
    browser.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])


def test_a_beat_of_a_file_and_what_is_no_midi(shown, tmp_path):
    browser = shown.browser
    visit(shown, "#drums")
    chosen(browser, "#drums-from-file", BREAK)
    said(shown, "1 bar of 4/4 at 112 BPM, 8 hits")
    pressed(browser, "d")
    drummer = Drummer.load("drums", threads=1)
    beat = next(iter(drummer.play(drummer.recipe(file=BREAK, change="as it is", seed=0), [0])))
    mine = downloaded(shown, f"{BREAK.stem}.mid")
    assert mine.read_bytes() == drummer.save(beat, tmp_path / "python")[0].read_bytes()
    browser.click("#vary")
    browser.wait(f"/1 bars in/.test({STATUS})")
    drop(shown, "[data-lane=snare] td", "again.mid", BREAK.read_bytes())
    said(shown, "again.mid: 1 bar")
    drop(shown, "body", "beep.flac", beep(0.1))
    said(shown, "beep.flac is a sound, expected a MIDI file", wrong=True)
    browser.click("#tab-notes")
    browser.wait("!!document.getElementById('notes-from-choose')")
    drop(shown, "#notes", "thing.mid", b"PK no MIDI")
    said(shown, "thing.mid: is not a MIDI file", wrong=True)
    browser.click("#tab-sampler")
    browser.wait("!!document.getElementById('prompt-choose')")
    drop(shown, "#sampler", "break.mid", BREAK.read_bytes())
    said(shown, "break.mid is a MIDI file, and a sound is expected here", wrong=True)
    assert not browser.complaints()


def test_a_song_of_a_link_and_of_a_json(shown):
    browser, song = shown.browser, random_song(4)
    visit(shown, "#songs")
    url = f"https://www.beepbox.co/#{url_write.to_digits(song)}"
    browser.run(f"""(() => {{ const t = new DataTransfer(); t.setData("text/plain", {json.dumps(url)});
        document.body.dispatchEvent(new ClipboardEvent("paste", {{clipboardData: t, bubbles: true, cancelable: true}}));
        }})()""")
    said(shown, "link.url: ")
    linked = browser.run(STATUS).removeprefix("link.url")
    drop(shown, "body", "mine.json", as_json.to_text(song).encode())
    said(shown, "mine.json" + linked)
    assert browser.run("document.querySelectorAll('#songs ol li').length") == 2
    pressed(browser, "d")
    midi = midi_file.read(downloaded(shown, "mine.mid"))
    bars = max(bar for _, bar, _ in song.notes()) + 1
    assert midi.end == bars * song.beats * 480
    drop(shown, "body", "thing.json", b'{"format": "other"}')
    said(shown, "thing.json: is no song of BeepBox", wrong=True)
    assert not browser.complaints()
