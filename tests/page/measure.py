"""What the page costs in Chromium: ``python -m tests.page.measure out/page [first scores paint clips]``. Prints lines;
on a machine that is busy with other work the processor's time says more than the clock.

Chromium slows pages down (Emulation.setCPUThrottlingRate) and no workers ("Operation is only supported for pages, not
workers"), so the worker's thread gets a quarter of a processor by the kernel (cgroup v1, as root).
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

from audiocraft_ext.audio.instrument import Instrument
from tests.helpers.browser import Browser, find_chromium
from tests.page.person import STATUS, Quiet, make_clip, visit

TICK = os.sysconf("SC_CLK_TCK")
OBSERVED = """window.seen = {long: [], shift: 0};
    new PerformanceObserver(l => seen.long.push(...l.getEntries().map(e => [e.startTime, e.duration]))).observe(
        {type: "longtask"});
    new PerformanceObserver(l => seen.shift += l.getEntries().filter(e => !e.hadRecentInput).reduce(
        (sum, e) => sum + e.value, 0)).observe({type: "layout-shift", buffered: true});"""
SEEN = """(() => { const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
    const blocked = seen.long.filter(([t]) => t >= paint).reduce((sum, [, d]) => sum + d - 50, 0);
    return `first contentful paint ${Math.round(paint)} ms, total blocking time ${Math.round(blocked)} ms, ` +
        `layout shift ${seen.shift.toFixed(3)}`; })()"""
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


class Quarter:
    """The page's thread at a quarter of its speed, and its worker's at a quarter of a processor, once it is there."""

    GROUP, PERIOD_US = Path("/sys/fs/cgroup/cpu/micro-page"), 100_000

    def __init__(self, browser: Browser):
        self.browser, self.over = browser, threading.Event()

    def __enter__(self) -> Quarter:
        self.GROUP.mkdir(exist_ok=True)
        for name, value in (("cfs_period_us", self.PERIOD_US), ("cfs_quota_us", self.PERIOD_US // 4),
                            ("shares", 100_000)):
            (self.GROUP / f"cpu.{name}").write_text(str(value))
        self.browser.ask("Emulation.setCPUThrottlingRate", rate=4)
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        for task in (self.GROUP / "tasks").read_text().split():
            (self.GROUP.parent / "tasks").write_text(task)
        self.GROUP.rmdir()
        self.browser.ask("Emulation.setCPUThrottlingRate", rate=1)

    def _watch(self) -> None:
        while not self.over.wait(0.02):
            for pid in family(self.browser.process.pid):
                for name in Path(f"/proc/{pid}/task").glob("*/comm"):
                    with suppress(OSError):
                        if name.read_text().startswith("DedicatedWorker"):
                            (self.GROUP / "tasks").write_text(name.parent.name)


def open_page(shown, tab: str = "") -> None:
    shown.browser.open("about:blank")
    shown.browser.open(shown.url + tab)


def first_sound(shown) -> None:
    open_page(shown)
    shown.browser.wait("!!document.getElementById('make')")
    shown.browser.click("#make")
    shown.browser.wait(PLAYS, 300)


def first_beat(shown) -> None:
    open_page(shown, "#drums")
    shown.browser.wait("!!document.getElementById('make-beat')")
    shown.browser.click("#make-beat")
    shown.browser.wait(f"/bars in/.test({STATUS})", 300)


def cached(browser: Browser) -> None:
    browser.wait("!document.getElementById('offline').hidden", 300)


def first(fresh) -> None:
    """From a page that nobody has visited, and that somebody has, to what is heard."""
    for what, make in (("sound", first_sound), ("beat", first_beat)):
        with fresh() as shown:
            for name in ("cold", "warm"):
                costs = Costs(shown.browser)
                make(shown)
                print(f"{name}: a page to the first {what}, {costs}", flush=True)
                cached(shown.browser)
            with Quarter(shown.browser):
                costs = Costs(shown.browser)
                make(shown)
                print(f"warm, page and worker at a quarter: a page to the first {what}, {costs}", flush=True)


def scores(fresh) -> None:
    """Pieces and songs, with the instrument there."""
    for tab, kind in (("notes", "notes"), ("songs", "song")):
        with fresh() as shown:
            there = "fetch('instruments.json').then(r => r.json()).then(all => all.map(one => one.kind))"
            if kind not in shown.browser.run(there):
                continue
            visit(shown, f"#{tab}")
            costs = Costs(shown.browser)
            shown.browser.click(f"#{kind}-make")
            shown.browser.wait(f"/bars in/.test({STATUS})", 300)
            print(f"{tab}: 8 bars, {costs}; {shown.browser.run(STATUS)}", flush=True)


def paint(fresh) -> None:
    """What Lighthouse asks of a page that nobody has visited, until its instrument is there."""
    for tab in ("#sampler", "#drums", "#notes"):
        with fresh() as shown:
            shown.browser.ask("Page.addScriptToEvaluateOnNewDocument", source=OBSERVED)
            for rate in (1, 4):
                shown.browser.ask("Emulation.setCPUThrottlingRate", rate=rate)
                visit(shown, tab)
                speed = "as it is" if rate == 1 else "at a quarter"
                print(f"{tab}, the page's thread {speed}: {shown.browser.run(SEEN)}", flush=True)


def clips(fresh, n: int = 50) -> None:
    """A clip in the browser and by Python, and what the page holds with many."""
    with fresh() as shown:
        browser = shown.browser
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
        for seed in range(2, n + 1):
            make_clip(shown, seed=seed, seconds=10, patience_s=600)
            if seed % 10 == 0:
                print(f"with {seed} clips of 10 s, {page_memory(browser):.0f} MB", flush=True)


MEASURES = {"first": first, "scores": scores, "paint": paint, "clips": clips}


def main(page: str, *what: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=page))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    @contextmanager
    def fresh():
        """The page in a browser that has not seen it."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            browser = Browser(find_chromium(), folder)
            shown = SimpleNamespace(browser=browser, url=f"http://127.0.0.1:{server.server_port}/")
            browser.open(f"{shown.url}icon.svg")
            yield shown
            browser.close()

    for name in what or MEASURES:
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        MEASURES[name](fresh)
    server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
