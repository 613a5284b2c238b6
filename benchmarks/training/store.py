"""Batches from a large token store: ``python -m benchmarks.training.store [--hours 100] [--batch 16] [--seconds 30]``.

A store of random codes is made in a temporary folder, in sources of four minutes; then windows are taken from all over
it, from a warm cache: by ``TokenStore.read`` alone, and as training takes them, batches of ``StreamLoader`` (a dataset
without its torch tensors between them). Times are of one batch; each is of windows that were not read before.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.store.reader import CODES, TokenStore
from audiocraft_ext.store.writer import StoreWriter
from audiocraft_ext.training.dataset import StreamDataset, StreamLoader
from benchmarks.common.machine import Spread, describe, finish, numbers, row, spread

SPEC = Spec("audio", 4, 2048, 50.0, (0, 1, 2, 3), "random", "0" * 16)
SOURCE, SEGMENT = 12_000, 1500  # frames
TARGET = 2e-3  # seconds a batch


def make(folder: Path, hours: float) -> TokenStore:
    """A store of random codes."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, SPEC, {}) as writer:
        for n in range(max(2, round(hours * 3600 * SPEC.frame_rate / SOURCE))):
            codes = rng.integers(0, SPEC.card, (SPEC.n_q, SOURCE), np.uint16)
            writer.add(f"{n:05d}", VALID if n == 0 else TRAIN, codes, SEGMENT)
        writer.finish()
    return TokenStore(folder)


def each(works: Iterable[Callable[[], object]]) -> Spread:
    """Seconds that each of them takes."""
    seconds = []
    for work in works:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return spread(seconds)


def measure(store: TokenStore, batch: int, frames: int, repeats: int) -> dict[str, Spread]:
    """Seconds a batch of each way."""
    starts = np.random.default_rng(1).integers(0, len(store.codes) - frames, (repeats, batch)).tolist()
    data = StreamDataset(store, TRAIN, frames, seed=1)
    batches = iter(StreamLoader(data, batch, repeats))
    return {
        "TokenStore.read": each(lambda some=some: [store.read(start, frames) for start in some] for some in starts),
        "StreamDataset.batch": each(lambda i=i: data.batch(2, range(i * batch, (i + 1) * batch))
                                    for i in range(repeats)),
        "StreamLoader": each(lambda: next(batches) for _ in range(repeats))}


def main() -> None:
    parser = Parser(prog="python -m benchmarks.training.store", description=__doc__.split("\n\n")[0])
    parser.add_argument("--hours", type=float, default=100.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--save", type=Path, help="a JSON file of results to add these to")
    args = parser.parse_args()
    frames = round(args.seconds * SPEC.frame_rate)
    if not 0 < frames <= SOURCE or args.batch < 1 or args.repeats < 1 or args.hours <= 0:
        raise UserError(f"expected --seconds above 0 and up to {SOURCE / SPEC.frame_rate:g}, and the others above 0")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = make(Path(folder) / "store", args.hours)
        made = time.perf_counter() - start
        size = os.path.getsize(store.path / CODES)
        print(f"{store.seconds / 3600:.0f} hours, {size / 1e6:.0f} MB, {len(store.rows)} rows; written in {made:.1f} s")
        opening = each([lambda: TokenStore(store.path) for _ in range(3)])
        int(store.codes.sum(dtype=np.int64))  # every page once
        results = measure(store, args.batch, frames, args.repeats)
    print(row(f"ms a batch of {args.batch} x {args.seconds:g} s", ("min", "median", "max")))
    for name, seconds in results.items():
        print(row(name, numbers(seconds, 1e3, 3)))
    print(row("opening the store, ms", numbers(opening, 1e3, 1)))
    good = results["StreamLoader"]["median"] < TARGET
    print(f"{'yes' if good else 'NO'}: a batch in less than {TARGET * 1e3:g} ms")
    finish("store", describe("numpy", "torch", threads=1),
           {"hours": args.hours, "bytes": size, "batch": args.batch, "seconds": args.seconds, "open": opening,
            **results}, args.save)


if __name__ == "__main__":
    run_cli(main)
