"""What the page costs in Chromium: ``python -m tests.page.measure out/page``. Prints a table; on a machine that is busy
with other work the processor's time says more than the clock."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from audiocraft_ext.audio.instrument import Instrument
from tests.helpers.browser import Browser, find_chromium
from tests.page.person import STATUS, Quiet, make_clip, visit

TICK = os.sysconf("SC_CLK_TCK")
PLAYS = "[...document.querySelectorAll('li .play')].some(b => b.textContent === 'Stop')"


def family(pid: int) -> list[int]:
    """A process and all below it."""
    out = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            out += family(int(stat.parent.name))
    return out


class Costs:
    """Clock and processor time of the browser since it was made, in seconds."""

    def __init__(self, browser: Browser):
        self.pid, self.began = browser.process.pid, time.monotonic()
        self.before = self._cpu()

    def _cpu(self) -> float:
        total = 0
        for pid in family(self.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def __str__(self) -> str:
        return f"{time.monotonic() - self.began:.1f} s ({self._cpu() - self.before:.1f} s of processor time)"


def page_memory(browser: Browser) -> float:
    """MB that the largest process holds, the page's own."""
    def held(pid: int) -> int:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

    return max(map(held, family(browser.process.pid))) / 1e3


def first_sound(shown) -> None:
    browser = shown.browser
    browser.open("about:blank")
    browser.open(shown.url)
    browser.wait("!!document.getElementById('make')")
    browser.click("#make")
    browser.wait(PLAYS, 300)


def main(page: str, clips: int = 50) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=page))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(find_chromium(), folder)
        shown = SimpleNamespace(browser=browser, url=f"http://127.0.0.1:{server.server_port}/")
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        for name, rate in (("cold", 1), ("warm", 1), ("warm, the page's thread at a quarter", 4)):
            browser.ask("Emulation.setCPUThrottlingRate", rate=rate)
            costs = Costs(browser)
            first_sound(shown)
            print(f"{name}: a page to the first sound, {costs}", flush=True)
            browser.wait(f"/steps a second/.test({STATUS})", 300)
            browser.wait("!document.getElementById('offline').hidden")
        browser.ask("Emulation.setCPUThrottlingRate", rate=1)
        costs = Costs(browser)
        visit(shown, "#drums")
        browser.click("#make-beat")
        browser.wait(f"/bars in/.test({STATUS})")
        print(f"warm: a page to the first beat, {costs}", flush=True)
        visit(shown)
        browser.run("document.getElementById('live').checked = false")
        make_clip(shown, seconds=1)
        print(f"the page's process with an instrument, {page_memory(browser):.0f} MB", flush=True)
        costs = Costs(browser)
        make_clip(shown, seconds=10, patience_s=600)
        print(f"a clip of 10 s, {costs}: {browser.run(STATUS)}", flush=True)
        instrument = Instrument.load("embedded", threads=1)
        instrument.generate(seconds=1, seed=1)
        began, cpu = time.monotonic(), time.process_time()
        instrument.generate(seconds=10, seed=1)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        print(f"the same by Python with one thread, {took:.1f} s ({cpu:.1f} s of processor time)", flush=True)
        for seed in range(2, clips + 1):
            make_clip(shown, seed=seed, seconds=10, patience_s=600)
            if seed % 10 == 0:
                print(f"with {seed} clips of 10 s, {page_memory(browser):.0f} MB", flush=True)
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
