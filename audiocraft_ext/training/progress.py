"""What a person sees while a model trains: log lines, a bar with the time left, points of the curves."""

from __future__ import annotations

from flashy.logging import LogProgressBar
from tqdm import tqdm

from audiocraft_ext.training.distributed import rank


class TrainingProgress(LogProgressBar):
    """flashy's log lines, and on a terminal one bar over the whole run.

    flashy formats metrics when they come; the raw numbers are kept beside them for the trackers.
    """

    _trackers = None
    _bar: tqdm | None = None

    def follow(self, trackers, done: int, total: int) -> None:
        """Draw a bar from ``done`` to ``total`` updates (where there is a terminal) and tell ``trackers``."""
        self._trackers, self._done = trackers, done
        self._bar = tqdm(initial=done, total=total, unit="step", desc="training", dynamic_ncols=True,
                         disable=None if rank() == 0 else True)

    def update(self, **metrics) -> bool:
        if self._bar is not None:
            self._done += 1
            self._bar.update()
            self._bar.set_postfix_str(f"ce {metrics['ce']:.3f}", refresh=False)
            if self._will_log:
                self._trackers.point("train", self._done, metrics)
        return super().update(**metrics)

    def __next__(self):
        try:
            return super().__next__()
        except StopIteration:
            if self._bar is not None:
                self._bar.close()
            raise
