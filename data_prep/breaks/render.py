"""Drum breaks without end: ``python -m data_prep.breaks OUT --hours 3 --seed 1``.

Performances (MIDI) played with kits of single hits and treated as producers treat a break: a loop of one, two or four
bars at a jungle tempo, chopped and re-triggered on eighths and sixteenths, with rolls and reversed hits; bass, stabs or
a pad in key; drive, a room, a filter that moves. Every file is a function of (seed, index), a whole number of bars
long, and has a JSON beside it that ``data_prep.audio`` reads: tempo, bars, key, licence, what it was made of.

By default it plays what ships with this repository. ``--midi`` takes the Groove MIDI Dataset (J. Gillick et al., ICML
2019, CC BY 4.0) or any folder of drum MIDI files, ``--hits`` a folder of single hits with names as Sonic Pi's,
``--kit`` a drum kit; what you render is under the licences of what you give, named with ``--licence``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile as sf
from tqdm import tqdm

from audiocraft_ext.core.errors import Parser, UserError
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.midi.kit import DEFAULT, Kit
from data_prep.audio.beats.renders import RATE, Take, hits_of, random_kit, read_take
from data_prep.breaks import effects

GROOVES = Path(__file__).parents[1] / "grooves"
TEMPI = (158.0, 176.0)
BARS = (1, 2, 2, 4)  # of the loop; drawn evenly
LENGTH = 16  # bars of a file, 22 to 24 s
LICENCE = "CC-BY-4.0"  # of the performances; the hits and the kit that ship are CC0
EARLY = 0.25  # of a sixteenth: what is struck less than that before one belongs to it
ROLLS = (2, 3, 4)  # times a chop is struck in its own time
KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class Sources:
    """What breaks are made of.

    Attributes:
        performances: MIDI files; those that are not in 4/4 or shorter than a bar are not drawn.
        hits: single hits by kind (:func:`data_prep.audio.beats.renders.hits_of`), from which a kit is drawn for each
            break; none: ``kit`` is played.
        kit: a drum kit.
    """

    performances: tuple[Path, ...]
    hits: dict[str, list[Path]] | None
    kit: Kit


@cache
def read_sources(midi: Path, hits: Path | None, kit: Path, split: str = "train") -> Sources:
    """Find what breaks are made of; a performance is read when it is first drawn.

    Raises:
        UserError: a folder is not what it should be.
    """
    if not midi.is_dir():
        raise UserError(f"no such folder: {midi}")
    table = midi / "info.csv"
    if table.is_file():  # of the Groove MIDI Dataset: what does not fit is known without reading it
        with table.open(encoding="utf-8", newline="") as file:
            paths = [midi / row["midi_filename"] for row in csv.DictReader(file)
                     if (row["split"], row["beat_type"], row["time_signature"]) == (split, "beat", "4-4")]
    else:
        paths = [path for path in midi.rglob("*") if path.suffix.lower() in (".mid", ".midi")]
    if not paths:
        raise UserError(f"{midi}: expected drum performances (MIDI files), found none")
    return Sources(tuple(sorted(paths)), hits_of(hits) if hits else None, Kit.load(kit))


_read = cache(read_take)


def drawn(rng: np.random.Generator, sources: Sources) -> Take:
    """A performance of a bar or more in 4/4.

    Raises:
        UserError: two hundred draws found none.
    """
    for _ in range(200):
        path = sources.performances[rng.integers(len(sources.performances))]
        try:
            take = _read(path)
        except (OSError, ValueError, EOFError, KeyError) as error:  # mido's ways to say that it is no MIDI file
            raise UserError(f"{path}: not a MIDI file that can be read ({error})") from None
        if take.beats_per_bar == 4 and take.seconds > 240 / take.bpm and len(take.notes) > 4:
            return take
    raise UserError(f"{sources.performances[0].parent}: expected drum performances in 4/4 of a bar or more, found none")


@dataclass(frozen=True)
class Break:
    """A break: ``wav float32 [N]`` at 32 kHz, and what there is to know of it."""

    wav: np.ndarray
    bpm: float
    bars: int
    loop_bars: int
    key: str
    take: str


def make(sources: Sources, seed: int, index: int, bars: int = LENGTH) -> Break:
    """The break of ``(seed, index)``."""
    rng = np.random.default_rng([seed, index])
    bpm, loop_bars = round(float(rng.uniform(*TEMPI)), 2), int(rng.choice(BARS))
    take = drawn(rng, sources)
    samples = round(RATE * 240 / bpm * bars)  # the length of the file decides, a bar is a share of it
    at = np.round(np.arange(bars * 16 + 1) * samples / (bars * 16)).astype(int)  # of the sixteenths
    loop = _played(rng, sources, take.faster(bpm / take.bpm), loop_bars, at[loop_bars * 16])
    out = _arranged(rng, loop, at, loop_bars)
    root = int(rng.integers(12))
    music = effects.accompaniment(rng, root, bpm, bars, samples)
    wav = effects.treated(rng, out, music)
    return Break(effects.levelled(wav), bpm, bars, loop_bars, KEYS[root] + "m", take.name)


def _played(rng: np.random.Generator, sources: Sources, take: Take, bars: int, length: int) -> np.ndarray:
    """A stretch of a performance as a loop, ``[length]``: what rings on at its end is heard at its start."""
    bar = 240 / take.bpm
    starts = [b for b in take.beats[::4] if b + bar * bars <= take.seconds + bar / 2]
    begin = float(rng.choice(starts)) if starts else 0.0
    kit = random_kit(rng, sources.hits) if sources.hits else sources.kit
    tune = float(rng.choice([0, 0, 0, 2, 3, 5, -2]))  # a break played faster is higher
    kit = replace(kit, hits={pitch: replace(hit, tune=hit.tune + tune) for pitch, hit in kit.hits.items()})
    notes = on_its_hits(take.part(begin - bar / 16, begin + bar * bars).notes - [bar / 16, 0, 0], bar / 16)
    notes = notes[(notes[:, 0] >= 0) & (notes[:, 0] < bar * bars - 0.001)]
    wav = kit.render(notes, length / RATE + 0.4, RATE)
    wav[: len(wav) - length] += wav[length:]
    return wav[:length]


def on_its_hits(notes: np.ndarray, sixteenth: float) -> np.ndarray:
    """Notes ``[n, 3]`` moved as one, so that the beat at 0 seconds is where the drummer's hits are and not the click,
    which drummers are ahead of; and those up to a quarter of a sixteenth before a sixteenth onto it. So a chop begins
    with its hit, and the loop with its first."""
    place = notes[:, 0] / sixteenth
    on_beat = np.abs((place + 2) % 4 - 2) < 0.5
    if on_beat.any():
        place = place - np.median((place[on_beat] + 2) % 4 - 2)
    ahead = np.ceil(place) - place
    place = np.where(ahead < EARLY, np.ceil(place), place)
    return np.column_stack([place * sixteenth, notes[:, 1:]])


def _arranged(rng: np.random.Generator, loop: np.ndarray, at: np.ndarray, loop_bars: int) -> np.ndarray:
    """The loop over and over, its first turn as it is, later ones chopped more or less."""
    out, steps = np.zeros(at[-1], np.float32), loop_bars * 16
    amount = rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.3, 0.7])
    grid = int(rng.choice([1, 2, 2]))  # chops are sixteenths or eighths
    for first in range(0, len(at) - 1, steps):
        for step in range(first, min(first + steps, len(at) - 1), grid):
            length = at[step + grid] - at[step]
            source = step - first
            if first and rng.random() < amount:
                source = int(rng.integers(steps // grid)) * grid
            chop = loop[at[source]: at[source] + length].copy()
            chop = np.pad(chop, (0, length - len(chop)))
            if first and rng.random() < amount * 0.2:
                n = length // int(rng.choice(ROLLS))
                chop = np.pad(np.tile(chop[:n], length // n), (0, length - n * (length // n)))
            if first and rng.random() < amount * 0.08:
                chop = chop[::-1].copy()
            if source != step - first or amount:
                effects.soften(chop)
            out[at[step]: at[step] + length] = chop
    return out


def write(out: Path, name: str, made: Break, licence: str, seed: int, index: int) -> None:
    """``NAME.flac`` and ``NAME.json``, each whole or not there, the sound last."""
    about = {"title": name, "bpm": made.bpm, "key": made.key, "licence": licence, "bars": made.bars,
             "loop_bars": made.loop_bars, "performance": made.take, "seed": seed, "index": index}
    part = out / f".{name}.part"
    part.write_text(json.dumps(about, indent=1), "utf-8")
    os.replace(part, out / f"{name}.json")
    sf.write(part, made.wav, RATE, format="FLAC", subtype="PCM_16")
    os.replace(part, out / f"{name}.flac")


def _one(job: tuple) -> None:
    folders, out, licence, seed, index, bars = job
    write(out, name_of(seed, index), make(read_sources(*folders), seed, index, bars), licence, seed, index)


def name_of(seed: int, index: int) -> str:
    return f"break_{seed}_{index:05d}"


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    folders = (args.midi, args.hits, args.kit or DEFAULT, args.split)
    drawn(np.random.default_rng(0), read_sources(*folders))  # what is wrong is said before processes start
    count = max(1, round(args.hours * 3600 / (args.bars * 240 / np.mean(TEMPI))))
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = [(folders, args.out, args.licence, args.seed, i, args.bars) for i in range(count)
            if not (args.out / f"{name_of(args.seed, i)}.flac").is_file()]
    workers = physical_cores() if args.workers is None else args.workers
    with tqdm(total=count, initial=count - len(jobs), desc="breaks", unit="file") as bar:
        if workers < 2:
            for job in jobs:
                _one(job)
                bar.update()
        else:
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                for _ in pool.map(_one, jobs, chunksize=8):
                    bar.update()
    print(f"{count} breaks of {args.bars} bars in {args.out}, {args.licence}; a token store of them: "
          f"python -m data_prep.audio {args.out} STORE")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m data_prep.breaks", description="Make drum breaks to learn from.")
    add = parser.add_argument
    add("out", type=Path, help="folder for the breaks; those that are there are not made again")
    add("--hours", type=float, default=1.0, help="of sound (default: 1)")
    add("--seed", type=int, default=1, help="the same seed makes the same breaks (default: 1)")
    add("--bars", type=int, default=LENGTH, help=f"of a file (default: {LENGTH})")
    add("--midi", type=Path, default=GROOVES, help="performances (default: those that ship)")
    add("--split", default="train", help="of the Groove MIDI Dataset: train, validation or test (default: train)")
    add("--hits", type=Path, help="single hits, from which every break draws a kit")
    add("--kit", type=Path, help="a drum kit (default: the one that ships); not with --hits")
    add("--licence", default=LICENCE, help=f"of what comes out (default: {LICENCE}, of the performances that ship)")
    add("--workers", type=int, help="processes (default: one per core)")
    args = parser.parse_args(argv)
    if args.hits and args.kit:
        raise UserError("--hits and --kit were both given; kits are drawn from hits, or one kit is played")
    if not 0 < args.hours <= 10_000 or not 4 <= args.bars <= 256 or args.bars % 4:
        raise UserError(f"expected --hours above 0 and --bars from 4 to 256, a multiple of 4; got {args.hours:g} and "
                        f"{args.bars}")
    return args
