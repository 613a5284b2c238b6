#!/usr/bin/env python3
"""Make clips: ``python infer.py [BUNDLE] -n 4 -d 10 -o out --seed 1 --temperature 1.0 --top-k 250``.

BUNDLE is a folder that ``python -m audiocraft_ext.export`` wrote, or the name of one that comes with this repository
(``--list`` shows them); without it the embedded one plays. The same seed gives the same clips, one by one or together.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from audiocraft_ext.errors import Parser, UserError, run_cli

STARTED = time.perf_counter()


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="infer.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="folder or name of the instrument (default: the embedded one)")
    parser.add_argument("-n", type=int, default=1, metavar="CLIPS", help="how many clips (default %(default)s)")
    parser.add_argument("-d", type=float, default=10.0, metavar="SECONDS", help="length of each (default %(default)s)")
    parser.add_argument("-o", type=Path, default=Path("out"), metavar="FOLDER", help="where to (default %(default)s)")
    parser.add_argument("--seed", type=int, help="0 to 2**64 - 1 (default: a random one, which is printed)")
    parser.add_argument("--temperature", type=float, help="0 is always the likeliest, above 1 is wilder")
    parser.add_argument("--top-k", type=int, help="choose among so many of the likeliest codes; 0 is all of them")
    parser.add_argument("--threads", type=int, help="processor threads (default: one per core)")
    parser.add_argument("--list", action="store_true", help="name the bundles that come with this repository")
    args = parser.parse_args(argv)
    if args.n < 1:
        raise UserError(f"-n is the number of clips, 1 or more, got {args.n}")
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads is 1 or more, got {args.threads}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    from audiocraft_ext.bundle import BUNDLES, Bundle, find_bundle, list_bundles

    if args.list:
        for name in list_bundles():
            print(f"{name}: {Bundle(BUNDLES / name).info.get('card', '')}")
        return

    from audiocraft_ext.clips import Settings, make_folder, write_clip
    from audiocraft_ext.engine import Engine
    from audiocraft_ext.sampling import check_settings, clip_rng

    bundle = Bundle(find_bundle(args.bundle))
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    temperature = bundle.sampling["temperature"] if args.temperature is None else args.temperature
    top_k = bundle.sampling["top_k"] if args.top_k is None else args.top_k
    check_settings(temperature, top_k)
    clip_rng(seed, 0)
    if top_k > bundle.spec.card:
        print(f"--top-k {top_k} is more than the {bundle.spec.card} codes there are: all of them", file=sys.stderr)
        top_k = bundle.spec.card
    frames = bundle.frames(args.d)
    learned = bundle.info.get("run", {}).get("segment_duration")
    if learned and args.d > learned:
        print(f"note: {bundle.name} was trained on {learned:g} s at a time; after that a clip wanders", file=sys.stderr)
    make_folder(args.o)
    engine = Engine(bundle, args.threads)
    seconds = frames / bundle.spec.frame_rate
    done = 0
    try:
        with progress_bar(args.n * seconds) as bar:
            for batch in engine.batches(range(args.n), frames):
                def report(at: int, of: int, start: float = bar.n, sound: float = seconds * len(batch)) -> None:  # noqa: B008
                    bar.update(start + at / of * sound - bar.n)

                codes = engine.generate(batch, frames, seed=seed, temperature=temperature, top_k=top_k,
                                        progress=report)
                bundle.verify()  # compared while the weights were read; nothing was written yet
                for index, clip in zip(batch, codes):
                    wav = engine.decode(clip[None])[0, 0]
                    path = write_clip(args.o, wav, bundle.sample_rate, Settings(
                        bundle.name, bundle.hash[:16], seed, index, seconds, temperature, top_k))
                    bar.write(f"{path}  {seconds:.2f} s, seed {seed}, clip {index}", file=sys.stdout)
                    done += 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{done} of {args.n} clips are in {args.o}") from None
    wall = time.perf_counter() - STARTED
    print(f"{done} clip{'s' * (done > 1)}, {done * seconds:.1f} s of sound in {wall:.2f} s: "
          f"{done * seconds / wall:.1f} times real time, from a cold start; --seed {seed} makes them again")


def progress_bar(seconds: float):
    """A bar in seconds of sound, on a terminal only."""
    from tqdm import tqdm

    return tqdm(total=seconds, unit="s", disable=None, leave=False,
                bar_format="{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total:.1f} s of sound, {remaining} left")


if __name__ == "__main__":
    run_cli(main)
