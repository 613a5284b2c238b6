"""Tempos in words, as prompts say them."""

from __future__ import annotations

TEMPOS = ("<60", *(f"{bpm}-{bpm + 10}" for bpm in range(60, 200, 10)), ">=200")


def tempo_word(bpm: float) -> str:
    """Of quarter notes a minute: the lower end of each word's range belongs to it."""
    return TEMPOS[int(min(max(bpm // 10 - 5, 0), len(TEMPOS) - 1))]


def bpm_of(word: str) -> float:
    """The middle of a tempo's range."""
    return 55.0 + 10 * TEMPOS.index(word)
