"""Clips on the page as a person makes them, in Chromium: loops, sounds to begin with, weird tools and their family."""

from __future__ import annotations

from functools import partial

import numpy as np
import soundfile as sf

from audiocraft_ext.audio.clips import read_sidecar
from audiocraft_ext.page import build
from tests.helpers import tiny
from tests.page.conftest import CACHE
from tests.page.person import STATUS, Quiet, beep, downloaded, drop, infer, make_clip, visit


def again(shown, recipe) -> tuple:
    """The page's clip, and what `infer.py --from` makes of its recipe, as sidecars and sounds."""
    infer("--from", str(recipe), "-o", str(shown.downloads / "again"))
    theirs = next((shown.downloads / "again").glob("*.json"))
    return read_sidecar(recipe), read_sidecar(theirs), sf.read(theirs.with_suffix(".wav"))[0]


def test_a_loop(shown):
    browser = shown.browser
    visit(shown)
    browser.run("document.getElementById('unit').value = 'bars'; "
                "document.getElementById('unit').dispatchEvent(new Event('change')); "
                "const [, bpm, bars] = document.querySelectorAll('#sampler input[type=number]'); "
                "bpm.value = 174; bars.value = 1; document.getElementById('seed').value = '1'")
    browser.press("l")
    browser.click("#make")
    browser.wait(f"/s of sound in/.test({STATUS})")
    browser.press("d")
    browser.press("j")
    path = downloaded(shown, "embedded_seed1_0_174bpm.wav")
    data, recipe = path.read_bytes(), downloaded(shown, "embedded_seed1_0_174bpm.json")
    assert b"smpl" in data and b"acid" in data
    loop = data.index(b"smpl") + 8
    start, end = np.frombuffer(data[loop + 44: loop + 52], "<u4")
    assert (start, end + 1) == (0, sf.info(path).frames) == (0, round(4 * 60 / 174 * 32000))
    ours, theirs, wav = again(shown, recipe)
    assert ours.recipe.loop and np.array_equal(ours.codes, theirs.codes)
    assert np.abs(sf.read(path)[0] - wav).max() < 1e-3
    browser.wait("document.querySelector('li .play').textContent === 'Stop'")  # it goes round and round
    assert not browser.complaints()


def test_the_beat_has_a_slider_where_there_is_a_metronome(shown, tmp_path):
    deaf = tiny.tiny_bundle(tmp_path / "deaf")
    folder = build.build(tmp_path / "page", ["embedded", str(deaf)], CACHE)
    shown.server.RequestHandlerClass = partial(Quiet, directory=folder)
    browser, hidden = shown.browser, "document.getElementById('beat').closest('.field').hidden"
    visit(shown)
    choose = "(name => { const e = document.getElementById('instrument'); e.value = name; " \
        "e.dispatchEvent(new Event('change')); })"
    assert not browser.run(hidden) and browser.run("document.getElementById('beat').value") == "1.8"
    browser.run(f"{choose}('deaf')")
    assert browser.run(hidden)
    browser.run(f"{choose}('embedded')")
    assert not browser.run(hidden)
    browser.run("(e => { e.value = 5; e.dispatchEvent(new Event('input')); })(document.getElementById('beat'))")
    assert browser.run("document.querySelector('output[for=beat]').value") == "5.0, strict"
    make_clip(shown, seconds=1)
    assert "beat 5" in browser.run("document.querySelector('li .quiet').textContent")
    browser.press("j")
    ours, theirs, _ = again(shown, downloaded(shown, "embedded_seed1_0_166.667bpm.json"))
    assert ours.recipe.guidance == 5 and np.array_equal(ours.codes, theirs.codes)
    assert not browser.complaints()


def test_a_clip_begins_with_a_dropped_sound(shown):
    browser = shown.browser
    visit(shown)
    drop(shown, "body", "broken.wav", b"RIFF but not really")
    browser.wait(f"/broken.wav cannot be read as sound/.test({STATUS})")
    drop(shown, "body", "silence.flac", beep(gain=0))
    browser.wait(f"/silence.flac is silent/.test({STATUS})")
    assert browser.run("document.getElementById('prompt-none').hidden")
    drop(shown, "body", "beep.flac", beep())
    browser.wait(f"/begins with the end of beep.flac/.test({STATUS})")
    browser.run("document.getElementById('prompt-seconds').value = 20")
    browser.click("#make")
    assert "at most 12 s" in browser.run(STATUS)
    browser.run("document.getElementById('prompt-seconds').value = 0.5")
    make_clip(shown, seconds=1.5)
    browser.press("j")
    ours, theirs, _ = again(shown, downloaded(shown, "embedded_seed1_0.json"))
    assert np.array_equal(ours.codes, theirs.codes) and ours.recipe.prompt
    assert ours.codes.shape == (6, 75)
    browser.click("#prompt-none")
    make_clip(shown, seconds=0.5)
    assert "begins with a sound" not in browser.run("document.querySelector('li .quiet').textContent")


def test_a_recording(shown):
    visit(shown)
    shown.browser.ask("Browser.grantPermissions", permissions=["audioCapture"], origin=shown.url[:-1])
    shown.browser.click("#record")
    shown.browser.wait(f"/begins with the end of the recording/.test({STATUS})")
    make_clip(shown, seconds=3)
    assert "begins with a sound" in shown.browser.run("document.querySelector('li .quiet').textContent")


def test_a_family(shown):
    browser = shown.browser
    visit(shown)
    make_clip(shown, seed=2, seconds=1)
    make_clip(shown, seed=3, seconds=2)  # which stands above it

    def tool(card: str, name: str, number: int) -> None:
        browser.run(f"document.querySelector('{card} > .card details').open = true")
        browser.wait(f"!!document.querySelector('{card} > .card [data-tool={name}]')")
        browser.run(f"{STATUS} = ''")
        browser.click(f"{card} > .card [data-tool={name}]")
        browser.wait(f"/s of sound in/.test({STATUS}) && document.querySelectorAll('#sampler li').length === {number}")

    top, child = ".rack > li:first-child", ".rack > li:first-child > .kids > li:first-child"
    tool(top, "skin", 3)
    tool(child, "stutter", 4)
    tool(top, "swap", 5)  # now the first of the children
    assert browser.run("document.querySelectorAll('.rack > li').length") == 2
    texts = browser.run("[...document.querySelectorAll('.rack > li:first-child p.quiet')].map(p => p.textContent)")
    assert "swap:with=embedded_seed2_0_166.667bpm.wav,books=1-" in texts[1]
    assert "reroll:keep=0" in texts[2] and "stutter:at=" in texts[3]
    for number in range(4):  # each with its own recipe, which Python makes again
        browser.run(f"document.querySelectorAll('.rack > li:first-child .keep')[{number}].click()")
    browser.wait("document.querySelectorAll('.card.kept').length === 4")
    browser.run("document.querySelectorAll('.rack > li:first-child .card')[1].querySelector('.recipe').click()")
    name = browser.run("document.querySelectorAll('.rack > li:first-child .name')[1].value")
    ours, theirs, _ = again(shown, downloaded(shown, f"{name}.json"))
    assert np.array_equal(ours.codes, theirs.codes) and ours.recipe.clips
    visit(shown)
    browser.wait("document.querySelectorAll('#sampler .card.kept').length === 4")
    assert browser.run("document.querySelectorAll('.rack > li').length") == 1
    browser.run("document.querySelectorAll('.card')[2].querySelector('.delete').click()")
    browser.wait("document.querySelectorAll('#sampler .card').length === 3")
    visit(shown)
    browser.wait("document.querySelectorAll('.rack > li > .kids > li').length === 2")
    tool(".rack > li:first-child", "more", 4)
    assert not browser.complaints()


def test_making_is_stopped(shown):
    browser = shown.browser
    visit(shown)
    browser.run("document.querySelector('#sampler input[type=number]').value = 60")
    browser.click("#make")
    browser.wait("!!document.querySelector('#sampler li') && !document.getElementById('progress').hidden")
    browser.click("#halt")
    browser.wait(f"{STATUS} === 'Stopped.' && !document.querySelector('#sampler li')")
    make_clip(shown, seconds=0.5)
