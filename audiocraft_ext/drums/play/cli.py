"""Make beats: ``python infer.py drums -n 16 --bars 4 --bpm 174 --genre funk --density high -o out --seed 1``.

Each becomes a MIDI file with a JSON beside it, from which --from makes it again. The same seed gives the same beats,
one by one or together.

    --continue FILE.mid                       begin with it and continue it
    --from-midi FILE.mid --keep kick,snare    keep these, play the others anew (--reroll hats: the other way round)
    --from-midi FILE.mid --infill 3-4         keep the other bars, play these anew
    --to FILE.mid                             drums to a rhythm: a tapped one, a bass line
    --humanise FILE.mid                       the same hits, other velocities and times
    --vary FILE.mid --amount 0.3              play some of it anew
    --swap A.mid B.mid                        each with the groove of the other
    --groove FILE.mid                         with any of them, or with new beats: in the groove of this file
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.core.files import make_folder
from audiocraft_ext.drums.play.options import ASKED, CHANGES, CONDITIONING, SAMPLING, WRITTEN, build_parser, parse
from audiocraft_ext.engine.cli import (
    STARTED,
    cap_threads,
    chosen,
    difference_note,
    find_bundle_of,
    note,
    say,
    say_sheet,
)

__all__ = ["build_parser", "main"]


def main(argv: list[str] | None = None) -> None:
    args = parse(argv, __doc__)
    cap_threads(args, note)
    if args.list:
        return list_drummers()
    from audiocraft_ext.drums.play.drummer import Drummer
    from audiocraft_ext.drums.play.output import Output

    if args.from_ is not None:
        return again(args)
    drummer = Drummer.load(args.bundle or "drums", say=note, **chosen(args, ("threads", "precision", "max_batch")))
    if args.prompts:
        return list_prompts(drummer)
    output = Output(**chosen(args, WRITTEN))
    output.check()
    jobs = [(recipe, range(args.n or 1)) for recipe in recipes(args, drummer)]
    paths = make(args, drummer, jobs, output)
    if args.sheet:
        from audiocraft_ext.drums.play.output import read
        from audiocraft_ext.drums.play.roll import sheet

        say_sheet(args, jobs[0][0], partial(sheet, [read(path, drummer.codec) for path in paths]))


def recipes(args: argparse.Namespace, drummer) -> list:
    """The recipe of the options, or the two of a swap."""
    settings = chosen(args, ("bars", "bpm", "meter", "seed", "groove", *CONDITIONING, *ASKED, *SAMPLING))
    settings["channel"] = 0 if args.all_channels else args.channel
    if args.swap:
        a, b = args.swap
        return [drummer.recipe(change="as it is", file=one, groove=other, **settings | {"seed": 0})
                for one, other in ((a, b), (b, a))]
    for option, change in CHANGES.items():
        if (file := getattr(args, option)) is not None:
            settings |= {"change": change, "file": file}
    if args.infill:
        settings |= {"change": "infill", "span": args.infill}
    elif args.from_midi and not (args.keep or args.reroll):
        settings |= {"change": "as it is", "seed": 0}
    elif args.from_midi:
        settings |= {"keep": args.keep or (), "reroll": args.reroll or ()}
    elif args.to:
        settings["lane"] = args.to_lane
    elif args.humanise:
        settings["humanise"] = "velocities" if args.velocities_only else "offsets" if args.offsets_only else "both"
    elif args.vary:
        settings["amount"] = 0.3 if args.amount is None else args.amount
    return [drummer.recipe(**settings)]


def make(args: argparse.Namespace, drummer, jobs: list, output) -> list[Path]:
    """Make the beats that are not there yet; returns the MIDI file of each."""
    from audiocraft_ext.drums.play.output import Place

    make_folder(args.o)
    found = [places_of(recipe, indices, args.o, output) for recipe, indices in jobs]
    wanted = sum(map(len, found))
    there = sum(is_there for places in found for _, is_there in places)
    if there:
        note(f"{there} of {wanted} beats are in {args.o} already")
    done, bars, seconds, empty = 0, 0, 0.0, 0
    by_chance = jobs[0][0].edit != "as it is"
    seed = "" if args.from_ or not by_chance else f" with --seed {jobs[0][0].seed}"
    try:
        with progress_bar(wanted - there) as bar:
            for (recipe, indices), places in zip(jobs, found):
                missing = [index for index, (_, is_there) in zip(indices, places) if not is_there]
                beats = drummer.play(recipe, missing, lambda at, before=done: bar.update(before + at - bar.n))
                with closing(beats):  # so that what is under way stops when this does
                    for beat in beats:
                        path, hits = drummer.save(beat, args.o, output)[0], len(beat.clip.notes)
                        places[beat.index - indices[0]] = Place(path, True)
                        bar.write(f"{path}  {_many(beat.clip.bars, 'bar')}, {beat.clip.bpm:.4g} BPM, "
                                  f"{_many(hits, 'hit')}")
                        done, empty = done + 1, empty + (hits == 0)
                        bars, seconds = bars + beat.clip.bars, seconds + beat.seconds
    except (KeyboardInterrupt, UserError) as stop:
        there = sum(here for recipe, indices in jobs for _, here in places_of(recipe, indices, args.o, output))
        # not what was counted: it may have stopped between a file and the count
        so_far = f"{there} of {wanted} beats are in {args.o}; the same command{seed} resumes"
        if isinstance(stop, UserError):
            raise UserError(f"{stop}; {so_far}" if done else str(stop)) from None
        raise KeyboardInterrupt(so_far) from None
    if empty:
        note(f"note: {empty} of {_many(done, 'beat')} {'has' if empty == 1 else 'have'} no hits at all")
    if done:
        again = f";{seed.replace(' with', '')} makes {'them' if done > 1 else 'it'} again" if seed else ""
        print(f"{_many(done, 'beat')}, {_many(bars, 'bar')}, {seconds:.1f} s of drums in "
              f"{time.perf_counter() - STARTED:.2f} s, from a cold start{again}")
    return [path for places in found for path, _ in places]


def places_of(recipe, indices: range, folder: Path, output) -> list:
    """Where the beats go, and whether they are there."""
    from audiocraft_ext.drums.play.output import place

    values = recipe.to_dict()
    return [place(folder, values, index, output, recipe.title) for index in indices]


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def again(args: argparse.Namespace) -> None:
    """Make one beat from its JSON, and see whether it is the same."""
    from audiocraft_ext.drums.play.drummer import Drummer
    from audiocraft_ext.drums.play.output import read_sidecar
    from audiocraft_ext.drums.play.recipe import BeatRecipe

    known = read_sidecar(args.from_)
    recipe = replace(BeatRecipe.from_dict(known.recipe), title=str(known.about.get("title", "")))
    known.output.check()
    bundle = find_bundle_of(args.from_, args.bundle, known.folder, recipe.bundle, recipe.bundle_hash)
    drummer = Drummer(bundle, note, precision=recipe.precision, backend=recipe.backend,
                      **chosen(args, ("threads", "max_batch")))
    path = make(args, drummer, [(recipe, range(known.index, known.index + 1))], known.output)[0]
    if text := difference_note(path, known.sha256):
        note(text)


def list_drummers() -> None:
    from audiocraft_ext.engine.bundle import BUNDLES, Bundle, list_bundles

    drummers = [bundle for bundle in (Bundle(BUNDLES / name) for name in list_bundles()) if bundle.spec.kind == "drums"]
    for bundle in drummers:
        print(f"{bundle.name}: {bundle.info.get('card', '')}")
    if not drummers:
        print("no drummer comes with this repository; name the folder of one, or train it (docs/DRUMS.md)")


def list_prompts(drummer) -> None:
    from audiocraft_ext.drums.play.recipe import SCALES

    fields = {} if drummer.prompts is None else drummer.prompts.words
    for name in ASKED:
        if words := fields.get(name):
            print(f"--{name}: {', '.join(words)}{f' (or 1 to {len(words)})' if name in SCALES else ''}")
    if others := [name for name in fields if name not in ASKED]:
        print(f"and from the other options: {', '.join(others)}")
    print(f"drums, for --keep and --reroll: {', '.join(one.name for one in drummer.codec.drums.classes)}")


class _NoBar:
    """Where nobody watches."""

    n = 0.0

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_) -> None:
        pass

    def update(self, more: float) -> None:
        pass

    def write(self, text: str) -> None:
        say(text)


def progress_bar(beats: int):
    """A bar with the time left, on a terminal only."""
    if beats < 2 or not sys.stderr.isatty():
        return _NoBar()
    from tqdm import tqdm

    class Bar(tqdm):
        def write(self, text: str) -> None:
            with tqdm.external_write_mode(sys.stdout):
                say(text)

    return Bar(total=beats, leave=False,
               bar_format="{percentage:3.0f}%|{bar}| {n:.0f} of {total} beats, {remaining} left")


if __name__ == "__main__":
    run_cli(main)
