"""The page as a person uses it, in Chromium: clips and beats are those of Python, and it works with the server gone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.drums.play import sidecar
from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.page import build
from tests.page.person import STATUS, beep, downloaded, drop, infer, make_clip, visit

SIZES = {"phone": (390, 800), "tablet": (820, 1100), "desk": (1440, 900)}
NAMELESS = """[...document.querySelectorAll("button, input, select, canvas")].filter(e => e.offsetParent
    && !e.textContent.trim() && !e.getAttribute("aria-label") && !(e.labels && e.labels.length))
    .map(e => e.outerHTML)"""


def test_a_clip_and_its_files(shown):
    visit(shown)
    make_clip(shown)
    shown.browser.click("li .wav")
    shown.browser.click("li .recipe")
    place = Instrument.load("embedded", threads=1).generate(seconds=2, seed=1)[0].save(shown.downloads / "python")
    (wav, rate), (python, python_rate) = sf.read(downloaded(shown, place.name)), sf.read(place)
    assert rate == python_rate and wav.shape == python.shape and np.abs(wav - python).max() < 1e-3
    recipe = downloaded(shown, place.with_suffix(".json").name)
    infer("--from", str(recipe), "-o", str(shown.downloads / "again"))
    again = sf.read(next((shown.downloads / "again").glob("*.wav")))[0]
    assert np.abs(again - wav).max() < 1e-3
    assert not shown.browser.complaints()
    assert all(url.startswith((shown.url, "blob:")) for url in shown.browser.requests())


def test_keys_and_what_is_kept(shown):
    browser = shown.browser
    visit(shown)
    make_clip(shown, seconds=1)
    make_clip(shown, seed=2, seconds=1)
    browser.press("ArrowUp")  # to the first of the rack, the newer one
    browser.press(" ")
    browser.press("Escape")
    browser.press("k")
    browser.wait("!!document.querySelector('.card.kept')")
    browser.run("(() => { const n = document.querySelector('.card.kept .name'); n.value = 'my clip'; "
                "n.dispatchEvent(new Event('change')); n.blur(); })()")
    visit(shown)
    browser.wait("document.querySelectorAll('.card.kept').length === 1")
    assert browser.run("document.querySelector('li .name').value") == "my clip"
    browser.press("d")
    assert sf.info(downloaded(shown, "my-clip.wav")).frames == 32000
    browser.press("Delete")
    browser.wait("!document.querySelector('#sampler li')")
    visit(shown)
    assert browser.run("document.querySelectorAll('#sampler li').length") == 0


def test_what_cannot_be_is_said(shown):
    visit(shown)
    for seed in ("-1", "a", str(2**64)):
        shown.browser.run(f"document.getElementById('seed').value = '{seed}'")
        shown.browser.click("#make")
        assert "a seed is a whole number" in shown.browser.run(STATUS)
        assert shown.browser.run("document.getElementById('status').className") == "wrong"
    shown.browser.run("document.getElementById('seed').value = ''")
    shown.browser.run("[...document.querySelectorAll('input[type=number]')][0].value = 0")
    shown.browser.click("#make")
    assert "a clip lasts more than 0" in shown.browser.run(STATUS)


def test_a_beat_is_edited(shown):
    browser = shown.browser
    visit(shown, "#drums")
    browser.run("document.getElementById('beat-seed').value = '5'")
    browser.run("document.getElementById('word-genre').value = 'funk'")
    browser.click("#make-beat")
    browser.wait(f"/bars in/.test({STATUS})")
    browser.click("#midi")
    before = midi_file.read(downloaded(shown, "drums_funk_seed5_0_120bpm.mid"))
    cell = "[aria-label='percussion, bar 2 step 4']"
    assert browser.run(f"document.querySelector(\"{cell}\").getAttribute('aria-pressed')") == "false"
    browser.click(cell)
    for key in "+]":
        browser.press(key)
    browser.press("d")
    edited = downloaded(shown, "drums_seed5_0_120bpm.mid")
    after = midi_file.read(edited)
    new = {tuple(row) for row in after.notes.tolist()} - {tuple(row) for row in before.notes.tolist()}
    assert len(after.notes) == len(before.notes) + 1
    (start, _, _, channel, pitch, velocity), = new
    assert (channel, pitch) == (10, 56) and 0 < start - (16 + 3) * 120 < 10 and velocity > 100
    browser.press("j")
    recipe = downloaded(shown, "drums_seed5_0_120bpm.json")
    assert sidecar.read(recipe).recipe["edit"] == "as it is"
    infer("drums", "--from", str(recipe), "-o", str(shown.downloads / "again"))
    assert next((shown.downloads / "again").glob("*.mid")).read_bytes() == edited.read_bytes()


def test_a_beat_is_played_and_changed(shown):
    browser = shown.browser
    visit(shown, "#drums")
    browser.click("#fill")
    assert "tick the lanes that stay" in browser.run(STATUS)
    browser.click("#fill-bars")
    assert "tick the bars that are made anew" in browser.run(STATUS)

    def change(button: str, bars: int) -> list[str]:
        """Press it; the hits that there are then, by their cells' names."""
        browser.click(button)
        browser.wait(f"/^{bars} bars in/.test({STATUS}) && !document.querySelector('{button}').disabled")
        browser.run(f"{STATUS} = ''")
        return browser.run("[...document.querySelectorAll('.cell[aria-pressed=true]')].map(c => c.ariaLabel)")

    change("#make-beat", 4)
    before = change("#humanise", 4)
    browser.click("[aria-label='Bar 2 anew']")
    browser.click("[aria-label='Bar 4 anew']")
    browser.click("#fill-bars")
    assert "that follow each other" in browser.run(STATUS)
    browser.click("[aria-label='Bar 4 anew']")
    filled = change("#fill-bars", 4)
    assert [hit for hit in filled if "bar 2" not in hit] == [hit for hit in before if "bar 2" not in hit]
    assert browser.run("document.querySelector(\"[aria-label='Bar 2 anew']\").checked")
    change("#continue", 8)
    browser.click("#play-beat")
    first = browser.wait("document.querySelector('.cell.now')?.ariaLabel")
    browser.wait(f"document.querySelector('.cell.now')?.ariaLabel !== {json.dumps(first)}")
    browser.press("Escape")
    browser.wait("document.getElementById('play-beat').textContent === 'Play'")
    assert not browser.complaints()


def test_without_a_network(shown):
    browser = shown.browser
    visit(shown)
    browser.wait("!document.getElementById('offline').hidden")
    shown.server.shutdown()
    shown.server.server_close()
    visit(shown)
    make_clip(shown, seconds=1)
    visit(shown, "#drums")
    browser.click("#make-beat")
    browser.wait(f"/bars in/.test({STATUS})")
    browser.click("#play-beat")
    browser.wait("!!document.querySelector('.cell.now')")


@pytest.mark.parametrize("size", SIZES)
def test_sizes(shown, size):
    browser, (width, height) = shown.browser, SIZES[size]
    visit(shown, width=width, height=height)
    make_clip(shown, seconds=1)
    for tab in ("sampler", "drums"):
        browser.click(f"#tab-{tab}")
        browser.wait(f"!!document.querySelector('#{tab} .main')")
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(NAMELESS) == []
        browser.picture(shown.downloads / f"{tab}_{size}.png")


def test_axe_finds_nothing(shown, axe):
    """Nor with everything open that can be."""
    browser = shown.browser
    visit(shown)
    drop(shown, "body", "beep.flac", beep())
    browser.wait("!document.getElementById('prompt-none').hidden")
    make_clip(shown, seconds=3)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.wait("!!document.querySelector('[data-tool=dust]')")
    browser.click("[data-tool=dust]")
    browser.wait("document.querySelectorAll('.kids .tools').length === 1")
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    browser.run(axe + "; 1")
    for tab in ("sampler", "drums"):
        browser.click(f"#tab-{tab}")
        browser.wait(f"!!document.querySelector('#{tab} .main')")
        browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        found = "axe.run().then(r => r.violations.map(v => [v.id, v.impact, v.nodes[0].html.slice(0, 150)]))"
        assert browser.run(found) == []
    assert browser.run("document.querySelectorAll('#instruments li').length") == len(build.BUNDLES.split(","))
