"""Folders of runs as the solver and Dora leave them, without training."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from pathlib import Path

import numpy as np

from audiocraft_ext.sound.wav import write_wav

RATE = 32000


def make_run(folder: Path, *, state: str | None = "finished", steps: int = 100, done: int | None = None,
             best: float = 3.0, epochs: int = 4, clips: int = 0, argv: dict | None = None, seconds: float = 0.5,
             **status) -> Path:
    """A run of ``epochs``, of which as much is over as ``done`` of ``steps`` says, falling to the loss ``best``.

    Args:
        state: None writes no status at all.
        clips: sounds of ``seconds``, each run's at another pitch.
        status: fields of the status in the place of what they would be.
    """
    folder.mkdir(parents=True)
    (folder / ".argv.json").write_text(json.dumps([f"{key}={value}" for key, value in (argv or {}).items()]))
    if state is None:
        return folder
    done = steps if done is None else done
    points, history = [], []
    for step in range(1, done + 1):
        fall = 2 * math.exp(-4 * step / steps)
        points.append({"stage": "train", "step": step, "ce": best - 0.2 + fall})
        if step % (steps // epochs) == 0:
            points.append({"stage": "valid", "step": step, "ce": best + fall - 2 * math.exp(-4)})
            history.append({"train": {"ce": 1.0, "duration": 10.0}, "valid": {"ce": points[-1]["ce"], "duration": 1.0}})
    (folder / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    (folder / "history.json").write_text(json.dumps(history))
    if clips:
        (folder / "samples" / "epoch_4").mkdir(parents=True)
        for i in range(clips):
            t = np.arange(int(seconds * RATE)) / RATE
            write_wav(folder / "samples" / "epoch_4" / f"clip_{i}.wav",
                      (0.5 * np.sin(2 * np.pi * 220 * best * (i + 1) * t)).astype(np.float32), RATE)
        status.setdefault("samples", "samples/epoch_4")
    losses = [point["ce"] for point in points if point["stage"] == "valid"]
    status = {"state": state, "error": None, "step": done, "steps": steps, "epoch": len(history), "epochs": epochs,
              "left_s": 0 if state == "finished" else (steps - done), "metrics": {"ce": 3.3, "tokens_s": 12345.6},
              "valid": losses[-1] if losses else None, "best": min(losses, default=None), "updated": time.time(),
              "pid": os.getpid(), "host": socket.gethostname()} | status
    (folder / "status.json").write_text(json.dumps(status))
    return folder
