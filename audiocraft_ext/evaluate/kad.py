"""Kernel audio distance (Chung et al., 2025, arXiv 2502.15602): 100 times the squared maximum mean discrepancy of two
sets of embeddings under a Gaussian kernel as wide as the median distance within the reference.

Unlike the Frechet distance it is unbiased, so sets of different and of small sizes can be compared; of two halves of
one set it is 0 but for chance, and then it may be below 0. Windows of one clip overlap, so pairs of them are left out
(the paper leaves out only a window with itself).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.evaluate.embed import Windows

FOLDS = 12  # of the jackknife


class Kernel:
    """A reference, ready to be compared with.

    Raises:
        UserError: it has less than two windows.
    """

    def __init__(self, reference: Windows):
        if len(reference.x) < 2:
            raise UserError("expected reference sound of 5 s or more, got less; give more sound with --like")
        self.reference = reference
        distances = _squared(reference.x, reference.x)
        median = float(np.median(distances[np.triu_indices(len(distances), 1)]))
        self._scale = 2 * max(median, 1e-12)  # 2 sigma ** 2; sigma is that median
        self._within = _mean_within(self._kernel(distances), reference.clip)

    def kad(self, made: Windows) -> tuple[float, float]:
        """The distance of a set and its standard error, a jackknife's over the tracks of the set; the reference is
        taken as it is. NaN: no windows, or too few tracks for an error."""
        if not len(made.x):
            return math.nan, math.nan
        within = self._kernel(_squared(made.x, made.x))
        across = self._kernel(_squared(self.reference.x, made.x)).mean(0)  # [W]

        def distance(keep: np.ndarray) -> float:
            inside = _mean_within(within[np.ix_(keep, keep)], made.clip[keep])
            return 100 * (self._within + inside - 2 * float(across[keep].mean()))

        return distance(np.ones(len(made.x), bool)), jackknife(distance, made.track)

    def _kernel(self, squared: np.ndarray) -> np.ndarray:
        return np.exp(-squared / self._scale)


def jackknife(measure: Callable[[np.ndarray], float], group: np.ndarray) -> float:
    """The standard error of ``measure(mask of rows)``, leaving out a twelfth of the groups at a time; NaN with fewer
    than three."""
    names = np.random.default_rng(0).permutation(np.unique(group))
    folds = min(FOLDS, len(names))
    if folds < 3:
        return math.nan
    found = np.array([measure(~np.isin(group, names[i::folds])) for i in range(folds)])
    return float(np.sqrt((folds - 1) / folds * ((found - found.mean()) ** 2).sum()))


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum((x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T, 0)


def _mean_within(kernel: np.ndarray, clip: np.ndarray) -> float:
    apart = clip[:, None] != clip
    return float(kernel[apart].mean()) if apart.any() else 1.0
