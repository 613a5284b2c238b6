"""``python -m audiocraft_ext.evaluate``: how generated sound resembles given music."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError
from audiocraft_ext.evaluate.sounds import of_bundle, of_folder, real

CLIPS, SEED = 40, 1


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m audiocraft_ext.evaluate", description=__doc__.split(": ", 1)[1])
    parser.add_argument("made", metavar="BUNDLE|FOLDER", help="a bundle of sound, whose clips of 10 s are sampled with "
                        f"seed {SEED}, or a folder of sound")
    parser.add_argument("--like", type=Path, required=True, metavar="STORE|FOLDER", help="the music: a token store, of "
                        "which the valid split is held out, or a folder, which is split into halves by file")
    parser.add_argument("--held-out", type=Path, metavar="FOLDER", help="real sound that was not trained on, instead")
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help="clips of 10 s, sampled or drawn of a "
                        f"folder, and of the held-out sound ({CLIPS})")
    parser.add_argument("--out", type=Path, default=Path("out/evaluation"), metavar="FOLDER", help="for index.html, "
                        "evaluation.json, the clips and a picture (out/evaluation)")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    args = build_parser().parse_args(argv)
    if args.clips < 1:
        raise UserError(f"expected --clips of 1 or more, got {args.clips}")
    for name, folder in (("--like", args.like), ("--held-out", args.held_out)):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{name} {folder}: no such folder; expected one of sound, or a token store")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    say = lambda text: print(text, file=sys.stderr, flush=True)
    path = Path(args.made)
    is_folder = path.is_dir() and not (path / "model.json").is_file()
    say(f"{'reading' if is_folder else 'sampling'} {args.made}")
    made = of_folder(path) if is_folder else of_bundle(args.made, args.clips, SEED)
    say(f"reading {args.like}")
    reference, held_out, known = real(args.like, args.held_out)

    from audiocraft_ext.evaluate import report
    from audiocraft_ext.evaluate.judge import judge
    from audiocraft_ext.evaluate.words import words

    result = judge(made, reference, held_out, known, args.clips, say)
    verdicts = words(result, args.like.resolve().name)
    page = report.save(args.out, result, args.made, str(args.like), verdicts)
    for name in result.versions:
        say(f"note: {name} was held out but is a version of the training sound; what a copy is was measured without it")
    print("\n".join(lines(result, verdicts)))
    print(f"\nlisten and look: {page}")
    return 0


def lines(result, verdicts: list[tuple[str, str, str]]) -> list[str]:
    """For a terminal: the figures, then the words."""
    from audiocraft_ext.evaluate.report import table

    out = [f"{'':<18}" + "".join(f"{name:<16}" for name in result.sets)]
    out += [f"{name:<18}" + "".join(f"{cell:<16}" for cell in cells) for name, cells in table(result)]
    width = max(len(what) for what, _, _ in verdicts) + 2
    return [line.rstrip() for line in out] + [""] + [f"{what + ':':<{width}}{verdict} ({why})"
                                                     for what, verdict, why in verdicts]
