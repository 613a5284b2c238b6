"""What a person sees while a model trains: log lines, a bar with the time left, points of the curves."""

from __future__ import annotations

import threading
import time
import weakref

from flashy.logging import LogProgressBar
from tqdm import tqdm

from audiocraft_ext.training.distributed import rank

SILENCE = 60.0  # seconds at most without a line


class TrainingProgress(LogProgressBar):
    """flashy's log lines, and on a terminal one bar over the whole run.

    flashy formats metrics when they come; the raw numbers are kept beside them for the trackers. It logs so many lines
    an epoch, whatever that takes; here there is one a minute at least, after the last update that fits into it. Of an
    update that takes longer than a minute there is a line meanwhile.
    """

    _trackers = None
    _bar: tqdm | None = None

    def __iter__(self):
        self._told = self._updated = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=_watch, args=(weakref.ref(self), self._over), daemon=True).start()
        return super().__iter__()

    def follow(self, trackers, done: int, total: int) -> None:
        """Draw a bar from ``done`` to ``total`` updates (where there is a terminal) and tell ``trackers``."""
        self._trackers, self._done = trackers, done
        self._bar = tqdm(initial=done, total=total, unit="step", desc="training", dynamic_ncols=True,
                         disable=None if rank() == 0 else True)

    def update(self, **metrics) -> bool:
        before, self._updated = self._updated, time.monotonic()
        self._will_log |= 2 * self._updated - before - self._told >= SILENCE  # the next would come too late
        if self._bar is not None:
            self._done += 1
            self._bar.update()
            self._bar.set_postfix_str(f"ce {metrics['ce']:.3f}", refresh=False)
            if self._will_log:
                self._trackers.point("train", self._done, metrics)
        return super().update(**metrics)

    def _log(self) -> None:
        super()._log()
        self._told = time.monotonic()

    def say_that_it_lives(self) -> None:
        """A line, if there was none for a minute."""
        now = time.monotonic()
        if now - self._told >= SILENCE - SILENCE / 12:
            self._logger.log(self._level, f"{self._name} | {self._index}/{self._total} | update {self._index + 1} is "
                             f"under way for {now - self._updated:.0f} s")
            self._told = now

    def __next__(self):
        try:
            return super().__next__()
        except StopIteration:
            self._over.set()
            if self._bar is not None:
                self._bar.close()
            raise


def _watch(progress: weakref.ref[TrainingProgress], over: threading.Event) -> None:
    while not over.wait(SILENCE / 12):
        if (watched := progress()) is None:  # an error ended the loop
            return
        watched.say_that_it_lives()
        del watched
