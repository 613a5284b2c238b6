"""Beats on the page as a person plays with them, in Chromium: variations, one-shots, a WAV, MIDI to a device."""

from __future__ import annotations

import json

import numpy as np
import soundfile as sf

from audiocraft_ext.drums.play import render, sidecar
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.midi import file as midi_file
from audiocraft_ext.midi.kit import DEFAULT
from tests.page.person import STATUS, beep, downloaded, drop, infer, visit

STEM = "drums_seed5_0_120bpm"
FAKE_MIDI = """window.sent = []; Object.defineProperty(navigator, "requestMIDIAccess", {value: async () => ({
    outputs: new Map([["7", {id: "7", name: "A drum machine", clear() {},
                             send: (data, ms) => window.sent.push([ms ?? performance.now(), ...data])}]])})})"""


def make_beat(shown, button: str = "#make-beat", seed: int = 5) -> None:
    shown.browser.run(f"document.getElementById('beat-seed').value = '{seed}'; {STATUS} = ''")
    shown.browser.click(button)
    shown.browser.wait(f"/bars in/.test({STATUS}) && !document.querySelector('{button}').disabled")


def test_a_variation(shown):
    browser = shown.browser
    visit(shown, "#drums")
    browser.click("#vary")
    assert "there is no hit in the grid" in browser.run(STATUS)
    make_beat(shown)
    make_beat(shown, "#vary", seed=6)
    browser.press("j")
    browser.press("d")
    recipe = downloaded(shown, "drums_seed6_0_120bpm.json")
    assert sidecar.read(recipe).recipe["edit"] == "vary" and sidecar.read(recipe).recipe["amount"] == 0.3
    infer("drums", "--from", str(recipe), "-o", str(shown.downloads / "again"))
    assert next((shown.downloads / "again").glob("*.mid")).read_bytes() == \
        downloaded(shown, "drums_seed6_0_120bpm.mid").read_bytes()


def test_a_wav_with_the_kit_and_with_a_one_shot(shown):
    browser = shown.browser
    visit(shown, "#drums")
    make_beat(shown)
    browser.press("w")
    path = downloaded(shown, f"{STEM}.wav")
    (wav, rate), drummer = sf.read(path), Drummer.load("drums", threads=1)
    beat = next(iter(drummer.play(drummer.recipe(seed=5), [0])))
    python = render.play(beat.clip, render.KitPlayer.load(DEFAULT), 44100).wav
    assert rate == 44100 and len(wav) == len(python) == 8 * rate and b"acid" in path.read_bytes()
    assert np.abs(wav - python).max() < 1e-3  # of four bars with chokes, and a loop
    path.unlink()
    drop(shown, "[data-lane=snare] td", "thing.txt", b"not a sound")
    browser.wait(f"/thing.txt cannot be read as sound/.test({STATUS})")
    drop(shown, "[data-lane=snare] td", "my snare.flac", beep(0.2))
    browser.wait(f"/snare sounds as my snare.flac now/.test({STATUS})")
    browser.press("w")
    other = sf.read(downloaded(shown, f"{STEM}.wav"))[0]
    assert other.shape == wav.shape and np.abs(other - wav).max() > 0.1
    visit(shown, "#drums")  # it is still there
    browser.run("document.getElementById('kit').open = true")
    browser.wait("document.getElementById('kit').textContent.includes('my snare.flac')")
    browser.run("[...document.querySelectorAll('#kit button')].find(b => b.textContent.startsWith('Back') "
                "&& !b.hidden).click()")
    browser.wait("!document.getElementById('kit').textContent.includes('my snare.flac')")
    assert not browser.complaints()


def test_midi_to_a_device(shown):
    browser = shown.browser
    visit(shown, "#drums")
    make_beat(shown)
    browser.run(FAKE_MIDI)
    browser.run("document.getElementById('kit').open = true")
    browser.click("#midi-find")
    browser.wait(f"/1 MIDI device/.test({STATUS})")
    browser.run("(() => { const o = document.getElementById('midi-out'); o.value = '7'; "
                "o.dispatchEvent(new Event('change')); window.sent.length = 0; })()")
    browser.click("#play-beat")
    browser.wait("window.sent.filter(m => m[1] === 0xf8).length > 100")  # two bars
    browser.click("#play-beat")
    sent = browser.run("window.sent")
    assert [message[1] for message in sent].count(0xfa) == 1 and sent[-2][1] == 0xfc and sent[-1][1:] == [0xb9, 123, 0]
    clocks = [ms for ms, status, *_ in sent if status == 0xf8]
    gaps = np.diff(clocks[1:])
    assert abs(np.median(gaps) - 500 / 24) < 1  # as the sound's clock runs, in steps of its blocks
    hits = [message[2:] for message in sent if message[1] == 0x99]
    browser.press("d")
    notes = midi_file.read(downloaded(shown, f"{STEM}.mid")).notes
    wanted = [[int(pitch), int(velocity)] for *_, pitch, velocity in notes.tolist()]
    assert len(hits) > 8 and hits == wanted[: len(hits)], json.dumps(hits[:8])
    assert sum(message[1] == 0x89 for message in sent) == len(hits)
