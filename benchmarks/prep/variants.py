"""One-shots: which variants are taken for copies and dropped, and which copies are found.

    python -m benchmarks.prep.variants FOLDER... [--save FILE]

Each one-shot of up to 10 s is damaged as copies are (another codec, level, offset, a little varispeed), and varied as
producers vary sounds, who collect exactly these: its decay, a filter, its tuning, another sound under it. ``copies``
counts damaged ones that are found, ``variants`` those that are taken for a copy of their original, both of how many.
Where a variation changes less than 5% of a sound (correlation with the original 0.95 or more) it is a copy in any
judge's ear, and counts in neither.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import signal

from audiocraft_ext.core.errors import Parser, run_cli
from benchmarks.common.machine import describe, finish, row
from benchmarks.prep.duplicates import RATE, encoded, faster, item, later, sounds_below
from data_prep.audio.duplicates.find import find
from data_prep.shared.groups import COPY

LONGEST = 10.0  # s of a one-shot
SAME = 0.95  # correlation
Change = Callable[[np.ndarray], np.ndarray]


def decay(wav: np.ndarray, share: float) -> np.ndarray:
    """Dying away faster: what is left at the end of ``share`` of it is 60 dB less."""
    start = int(np.argmax(np.abs(wav) > 0.5 * np.abs(wav).max()))
    t = np.maximum(np.arange(len(wav)) - start, 0) / max(1.0, share * (len(wav) - start))
    return (wav * 10 ** (-3 * t)).astype(np.float32)


def filtered(wav: np.ndarray, kind: str, hz: float) -> np.ndarray:
    return signal.sosfilt(signal.butter(2, hz, kind, fs=RATE, output="sos"), wav).astype(np.float32)


def tuned(wav: np.ndarray, semitones: float) -> np.ndarray:
    """As a sampler does, pitch and length."""
    return faster(wav, 100 * (2 ** (semitones / 12) - 1))


def layered(wav: np.ndarray, db: float) -> np.ndarray:
    """With a burst of noise under it."""
    noise = np.random.default_rng(len(wav)).normal(0, 1, len(wav)) * 10 ** (-3 * np.arange(len(wav)) / (0.2 * RATE))
    start = int(np.argmax(np.abs(wav) > 0.5 * np.abs(wav).max()))
    noise = np.roll(noise, start) * (np.arange(len(wav)) >= start)
    return (wav + noise * np.abs(wav).max() * 10 ** (db / 20) / np.abs(noise).max()).astype(np.float32)


COPIES: dict[str, Change] = {
    "MP3 128k": lambda w: encoded(w, "mp3", "libmp3lame", 128),
    "MP3 64k": lambda w: encoded(w, "mp3", "libmp3lame", 64),
    "-6 dB": lambda w: w / 2,
    "200 ms later": later,
    "1% up": lambda w: faster(w, 1),
    "1% down": lambda w: faster(w, -1),
    "MP3 128k, -6 dB, 137 ms, 1% up": lambda w: encoded(later(faster(w, 1) / 2, 0.137), "mp3", "libmp3lame", 128),
}
VARIANTS: dict[str, Change] = {
    "decay 150%": lambda w: decay(w, 1.5), "decay 100%": lambda w: decay(w, 1.0), "decay 50%": lambda w: decay(w, 0.5),
    "low-pass 4 kHz": lambda w: filtered(w, "lowpass", 4000), "low-pass 1 kHz": lambda w: filtered(w, "lowpass", 1000),
    "high-pass 200 Hz": lambda w: filtered(w, "highpass", 200),
    "high-pass 1 kHz": lambda w: filtered(w, "highpass", 1000),
    "half a semitone up": lambda w: tuned(w, 0.5), "a semitone up": lambda w: tuned(w, 1),
    "a semitone down": lambda w: tuned(w, -1), "three semitones up": lambda w: tuned(w, 3),
    "noise under it, -12 dB": lambda w: layered(w, -12), "noise under it, -6 dB": lambda w: layered(w, -6),
}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The largest of two sounds over all lags."""
    n = len(a) + len(b)
    both = np.fft.irfft(np.fft.rfft(a, n) * np.fft.rfft(b, n).conj())
    return float(np.abs(both).max() / np.sqrt((a @ a) * (b @ b) + 1e-20))


def rates(sounds: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """By change: how many one-shots were changed, and how many of these are taken for a copy of the original."""
    items, table = [], {}
    for name, wav in sounds.items():
        items.append(item(f"{name}|", wav))
        for kind, change in (COPIES | VARIANTS).items():
            changed = change(wav)
            counts = table.setdefault(kind, {"planted": 0, "copies": 0})
            if kind in COPIES or correlation(wav, changed) < SAME:
                counts["planted"] += 1
                items.append(item(f"{name}|{kind}", changed))
    links = [(*link.a.split("|"), *link.b.split("|")) for group in find(items) for link in group.links
             if link.relation == COPY]
    for a, x, b, y in links:
        if a == b and "" in (x, y):
            table[x or y]["copies"] += 1
    return table


def total(table: dict[str, dict[str, int]], kinds: dict[str, Change]) -> tuple[int, int]:
    """Taken for copies, of how many, over ``kinds``."""
    return tuple(sum(table[kind][key] for kind in kinds) for key in ("copies", "planted"))


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.prep.variants", description="Copies found, variants kept.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--save", type=Path, help="a JSON file of results to keep")
    args = parser.parse_args(argv)
    sounds = {name: wav for name, (wav, short) in sounds_below(args.folders, LONGEST).items() if short}
    table = rates(sounds)
    print(row("change", ["planted", "taken for a copy"]))
    for kind, counts in table.items():
        print(row(kind, map(str, counts.values())))
    found, dropped = total(table, COPIES), total(table, VARIANTS)
    print(f"{len(sounds)} one-shots: {found[0]} of {found[1]} copies found, {dropped[0]} of {dropped[1]} variants "
          "taken for copies")
    finish("variants", describe("numpy", "scipy", "soxr", "av", threads=1),
           {"sounds": len(sounds), "found": found, "dropped": dropped, "changes": table}, args.save)


if __name__ == "__main__":
    run_cli(main)
