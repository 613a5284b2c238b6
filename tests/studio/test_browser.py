"""The studio in Chromium, as a person uses it: a clip, a batch, a folder, a run; a reload, a phone, a screen reader."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import soundfile as sf

from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.audio.recipe import Recipe
from tests.page.conftest import axe  # noqa: F401  a fixture
from tests.studio.served import Served

STATUS = "document.getElementById('status').textContent"
ROOMS = ("sampler", "drums", "notes", "songs", "batch", "data", "train", "library", "share")
SIZES = {"phone": (390, 800), "desk": (1440, 900)}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    with Served(folder) as server:
        server.folder = folder
        yield server


@pytest.fixture
def shown(served, browser):  # noqa: F811
    enter(served, browser)
    yield served
    browser.ask("Storage.clearDataForOrigin", origin=served.origin, storageTypes="all")


def enter(served, browser, **how) -> None:  # noqa: F811
    browser.open("about:blank")
    browser.open(served.url, **how)
    browser.wait(f"document.querySelector('[aria-selected=true]') && /is ready/.test({STATUS})")


def room(browser, name: str) -> None:  # noqa: F811
    browser.run(f"document.getElementById('tab-{name}').click()")
    browser.wait(f"!document.getElementById('{name}').hidden")


def put(browser, selector: str, value: object) -> None:  # noqa: F811
    browser.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)}; "
                "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); })()")


def labelled(text: str) -> str:
    """A selector for the input under a label of the room that is shown."""
    return ("#' + [...document.querySelectorAll('section:not([hidden]) label')].find(l => l.textContent === "
            f"{json.dumps(text)}).htmlFor + '")


def fill(browser, **fields: object) -> None:  # noqa: F811
    for label, value in fields.items():
        browser.run(f"(() => {{ const e = document.querySelector('{labelled(label.replace('_', ' '))}'); "
                    f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')); }})()")


def test_the_token_leaves_the_url(shown, browser):  # noqa: F811
    assert browser.run("location.href").split("#")[0] == shown.origin + "/"
    assert browser.run("document.cookie") == ""
    assert not browser.complaints()
    assert all(urlsplit(url).netloc == urlsplit(shown.origin).netloc for url in browser.requests()
               if not url.startswith("blob:"))


def test_a_clip_of_the_sampler_is_the_engines(shown, browser):  # noqa: F811
    put(browser, "#seed", "1")
    browser.run("[...document.querySelectorAll('#sampler input[type=number]')][0].value = 2")
    browser.click("#make")
    browser.wait(f"/s of sound in/.test({STATUS})", 120)
    browser.click("#sampler .keep")
    browser.wait("!!document.querySelector('#sampler .kept')", 60)
    (wav,) = (shown.folder / "clips" / "kept").glob("*.wav")
    recipe = Recipe.from_dict(json.loads(wav.with_suffix(".json").read_text())["recipe"])
    assert (recipe.bundle, recipe.seed, recipe.samples) == ("embedded", 1, 64_000)
    (expected,) = Instrument.load("embedded", threads=1).play(recipe, [0])
    assert wav.read_bytes() == expected.save(shown.folder / "python").read_bytes()
    enter(shown, browser)
    browser.wait("document.querySelectorAll('#sampler .kept').length === 1")
    browser.click("#sampler .delete")
    browser.wait("!document.querySelector('#sampler li')")
    until = time.monotonic() + 30
    while list((shown.folder / "clips" / "kept").iterdir()):
        assert time.monotonic() < until, "what is not kept any more is still there"
        time.sleep(0.1)
    assert not browser.complaints()


def test_a_beat_of_the_drums(shown, browser):  # noqa: F811
    room(browser, "drums")
    put(browser, "#beat-seed", "3")
    browser.click("#make-beat")
    browser.wait("document.querySelectorAll('.cell[aria-pressed=true]').length > 4", 120)
    assert not browser.complaints()


def test_pieces_and_songs_are_made_and_kept_as_files(shown, browser):  # noqa: F811
    kept = shown.folder / "clips" / "kept"
    for name, kind, main in (("notes", "notes", "notes_seed3_0_120bpm.mid"),
                             ("songs", "song", "songs_seed3_0_120bpm.beepbox.json")):
        room(browser, name)
        put(browser, f"#{kind}-seed", "3")
        fill(browser, Bars=2)
        browser.click(f"#{kind}-make")
        browser.wait(f"/bars in/.test({STATUS})", 120)
        browser.run(f"{STATUS} = ''")
        browser.click(f"#{kind}-keep")
        browser.wait(f"!!document.querySelector('#{name} .card.kept')", 60)
        whole = json.loads((kept / main.replace(".beepbox.json", ".json").replace(".mid", ".json")).read_text())
        assert whole["recipe"]["bars"] == 2 and all((kept / file).is_file() for file in (main, *whole["files"]))
        browser.click(f"#{name} ol .delete")
        browser.wait(f"!document.querySelector('#{name} ol li')")
        until = time.monotonic() + 30
        while list(kept.iterdir()):
            assert time.monotonic() < until, "what is not kept any more is still there"
            time.sleep(0.1)
    assert not browser.complaints()


def test_a_batch_from_the_form_to_the_file(shown, browser):  # noqa: F811
    room(browser, "batch")
    browser.wait("/embedded/.test(document.querySelector('#batch select').value)")
    fill(browser, How_many=3, Seed="1")
    browser.click("#make-batch")
    browser.wait("document.querySelectorAll('ol.clips button.play').length === 3", 180)
    browser.wait("/: done/.test(document.getElementById('status').textContent)", 60)
    browser.press("ArrowDown")
    browser.wait("[...document.querySelectorAll('ol.clips .play')].some(b => b.textContent === 'Stop')")
    href = browser.run("document.querySelector('ol.clips a').href")
    assert sf.info(io.BytesIO(shown.tab().get(href).content)).duration == 10
    browser.click("ol.clips li .row button")
    browser.wait("document.querySelectorAll('ol.clips button.play').length === 2")


def test_what_cannot_be_is_said(shown, browser):  # noqa: F811
    room(browser, "batch")
    browser.wait("/embedded/.test(document.querySelector('#batch select').value)")
    fill(browser, Seed="-1")
    browser.click("#make-batch")
    browser.wait(f"/a seed is a whole number/.test({STATUS})")
    room(browser, "data")
    browser.wait("document.querySelector('#data select').options.length > 2")
    fill(browser, Name_of_the_store="a/b")
    browser.click("#prepare")
    browser.wait(f"/a name has letters/.test({STATUS})")
    assert browser.run("document.getElementById('status').className") == "wrong"


def test_dropped_files_become_a_folder(shown, browser):  # noqa: F811
    room(browser, "data")
    browser.run("""(() => { const t = new DataTransfer();
        t.items.add(new File(["x"], "kick.wav")); t.items.add(new File(["x"], "virus.exe"));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: t, bubbles: true,
            cancelable: true})); })()""")
    browser.wait(f"/1 file in sounds.kick; 1 refused/.test({STATUS})")
    assert [p.name for p in (shown.folder / "sounds" / "kick").iterdir()] == ["kick.wav"]
    browser.wait("document.querySelector('#data select').value === 'sounds/kick'")


def test_what_would_be_sent_is_shown_first(shown, browser):  # noqa: F811
    room(browser, "library")
    browser.wait("!!document.querySelector('[aria-label=\"Share drums\"]')")
    browser.click("[aria-label=\"Share drums\"]")
    browser.wait("document.querySelector('#share select').value === 'drums'")
    browser.click("#look")
    browser.wait(f"/expected you.name/.test({STATUS})")
    fill(browser, Repository="ann/beats")
    browser.click("#look")
    browser.wait("/^[0-9]+ files/.test(document.getElementById('sent').textContent)")
    shown_there = browser.run("document.getElementById('sent').textContent")
    assert "https://huggingface.co/ann/beats" in shown_there and "lm.safetensors" in shown_there
    assert "# beats" in shown_there and browser.run("!!document.getElementById('push')")
    put(browser, "#share input", "ann/other")  # what was shown is not what would be sent now
    browser.wait("!document.getElementById('push')")
    assert "push" not in [job["what"] for job in shown.tab().get("/api/jobs").json()]


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_everybody_can_use_it(shown, browser, axe, size):  # noqa: F811
    width, height = SIZES[size]
    enter(shown, browser, width=width, height=height)
    browser.run(f"{axe}; 0")
    for name in ROOMS:
        room(browser, name)
        browser.run("new Promise(done => setTimeout(done, 500))")
        assert browser.run("document.documentElement.scrollWidth") <= width, name
        found = browser.run("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.filter(v => "
                            "['serious', 'critical'].includes(v.impact)).map(v => [v.id, v.nodes[0].html]))")
        assert found == [], (name, found)


def test_the_tabs_by_keys(shown, browser):  # noqa: F811
    browser.run("document.getElementById('tab-sampler').focus()")
    for name in (*ROOMS[1:], ROOMS[0]):
        browser.press("ArrowRight")
        browser.wait(f"document.activeElement.id === 'tab-{name}' && !document.getElementById('{name}').hidden")


def test_a_studio_that_has_ended_is_missed(browser, tmp_path: Path):  # noqa: F811
    with Served(tmp_path) as server:
        enter(server, browser)
    browser.wait(f"/does not answer/.test({STATUS})", 30)
