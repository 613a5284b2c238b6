"""Clips of drums for the benchmarks of a model: the rows of a store on the grid, whichever codec wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.pattern import Pattern
from audiocraft_ext.store.reader import TokenStore


@dataclass(frozen=True, eq=False)
class Clip:
    """Some bars.

    Attributes:
        codes: of the grid, ``int64 [2C, T]``, whole bars.
        bar_steps: steps of a bar.
        source: the performance.
        about: its row in the store; ``raw``, the codes as they are there.
    """

    codes: np.ndarray
    bar_steps: int
    source: str = ""
    about: dict = field(default_factory=dict)
    raw: np.ndarray | None = None

    @property
    def bars(self) -> int:
        return self.codes.shape[1] // self.bar_steps

    @cached_property
    def hits(self) -> int:
        return int((self.codes[: len(self.codes) // 2] > 0).sum())


class Reader:
    """Codes of one codec to clips.

    Args:
        config: what a store or a bundle says of its codec.

    Attributes:
        codec: that they are of; ``grid``, the one that clips are on: the same, or for ``drum_hits`` 16 steps of the
            same map, with the rolls merged and times and velocities rounded as there.
    """

    def __init__(self, config: dict):
        self.codec = codec_of(config)
        self.grid = self.codec if isinstance(self.codec, DrumGrid) else DrumGrid(self.codec.drums)

    @property
    def exact(self) -> bool:
        """Whether a clip is what the codes say, and not only near it."""
        return self.codec is self.grid

    def clip(self, codes: np.ndarray, meter: tuple[int, int] = (4, 4), bars: int | None = None, source: str = "",
             about: dict | None = None) -> Clip:
        """Of ``codes [K, T]`` without a prompt; what is behind ``bars`` is left out."""
        steps = self.grid.steps_per_bar(meter)
        grid = np.asarray(codes)
        if not self.exact:
            grid = self.grid.codes(_coarse(self.codec.pattern(grid, meter), steps, self.grid.steps // 4))
        bars = bars or max(1, -(-grid.shape[1] // steps))
        whole = self.grid.table(_NOTHING, bars * steps).astype(np.int64)
        whole[:, : grid.shape[1]] = grid[:, : whole.shape[1]]
        return Clip(whole, steps, source, about or {}, np.asarray(codes))

    def pattern(self, clip: Clip) -> Pattern:
        """The clip's hits."""
        return self.grid.pattern(clip.codes, (clip.bar_steps, self.grid.steps))

    def of_store(self, store: TokenStore, split: str) -> list[Clip]:
        """The rows of a split."""
        out = []
        for row in store.rows:
            if row["split"] == split:
                meter = tuple(map(int, row.get("time_signature", "4/4").split("/")))
                codes = store.read(row["start"], row["frames"])
                out.append(self.clip(codes, meter, row.get("bars"), row["source"], row))
        if not out:
            raise UserError(f"{store.path}: has no rows in the split {split}; prepare it with some in both splits")
        return out


class _None:
    """Hits of which there are none, for :meth:`DrumGrid.table`."""

    drum = step = velocity = offset = np.zeros(0, np.int64)


_NOTHING = _None()


def _coarse(pattern: Pattern, bar_steps: int, beat_steps: int) -> Pattern:
    """The same hits to the nearest of as many steps."""
    ratio = beat_steps / pattern.beat_steps
    at = (pattern.step + pattern.offset) * ratio
    step = np.floor(at + 0.5)
    table = np.stack([step, pattern.drum, pattern.velocity, at - step], 1)
    empty = Pattern(*np.zeros((2, 0), np.int64), *np.zeros((2, 0)), pattern.bars, bar_steps, beat_steps)
    return empty.with_table(table)


def config_of(store: TokenStore) -> dict:
    """What a store says of its codec.

    Raises:
        UserError: it is of something else than drums.
    """
    if store.spec.kind != "drums":
        raise UserError(f"{store.path}: expected a store of drums, its codes are {store.spec.kind}")
    return {"type": store.spec.codec, **store.settings["codec"]}


@dataclass(frozen=True)
class Bars:
    """Bars of one length, as they follow each other.

    Attributes:
        codes: ``int64 [n, 2C, S]``.
        source: ``int64 [n]``, which performance each is of.
        previous: ``int64 [n]``, which of them was played before it; -1 for none.
    """

    codes: np.ndarray
    source: np.ndarray
    previous: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def hits(self) -> np.ndarray:
        """``float32 [n, C * S]``, 1 for a hit: their products count what two bars have in common, exactly."""
        n, K, S = self.codes.shape
        return (self.codes[:, : K // 2] > 0).reshape(n, -1).astype(np.float32)


def bars_of(clips: Iterable[Clip]) -> dict[int, Bars]:
    """All bars of clips, by their number of steps. Clips of a performance that are neighbours in the store and whose
    second does not say that it ``follows`` nothing are played on."""
    codes: dict[int, list] = {}
    sources: dict[str, int] = {}
    last: Clip | None = None
    for clip in clips:
        there = codes.setdefault(clip.bar_steps, [])
        number = sources.setdefault(clip.source, len(sources))
        on = _goes_on(last, clip)
        for bar in np.split(clip.codes, clip.bars, axis=1):
            there.append((bar, number, len(there) - 1 if on else -1))
            on = True
        last = clip
    return {steps: Bars(np.stack([one[0] for one in there]), np.array([one[1] for one in there]),
                        np.array([one[2] for one in there])) for steps, there in sorted(codes.items())}


def _goes_on(last: Clip | None, clip: Clip) -> bool:
    return bool(last is not None and clip.about and last.about and last.source == clip.source
                and last.bar_steps == clip.bar_steps and clip.about.get("follows", True)
                and last.about["start"] + last.about["frames"] == clip.about["start"])


def windows_of(bars: Bars, length: int) -> np.ndarray:
    """The bars of each stretch of ``length`` bars that were played one after the other, ``int64 [n, length]``."""
    out = np.arange(len(bars))[:, None]
    for _ in range(length - 1):
        before = np.where(out[:, 0] >= 0, bars.previous[out[:, 0]], -1)
        out = np.concatenate([before[:, None], out], 1)
        out = out[before >= 0]
    return out


def plain(clips: Sequence[Clip], bars: int, bar_steps: int) -> np.ndarray:
    """The codes of those clips that have as many bars of as many steps, ``int64 [n, 2C, bars * bar_steps]``."""
    fit = [clip.codes for clip in clips if clip.bars == bars and clip.bar_steps == bar_steps]
    if not fit:
        raise UserError(f"expected clips of {bars} bars of {bar_steps} steps, there are none")
    return np.stack(fit)
