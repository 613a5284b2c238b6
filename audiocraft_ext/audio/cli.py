"""Make clips: ``python infer.py [BUNDLE] -n 4 -d 10 -o out --seed 1 --temperature 1.0 --top-k 250``.

BUNDLE is a folder that ``python -m audiocraft_ext.export`` wrote, or the name of one that comes with this
repository (``--list`` shows them); without it the embedded one plays. The same seed gives the same clips, one by one or
together.

A bundle of drums makes MIDI and has options of its own: ``python infer.py drums --help``.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import cache
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError
from audiocraft_ext.engine.cli import (
    STARTED,
    add_sampling,
    cap_threads,
    chosen,
    difference_note,
    find_bundle_of,
    given,
)

MOST = 1_000_000  # clips
WHAT = ("seconds", "seed", "bpm", "bars", "loop", "temperature", "top_k", "top_p", "min_p", "guidance",
        "prompt", "prompt_seconds", "source", "weird")
MACHINE = ("threads", "precision", "device", "backend", "max_batch")
WRITTEN = ("rate", "bits", "peak", "lufs", "cues", "slices")


@cache
def build_parser() -> Parser:
    parser = Parser(prog="infer.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="folder or name of the instrument (default: the embedded one)")
    add = parser.add_argument_group("how many, how long, where to").add_argument
    add("-n", type=int, metavar="CLIPS", help="how many clips (default 1)")
    add("-d", type=float, metavar="SECONDS", dest="seconds", help="length of each (default 10), with its prompt")
    add("-o", type=Path, default=Path("out"), metavar="FOLDER", help="where to (default %(default)s)")
    add("--bpm", type=float, help="tempo: for --bars, for beats in --weird, and written into the file")
    add("--bars", type=float, help="length in bars of 4/4 instead of seconds")
    add("--loop", action="store_true", default=None, help="make the end lead into the start, and say so in the file")
    add = parser.add_argument_group("sampling (one number, or one for each codebook: 1,1.1,1.2,1.2)").add_argument
    add("--seed", type=int, help="0 to 2**64 - 1 (default: a random one, which is printed)")
    add_sampling(add, "codebook (1,1.1,1.2,1.2)")
    add("--guidance", type=float, metavar="WEIGHT", help="how closely the beat is kept by a model that hears a "
        "metronome: 1 is the model by itself (default 1.8), 4 hardly leaves it")
    add = parser.add_argument_group("from other sounds").add_argument
    add("--prompt", metavar="FILE", help="continue this sound, or a clip's JSON")
    add("--prompt-seconds", type=float, metavar="S", help="only the last S seconds of it")
    add("--source", metavar="FILE", help="play --weird on this sound or clip instead of on a new one")
    add("--weird", metavar="CHAIN", help="tools on the codes, as in 'stutter:at=3b,len=1/4b; reroll:keep=0' "
        "(docs/WEIRD.md)")
    add("--from", dest="from_", type=Path, metavar="JSON", help="make the clip of this JSON again, the same file")
    add = parser.add_argument_group("files").add_argument
    add("--rate", type=int, help="in Hz, such as 44100 or 48000 (default: the codec's, 32000)")
    add("--bits", type=int, choices=(16, 24, 32), help="16 (default), 24, or 32: float")
    add("--peak", type=float, metavar="DBFS", help="bring the largest sample to this, such as -1")
    add("--lufs", type=float, help="bring the loudness to this, such as -14, without clipping")
    add("--cues", action="store_true", default=None, help="a cue point at each hit")
    add("--slices", action="store_true", default=None, help="and each hit as a file of its own")
    add("--sheet", action="store_true", help="a picture of all clips, to choose from at a glance")
    add("--stream", metavar="FILE", help="one clip, written while it is sampled, at the codec's own level; - is the "
        "standard output")
    add("--raw", action="store_true", help="stream samples without a header, to pipe into a player")
    add = parser.add_argument_group("machine").add_argument
    add("--precision", help="of the model: fp32, int8, int4, with torch fp32, bf16, fp16 (default: the bundle's "
        "choice); each makes other clips")
    add("--threads", type=int, help="processor threads (default: one per core)")
    add("--batch", type=int, metavar="CLIPS", dest="max_batch",
        help="clips that are sampled together (default 10); changes none of them")
    add("--backend", choices=("onnx", "torch"), help="torch is for a GPU (default onnx)")
    add("--device", help="of the backend torch, such as cuda:1")
    add("--list", action="store_true", help="name the bundles that come with this repository")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    args, unknown = build_parser().parse_known_args(argv)
    if unknown:
        from audiocraft_ext.engine.bundle import find_bundle

        find_bundle(args.bundle)  # a wrong name says more than an option that only another kind of bundle has
        raise UserError(f"unrecognized arguments: {' '.join(unknown)}; see infer.py --help")
    for name, value in (("-n", args.n), ("--threads", args.threads), ("--batch", args.max_batch)):
        if value is not None and value < 1:
            what = "the number of clips, " if name == "-n" else ""
            raise UserError(f"{name} is {what}1 or more, got {value}")
    if (args.n or 1) > MOST:
        raise UserError(f"-n is at most {MOST}, got {args.n}")
    if args.raw and args.stream is None:
        raise UserError("--raw is for --stream; give it a file, or - for the standard output")
    if args.source and not args.weird and not args.loop:
        raise UserError("--source is what --weird or --loop works on; give one of them")
    if args.device and args.backend != "torch" and not args.from_:
        raise UserError(f"--device {args.device} is for --backend torch; without it the processor computes")
    if args.prompt_seconds is not None and args.prompt is None:
        raise UserError("--prompt-seconds says how much of a prompt is used; give the prompt with --prompt")
    if args.bars is not None and args.bpm is None:
        raise UserError("--bars last as long as a tempo says; give it with --bpm")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    cap_threads(args, lambda text: print(text, file=sys.stderr))
    from audiocraft_ext.engine.bundle import BUNDLES, Bundle, list_bundles

    if args.list:
        for name in list_bundles():
            print(f"{name}: {Bundle(BUNDLES / name).info.get('card', '')}")
        return
    from audiocraft_ext.audio.clips import Output
    from audiocraft_ext.audio.instrument import Instrument

    if args.from_:
        return again(args)
    instrument = Instrument.load(args.bundle, say=lambda text: print(text, file=sys.stderr), **chosen(args, MACHINE))
    output = Output(**chosen(args, WRITTEN))
    output.check()
    recipe = instrument.recipe(**chosen(args, WHAT))
    if args.stream is not None:
        return stream(args, instrument, recipe, output)
    make(args, instrument, recipe, range(args.n or 1), output)


def make(args, instrument, recipe, indices, output) -> list:
    """Make the clips that are not there yet; returns all of their paths."""
    from audiocraft_ext.audio.clips import Place, find_place
    from audiocraft_ext.core.files import make_folder

    make_folder(args.o)
    places = {index: find_place(args.o, recipe, index, output) for index in indices}
    missing = [index for index, place in places.items() if not place.there]
    if len(missing) < len(places):
        print(f"{len(places) - len(missing)} of {len(places)} clips are in {args.o} already", file=sys.stderr)
    done, sound, seconds = 0, 0.0, recipe.samples / instrument.bundle.sample_rate
    try:
        with progress_bar(len(missing), seconds) as bar:
            for clip in instrument.play(recipe, missing, lambda at: bar.update(max(0, at * seconds - bar.n))):
                path = instrument.save(clip, args.o, output)[0]
                places[clip.index] = Place(path, True)
                bar.write(f"{path}  {clip.seconds:.2f} s, seed {recipe.seed}, clip {clip.index}", file=sys.stdout)
                done, sound = done + 1, sound + clip.seconds
    except (KeyboardInterrupt, UserError) as stop:
        seed = "" if args.from_ else f" with --seed {recipe.seed}"
        count = sum(find_place(args.o, recipe, index, output).there for index in indices)  # one may have just come
        there = f"{count} of {len(places)} clips are in {args.o}; the same command{seed} continues"
        if isinstance(stop, UserError):
            raise UserError(f"{stop}; {there}" if done else str(stop)) from None
        raise KeyboardInterrupt(there) from None
    paths = [place.path for place in places.values()]
    if args.sheet:
        from audiocraft_ext.core.files import free_name

        print(*draw(paths, free_name(args.o / f"{recipe.bundle}_seed{recipe.seed}.png")), sep="\n")
    wall = time.perf_counter() - STARTED
    if done:
        seed = "" if args.from_ else f"; --seed {recipe.seed} makes {'them' if done > 1 else 'it'} again"
        print(f"{done} clip{'s' * (done > 1)}, {sound:.1f} s of sound in {wall:.2f} s: {sound / wall:.1f} times real "
              f"time, from a cold start{seed}")
    return paths


def again(args) -> None:
    """Make one clip from its JSON, and see whether it is the same."""
    from audiocraft_ext.audio.clips import read_sidecar
    from audiocraft_ext.audio.instrument import Instrument

    others = given(args, ("n", *WHAT, *WRITTEN, "stream", "precision", "backend"))
    if others:
        raise UserError(f"--from takes everything from the file; leave out {others}")
    sidecar = read_sidecar(args.from_)
    recipe = sidecar.recipe
    bundle = find_bundle_of(args.from_, args.bundle, sidecar.folder, recipe.bundle, recipe.bundle_hash)
    instrument = Instrument.load(bundle.path, threads=args.threads, precision=recipe.precision,
                                 backend=recipe.backend, device=args.device)
    path = make(args, instrument, recipe, [sidecar.index], sidecar.output)[0]
    if note := difference_note(path, sidecar.sha256):
        print(note, file=sys.stderr)


def stream(args, instrument, recipe, output) -> None:
    """Write one clip while it is sampled."""
    from audiocraft_ext.sound.wav import WavStream

    others = given(args, ("n", "rate", "peak", "lufs", "cues", "slices", "sheet"))
    if others and (others != "-n" or args.n > 1):
        raise UserError(f"--stream writes one clip as it comes, at the codec's rate and level; leave out {others}")
    place = Path(args.stream)
    if args.stream != "-" and place.is_file() and place.stat().st_size:
        raise UserError(f"{place} is there; --stream writes over nothing, give it another name")
    pieces, over = instrument.stream(recipe), 0
    first = next(pieces)  # before a file is made
    try:
        with WavStream(args.stream, instrument.bundle.sample_rate, output.bits, raw=args.raw) as out:
            out.write(first)
            print(f"first sound after {time.perf_counter() - STARTED:.2f} s", file=sys.stderr)
            over += out.clipped(first)
            for wav in pieces:
                out.write(wav)
                over += out.clipped(wav)
    except BrokenPipeError:
        raise BrokenPipeError(f"whatever the sound went to has closed; --seed {recipe.seed} makes it again") from None
    if over:
        print(f"note: {over} samples were beyond full scale and are clipped; --bits 32 keeps them, and without "
              "--stream the clip is made quieter instead", file=sys.stderr)
    print(f"{recipe.samples / instrument.bundle.sample_rate:.2f} s in {time.perf_counter() - STARTED:.2f} s; --seed "
          f"{recipe.seed} makes it again", file=sys.stderr)


def draw(paths: list[Path], path: Path) -> list[Path]:
    """The contact sheet."""
    from audiocraft_ext.audio.clips import Sounds
    from audiocraft_ext.sound.picture import sheet

    sounds = Sounds(paths)
    return sheet(sounds, sounds.sample_rate, path)


def progress_bar(clips: int, seconds: float):
    """A bar in seconds of sound, on a terminal only."""
    from tqdm import tqdm

    return tqdm(total=clips * seconds, unit="s", disable=None, leave=False,
                bar_format="{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total:.1f} s of sound, {remaining} left")
