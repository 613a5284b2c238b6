"""Make pieces of several instruments: ``python infer.py BUNDLE -n 4 --bars 8 --instruments drums,bass,piano -o out``.

Each becomes a MIDI file with a track a part, a piano roll and a JSON, from which --from makes it again. The same seed
gives the same pieces, one by one or together.

    --parts drums,bass,piano                 built of these, one after the other
    --continue FILE.mid                      begin with it and go on
    --from-midi FILE.mid --add bass          a bass line to what is there
    --from-midi FILE.mid --reroll piano      one part anew, the others stay
    --from-midi FILE.mid --infill 5-8        bars anew
    --from-midi FILE.mid --revoice piano     the same notes on other instruments (piano=organ: on this one)
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.engine.cli import again, cap_threads, chosen, make_missing, note, say, say_sheet
from audiocraft_ext.notes.play.options import ASKED, SAMPLING, WRITTEN, build_parser, parse

__all__ = ["build_parser", "main"]


def main(argv: list[str] | None = None) -> None:
    args = parse(argv, __doc__)
    cap_threads(args, note)
    from audiocraft_ext.notes.play import output as files
    from audiocraft_ext.notes.play.composer import Composer

    if args.from_ is not None:
        return again(args, Composer, files, make)
    composer = Composer.load(args.bundle, say=note, **chosen(args, ("threads", "precision", "max_batch")))
    if args.prompts:
        return list_prompts(composer)
    output = files.Output(**{"picture": True} | chosen(args, WRITTEN))
    output.check()
    recipe = recipe_of(args, composer)
    paths = make(args, composer, recipe, range(args.n or 1), output)
    if args.sheet:
        from audiocraft_ext.notes.play.roll import sheet

        pieces = [(path.stem, files.read(path, composer.codec)) for path in paths]
        say_sheet(args, recipe, partial(sheet, pieces))


def recipe_of(args: argparse.Namespace, composer):
    """The recipe of the options."""
    settings = chosen(args, ("bars", "bpm", "meter", "seed", "guidance", "takes", *ASKED, *SAMPLING))
    if (file := getattr(args, "continue")) is not None:
        settings |= {"change": "continue", "file": file}
    for change, setting in (("add", "part"), ("reroll", "part"), ("infill", "span"), ("revoice", "part")):
        if (value := getattr(args, change)) is not None:
            settings |= {"change": change, "file": args.from_midi, setting: value}
    if args.revoice is not None:
        settings["seed"] = 0
    return composer.recipe(**settings)


def make(args: argparse.Namespace, composer, recipe, indices: range, output) -> list[Path]:
    """Make the pieces that are not there yet; returns the MIDI file of each."""
    from audiocraft_ext.notes import midi
    from audiocraft_ext.notes.play import output as files

    def tell(piece, written: list[Path]) -> float:
        parts = ", ".join(midi.name_of(part) for part in midi.parts_of(piece.score)) or "no notes at all"
        say(f"{written[0]}  {piece.score.bars} bars, {piece.score.bpm:.4g} BPM, {len(piece.score)} notes: {parts}")
        if not len(piece.score) and recipe.said:
            note("note: what is asked for leaves no note; --parts builds a piece of the instruments it names")
        if merged := midi.to_midi(piece.score)[1]:
            note(f"note: {merged[0]}" + (f" (and {len(merged) - 1} more)" if len(merged) > 1 else ""))
        return piece.score.seconds

    return make_missing(args, composer, recipe, indices, output, files, tell, seeded=not args.revoice)


def list_prompts(composer) -> None:
    from audiocraft_ext.notes.describe import INSTRUMENTS, MEASURED

    print(f"--instruments, --having, --without, --add, --reroll: {', '.join(INSTRUMENTS)}")
    for name in MEASURED:
        if words := ({} if composer.prompts is None else composer.prompts.words).get(name):
            print(f"--{name}: {', '.join(words)} (or 1 to {len(words)})")
    print("and from the other options: meter, tempo")


if __name__ == "__main__":
    run_cli(main)
