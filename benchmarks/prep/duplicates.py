"""What damage a copy may have suffered and still be found, and what is taken for a copy and is none.

    python -m benchmarks.prep.duplicates [FOLDER...] [--seconds 30] [--hours 1000] [--files 10000] [--save FILE]

Each sound below the folders (by default the breaks that ship) is damaged in each way and all are looked through at
once, so that a damaged sound may be confused with any other in any state. ``found`` counts damaged sounds that are
linked to their original as a copy, ``linked`` those that are in any way; a sound that is longer than ``--seconds`` is
cut to that, which makes an overlap of it: ``whole`` are the others. ``false`` counts links between damaged sounds and
others than their original, but for those whose originals are linked themselves. These are listed: a person must say
whether they share something.

Speed is CPU time per second of sound. The index is timed on synthetic fingerprints: real ones would take ``--hours`` of
music; their anchors' signs are random bits, which theirs nearly are.
"""

from __future__ import annotations

import io
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.sound import files as sound_files
from benchmarks.common.machine import ROOT, describe, finish, row
from data_prep.audio.analysis.fingerprint import VERSION, Fingerprinter
from data_prep.audio.duplicates.find import Item, find
from data_prep.shared.groups import COPY

RATE = 32_000
Damage = Callable[[np.ndarray], np.ndarray]


def encoded(wav: np.ndarray, container: str, codec: str, kbit: int) -> np.ndarray:
    """``float32 [N]`` at RATE through one of FFmpeg's codecs and back."""
    import av

    rate = 48_000 if codec == "libopus" else RATE
    out = io.BytesIO()
    with av.open(out, "w", format=container) as written:
        stream = written.add_stream(codec, rate=rate, layout="mono", bit_rate=1000 * kbit)
        stream.codec_context.open()
        wav = np.ascontiguousarray(resampled(wav, RATE, rate)[None])
        frame = av.AudioFrame.from_ndarray(wav, format="fltp", layout="mono")
        frame.rate = rate
        form = av.AudioResampler(stream.format.name, "mono", rate, frame_size=stream.codec_context.frame_size)
        for part in form.resample(frame) + form.resample(None):
            written.mux(stream.encode(part))
        written.mux(stream.encode(None))
    out.seek(0)
    with av.open(out) as read:
        form = av.AudioResampler("flt", "mono", RATE)
        parts = [part for frame in read.decode(audio=0) for part in form.resample(frame)] + form.resample(None)
    return np.concatenate([part.to_ndarray().ravel() for part in parts])


def vorbis(wav: np.ndarray) -> np.ndarray:
    out = io.BytesIO()
    with sf.SoundFile(out, "w", RATE, 1, format="OGG", subtype="VORBIS") as f:
        for begin in range(0, len(wav), RATE):  # libsndfile overflows its stack on long ones
            f.write(wav[begin: begin + RATE])
    out.seek(0)
    return sf.read(out, dtype="float32")[0]


def resampled(wav: np.ndarray, rate_from: float, rate_to: float) -> np.ndarray:
    return soxr.resample(wav, rate_from, rate_to, quality="HQ").astype(np.float32)


def later(wav: np.ndarray, seconds: float = 0.2) -> np.ndarray:
    """With silence before it."""
    return np.pad(wav, (round(seconds * RATE), 0))


def faster(wav: np.ndarray, percent: float) -> np.ndarray:
    """As a tape would be, pitch and tempo."""
    return resampled(wav, RATE * (1 + percent / 100), RATE)


DAMAGES: dict[str, Damage] = {
    "MP3 128k": lambda w: encoded(w, "mp3", "libmp3lame", 128),
    "MP3 64k": lambda w: encoded(w, "mp3", "libmp3lame", 64),
    "Opus 48k": lambda w: encoded(w, "ogg", "libopus", 48),
    "OGG": vorbis,
    "-6 dB": lambda w: w / 2,
    "-6 dB, DC": lambda w: w / 2 + 0.03,
    "200 ms later": later,
    "200 ms cut off": lambda w: w[RATE // 5:],
    "1% up": lambda w: faster(w, 1),
    "1% down": lambda w: faster(w, -1),
    "at 22,050 Hz": lambda w: resampled(resampled(w, RATE, 22_050), 22_050, RATE),
    "MP3 64k, -6 dB, 137 ms": lambda w: encoded(later(w / 2, 0.137), "mp3", "libmp3lame", 64),
    "MP3 128k, -6 dB, 200 ms, 1% up": lambda w: encoded(later(faster(w, 1) / 2), "mp3", "libmp3lame", 128),
    "MP3 128k, -6 dB, 200 ms, 1% down": lambda w: encoded(later(faster(w, -1) / 2), "mp3", "libmp3lame", 128),
}
CUT = "200 ms cut off"  # of a one-shot that is another sound


def fingerprint(wav: np.ndarray) -> np.ndarray:
    listener = Fingerprinter(RATE)
    for begin in range(0, len(wav), 2**16):
        listener.push(wav[begin: begin + 2**16])
    return listener.result()


def item(name: str, wav: np.ndarray) -> Item:
    return Item(name, name, fingerprint(wav), len(wav) / RATE)


def synthetic(files: int, hours: float, seed: int = 0) -> list[Item]:
    """Fingerprints of ``files`` sounds, ``hours`` in all, nine anchors a second; one in 20 is a copy of the one before
    it, with 6% of its signs turned over and all of it 1% faster."""
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    seconds = hours * 3600 / files
    anchors = max(1, round(9 * seconds))
    for n in range(files):
        if n % 20 == 1:
            signs = signs ^ np.packbits(rng.random((anchors, 32)) < 0.06, axis=1).view(np.uint32)[:, 0]  # noqa: F821
            frames = np.round(np.cumsum(gaps) / 1.01).astype(np.int64)  # noqa: F821
            gaps = np.diff(frames, prepend=-1)
        else:
            gaps = rng.integers(6, 16, anchors)
            signs = rng.integers(0, 2**24, anchors, dtype=np.uint32)
        words = gaps.astype(np.uint32) << np.uint32(24) | signs & np.uint32(2**24 - 1)
        words = np.concatenate([np.array([VERSION << 24], np.uint32), words])
        items.append(Item(f"{n:06d}", str(n), words, seconds))
    return items


def sounds_below(folders: list[Path], seconds: float) -> dict[str, tuple[np.ndarray, bool]]:
    """Each sound below the folders by name, and whether it is whole."""
    paths = {f"{folder.name}/{path.relative_to(folder)}": path
             for folder in folders for path in sound_files.find_audio(folder)}
    if not paths:
        raise UserError(f"{', '.join(map(str, folders))}: no audio in it")
    read = {name: sound_files.read(path, RATE) for name, path in paths.items()}
    return {name: (wav, len(wav) <= seconds * RATE) for name, wav in read.items()}


def planted(sounds: dict[str, tuple[np.ndarray, bool]], seconds: float) -> tuple[list[Item], float]:
    """All sounds as (name, "") and damaged as (name, damage), joined by a bar; CPU milliseconds per second of sound."""
    items, spent, seconds = [], 0.0, 0.0
    for name, (wav, _) in sounds.items():
        for kind, damage in {"": lambda w: w, **DAMAGES}.items():
            if kind == CUT and len(wav) < 2 * RATE:
                continue
            damaged = damage(wav[: round(seconds * RATE)] if kind else wav)
            begin = time.process_time()
            items.append(item(f"{name}|{kind}", damaged))
            spent, seconds = spent + time.process_time() - begin, seconds + len(damaged) / RATE
    return items, 1000 * spent / seconds


def show_damages(folders: list[Path], seconds: float) -> dict:
    sounds = sounds_below(folders, seconds)
    items, ms = planted(sounds, seconds)
    links = [(*link.a.split("|"), *link.b.split("|"), link.relation) for group in find(items) for link in group.links]
    related = {frozenset((a, b)) for a, x, b, y, _ in links if a != b and not x and not y}
    for a, x, b, y, relation in links:
        if a != b and not x and not y:
            print(f"{relation}: {a}, {b}")
    table = {}
    for kind in DAMAGES:
        count = Counter(planted=sum(i.name.endswith(f"|{kind}") for i in items))
        for a, x, b, y, relation in links:
            if a == b and {x, y} == {"", kind}:
                count["linked"] += 1
                count["found"] += relation == COPY
            elif a != b and kind in (x, y) and frozenset((a, b)) not in related:
                count["false"] += 1
        count["whole"] = sum(sounds[i.name.split("|")[0]][1] for i in items if i.name.endswith(f"|{kind}"))
        table[kind] = {key: count[key] for key in ("planted", "linked", "whole", "found", "false")}
    print(row("damage", next(iter(table.values()))))
    for kind, counts in table.items():
        print(row(kind, map(str, counts.values())))
    print(f"{len(sounds)} sounds, {len(items)} with the damaged; {ms:.2f} ms of CPU per second of sound")
    return {"sounds": len(sounds), "ms_per_second": ms, "damages": table}


def show_scale(files: int, hours: float) -> dict:
    items = synthetic(files, hours)
    bytes_ = sum(i.fingerprint.nbytes for i in items)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    groups = find(items)
    spent = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    right = sum(group.names == (f"{int(group.names[1]) - 1:06d}", group.names[1]) for group in groups)
    result = {"files": files, "hours": hours, "fingerprint_mb": bytes_ / 1e6, "cpu_seconds": spent,
              "peak_mb_above": peak * 1024 / 1e6, "planted": files // 20, "found": right, "groups": len(groups)}
    print(f"{files} synthetic files, {hours:g} h: {bytes_ / 1e6:.0f} MB of fingerprints, {spent:.1f} s of CPU, "
          f"{peak * 1024 / 1e6:.0f} MB more at the peak, {right} of {files // 20} planted pairs found, "
          f"{len(groups)} groups")
    return result


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.prep.duplicates", description="Planted copies, found and not.")
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "data_prep" / "breaks"])
    parser.add_argument("--seconds", type=float, default=30.0, help="of a sound that are damaged (default: 30)")
    parser.add_argument("--hours", type=float, default=1000.0, help="of synthetic fingerprints; 0 for none")
    parser.add_argument("--files", type=int, default=10_000, help="that they are of")
    parser.add_argument("--save", type=Path, help="a JSON file of results to keep")
    args = parser.parse_args(argv)
    results = {}
    if args.hours > 0:  # first, while the peak is its own
        results["scale"] = show_scale(args.files, args.hours)
    results["found"] = show_damages(args.folders, args.seconds)
    finish("duplicates", describe("numpy", "soxr", "soundfile", "av", threads=1), results, args.save)


if __name__ == "__main__":
    run_cli(main)
