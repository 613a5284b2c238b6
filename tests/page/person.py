"""What a person does with the page: visit it, make a clip, wait for a download."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import soundfile as sf

ROOT = Path(__file__).parents[2]
STATUS = "document.getElementById('status').textContent"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Nothing is said of a request."""

    def copyfile(self, source, outputfile) -> None:
        with suppress(ConnectionError):  # whoever asked has left
            super().copyfile(source, outputfile)


def visit(shown, place: str = "", **how) -> None:
    shown.browser.open("about:blank")  # another place behind # alone would not load again
    shown.browser.open(shown.url + place, **how)
    shown.browser.wait(f"/is ready/.test({STATUS})", 120)


def make_clip(shown, seed: int = 1, seconds: float = 2, patience_s: float = 120) -> None:
    shown.browser.run(f"document.getElementById('seed').value = '{seed}'")
    shown.browser.run(f"[...document.querySelectorAll('input[type=number]')][0].value = {seconds}")
    shown.browser.run(f"{STATUS} = ''")
    shown.browser.click("#make")
    shown.browser.wait(f"/steps a second/.test({STATUS})", patience_s)


def downloaded(shown, name: str) -> Path:
    path, until = shown.downloads / name, time.monotonic() + 20
    while not path.is_file():
        assert time.monotonic() < until, f"{name} was not downloaded; there are {list(shown.downloads.iterdir())}"
        time.sleep(0.05)
    return path


def infer(*words: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "infer.py"), *words], check=True, timeout=120, cwd=ROOT,
                   capture_output=True)


def drop(shown, selector: str, name: str, data: bytes) -> None:
    """Let a file go over an element."""
    shown.browser.run(f"""(() => {{ const t = new DataTransfer();
        t.items.add(new File([Uint8Array.from(atob("{base64.b64encode(data).decode()}"), c => c.charCodeAt(0))],
                             {json.dumps(name)}));
        document.querySelector({json.dumps(selector)}).dispatchEvent(
            new DragEvent("drop", {{dataTransfer: t, bubbles: true, cancelable: true}})); }})()""")


def beep(seconds: float = 1.0, rate: int = 44100, gain: float = 0.5) -> bytes:
    """A stereo FLAC."""
    t = np.arange(round(seconds * rate)) / rate
    file = io.BytesIO()
    sf.write(file, gain * np.stack([np.sin(2 * np.pi * f * t) * np.exp(-8 * (t % 0.25)) for f in (110, 220)], 1), rate,
             format="FLAC")
    return file.getvalue()
