"""How quickly drums are made and prepared, beside the peers of ``benchmarks/drums/peers.py``.

    python -m benchmarks.drums.speed [--bundle drums] [--data ../shared/data/groove] [--music21 FOLDER] [--save JSON]

One beat of four bars, everything loaded and warm, on one thread: ours from the drummer's recipe to the notes, the peers
their text (AutoBeat's is of two bars). ``infer.py BUNDLE -n N`` as processes of its own, with the files they write: for
many beats until it ends, for one also until the MIDI file is there (it gets its name when it is whole). Sampling alone
by how many beats are made together. And with ``--data`` its MIDI files made into a store, beside music21 on some of
them, evenly spaced by size, so that their mean stands for all.

Everything is in the file cache: what comes first is not counted. Peers and ours take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.midi import drums_of, stretches
from audiocraft_ext.drums.play.drummer import Drummer
from audiocraft_ext.drums.play.recipe import BeatRecipe
from audiocraft_ext.engine.bundle import Bundle, find_bundle
from audiocraft_ext.midi import file as midifile
from benchmarks.common.machine import ROOT, Spread, describe, finish, in_turn, numbers, row, spread

RANDOM = "random"
READ, MUSIC21 = "read to codes, one process", "music21 to text, one process"
OURS, ASKED = "ours", "ours, asked for a genre"
SLOW, CACHED, AUTOBEAT = "nanoMPC's shape, no cache", "nanoMPC's shape, a cache", "AutoBeat's, two bars"
BEAT_TARGET_S, BULK_TARGET_S, COLD_TARGET_S, PREPARE_TARGET_S, MUSIC21_TARGET = 0.060, 15.0, 0.6, 5.0, 100.0
BULK = 1000  # beats that BULK_TARGET_S is for
BATCHES = (1, 10, 50, 100, 200)
AT_ONCE = 20  # beats of ours in one measurement: one alone is so short that chance would measure it


def peers(quick: bool, failed: dict[str, str]) -> dict[str, Callable[[], object]]:
    """What each does for a beat; on one thread. Whoever is not here is written into ``failed``."""
    import torch

    from benchmarks.drums.peers import AUTOBEAT_BARS, BEAT_TOKENS, AutoBeat, NanoMPC, NanoSize

    torch.set_num_threads(1)
    torch.manual_seed(0)
    nano = NanoMPC(NanoSize(n_layer=1) if quick else NanoSize()).eval()
    tokens = 20 if quick else BEAT_TOKENS
    works = {SLOW: lambda: nano.generate(tokens), CACHED: lambda: nano.generate(tokens, cached=True)}
    try:
        works[AUTOBEAT] = partial(AutoBeat(tiny=quick).generate, bars=0 if quick else AUTOBEAT_BARS)
    except UserError as error:
        failed[AUTOBEAT] = str(error)
    return works


def one_beat(bundle: Path, repeats: int, quick: bool, failed: dict[str, str]) -> dict[str, Spread]:
    """Seconds of a warm beat of each, in turn."""
    drummer = Drummer.load(bundle, threads=1)
    next_one = iter(range(10**9))

    def play(recipe: BeatRecipe) -> None:
        for _ in range(AT_ONCE):
            assert len(list(drummer.play(recipe, [next(next_one)]))) == 1

    works: dict[str, Callable[[], object]] = {OURS: partial(play, drummer.recipe(bars=4, seed=0))}
    if (genre := genre_of(drummer)) is not None:  # then each beat has a twin that was asked for nothing
        works[ASKED] = partial(play, drummer.recipe(bars=4, seed=0, genre=genre))
    works |= peers(quick, failed)
    for work in works.values():
        work()
    shares = {name: AT_ONCE if name in (OURS, ASKED) else 1 for name in works}
    return {name: {key: value / shares[name] for key, value in s.items()}
            for name, s in in_turn(works, repeats).items()}


def genre_of(drummer: Drummer) -> str | None:
    """One that it can be asked for."""
    words = {} if drummer.prompts is None else drummer.prompts.words
    return next(iter(words.get("genre", ())), None)


def alone(bundle: Path, repeats: int, most: int) -> dict[str, dict[str, Spread]]:
    """Seconds for a beat, sampling alone, by threads and by how many are made together, up to ``most``."""
    works, made = {}, {}
    for threads in dict.fromkeys((1, physical_cores())):
        drummer = Drummer.load(bundle, threads=threads)
        for batch in (size for size in BATCHES if size <= most):
            made[threads, batch] = batch * -(-min(most, AT_ONCE) // batch)
            works[threads, batch] = partial(_sample, drummer, made[threads, batch], batch)
    for work in works.values():
        work()
    out: dict[str, dict[str, Spread]] = {}
    for key, s in in_turn(works, repeats).items():
        scaled = {name: value / made[key] for name, value in s.items()}
        out.setdefault(str(key[0]), {})[str(key[1])] = scaled
    return out


def _sample(drummer: Drummer, beats: int, batch: int) -> None:
    drummer.engine.max_batch = batch
    drummer.engine.generate(beats, drummer.bundle.context, seed=0, given=_prompt(drummer))


def _prompt(drummer: Drummer) -> np.ndarray:
    K = drummer.bundle.spec.n_q
    return np.zeros((K, 0), np.int64) if drummer.prompts is None else drummer.prompts.codes({})


def process(bundle: Path, beats: int, out: Path, *options) -> tuple[float, float]:
    """One cold ``infer.py``; wall seconds until the first MIDI file is there, and until it ends.

    Raises:
        UserError: it fails, or the files are not there.
    """
    command = [sys.executable, "infer.py", bundle, "-n", beats, "-o", out, "--seed", 1, *options]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        first = None
        while child.poll() is None:
            if first is None and out.is_dir() and any(name.endswith(".mid") for name in os.listdir(out)):
                first = time.perf_counter() - start
            if first is None:
                time.sleep(0.001)
            else:
                child.wait()
        end = time.perf_counter() - start
        errors.seek(0)
        last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    there = len(list(out.glob("*.mid"))) if out.is_dir() else 0
    if child.returncode or there != beats:
        raise UserError(f"infer.py made {there} of {beats} beats, exit code {child.returncode}: {' '.join(last)}")
    return first or end, end


def processes(bundle: Path, beats: int, repeats: int, *options, warm_up: int = 0) -> dict[str, Spread]:
    """Cold runs of ``infer.py``: ``first`` file and ``end``, after some that are not counted."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [process(bundle, beats, Path(folder) / str(i), *options) for i in range(warm_up + repeats)][warm_up:]
    first, end = zip(*runs)
    return {"first": spread(first), "end": spread(end)}


def read(path: Path) -> list[np.ndarray]:
    """The codes of a MIDI file, as music21's text is all of it; without what a store is besides."""
    midi, grid = midifile.read(path), DrumGrid()
    return [grid.encode(part.clip) for part in stretches(midi, drums_of(midi)[0], grid)[0]]


def to_store(data: Path, workers: int) -> None:
    """The whole command: read, compared, sorted, written, reported."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "data_prep.midi", data, Path(store) / "s", "--workers", str(workers)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"data_prep.midi: {' '.join(done.stderr.strip().splitlines()[-1:])}")


def prepare(paths: list[Path], data: Path, repeats: int, files: int, failed: dict[str, str]) -> dict:
    """The folder to a store; and ``files`` of its ``paths`` read alone, in one process, by ours and by music21."""
    paths = sorted(paths, key=lambda path: path.stat().st_size)
    chosen = [paths[int((i + 0.5) * len(paths) / files)] for i in range(files)]
    works: dict[str, Callable[[], object]] = {f"to a store, {n or 'no'} workers": partial(to_store, data, n)
                                              for n in (0, physical_cores())}
    works[READ] = lambda: [read(path) for path in chosen]
    try:
        from benchmarks.drums.peers import music21_text

        music21_text(chosen[0])  # its import takes a second and is not counted
        works[MUSIC21] = lambda: [music21_text(path) for path in chosen]
    except UserError as error:
        failed[MUSIC21] = str(error)
    next(iter(works.values()))()
    counts = {name: files if name in (READ, MUSIC21) else len(paths) for name in works}
    return {name: {"seconds": s, "files": counts[name], "ms_a_file": s["median"] / counts[name] * 1000}
            for name, s in in_turn(works, repeats).items()}


def measure(bundle: Path, data: Path | None, repeats: int, beats: int, files: int, quick: bool) -> dict:
    """Everything; see the text at the top.

    Args:
        beats: of the run in bulk.
        files: that music21 reads.
    """
    failed: dict[str, str] = {}
    results: dict = {"failed": failed, "beats": beats}

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    if data is not None:  # before anything takes its time
        paths = [path for path in data.rglob("*.mid") if path.is_file()]
        if not paths:
            raise UserError(f"{data}: no .mid in it")
    say("one beat, warm")
    results["one_beat"] = one_beat(bundle, repeats, quick, failed)
    say("one beat, cold")
    results["cold"] = processes(bundle, 1, repeats, warm_up=1)
    say(f"{beats} beats")
    few = 1 if quick else min(3, repeats)
    results["bulk"] = processes(bundle, beats, few)
    if (genre := genre_of(Drummer.load(bundle))) is not None:
        results["bulk_asked"] = processes(bundle, beats, few, "--genre", genre)
    say("sampling alone")
    results["alone"] = alone(bundle, few, min(beats, BATCHES[-1]))
    if data is not None:
        say(f"preparing {len(paths)} files")
        results["prepare"] = prepare(paths, data, few, min(files, len(paths)), failed)
    return results


def report(results: dict) -> None:
    """The tables."""
    one = results["one_beat"]
    print("\n" + row("one beat of 4 bars, warm, 1 thread, ms", ("min", "median", "max", "ours is")))
    for name, s in one.items():
        times = "" if name == OURS else f"{s['median'] / one[OURS]['median']:.3g}x"
        print(row(name, [*numbers(s, 1000, 1), times]))
    print(row("target", ["", f"{BEAT_TARGET_S * 1000:.0f}"]))
    print("\n" + row("infer.py, a cold process with its files, s", ("min", "median", "max")))
    print(row("1 beat: the MIDI file is there", numbers(results["cold"]["first"])))
    print(row("1 beat: it has ended", numbers(results["cold"]["end"])))
    print(row("target", ["", f"{COLD_TARGET_S:.2f}"]))
    print(row(f"{results['beats']} beats", numbers(results["bulk"]["end"])))
    if "bulk_asked" in results:
        print(row(f"{results['beats']} beats of a genre", numbers(results["bulk_asked"]["end"])))
    print(row(f"target for {BULK}", ["", f"{BULK_TARGET_S:.2f}"]))
    print("\n" + row("sampling alone, ms a beat, made together:", next(iter(results["alone"].values()))))
    for threads, by_batch in results["alone"].items():
        name = "1 thread" if threads == "1" else f"{threads} threads"
        print(row(name, [f"{s['median'] * 1000:.1f}" for s in by_batch.values()]))
    if "prepare" in results:
        made = results["prepare"]
        print("\n" + row("MIDI files, s", ("min", "median", "max", "files", "ms/file", "quicker")))
        slow = made.get(MUSIC21, {}).get("ms_a_file")
        for name, m in made.items():
            times = f"{slow / m['ms_a_file']:.0f}x" if slow and name != MUSIC21 else ""
            print(row(name, [*numbers(m["seconds"]), str(m["files"]), f"{m['ms_a_file']:.2f}", times]))
        print(row("target", ["", f"{PREPARE_TARGET_S:.2f}", "", "", "", f"{MUSIC21_TARGET:.0f}x"]))
    for name, why in results["failed"].items():
        print(f"{name}: could not run ({why})")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.drums.speed", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bundle", default="drums", help=f"folder or name, or {RANDOM}: one of the same size with "
                        "random weights (default %(default)s)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="MIDI files to prepare")
    parser.add_argument("--music21", type=Path, metavar="FOLDER", help="where pip install --target put it, if it did")
    parser.add_argument("--files", type=int, default=60, help="that music21 reads (default %(default)s)")
    parser.add_argument("--beats", type=int, default=BULK, help="of the run in bulk (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="toys, 1 repeat: does it run?")
    parser.add_argument("--save", type=Path, metavar="FILE", help="JSON file that takes the results")
    args = parser.parse_args(argv)
    if min(args.repeats, args.files, args.beats) < 1:
        raise UserError("--repeats, --files and --beats are 1 or more, got "
                        f"{args.repeats}, {args.files} and {args.beats}")
    if args.music21 is not None:
        sys.path.append(str(args.music21.resolve()))  # behind our own: it brought a numpy along
    if args.quick:
        args.repeats, args.beats, args.files = 1, min(args.beats, 20), min(args.files, 3)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        if args.bundle == RANDOM:
            from benchmarks.drums.peers import random_drummer

            path = random_drummer(Path(folder) / RANDOM, args.quick)
        else:
            path = Bundle(find_bundle(args.bundle)).path.resolve()
        results = measure(path, args.data, args.repeats, args.beats, args.files, args.quick)
        results["bundle"] = args.bundle
    report(results)
    finish("drums_speed", describe("torch", "transformers", "music21", "onnxruntime", "numpy"), results, args.save)


if __name__ == "__main__":
    run_cli(main)
