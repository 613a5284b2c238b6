"""Data preparation beside its peers on one folder: ``python -m benchmarks.prep.prepare FOLDER [--files 100 10000]``.

Hours of sound a minute: analysis (decode, resample, all that is found out) and encoding with each codec, beside
``ffmpeg -i x -ar 32000 -ac 1`` (decode and resample, in as many processes as we have workers) and
audiocraft's own manifest tool (which reads headers only). All on the same files, in one run.

With ``--files`` the largest memory of the whole tree of processes is measured too, on so many files of two seconds,
each another piece of the folder's sound.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.codec import Codec
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel, keep_variance
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.store.writer import StoreWriter
from benchmarks.common.machine import describe, finish
from data_prep.audio import chain, stages
from data_prep.audio.analysis.facts import FactsFile
from data_prep.audio.plan import decide
from data_prep.audio.settings import Settings

RATE = 32_000
EVERY = 0.1  # seconds between two looks at the memory


def random_encodec() -> Codec:
    """EnCodec at its full size with random weights; the public ones cannot be had everywhere."""
    import torch

    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig())
    keep_variance(model)
    return Codec("encodec_random", model, "0" * 16)


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ffmpeg(paths: list[Path], workers: int) -> None:
    def one(path: Path) -> None:
        subprocess.run(["ffmpeg", "-v", "quiet", "-nostdin", "-threads", "1", "-i", path, "-ar", str(RATE), "-ac", "1",
                        "-f", "null", "-"], check=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, paths))


def audiocraft_manifest(folder: Path, scratch: Path) -> None:
    code = "import audiocraft_ext.compat; from audiocraft.data.audio_dataset import main; main()"
    subprocess.run([sys.executable, "-c", code, folder, scratch / "data.jsonl.gz"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ours(folder: Path, scratch: Path, workers: int) -> dict[str, float]:
    """Seconds of each stage."""
    refused: dict[str, str] = {}
    found = chain.find(folder, refused)
    codecs, times = {"microcodec": get_codec("microcodec", None), "encodec_32khz": random_encodec()}, {}
    for name, codec in codecs.items():
        work = chain.Work(folder, scratch / name, found, codec, Settings(), stages.Limits(workers))
        facts = scratch / "facts.sqlite"
        with FactsFile(facts, work.tasks[0].how) as known:
            if "analysis" not in times:
                start = time.perf_counter()
                stages.analyse_all(work.tasks, known, work.limits)
                times["analysis"] = time.perf_counter() - start
            start = time.perf_counter()
            plan = decide([found[n] for n in sorted(found)], known, work.settings, {}, {})
            times["deciding"] = time.perf_counter() - start
            assert work.recipe  # the codec's graphs are written once
            with StoreWriter(work.store, work.spec, work.settings.to_dict(), beside=chain.BESIDE) as writer:
                start = time.perf_counter()
                chain.encode_planned(work, plan, writer, known)
                times[f"encoding, {name}"] = time.perf_counter() - start
    return times


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Watch the memory of this process's children and theirs, in MB: all of them together, and the first alone."""
    peak, stop = {"all": 0.0, "parent": 0.0}, threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY):
            sizes = [_resident(pid) for pid in _children(os.getpid())]
            if sizes:
                peak["all"], peak["parent"] = max(peak["all"], sum(sizes)), max(peak["parent"], sizes[0])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    own = [int(child) for child in text.split()]
    return own + [below for child in own for below in _children(child)]


def _resident(pid: int) -> float:
    """MB that a process has for itself, and its share of what it has with others."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    except OSError:
        pass
    return 0.0


def make_files(source: Path, folder: Path, count: int) -> None:
    """``count`` files of two seconds, each another piece of the sound in ``source``, each a little filtered."""
    rng, at = np.random.default_rng(0), 0
    wavs = [wav for path in sound_files.find_audio(source) if len(wav := sound_files.read(path, RATE)) > 4 * RATE]
    folder.mkdir()
    for at in range(count):
        wav = wavs[at % len(wavs)]
        begin = int(rng.integers(0, len(wav) - 2 * RATE))
        piece = np.convolve(wav[begin : begin + 2 * RATE], rng.standard_normal(4) * 0.3, "same")
        sf.write(folder / f"{at:05}.flac", piece + 1e-4 * rng.standard_normal(len(piece)), RATE)


def memory(source: Path, scratch: Path, count: int) -> dict[str, float]:
    """Peak memory and seconds of the command on ``count`` files."""
    make_files(source, scratch / f"files{count}", count)
    with watched() as peak:
        seconds = seconds_of(lambda: subprocess.run(
            [sys.executable, "-m", "data_prep.audio", scratch / f"files{count}", scratch / f"store{count}"], check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    return {"files": count, "seconds": seconds, **peak}


def main() -> None:
    parser = Parser(prog="python -m benchmarks.prep.prepare", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=physical_cores())
    args = parser.parse_args()
    paths = sound_files.find_audio(args.folder)
    if not paths:
        raise UserError(f"{args.folder}: no sound in it")
    hours, results = sum(sound_files.duration(path) for path in paths) / 3600, {}
    with tempfile.TemporaryDirectory() as scratch:
        times = {"audiocraft's manifest tool (headers only)": seconds_of(
            lambda: audiocraft_manifest(args.folder, Path(scratch)))}
        if shutil.which("ffmpeg"):
            times["ffmpeg -ar 32000 -ac 1"] = seconds_of(lambda: ffmpeg(paths, args.workers))
        times |= ours(args.folder, Path(scratch), args.workers)
        print(f"{len(paths)} files, {hours:.2f} hours of sound, {args.workers} workers")
        for name, seconds in times.items():
            print(f"{name:<44}{seconds:>9.1f} s{hours / seconds * 60:>9.2f} h/min")
        results |= {"hours": hours, "files": len(paths), "seconds": times}
        results["memory"] = [memory(args.folder, Path(scratch), count) for count in args.files]
        for row in results["memory"]:
            print(f"{row['files']:>6} files of 2 s: {row['seconds']:.0f} s, {row['all']:.0f} MB at the peak, "
                  f"{row['parent']:.0f} of them the parent's")
    finish("prepare", describe("numpy", "onnxruntime", "soxr", "soundfile", "audiocraft"), results)


if __name__ == "__main__":
    run_cli(main)
