"""Notes, measured: how fast files are read and prepared, and what a model makes of them.

    python -m benchmarks.notes.measures --files ../shared/data/freedoom_midi ../shared/data/pop909 \\
        --bundle my/songs --store stores/songs --pieces 40

    reading      CPU seconds a file and the share of notes that are kept, beside music21 (where it is installed), which
                 is asked for a sample of the files
    preparing    files a minute of ``data_prep.midi --codec notes``, by the clock and by CPU seconds
    loss         nats a frame and a note on held-out windows, without a prompt; beside them what the frequencies of the
                 codes give
    obeyed       pieces for each word of a prompt: of families the share that plays; of levels, with a piano, the rank
                 correlation of what is asked for and what is measured, and the share of pieces that hit the level, and
                 that are off by one at most. Tempo and metre are written into the file and need no measure
    built        of pieces built part after part, the notes a bar of each part, beside those of such a part in held-out
                 rows
    distances    pieces with the prompts of held-out rows, unguided and without a choice, to all held-out rows: pitch
                 classes (half the sum of the differences of two histograms), polyphony and lengths of notes (earth
                 mover's distance, in notes and in quarter notes); beside as many rows of the train split
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
from scipy.stats import spearmanr

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.midi.file import read
from audiocraft_ext.midi.names import FAMILIES
from audiocraft_ext.midi.tempos import bpm_of
from audiocraft_ext.notes import describe
from audiocraft_ext.notes.codec import codec_of
from audiocraft_ext.notes.codec import score as scores
from audiocraft_ext.notes.codec.multitrack import FIRST, INSTRUMENT, POSITION, Multitrack
from audiocraft_ext.notes.codec.score import DRUMS, Score
from audiocraft_ext.notes.demo import DEMO
from audiocraft_ext.notes.midi import families_of, stretches
from audiocraft_ext.notes.play.composer import Composer
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common import music
from benchmarks.common.losses import held_out, per_note
from benchmarks.common.machine import ROOT, finish
from benchmarks.common.machine import describe as machine_of
from benchmarks.common.music import Music, tell

BARS = 4  # of a piece, as of a row
PITCHED = "piano"  # is asked for beside a level
BUILT = ("drums", "bass", "piano")
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
    add("--windows", type=int, default=128, help="of the held-out songs, for the loss (default %(default)s)")
    add("--frames", type=int, help="of a window (default: the bundle's context)")
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
        results |= losses(composer, store, args.windows, args.frames)
        results |= obeyed(composer, args.pieces, args.seed)
        results |= built(composer, store, args.pieces, args.seed)
        made = like_held_out(composer, store, args.pieces, args.seed)
        held, train = ([music_of(one) for one in scores_of(store, rows_of(store, split))] for split in (VALID, TRAIN))
        mine = [music_of(one) for one in made]
        results |= music.distances(mine, held, train, "pieces", np.random.default_rng(args.seed))
        results |= music.copies(mine, held, train, "pieces")
    finish("notes", machine_of("numpy", "onnxruntime", "music21"), results, args.save)


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


def losses(composer: Composer, store: TokenStore, windows: int, frames: int | None) -> dict[str, object]:
    found = {"model": held_out(composer.bundle.path, store, windows, frames), "unigram": baseline.unigram_loss(store)}
    return tell(per_note(found, store, DEMO.count))


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


def built(composer: Composer, store: TokenStore, pieces: int, seed: int) -> dict[str, object]:
    made = [piece.codes for piece in composer.play(composer.recipe(bars=BARS, seed=seed, parts=BUILT), range(pieces))]
    real = [store.read(row["start"], row["frames"]).astype(np.int64) for row in rows_of(store, VALID)]
    results: dict[str, float] = {}
    for where, some in (("built", made), ("held-out rows", real)):
        notes = [codes[:, codes[POSITION] >= FIRST] for codes in some]
        for family in BUILT:
            parts = [np.unique(one[INSTRUMENT], return_counts=True) for one in notes]
            counts = [n for ids, counts in parts for i, n in zip(ids, counts) if family in families_of(np.array([i]))]
            results[f"{family}: notes a bar of a part, {where}"] = float(np.mean(counts)) / BARS if counts else 0.0
    return tell(results)


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
        recipe = composer.recipe(bars=BARS, seed=seed, bpm=bpm_of(words["tempo"]), guidance=1.0, takes=1,
                                 instruments=plays or None, **levels)
        made += [piece.score for piece in composer.play(recipe, [i])]
    return made


def music_of(score: Score) -> Music:
    """A score as it is compared."""
    beats = score.bars * 4 * score.meter[0] / score.meter[1]
    return Music(score.notes, frozenset([DRUMS]), score.ticks_per_beat, beats)


if __name__ == "__main__":
    run_cli(main)
