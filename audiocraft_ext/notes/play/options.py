"""The options of the command line for notes, and which of them go together. Errors come before any file is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError
from audiocraft_ext.engine.cli import add_sampling, add_sound, check_common, check_sound, given, meter, span

ASKED = ("parts", "instruments", "having", "without", "density", "polyphony", "register")
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
WRITTEN = ("picture", "tracks", "wav", "soundfont", "rate")
CHANGES = ("add", "reroll", "infill", "revoice")  # what --from-midi is for
WHAT = ("n", "bars", "bpm", "meter", *ASKED, "guidance", "takes", "seed", *SAMPLING, "from_midi", "continue", *CHANGES,
        *WRITTEN, "sheet")


def build_parser(description: str = "") -> Parser:
    parser = Parser(prog="infer.py BUNDLE", description=description,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="folder or name of a bundle of notes")
    add = parser.add_argument_group("how many, how long, where to").add_argument
    add("-n", type=int, metavar="PIECES", help="how many (default 1)")
    add("--bars", type=int, help="how long (default 8; of a file all it has, and 4 more with --continue)")
    add("--bpm", type=float, help="tempo, 20 to 400 (default 120, or the file's)")
    add("--meter", type=meter("4/4 or 3/4"), metavar="4/4", help="time signature (default 4/4, or the file's)")
    add("-o", type=Path, default=Path("out"), metavar="FOLDER", help="where to (default %(default)s)")
    add = parser.add_argument_group("what (--prompts lists the words)").add_argument
    add("--parts", metavar="LIST", help="built of these, one after the other: drums, families, programs by name or "
        "number, such as drums,bass,33,piano")
    add("--instruments", metavar="LIST", help="all at once, of these and no others: drums and families")
    add("--having", metavar="LIST", help="these, and others too")
    add("--without", metavar="LIST", help="none of these")
    for name, what in (("density", "how many notes"), ("polyphony", "how many sound at once"),
                       ("register", "how high")):
        add(f"--{name}", help=f"{what}: very-low to very-high, or 1 to 5")
    add("--guidance", type=float, metavar="WEIGHT", help="classifier-free guidance: 1 is none, more follows these "
        "words more strictly (default 1.5)")
    add("--takes", type=int, metavar="N", help="sample N candidates of each piece, keep the one nearest to these words "
        "(default 4 with any of them, else 1), or of --infill the one that what follows goes with best (default 4)")
    add = parser.add_argument_group("from a MIDI file").add_argument
    add("--continue", metavar="FILE", help="begin with it and go on")
    add("--from-midi", metavar="FILE", help="keep it and make some of it")
    add("--add", metavar="PART", help="a part to those that are there: drums, bass, lead, a program's name or number")
    add("--reroll", metavar="PART", help="this part anew, the others stay")
    add("--infill", type=span("5-8"), metavar="5-8", help="these bars anew")
    add("--revoice", metavar="LIST", help="other instruments for these parts, such as bass=synth-bass,piano; where "
        "none is said the likeliest of its family, with -n 7 all of them")
    add("--from", dest="from_", type=Path, metavar="JSON", help="make the piece of this JSON again, the same file")
    add = parser.add_argument_group("sampling (one number, or one for each stream of codes)").add_argument
    add("--seed", type=int, help="0 to 2**64 - 1 (default: a random one, which is printed)")
    add_sampling(add, "stream of codes")
    add = parser.add_argument_group("files").add_argument
    add("--sheet", action="store_true", default=None, help="a picture of all pieces, to choose from at a glance")
    add("--no-picture", dest="picture", action="store_false", default=None, help="no piano roll")
    add("--tracks", action="store_true", default=None, help="a file for each part too")
    add_sound(add)
    add = parser.add_argument_group("machine").add_argument
    add("--precision", help="of the model: fp32, int8, int4 (default: the bundle's choice); each makes other pieces")
    add("--threads", type=int, help="processor threads (default: one per core)")
    add("--batch", type=int, metavar="PIECES", dest="max_batch", help="pieces that are sampled together; changes none")
    add("--prompts", action="store_true", help="list the words of this bundle's prompts")
    return parser


def parse(argv: list[str] | None, description: str) -> argparse.Namespace:
    """Raises a :class:`UserError` for options that cannot be, or not together."""
    args = build_parser(description).parse_args(argv)
    check_common(args, WHAT, "notes")
    changes = given(args, ("continue", *CHANGES))
    if ", " in changes:
        raise UserError(f"{changes}: each says what to do with a file; take one of them")
    if (args.from_midi is None) != (not given(args, CHANGES)):
        raise UserError("--from-midi FILE and one of --add PART, --reroll PART, --infill BARS and --revoice LIST go "
                        "together")
    if args.revoice is not None and (others := given(args, (*ASKED, "guidance", "takes", "seed", *SAMPLING))):
        raise UserError(f"--revoice samples nothing, it takes the likeliest instruments; leave out {others}")
    if args.parts is not None and (others := given(args, ("takes", "from_midi", "continue"))):
        raise UserError(f"--parts are those of a new piece, and made once; leave out {others}")
    check_sound(args)
    return args
