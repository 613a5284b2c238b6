"""The process beside a job: ``python -m audiocraft_ext.studio.job FOLDER`` runs the command in the folder's
``job.json`` and says in ``status.json`` and ``log`` how it goes.

The command believes that it writes to a terminal, so it draws its bars, and the percentage of a bar is the job's
progress; what comes of it is text and nothing more. It outlives the server that started it. Both files are small and
are read by others while they are written.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from audiocraft_ext.core.files import read_json, write
from audiocraft_ext.runs.pipeline import ROOT
from audiocraft_ext.sweep import process

JOB, STATUS, LOG, STOP = "job.json", "status.json", "log", "stop"
EVERY_S, MOST_LOG, WIDTH = 0.5, 4_000_000, 100
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|.)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
BAR = re.compile(r"^(?:(?P<what>[^|%:]{1,60}):)?\s*(?P<share>\d{1,3})%\|[^|]*\|[\s,]*(?P<rest>[^\[]*(?:\[[^\]]*\])?)")
KILLED = 137


class Terminal:
    """What a program says, as lines; a line that it draws over is a bar."""

    def __init__(self, log: Path):
        self._file, self._left, self._rest = log.open("a", encoding="utf-8"), MOST_LOG, ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.progress: float | None = None
        self.line = self.error = ""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = re.split(r"(?<=[\r\n])", self._rest + self._decoder.decode(data).replace("\r\n", "\n"))
        for line in lines:
            self._take(ESCAPES.sub("", line))
        self._file.flush()

    def close(self) -> None:
        self._take(self._rest)
        self._file.close()

    def _take(self, line: str) -> None:
        text = line.strip()
        if not text:
            return
        if bar := BAR.match(text):
            self.progress = min(1.0, int(bar["share"]) / 100)
            self.line = ", ".join(part for part in (bar["what"], f"{bar['share']}%", bar["rest"].strip()) if part)
            text = text[bar.end() :].strip()  # a line of the log that came before the bar was drawn anew
            if not text:
                return
        else:
            self.line = text
        if text.startswith("error: "):
            self.error = text[len("error: ") :]
        self._left -= len(text)
        if self._left > 0:
            self._file.write(text + "\n")


def run(folder: Path) -> int:
    """Run the job to its end; its exit code, 128 + n if signal n ended it."""
    import fcntl
    import pty
    import struct
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # started in the background of a script it would be deaf to it
    job = read_json(folder / JOB)
    terminal, began = Terminal(folder / LOG), time.time()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    child = subprocess.Popen(job["command"], cwd=ROOT, env=os.environ | job["environment"], stdin=subprocess.DEVNULL,
                             stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    who = {"process": process.identity(), "child": process.identity(child.pid), "began": began}
    until = began + (job["limit_s"] or float("inf"))
    ended = told = 0.0
    asked = False
    while True:
        if time.monotonic() - told > EVERY_S:
            told = time.monotonic()
            _tell(folder, **who, state="running", progress=terminal.progress, line=terminal.line)
        if not asked and (time.time() > until or (folder / STOP).exists()):
            asked = True
            (folder / STOP).touch()
            child.send_signal(signal.SIGINT)
        data = b""
        if select.select([ours], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # the other end is closed
                data = os.read(ours, 1 << 16)
            terminal.feed(data)
        if data:
            continue
        if child.poll() is not None:
            ended = ended or time.monotonic()  # what it started may hold the terminal open, but has nothing to say
            if time.monotonic() - ended > 0.2:
                break
        else:
            time.sleep(0.02)
    terminal.close()
    code = child.returncode if child.returncode >= 0 else 128 - child.returncode
    stopped = asked or code == 130
    state = "finished" if code == 0 else "stopped" if stopped else "killed" if code == KILLED else "failed"
    error = {"failed": terminal.error or terminal.line or f"it ended with exit code {code}",
             "killed": "it was killed, perhaps because memory ran out; it can go on where it was"}.get(state, "")
    _tell(folder, **who, state=state, progress=1.0 if code == 0 else terminal.progress, line=terminal.line, code=code,
          error=error, ended=time.time())
    return code


def _tell(folder: Path, **status: object) -> None:
    with contextlib.suppress(OSError):  # a full disk is the command's to report
        write(folder / STATUS, json.dumps(status))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
