"""The options of the command line for songs, and which of them go together. Errors come before any file is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from audiocraft_ext.core.errors import Parser
from audiocraft_ext.engine.cli import add_sampling, add_sound, check_common, check_sound

ASKED = ("bars", "bpm", "channels", "drums", "rhythm", "beats", "key", "seed")
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
WRITTEN = ("picture", "wav", "soundfont", "rate")
WHAT = ("n", *ASKED, *SAMPLING, "continue", *WRITTEN, "sheet")


def build_parser(description: str = "") -> Parser:
    parser = Parser(prog="infer.py BUNDLE", description=description,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="folder or name of a bundle of songs")
    add = parser.add_argument_group("how many, how long, where to").add_argument
    add("-n", type=int, metavar="SKETCHES", help="how many (default 1)")
    add("--bars", type=int, help="how long, up to 128 (default 8; of a file all it has, and 4 more)")
    add("--bpm", type=float, help="tempo, 30 to 300 (default 120, or the file's)")
    add("-o", type=Path, default=Path("out"), metavar="FOLDER", help="where to (default %(default)s)")
    add = parser.add_argument_group("what").add_argument
    add("--channels", type=int, metavar="N", help="of pitches, 1 to 10 (default 3)")
    add("--drums", type=int, metavar="N", help="channels of them, 0 to 5 (default 1)")
    add("--rhythm", type=int, metavar="STEPS", help="steps a beat: 3, 4, 6, 8 or 24 (default 4)")
    add("--beats", type=int, metavar="N", help="of a bar, 3 to 16 (default 4)")
    add("--key", help="such as C, F#, Bb (default C)")
    add("--continue", metavar="FILE", help="begin with this song and go on: BeepBox's JSON, a URL of it in a "
        "text file, MIDI")
    add("--from", dest="from_", type=Path, metavar="JSON", help="make the sketch of this sidecar again, the same files")
    add = parser.add_argument_group("sampling (one number, or one for each voice)").add_argument
    add("--seed", type=int, help="0 to 2**64 - 1 (default: a random one, which is printed)")
    add_sampling(add, "voice")
    add = parser.add_argument_group("files").add_argument
    add("--sheet", action="store_true", default=None, help="a picture of all sketches, to choose from at a glance")
    add("--no-picture", dest="picture", action="store_false", default=None, help="no piano roll")
    add_sound(add)
    add = parser.add_argument_group("machine").add_argument
    add("--precision", help="of the model: fp32, int8, int4 (default: the bundle's choice); each makes other sketches")
    add("--threads", type=int, help="processor threads (default: one per core)")
    add("--batch", type=int, metavar="SKETCHES", dest="max_batch",
        help="sketches that are sampled together; changes none")
    return parser


def parse(argv: list[str] | None, description: str) -> argparse.Namespace:
    """Raises a :class:`UserError` for options that cannot be, or not together."""
    args = build_parser(description).parse_args(argv)
    check_common(args, WHAT, "songs")
    check_sound(args)
    return args
