"""An instrument shared by threads beside one clip after the other: ``python -m benchmarks.sampling.threads [BUNDLE]``.

Prints the time of both, and whether each clip is the same.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from audiocraft_ext import Instrument
from audiocraft_ext.core.errors import Parser, run_cli
from benchmarks.common.machine import describe, finish


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.threads", description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", nargs="?", default=None)
    parser.add_argument("-n", type=int, default=8, help="clips (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    instrument = Instrument.load(args.bundle, threads=1)

    def clip(seed: int) -> bytes:
        return instrument.generate(args.seconds, seed=seed)[0].wav.tobytes()

    clip(0)
    begin = time.perf_counter()
    alone = [clip(seed) for seed in range(args.n)]
    after_each_other = time.perf_counter() - begin
    begin = time.perf_counter()
    with ThreadPoolExecutor(args.threads) as pool:
        shared = list(pool.map(clip, range(args.n)))
    together = time.perf_counter() - begin
    print(f"{args.n} clips of {args.seconds:g} s: one after the other {after_each_other:.2f} s, in {args.threads} "
          f"threads {together:.2f} s; {sum(a == b for a, b in zip(alone, shared))} of {args.n} the same")
    finish("threads", describe("onnxruntime", "numpy", threads=args.threads),
           {"alone_s": after_each_other, "threads_s": together, "same": alone == shared})


if __name__ == "__main__":
    run_cli(main)
