"""Notes, measured: how fast files are read and prepared, and what a model makes of them.

    python -m benchmarks.notes.measures --files ../shared/data/freedoom_midi ../shared/data/pop909 \\
        --bundle my/songs --store stores/songs --pieces 40

    reading      CPU seconds a file and the share of notes that are kept, beside music21 (where it is installed), which
                 is asked for a sample of the files
    preparing    files a minute of ``data_prep.midi --codec notes``, by the clock and by CPU seconds
    obeyed       pieces for each word of a prompt: of families the share that plays; of levels, with a piano, the rank
                 correlation of what is asked for and what is measured, and the share of pieces that hit the level, and
                 that are off by one at most. Tempo and metre are written into the file and need no measure
    distances    pieces with the prompts of held-out rows, to all held-out rows: pitch classes (half the sum of the
                 differences of two histograms), polyphony and lengths of notes (earth mover's distance, in notes and in
                 quarter notes); beside as many rows of the train split
    copies       the share of runs of 8 notes of an instrument (steps in pitch, of drums pitches, and in time) that
                 occur in the train split; beside the same of held-out rows and of pieces
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr, wasserstein_distance

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.midi.file import read
from audiocraft_ext.midi.names import FAMILIES
from audiocraft_ext.midi.tempos import bpm_of
from audiocraft_ext.notes import describe
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.codec import score as scores
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.notes.codec.score import DRUMS, Score
from audiocraft_ext.notes.midi import families_of, stretches
from audiocraft_ext.notes.play.composer import Composer
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import ROOT, finish
from benchmarks.common.machine import describe as machine_of

RUN = 8  # notes of a copy
BARS = 4  # of a piece, as of a row
PITCHED = "piano"  # is asked for beside a level
LISTEN = 16  # how often a bar of 4/4 is looked at for polyphony
BANDS = ("piano", "drums,bass", "drums,bass,guitar", "piano,strings", "drums,bass,pad,lead")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--files", type=Path, nargs="+", default=[], help="folders of MIDI files, to read and prepare")
    add("--sample", type=int, default=20, help="how many of them music21 reads (default %(default)s)")
    add("--no-prepare", action="store_true", help="read them only")
    add("--bundle", type=Path, help="a bundle of notes, with --store STORE, what it was trained on")
    add("--store", type=Path)
    add("--pieces", type=int, default=40, help="for each word (default %(default)s)")
    add("--seed", type=int, default=1)
    add("--save", type=Path, metavar="JSON", help="keep the results there")
    args = parser.parse_args(argv)
    if (args.bundle is None) != (args.store is None) or not (args.files or args.bundle):
        raise UserError("give --files FOLDER ..., or --bundle BUNDLE and --store STORE, or all of them")
    results: dict[str, object] = {}
    if args.files:
        results |= reading(files_of(args.files), args.sample)
        if not args.no_prepare:
            results |= preparing(args.files)
    if args.bundle:
        store, composer = TokenStore(args.store), Composer.load(args.bundle)
        if store.settings["codec"]["division"] != composer.codec.division:
            raise UserError(f"{args.store}: another codec than the bundle's")
        results |= obeyed(composer, args.pieces, args.seed)
        made = like_held_out(composer, store, args.pieces, args.seed)
        results |= distances(made, store, args.seed) | copies(made, store)
    finish("notes", machine_of("numpy", "onnxruntime", "music21"), results, args.save)


def tell(results: dict[str, object]) -> dict[str, object]:
    """Print them, a line each; returns them."""
    for name, value in results.items():
        print(f"{name:<44}{value:>12.4g}" if isinstance(value, float) else f"{name:<44}{value!s:>12}", flush=True)
    return results


def files_of(folders: Iterable[Path]) -> list[Path]:
    """All MIDI files, in order.

    Raises:
        UserError: there are none.
    """
    found = sorted(path for folder in folders for path in Path(folder).rglob("*.mid"))
    if not found:
        raise UserError(f"no MIDI files in {', '.join(map(str, folders))}")
    return found


def kept_by_ours(path: Path, codec: Multitrack) -> tuple[int, int]:
    """How many notes our reader and codec keep of a file, and how many there are."""
    midi = read(path)
    return sum(len(codec.canonicalize(part.score)) for part in stretches(midi, codec)[0]), len(midi.notes)


def kept_by_music21(path: Path) -> int:
    """How many notes music21's own reader has of a file, chords by their notes."""
    import music21

    notes = music21.converter.parse(path, forceSource=True).recurse().notes
    return sum(len(one.notes) if hasattr(one, "notes") else 1 for one in notes)


def reading(files: Sequence[Path], sample: int) -> dict[str, object]:
    codec, there, ours = Multitrack(), 0, 0
    kept_by_ours(files[0], codec)  # imports
    start = time.process_time()
    for path in files:
        read(path)
    alone = (time.process_time() - start) / len(files)
    start = time.process_time()
    counts = {path: kept_by_ours(path, codec) for path in files}
    both = (time.process_time() - start) / len(files)
    ours, there = (sum(column) for column in zip(*counts.values()))
    results = {"files": len(files), "ours: ms of CPU a file, read": alone * 1e3,
               "ours: ms of CPU a file, read and quantised": both * 1e3, "ours: notes kept": ours / there}
    some = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:sample]]
    try:
        kept_by_music21(some[0])
    except ImportError:
        return tell(results | {"music21": "absent"})
    mine = _cpu(lambda: [read(path) for path in some])
    start, kept = time.process_time(), 0
    for path in some:
        kept += min(kept_by_music21(path), counts[path][1])
    theirs = time.process_time() - start
    return tell(results | {
        "music21: files": len(some), "music21: ms of CPU a file, read": theirs / len(some) * 1e3,
        "music21: notes kept": kept / sum(counts[path][1] for path in some), "times ours, same files": theirs / mine})


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def preparing(folders: Sequence[Path]) -> dict[str, object]:
    """The whole command on one folder that has links to the others."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "files"
        for i, path in enumerate(files := files_of(folders)):
            place = source / path.parent.name / f"{i:05}_{path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "data_prep.midi", str(source), f"{scratch}/store", "--codec", "notes"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise UserError(f"data_prep.midi: {done.stderr.strip()[-300:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return tell({"preparing: s by the clock": wall, "preparing: s of CPU": cpu,
                 "preparing: files a minute by the clock": 60 * len(files) / wall,
                 "preparing: files a minute of one core's CPU": 60 * len(files) / cpu})


def obeyed(composer: Composer, pieces: int, seed: int) -> dict[str, object]:
    results: dict[str, object] = {}
    played = asked = 0
    each = max(1, pieces // len(BANDS))
    for band in BANDS:
        wanted = set(band.split(","))
        for piece in composer.play(composer.recipe(bars=BARS, seed=seed, instruments=band), range(each)):
            played += len(wanted & set(families_of(piece.score.notes[:, scores.INSTRUMENT])))
            asked += len(wanted)
    results["families asked for that play"] = played / asked
    each = max(1, pieces // len(describe.LEVELS))
    for name in describe.MEASURED:
        wanted, heard = [], []
        for level, word in enumerate(describe.LEVELS):
            recipe = composer.recipe(bars=BARS, seed=seed, having=PITCHED, **{name: word})
            for piece in composer.play(recipe, range(each)):
                value = describe.measures(piece.codes, composer.codec).get(name)
                if value is not None:
                    wanted.append(level)
                    heard.append(value)
        found = np.array([describe.LEVELS.index(describe.level(name, value)) for value in heard], int)
        off, n = np.abs(found - np.array(wanted, int)), each * len(describe.LEVELS)
        results |= {f"{name}: rank correlation": spearmanr(wanted, heard).statistic if len(set(heard)) > 1 else 0.0,
                    f"{name}: level hit": (off == 0).sum() / n, f"{name}: off by one at most": (off <= 1).sum() / n,
                    f"{name}: without a pitched note": 1 - len(heard) / n}
    return tell({name: float(value) for name, value in results.items()})


def rows_of(store: TokenStore, split: str) -> list[dict]:
    """The rows in 4/4 of whole length."""
    return [row for row in store.rows if row["split"] == split and row["time_signature"] == "4/4"
            and row["bars"] == BARS]


def scores_of(store: TokenStore, rows: Iterable[dict]) -> list[Score]:
    codec = codec_of(store.settings["codec"])
    return [codec.decode(store.read(row["start"], row["frames"]).astype(np.int64)) for row in rows]


def like_held_out(composer: Composer, store: TokenStore, pieces: int, seed: int) -> list[Score]:
    """New pieces, each with the whole prompt of a held-out row."""
    rows, made = rows_of(store, VALID), []
    for i in np.random.default_rng(seed).choice(len(rows), pieces, replace=False).tolist():
        words = rows[i]["prompt"]
        plays = [name for name in ("drums", *FAMILIES) if words.get(name) == describe.YES]
        levels = {name: words[name] for name in describe.MEASURED if name in words}
        recipe = composer.recipe(bars=BARS, seed=seed, bpm=bpm_of(words["tempo"]), guidance=1.0,
                                 instruments=plays or None, **levels)
        made += [piece.score for piece in composer.play(recipe, [i])]
    return made


def distances(made: Sequence[Score], store: TokenStore, seed: int) -> dict[str, object]:
    held = [features(score) for score in scores_of(store, rows_of(store, VALID))]
    rows, rng = rows_of(store, TRAIN), np.random.default_rng(seed)
    others = [apart([features(one) for one in scores_of(store, [rows[i] for i in rng.choice(len(rows), len(made))])],
                    held) for _ in range(5)]
    results = {}
    for name, value in apart([features(score) for score in made], held).items():
        results |= {f"{name}: pieces to held-out rows": value,
                    f"{name}: as many train rows to them": float(np.mean([one[name] for one in others]))}
    return tell(results)


def features(score: Score) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of what is not drums: how often each pitch class is played ``[12]``, how many notes sound at each sixteenth
    ``[n]``, and how long they are in quarter notes."""
    notes = score.notes[score.notes[:, scores.INSTRUMENT] != DRUMS]
    start, length = notes[:, scores.START], notes[:, scores.LENGTH]
    at = np.arange(score.bars * LISTEN)[:, None] * 4 * score.ticks_per_beat // LISTEN
    sounding = ((start <= at) & (at < start + length)).sum(axis=1)
    return (np.bincount(notes[:, scores.PITCH] % 12, minlength=12), sounding if len(notes) else sounding[:0],
            length / score.ticks_per_beat)


def apart(some: Sequence[tuple], others: Sequence[tuple]) -> dict[str, float]:
    """Distances of the features of two lots of music."""
    (one, sounding, long), (two, other_sounding, other_long) = (
        (np.sum([x[0] for x in lot], axis=0), *(np.concatenate([x[i] for x in lot]) for i in (1, 2)))
        for lot in (some, others))
    return {"pitch classes": float(np.abs(one / max(1, one.sum()) - two / max(1, two.sum())).sum() / 2),
            "polyphony": float(wasserstein_distance(sounding, other_sounding)),
            "note length": float(wasserstein_distance(long, other_long))}


def copies(made: Sequence[Score], store: TokenStore) -> dict[str, object]:
    known = np.unique(np.concatenate([runs(score) for score in scores_of(store, rows_of(store, TRAIN))]))
    held = [runs(score) for score in scores_of(store, rows_of(store, VALID))]
    mine, theirs = np.concatenate([runs(score) for score in made]), np.concatenate(held)
    return tell({"copies: runs of the train split": len(known), "copies: runs of pieces": len(mine),
                 "copies: of pieces, in the train split": known_share(mine, known),
                 "copies: of held-out rows, in it": known_share(theirs, known)})


def known_share(found: np.ndarray, known: np.ndarray) -> float:
    """The share of ``found`` that is in ``known``; 0 of nothing."""
    return float(np.isin(found, known).sum()) / max(1, len(found))


def runs(score: Score) -> np.ndarray:
    """A number for each run of :data:`RUN` notes of an instrument, ``uint64 [n]``; the same in any key, drums but
    theirs."""
    found, notes = [np.zeros(0, np.uint64)], score.notes
    for part in np.unique(notes[:, scores.INSTRUMENT]):
        mine = notes[notes[:, scores.INSTRUMENT] == part]
        mine = mine[np.lexsort((mine[:, scores.PITCH], mine[:, scores.START]))]
        if len(mine) < RUN:
            continue
        pitch = 256 + mine[1:, scores.PITCH] if part == DRUMS else 128 + np.diff(mine[:, scores.PITCH])
        steps = (np.diff(mine[:, scores.START]) * 512 + pitch).astype(np.uint64)
        hashed = np.zeros(len(mine) - RUN + 1, np.uint64)
        for i in range(RUN - 1):
            hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + steps[i : i + len(hashed)] + np.uint64(1)
        found.append(hashed)
    return np.concatenate(found)


if __name__ == "__main__":
    run_cli(main)
