"""Where the numbers and the sounds of a run go: one seam, several listeners.

TensorBoard and the run's own record (:mod:`audiocraft_ext.record`) are two of them; others come with the option
``logging.tracker``. A tracker sees numbers only, unless ``logging.tracker_audio`` is set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audiocraft_ext.record import Record


class Tracker:
    """What the solver tells. A tracker takes what it can use and passes over the rest."""

    def point(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a stage ("train", "valid", ...), after ``step`` updates: some times an epoch for "train", once an
        epoch for the others."""

    def sound(self, name: str, step: int, wav: np.ndarray, rate: int) -> None:
        """A clip ``wav [N]`` or ``[C, N]`` that the model made."""

    def close(self) -> None:
        """The run has ended."""


class Recorded(Tracker):
    """The run's own files."""

    def __init__(self, record: Record):
        self.record = record

    def point(self, stage, step, metrics) -> None:
        self.record.point(stage, step, dict(metrics))


class TensorBoard(Tracker):
    """Curves by the update. (By the epoch flashy writes them itself.)"""

    def __init__(self, writer):
        self.writer = writer

    def point(self, stage, step, metrics) -> None:
        if stage == "train":
            for key, value in metrics.items():
                self.writer.add_scalar(f"step/{key}", value, step)

    def sound(self, name, step, wav, rate) -> None:
        self.writer.add_audio(f"generate/{name}", np.atleast_2d(wav), step, rate)


class Trackers(Tracker):
    """All of them as one."""

    def __init__(self, trackers: list[Tracker]):
        self.trackers = trackers

    def point(self, stage, step, metrics) -> None:
        for tracker in self.trackers:
            tracker.point(stage, step, metrics)

    def sound(self, name, step, wav, rate) -> None:
        for tracker in self.trackers:
            tracker.sound(name, step, wav, rate)

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()


def get_trackers(cfg, record: Record | None, writer) -> Trackers:
    """Those that the config asks for.

    Args:
        record: the run's own; None in a process that is not the first of its run.
        writer: TensorBoard's, or None.
    """
    return Trackers([*([Recorded(record)] if record is not None else []),
                     *([TensorBoard(writer)] if writer is not None else [])])
