"""The options of the drums' command line, and which of them go together.

Errors come before any file is read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError
from audiocraft_ext.engine.cli import add_sampling, given, meter, span

MOST = 1_000_000  # beats
ASKED = ("genre", "kind", "density", "intensity", "swing")
MEASURED = ("density", "intensity", "swing")
CONDITIONING = ("guidance", "takes")
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
SOUNDS = ("wav", "soundfont", "kit")
WRITTEN = ("wav", "picture", "tracks", "soundfont", "kit", "rate")
# Option to change:
CHANGES = {"continue": "continue", "from_midi": "keep", "to": "to", "humanise": "humanise", "vary": "vary"}
WHAT = ("n", "bars", "bpm", "meter", *ASKED, *CONDITIONING, "seed", *SAMPLING, *CHANGES, "keep", "reroll", "infill",
        "to_lane", "velocities_only", "offsets_only", "amount", "swap", "groove", "channel", "all_channels", *WRITTEN,
        "sheet")


def build_parser(description: str = "") -> Parser:
    parser = Parser(prog="infer.py drums", description=description,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="folder or name of the drummer (default: drums)")
    add = parser.add_argument_group("how many, how long, where to").add_argument
    add("-n", type=int, metavar="BEATS", help="how many (default 1)")
    add("--bars", type=int, help="how long (default 4; of a file all it has, and 4 more with --continue)")
    add("--bpm", type=float, help="tempo, 20 to 400 (default 120, or the file's)")
    add("--meter", type=meter("4/4 or 7/8"), metavar="4/4", help="time signature (default 4/4, or the file's)")
    add("-o", type=Path, default=Path("out"), metavar="FOLDER", help="where to (default %(default)s)")
    add = parser.add_argument_group("what (--prompts lists all words; the beginning of one is enough)").add_argument
    add("--genre", help="such as funk")
    add("--kind", help="beat, fill, ...")
    add("--density", help="how many hits: very-low to very-high, or 1 to 5")
    add("--intensity", help="how many of them off the beat: very-low to very-high, or 1 to 5")
    add("--swing", help="straight, light or hard, or 1 to 3")
    add("--guidance", type=float, metavar="WEIGHT", help="classifier-free guidance: 1 is none, more follows these "
        "words more strictly (default 2)")
    add("--takes", type=int, metavar="N", help="best of n: sample N candidates of each beat, keep the one nearest to "
        "density, intensity and swing (default 4)")
    add = parser.add_argument_group("from a MIDI file").add_argument
    add("--continue", metavar="FILE", help="begin with it and continue it")
    add("--from-midi", metavar="FILE", help="keep some of its drums and play the others anew")
    add("--keep", metavar="DRUMS", help="these, such as kick,snare (--prompts lists them)")
    add("--reroll", metavar="DRUMS", help="all but these, such as hats")
    add("--infill", type=span("3-4"), metavar="3-4", help="these bars of it anew")
    add("--to", metavar="FILE", help="drums to a rhythm: a tapped one, a bass line; a drum plays at its onsets, the "
        "others are played to it")
    add("--to-lane", metavar="DRUM", help="which drum that is (default kick)")
    add("--humanise", metavar="FILE", help="its hits with new velocities and times")
    add("--velocities-only", action="store_true", help="its times stay")
    add("--offsets-only", action="store_true", help="its velocities stay")
    add("--vary", metavar="FILE", help="play some of it anew, in each beat something else")
    add("--amount", type=float, metavar="SHARE", help="how much of it: 0 (nothing) to 1 (all); default 0.3")
    add("--swap", nargs=2, metavar=("A", "B"), help="two files, each in the groove of the other")
    add("--groove", metavar="FILE", help="velocities and times of this one, by place in the bar")
    add("--channel", type=int, help="of the drums in these files, or of the rhythm of --to, 1 to 16 "
        "(default: 10, or guessed)")
    add("--all-channels", action="store_true", help="all notes are drums, or the rhythm")
    add("--from", dest="from_", type=Path, metavar="JSON", help="make the beat of this JSON again, the same file")
    add = parser.add_argument_group("sampling (one number, or one for each stream of codes)").add_argument
    add("--seed", type=int, help="0 to 2**64 - 1 (default: a random one, which is printed)")
    add_sampling(add, "stream of codes")
    add = parser.add_argument_group("files").add_argument
    add("--wav", action="store_true", default=None, help="the sound too, with the kit that is here")
    add("--soundfont", type=Path, metavar="FILE", help="the sound through this SoundFont")
    add("--kit", type=Path, metavar="FOLDER", help="the sound with a kit of your own")
    add("--rate", type=int, help="of the sound, in Hz (default 44100)")
    add("--sheet", action="store_true", default=None, help="a picture of all beats, to choose from at a glance")
    add("--picture", action="store_true", default=None, help="a piano roll of each")
    add("--tracks", action="store_true", default=None, help="a track for each drum")
    add = parser.add_argument_group("machine").add_argument
    add("--precision", help="of the model: fp32, int8, int4 (default: the bundle's choice); each makes other beats")
    add("--threads", type=int, help="processor threads (default: one per core)")
    add("--batch", type=int, metavar="BEATS", dest="max_batch", help="beats that are sampled together; changes none")
    add("--list", action="store_true", help="name the drummers that come with this repository")
    add("--prompts", action="store_true", help="list the words of this drummer's prompts")
    return parser


def parse(argv: list[str] | None, description: str) -> argparse.Namespace:
    """Raises a :class:`UserError` for options that cannot be, or not together."""
    args = build_parser(description).parse_args(argv)
    for name, value in (("-n", args.n), ("--threads", args.threads), ("--batch", args.max_batch)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {'the number of beats, ' if name == '-n' else ''}1 or more, got {value}")
    if (args.n or 1) > MOST:
        raise UserError(f"-n is at most {MOST}, got {args.n}")
    if args.channel is not None and not 1 <= args.channel <= 16:
        raise UserError(f"--channel is 1 to 16, got {args.channel}")
    if args.from_ is not None and (others := given(args, (*WHAT, "precision"))):
        raise UserError(f"--from takes everything from the file; leave out {others}")
    changes = given(args, (*CHANGES, "swap"))
    if ", " in changes:
        raise UserError(f"{changes}: each says what to do with a file; take one of them")
    for option, words in (("guidance", ASKED), ("takes", MEASURED)):
        if getattr(args, option) is not None and not given(args, words):
            if option == "takes" and args.infill:
                continue
            raise UserError(f"--{option} is how strictly words are followed, and none of them was given: " +
                            ", ".join(f"--{name}" for name in words))
    if args.rate is not None and not given(args, SOUNDS):
        raise UserError("--rate is that of the sound, and none was asked for; give --wav, --soundfont or --kit too")
    _check_parts(args)
    return args


def _check_parts(args: argparse.Namespace) -> None:
    """Options that belong to others."""
    for names, of in ((("keep", "reroll", "infill"), "from_midi"), (("to_lane",), "to"), (("amount",), "vary"),
                      (("velocities_only", "offsets_only"), "humanise")):
        if (stray := given(args, names)) and getattr(args, of) is None:
            raise UserError(f"{stray} belongs to --{of.replace('_', '-')} FILE; give that too")
        if ", " in stray:
            raise UserError(f"{stray} were given; take one of them")
    if args.from_midi and not (args.keep or args.reroll or args.infill or args.groove):
        raise UserError("--from-midi keeps some of the drums: say which (--keep kick,snare), or which are played anew "
                        "(--reroll hats, or the bars --infill 3-4)")
    if args.swap and args.groove:
        raise UserError("--swap takes the grooves from its own two files; leave out --groove")
    if (args.channel or args.all_channels) and not given(args, (*CHANGES, "swap", "groove")):
        raise UserError("--channel and --all-channels are for a MIDI file, and none was given")
    if args.swap or args.from_midi and not (args.keep or args.reroll or args.infill):
        if others := given(args, ("n", *ASKED, *CONDITIONING, "seed", *SAMPLING)):
            raise UserError(f"nothing is left to chance where only the groove changes; leave out {others}")
