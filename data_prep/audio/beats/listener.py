"""Tempo, beats and downbeats of a sound, block by block.

Beats are found by two nets of our own that always work (data_prep/audio/beats/net.py), one for what is played and one
for breaks that were chopped, of which the surer is believed; or `beat_this <https://github.com/CPJKU/beat_this>`_ where
it is installed with its weights (data_prep/audio/beats/beat_this.py). What is made of that is the same:
data_prep/audio/beats/track.py for all that has beats, :func:`loop` for a file that is one loop.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.audio.beats import beat_this
from data_prep.audio.beats.grid import Beats, Grid
from data_prep.audio.beats.net import BREAKS, LOOP, WEIGHTS, NetEar
from data_prep.audio.beats.track import FASTEST, SLOWEST, SPREAD, TEMPO_WEIGHT, USUAL, odds, track

Ear = NetEar | beat_this.BeatThisEar
SHORTEST = 2.0  # seconds, below which there is no beat to be found, unless a file is a loop
LOOP_BARS = (1, 2, 4, 8, 16)
PLAYED = 24.0  # seconds of a loop played over and over, at least
ATTACK, AT_ONCE = 0.03, 0.1  # seconds in which a loop's first hit comes, for how much of the peak
LOOP_SHARE = 0.5  # with such a hit, of what speaks for another turn of the loop, has to speak for it as it is
DISBELIEF = 1.5  # how much more may speak, a bar, for another beat as the first of a file that is bars long
DOUBTS = 0.0, 0.6  # taken off the log odds that the net, the one for breaks, is right: breaks are told less surely
SILENT = 1e-4  # peak
EDGE = 0.05  # seconds before the sound at which a first beat may lie: it is at 0


class BeatListener:
    """Finds the beats of mono sound at ``rate`` Hz, in blocks of any size; ``ear`` is "net" (ours) or "beat_this"."""

    def __init__(self, rate: int, ear: str = "net"):
        self.rate = rate
        self._ears = ([beat_this.BeatThisEar(rate)] if ear == "beat_this" else
                      [NetEar(rate, weights) for weights in (WEIGHTS, BREAKS)])
        self._said: list[np.ndarray] | None = None
        self._attack = self._peak = 0.0  # largest magnitude in the first ATTACK seconds, and in all

    def push(self, wav: np.ndarray) -> None:
        """``float [n]``, the next samples."""
        attack = wav[: max(0, round(ATTACK * self.rate) - self._ears[0].samples)]
        self._attack = max(self._attack, float(np.abs(attack).max(initial=0)))
        self._peak = max(self._peak, float(np.abs(wav).max(initial=0)))
        for ear in self._ears:
            ear.push(wav)

    def result(self, hint_bpm: float | None = None, whole_loop: bool = True) -> Beats | None:
        """What was found; nothing can be pushed any more.

        Args:
            hint_bpm: what the file's name or tag says: it settles which multiple the tempo is.
            whole_loop: the sound is the whole file, which may be a loop: if it begins with a hit and is as long as 1,
                2, 4, 8 or 16 bars, its downbeat is sample 0 and its tempo follows from its length.

        Returns:
            None where there is no beat: a drone, a single hit, less than two seconds that are no loop.
        """
        if self._said is None:
            self._said = [ear.finish() for ear in self._ears]
        grids = [self._grid(ear, said, hint_bpm, whole_loop) for ear, said in zip(self._ears, self._said)]
        heard = [_beats(grid, self._ears[0].samples, self.rate, doubt) for grid, doubt in zip(grids, DOUBTS)]
        return max((beats for beats in heard if beats), key=lambda beats: beats.confidence, default=None)

    def _grid(self, ear: Ear, said: np.ndarray, hint_bpm: float | None, whole_loop: bool) -> Grid | None:
        seconds = ear.samples / self.rate
        found = track(said, ear.rate, hint_bpm) if seconds >= SHORTEST else None
        whole = None
        if whole_loop and 0.5 < seconds <= LOOP and self._peak > SILENT:
            share = LOOP_SHARE if self._attack > AT_ONCE * self._peak else 1.0
            whole = loop(ear, seconds, share, found, hint_bpm)
        if whole is None and found is not None and whole_loop:
            found = bounced(found, seconds)
        return whole or found


def loop(ear: Ear, seconds: float, share: float, found: Grid | None, hint_bpm: float | None) -> Grid | None:
    """The sound as one loop, as it will be played: over and over. None if its beats would not be where they are.

    Args:
        share: how much has to speak for a downbeat at its start, of what speaks for one on the likeliest eighth.
        found: what was tracked without that thought; with a dozen beats or more it has to agree.
    """
    tempi = {bars: 240 * bars / seconds for bars in LOOP_BARS}
    tempi = {bars: bpm for bars, bpm in tempi.items() if SLOWEST <= bpm <= FASTEST}
    if hint_bpm:
        tempi = {bars: bpm for bars, bpm in tempi.items() if abs(bpm / hint_bpm - 1) < 0.02} or tempi
    if not tempi:
        return None
    times = int(PLAYED / seconds) + 3
    beat_odds = odds(ear.repeated(times))
    scores = {bars: _turns(beat_odds, bpm, 4 * bars * (times - 2), seconds, ear.rate) / (times - 2)
              - TEMPO_WEIGHT * 0.5 * (np.log2(bpm / USUAL) / SPREAD) ** 2 for bars, bpm in tempi.items()}
    bars = max(scores, key=lambda bars: scores[bars].max())
    turns, bpm = scores[bars], tempi[bars]
    if turns[0] <= 0 or turns[0] < share * turns.max():
        return None
    if found and len(found.times) >= 12 and found.straight:
        if min(abs(found.bpm / bpm * f - 1) for f in (0.5, 1, 2)) > 0.01:
            return None
    facts = {"loop": 1.0, "bar_margin": float(turns[0] - turns[1:].max()) / bars, "beat": float(turns[0]) / (4 * bars)}
    return Grid(np.arange(4 * bars) * 60 / bpm, 0, 4, bpm, True, facts)


def bounced(grid: Grid, seconds: float) -> Grid:
    """The grid of a longer file, which lasts so many times four bars exactly and has a beat at its start: it was cut
    there on the bar, so that is a downbeat, unless too much speaks for another."""
    bars, period = seconds * grid.bpm / 240, 60 / grid.bpm
    if not grid.straight or grid.metre != 4 or bars < 7 or abs(bars / 4 - round(bars / 4)) > 0.01:
        return grid
    before = round(grid.times[0] / period)  # beats from the start of the file to the first that was tracked
    if abs(grid.times[0] - before * period) > EDGE or grid.turns[before % 4] < grid.turns.max() - DISBELIEF:
        return grid
    margin = float(grid.turns[before % 4] - np.delete(grid.turns, before % 4).max())
    return replace(grid, first=before % 4, facts={**grid.facts, "bar_margin": margin, "bounced": 1.0})


def _turns(beat_odds: np.ndarray, bpm: float, count: int, start: float, rate: float) -> np.ndarray:
    """What speaks for bars of four of which the first begins 0 to 7 eighths after ``start`` seconds, ``[8]``."""
    beats = start + np.arange(count) * 60 / bpm
    out = []
    for shift in range(8):
        at = np.round((beats + shift * 30 / bpm) * rate - 0.25).astype(int)[:, None] + np.arange(-1, 2)
        strength = beat_odds[np.clip(at, 0, len(beat_odds) - 1)].max(1)
        out.append(np.where(np.arange(count) % 4 == 0, strength[:, 1], strength[:, 0]).sum())
    return np.array(out)


def confidence(grid: Grid, doubt: float = 0.0) -> float:
    """0 to 1, that cuts on the downbeats are right, by a logistic curve: how much better the bars stand as they are
    than turned, how much better their tempo is than its rivals. Of waltzes and wavering tempi little is known."""
    facts = grid.facts
    if "loop" in facts:
        z = 0.7 + 1.5 * facts["bar_margin"]
    else:
        turned = np.log1p(max(0.0, facts["bar_margin"]) * np.sqrt(facts["bars"]))
        z = -2.5 + turned + 0.7 * min(facts["tempo_margin"], 3.0) - 1.0 * (not grid.straight) - 1.5 * (grid.metre == 3)
        z += 1.5 * ("bounced" in facts)
    return float(1 / (1 + np.exp(doubt - z)))


def _beats(grid: Grid | None, samples: int, rate: int, doubt: float) -> Beats | None:
    """Seconds to samples; a straight grid reaches from end to end."""
    if grid is None or len(grid.times) < 4:
        return None
    times, first = grid.times, grid.first
    if grid.straight:
        period = 60 / grid.bpm
        before = max(0, int((times[0] + EDGE) / period))
        count = before + len(times) + max(0, int((samples / rate - times[-1] - EDGE) / period))
        times = times[0] + (np.arange(count) - before) * period
        first = (first - before) % grid.metre
    at = np.round(times * rate).astype(np.int64)
    at = np.where((at < 0) & (at > -EDGE * rate - 1), 0, at)
    keep = (at >= 0) & (at < samples)
    places = (np.arange(len(at)) + first) % grid.metre
    at, places = at[keep], places[keep]
    if not (places == 0).any():
        return None
    return Beats(round(float(grid.bpm), 3), confidence(grid, doubt), grid.metre, at, at[places == 0])
