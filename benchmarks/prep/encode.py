"""Encoding a folder beside the codec alone: ``python -m benchmarks.prep.encode SRC [--minutes 10] [--repeats 3]``.

Both in worker processes, one a core, in turn, start-up included. *The codec alone* encodes sound that is in memory, as
long as the files are, with the same encoder. *The step* is what preparing does: files are decoded, mixed, resampled,
levelled and encoded in the workers, and the store is written. *Decoding* is the part of it before the codec. Beside
them, on one thread and without processes, are the ways to run the codec: torch, a bundle's ``encoder.onnx``, and ours.

For the embedded codec and for EnCodec at its full size, with random weights (its time does not depend on them).
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.store.writer import StoreWriter
from benchmarks.common.machine import Spread, describe, finish, in_turn, row
from data_prep.audio.cuts import Piece
from data_prep.audio.encoder import CodecRef, Encoder, ready
from data_prep.audio.entries import Entry, encode_entry, open_codec
from data_prep.jobs import sandbox

if TYPE_CHECKING:  # torch is imported where it is needed: workers import this module, and their start counts
    from audiocraft_ext.audio.codec.codec import Codec

SHARE = 0.9  # of the codec's own speed that the step is to reach
MEMORY = 4 << 30
BLOCK = 10  # seconds of sound in memory, over and over
_here: list = []  # in a worker: the encoder, sound


def hold(ref: CodecRef, rate: int) -> None:
    """In a worker, once."""
    _here[:] = [Encoder(ref), np.random.default_rng(0).normal(0, 0.2, BLOCK * rate).astype(np.float32)]


def encode_held(samples: int) -> int:
    """In a worker: encode so much sound that is there already."""
    encoder, block = _here
    left = samples % len(block)
    return encoder.encode(itertools.chain(itertools.repeat(block, samples // len(block)), [block[:left]])).shape[1]


def decode(task: tuple[str, int]) -> int:
    """In a worker: a file to mono sound at a rate, and no further."""
    path, rate = task
    with sound_files.open_sound(Path(path)) as reader:
        return sum(len(block) for block in sound_files.mono(reader, reader.rate, rate))


def worked_off(work: Callable, tasks: Iterable, workers: int, setup: Callable | None = None,
               setup_args: tuple = ()) -> list:
    """What ``work`` makes of each task; a failure ends the benchmark."""
    out = []
    for _, result in sandbox.run(work, tasks, workers=workers, seconds=lambda _: 3600.0, memory=MEMORY, setup=setup,
                                 setup_args=setup_args, ordered=True):
        if isinstance(result, sandbox.Failure):
            raise UserError(result.reason)
        out.append(result)
    return out


def prepare(entries: list[Entry], codec: Codec, ref: CodecRef, workers: int) -> None:
    """The step: from files to a store."""
    setup = (ref, codec.sample_rate, codec.spec.frame_rate)
    with tempfile.TemporaryDirectory() as folder, StoreWriter(Path(folder) / "store", codec.spec, {}) as writer:
        for entry, rows in zip(entries, worked_off(encode_entry, entries, workers, open_codec, setup)):
            writer.add_rows(entry.name, rows)
        writer.finish()


def chosen(src: Path, minutes: float, rate: int) -> list[Entry]:
    """Whole files of ``src``, the longest last, about so many minutes of them."""
    entries, left = [], minutes * 60
    for path in sorted(sound_files.find_audio(src), key=lambda path: (sound_files.duration(path), path)):
        samples = decode((str(path), rate))
        if samples / rate > left and entries:
            continue
        left -= samples / rate
        name = path.relative_to(src).as_posix()
        entries.append(Entry(name=name, of=name, path=str(path), split=TRAIN, held_out=0.0, mix="mid", dc=0.0,
                             gain_db=-1.0, row_seconds=30.0, pieces=[Piece(0, samples)], variant=None, about={}))
        if left <= 0:
            break
    if not entries:
        raise UserError(f"{src}: no sound in it")
    return entries


def alone(codec: Codec, ref: CodecRef, seconds: float, folder: Path) -> dict[str, Callable[[], object]]:
    """The ways to run the codec, one thread each, in this process."""
    import onnxruntime as ort
    from safetensors.torch import save_file

    from audiocraft_ext.audio.codec.layout import to_onnx
    from audiocraft_ext.audio.codec.onnx import write_encoder

    cfg = codec.model.cfg
    wav = np.random.default_rng(0).normal(0, 0.2, round(seconds * codec.sample_rate)).astype(np.float32)
    save_file({k: v.contiguous() for k, v in to_onnx(codec.model.state_dict()).items()}, folder / "codec.safetensors")
    write_encoder(cfg, folder / "codec.safetensors", folder / "encoder.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(folder / "encoder.onnx"), options, providers=["CPUExecutionProvider"])
    whole = wav[: len(wav) // cfg.hop_length * cfg.hop_length][None, None]
    return {"torch": lambda: codec.encode(wav), "encoder.onnx": lambda: session.run(None, {"wav": whole}),
            "ours": partial(Encoder(ref).encode, [wav])}


def main() -> None:
    parser = Parser(prog="python -m benchmarks.prep.encode", description=__doc__.split("\n\n")[0])
    parser.add_argument("src", type=Path, help="a folder of sound")
    parser.add_argument("--minutes", type=float, default=10.0, help="of sound for the embedded codec (default: 10)")
    parser.add_argument("--encodec-minutes", type=float, default=2.0, help="for EnCodec; 0 leaves it out (default: 2)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=physical_cores())
    parser.add_argument("--save", type=Path, help="a JSON file of results to add these to")
    args = parser.parse_args()
    if args.minutes <= 0 or args.encodec_minutes < 0 or args.repeats < 1 or args.workers < 1:
        raise UserError("expected --minutes, --repeats and --workers above 0, --encodec-minutes of 0 or more")
    import torch

    torch.set_num_threads(1)
    results = {}
    for name, minutes in (("microcodec", args.minutes), ("EnCodec 32 kHz", args.encodec_minutes)):
        if minutes:
            results[name] = measure(name, args.src, minutes, args.workers, args.repeats)
    finish("encode", describe("onnxruntime", "torch", "soundfile", "soxr", threads=args.workers), results, args.save)


def measure(name: str, src: Path, minutes: float, workers: int, repeats: int) -> dict:
    """One codec's tables."""
    codec = get_codec(name) if name == "microcodec" else full_size()
    rate = codec.sample_rate
    entries = chosen(src, minutes, rate)
    seconds = sum(entry.samples for entry in entries) / rate
    with tempfile.TemporaryDirectory() as folder:
        ref = ready(codec, Path(folder))
        lengths, files = [entry.samples for entry in entries], [(entry.path, rate) for entry in entries]
        step = in_turn({
            "the codec alone": lambda: worked_off(encode_held, lengths, workers, hold, (ref, rate)),
            "the step": lambda: prepare(entries, codec, ref, workers),
            "decoding": lambda: worked_off(decode, files, workers)}, repeats)
        at_once = min(10.0, seconds)
        single = in_turn(alone(codec, ref, at_once, Path(folder)), repeats)
    print(f"{name}: {len(entries)} files, {seconds / 60:.1f} minutes, {workers} processes")
    table("times real time", step, seconds)
    share = step["the codec alone"]["median"] / step["the step"]["median"]
    print(f"{'yes' if share >= SHARE else 'NO'}: {share:.0%} of the codec's own speed ({SHARE:.0%} asked)")
    table(f"one thread, {at_once:g} s, times real time", single, at_once)
    return {"files": len(entries), "seconds": seconds, "step": step, "one_thread_seconds": at_once,
            "one_thread": single, "share": share}


def table(title: str, works: dict[str, Spread], seconds: float) -> None:
    print(row(title, ("min", "median", "max")))
    for name, spread in works.items():
        print(row(name, [f"{seconds / spread[key]:.1f}" for key in ("max", "median", "min")]))


def full_size() -> Codec:
    """EnCodec with the sizes of ``facebook/encodec_32khz`` and random weights."""
    import torch

    from audiocraft_ext.audio.codec.codec import Codec
    from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel, keep_variance

    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig())
    keep_variance(model)
    return Codec("encodec-random", model, "0" * 16)


if __name__ == "__main__":
    run_cli(main)
