"""Damaged files against the reader, or against the whole preparation: ``python -m benchmarks.prep.mutations --count
500``.

Small good files in all formats are cut short, have bits flipped, bytes taken out and put in, headers overwritten, sizes
blown up; text, pictures and archives get the ending of sound; and there are the odd ones (0 channels, 0 Hz, one sample,
values that are no numbers, files that point at other files). The same seed makes the same files.

Each is read to its end in the sandbox (data_prep/jobs/sandbox.py) and counted: read, refused and why, crashed, hung.
What counts against us is a run that ends, a file that hangs, and a good file that is not read. With ``--whole`` the
folder also goes through ``python -m data_prep.audio``: it has to come out with a store that is whole and holds each
good file.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.sound.files import mono, open_sound
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import ROOT, describe, finish
from data_prep.jobs import sandbox
from data_prep.jobs.sandbox import Failure

RATE, SECONDS = 48_000, 1.5
SECONDS_EACH, MEMORY_EACH = 20.0, 2**29
GOOD, BAD = "good", "damaged"
CHUNKS = re.compile(rb"data|fmt |SSND|COMM|ds64|RIFF|FORM|Xing|Info|moov|mdat|stts|stsz|stsc|OggS")
WRITTEN: dict[str, dict[str, str]] = {  # by soundfile
    "u8.wav": {"subtype": "PCM_U8"}, "16.wav": {}, "24.wav": {"subtype": "PCM_24"}, "32.wav": {"subtype": "PCM_32"},
    "float.wav": {"subtype": "FLOAT"}, "double.wav": {"subtype": "DOUBLE"}, "alaw.wav": {"subtype": "ALAW"},
    "adpcm.wav": {"subtype": "IMA_ADPCM"}, "extensible.wav": {"format": "WAVEX"}, "rf64.wav": {"format": "RF64"},
    "x.w64": {}, "x.caf": {}, "x.au": {}, "x.aiff": {}, "float.aifc": {"format": "AIFF", "subtype": "FLOAT"},
    "16.flac": {}, "24.flac": {"subtype": "PCM_24"}, "x.mp3": {}, "x.ogg": {},
    "x.opus": {"format": "OGG", "subtype": "OPUS"}}
MUXED = {"x.m4a": "aac", "alac.m4a": "alac", "x.aac": "aac", "x.wma": "wmav2", "x.mka": "flac", "x.mp2": "mp2",
         "x.wv": "wavpack", "x.ac3": "ac3", "x.mp4": "aac"}  # by PyAV, with its codec


def good_files(folder: Path, seed: int = 0) -> list[Path]:
    """One small file in each format, of noise and tones, each another sound."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, (name, options) in enumerate(WRITTEN.items()):
        sf.write(folder / name, _sound(1000 * seed + n), RATE, **options)
    try:
        import av  # noqa: F401
    except ImportError:
        return sorted(folder.iterdir())
    for n, (name, codec) in enumerate(MUXED.items()):
        _mux(folder / name, _sound(1000 * seed + 100 + n), codec)
    return sorted(folder.iterdir())


def _sound(seed: int) -> np.ndarray:
    rng, n = np.random.default_rng(seed), int(SECONDS * RATE)
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(80, 2000) * np.arange(n) / RATE)
    return (tone[:, None] + rng.normal(0, 0.05, (n, 2))).astype(np.float32)


def _mux(path: Path, wav: np.ndarray, codec: str) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        context = stream.codec_context
        context.format, context.bit_rate = context.codec.audio_formats[0], 128_000
        context.open()
        fit = av.AudioResampler(context.format, "stereo", RATE, context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wav.T), format="fltp", layout="stereo")
        frame.rate, frame.pts = RATE, 0
        for piece in [*fit.resample(frame), *fit.resample(None), None]:
            container.mux(stream.encode(piece))


# ---- Damage: each takes the bytes of a good file


def cut(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.randrange(1, len(data))])


def flip(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(max(1, int(len(data) * 8 * 10 ** rng.uniform(-6, -2)))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_header(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randrange(1, 9)):
        data[rng.randrange(min(128, len(data)))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwrite_header(data: bytearray, rng: random.Random) -> bytes:
    at, n = rng.randrange(min(96, len(data))), rng.choice([1, 2, 4, 8])
    data[at : at + n] = rng.choice([bytes(n), b"\xff" * n, b"\x7f" + b"\xff" * (n - 1), rng.randbytes(n)])
    return bytes(data)


def blow_up(data: bytearray, rng: random.Random) -> bytes:
    """A size in the header that is huge, behind a chunk's name where there is one."""
    places = [found.end() for found in CHUNKS.finditer(bytes(data))] or range(min(64, len(data)))
    at, n = rng.choice(places), rng.choice([4, 8])
    data[at : at + n] = rng.choice([b"\xff" * n, b"\x7f" + b"\xff" * (n - 1), b"\xff" * (n - 1) + b"\x7f"])
    return bytes(data)


def zero(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    n = rng.randrange(1, len(data) - at + 1)
    data[at : at + n] = bytes(n)
    return bytes(data)


def take_out(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 5000)]
    return bytes(data) or b"x"


def put_in(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.randrange(1, 5000))
    return bytes(data)


def no_numbers(data: bytearray, rng: random.Random) -> bytes:
    """The bytes of values that are not numbers, or far too large, among the others."""
    for _ in range(rng.randrange(1, 50)):
        at = rng.randrange(len(data)) // 4 * 4
        data[at : at + 4] = struct.pack("<f", rng.choice([float("nan"), float("inf"), -float("inf"), 3e38]))
    return bytes(data)


DAMAGE: list[Callable[[bytearray, random.Random], bytes]] = [
    cut, flip, flip_header, overwrite_header, blow_up, zero, take_out, put_in, no_numbers]


def odd_files(rng: random.Random) -> dict[str, bytes]:
    """What is no sound, or hardly, by name."""
    def wav(channels: int = 1, rate: int = RATE, bits: int = 16, size: int = 2, body: bytes = b"\0\1", form: int = 1):
        frame = channels * bits // 8 & 0xFFFF
        return (b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack(
            "<IHHIIHH", 16, form, channels, rate, rate * frame & 0xFFFFFFFF, frame, bits) + b"data"
            + struct.pack("<I", size & 0xFFFFFFFF) + body)

    bodies = {"empty": b"", "one byte": b"x", "text": b"this is not a sound\n" * 100, "zeros": bytes(5000),
              "noise": rng.randbytes(5000), "page": b"<!DOCTYPE html><html><body>404</body></html>" * 20,
              "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + rng.randbytes(500), "archive": _archive(),
              "list": b"#EXTM3U\n#EXTINF:9,\nx.mp3\n", "join": b"ffconcat version 1.0\nfile 'x.flac'\n",
              "tag only": b"ID3\4\0\0\0\0\1\0" + bytes(128), "huge tag": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(100)}
    files = {f"{word}{ending}": body for word, body in bodies.items()
             for ending in (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aiff")}
    return files | {
        "no channels.wav": wav(0), "many channels.wav": wav(65535, body=bytes(2000), size=2000),
        "no rate.wav": wav(rate=0), "rate of one.wav": wav(rate=1, body=bytes(2000), size=2000),
        "huge rate.wav": wav(rate=2**32 - 1), "no bits.wav": wav(bits=0), "odd bits.wav": wav(bits=13),
        "odd coding.wav": wav(form=0x1234), "one sample.wav": wav(), "no sample.wav": wav(size=0, body=b""),
        "huge.wav": wav(size=2**32 - 2, body=bytes(2000)),
        "not numbers.wav": wav(bits=32, form=3, size=4000, body=struct.pack("<f", float("nan")) * 1000),
        "too loud.wav": wav(bits=32, form=3, size=4000, body=struct.pack("<f", 3e38) * 1000),
        "header only.wav": wav()[:44], "half a header.wav": wav()[:30]}


def _archive() -> bytes:
    with tempfile.SpooledTemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo("x.wav"), b"RIFF" * 100)
        file.seek(0)
        return file.read()


def make(folder: Path, count: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Good files and ``count`` damaged ones, of other sounds: a copy of a good one could rightly take its place."""
    good, sources = good_files(folder / GOOD), good_files(folder.with_name(folder.name + " sources"), 1)
    bad = folder / BAD
    bad.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    odd = sorted(odd_files(rng).items())
    rng.shuffle(odd)
    for name, data in odd[: count // 4]:
        (bad / name).write_bytes(data)
    for n in range(count - min(len(odd), count // 4)):
        source, damage = rng.choice(sources), DAMAGE[n % len(DAMAGE)]
        (bad / f"{n:04} {damage.__name__} {source.name}").write_bytes(damage(bytearray(source.read_bytes()), rng))
    return good, sorted(bad.iterdir())


# ---- What becomes of them


def analyse(path: Path) -> int:
    """Read to the end; samples at 32 kHz."""
    with open_sound(path) as sound:
        return sum(len(block) for block in mono(sound, sound.rate, 32_000))


def through_reader(paths: list[Path], workers: int) -> dict[Path, int | Failure]:
    return dict(sandbox.run(analyse, paths, workers=workers, seconds=lambda path: SECONDS_EACH, memory=MEMORY_EACH))


def outcome(result: int | Failure) -> str:
    """A word for it."""
    if not isinstance(result, Failure):
        return "read"
    for word, sign in (("hung", "took longer"), ("crashed", "signal"), ("crashed", "exit code"),
                       ("too large", "needed more")):
        if sign in result.reason:
            return word
    return "unforeseen" if re.match(r"\w+(Error|Exit|Exception): ", result.reason) else "refused"


def reason_of(failure: Failure, path: Path) -> str:
    """Without what differs from file to file."""
    return re.sub(r"-?\d[\d.e+]*", "N", failure.reason.replace(f"{path}: ", ""))


def through_preparation(folder: Path, good: list[Path], codec: str) -> dict[str, object]:
    """The whole folder in one run, and again to see that nothing changes.

    Raises:
        UserError: the run failed, or its store is not whole or lacks a good file.
    """
    store = folder.with_name(folder.name + " store")
    command = [sys.executable, "-m", "data_prep.audio", str(folder), str(store), "--codec", codec]
    hashes, started = [], time.perf_counter()
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise UserError(f"the preparation failed with {done.returncode}: {done.stderr[-2000:]}")
        tokens = TokenStore(store)
        tokens.verify()
        hashes.append(tokens.hash)
    sources = {row["source"] for row in tokens.rows}
    missing = {f"{GOOD}/{path.name}" for path in good} - sources
    if missing or len(set(hashes)) > 1:
        raise UserError(f"the store lacks {sorted(missing)}" if missing else "a second run made another store")
    return {"sources": len(sources), "seconds": round(time.perf_counter() - started, 1)}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.prep.mutations", description="Damaged files against the reader.")
    parser.add_argument("--count", type=int, default=500, help="damaged files (default: 500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=physical_cores())
    parser.add_argument("--whole", action="store_true", help="through python -m data_prep.audio as well")
    parser.add_argument("--codec", default="debug", help="for --whole (default: debug)")
    parser.add_argument("--keep", type=Path, help="a folder to make the files in, and leave them")
    args = parser.parse_args(argv)
    if args.count < 1:
        raise UserError(f"--count: expected 1 or more, got {args.count}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.keep or Path(scratch)) / "mutations"
        good, bad = make(folder, args.count, args.seed)
        started = time.perf_counter()
        results = through_reader(good + bad, args.workers)
        seconds = time.perf_counter() - started
        counts = Counter(outcome(results[path]) for path in bad)
        unread = [path.name for path in good if outcome(results[path]) != "read"]
        reasons = Counter(f"{outcome(result)}: {reason_of(result, path)}" for path in bad
                          if isinstance(result := results[path], Failure))
        print(f"{len(bad)} damaged files in {seconds:.1f} s: " + ", ".join(f"{n} {w}" for w, n in counts.most_common()))
        for text, n in reasons.most_common():
            print(f"{n:6}  {text}")
        for path in bad:
            if (word := outcome(results[path])) not in ("read", "refused"):
                print(f"{word}: {path.name}")
        print(f"{len(good) - len(unread)} of {len(good)} good files read" + (f"; not {unread}" if unread else ""))
        found: dict[str, object] = {"damaged": len(bad), "good": len(good), "unread": unread, **counts}
        if args.whole:
            found["whole"] = through_preparation(folder, good, args.codec)
            print(f"the whole preparation, twice: {found['whole']}")
    finish("mutations", describe("numpy", "soundfile", "av", "soxr"), found)
    return 1 if unread or counts["hung"] else 0


if __name__ == "__main__":
    run_cli(main)
