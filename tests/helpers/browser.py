"""The fixture ``browser``: Debian's chromium without a window, spoken to through a pipe (DevTools protocol).

Where there is none, tests that want it are skipped; with MICRO_CHROMIUM=required they fail, but not before root has
tried to install it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
           "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
           "--remote-debugging-pipe")
# It reads commands from descriptor 3 and writes answers to 4.
START = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
PATIENCE_S = 60


class Browser:
    """One chromium with one page."""

    def __init__(self, program: str, folder: str):
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(command_read), str(answer_write), program, *OPTIONS,
             f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(command_read, answer_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(command_read)
        os.close(answer_write)
        self._number, self._buffer = 0, b""
        self._session: str | None = None
        self.events: list[dict] = []
        target = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params) -> dict:
        """One command of the protocol; its result. What happens meanwhile is in :attr:`events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self) -> dict:
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready = select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]
            block = os.read(self._read, 1 << 20) if ready else b""
            assert block, "chromium ended" if ready else f"chromium says nothing for {PATIENCE_S} s"
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, place: Path | str, width: int = 1280, height: int = 900, dark: bool = False,
             scale: float = 1) -> None:
        """Show a file or a URL and wait until it is loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                 mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.events.clear()
        self.ask("Page.navigate", url=place if isinstance(place, str) else place.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> object:
        """The value of an expression in the page; a promise is waited for."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
                          userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, patience_s: float = 60) -> object:
        """The value of an expression in the page, as soon as it is true."""
        until = time.monotonic() + patience_s
        while not (value := self.run(script)):
            assert time.monotonic() < until, f"{script} is not true after {patience_s:g} s; {self.complaints()[:3]}"
            time.sleep(0.1)
        return value

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key)

    def click(self, selector: str) -> None:
        """The mouse, in the middle of an element."""
        x, y = self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
                        "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
                        "return [b.x + b.width / 2, b.y + b.height / 2]; })()")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def requests(self) -> list[str]:
        """What the page asked for but for itself and what is inside it."""
        urls = [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]
        return [url for url in urls[1:] if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Errors in the console: of the script, or what the page's policy forbade."""
        said = [event["params"] for event in self.events
                if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        return [json.dumps(params) for params in said if params.get("entry", {}).get("level", "error") == "error"]

    def picture(self, path: Path, whole: bool = True) -> None:
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        os.close(self._write)  # chromium ends when nobody speaks to it any more
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._read)


def find_chromium() -> str:
    """The program. Raises LookupError with the reason why there is none."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    if os.environ.get("MICRO_CHROMIUM") != "required":
        raise LookupError("no chromium; apt-get install chromium")
    if os.geteuid() or not shutil.which("apt-get"):
        raise LookupError("no chromium, and nobody here may install it; as root: apt-get install chromium")
    get = ["apt-get", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    for words in (["install", "chromium"], ["update"], ["install", "chromium"]):
        made = subprocess.run([*get, *words], env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, timeout=600,
                              capture_output=True, text=True)
        if found := shutil.which("chromium"):
            return found
    raise LookupError(f"apt-get install chromium: {made.stderr.strip()[-300:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        program = find_chromium()
    except LookupError as reason:
        (pytest.fail if os.environ.get("MICRO_CHROMIUM") == "required" else pytest.skip)(str(reason))
    with tempfile.TemporaryDirectory(prefix="micro-chromium-", ignore_cleanup_errors=True) as folder:
        shown = Browser(program, folder)
        try:
            yield shown
        finally:
            shown.close()
