"""The studio as a program of its own, and tabs that look at it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

ROOT = Path(__file__).parents[2]


class Served:
    """A studio of ``folder`` on any free port. ``url`` is what it printed, with the token."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "audiocraft_ext.studio", str(folder), "--port", "0", "--no-browser"], cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = ""
        while not (found := re.search(r"http://\S+", said)):
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            said += line
        self.url = found[0]
        parts = urlsplit(self.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"

    def tab(self) -> httpx2.Client:
        """A client that came in by the URL."""
        client = httpx2.Client(base_url=self.origin, headers={"origin": self.origin}, timeout=300)
        assert client.get(self.url).status_code == 200
        return client

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
